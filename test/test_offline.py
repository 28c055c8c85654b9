"""Pictures, folders and videos as sources and sinks, with files made here."""

from importlib.util import find_spec

import cv2
import numpy as np
import pytest

from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import SourceError
from aenet_ros.core.files import atomic_file
from aenet_ros.core.frames import FusedFrame
from aenet_ros.io.files import read_rgb, read_thermal, write_picture
from aenet_ros.io.sinks import open_sink
from aenet_ros.io.sources import open_source
from aenet_ros.io.video_sink import VideoSink
from aenet_ros.workbench.contact_sheet import contact_sheet, write_contact_sheet

needs_av = pytest.mark.skipif(find_spec("av") is None, reason="videos need PyAV (pip install 'av>=17')")

RAMP = np.arange(20 * 30).reshape(20, 30)


def save(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), data)
    return path


@pytest.mark.parametrize(
    ("suffix", "dtype", "encoding"),
    [
        (".png", "uint8", "mono8"),
        (".png", "uint16", "mono16"),
        (".tiff", "uint16", "mono16"),
        (".tiff", "float32", "32FC1"),
        (".bmp", "uint8", "mono8"),
    ],
)
def test_thermal_depths(tmp_path, suffix, dtype, encoding):
    data = (RAMP * (0.3 if dtype == "uint8" else 1)).astype(dtype)
    frame = read_thermal(save(tmp_path / f"t{suffix}", data), 7)
    assert (frame.encoding, frame.stamp_ns, frame.data.dtype.name) == (encoding, 7, dtype)
    np.testing.assert_array_equal(frame.data, data)


def test_float64_tiff_becomes_float32_and_keeps_nan(tmp_path):
    data = RAMP / 7.0
    data[2, 3] = np.nan
    frame = read_thermal(save(tmp_path / "t.tiff", data))
    assert frame.encoding == "32FC1"
    np.testing.assert_array_equal(frame.data, data.astype(np.float32))


def test_a_pseudo_colour_thermal_picture_is_taken_as_luma(tmp_path):
    data = np.zeros((20, 30, 3), np.uint8)
    data[..., 2] = 200  # red
    frame = read_thermal(save(tmp_path / "t.png", data))
    assert frame.encoding == "mono8"
    assert np.unique(frame.data).tolist() == [60]  # 0.299 * 200


def test_rgb_kinds(tmp_path):
    colour = np.dstack([RAMP % 256, RAMP % 100, RAMP % 50]).astype(np.uint8)
    alpha = np.dstack([colour, np.full((20, 30), 9, np.uint8)])
    for data, expected in ((colour, colour), (alpha, colour), (colour.astype(np.uint16) * 257, colour)):
        frame = read_rgb(save(tmp_path / "c.png", data))
        assert frame.encoding == "bgr8"
        np.testing.assert_array_equal(frame.data, expected)
    grey = read_rgb(save(tmp_path / "g.png", colour[..., 0]))
    assert (grey.encoding, grey.data.ndim) == ("mono8", 2)
    deep = read_rgb(save(tmp_path / "d.png", colour[..., 0].astype(np.uint16) * 256))
    np.testing.assert_array_equal(deep.data, colour[..., 0])


def test_depths_that_no_camera_writes(tmp_path):
    with pytest.raises(SourceError, match="float32"):
        read_rgb(save(tmp_path / "y.tiff", RAMP.astype(np.float32)))
    with pytest.raises(SourceError, match="No such file"):
        read_rgb(tmp_path / "none.png")


def test_an_interrupted_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def write_half(error):
        with atomic_file(path) as part:
            part.write_bytes(b"half")
            raise error

    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error):
            write_half(error)
        assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.png"]
    with atomic_file(path) as part:
        part.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.png"]


