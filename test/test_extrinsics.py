"""The cameras' pose from TF: the way through a tree of frames, by OpenCV's rotations, and real /tf_static messages over DDS."""

import math
import time

import cv2
import numpy as np
import pytest
import yaml

from aenet_ros.config import Config, RegistrationConfig, build
from aenet_ros.core.camera import Camera, Stereo
from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.registration.calibration_file import stereo_content
from aenet_ros.registration.frame_tree import FrameTree
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import Registration

SIZE = (24, 32)
CAMERA = Camera(np.array([[30.0, 0, 15.5], [0, 30.0, 11.5], [0, 0, 1]]), SIZE)
HALF = math.sqrt(0.5)


def quaternion(vector):
    """x, y, z, w of a turn by a rotation vector."""
    angle = float(np.linalg.norm(vector))
    return (*(np.asarray(vector) / max(angle, 1e-12) * math.sin(angle / 2)), math.cos(angle / 2))


def test_a_child_s_point_is_turned_and_then_shifted():
    tree = FrameTree()
    # A quarter turn about z: x of the child is y of the parent.
    assert tree.add("base", "camera", (1.0, 2.0, 3.0), (0.0, 0.0, HALF, HALF))
    rotation, translation = tree.between("camera", "base")
    np.testing.assert_allclose(rotation @ [1, 0, 0] + translation, [1, 3, 3], atol=1e-12)
    rotation, translation = tree.between("base", "camera")
    np.testing.assert_allclose(rotation @ [1, 3, 3] + translation, [1, 0, 0], atol=1e-12)


def test_the_way_goes_over_the_frame_that_both_hang_on():
    tree, rng = FrameTree(), np.random.default_rng(2)
    placed = {}
    for parent, child in (("base", "mast"), ("mast", "rgb"), ("mast", "bracket"), ("bracket", "thermal")):
        vector, shift = rng.normal(0, 0.7, 3), rng.normal(0, 0.5, 3)
        tree.add(parent, "/" + child, shift, quaternion(vector))
        placed[child] = cv2.Rodrigues(vector)[0], shift
    point = np.array([0.3, -0.2, 4.0])

    def in_mast(name, at):
        rotation, shift = placed[name]
        return rotation @ at + shift

    rotation, translation = tree.between("thermal", "rgb")
    there = rotation @ point + translation
    np.testing.assert_allclose(in_mast("rgb", there), in_mast("bracket", in_mast("thermal", point)), atol=1e-9)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def test_no_way_is_none_and_what_is_no_pose_is_not_taken():
    tree = FrameTree()
    assert tree.between("a", "b") is None
    assert not tree.add("a", "a", (0, 0, 0), (0, 0, 0, 1))
    assert not tree.add("a", "b", (0, 0, 0), (0, 0, 0, 0))
    assert not tree.add("a", "b", (0, math.nan, 0), (0, 0, 0, 1))
    assert tree.names == []
    tree.add("a", "b", (0, 0, 0), (0, 0, 0, 1))
    tree.add("c", "d", (0, 0, 0), (0, 0, 0, 1))
    assert tree.between("b", "d") is None
    assert tree.names == ["a", "b", "c", "d"]
    tree.add("b", "a", (0, 0, 0), (0, 0, 0, 1))  # a ring
    assert tree.between("a", "d") is None


def test_what_both_frames_hang_on_costs_no_digits_however_far_away():
    tree = FrameTree()
    for parent, child, x in (("earth", "mast", 6.4e6), ("mast", "rgb", 0.1), ("mast", "thermal", 0.3)):
        assert tree.add(parent, child, (x, x, 0), (0, 0, HALF, HALF))
    # A quarter turn back: 0.2 m along x and y of the mast is along y and -x of the camera.
    np.testing.assert_allclose(tree.between("rgb", "thermal")[1], [-0.2, 0.2, 0.0], atol=1e-15)
    assert not tree.add("mast", "thermal", (1e10, 0, 0), (0, 0, 0, 1))


