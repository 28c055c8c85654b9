"""Topics of compressed video in bags: FFMPEGPacket, Foxglove's CompressedVideo, and CompressedImage with the format h264."""

import json
import sqlite3
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")
pytest.importorskip("mcap", reason="bags need the package mcap (pip install mcap)")
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from test_bags import BEGIN_NS, IMAGE, PERIOD_NS, BagMaker, aenet, make_bag, messages, stamp, thermal_of

from aenet_ros.config import Config, SyncConfig
from aenet_ros.io.bag_report import report_bag
from aenet_ros.io.bag_source import BagPlayer, BagSource

av = pytest.importorskip("av", minversion="17", reason="video topics need PyAV (pip install 'av>=17')")

COUNT = 12
FFMPEG, VIDEO = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket", "foxglove_msgs/msg/CompressedVideo"
DEFINITIONS = {
    FFMPEG: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\nbool is_bigendian\nuint8[] data",
    VIDEO: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format",
}


def grey_of(index):
    return 20 + 15 * index


def packets(codec="libx264", count=COUNT, bframes=0):
    """Encoded pictures of one grey each, in the order of encoding: (number of the picture, bytes)."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt, context.time_base = 64, 48, "yuv420p", Fraction(1, 25)
    context.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "4"} if not bframes else {"bf": str(bframes), "g": "6"}
    found = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey_of(index), np.uint8), format="rgb24")
        frame.pts = index
        found += context.encode(frame)
    return [(packet.pts, bytes(packet)) for packet in [*found, *context.encode(None)]]


def video_bag(path, kind, encoded, plugin=StoragePlugin.MCAP, begin=0):
    """A bag with raw thermal frames and a video topic; packet k is logged when picture k was taken."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in DEFINITIONS.items():
        store.register(get_types_from_msg(text, name))
    maker = BagMaker.__new__(BagMaker)
    maker.ros1, maker.store, maker.serialize = False, store, store.serialize_cdr
    maker.writer = Writer(path, version=9, storage_plugin=plugin)
    with maker.writer:
        thermal = maker.topic("/thermal/image_raw", IMAGE)
        msgtype = {"packet": FFMPEG, "foxglove": VIDEO, "image": "sensor_msgs/msg/CompressedImage", "raw": IMAGE}[kind]
        video = maker.topic("/camera/image/video", msgtype)
        for index in range(COUNT):
            at = BEGIN_NS + index * PERIOD_NS
            maker.image(thermal, at, at, thermal_of(index), "mono16", "thermal")
        for order, (index, data) in enumerate(encoded[begin:]):
            at, log = BEGIN_NS + index * PERIOD_NS, BEGIN_NS + (order + begin) * PERIOD_NS + 1
            header, values = maker.header(at, "camera"), np.frombuffer(data, np.uint8)
            if kind == "packet":
                message = store.types[FFMPEG](header, 64, 48, "libx264", index, 0, False, values)
            elif kind == "foxglove":
                message = store.types[VIDEO](header.stamp, "camera", values, "h264")
            elif kind == "raw":
                message = store.types[IMAGE](header, 48, 64, "h264", 0, values.size, values)
            else:
                message = store.types[msgtype](header, "h264", values)
            maker.writer.write(video, log, store.serialize_cdr(message, msgtype))
    return path


def pairs_of(path, **sync):
    return [item.pair for item in BagSource(path, SyncConfig(**sync)) if item.pair is not None]


@pytest.mark.parametrize("kind", ["packet", "foxglove", "image", "raw"])
def test_a_video_topic_is_decoded_with_the_packets_stamps(tmp_path, kind, capsys):
    path = video_bag(tmp_path / "in", kind, packets())
    pairs = pairs_of(path)
    assert len(pairs) == COUNT
    for index, pair in enumerate(pairs):
        assert pair.rgb.stamp_ns == pair.thermal.stamp_ns == BEGIN_NS + index * PERIOD_NS
        assert (pair.rgb.frame_id, pair.rgb.size) == ("camera", (48, 64))
        assert abs(float(pair.rgb.data.mean()) - grey_of(index)) < 4
    assert aenet("inspect", path) == 0
    assert f"pairs: {COUNT} of {COUNT}" in capsys.readouterr().out
    assert aenet("fuse", path, "-o", tmp_path / "out") == 0


def test_frames_that_come_out_of_order_are_paired_by_their_stamps(tmp_path):
    pairs = pairs_of(video_bag(tmp_path / "in", "packet", packets(bframes=2)))
    assert len(pairs) == COUNT
    for pair in pairs:
        index = (pair.rgb.stamp_ns - BEGIN_NS) // PERIOD_NS
        assert pair.thermal.stamp_ns == pair.rgb.stamp_ns
        assert abs(float(pair.rgb.data.mean()) - grey_of(index)) < 6


