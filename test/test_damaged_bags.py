"""Bags of every kind that are cut off, without their index, or overwritten in the middle: what can be read is, what is lost is said."""

import os
import shutil
import sqlite3
import struct

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")
pytest.importorskip("mcap", reason="damaged bags are read with the package mcap (pip install mcap)")

from rosbags.rosbag1 import Writer as Writer1
from test_bags import BEGIN_NS, IMAGE, PERIOD_NS, BagMaker, make_bag, rgb_of, thermal_of

from aenet_ros.cli import main as cli
from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import SourceError
from aenet_ros.io.bag_source import BagSource
from aenet_ros.io.sources import Named

COUNT = 120


def read(path):
    """Indices of the pairs that come out, each checked, and the remarks."""
    source = BagSource(path, SyncConfig())
    indices = []
    for item in source:
        assert isinstance(item, Named), item
        index = (item.pair.rgb.stamp_ns - BEGIN_NS) // PERIOD_NS
        np.testing.assert_array_equal(item.pair.rgb.data, rgb_of(index))
        np.testing.assert_array_equal(item.pair.thermal.data, thermal_of(index))
        indices.append(index)
    return indices, " ".join(source.remarks)


def cut(path, target, share):
    target.parent.mkdir(parents=True, exist_ok=True)
    data = path.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_sqlite3_bag_cut_off(tmp_path, share):
    whole = make_bag(tmp_path / "in", "sqlite3", count=COUNT) / "in.db3"
    indices, remarks = read(cut(whole, tmp_path / "cut" / "cut_0.db3", share))
    assert indices == list(range(len(indices)))
    assert COUNT * (share - 0.15) < len(indices) < COUNT
    assert "cut_0.db3" in remarks
    assert "the others are lost" in remarks


@pytest.mark.parametrize("kind", ["sqlite3", "sqlite3-message", "mcap", "mcap-storage", "mcap-message"])
def test_a_folder_without_metadata(tmp_path, kind):
    folder = make_bag(tmp_path / "in", kind, count=20)
    (folder / "metadata.yaml").unlink()
    indices, remarks = read(folder)
    assert indices == list(range(20))
    assert "metadata.yaml" in remarks


def test_files_that_were_compressed_as_a_whole_need_their_metadata(tmp_path):
    folder = make_bag(tmp_path / "in", "sqlite3-file", count=5)
    (folder / "metadata.yaml").unlink()
    with pytest.raises(SourceError, match=r"zstd -d --rm .*in\.db3\.zstd"):
        read(folder)


def test_a_sqlite3_bag_with_a_page_overwritten(tmp_path):
    whole = make_bag(tmp_path / "in", "sqlite3", count=COUNT) / "in.db3"
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 40 * 4096] = os.urandom(40 * 4096)
    whole.write_bytes(data)
    indices, _ = read(whole)
    assert len(indices) > 0.3 * COUNT


def test_a_sqlite3_bag_whose_recorder_was_killed_before_it_wrote_its_log_back(tmp_path):
    folder = make_bag(tmp_path / "in", "sqlite3", count=20)
    database = sqlite3.connect(folder / "in.db3")
    database.execute("PRAGMA journal_mode=WAL")
    rows = database.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id").fetchall()
    database.execute("DELETE FROM messages WHERE id > 40")
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute("PRAGMA wal_autocheckpoint=0")
    database.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", rows[40:])
    database.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("in.db3", "in.db3-wal"):  # as they are while the recorder runs
        shutil.copy(folder / name, killed / name)
    database.close()
    assert (killed / "in.db3-wal").stat().st_size > 0
    before = (killed / "in.db3").read_bytes()
    indices, remarks = read(killed)
    assert indices == list(range(20))
    assert "in.db3-wal holds messages" in remarks
    assert (killed / "in.db3").read_bytes() == before
    assert (killed / "in.db3-wal").stat().st_size > 0


def ros1_bag(path, count=COUNT, compression=None):
    """A ROS 1 bag of small chunks."""
    maker = BagMaker(path, "ros1")
    maker.writer = Writer1(path)
    maker.writer.chunk_threshold = 40_000
    if compression:
        maker.writer.set_compression(Writer1.CompressionFormat[compression])
    with maker.writer:
        thermal, rgb = maker.topic("/ir/image_raw", IMAGE), maker.topic("/cam/image_raw", IMAGE)
        for index in range(count):
            stamp = BEGIN_NS + index * PERIOD_NS
            maker.image(thermal, stamp + 6_000_000, stamp + 3_000_000, thermal_of(index), "mono16", "thermal")
            maker.image(rgb, stamp + 9_000_000, stamp, rgb_of(index), "rgb8", "rgb_optical")
    return path


@pytest.mark.parametrize("compression", [None, "BZ2", "LZ4"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_ros1_bag_cut_off(tmp_path, compression, share):
    indices, remarks = read(cut(ros1_bag(tmp_path / "in.bag", compression=compression), tmp_path / "cut.bag", share))
    assert indices == list(range(len(indices)))
    assert COUNT * (share - 0.15) < len(indices) <= COUNT
    assert "ends in the middle" in remarks


def test_a_ros1_bag_without_its_index(tmp_path):
    """As `rosbag record` leaves it when it is killed: the header says that there is no index, and the last chunk has no size yet."""
    path = ros1_bag(tmp_path / "in.bag")
    data = bytearray(path.read_bytes())
    index = struct.unpack("<Q", data[(at := data.index(b"index_pos=") + 10) : at + 8])[0]
    data[at : at + 8] = bytes(8)
    active = tmp_path / "drive.bag.active"
    active.write_bytes(data[:index])
    indices, remarks = read(active)
    assert indices == list(range(COUNT))
    assert "rosbag reindex" in remarks
    chunk = data.rindex(b"compression=none", 0, index)
    size = data.index(b"size=", chunk) + 5
    data[size : size + 4] = bytes(4)
    header = struct.unpack("<I", data[(start := data.rindex(b"op=\x05", 0, size) - 8) : start + 4])[0]
    length = start + 4 + header
    assert struct.unpack("<I", data[length : length + 4])[0] > 10_000
    data[length : length + 4] = bytes(4)
    active.write_bytes(data[:index])
    indices, _ = read(active)
    assert len(indices) >= COUNT - 1


def test_nothing_of_a_damaged_bag_becomes_a_traceback(tmp_path, capsys):
    """Bytes overwritten anywhere: either it is read, or it is said why not."""
    rng = np.random.default_rng(3)
    bags = [
        make_bag(tmp_path / kind, kind, count=6) / f"{kind}.{'mcap' if 'mcap' in kind else 'db3'}"
        for kind in ("mcap-storage", "mcap", "sqlite3")
    ]
    bags.append(ros1_bag(tmp_path / "in.bag", count=6, compression="LZ4"))
    for bag in bags:
        whole = bag.read_bytes()
        for trial in range(25):
            data = bytearray(whole)
            for _ in range(1 + trial % 3):
                at = int(rng.integers(0, len(data) if trial % 2 else min(len(data), 4000)))
                data[at : at + 8] = rng.bytes(8)
            damaged = tmp_path / f"damaged{trial}{bag.suffix}"
            damaged.write_bytes(data[: int(rng.integers(len(data) // 2, len(data) + 1))])
            status = cli.main(["inspect", str(damaged)])
            captured = capsys.readouterr()
            assert status in (0, 1)
            assert captured.out or captured.err.startswith("aenet inspect: ")
