"""The fusing node as a process: starting states, bad parameters, QoS, killing and restarting, Ctrl-C."""

import signal
import time
from array import array
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_harness import BEST_EFFORT, ERROR, Robot, dim_street, make_image, stamp, warm_square
from sensor_msgs.msg import CompressedImage, Image

import aenet_ros

SOON_S = 30.0  # launch waits 5 s before it is less polite; a busy machine takes longer
"""ros2 launch sends SIGTERM when a process has not ended that long after Ctrl-C (its sigterm_timeout)."""
QUICK = {"diagnostics.period_s": 0.2, "diagnostics.stale_s": 0.8}


@pytest.fixture
def make_robot(tmp_path):
    made = []

    def make(parameters=None, arguments=(), start=True, name="/fusion"):
        robot = Robot(tmp_path, {**QUICK, **(parameters or {})}, arguments, name)
        made.append(robot)
        if start:
            robot.start_node()
        return robot

    yield make
    for robot in made:
        robot.close()


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)])
def test_ends_cleanly_and_soon_while_fusing(make_robot, signals):
    """A second Ctrl-C does not cut the clean-up short."""
    robot = make_robot()
    robot.publish_until_fused()
    for _ in range(5):
        robot.publish()
    for early in signals[:-1]:
        robot.process.send_signal(early)
        time.sleep(0.05)
    status, seconds = robot.stop_node(signals[-1], 60.0)
    assert status == 0, robot.log()
    assert seconds < SOON_S
    assert "Traceback" not in robot.log()


def test_a_restarted_publisher_is_heard_again_and_a_killed_node_comes_back_without_help(make_robot):
    robot = make_robot()
    robot.publish_until_fused()
    other = robot.node.create_publisher(Image, "/boson/image_raw", BEST_EFFORT)
    robot.node.destroy_publisher(robot.thermal_publisher)
    robot.wait_status("input thermal", ERROR, "no publisher on /thermal/image_raw")
    robot.wait_status("input thermal", ERROR, "/boson/image_raw")
    robot.node.destroy_publisher(other)
    robot.thermal_publisher = robot.node.create_publisher(Image, "/thermal/image_raw", BEST_EFFORT)
    robot.publish_until_fused()
    robot.stop_node(signal.SIGKILL)
    robot.start_node()
    robot.publish_until_fused(timeout_s=30)


@pytest.mark.slow
def test_what_is_wrong_at_the_start_is_told_and_another_try_succeeds(make_robot, tmp_path):
    """A parameter out of range, then weights of which one bit was changed: the file is whole, and its numbers are plausible."""
    packaged = Path(aenet_ros.__file__).parent / "fusion" / "weights" / "aenet.safetensors"
    weights, content = tmp_path / "model" / "mine.safetensors", bytearray(packaged.read_bytes())
    weights.parent.mkdir()
    content[-100] ^= 1
    weights.write_bytes(content)
    weights.with_suffix(".json").write_text(packaged.with_suffix(".json").read_text())
    robot = make_robot({"model.weights": weights, "sync.slop_ms": -5.0, "sync.slopp_ms": 3.0})
    robot.wait_status("fusion", ERROR, "sync.slop_ms")
    assert "sync.slopp_ms" in robot.log(), "a misspelt parameter is named"
    assert robot.set_parameters(sync__slop_ms=20.0)[0].successful
    for _ in range(20):
        robot.publish()
    assert not robot.transition("configure")
    robot.wait_status("fusion", ERROR, "mine.safetensors: SHA-256")
    assert robot.state() == "unconfigured"
    assert "cannot configure" in robot.log()
    assert robot.fused == []
    weights.write_bytes(packaged.read_bytes())
    assert robot.transition("configure")
    assert robot.transition("activate")
    robot.publish_until_fused()