def test_a_bag_that_begins_between_keyframes(tmp_path):
    """Frames before the first keyframe cannot be decoded; those after it are paired."""
    path = video_bag(tmp_path / "in", "packet", packets(), begin=2)
    pairs = pairs_of(path)
    assert any(
        "2 frames of /camera/image/video cannot be decoded: video frames before a keyframe" in text
        for text in report_bag(path, Config())["remarks"]
    )
    assert [(pair.rgb.stamp_ns - BEGIN_NS) // PERIOD_NS for pair in pairs] == list(range(4, COUNT))


@pytest.mark.parametrize("kind", ["packet", "raw"])
def test_bytes_that_are_no_video_are_counted(tmp_path, capsys, kind):
    noise = np.random.default_rng(1)
    path = video_bag(tmp_path / "in", kind, [(index, noise.bytes(4000)) for index in range(COUNT)])
    assert aenet("inspect", path, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["pairing"]["pairs"], report["pairing"]["undecoded"]["rgb"]) == (0, COUNT)
    assert "no frame of /camera/image/video can be decoded" in report["advice"]
    assert aenet("fuse", path, "-o", tmp_path / "out") == 1


def test_a_type_without_its_definition(tmp_path):
    """sqlite3 as Humble records it."""
    path = video_bag(tmp_path / "in", "packet", packets(), StoragePlugin.SQLITE3)
    with sqlite3.connect(path / "in.db3") as db:
        db.execute("DROP TABLE message_definitions")
        db.execute("UPDATE schema SET schema_version = 3")
    assert len(pairs_of(path)) == COUNT


def test_an_unknown_codec_is_named(tmp_path, capsys):
    path = video_bag(tmp_path / "in", "packet", packets())
    data = (path / "in.mcap").read_bytes().replace(b"libx264\0", b"strange\0")
    (path / "in.mcap").write_bytes(data)
    assert aenet("inspect", path) == 1
    assert "strange" in "".join(capsys.readouterr())


def test_a_damaged_packet_costs_the_frames_up_to_the_next_keyframe(tmp_path, capsys):
    encoded = packets()
    encoded[5] = (5, encoded[5][1][:8])
    path = video_bag(tmp_path / "in", "packet", encoded)
    indices = [(pair.rgb.stamp_ns - BEGIN_NS) // PERIOD_NS for pair in pairs_of(path)]
    assert set(range(5)) | set(range(8, COUNT)) <= set(indices)
    assert aenet("fuse", path, "-o", tmp_path / "out") in (0, 1)
    assert "Traceback" not in capsys.readouterr().err


def test_fuse_writes_the_fused_video_that_view_and_inspect_read(tmp_path, capsys):
    """The same pictures as in /fused/image, within the loss of H.264; at a given bitrate, and twice the same bytes."""
    source = make_bag(tmp_path / "in", count=8)
    small = ("--video", "--keep", "/words", "--set", "output.video_keyframe_s=0.1")
    assert aenet("fuse", source, "-o", tmp_path / "plain") == aenet("fuse", source, "-o", tmp_path / "video", *small) == 0
    pictures = [message for _, message in messages(tmp_path / "plain")[0]["/fused/image"]]
    found = messages(tmp_path / "video")[0]
    assert set(found) == {"/words", "/fused/video", "/fused/camera_info"}
    packets = [message for _, message in found["/fused/video"]]
    assert {(packet.format, packet.frame_id) for packet in packets} == {("h264", "rgb_optical")}
    assert [packet.timestamp.sec * 10**9 + packet.timestamp.nanosec for packet in packets] == [stamp(picture) for picture in pictures]
    assert packets[0].data[:4].tolist() == [0, 0, 0, 1]

    player = BagPlayer(tmp_path / "video")
    assert (player.recorded, player.topics) == (True, {"fused": "/fused/video"})
    with player.open() as bag:
        shown = [frame for event in player.events(bag, 0) for frame in event.frames()]
    assert [frame.stamp_ns for frame in shown] == [stamp(picture) for picture in pictures]
    for picture, frame in zip(pictures, shown, strict=True):
        pixels = picture.data.reshape(picture.height, picture.width, 3)
        assert np.abs(frame.data.astype(int) - pixels).mean() < 6
    capsys.readouterr()
    assert aenet("inspect", tmp_path / "video", "--json") in (0, 1)
    topics = {topic["name"]: topic for topic in json.loads(capsys.readouterr().out)["topics"]}
    assert (topics["/fused/video"]["messages"], topics["/fused/video"]["encodings"]) == (8, ["h264 (video)"])

    assert aenet("fuse", source, "-o", tmp_path / "again.mcap", *small) == 0
    again = [message for _, message in messages(tmp_path / "again.mcap")[0]["/fused/video"]]
    assert [packet.data.tobytes() for packet in again] == [packet.data.tobytes() for packet in packets]
    assert aenet("fuse", tmp_path / "video", "-o", tmp_path / "none") == 1  # no cameras in it
    assert aenet("fuse", source, "-o", tmp_path / "fused.mp4", "--video") == 1
    assert "--video is for bags" in capsys.readouterr().err
