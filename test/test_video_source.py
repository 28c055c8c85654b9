"""Videos in: frames are paired by the times in the files, with the pixels that the camera wrote, and what is left out is said."""

import struct
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest
from videos import av, levels, seconds_of, video_frame, write_video

from aenet_ros.cli import main as cli
from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import SourceError
from aenet_ros.io.sources import open_source

PLAIN = {"options": {"bf": "0"}}
STEADY = [index / 10 for index in range(30)]


def times(count, rate, begin=0.0):
    return [begin + index / rate for index in range(count)]


def pairs_of(thermal, rgb, **sync):
    source = open_source(thermal, rgb, SyncConfig(**sync))
    return [item.pair for item in source], source.remarks


def apart(pairs):
    """The largest difference in s of the instants that a pair's two pictures show."""
    return max(abs(seconds_of(pair.thermal) - seconds_of(pair.rgb)) for pair in pairs)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_variable_frame_rate(tmp_path, suffix):
    uneven = [index / 20 for index in range(20)] + [1 + index / 5 for index in range(10)]
    thermal = write_video(tmp_path / f"t{suffix}", levels(uneven), times_ms=[round(1000 * time) for time in uneven])
    rgb = write_video(tmp_path / f"v{suffix}", levels(times(60, 20)), rate=20)
    pairs, _ = pairs_of(thermal, rgb)
    assert len(pairs) == 30
    assert apart(pairs) < 0.04


@pytest.mark.parametrize("offset_s", [0.4, 1.0, 5.0, -2.0])
def test_recorders_that_start_apart(tmp_path, offset_s):
    """Thermal begins ``offset_s`` after rgb; every frame that has a partner finds it, and the rest is counted."""
    seconds = 7
    begins = max(offset_s, 0.0), max(-offset_s, 0.0)
    thermal, rgb = (
        write_video(tmp_path / f"{name}.mp4", levels(np.arange(0, seconds - begin, 0.05) / 2 + begin / 2), rate=20)
        for name, begin in zip(("t", "v"), begins, strict=True)
    )
    pairs, remarks = pairs_of(thermal, rgb, clock_offset_ms=-1000.0 * offset_s)
    alone = round(abs(offset_s) * 20)
    assert len(pairs) == seconds * 20 - alone
    assert apart(pairs) < 0.04
    assert any(text.startswith(f"{alone} frames left out: the other stream had no frame") for text in remarks), remarks


def test_a_silent_camera_costs_no_frame_that_has_a_partner(tmp_path):
    pause = [time for time in times(70, 20) if not 1.0 <= time < 2.5]
    thermal = write_video(tmp_path / "t.mp4", levels(pause), times_ms=[round(1000 * time) for time in pause])
    rgb = write_video(tmp_path / "v.mp4", levels(times(70, 20)), rate=20)
    pairs, remarks = pairs_of(thermal, rgb)
    assert len(pairs) == 40
    assert apart(pairs) < 0.04
    assert any(text.startswith("30 frames left out") for text in remarks), remarks


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".flv", ".avi", ".h264"])
def test_frames_that_are_stored_in_another_order(tmp_path, suffix):
    """H.264 with B-frames against a video without: the frames' places are those of display, and begin together."""
    thermal = write_video(tmp_path / f"t{suffix}", levels(STEADY), options={"bf": "3"})
    rgb = write_video(tmp_path / "v.mp4", levels(STEADY), **PLAIN)
    pairs, _ = pairs_of(thermal, rgb)
    assert len(pairs) == 30
    assert apart(pairs) < 0.04


def test_a_track_that_begins_later_in_its_file(tmp_path):
    late = [time for time in STEADY if time >= 1.0]
    thermal = write_video(tmp_path / "t.mp4", levels(late), times_ms=[round(1000 * time) for time in late])
    rgb = write_video(tmp_path / "v.mp4", levels(STEADY))
    pairs, remarks = pairs_of(thermal, rgb)
    assert len(pairs) == 20
    assert apart(pairs) < 0.04
    assert any("t.mp4 at 1.000 s and v.mp4 at 0.000 s of its own time begins" in text for text in remarks), remarks


def test_creation_times_are_told_and_not_used(tmp_path):
    begun = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)
    thermal, rgb = (
        write_video(tmp_path / f"{name}.mp4", levels(STEADY), tags={"creation_time": (begun + timedelta(seconds=later)).isoformat()})
        for name, later in (("t", 12), ("v", 0))
    )
    pairs, remarks = pairs_of(thermal, rgb)
    assert len(pairs) == 30
    advice = [text for text in remarks if "creation times" in text]
    assert len(advice) == 1
    assert "began 12 s apart" in advice[0]
    assert "sync.clock_offset_ms=-12000" in advice[0]


