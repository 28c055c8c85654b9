"""Videos that show both cameras, videos that do not match, and panels: what comes out where, and what is said."""

import cv2
import numpy as np
import pytest

from aenet_ros.cli import main as cli
from aenet_ros.io.sources import open_source

SETTINGS = ("--set", "model.threads=1", "output.thermal_weight=0")  # the fused picture is then the rgb one


def aenet(*arguments):
    return cli.main([*map(str, arguments)])


def video(path, frames, rate=25.0):
    """``frames``: uint8 [H, W, 3], blue first."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def frames_of(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames


def grey(value, size=(48, 64)):
    return np.full((*size, 3), value, np.uint8)


def colour(picture):
    """The mean colour well inside."""
    return picture[8:-8, 8:-8].reshape(-1, 3).mean(axis=0).round(-1).tolist()


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_thermal_half_is_where_it_is_said_to_be(tmp_path, side):
    halves = [grey(200), grey(40)]
    path = video(tmp_path / "both.avi", [np.hstack(halves if side == "left" else halves[::-1])] * 4)
    items = list(open_source(path, None, thermal_side=side))
    assert len(items) == 4
    for item in items:
        assert round(item.pair.thermal.data[8:-8, 8:-8].mean(), -1) == 200
        assert colour(item.pair.rgb.data) == [40, 40, 40]


def test_side_by_side_in_and_out(tmp_path):
    rgb = grey(0)
    rgb[...] = (20, 60, 140)
    path = video(tmp_path / "both.avi", [np.hstack([rgb, grey(200)])] * 4)
    out = tmp_path / "out.mp4"
    options = ["--thermal-side", "right", "--panels", "thermal", "rgb", "fused", *SETTINGS]
    assert aenet("fuse", path, "-o", out, *options) == 0
    frames = frames_of(out)
    assert [frame.shape for frame in frames] == [(48, 3 * 64, 3)] * 4
    thermal, first, fused = np.hsplit(frames[2], 3)
    for panel, expected in ((thermal, (200, 200, 200)), (first, (20, 60, 140)), (fused, (20, 60, 140))):
        np.testing.assert_allclose(panel[8:-8, 8:-8].reshape(-1, 3).mean(axis=0), expected, atol=12)  # two lossy videos lie between


def test_labels_stand_above_each_panel(tmp_path):
    for name, picture in (("t", grey(200)[..., 0]), ("v", grey(90))):
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    plain, labelled = tmp_path / "plain.png", tmp_path / "labelled.png"
    for out, labels in ((plain, ()), (labelled, ("--labels",))):
        assert aenet("fuse", tmp_path / "t.png", tmp_path / "v.png", "-o", out, "--panels", "rgb", "fused", *labels, *SETTINGS) == 0
    without, with_labels = (cv2.imread(str(path)) for path in (plain, labelled))
    assert without.shape == (48, 128, 3)
    strip, below = with_labels[:-48], with_labels[-48:]
    np.testing.assert_array_equal(below, without)
    for half in np.hsplit(strip, 2):
        assert (half > 150).sum() > 20  # letters


def test_unequal_durations_are_said(tmp_path, capsys):
    thermal = video(tmp_path / "t.avi", [grey(100)] * 20)
    rgb = video(tmp_path / "v.avi", [grey(100)] * 14)
    assert aenet("fuse", thermal, rgb, "-o", tmp_path / "out.mp4", *SETTINGS) == 0
    captured = capsys.readouterr()
    assert "t.avi lasts 0.80 s (20 frames at 25 Hz) and v.avi lasts 0.56 s (14 frames at 25 Hz)" in captured.err
    assert "6 frames left out" in captured.err
    assert len(frames_of(tmp_path / "out.mp4")) == 14
