"""Bags with what this package does not read: unknown types, messages of ROS 1 in MCAP, protobuf, JSON, channels without a schema."""

import json
import sqlite3

import numpy as np
import pytest
import yaml

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")
pytest.importorskip("mcap", reason="bags need the package mcap (pip install mcap)")

from mcap.reader import make_reader
from mcap.writer import Writer as McapWriter
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from test_bags import BEGIN_NS, IMAGE, INFO, PERIOD_NS, PLAIN, BagMaker, aenet, make_bag, rgb_of, thermal_of

from aenet_ros.config import SyncConfig
from aenet_ros.io.bag_source import BagSource

COUNT = 5
BATTERY = "my_robot_msgs/msg/Battery"


class McapMaker:
    """Writes an MCAP with the cameras' topics, in CDR or as ROS 1 has them, and whatever else is asked for."""

    def __init__(self, path, profile="ros2", encoding="cdr"):
        self.ros1 = encoding == "ros1"
        self.store = get_typestore(Stores.ROS1_NOETIC if self.ros1 else Stores.ROS2_HUMBLE)
        self.file = path.open("wb")
        self.writer = McapWriter(self.file)
        self.writer.start(profile=profile, library="test")
        definition = self.store.generate_msgdef(IMAGE, ros_version=1 if self.ros1 else 2)[0].encode()
        name, language = ("sensor_msgs/Image", "ros1msg") if self.ros1 else (IMAGE, "ros2msg")
        schema = self.writer.register_schema(name, language, definition)
        self.topics = {topic: self.writer.register_channel(topic, encoding, schema) for topic in ("/ir/image_raw", "/cam/image_raw")}

    def channel(self, topic, encoding, name="", language="", schema=b""):
        number = self.writer.register_schema(name, language, schema) if name else 0
        return self.writer.register_channel(topic, encoding, number)

    def add(self, channel, log_ns, data):
        self.writer.add_message(channel, log_ns, data, log_ns)

    def cameras(self, count=COUNT):
        for index in range(count):
            at = BEGIN_NS + index * PERIOD_NS
            for topic, picture, encoding in (("/ir/image_raw", thermal_of(index), "mono16"), ("/cam/image_raw", rgb_of(index), "rgb8")):
                self.add(self.topics[topic], at, self.image(at, picture, encoding))

    def image(self, stamp_ns, picture, encoding):
        maker = BagMaker.__new__(BagMaker)
        maker.ros1, maker.store = self.ros1, self.store
        data = np.frombuffer(picture.tobytes(), np.uint8)
        header = maker.header(stamp_ns, "camera")
        message = self.store.types[IMAGE](header, *picture.shape[:2], encoding, 0, data.size // picture.shape[0], data)
        return bytes((self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr)(message, IMAGE))

    def finish(self):
        self.writer.finish()
        self.file.close()


def raw_messages(path):
    """All messages of an MCAP file by topic: (log time, bytes); and each topic's (message encoding, schema name, schema)."""
    found, kinds = {}, {}
    with path.open("rb") as file:
        reader = make_reader(file)
        for schema, channel, message in reader.iter_messages():
            found.setdefault(channel.topic, []).append((message.log_time, message.data))
            kinds[channel.topic] = (channel.message_encoding, schema.name if schema else "", schema.data if schema else b"")
    return found, kinds


def test_foreign_channels_beside_the_cameras_are_copied_byte_for_byte(tmp_path, capsys):
    maker = McapMaker(tmp_path / "mixed.mcap")
    log = maker.channel("/log", "protobuf", "foxglove.Log", "protobuf", b"\x0a\x04\xff\xfe")
    pose = maker.channel("/pose", "json", "Pose", "jsonschema", b'{"type": "object"}')
    bare = maker.channel("/bare", "json")
    unknown = maker.channel("/battery", "cdr", BATTERY)
    broken = maker.channel("/broken", "cdr", "my_robot_msgs/msg/Broken", "ros2msg", b"no definition \xff")
    sent = {
        "/log": b"\x0a\x02ab",
        "/pose": b'{"x": 1}',
        "/bare": b"{}",
        "/battery": b"\x00\x01\x00\x00abcd",
        "/broken": b"\x00\x01\x00\x00",
    }
    maker.cameras()
    for channel, topic in ((log, "/log"), (pose, "/pose"), (bare, "/bare"), (unknown, "/battery"), (broken, "/broken")):
        maker.add(channel, BEGIN_NS + 7, sent[topic])
    maker.finish()
    assert aenet("inspect", tmp_path / "mixed.mcap") == 0
    assert "damaged" not in "".join(capsys.readouterr())
    assert aenet("fuse", tmp_path / "mixed.mcap", "-o", tmp_path / "out.mcap", "--set", PLAIN) == 0
    said = capsys.readouterr().err
    assert "/log (protobuf foxglove.Log)" in said
    assert "/battery" not in said
    assert "damaged" not in said
    before, kinds = raw_messages(tmp_path / "mixed.mcap")
    after, new_kinds = raw_messages(tmp_path / "out.mcap")
    assert len(after.pop("/fused/image")) == COUNT
    assert after == before
    new_kinds.pop("/fused/image")
    assert new_kinds == kinds
    assert aenet("fuse", tmp_path / "mixed.mcap", "-o", tmp_path / "cameras.mcap", "--keep", "/ir/image_raw") == 0
    assert "protobuf" not in capsys.readouterr().err


@pytest.mark.parametrize("profile", ["ros1", ""])
def test_an_mcap_of_ros1_is_read_and_its_topics_are_converted(tmp_path, profile):
    maker = McapMaker(tmp_path / "ros1.mcap", profile, "ros1")
    maker.cameras()
    maker.finish()
    pairs = [item.pair for item in BagSource(tmp_path / "ros1.mcap", SyncConfig())]
    assert len(pairs) == COUNT
    for index, pair in enumerate(pairs):
        assert pair.thermal.stamp_ns == pair.rgb.stamp_ns == BEGIN_NS + index * PERIOD_NS
        np.testing.assert_array_equal(pair.thermal.data, thermal_of(index))
        np.testing.assert_array_equal(pair.rgb.data, rgb_of(index))
    assert aenet("inspect", tmp_path / "ros1.mcap") == 0
    assert aenet("fuse", tmp_path / "ros1.mcap", "-o", tmp_path / "out") == 0
    with AnyReader([tmp_path / "out"]) as reader:
        assert {item.ext.serialization_format for item in reader.connections} == {"cdr"}
        read = [reader.deserialize(data, item.msgtype) for item, _, data in reader.messages() if item.topic == "/ir/image_raw"]
    np.testing.assert_array_equal(read[3].data.view(np.uint16), thermal_of(3).ravel())


def test_an_mcap_without_the_profile_of_ros2_is_read(tmp_path):
    maker = McapMaker(tmp_path / "plain.mcap", profile="")
    maker.cameras()
    maker.finish()
    assert len(list(BagSource(tmp_path / "plain.mcap", SyncConfig()))) == COUNT


@pytest.mark.parametrize(("encoding", "name"), [("protobuf", "foxglove.CompressedImage"), ("json", "foxglove.RawImage")])
def test_cameras_in_another_encoding_are_named(tmp_path, capsys, encoding, name):
    with (tmp_path / "foxglove.mcap").open("wb") as file:
        writer = McapWriter(file)
        writer.start(profile="", library="test")
        schema = writer.register_schema(name, encoding, b"\x0a\x04test")
        for topic in ("/thermal/image", "/camera/image"):
            channel = writer.register_channel(topic, encoding, schema)
            for index in range(3):
                writer.add_message(channel, BEGIN_NS + index, b"\x0a\x02ab", BEGIN_NS + index)
        writer.finish()
    assert aenet("inspect", tmp_path / "foxglove.mcap") == 1
    said = "".join(capsys.readouterr())
    assert "damaged" not in said
    assert f"/thermal/image ({encoding} {name}" in said
    assert aenet("fuse", tmp_path / "foxglove.mcap", "-o", tmp_path / "out.mcap") == 1
    assert f"{encoding} {name}" in capsys.readouterr().err


@pytest.mark.parametrize("definitions", ["none", "unknown"])
def test_a_sqlite3_bag_with_a_type_without_definition(tmp_path, definitions):
    """As Humble records it (no definitions at all), and as Jazzy does where it does not find one (encoding "unknown")."""
    maker = BagMaker(tmp_path / "in", "sqlite3")
    maker.store.register(get_types_from_msg("float32 volts\nuint8 state\n", BATTERY))
    data = bytes(maker.store.serialize_cdr(maker.store.types[BATTERY](24.0, 1), BATTERY))
    with maker.writer:
        thermal, rgb, battery = (
            maker.topic(*item) for item in (("/ir/image_raw", IMAGE), ("/cam/image_raw", IMAGE), ("/battery", BATTERY))
        )
        for index in range(COUNT):
            at = BEGIN_NS + index * PERIOD_NS
            maker.image(thermal, at, at, thermal_of(index), "mono16", "thermal")
            maker.image(rgb, at, at, rgb_of(index), "rgb8", "rgb")
            maker.writer.write(battery, at, data)
    with sqlite3.connect(tmp_path / "in" / "in.db3") as db:
        if definitions == "none":
            db.execute("DROP TABLE message_definitions")
            db.execute("UPDATE schema SET schema_version = 3")
        else:
            db.execute(
                "UPDATE message_definitions SET encoding = 'unknown', encoded_message_definition = '' WHERE topic_type = ?", [BATTERY]
            )
    assert aenet("inspect", tmp_path / "in") == 0
    assert aenet("fuse", tmp_path / "in", "-o", tmp_path / "out") == 0
    found, kinds = raw_messages(tmp_path / "out" / "out.mcap")
    assert [item[1] for item in found["/battery"]] == [data] * COUNT
    assert kinds["/battery"] == ("cdr", BATTERY, b"")
    assert b"uint32 height" in kinds["/ir/image_raw"][2]
    assert aenet("fuse", tmp_path / "in", "-o", tmp_path / "bare", "--keep", "none") == 0


def test_names_in_capitals_and_wrong_names(tmp_path, monkeypatch):
    """What a file is says its content, and nothing is copied to a temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no_such_folder"))
    bags = {"A.MCAP": make_bag(tmp_path / "a") / "a.mcap", "B.DB3": make_bag(tmp_path / "b", "sqlite3") / "b.db3"}
    bags |= {"C.BAG": make_bag(tmp_path / "c.bag", "ros1"), "wrong.mcap": make_bag(tmp_path / "d", "sqlite3") / "d.db3"}
    for name, path in bags.items():
        target = path.rename(tmp_path / name)
        assert len(list(BagSource(target, SyncConfig()))) == 8, name
        assert aenet("fuse", target, "-o", tmp_path / f"out_{target.stem}") == 0
    assert aenet("fuse", tmp_path / "A.MCAP", "-o", tmp_path / "OUT.MCAP") == 0
    assert len(raw_messages(tmp_path / "OUT.MCAP")[0]["/fused/image"]) == 8


def test_missing_files_of_a_split_bag_are_named(tmp_path):
    folder = make_bag(tmp_path / "in")
    metadata = folder / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("relative_file_paths: [in.mcap]", "relative_file_paths: [in.mcap, in_1.mcap]"))
    metadata.write_text(metadata.read_text().replace("- in.mcap\n", "- in.mcap\n  - in_1.mcap\n"))
    source = BagSource(folder, SyncConfig())
    assert len(list(source)) == 8
    assert "in_1.mcap" in " ".join(source.remarks)


def test_converting_ros1_prints_nothing_on_stdout(tmp_path, capsys):
    """rosbags prints what it migrates, which would spoil --json."""
    source = make_bag(tmp_path / "in.bag", "ros1")
    assert aenet("fuse", source, "-o", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["fused"] == 8


def test_the_metadata_can_be_read_by_humble(tmp_path):
    """QoS with numbers (metadata before version 9), in metadata.yaml and in the file."""
    writer = Writer(tmp_path / "in", version=9, storage_plugin=StoragePlugin.MCAP)  # QoS with words
    maker = BagMaker.__new__(BagMaker)
    maker.ros1, maker.store, maker.writer = False, get_typestore(Stores.ROS2_HUMBLE), writer
    maker.serialize = maker.store.serialize_cdr
    with writer:
        topics = [maker.topic(name, IMAGE) for name in ("/ir/image_raw", "/cam/image_raw")]
        maker.topic("/cam/camera_info", INFO)
        maker.image(topics[0], BEGIN_NS, BEGIN_NS, thermal_of(0), "mono16", "thermal")
        maker.image(topics[1], BEGIN_NS, BEGIN_NS, rgb_of(0), "rgb8", "rgb")
    assert aenet("fuse", tmp_path / "in", "-o", tmp_path / "out") == 0
    content = yaml.safe_load((tmp_path / "out" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert (content["version"], content["message_count"], content["relative_file_paths"]) == (8, 3, ["out.mcap"])
    qos = {item["topic_metadata"]["name"]: item["topic_metadata"]["offered_qos_profiles"] for item in content["topics_with_message_count"]}
    assert yaml.safe_load(qos["/ir/image_raw"])[0]["reliability"] == 2  # best effort
    assert yaml.safe_load(qos["/fused/image"])[0]["reliability"] == 1  # reliable
