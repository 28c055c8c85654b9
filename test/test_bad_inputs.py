"""What users give and disks refuse: each ends in one sentence that says what to do, with status 1, and nothing half-written."""

import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from test_bags import BEGIN_NS, IMAGE, PERIOD_NS, BagMaker, make_bag, rgb_of, thermal_of

from aenet_ros.cli import main as cli

SETTINGS = ("--set", "model.threads=1")


def aenet(*arguments):
    return cli.main([*map(str, arguments)])


def bag_with(path, topics, encoding="mono16", count=5):
    """A bag of those of the two cameras' topics, by name: thermal pictures where the name has ir in it."""
    maker = BagMaker(path, "mcap")
    with maker.writer:
        connections = {name: maker.topic(name, IMAGE) for name in topics}
        for index in range(count):
            for name, connection in connections.items():
                thermal = "ir" in name
                picture = thermal_of(index) if thermal else rgb_of(index)
                stamp_ns = BEGIN_NS + index * PERIOD_NS
                maker.image(connection, stamp_ns, stamp_ns, picture, encoding if thermal else "rgb8", "camera")
    return path


def words_bag(path):
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/words", "std_msgs/msg/String", typestore=store)
        writer.write(connection, 1, store.serialize_cdr(store.types["std_msgs/msg/String"]("hello"), "std_msgs/msg/String"))
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (words_bag, "there is no image topic"),
        (lambda path: bag_with(path, ["/cam/image_raw"]), "no topic is certain to be thermal"),
        (lambda path: bag_with(path, ["/ir/image_raw"]), "no topic is certain to be rgb"),
        (lambda path: bag_with(path, ["/ir/image_raw", "/cam/image_raw"], encoding="mono7"), "mono7"),
    ],
    ids=["no pictures", "no thermal", "no rgb", "unknown encoding"],
)
def test_bags_that_cannot_be_fused(tmp_path, capsys, make, words):
    assert aenet("fuse", make(tmp_path / "in"), "-o", tmp_path / "out", *SETTINGS) == 1
    error = capsys.readouterr().err
    assert any(part in error for part in words.split("|")), error
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_results_among_the_inputs(tmp_path, capsys):
    for folder in ("thermal", "rgb"):
        (tmp_path / folder).mkdir()
        assert cv2.imwrite(str(tmp_path / folder / "0.tiff"), np.full((20, 30), 90, np.uint8))
    bag = make_bag(tmp_path / "bag", count=3)
    cases = [
        ([tmp_path / "thermal", tmp_path / "rgb", "-o", tmp_path / "thermal", "--format", "png"], "is a folder that is read"),
        ([tmp_path / "thermal", tmp_path / "rgb", "-o", tmp_path / "rgb", "--format", "tiff", "--force"], "is one of the inputs"),
        ([bag, "-o", bag / "fused.mcap"], "lies in the bag that is read"),
        ([bag, "-o", bag, "--force"], "is, or holds, what is read"),
        ([bag, "-o", bag, "--force", "--resume"], "give one of them"),
        ([tmp_path / "thermal", tmp_path / "rgb", "-o", tmp_path / "x", "--depth", tmp_path / "rgb"], "registration.mode=depth"),
    ]
    for arguments, words in cases:
        assert aenet("fuse", *arguments) == 1
        assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bag", "rgb", "thermal"]


def without_privileges():
    """What to put before a command so that permissions bind it, which root ignores."""
    if os.getuid() != 0:
        return []
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if not shutil.which("setpriv") or subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("root ignores permissions, and setpriv, which takes that away, is missing or may not")
    return words


def test_no_permission(tmp_path):
    bag, locked = make_bag(tmp_path / "in", count=3), tmp_path / "locked"
    locked.mkdir(mode=0o500)
    command = [*without_privileges(), sys.executable, "-m", "aenet_ros"]
    (bag / "in.mcap").chmod(0)
    done = subprocess.run([*command, "inspect", str(bag)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "cannot be read: Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
    (bag / "in.mcap").chmod(0o644)
    for target in (locked / "out", locked / "out.mp4", locked / "out" / "x"):
        words = ["fuse", str(bag), "-o", str(target), *SETTINGS, *(["--to", "pictures"] if target.name == "x" else [])]
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1
        assert "cannot be written: Permission denied" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture
def small_disk(mount_small_disk):
    """A file system that has 64 kB left."""
    place = mount_small_disk("1m")
    (place / "full").write_bytes(bytes(960 * 1024))
    return place


@pytest.mark.parametrize("target", ["bag", "out.mcap", "video.mp4", "video.avi", "pictures/"])
def test_a_full_disk(tmp_path, small_disk, capsys, target):
    rng = np.random.default_rng(1)
    maker = BagMaker(tmp_path / "in", "mcap")
    with maker.writer:  # noise, which no codec makes small
        thermal, rgb = maker.topic("/thermal/image_raw", IMAGE), maker.topic("/cam/image_raw", IMAGE)
        for index in range(6):
            stamp = BEGIN_NS + index * PERIOD_NS
            maker.image(thermal, stamp, stamp, rng.integers(0, 65536, (240, 320), np.uint16), "mono16", "t")
            maker.image(rgb, stamp, stamp, rng.integers(0, 256, (240, 320, 3), np.uint8), "rgb8", "v")
    options = ["--to", "pictures"] if target == "pictures/" else []
    assert aenet("fuse", tmp_path / "in", "-o", small_disk / target, *options, *SETTINGS) == 1
    captured = capsys.readouterr()
    assert "No space left on device; make room" in captured.err
    left = {str(path.relative_to(small_disk)) for path in small_disk.rglob("*") if path.is_file() and path.name != "full"}
    if target == "pictures/":  # whole ones, and what --resume needs
        pictures = {name for name in left if name.endswith(".png")}
        assert left - pictures <= {"pictures/.aenet-fuse/run.json"}
        assert all(cv2.imread(str(small_disk / name)) is not None for name in pictures)
        assert f"{len(pictures)} of 6 pairs are complete and stay; the same command with --resume goes on" in captured.err
    else:
        assert left == set()