@pytest.mark.slow
def test_the_other_message_type_and_incompatible_qos_are_told_with_the_remedy(make_robot):
    parameters = {"input.rgb.qos": "reliable", "input.thermal.transport": "compressed"}
    robot = make_robot(parameters, ("-r", "thermal/image_raw:=/cam/image_raw"), start=False)
    robot.node.destroy_publisher(robot.rgb_publisher)
    robot.rgb_publisher = robot.node.create_publisher(Image, "/rgb/image_raw", BEST_EFFORT)
    robot.thermal_publisher = robot.node.create_publisher(Image, "/cam/image_raw/compressed", BEST_EFFORT)
    robot.start_node()
    robot.wait_status("input thermal", ERROR, "transport to raw", 30)
    assert "best_effort" in robot.wait_status("input rgb", ERROR, "QoS").message


@pytest.mark.slow
def test_the_policy_approximate_pairs_or_names_the_missing_package(make_robot):
    robot = make_robot({"sync.policy": "approximate"})
    if find_spec("message_filters") is None:
        robot.wait_status("fusion", ERROR, "message-filters")
    else:
        robot.publish_until_fused()


@pytest.mark.slow
def test_exact_policy_does_not_pair_other_stamps(make_robot):
    robot = make_robot({"sync.policy": "exact"})
    robot.publish_until_fused()
    pairs = int(robot.wait(lambda: robot.publish() and robot.value("pairing", "pairs"), "the pairs told"))

    def unpaired():
        robot.stamp_ns += 33_333_333
        robot.thermal_publisher.publish(make_image(warm_square(), "mono16", robot.stamp_ns + 1))
        robot.rgb_publisher.publish(make_image(dim_street(), "rgb8", robot.stamp_ns))
        time.sleep(0.03)
        status = robot.status("pairing")
        return sum(int(item.value) for item in status.values if item.key.startswith("unpaired")) >= 20

    robot.wait(unpaired, "20 unpaired frames")
    assert int(robot.value("pairing", "pairs")) <= pairs + 20, "only those of before, told later"
    robot.publish_until_fused()


@pytest.mark.slow
def test_compressed_inputs_16_bit_png_and_jpeg_in_a_namespace_with_remapped_topics(make_robot):
    rules = ("__ns:=/husky", "thermal/image_raw:=/thermal/image_raw", "rgb/image_raw:=/rgb/image_raw")
    arguments = tuple(part for rule in rules for part in ("-r", rule))
    robot = make_robot({"input.thermal.transport": "compressed", "input.rgb.transport": "compressed"}, arguments, name="/husky/fusion")
    publishers = [robot.node.create_publisher(CompressedImage, f"/{role}/image_raw/compressed", BEST_EFFORT) for role in ("thermal", "rgb")]
    fused, counts = [], []
    for topic, messages in (("image", fused), ("thermal_registered", counts)):
        robot.node.create_subscription(Image, f"/husky/fused/{topic}", messages.append, 10)
    pictures = {
        ".png": (warm_square(), "mono16; png compressed "),
        ".jpg": (dim_street()[..., ::-1], "rgb8; jpeg compressed bgr8"),
    }

    def send():
        robot.stamp_ns = max(robot.stamp_ns + 33_333_333, time.time_ns())
        for publisher, (suffix, (picture, form)) in zip(publishers, pictures.items(), strict=True):
            message = CompressedImage(format=form, data=array("B", cv2.imencode(suffix, picture)[1].tobytes()))
            stamp(message, robot.stamp_ns)
            publisher.publish(message)
        time.sleep(0.05)
        return fused and counts

    robot.wait(send, "fused frames of compressed ones", 30)
    robot.wait(lambda: robot.status("fusion"), "diagnostics of the namespaced node")
    for camera in ("thermal", "rgb"):  # camera_info is read beside the image
        assert robot.node.count_subscribers(f"/{camera}/camera_info") == 1
    np.testing.assert_array_equal(np.frombuffer(counts[-1].data, np.uint16).reshape(120, 160), warm_square())
    picture = np.frombuffer(fused[-1].data, np.uint8).reshape(120, 160, 3).astype(int)
    assert picture[62:78, 62:78].mean() - picture[30:50, 62:78].mean() > 60