def test_writing_where_one_cannot(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot be written"):
        write_picture(tmp_path / "file" / "x.png", np.zeros((4, 4), np.uint8), "mono8")
    with pytest.raises(SourceError, match="suffix"):
        write_picture(tmp_path / "x.xyz", np.zeros((4, 4), np.uint8), "mono8")


def test_written_colours_are_right(tmp_path):
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 250
    write_picture(tmp_path / "rgb.png", red, "rgb8")
    write_picture(tmp_path / "bgr.png", red, "bgr8")
    assert read_rgb(tmp_path / "rgb.png").data[0, 0].tolist() == [0, 0, 250]
    assert read_rgb(tmp_path / "bgr.png").data[0, 0].tolist() == [250, 0, 0]


def folders(tmp_path, thermals, rgbs):
    for index, name in enumerate(thermals):
        save(tmp_path / "t" / name, np.full((20, 24), index, np.uint8))
    for index, name in enumerate(rgbs):
        save(tmp_path / "v" / name, np.full((20, 24, 3), index, np.uint8))
    return tmp_path / "t", tmp_path / "v"


def named(source):
    items = list(source)
    assert all(item.pair is not None for item in items)
    return {item.name: (int(item.pair.thermal.data.flat[0]), int(item.pair.rgb.data.flat[0])) for item in items}


def test_folders_are_matched_by_name_in_numeric_order(tmp_path):
    source = open_source(*folders(tmp_path, ["f2.png", "f10.png", "x.png"], ["f10.bmp", "f2.bmp", "y.bmp", "z.bmp"]))
    assert list(named(source).items()) == [("f2", (0, 1)), ("f10", (1, 0))]
    assert (source.total, source.timed) == (2, False)
    thermal_left, rgb_left = source.remarks
    assert source.pairing == "2 pairs by name: f2.png + f2.bmp, f10.png + f10.bmp"
    assert "1 of 3 thermal" in thermal_left
    assert ": x" in thermal_left
    assert "2 of 4 rgb" in rgb_left
    assert ": y, z" in rgb_left


def test_sources_that_do_not_fit(tmp_path):
    thermal, rgb = folders(tmp_path, ["0.png"], ["0.png"])
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, match in [
        ((thermal, tmp_path / "none"), "there is no"),
        ((thermal, rgb / "0.png"), "is a folder"),
        ((thermal / "0.png", None), "not enough"),
        ((thermal, None), "do not say which camera"),
        ((thermal / "0.png", thermal / "0.png"), "give two files"),
        ((empty, rgb), "holds no pictures"),
    ]:
        with pytest.raises(SourceError, match=match):
            open_source(*arguments)
    save(thermal / "0.bmp", np.zeros((4, 4), np.uint8))
    with pytest.raises(SourceError, match="must be unique"):
        open_source(thermal, rgb)


def video(path, values, rate, size=(64, 48)):
    """A video whose frame k has the constant grey level values[k]."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, size)
    for value in values:
        writer.write(np.full((size[1], size[0], 3), value, np.uint8))
    writer.release()
    return path


@needs_av
def test_videos_of_different_rates_are_paired_by_time(tmp_path):
    thermal = video(tmp_path / "t.avi", range(10, 250, 20), 30.0)  # 12 frames: 0, 33, 67 .. ms
    rgb = video(tmp_path / "v.avi", range(10, 250, 40), 15.0)  # 6 frames: 0, 67, 133 .. ms
    source = open_source(thermal, rgb, SyncConfig(slop_ms=5.0))
    items = list(source)
    assert [item.name for item in items] == [f"{index:06d}" for index in range(6)]
    for item in items:  # every second thermal frame, of the same grey
        np.testing.assert_allclose(item.pair.thermal.data.mean(), item.pair.rgb.data.mean(), atol=2)
        assert abs(item.pair.difference_ns) < 1_000_000
    assert source.rate_hz == pytest.approx(15.0)
    assert any("6 frames left out" in text for text in source.remarks)


@needs_av
def test_the_policy_exact_pairs_video_frames_of_equal_time_only(tmp_path):
    thermal = video(tmp_path / "t.avi", [10, 60, 110, 160, 210], 20.0)  # 0, 50, 100, 150, 200 ms
    rgb = video(tmp_path / "v.avi", [10, 40, 70, 100, 130, 160, 190], 30.0)  # 0, 33, 67, 100, 133, 167, 200 ms
    pairs = [item.pair for item in open_source(thermal, rgb, SyncConfig(policy="exact"))]
    greys = [(round(pair.thermal.data.mean(), -1), round(pair.rgb.data.mean(), -1)) for pair in pairs]
    assert greys == [(10, 10), (110, 100), (210, 190)]


def fused(value, size=(48, 64), encoding="rgb8"):
    return FusedFrame(1, np.full((*size, 3), value, np.uint8), encoding)


def test_nothing_is_overwritten_unasked_and_inputs_never(tmp_path):
    thermal, rgb = folders(tmp_path, ["0.png", "1.png"], ["0.png", "1.png"])
    source, out = open_source(thermal, rgb), tmp_path / "out"
    with open_sink(out, source) as sink:
        sink.write("0", fused(9))
    with pytest.raises(SourceError, match=r"0\.png' exists already"):
        open_sink(out, source)
    with open_sink(out, source, force=True) as sink:
        sink.write("0", fused(11))
    assert read_rgb(out / "0.png").data[0, 0].tolist() == [11, 11, 11]
    for force in (False, True):
        with pytest.raises(SourceError, match="is one of the inputs"):
            open_sink(rgb, source, force=force)


def test_sinks_by_name(tmp_path):
    thermal, rgb = folders(tmp_path, ["0.png", "1.png"], ["0.png", "1.png"])
    one = open_source(thermal / "0.png", rgb / "0.png")
    with open_sink(tmp_path / "new" / "single.jpg", one) as sink:
        sink.write("0", fused(100))
    assert read_rgb(tmp_path / "new" / "single.jpg").size == (48, 64)
    many = open_source(thermal, rgb)
    with pytest.raises(SourceError, match="need a folder"):
        open_sink(tmp_path / "new" / "single.jpg", many)


@needs_av
def test_a_video_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoSink(path, 25.0, []) as sink:
        for value in (0, 60, 120, 180, 240):
            sink.write("x", fused(value))
    capture = cv2.VideoCapture(str(path))
    greys = [capture.read()[1].mean() for _ in range(5)]
    assert capture.get(cv2.CAP_PROP_FPS) == 25.0
    capture.release()
    np.testing.assert_allclose(greys, [0, 60, 120, 180, 240], atol=5)
    before = path.read_bytes()

    def interrupted():
        with VideoSink(path, 25.0, []) as sink:
            sink.write("x", fused(1))
            raise KeyboardInterrupt

    def of_two_sizes():
        with VideoSink(path, 25.0, []) as sink:
            sink.write("a", fused(1))
            sink.write("b", fused(1, size=(40, 60)))

    def empty():
        with VideoSink(path, 25.0, []):
            pass

    for run, error in ((interrupted, KeyboardInterrupt), (of_two_sizes, SourceError), (empty, SourceError)):
        with pytest.raises(error):
            run()
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


def test_a_contact_sheet_holds_every_picture(tmp_path):
    red = np.zeros((30, 40, 3), np.uint8)
    red[..., 0] = 255
    rows = [[("a red one", red), ("grey", np.full((60, 40), 128, np.uint8))], [("a much longer label than there is room for " * 3, red)]]
    page = contact_sheet(rows, cell_width=80, title="title")
    assert page.shape[1] < 2 * 100
    assert (page == (255, 0, 0)).all(axis=2).sum() == 2 * 80 * 60
    assert (page == (128, 128, 128)).all(axis=2).sum() >= 80 * 120
    write_contact_sheet(tmp_path / "sheet.png", rows, cell_width=80, title="title")
    np.testing.assert_array_equal(read_rgb(tmp_path / "sheet.png").data[..., ::-1], page)
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([[]])
