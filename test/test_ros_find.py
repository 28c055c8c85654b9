"""The node finds cameras whose topics have other names than its own, and asks where it is not certain."""

import json

import numpy as np
import pytest
from ros_harness import OK, SIZE, WARN, Image, QoSProfile, Robot, dim_street, make_image, warm_square
from ros_harness import DurabilityPolicy as Durability

LATCHED = QoSProfile(depth=1, durability=Durability.TRANSIENT_LOCAL)  # reliable too


@pytest.fixture
def robot(tmp_path):
    robot = Robot(tmp_path)
    for publisher in (robot.thermal_publisher, robot.rgb_publisher):
        robot.node.destroy_publisher(publisher)
    robot.thermal_publisher = robot.node.create_publisher(Image, "/lepton/image_raw", LATCHED)
    robot.rgb_publisher = robot.node.create_publisher(Image, "/camera1/image_raw", LATCHED)
    yield robot
    robot.close()


def test_cameras_are_asked_for_and_then_found(robot):
    second = robot.node.create_publisher(Image, "/camera2/image_raw", LATCHED)
    others = [robot.node.create_publisher(Image, f"/a{number:02}/image_raw", LATCHED) for number in range(30)]  # all are looked at
    blank = np.zeros((8, 8), np.uint8)
    robot.start_node()
    thermal = make_image(warm_square() + 22_000, "mono16", 0, "lepton")

    def asked():
        robot.publish(thermal=thermal)
        second.publish(make_image(dim_street(), "rgb8", robot.stamp_ns))
        for other in others:
            other.publish(make_image(blank, "mono8", robot.stamp_ns))
        status = robot.status("cameras")
        return status if status and status.level == WARN else None

    status = robot.wait(asked, "a question", 60)
    assert "rgb: 2 topics come in question" in status.message
    choice = "fusion.launch.py thermal_topic:=/lepton/image_raw rgb_topic:=/camera1/image_raw"
    assert status.message.endswith(choice)
    assert choice in robot.wait_status("fusion", WARN, "nothing is fused until the cameras are chosen").message
    robot.node.destroy_publisher(second)
    fused = robot.publish_until_fused(thermal=thermal)
    assert (fused.height, fused.width) == SIZE
    robot.wait_status("cameras", OK, "/lepton/image_raw (mono16 160x120")
    assert robot.value("cameras", "profile") == "lepton"
    info = json.loads(robot.wait(lambda: [item for item in robot.infos if '"agc.profile": "lepton"' in item.data], "~/info")[-1].data)
    assert (info["cameras"]["thermal"], info["cameras"]["rgb transport"]) == ("/lepton/image_raw", "raw")
    assert "cameras found: thermal: /lepton/image_raw" in robot.log()