def test_of_frames_that_would_hang_on_each_other_the_oldest_word_is_forgotten():
    tree, good = FrameTree(), [("mast", "rgb", 0.1), ("mast", "thermal", 0.3)]
    for parent, child, x in [*good, ("thermal", "mast", 7.0), ("rgb", "base", 5.0), ("base", "mast", 3.0), *good]:
        tree.add(parent, child, (x, 0, 0), (0, 0, 0, 1))
    np.testing.assert_allclose(tree.between("rgb", "thermal")[1], [-0.2, 0, 0], atol=1e-15)


def test_any_number_of_frames_and_names_of_any_length_take_no_memory():
    tree = FrameTree()
    for count in range(5000):
        tree.add("mast", f"frame{count}", (0, 0, 0), (0, 0, 0, 1))
        tree.add("mast", "kept", (0, 0, 0), (0, 0, 0, 1))
    assert len(tree.names) == 2001
    assert {"mast", "kept", "frame4999"} < set(tree.names)
    assert not tree.add("mast", "x" * 100_000, (0, 0, 0), (0, 0, 0, 1))


def test_a_new_word_about_a_frame_replaces_the_old_one():
    tree = FrameTree()
    tree.add("rgb", "thermal", (1, 0, 0), (0, 0, 0, 1))
    tree.add("rgb", "thermal", (2, 0, 0), (0, 0, 0, 1))
    np.testing.assert_allclose(tree.between("rgb", "thermal")[1], [-2, 0, 0])


@pytest.fixture
def by_tf(tmp_path):
    """The configuration of a rig whose file knows the lenses and not the pose."""
    content = stereo_content(Stereo(CAMERA, CAMERA, np.eye(3), np.zeros(3)))
    del content["thermal_from_rgb"]
    path = tmp_path / "lenses.yaml"
    path.write_text(yaml.safe_dump(content))
    return {"registration.mode": "plane", "registration.file": str(path), "registration.plane_distance_m": 2.0}


def test_a_pose_that_comes_later_changes_the_maps_and_goes_before_the_file_s(by_tf):
    with pytest.raises(ConfigError, match="no key thermal_from_rgb"):
        Registration(build(by_tf).registration)
    registration = Registration(build(by_tf | {"registration.extrinsics_source": "tf"}).registration)
    assert not registration.has_pose
    plane = np.tile(np.arange(32, dtype=np.float32), (24, 1))
    with pytest.raises(ImageError, match="TF has not told it yet"):
        OutputGrid(registration).prepare(SIZE, SIZE).thermal(plane)
    for shift in (0.2, -0.2):  # metres at 2 m by f = 30: 3 pixels
        registration.set_extrinsics(np.eye(3), np.array([shift, 0.0, 0.0]))
        assert registration.has_pose
        np.testing.assert_allclose(
            OutputGrid(registration).prepare(SIZE, SIZE).thermal(plane)[:, 8:24], plane[:, 8:24] + 15 * shift, atol=0.05
        )
    known = registration.version
    registration.set_extrinsics(np.eye(3), np.array([shift, 0.0, 0.0]))
    assert registration.version == known, "the same pose again needs no new maps"


