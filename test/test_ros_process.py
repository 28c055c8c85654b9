"""The fusing node as a process: starting states, bad parameters, QoS, killing and restarting, Ctrl-C."""

import json
import signal
import time
from array import array
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_harness import BEST_EFFORT, ERROR, WARN, Robot, dim_street, make_image, stamp, warm_square
from sensor_msgs.msg import CompressedImage, Image

import aenet_ros

SOON_S = 30.0  # launch waits 5 s before it is less polite; a busy machine takes longer
"""ros2 launch sends SIGTERM when a process has not ended that long after Ctrl-C (its sigterm_timeout)."""
QUICK = {"diagnostics.period_s": 0.2, "diagnostics.stale_s": 0.8}


@pytest.fixture
def make_robot(tmp_path):
    made = []

    def make(parameters=None, arguments=(), start=True):
        robot = Robot(tmp_path, {**QUICK, **(parameters or {})}, arguments)
        made.append(robot)
        if start:
            robot.start_node()
        return robot

    yield make
    for robot in made:
        robot.close()


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly_and_soon_while_fusing(make_robot, with_signal):
    robot = make_robot()
    robot.publish_until_fused()
    for _ in range(5):
        robot.publish()
    status, seconds = robot.stop_node(with_signal, 60.0)
    assert status == 0, robot.log()
    assert seconds < SOON_S
    assert "Traceback" not in robot.log()


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_cut_the_clean_up_short(make_robot):
    robot = make_robot()
    robot.publish_until_fused()
    robot.process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    status, seconds = robot.stop_node(signal.SIGINT, 60.0)
    assert status == 0, robot.log()
    assert seconds < SOON_S
    assert "Traceback" not in robot.log()


def test_a_killed_node_comes_back_without_help(make_robot):
    robot = make_robot()
    robot.publish_until_fused()
    robot.stop_node(signal.SIGKILL)
    robot.start_node()
    robot.publish_until_fused(timeout_s=30)


def test_a_restarted_publisher_is_heard_again(make_robot):
    robot = make_robot()
    robot.publish_until_fused()
    robot.node.destroy_publisher(robot.thermal_publisher)
    robot.wait_status("input thermal", ERROR, "no publisher")
    robot.thermal_publisher = robot.node.create_publisher(Image, "/thermal/image_raw", BEST_EFFORT)
    robot.publish_until_fused()


@pytest.mark.slow
def test_without_autostart_it_waits_for_a_lifecycle_manager(make_robot):
    robot = make_robot({"autostart": "false"})
    assert robot.state() == "unconfigured"
    assert robot.transition("configure")
    assert robot.state() == "inactive"
    robot.wait_status("fusion", WARN, "inactive")
    assert robot.transition("activate")
    robot.publish_until_fused()


@pytest.mark.slow
def test_missing_weights_are_told_and_another_try_succeeds(make_robot):
    robot = make_robot({"model.weights": "/nonexistent/weights.safetensors"})
    robot.wait_status("fusion", ERROR, "/nonexistent/weights")
    assert robot.state() == "unconfigured"
    assert robot.set_parameters(model__weights="")[0].successful
    assert robot.transition("configure")
    assert robot.transition("activate")
    robot.publish_until_fused()


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["weights", "card"])
def test_a_tampered_model_is_refused_in_words_and_the_genuine_one_taken_after(make_robot, tmp_path, changed):
    packaged = Path(aenet_ros.__file__).parent / "fusion" / "weights" / "aenet.safetensors"
    weights, card = tmp_path / "model" / "mine.safetensors", tmp_path / "model" / "mine.json"
    weights.parent.mkdir()
    content, described = bytearray(packaged.read_bytes()), packaged.with_suffix(".json").read_text()
    if changed == "weights":
        content[-100] ^= 1  # one bit of one weight: the file is whole, and its numbers are plausible
    else:
        digest = json.loads(described)["sha256"]
        described = described.replace(digest, "0" * 64)
    weights.write_bytes(content)
    card.write_text(described)
    robot = make_robot({"model.weights": weights})
    status = robot.wait_status("fusion", ERROR, "mine.safetensors", 40)
    assert "SHA-256" in status.message
    assert robot.state() == "unconfigured"
    assert "cannot configure" in robot.log()
    for _ in range(20):
        robot.publish()
    assert not robot.transition("configure"), "nor by another try"
    assert robot.fused == []
    weights.write_bytes(packaged.read_bytes())
    card.write_text(packaged.with_suffix(".json").read_text())
    assert robot.transition("configure")
    assert robot.transition("activate")
    robot.publish_until_fused()


@pytest.mark.slow
def test_a_parameter_out_of_range_at_start_is_told_and_can_be_mended(make_robot):
    robot = make_robot({"sync.slop_ms": -5.0, "sync.slopp_ms": 3.0})
    robot.wait_status("fusion", ERROR, "sync.slop_ms")
    assert "sync.slopp_ms" in robot.log(), "a misspelt parameter is named"
    assert robot.set_parameters(sync__slop_ms=20.0)[0].successful
    assert robot.transition("configure")
    assert robot.transition("activate")
    robot.publish_until_fused()


