"""H.264 packets of the video topics, decoded by FFmpeg and compared with the pictures; and the bag that holds them."""

import cv2
import numpy as np
import pytest
from videos import av

from aenet_ros.config import OutputConfig
from aenet_ros.core.errors import ImageError, MissingDependencyError
from aenet_ros.io import video_encoder
from aenet_ros.io.video_encoder import VideoEncoder

PERIOD_NS = 33_333_333
BEGIN_NS = 1_700_000_000_123_456_789
CONFIG = OutputConfig()


def scene(index, size=(240, 320)):
    """A coloured scene with edges that moves, uint8 [H, W, 3], red first."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    picture = np.stack([columns * 0.6 + 20, rows * 0.7 + 30, 128 + 60 * np.sin((columns + rows) / 40)], axis=-1)
    cv2.circle(picture, (40 + 4 * index, size[0] // 2), 25, (240, 60, 40), -1)
    cv2.rectangle(picture, (10, 10 + index), (60, 40 + index), (30, 220, 90), -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def psnr(first, second):
    return 10 * np.log10(255**2 / max(np.mean((first.astype(float) - second.astype(float)) ** 2), 1e-3))


def nal_types(data):
    """Types of the NAL units, after Annex B's start codes."""
    parts = data.split(b"\x00\x00\x01")
    assert parts[0] in (b"", b"\x00"), "Annex B begins with a start code"
    return [part[0] & 31 for part in parts[1:]]


class Viewer:
    """A decoder that shows every packet's picture before the next packet, as Foxglove does."""

    def __init__(self):
        self.context = av.CodecContext.create("h264", "r")
        self.context.thread_count = 1

    def show(self, data, pixel_format="rgb24"):
        (frame,) = self.context.decode(av.Packet(data))
        return frame.to_ndarray(format=pixel_format)


def stream(encoder, pictures, encoding="rgb8", config=CONFIG, begin_ns=BEGIN_NS, period_ns=PERIOD_NS):
    packets = [encoder.encode(picture, encoding, begin_ns + index * period_ns, config) for index, picture in enumerate(pictures)]
    assert [len(group) for group in packets] == [1] * len(pictures), "one packet a picture, at once"
    return [group[0] for group in packets]


def test_every_picture_is_shown_at_once_and_close_to_the_input():
    pictures = [scene(index) for index in range(40)]
    packets, viewer = stream(VideoEncoder(hardware=False), pictures, config=OutputConfig(video_keyframe_s=0.5)), Viewer()
    for index, (picture, packet) in enumerate(zip(pictures, packets, strict=True)):
        assert psnr(picture, viewer.show(packet.data)) > 30
        assert (packet.stamp_ns, packet.width, packet.height) == (BEGIN_NS + index * PERIOD_NS, 320, 240)
    keyframes = [index for index, packet in enumerate(packets) if packet.keyframe]
    assert keyframes == [0, 16, 32], "the first picture 0.5 s after the last keyframe, at 30 Hz"
    for packet in packets:
        types = nal_types(packet.data)
        assert (5 in types) == packet.keyframe
        if packet.keyframe:
            assert types.index(7) < types.index(8) < types.index(5), "SPS and PPS before every keyframe"
    late = Viewer()
    assert psnr(pictures[16], late.show(packets[16].data)) > 30, "a viewer can begin at any keyframe"


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
@pytest.mark.parametrize("size", [(240, 320), (121, 161), (1, 1)])
def test_encodings_and_odd_sizes(encoding, size):
    """Odd sizes get one column or row more, which repeats the last one."""
    rgb = scene(3, size)
    picture = {"rgb8": rgb, "bgr8": rgb[..., ::-1], "mono8": rgb[..., 1]}[encoding]
    (packet,) = VideoEncoder(hardware=False).encode(picture, encoding, BEGIN_NS, CONFIG)
    shown = Viewer().show(packet.data, "gray" if encoding == "mono8" else "rgb24")
    even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert shown.shape[:2] == (packet.height, packet.width) == even
    expected = picture if encoding == "mono8" else rgb
    assert psnr(expected, shown[: size[0], : size[1]]) > 28
    assert psnr(expected[-1], shown[-1, : size[1]]) > 20


def test_a_new_stream_begins_where_size_or_bitrate_changes_and_where_time_goes_back():
    encoder, viewer = VideoEncoder(hardware=False), Viewer()
    steps = [
        (scene(0), "rgb8", 0, CONFIG, True),
        (scene(1), "bgr8", 1, CONFIG, False),
        (scene(2, (96, 128)), "rgb8", 2, CONFIG, True),
        (scene(3), "rgb8", 3, CONFIG, True),
        (scene(4)[..., 0], "mono8", 4, CONFIG, False),
        (scene(5), "rgb8", 5, OutputConfig(video_bitrate_kbps=500), True),
        (scene(6), "rgb8", -300, OutputConfig(video_bitrate_kbps=500), True),
        (scene(7), "rgb8", -299, OutputConfig(video_bitrate_kbps=500), False),
    ]
    for number, (picture, encoding, at, config, keyframe) in enumerate(steps):
        (packet,) = encoder.encode(picture, encoding, BEGIN_NS + at * PERIOD_NS, config)
        assert (packet.keyframe, packet.number) == (keyframe, number)
        assert viewer.show(packet.data).shape[:2] == picture.shape[:2]
    (packet,) = encoder.encode(scene(8), "rgb8", BEGIN_NS - 298 * PERIOD_NS, OutputConfig(video_bitrate_kbps=500), keyframe=True)
    assert packet.keyframe
    encoder.close()
    (packet,) = encoder.encode(scene(9), "rgb8", BEGIN_NS - 297 * PERIOD_NS, OutputConfig(video_bitrate_kbps=500))
    assert packet.keyframe
    assert Viewer().show(packet.data).shape == (240, 320, 3)


