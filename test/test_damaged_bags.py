"""Damaged bags: MCAP is read as far as it goes, others are refused with the command that mends them."""

import re

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")
pytest.importorskip("mcap", reason="damaged bags are read with the package mcap (pip install mcap)")

from test_bags import BEGIN_NS, IMAGE, PERIOD_NS, BagMaker, make_bag, rgb_of, thermal_of

from aenet_ros.cli import main as cli
from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import SourceError
from aenet_ros.io.bag_source import BagSource

COUNT = 120


def read(path):
    """Indices of the pairs that come out, each checked, and the remarks."""
    source = BagSource(path, SyncConfig())
    indices = []
    for item in source:
        assert item.pair is not None, item
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
@pytest.mark.parametrize("kind", ["mcap", "mcap-storage"])
def test_an_mcap_bag_cut_off(tmp_path, kind, share):
    """Without the index at its end it is read from its start: each message before the cut, in order."""
    whole = make_bag(tmp_path / "in", kind, count=4 * COUNT) / "in.mcap"  # several chunks of 1 MiB
    indices, remarks = read(cut(whole, tmp_path / "cut" / "cut_0.mcap", share))
    assert indices == list(range(len(indices)))
    assert 4 * COUNT * (share - 0.25) < len(indices) <= 4 * COUNT
    assert "cut_0.mcap: ends in the middle" in remarks
    assert "the rest is lost" in remarks


def test_an_mcap_bag_with_a_second_file_cut_off(tmp_path):
    """The first file, and the second one to the cut."""
    (tmp_path / "split").mkdir()
    for number, share in enumerate((1.0, 0.8)):
        first = number * COUNT
        maker = BagMaker(tmp_path / f"part{number}", "mcap")
        with maker.writer:
            thermal, rgb = maker.topic("/ir/image_raw", IMAGE), maker.topic("/cam/image_raw", IMAGE)
            for index in range(first, first + COUNT):
                at = BEGIN_NS + index * PERIOD_NS
                maker.image(thermal, at, at, thermal_of(index), "mono16", "thermal")
                maker.image(rgb, at, at, rgb_of(index), "rgb8", "rgb")
        cut(tmp_path / f"part{number}" / f"part{number}.mcap", tmp_path / "split" / f"split_{number}.mcap", share)
    indices, remarks = read(tmp_path / "split")
    assert indices == list(range(len(indices)))
    assert COUNT < len(indices) < 2 * COUNT
    assert "split_1.mcap: ends in the middle" in remarks


@pytest.mark.parametrize("kind", ["sqlite3", "mcap", "mcap-storage", "sqlite3-message", "mcap-message"])
def test_a_folder_without_metadata(tmp_path, kind):
    """Messages that were compressed one by one are read too."""
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


def damaged_sqlite3(path):
    """Cut off."""
    return cut(make_bag(path / "in", "sqlite3", count=20) / "in.db3", path / "cut" / "cut_0.db3", 0.3)


def unfinished_sqlite3(path):
    """With a log that was not written back: the recorder was killed."""
    folder = make_bag(path / "in", "sqlite3", count=3)
    (folder / "in.db3-wal").write_bytes(b"messages")
    return folder


def cut_off_ros1(path):
    """Its index is at the end."""
    return cut(make_bag(path / "in.bag", "ros1", count=20), path / "cut.bag", 0.6)


def active_ros1(path):
    """As `rosbag record` leaves it when it is killed."""
    return make_bag(path / "in.bag", "ros1", count=3).rename(path / "drive.bag.active")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (damaged_sqlite3, r"cut_0\.db3 cannot be read as a bag.*`ros2 bag reindex .*cut`"),
        (unfinished_sqlite3, r"in\.db3 is not complete: in\.db3-wal holds messages.*`ros2 bag reindex .*in`"),
        (cut_off_ros1, r"cut\.bag cannot be read as a bag.*`rosbag reindex .*cut\.bag`"),
        (active_ros1, r"drive\.bag\.active was not closed by its recorder.*`rosbag reindex .*drive\.bag\.active`"),
    ],
)
def test_other_damaged_bags_are_refused_with_the_command_that_mends_them(tmp_path, capsys, make, words):
    bag = make(tmp_path)
    for command in (["inspect", str(bag)], ["fuse", str(bag), "-o", str(tmp_path / "out")]):
        assert cli.main(command) == 1
        error = capsys.readouterr().err
        assert re.search(words, error), error
    assert not (tmp_path / "out").exists()


def test_damage_in_the_middle_is_told_with_the_file_and_the_remedy(tmp_path):
    bag = make_bag(tmp_path / "in", "mcap-storage", count=COUNT)
    data = bytearray((bag / "in.mcap").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4096] = bytes(4096)
    (bag / "in.mcap").write_bytes(data)
    indices, remarks = read(bag)
    assert indices == list(range(len(indices)))
    assert 0 < len(indices) < COUNT
    assert re.search(r"in\.mcap is damaged after \d+ messages .*`ros2 bag reindex .*in`", remarks), remarks


def test_nothing_of_a_damaged_bag_becomes_a_traceback(tmp_path, capsys):
    """Bytes overwritten anywhere: either it is read, or it is said why not."""
    rng = np.random.default_rng(3)
    bags = [
        make_bag(tmp_path / kind, kind, count=6) / f"{kind}.{'mcap' if 'mcap' in kind else 'db3'}"
        for kind in ("mcap-storage", "mcap", "sqlite3")
    ]
    bags.append(make_bag(tmp_path / "in.bag", "ros1", count=6))
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
