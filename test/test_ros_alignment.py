"""The node finds its registration by itself, tells drift, and takes a plane's distance while running."""

import re
import time

import numpy as np
import pytest
import yaml
from ros_harness import OK, RELIABLE, SIZE, WARN, Robot, make_image
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from aenet_ros.core.camera import Camera, Stereo
from aenet_ros.registration.calibration_file import stereo_content
from aenet_ros.registration.estimate import corner_distance
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

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


@pytest.mark.slow
def test_the_node_tells_that_it_is_not_calibrated_and_finds_its_registration(tmp_path, rig_frames):
    truth, frames = rig_frames
    out = tmp_path / "found.yaml"
    robot = Robot(tmp_path, {"diagnostics.period_s": 0.2, "registration.save_to": str(out)})
    try:
        robot.start_node()
        cameras = Cameras(robot, frames)
        client = robot.node.create_client(Trigger, "/fusion/estimate_registration")
        assert client.wait_for_service(timeout_sec=20)
        time.sleep(1.0)  # the node may hear of its client later than the client of it, and could not answer until then
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


def test_depth_images_are_joined_and_their_absence_is_said(tmp_path):
    """Two cameras 0.2 m apart, f = 100 px: what is 2 m away lies 10 px aside. By the plane at 1000 km it lies where it is."""
    camera = Camera(np.array([[100.0, 0, 80], [0, 100.0, 60], [0, 0, 1]]), SIZE)
    path = tmp_path / "stereo.yaml"
    path.write_text(yaml.safe_dump(stereo_content(Stereo(camera, camera, np.eye(3), np.array([0.2, 0.0, 0.0])))))
    parameters = {"registration.mode": "depth", "registration.file": str(path), "registration.plane_distance_m": 1e6}
    robot = Robot(tmp_path, {"diagnostics.period_s": 0.2, **parameters})
    try:
        robot.start_node()
        publisher = robot.node.create_publisher(Image, "/depth/image_raw", 10)
        robot.node.create_subscription(Image, "/fused/thermal_registered", robot.registered.append, RELIABLE)

        def laid(depth_mm, column):
            """Whether the hot square (columns 60 to 79) begins in ``column`` of the newest frame."""
            robot.publish()
            if depth_mm:
                publisher.publish(make_image(np.full(SIZE, depth_mm, np.uint16), "16UC1", robot.stamp_ns + 33_333_333))
            time.sleep(0.05)
            if not robot.registered:
                return False
            row = np.frombuffer(robot.registered[-1].data, np.uint16).reshape(SIZE)[70]
            return int(np.argmax(row == 9000)) == column

        robot.wait(lambda: laid(0, 60), "the square by the plane", timeout_s=40)

        def lack_told():
            status = laid(0, 60) and robot.status("registration")
            return status and status.level == WARN and "no depth image for this pair" in status.message

        robot.wait(lack_told, "the lack of a depth image told")
        robot.wait(lambda: laid(2000, 50), "the square by the depth image, 10 px aside")
        robot.wait(lambda: laid(2000, 50) and robot.status("registration").level == OK, "no more warning")
    finally:
        robot.close()
