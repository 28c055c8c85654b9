"""The node finds its registration by itself, tells drift, and takes a plane's distance while running."""

import re
import time

import numpy as np
import pytest
import yaml
from ros_harness import WARN, Robot, make_image
from std_srvs.srv import Trigger

from aenet_ros.calibration.targetless import corner_distance
from aenet_ros.simulation.rig import Rig
from aenet_ros.simulation.rig_config import RigConfig

CONFIG = RigConfig(
    thermal_width=320, thermal_height=256, rgb_width=320, rgb_height=256, scenes="day", shift_x=30.0, shift_y=-12.0, rotation_deg=2.0
)


@pytest.fixture(scope="module")
def rig_frames():
    """The rig's truth and 40 pairs of it, half a second apart."""
    rig = Rig(CONFIG)
    shots = {"thermal": [], "rgb": []}
    for shot in rig.schedule(seconds=20.0):
        if shot.index % 15 == 0:
            shots[shot.stream].append(rig.render(shot))
    return rig.homography, list(zip(shots["thermal"], shots["rgb"], strict=True))


class Cameras:
    """Publishes the rig's pairs in turn."""

    def __init__(self, robot, frames):
        self.robot, self.frames, self.count = robot, frames, 0

    def publish(self):
        thermal, rgb = self.frames[self.count % len(self.frames)]
        self.count += 1
        self.robot.stamp_ns += 100_000_000
        self.robot.thermal_publisher.publish(make_image(thermal, "mono16", self.robot.stamp_ns, "thermal_optical"))
        self.robot.rgb_publisher.publish(make_image(rgb, "rgb8", self.robot.stamp_ns, "rgb_optical"))
        time.sleep(0.1)


def test_the_node_tells_that_it_is_not_calibrated_and_finds_its_registration(tmp_path, rig_frames):
    truth, frames = rig_frames
    out = tmp_path / "found.yaml"
    robot = Robot(tmp_path, {"diagnostics.period_s": 0.2, "registration.save_to": str(out)})
    try:
        robot.start_node()
        cameras = Cameras(robot, frames)
        client = robot.node.create_client(Trigger, "/fusion/estimate_registration")
        assert client.wait_for_service(timeout_sec=20)
        cameras.publish()
        asked = client.call_async(Trigger.Request())
        refused = client.call_async(Trigger.Request())
        robot.wait(lambda: cameras.publish() or refused.done(), "the second call's answer", timeout_s=30)
        assert not refused.result().success
        assert "in work already" in refused.result().message
        robot.wait(lambda: cameras.publish() or asked.done(), "the estimate", timeout_s=150)
        assert asked.result().success, asked.result().message
        assert re.search(r"confidence (0\.[5-9]|1\.)", asked.result().message)
        found = np.array(yaml.safe_load(out.read_text())["homography"])
        assert corner_distance(found, truth, CONFIG.rgb_size) < 1.0
        status = robot.wait(lambda: cameras.publish() or registration_status(robot, WARN), "a warning of the drift", timeout_s=60)
        assert "were the cameras knocked, or never calibrated" in status.message
    finally:
        robot.close()


def registration_status(robot, level):
    status = robot.status("registration")
    return status if status is not None and status.level == level and "drift [px]" in {value.key for value in status.values} else None
