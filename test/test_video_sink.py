"""Videos out: what players get, and what is said of frames that do not fit."""

import subprocess
import sys

import numpy as np
import pytest
from videos import av, levels, write_video

from aenet_ros.cli import main as cli
from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import FusedFrame
from aenet_ros.io.video_sink import FORMATS, VideoSink

SETTINGS = ("--set", "model.threads=1", "output.thermal_weight=0")  # the fused picture is then the rgb one
SECOND_NS = 1_000_000_000
BEGIN_NS = 1_700_000_000 * SECOND_NS


def fused(picture, seconds, encoding="rgb8"):
    return FusedFrame(BEGIN_NS + round(seconds * SECOND_NS), picture, encoding)


def read(path):
    """(time in s, uint8 [H, W, 3] red first) of each frame, and the stream."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [(float(frame.pts * stream.time_base), frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)], stream


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_frame_is_shown_at_its_time_and_in_its_colour(tmp_path, suffix):
    path, remarks = tmp_path / f"out{suffix}", []
    times = [0.0, 0.1, 0.2, 0.5, 0.9, 1.0]
    colours = [(200, 60, 30), (30, 200, 60), (60, 30, 200), (128, 128, 128), (250, 250, 5), (5, 5, 5)]
    with VideoSink(path, 10.0, remarks) as sink:
        for time, colour in zip(times, colours, strict=True):
            sink.write("x", fused(np.full((48, 64, 3), colour, np.uint8), time))
    frames, _ = read(path)
    np.testing.assert_allclose([time for time, _ in frames], times, atol=0.006)
    for (_, picture), colour in zip(frames, colours, strict=True):
        assert picture.shape == (48, 64, 3)
        np.testing.assert_allclose(picture[24, 32], colour, atol=6)
    assert remarks == []
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_mp4_is_what_browsers_and_phones_play(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoSink(path, 25.0, []) as sink:
        for index, picture in enumerate(levels([0.0, 0.1, 0.2])):
            sink.write("x", fused(picture, index / 25))
    _, stream = read(path)
    assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays before it is loaded
    with av.open(str(path)) as container:  # PyAV 19 refuses the rate of a closed one
        assert float(container.streams.video[0].average_rate) == pytest.approx(25.0)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_odd_sizes_are_padded_and_said(tmp_path, suffix):
    path, remarks = tmp_path / f"out{suffix}", []
    picture = np.full((47, 63, 3), 60, np.uint8)
    picture[:, 62] = picture[46] = 200
    with VideoSink(path, 10.0, remarks) as sink:
        sink.write("x", fused(picture, 0))
        sink.write("y", fused(picture, 0.1))
    frames, _ = read(path)
    assert frames[1][1].shape == (48, 64, 3)
    assert frames[1][1][20, 63].mean() > 150
    assert len(remarks) == 1
    assert remarks[0].startswith(f"out{suffix}: the frames have 63x47 pixels, and the video 64x48")


def test_grey_and_bgr_frames(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoSink(path, 10.0, []) as sink:
        sink.write("x", fused(np.full((48, 64), 90, np.uint8), 0, "mono8"))
        sink.write("y", fused(np.full((48, 64, 3), (200, 60, 30), np.uint8), 0.1, "bgr8"))
    frames, _ = read(path)
    np.testing.assert_allclose(frames[0][1][24, 32], (90, 90, 90), atol=4)
    np.testing.assert_allclose(frames[1][1][24, 32], (30, 60, 200), atol=6)


def test_stamps_that_do_not_rise_are_said(tmp_path):
    path, remarks = tmp_path / "out.mp4", []
    with VideoSink(path, 10.0, remarks) as sink:
        for index, time in enumerate([0.0, 0.1, 0.2, -500.0, -499.9, 90_000.0, 90_000.1]):
            sink.write("x", fused(levels([index / 10])[0], time))
    frames, _ = read(path)
    np.testing.assert_allclose([time for time, _ in frames], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], atol=0.001)
    assert any("2 frames have stamps that do not rise or jump" in text for text in remarks), remarks


def test_a_gif_of_more_than_50_hz_is_thinned_out(tmp_path):
    path, remarks = tmp_path / "out.gif", []
    with VideoSink(path, 100.0, remarks) as sink:
        for index, picture in enumerate(levels(np.arange(20) / 10)):
            sink.write("x", fused(picture, index / 100))
    frames, _ = read(path)
    np.testing.assert_allclose([time for time, _ in frames], np.arange(10) / 50, atol=0.001)
    assert remarks == ["out.gif: 10 frames are left out, since a GIF shows at most 50 a second"]


def write_all(path, frames, rate_hz=25.0):
    """The number of frames that the sink took before it raised, or all."""
    taken = 0
    try:
        with VideoSink(path, rate_hz, []) as sink:
            for index, picture in enumerate(frames):
                sink.write(f"{index}", fused(picture, index / rate_hz))
                taken += 1
    except SourceError as error:
        return taken, str(error)
    return taken, ""


@pytest.fixture
def videos(tmp_path):
    """A thermal and an rgb video of 1.5 s at uneven times."""
    times = [0, 50, 100, 150, 400, 450, 1000, 1050, 1500]
    return [str(write_video(tmp_path / f"{name}.mkv", levels([t / 1000 for t in times]), times_ms=times)) for name in ("t", "v")], times


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv"])
def test_the_times_of_a_video_stay_in_the_fused_one(tmp_path, videos, suffix):
    inputs, times = videos
    assert cli.main(["fuse", *inputs, "-o", str(tmp_path / f"out{suffix}"), *SETTINGS]) == 0
    frames, _ = read(tmp_path / f"out{suffix}")
    np.testing.assert_allclose([1000 * time for time, _ in frames], times, atol=1)
    np.testing.assert_allclose([frame.mean() for _, frame in frames], [20 + 0.06 * time for time in times], atol=4)


@pytest.mark.parametrize(
    ("name", "words"), [("out.xyz", "no suffix that fits"), ("out.mpg", "but not written"), ("out.png", "no suffix that fits")]
)
def test_an_unknown_suffix_is_refused_with_the_list(tmp_path, videos, capsys, name, words):
    assert cli.main(["fuse", *videos[0], "-o", str(tmp_path / name), *SETTINGS]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert ".mp4, .m4v, .mov, .mkv, .webm, .avi, .gif" in error
    assert not (tmp_path / name).exists()


def test_without_pyav_the_remedy_is_said(tmp_path, videos):
    code = "import sys; sys.modules['av'] = None; from aenet_ros.cli import main; sys.exit(main.main(sys.argv[1:]))"
    words = ["fuse", *videos[0], "-o", str(tmp_path / "out.mp4")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "pip install 'av>=17'" in done.stderr
    assert "Traceback" not in done.stderr