@pytest.mark.parametrize("rate_hz", [9, 60])
def test_the_bitrate_holds_at_other_rates_than_assumed(rate_hz):
    """Of noise, which takes all that is given; measured from the first keyframe on at which the encoder knows the rate."""
    noise = np.random.default_rng(0)
    pictures = [cv2.resize(noise.integers(0, 256, (60, 80, 3), np.uint8), (160, 120)) for _ in range(6 * rate_hz)]
    config = OutputConfig(video_bitrate_kbps=300, video_keyframe_s=1.0)
    packets = stream(VideoEncoder(hardware=False), pictures, config=config, period_ns=round(1e9 / rate_hz))
    kbps = sum(len(packet.data) for packet in packets[2 * rate_hz :]) * 8 / 4 / 1000
    assert 200 < kbps < 400


def test_a_pause_does_not_raise_the_bitrate():
    pictures = [scene(index % 30) for index in range(60)]
    encoder = VideoEncoder(hardware=False)
    stream(encoder, pictures)
    (after,) = encoder.encode(scene(0), "rgb8", BEGIN_NS + 60_000_000_000, CONFIG)
    assert after.keyframe
    assert len(after.data) * 8 < CONFIG.video_bitrate_kbps * 1000


def test_parameter_sets_that_the_encoder_keeps_apart_are_put_before_keyframes(monkeypatch):
    """Hardware encoders keep SPS and PPS in extradata; libx264 does so with the flag global_header."""
    options = {**video_encoder.ENCODERS["libx264"], "flags": "+global_header"}
    monkeypatch.setitem(video_encoder.ENCODERS, "libx264", options)
    packets = stream(VideoEncoder(hardware=False), [scene(index) for index in range(3)])
    assert {7, 8, 5} <= set(nal_types(packets[0].data))
    assert not {7, 8} & set(nal_types(packets[1].data))
    viewer = Viewer()
    assert [viewer.show(packet.data).shape for packet in packets] == [(240, 320, 3)] * 3


def test_hardware_that_is_not_there_is_named_and_replaced():
    encoder = VideoEncoder(hardware=True)
    packets, viewer = stream(encoder, [scene(index) for index in range(3)]), Viewer()
    assert psnr(scene(2), [viewer.show(packet.data) for packet in packets][-1]) > 30
    assert encoder.name in video_encoder.ENCODERS
    names = list(video_encoder.ENCODERS)
    assert list(encoder.rejected) == names[: names.index(encoder.name)]
    assert all(reason and "avcodec" not in reason for reason in encoder.rejected.values())


@pytest.mark.parametrize(("codec", "pictures", "words"), [("ffv1", 1, "Annex B"), ("mpeg4", 31, "holds 30 pictures back")])
def test_an_encoder_that_does_not_write_h264_is_replaced(monkeypatch, codec, pictures, words):
    """Encoders of other codecs stand for broken hardware."""
    monkeypatch.setattr(video_encoder, "ENCODERS", {codec: {}, "libx264": video_encoder.ENCODERS["libx264"]})
    encoder = VideoEncoder(hardware=True)
    for index in range(pictures - 1):
        assert encoder.encode(scene(index), "rgb8", BEGIN_NS + index * PERIOD_NS, CONFIG) == []
    with pytest.raises(ImageError, match=f"by {codec}: .*{words}"):
        encoder.encode(scene(0), "rgb8", BEGIN_NS, CONFIG)
    stream(encoder, [scene(0), scene(1)])
    assert encoder.name == "libx264"
    assert words in encoder.rejected[codec]


def test_without_an_encoder_the_remedy_is_told(monkeypatch):
    monkeypatch.setattr(video_encoder, "SOFTWARE", "libabsent264")
    monkeypatch.setattr(video_encoder, "ENCODERS", {"libabsent264": {}})
    with pytest.raises(MissingDependencyError, match=r"libabsent264.*pip install 'av>=17'"):
        VideoEncoder(hardware=False).encode(scene(0), "rgb8", 0, CONFIG)


def test_a_picture_that_cannot_be_encoded_costs_only_itself():
    encoder = VideoEncoder(hardware=False)
    stream(encoder, [scene(0), scene(1)])
    with pytest.raises(ImageError, match="320x240 cannot be encoded by libx264"):
        encoder.encode(scene(2).astype(np.float32), "rgb8", BEGIN_NS, CONFIG)
    (packet,) = encoder.encode(scene(3), "rgb8", BEGIN_NS + 3 * PERIOD_NS, CONFIG)
    assert packet.keyframe
    assert psnr(scene(3), Viewer().show(packet.data)) > 30


def test_the_video_is_written_to_a_file_without_encoding_again(tmp_path):
    """The packets are a plain .h264 stream, which FFmpeg's own demuxer reads."""
    pictures = [scene(index) for index in range(10)]
    path = tmp_path / "stream.h264"
    path.write_bytes(b"".join(packet.data for packet in stream(VideoEncoder(hardware=False), pictures)))
    with av.open(str(path), options={"framerate": "30"}) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == 10
    assert min(psnr(picture, frame) for picture, frame in zip(pictures, shown, strict=True)) > 30