def test_a_raw_stream_has_the_rate_that_is_given(tmp_path):
    thermal = write_video(tmp_path / "t.h264", levels(times(40, 20)), rate=20)
    rgb = write_video(tmp_path / "v.mp4", levels(STEADY[:20]))
    pairs, remarks = pairs_of(thermal, rgb)
    assert (len(pairs), apart(pairs) < 0.04) == (20, True)
    assert any("t.h264 stores no times: its frames are taken as 20 a second" in text for text in remarks), remarks
    write_video(tmp_path / "slow.mjpeg", levels(times(20, 5)), codec="mjpeg", pixel_format="yuvj420p")
    source = open_source(tmp_path / "slow.mjpeg", rgb, SyncConfig(), sequence_hz=5.0)
    pairs = [item.pair for item in source]
    assert (len(pairs), apart(pairs) < 0.04) == (10, True)


@pytest.mark.parametrize(
    ("pixel_format", "dtype", "high"),
    [("gray16le", "<u2", 65_535), ("gray10le", "<u2", 1023), ("gray12le", "<u2", 4095), ("gray14le", "<u2", 16_383), ("gray", "u1", 255)],
)
def test_grey_counts_are_kept(tmp_path, pixel_format, dtype, high):
    rng = np.random.default_rng(5)
    counts = [rng.integers(0, high + 1, (35, 51), np.uint16).astype(dtype) for _ in range(4)]  # odd sizes: rows are padded
    thermal = write_video(tmp_path / "t.mkv", counts, codec="ffv1", pixel_format=pixel_format)
    rgb = write_video(tmp_path / "v.mp4", levels(STEADY[:4]))
    pairs, _ = pairs_of(thermal, rgb)
    assert len(pairs) == 4
    for pair, expected in zip(pairs, counts, strict=True):
        assert pair.thermal.encoding == ("mono8" if high == 255 else "mono16")
        np.testing.assert_array_equal(pair.thermal.data, expected)


def test_a_16_bit_video_given_as_rgb_is_refused(tmp_path):
    thermal = write_video(tmp_path / "t.mkv", [np.full((48, 64), 9000, "<u2")] * 3, codec="ffv1", pixel_format="gray16le")
    rgb = write_video(tmp_path / "v.mp4", levels(STEADY[:3]))
    with pytest.raises(SourceError, match=r"t\.mkv holds grey values of more than 12 bits.*swap the two videos"):
        list(open_source(rgb, thermal))


