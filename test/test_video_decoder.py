"""Video packets that come one by one, as in FFMPEGPacket and CompressedVideo topics, made here with PyAV."""

from fractions import Fraction

import numpy as np
import pytest

from aenet_ros.core.errors import UnsupportedEncodingError
from aenet_ros.io.video_decoder import PacketDecoder

av = pytest.importorskip("av", minversion="17", reason="videos need PyAV (pip install 'av>=17')")

BEGIN_NS, PERIOD_NS = 1_700_000_000_000_000_000, 33_333_333
ENCODERS = {
    "h264": ("libx264", {"tune": "zerolatency"}),
    "h264 with B-frames": ("libx264", {"bf": "2"}),
    "h265": ("libx265", {"x265-params": "log-level=none:keyint=10:min-keyint=10:scenecut=0:open-gop=0:bframes=2"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}


def packets(kind, count=30, pixel_format="yuv420p"):
    """(bytes, stamp) of a stream whose picture k is grey of level 20 + 6 k, with a keyframe every 10 pictures."""
    name, options = ENCODERS[kind]
    try:
        context = av.CodecContext.create(name, "w")
    except ValueError:
        pytest.skip(f"this build of FFmpeg has no {name}")
    context.width, context.height, context.pix_fmt = 64, 48, pixel_format
    context.time_base, context.framerate = Fraction(1, 30), 30
    context.options = {"g": "10", **options}
    found = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 6 * index, np.uint8), "rgb24").reformat(format=pixel_format)
        frame.pts = index
        found += context.encode(frame)
    return [(bytes(packet), BEGIN_NS + packet.pts * PERIOD_NS) for packet in [*found, *context.encode(None)]]


def check(frames, indices):
    """Each frame has the grey level of the instant that its stamp says."""
    assert [frame.stamp_ns for frame in frames] == [BEGIN_NS + index * PERIOD_NS for index in indices]
    np.testing.assert_allclose([frame.data.mean() for frame in frames], [20 + 6 * index for index in indices], atol=3)


@pytest.mark.parametrize("kind", ENCODERS)
def test_each_frame_has_its_packets_stamp(kind):
    decoder = PacketDecoder(kind.split()[0])
    frames = [frame for data, stamp_ns in packets(kind) for frame in decoder.decode(data, stamp_ns)]
    frames += decoder.flush()
    assert frames[0].encoding == "rgb8"
    assert frames[0].data.shape == (48, 64, 3)
    check(frames, range(30))


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_recording_that_begins_between_keyframes(kind):
    decoder = PacketDecoder(kind.split()[0])
    frames = [frame for data, stamp_ns in packets(kind)[4:] for frame in decoder.decode(data, stamp_ns)]
    check(frames + decoder.flush(), range(10, 30))


def test_thermal_is_taken_as_its_luma():
    decoder = PacketDecoder("h264_nvenc", thermal=True)
    frames = [frame for data, stamp_ns in packets("h264") for frame in decoder.decode(data, stamp_ns)]
    assert frames[0].encoding == "mono8"
    check(frames, range(30))


def test_an_unknown_codec():
    with pytest.raises(UnsupportedEncodingError, match=r"'theora' is not supported; use one of h264, hevc"):
        PacketDecoder("theora")
