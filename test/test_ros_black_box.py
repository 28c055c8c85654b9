"""The black box of a real node: written when a camera stops and on demand, and `aenet why` makes the same pictures of it again."""

import json
import time

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

    answer = robot.call(Trigger, "save_black_box", Trigger.Request())
    assert answer.success, answer.message
    robot.wait(lambda: len(boxes(robot)) == 2, "a second black box")
    assert "save_black_box" in why(boxes(robot)[1], capsys)[1]["reason"]