def test_swapped_videos_are_refused(tmp_path):
    """A scene of many dull colours, and a thermal one under OpenCV's palette "jet"."""
    rng = np.random.default_rng(8)
    smooth = cv2.resize(rng.random((6, 8, 3)).astype(np.float32), (192, 144), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    scene = (40 + 150 * (0.4 * smooth + 0.6 * smooth[..., :1])).astype(np.uint8)
    warm = cv2.applyColorMap((255 * smooth[..., 0]).astype(np.uint8), cv2.COLORMAP_JET)[:, :, ::-1]
    colour = write_video(tmp_path / "colour.mp4", [scene] * 3, options={"crf": "5"})
    palette = write_video(tmp_path / "palette.mp4", [np.ascontiguousarray(warm)] * 3, options={"crf": "5"})
    grey = write_video(tmp_path / "grey.mp4", levels(STEADY[:3], (144, 192)))
    with pytest.raises(SourceError, match=r"palette\.mp4 is given as the rgb video and seems colour-mapped.*--force"):
        open_source(grey, palette)
    with pytest.raises(SourceError, match=r"colour\.mp4 is given as the thermal video.*--force"):
        open_source(colour, grey)
    assert len(list(open_source(palette, colour))) == 3
    assert len(list(open_source(colour, palette, force=True))) == 3


def coloured(matrix, limited, pixel_format="yuv444p"):
    """A frame of red 200, green 60, blue 30, by the definition of the matrix (ITU-R BT.601 or BT.709)."""
    red, green, blue = 200 / 255, 60 / 255, 30 / 255
    kr, kb = (0.299, 0.114) if matrix == 6 else (0.2126, 0.0722)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    steps, scales = ((16, 219), 224) if limited else ((0, 255), 255)
    frame = av.VideoFrame(64, 48, pixel_format)
    for plane, value in zip(frame.planes, (steps[0] + steps[1] * luma, *(128 + scales * part for part in chroma)), strict=True):
        plane.update(bytes([round(value)]) * plane.buffer_size)
    frame.colorspace, frame.color_range = matrix, 1 if limited else 2
    return frame


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("matrix", [1, 6])
def test_colours_by_the_matrix_and_range_that_the_file_says(tmp_path, matrix, limited):
    path = tmp_path / "v.mp4"
    options = {"crf": "1", "colorspace": {1: "bt709", 6: "smpte170m"}[matrix], "color_range": "tv" if limited else "pc"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        for index in range(3):
            frame = coloured(matrix, limited)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    pairs, _ = pairs_of(write_video(tmp_path / "t.mp4", levels(STEADY[:3])), path)
    assert pairs[0].rgb.encoding == "rgb8"
    np.testing.assert_allclose(pairs[0].rgb.data[20, 30], (200, 60, 30), atol=3)


@pytest.mark.parametrize(
    ("codec", "pixel_format", "suffix"),
    [("mpeg4", "yuv420p", ".mp4"), ("gif", "gray", ".gif"), ("mjpeg", "yuvj422p", ".avi"), ("libvpx-vp9", "yuv420p", ".webm")],
)
def test_other_formats(tmp_path, codec, pixel_format, suffix):
    rgb = write_video(tmp_path / f"v{suffix}", levels(STEADY), codec=codec, pixel_format=pixel_format)
    pairs, _ = pairs_of(write_video(tmp_path / "t.mp4", levels(STEADY)), rgb)
    assert (len(pairs), apart(pairs) < 0.09) == (30, True)  # half a grey level is 0.01 s, and MPEG-4 is coarse


def with_matrix(path, matrix):
    """Write the display matrix of an mp4's only track (its tkhd box, version 0)."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", *(value << (30 if index % 3 == 2 else 16) for index, value in enumerate(matrix)))
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "corner"),  # where the bright upper left corner is shown
    [
        ((0, 1, 0, -1, 0, 0, 0, 0, 1), (0, -1)),  # a quarter to the right
        ((0, -1, 0, 1, 0, 0, 0, 0, 1), (-1, 0)),  # to the left
        ((-1, 0, 0, 0, -1, 0, 0, 0, 1), (-1, -1)),  # upside down
        ((-1, 0, 0, 0, 1, 0, 0, 0, 1), (0, -1)),  # a mirror
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0)),
    ],
)
def test_a_video_is_turned_as_its_metadata_says(tmp_path, matrix, corner):
    picture = np.full((48, 64, 3), 40, np.uint8)
    picture[:16, :16] = 220
    path = write_video(tmp_path / "v.mp4", [picture] * 3)
    with_matrix(path, matrix)
    pairs, remarks = pairs_of(path, write_video(tmp_path / "t.mp4", levels(STEADY[:3])))
    data = pairs[0].thermal.data
    assert data.shape == ((64, 48) if matrix[0] == 0 else (48, 64))
    assert abs(int(data[8 if corner[0] == 0 else -8, 8 if corner[1] == 0 else -8]) - 220) < 8
    assert any("is turned" in text for text in remarks) == (corner != (0, 0))


def test_audio_is_ignored_and_a_second_video_stream_is_said(tmp_path):
    path = tmp_path / "both.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=10) for _ in range(2)]
        audio = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index, picture in enumerate(levels(STEADY)):
            for stream, shown in zip(streams, (picture, 255 - picture), strict=True):
                frame = video_frame(shown, "yuv420p")
                frame.pts = index
                container.mux(stream.encode(frame))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.sample_rate, sound.pts = 8000, 0
        container.mux(audio.encode(sound))
        for stream in (*streams, audio):
            container.mux(stream.encode(None))
    pairs, remarks = pairs_of(path, write_video(tmp_path / "v.mp4", levels(STEADY)))
    assert (len(pairs), apart(pairs) < 0.09) == (30, True)
    assert any("both.mkv holds 2 video streams, and the first is used" in text for text in remarks), remarks


def noisy(pictures):
    rng = np.random.default_rng(3)
    return [picture + rng.integers(-15, 16, picture.shape).astype(np.uint8) for picture in pictures]


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".ts"])
def test_a_file_that_is_cut_off(tmp_path, suffix):
    path = write_video(tmp_path / f"t{suffix}", noisy(levels(STEADY)), codec="mpeg4", options={"b": "4000000"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    pairs, remarks = pairs_of(path, write_video(tmp_path / "v.mp4", levels(STEADY)))
    assert 10 < len(pairs) < 28
    assert apart(pairs) < 0.15
    assert any("left out" in text or "cut off" in text for text in remarks), remarks


def test_damaged_frames_are_left_out_and_said(tmp_path):
    path = write_video(
        tmp_path / "t.mp4", noisy(levels(STEADY)), codec="mpeg4", options={"b": "4000000", "g": "10", "sc_threshold": "1000000000"}
    )
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    place, size = places[14]
    data[place + size // 2 : place + size] = bytes(size - size // 2)
    path.write_bytes(data)
    pairs, remarks = pairs_of(path, write_video(tmp_path / "v.mp4", levels(STEADY)))
    assert len(pairs) == 24  # all but 14 to 19, up to the next keyframe
    assert apart(pairs) < 0.15
    assert any("t.mp4: 6 frames are damaged" in text for text in remarks), remarks


def test_what_is_no_video_is_said(tmp_path, capsys):
    rgb = write_video(tmp_path / "v.mp4", levels(STEADY))
    for name, content in (("empty.mp4", b""), ("text.avi", b"hello " * 300), ("headless.mp4", rgb.read_bytes()[:400])):
        (tmp_path / name).write_bytes(content)
        assert cli.main(["fuse", str(tmp_path / name), str(rgb), "-o", str(tmp_path / "out.mp4")]) == 1
        assert f"{name} cannot be opened as a video" in capsys.readouterr().err
    with pytest.raises(SourceError, match="given as thermal and as rgb"):
        open_source(rgb, rgb)
