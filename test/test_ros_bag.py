"""What the robot published and what `aenet fuse` makes of the bag that was recorded meanwhile: the same frames, to the byte."""

import time

import pytest

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")

from ros_harness import RELIABLE, Robot, make_image, stamp_of  # skips without rclpy
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image

from aenet_ros.cli import main as cli
from aenet_ros.io.bag_sink import BagRecorder
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

PAIRS = 20
IMAGE = "sensor_msgs/msg/Image"
# A gain control that remembers, a registration, and clocks that disagree: all that makes frames depend on each other and on the settings.
OPTIONS = {
    "agc.smoothing_s": 0.8,
    "registration.mode": "homography",
    "registration.homography": "[0.9,0.02,4.0,-0.01,0.92,3.0,0.0,0.0,1.0]",
    "sync.clock_offset_ms": 7.0,
    "model.threads": 1,
}
# Only for the robot: its cameras wait for it here, which on the road would be a fault.
PATIENT = {
    "degraded.policy": "silence",
    "degraded.after_s": 60.0,
    "degraded.recover_s": 0.0,
    "degraded.frozen_s": 0.0,
    "input.thermal.qos": "reliable",
    "input.rgb.qos": "reliable",
}


def pictures(path, topic):
    with AnyReader([path]) as reader:
        wanted = [item for item in reader.connections if item.topic == topic]
        return [reader.deserialize(data, item.msgtype) for item, _, data in reader.messages(wanted)]


def test_the_fused_bag_shows_what_the_robot_published(tmp_path):
    robot = Robot(tmp_path, {**OPTIONS, **PATIENT})
    recorder = BagRecorder(tmp_path / "drive" / "drive.mcap")
    subscriptions = []
    try:
        robot.start_node()
        for topic in ("/thermal/image_raw", "/rgb/image_raw", "/fused/image"):
            subscriptions.append(
                robot.node.create_subscription(
                    Image, topic, lambda data, topic=topic: recorder.write(topic, IMAGE, bytes(data), time.time_ns()), RELIABLE, raw=True
                )
            )
        publishers = (robot.thermal_publisher, robot.rgb_publisher)
        # The node and the recorder; the fused topic's own subscribers are seen by the node as soon as it works.
        robot.wait(lambda: all(publisher.get_subscription_count() == 2 for publisher in publishers), "node and recorder to listen", 120)
        robot.wait(lambda: robot.node.count_publishers("/fused/image") == 1, "the fused topic", 60)
        small = {"thermal_width": 160, "thermal_height": 128, "rgb_width": 160, "rgb_height": 128}
        rig = Rig(RigConfig(**small, scenes="day,smoke,night", scene_s=0.3, offset_ms=7.0))
        begin_ns = time.time_ns()
        for sent, shot in enumerate(rig.schedule(seconds=PAIRS / 30 + 1), start=1):
            stamp_ns = begin_ns + shot.at_ns + shot.offset_ns + shot.jitter_ns
            thermal = shot.stream == "thermal"
            message = make_image(rig.render(shot), "mono16" if thermal else "rgb8", stamp_ns, f"{shot.stream}_camera")
            (robot.thermal_publisher if thermal else robot.rgb_publisher).publish(message)
            if sent == 2 * PAIRS:
                break
            # Each waits for the one before, so that the node skips none, however busy the machine is.
            robot.wait(lambda sent=sent: len(robot.fused) >= sent // 2, f"the fused frame {sent // 2}", 60)
        robot.wait(lambda: len(robot.fused) >= PAIRS, "the last fused frames", 60)
        time.sleep(0.3)  # the recorder's copies of them
    finally:
        for subscription in subscriptions:
            robot.node.destroy_subscription(subscription)
        robot.close()
        recorder.close()
    live = {stamp_of(message): message for message in robot.fused}
    settings = [f"{name}={value}" for name, value in OPTIONS.items()]
    # The bag has the live fused topic too, which is told from the cameras and replaced.
    assert cli.main(["fuse", str(tmp_path / "drive"), "-o", str(tmp_path / "fused"), "--set", *settings]) == 0
    recorded = {stamp_of(message): bytes(message.data) for message in pictures(tmp_path / "drive", "/fused/image")}
    offline = {stamp_of(message): message for message in pictures(tmp_path / "fused", "/fused/image")}
    assert sorted(live) == sorted(offline)
    assert len(offline) == PAIRS
    for stamp_ns, message in live.items():
        assert bytes(offline[stamp_ns].data) == bytes(message.data) == recorded[stamp_ns]
        assert (offline[stamp_ns].encoding, offline[stamp_ns].header.frame_id) == (message.encoding, message.header.frame_id)
    assert len({bytes(message.data) for message in live.values()}) == len(live)
