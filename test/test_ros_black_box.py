"""The black box of a real node: written when a camera stops and on demand, and `aenet why` makes the same pictures of it again."""

import fcntl
import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("mcap", reason="bags are written with mcap (pip install mcap)")

from ros_harness import Robot, dim_street, make_image, stamp, warm_square
from std_srvs.srv import Trigger

from aenet_ros.cli.main import main


@pytest.fixture
def robot(tmp_path):
    made = Robot(tmp_path, {"black_box.enabled": "true", "black_box.folder": tmp_path / "boxes", "diagnostics.stale_s": 1.0})
    yield made
    made.close()


def boxes(robot):
    return sorted((robot.tmp_path / "boxes").glob("black_box_*"))


def why(box, capsys):
    status = main(["why", str(box), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_camera_that_stops_is_explained_and_its_pictures_are_made_again(robot, capsys):
    robot.start_node()
    random = np.random.default_rng(1)

    def scene(gain):
        counts = warm_square(value=9000 + gain) + random.integers(0, 40, (dim_street().shape[:2])).astype(np.uint16)
        return make_image(counts, "mono16", 0, "thermal_optical")

    robot.publish_until_fused()
    for step in range(20):  # the smoothed range of the gain control is another one in each frame
        robot.publish(thermal=scene(100 * step))
        time.sleep(0.05)
    rgb = make_image(dim_street(), "rgb8", 0, "rgb_optical")
    robot.publish_thermal(make_image(warm_square(), "hologram", 0))
    deadline = time.monotonic() + 60
    while not boxes(robot):  # only the rgb camera goes on
        assert time.monotonic() < deadline, robot.log()
        stamp(rgb, time.time_ns())
        robot.rgb_publisher.publish(rgb)
        time.sleep(0.05)
    status, report = why(boxes(robot)[0], capsys)
    assert "FUSION_NO_THERMAL" in report["reason"] or "INPUT" in report["reason"], report["reason"]
    assert "thermal frame" in report["cause"]
    assert {row["code"] for row in report["statuses"]} >= {"FUSION_NO_THERMAL", "DEGRADED_THERMAL"}
    assert any("hologram" in text for text in report["undecoded"])
    assert report["equal"] > 10, report
    assert (status, report["different"], report["not_made"]) == (0, [], {}), report

    def saved():  # refused while the box of another fault is written: the rgb camera has stopped too
        return robot.call(Trigger, "save_black_box", Trigger.Request())

    answers = []
    robot.wait(lambda: answers.append(saved()) or answers[-1].success, "a box that is asked for")
    path = Path(answers[-1].message.split("`")[1].removeprefix("aenet why "))
    robot.wait(path.is_dir, "the black box that was asked for")
    assert "save_black_box" in why(path, capsys)[1]["reason"]


@pytest.fixture
def node():
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=84)
    made = rclpy.create_node("box", context=context)
    yield made
    made.destroy_node()
    context.shutdown()


def box_in(folder, node, frames=1, **options):
    """A black box that has received frames."""
    from aenet_ros.config import BlackBoxConfig
    from aenet_ros.ros.black_box import BlackBox

    box = BlackBox(node, BlackBoxConfig(enabled=True, folder=str(folder), **options))
    for _ in range(frames):
        box.recorder("rgb", "/rgb/image_raw", lambda message: None)(make_image(dim_street(), "rgb8", 0))
    return box


def fails(box, *names):
    """Diagnostics in which these statuses are at ERROR."""
    from diagnostic_msgs.msg import DiagnosticArray

    from aenet_ros.health.status import ERROR, Code, Status

    box.on_diagnostics(DiagnosticArray(), [Status(name, ERROR, Code.INPUT_STOPPED, "stopped", {}) for name in names], {})


def test_a_second_fault_has_its_own_box_and_a_fault_that_comes_and_goes_does_not(node, tmp_path):
    box = box_in(tmp_path, node, seconds=1.0)
    fails(box, "input thermal")
    box.close()
    assert len(list(tmp_path.glob("black_box_*"))) == 1
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("black_box_*"))) < 2:
        assert time.monotonic() < deadline
        fails(box, "input rgb")  # the other one has recovered, and fails again
        fails(box, "input thermal", "input rgb")
        time.sleep(0.05)
    for _ in range(30):
        fails(box)
        fails(box, "input thermal", "input rgb")
        time.sleep(0.05)
    box.close()
    found = sorted(tmp_path.glob("black_box_*"))
    assert len(found) == 2
    assert {path.stat().st_mode & 0o077 for path in found} == {0}, "pictures of people are readable by the node's user alone"


def test_a_box_that_was_cut_off_is_kept_and_one_that_is_being_written_is_left_alone(node, tmp_path):
    killed, alive = (tmp_path / name / "black_box_20261128_120000_000" for name in (".black_box_x", ".black_box_y"))
    killed.mkdir(parents=True)
    alive.mkdir(parents=True)
    lock = os.open(alive.parent, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    box_in(tmp_path, node)
    os.close(lock)
    assert (tmp_path / killed.name).is_dir()
    assert not killed.parent.exists()
    assert alive.is_dir()


def test_a_box_that_the_disk_has_no_room_for_is_refused_at_once(node, tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)], capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        success, text = box_in(tmp_path, node, frames=50).save("asked for", {})
        assert not success, text
        assert f"{tmp_path} has no room: " in text
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
