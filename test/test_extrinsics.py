"""The cameras' pose: set while running, and from TF by real messages over DDS."""

import math
import time

import numpy as np
import pytest
import yaml

from aenet_ros.config import Config, RegistrationConfig, build
from aenet_ros.core.camera import Camera, Stereo
from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.health.status import OK
from aenet_ros.registration.calibration_file import stereo_content
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import Registration

SIZE = (24, 32)
CAMERA = Camera(np.array([[30.0, 0, 15.5], [0, 30.0, 11.5], [0, 0, 1]]), SIZE)


@pytest.mark.parametrize("vector", [(0.0, 0.0, 0.0), (0.3, -0.2, 1.1), (0.0, 3.0, 0.0), (0.0, 0.0, -math.pi / 2)])
def test_a_quaternion_as_a_matrix(vector):
    """Against the textbook formula."""
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")
    from aenet_ros.ros.alignment import rotation_matrix

    angle = float(np.linalg.norm(vector))
    x, y, z = np.asarray(vector) / max(angle, 1e-12) * math.sin(angle / 2)
    w = math.cos(angle / 2)
    expected = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    np.testing.assert_allclose(rotation_matrix(x, y, z, w), expected, atol=1e-12)


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


def pair_of(rgb="rgb_optical", thermal="thermal_optical", stamp_s=0.0):
    pixels, stamp_ns = np.zeros(SIZE, np.uint16), round(stamp_s * 1e9)
    return FramePair(Frame(stamp_ns, pixels, "mono16", thermal), Frame(stamp_ns, np.zeros((*SIZE, 3), np.uint8), "rgb8", rgb))


def test_without_tf2_ros_configure_says_what_to_install(node):
    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        from aenet_ros.ros.alignment import TfExtrinsics

        with pytest.raises(ConfigError, match=r"apt install ros-\$ROS_DISTRO-tf2-ros-py"):
            TfExtrinsics(node)
    else:
        pytest.skip("tf2_ros is installed here")


def test_where_it_is_not_asked_for_tf_is_left_alone(node):
    from aenet_ros.ros.alignment import AlignmentMonitor
    from aenet_ros.ros.params import NodeParameters

    alignment = AlignmentMonitor(node, NodeParameters(node, lambda: True, lambda config: None))
    for config in (Config(), build({"registration.extrinsics_source": "tf"})):
        alignment.configure(config)
        alignment.start(Registration(config.registration))
        alignment.put(pair_of())
        assert alignment.status(config, "").level == OK
        assert not [topic for topic, _ in node.get_topic_names_and_types() if topic == "/tf_static"]
        alignment.stop()


def test_transforms_over_dds_early_or_late_static_or_moving(node, by_tf):
    pytest.importorskip("tf2_ros", reason="tf2_ros is not installed: apt install ros-$ROS_DISTRO-tf2-ros-py")
    from geometry_msgs.msg import TransformStamped
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from rclpy.time import Time
    from tf2_msgs.msg import TFMessage

    from aenet_ros.ros.alignment import TfExtrinsics

    def transform(parent, child, x):
        stamped = TransformStamped(child_frame_id=child)
        stamped.header.frame_id = parent
        stamped.transform.translation.x = x
        stamped.transform.rotation.w = 1.0
        return stamped

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    early = node.create_publisher(TFMessage, "/tf_static", latched)
    early.publish(TFMessage(transforms=[transform("mast", "rgb_optical", 0.1)]))
    config = build(by_tf | {"registration.extrinsics_source": "tf"})
    extrinsics, registration = TfExtrinsics(node), Registration(config.registration)
    extrinsics.start()
    assert "no pair of frames yet" in extrinsics.problem(registration)

    def follow_until(done, stamp_s=0.0):
        end = time.monotonic() + 20
        while not done() and time.monotonic() < end:
            node.turn()
            extrinsics.follow(pair_of(stamp_s=stamp_s), registration)
        assert done(), (shift(), extrinsics.problem(registration))

    def shift():
        """What the rgb camera sees at x is at x - d m for the thermal one: 15 d pixels to the left at 2 m."""
        plane = np.tile(np.arange(32, dtype=np.float32), (24, 1))
        moved = OutputGrid(registration).prepare(SIZE, SIZE).thermal(plane)
        return float((plane - moved)[12, 16])

    follow_until(lambda: "TF does not connect 'rgb_optical' and 'thermal_optical'" in extrinsics.problem(registration))
    assert "nothing is fused" in extrinsics.problem(registration)
    late = node.create_publisher(TFMessage, "/tf_static", latched)
    late.publish(TFMessage(transforms=[transform("mast", "pan", 0.0)]))
    moving = node.create_publisher(TFMessage, "/tf", 10)

    def publish(x, stamp_s):
        stamped = transform("pan", "thermal_optical", x)
        stamped.header.stamp = Time(nanoseconds=round(stamp_s * 1e9)).to_msg()
        moving.publish(TFMessage(transforms=[stamped]))

    def is_at(pixels):
        return extrinsics.source == "tf" and abs(shift() - pixels) < 0.05

    follow_until(lambda: publish(0.3, 100.0) or is_at(3.0), 100.0)
    follow_until(lambda: publish(0.5, 100.1) or is_at(6.0), 100.1)
    follow_until(lambda: is_at(4.5), 100.05)  # between two of TF, for a frame that comes late
    assert (extrinsics.age_ns, extrinsics.problem(registration)) == (0, "")
    follow_until(lambda: is_at(6.0), 100.3)  # TF lags: its latest pose
    assert (extrinsics.age_ns, extrinsics.problem(registration)) == (200_000_000, "")
    extrinsics.follow(pair_of(stamp_s=102.0), registration)  # TF has stopped
    assert "is 1.9 s older than the rgb frame: the publisher of /tf has stopped" in extrinsics.problem(registration)
    follow_until(lambda: publish(0.3, 10.0) or is_at(3.0), 10.0)  # a bag starts over
    assert (extrinsics.age_ns, extrinsics.problem(registration)) == (0, "")
    extrinsics.follow(pair_of(thermal=""), registration)
    assert "thermal frames have no frame_id" in extrinsics.problem(registration)
    extrinsics.stop()
