"""What the robot published and what `aenet fuse` makes of the bag that was recorded meanwhile: the same frames, to the byte."""

import time
from collections import Counter

import pytest

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")

from ros_harness import RELIABLE, Robot, make_image, stamp_of  # skips without rclpy
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo, Image

from aenet_ros.cli import main as cli
from aenet_ros.io.bag_writer import BagRecorder
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

PAIRS = 20
IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
INPUTS = ("/thermal/image_raw", "/rgb/image_raw", "/thermal/camera_info", "/rgb/camera_info")
GRIDS = {"rgb": {}, "size": {"output.grid": "size", "output.width": 96}, "thermal": {"output.grid": "thermal"}}
# A gain control that remembers, a registration, and clocks that disagree: all that makes frames depend on each other and on the settings.
OPTIONS = {
    "agc.smoothing_s": 0.8,
    "registration.mode": "homography",
    "registration.homography": "[0.9,0.02,4.0,-0.01,0.92,3.0,0.0,0.0,1.0]",
    "sync.clock_offset_ms": 7.0,
    "model.threads": 1,
    "model.backend": "torch",  # auto may choose ONNX Runtime, whose pictures differ by a grey level
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


def camera_info(focal, width, height):
    centre = ((width - 1) / 2, (height - 1) / 2)
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[-0.1, 0.0, 0.0, 0.0, 0.0])
    info.k = [focal, 0.0, centre[0], 0.0, focal, centre[1], 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, centre[0], 0.0, 0.0, focal, centre[1], 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def described(info):
    """What a camera_info says, of rclpy and of rosbags alike."""
    numbers = [round(float(value), 6) for values in (info.k, info.p, info.d) for value in values]
    return stamp_of(info), info.header.frame_id, info.width, info.height, info.distortion_model, numbers


def messages(path, topic):
    with AnyReader([path]) as reader:
        wanted = [item for item in reader.connections if item.topic == topic]
        return [reader.deserialize(data, item.msgtype) for item, _, data in reader.messages(wanted)]


@pytest.mark.parametrize("grid", GRIDS)
def test_the_fused_bag_shows_what_the_robot_published(tmp_path, grid):
    options = {**OPTIONS, **GRIDS[grid]}
    robot = Robot(tmp_path, {**options, **PATIENT})
    recorder = BagRecorder(tmp_path / "drive" / "drive.mcap")
    subscriptions, heard = [], Counter()
    try:
        robot.start_node()
        for topic in (*INPUTS, "/fused/image"):
            kind, name = (Image, IMAGE) if "image" in topic else (CameraInfo, CAMERA_INFO)
            subscriptions.append(
                robot.node.create_subscription(
                    kind,
                    topic,
                    lambda data, topic=topic, name=name: (recorder.write(topic, name, bytes(data), time.time_ns()), heard.update([topic])),
                    RELIABLE,
                    raw=True,
                )
            )
        subscriptions.append(robot.node.create_subscription(CameraInfo, "/fused/camera_info", robot.camera_infos.append, RELIABLE))
        info_publishers = {role: robot.node.create_publisher(CameraInfo, f"/{role}/camera_info", RELIABLE) for role in ("thermal", "rgb")}
        cameras = {"thermal": camera_info(90.0, 160, 128), "rgb": camera_info(120.0, 160, 128)}
        publishers = (robot.thermal_publisher, robot.rgb_publisher)
        # The node and the recorder; the fused topic's own subscribers are seen by the node as soon as it works.
        robot.wait(lambda: all(publisher.get_subscription_count() == 2 for publisher in publishers), "node and recorder to listen", 120)
        robot.wait(lambda: robot.node.count_publishers("/fused/image") == 1, "the fused topic", 60)
        small = {"thermal_width": 160, "thermal_height": 128, "rgb_width": 160, "rgb_height": 128}
        rig = Rig(RigConfig(**small, scenes="day,smoke,night", scene_s=0.3, offset_ms=7.0))
        robot.wait(lambda: all(one.get_subscription_count() == 2 for one in info_publishers.values()), "camera_info to be heard", 60)
        begin_ns = time.time_ns()
        for sent, shot in enumerate(rig.schedule(seconds=PAIRS / 30 + 1), start=1):
            stamp_ns = begin_ns + shot.at_ns + shot.offset_ns + shot.jitter_ns
            thermal = shot.stream == "thermal"
            message = make_image(rig.render(shot), "mono16" if thermal else "rgb8", stamp_ns, f"{shot.stream}_camera")
            info_publishers[shot.stream].publish(cameras[shot.stream])  # with each frame, as cameras do: the node takes it best-effort
            (robot.thermal_publisher if thermal else robot.rgb_publisher).publish(message)
            if sent == 2 * PAIRS:
                break
            # Each waits for the one before, so that the node skips none, however busy the machine is.
            robot.wait(lambda sent=sent: len(robot.fused) >= sent // 2, f"the fused frame {sent // 2}", 60)
        robot.wait(lambda: len(robot.fused) >= PAIRS and len(robot.camera_infos) >= PAIRS // 2, "the last fused frames", 60)
        last = stamp_of(robot.fused[-1])
        robot.wait(lambda: heard["/rgb/image_raw"] == heard["/thermal/image_raw"] == PAIRS, "the recorder's copies of the inputs", 60)
        robot.wait(lambda: heard["/fused/image"] >= PAIRS // 2 and stamp_of(robot.camera_infos[-1]) == last, "the last outputs", 60)
    finally:
        for subscription in subscriptions:
            robot.node.destroy_subscription(subscription)
        robot.close()
        recorder.close()
    live = {stamp_of(message): message for message in robot.fused}
    settings = [f"{name}={value}" for name, value in options.items()]
    # The bag has the live fused topic too, which is told from the cameras and replaced.
    assert cli.main(["fuse", str(tmp_path / "drive"), "-o", str(tmp_path / "fused"), "--set", *settings]) == 0
    recorded = {stamp_of(message): bytes(message.data) for message in messages(tmp_path / "drive", "/fused/image")}
    offline = {stamp_of(message): message for message in messages(tmp_path / "fused", "/fused/image")}
    of_bag = {stamp_of(info): described(info) for info in messages(tmp_path / "fused", "/fused/camera_info")}
    live_infos = {stamp_of(info): described(info) for info in robot.camera_infos}
    assert sorted(live) == sorted(offline)
    assert len(offline) == PAIRS
    for stamp_ns, message in live.items():
        assert bytes(offline[stamp_ns].data) == bytes(message.data)
        assert (offline[stamp_ns].encoding, offline[stamp_ns].header.frame_id) == (message.encoding, message.header.frame_id)
    assert len({bytes(message.data) for message in live.values()}) == len(live)
    # The first ones may be missing: the node had not matched the recorder yet, or a camera_info was recorded after the first image.
    for later in (recorded, of_bag, live_infos):
        assert len(later) >= PAIRS // 2
        assert sorted(later) == sorted(live)[-len(later) :]
    assert all(recorded[stamp_ns] == bytes(live[stamp_ns].data) for stamp_ns in recorded)
    assert all(of_bag[stamp_ns] == live_infos[stamp_ns] for stamp_ns in of_bag.keys() & live_infos.keys())
