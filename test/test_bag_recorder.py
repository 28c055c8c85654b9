"""Recorded bags, read back with two other libraries."""

import struct
from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install '.[bags]'")
pytest.importorskip("mcap", reason="mcap is not installed: pip install '.[bags]'")

from rosbags import highlevel as rosbags

from aenet_ros.core.errors import SourceError
from aenet_ros.io.bag_writer import BagRecorder

TEXT = "std_msgs/msg/String"


def cdr_string(text: str) -> bytes:
    """A std_msgs/String by the CDR rules: encapsulation (little endian), length with the final zero, characters, zero."""
    return b"\x00\x01\x00\x00" + struct.pack("<I", len(text) + 1) + text.encode() + b"\x00"


def test_what_is_written_is_read_back_by_rosbags_and_mcap(tmp_path):
    bag = BagRecorder(tmp_path / "demo.mcap")
    for index in range(50):
        bag.write("/a", TEXT, cdr_string(f"a{index}"), 1_000 + index)
        bag.write("/b", TEXT, cdr_string(f"b{index}"), 1_000 + index)
    bag.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.mcap", "metadata.yaml"]
    assert (bag.written, bag.lost) == (100, 0)
    with rosbags.AnyReader([tmp_path]) as reader:
        read = [(item.topic, time_ns, reader.deserialize(data, item.msgtype).data) for item, time_ns, data in reader.messages()]
    assert sorted(read) == sorted((f"/{name}", 1_000 + index, f"{name}{index}") for name in "ab" for index in range(50))

    mcap = pytest.importorskip("mcap.reader", reason="mcap is not installed: pip install '.[bags]'")
    with (tmp_path / "demo.mcap").open("rb") as file:
        reader = mcap.make_reader(file)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert summary.statistics.message_count == 100
        assert {(schema.name, schema.encoding) for schema in summary.schemas.values()} == {(TEXT, "ros2msg")}
        assert {channel.message_encoding for channel in summary.channels.values()} == {"cdr"}


def test_a_second_bag_takes_the_place_of_the_first(tmp_path):
    for text in ("old", "new"):
        bag = BagRecorder(tmp_path / "demo.mcap")
        bag.write("/a", TEXT, cdr_string(text), 5)
        bag.close()
    with rosbags.AnyReader([tmp_path]) as reader:
        assert [reader.deserialize(data, item.msgtype).data for item, _, data in reader.messages()] == ["new"]


def test_an_aborted_bag_leaves_what_was_there(tmp_path):
    (tmp_path / "demo.mcap").write_text("precious")
    bag = BagRecorder(tmp_path / "demo.mcap")
    bag.write("/a", TEXT, cdr_string("x"), 5)
    bag.abort()
    assert [path.name for path in tmp_path.iterdir()] == ["demo.mcap"]
    assert (tmp_path / "demo.mcap").read_text() == "precious"


def test_what_cannot_be_recorded_is_said_when_it_is_closed(tmp_path):
    bag = BagRecorder(tmp_path / "demo.mcap")
    bag.write("/a", "no_such_msgs/msg/Type", b"\x00\x01\x00\x00", 5)
    with pytest.raises(SourceError, match="no_such_msgs"):
        bag.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match=r"demo.mcap cannot be written"):
        BagRecorder(tmp_path / "file" / "demo.mcap")