@pytest.mark.slow
def test_refuses_to_fall_back_to_the_cpu_when_told_so(make_robot):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device to run on")
    robot = make_robot({"model.device": "cuda", "model.allow_cpu": "false"})
    robot.wait_status("fusion", ERROR, "allow_cpu")


@pytest.mark.slow
def test_fallback_to_the_cpu_is_said_loudly(make_robot):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device to run on")
    robot = make_robot({"model.device": "cuda"})
    robot.publish_until_fused()
    robot.wait_status("model", WARN, "cpu")


@pytest.mark.slow
def test_no_publisher_is_told_with_look_alikes(make_robot):
    robot = make_robot(start=False)
    robot.node.destroy_publisher(robot.thermal_publisher)
    other = robot.node.create_publisher(Image, "/boson/image_raw", BEST_EFFORT)
    robot.start_node()
    status = robot.wait_status("input thermal", ERROR, "no publisher on /thermal/image_raw", 30)
    robot.wait_status("input thermal", ERROR, "/boson/image_raw")
    assert "/thermal/image_raw" in [item.value for item in status.values]
    robot.node.destroy_publisher(other)


@pytest.mark.slow
def test_incompatible_qos_is_told_with_the_remedy(make_robot):
    robot = make_robot({"input.rgb.qos": "reliable"}, start=False)
    robot.node.destroy_publisher(robot.rgb_publisher)
    robot.rgb_publisher = robot.node.create_publisher(Image, "/rgb/image_raw", BEST_EFFORT)
    robot.start_node()
    status = robot.wait(
        lambda: robot.publish() and (s := robot.status("input rgb")) and s.level == ERROR and "QoS" in s.message and s, "the QoS told", 30
    )
    assert "best_effort" in status.message


@pytest.mark.slow
def test_the_other_message_type_is_told_with_the_remedy(make_robot):
    robot = make_robot({"input.thermal.transport": "compressed"}, ("-r", "thermal/image_raw:=/cam/image_raw"), start=False)
    publisher = robot.node.create_publisher(Image, "/cam/image_raw/compressed", BEST_EFFORT)
    robot.start_node()
    robot.wait_status("input thermal", ERROR, "transport to raw", 30)
    robot.node.destroy_publisher(publisher)


def test_namespace_and_remapping(tmp_path):
    rules = ("__ns:=/husky", "thermal/image_raw:=/thermal/image_raw", "rgb/image_raw:=/rgb/image_raw")
    robot = Robot(tmp_path, QUICK, tuple(part for rule in rules for part in ("-r", rule)), "/husky/fusion")
    try:
        fused = []
        robot.node.create_subscription(Image, "/husky/fused/image", fused.append, 10)
        robot.start_node()
        robot.wait(lambda: robot.publish() and fused, "a fused frame in the namespace", 30)
        status = robot.wait(lambda: robot.status("fusion"), "diagnostics of the namespaced node")
        assert status.name == "/husky/fusion: fusion"
        for camera in ("thermal", "rgb"):  # camera_info is read beside the image
            assert robot.node.count_subscribers(f"/{camera}/camera_info") == 1
    finally:
        robot.close()


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["exact", "approximate"])
def test_other_policies_pair_equal_stamps(make_robot, policy):
    if policy == "approximate":
        pytest.importorskip("message_filters", reason="message_filters is not installed (it comes with apt's ROS)")
    robot = make_robot({"sync.policy": policy})
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
def test_a_missing_policy_is_a_clear_error(make_robot):
    try:
        import message_filters  # noqa: F401

        pytest.skip("message_filters is installed here")
    except ImportError:
        pass
    robot = make_robot({"sync.policy": "approximate"})
    robot.wait_status("fusion", ERROR, "message-filters")


@pytest.mark.slow
def test_compressed_inputs_16_bit_png_and_jpeg(make_robot):
    robot = make_robot({"input.thermal.transport": "compressed", "input.rgb.transport": "compressed"})
    publishers = [robot.node.create_publisher(CompressedImage, f"/{role}/image_raw/compressed", BEST_EFFORT) for role in ("thermal", "rgb")]
    counts = []
    robot.node.create_subscription(Image, "/fused/thermal_registered", counts.append, 10)
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
        return robot.fused and counts

    robot.wait(send, "fused frames of compressed ones", 30)
    np.testing.assert_array_equal(np.frombuffer(counts[-1].data, np.uint16).reshape(120, 160), warm_square())
    picture = np.frombuffer(robot.fused[-1].data, np.uint8).reshape(120, 160, 3).astype(int)
    assert picture[62:78, 62:78].mean() - picture[30:50, 62:78].mean() > 60