def test_other_modes_need_no_pose():
    registration = Registration(RegistrationConfig(extrinsics_source="tf"))
    registration.set_extrinsics(np.eye(3), np.ones(3))
    plane = np.zeros(SIZE, np.float32)
    assert OutputGrid(registration).prepare(SIZE, SIZE).thermal(plane) is plane


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node in a context of its own, with the class under test, and something that spins it."""
    rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")
    from rclpy.executors import SingleThreadedExecutor
    from ros_harness import own_domain, ros_environment

    for key, value in ros_environment(tmp_path, own_domain()).items():
        if key.startswith(("ROS_", "FAST")):
            monkeypatch.setenv(key, value)
    context = rclpy.Context()
    rclpy.init(context=context)
    made = rclpy.create_node("mount", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(made)
    made.turn = lambda: executor.spin_once(timeout_sec=0.05)
    yield made
    executor.shutdown()
    made.destroy_node()
    rclpy.try_shutdown(context=context)


def pair_of(rgb="rgb_optical", thermal="thermal_optical"):
    pixels = np.zeros(SIZE, np.uint16)
    return FramePair(Frame(0, pixels, "mono16", thermal), Frame(0, np.zeros((*SIZE, 3), np.uint8), "rgb8", rgb))


def has_tf2_msgs():
    try:
        import tf2_msgs.msg  # noqa: F401
    except ImportError:
        return False
    return True


def test_without_the_message_package_it_says_what_to_install_and_the_file_s_pose_holds(node, by_tf):
    if has_tf2_msgs():
        pytest.skip("tf2_msgs is installed here")
    from aenet_ros.ros.extrinsics import TfExtrinsics

    config = build(by_tf | {"registration.extrinsics_source": "tf"})
    extrinsics, registration = TfExtrinsics(node), Registration(config.registration)
    extrinsics.start(config)
    extrinsics.follow(pair_of(), registration)
    assert "apt install ros-$ROS_DISTRO-tf2-msgs; nothing is fused" in extrinsics.problem(registration)
    registration.set_extrinsics(np.eye(3), np.zeros(3))  # as one out of the file would be
    assert "the pose of registration.file holds" in extrinsics.problem(registration)
    extrinsics.stop()


def test_where_it_is_not_asked_for_tf_is_left_alone(node, by_tf):
    from aenet_ros.ros.extrinsics import TfExtrinsics

    for config in (Config(), build({"registration.extrinsics_source": "tf"})):
        extrinsics = TfExtrinsics(node)
        extrinsics.start(config)
        extrinsics.follow(pair_of(), Registration(config.registration))
        assert extrinsics.problem(None) == ""
        assert not [topic for topic, _ in node.get_topic_names_and_types() if topic == "/tf_static"]
        extrinsics.stop()


def test_static_transforms_over_dds_early_or_late(node, by_tf):
    if not has_tf2_msgs():
        pytest.skip("tf2_msgs is not installed (it is not on PyPI; apt install ros-$ROS_DISTRO-tf2-msgs)")
    from geometry_msgs.msg import TransformStamped
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from tf2_msgs.msg import TFMessage

    from aenet_ros.ros.extrinsics import TfExtrinsics

    def hang(parent, child, x):
        stamped = TransformStamped(child_frame_id=child)
        stamped.header.frame_id = parent
        stamped.transform.translation.x = x
        stamped.transform.rotation.w = 1.0
        return stamped

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    early = node.create_publisher(TFMessage, "/tf_static", latched)
    early.publish(TFMessage(transforms=[hang("mast", "rgb_optical", 0.1)]))
    config = build(by_tf | {"registration.extrinsics_source": "tf"})
    extrinsics, registration = TfExtrinsics(node), Registration(config.registration)
    extrinsics.start(config)
    assert "no frames of both cameras yet" in extrinsics.problem(registration)

    def follow_until(done):
        end = time.monotonic() + 20
        while not done() and time.monotonic() < end:
            node.turn()
            extrinsics.follow(pair_of(), registration)
        assert done()

    follow_until(lambda: "mast" in extrinsics.problem(registration))
    said = extrinsics.problem(registration)
    assert "does not join 'rgb_optical' and 'thermal_optical' (frames heard of: 'mast', 'rgb_optical')" in said
    assert "nothing is fused" in said
    late = node.create_publisher(TFMessage, "/tf_static", latched)
    late.publish(TFMessage(transforms=[hang("mast", "thermal_optical", 0.3)]))
    follow_until(lambda: extrinsics.source == "tf")
    assert extrinsics.problem(registration) == ""
    plane = np.tile(np.arange(32, dtype=np.float32), (24, 1))
    # What the rgb camera sees at x is at x - 0.2 m for the thermal one: 3 pixels to the left at 2 m.
    np.testing.assert_allclose(OutputGrid(registration).prepare(SIZE, SIZE).thermal(plane)[:, 8:24], plane[:, 8:24] - 3, atol=0.05)
    extrinsics.follow(pair_of(thermal=""), registration)
    assert "thermal frames have no frame_id" in extrinsics.problem(registration)
    assert "the pose of TF, as told before, holds" in extrinsics.problem(registration)
    extrinsics.follow(pair_of("camera", "camera"), registration)
    assert "both cameras' frames say frame_id 'camera'" in extrinsics.problem(registration)
    extrinsics.stop()
