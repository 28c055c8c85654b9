"""Every parameter that is not dynamic takes effect at the next configure; and a node that fails keeps its reason. In this process."""

import gc

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")

import torch  # noqa: E402
import yaml  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import ReliabilityPolicy  # noqa: E402
from ros_harness import make_image, own_domain  # noqa: E402

from aenet_ros.config import specs  # noqa: E402
from aenet_ros.core.frames import Frame, FramePair  # noqa: E402
from aenet_ros.fusion.checkpoint import save_checkpoint  # noqa: E402
from aenet_ros.fusion.network import AENet  # noqa: E402
from aenet_ros.ros.node import FusionNode  # noqa: E402
from aenet_ros.ros.outputs import IMAGE  # noqa: E402

THERMAL, RGB = (96, 128), (120, 160)  # height, width


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path))
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=own_domain())
    yield context
    rclpy.try_shutdown(context=context)
    gc.collect()  # a destroyed node in a reference cycle stays in the ROS graph, where later tests would find it under the same name


@pytest.fixture
def node(context):
    node = FusionNode(context=context)
    node.set_parameters([Parameter("model.threads", value=1)])
    yield node
    node.destroy_node()


def fuse(node):
    """The fused frame of a bright thermal and a mid-grey rgb frame."""
    thermal = Frame(1, np.random.default_rng(0).integers(20_000, 24_000, THERMAL).astype(np.uint16), "mono16", "t")
    return node.pipeline.process(FramePair(thermal, Frame(1, np.full((*RGB, 3), 90, np.uint8), "rgb8", "r")), want_registered=True)


def subscription(node, role):
    return next(s for s in node._inputs._subscriptions if f"{role}/image_raw" in s.topic_name)


def compressed(node, role):
    return subscription(node, role).topic_name.endswith("/compressed")


def reliable(entity):
    return entity.qos_profile.reliability == ReliabilityPolicy.RELIABLE


def received(node, role, encoding):
    """What the node knows of a stream after one frame whose driver says ``encoding``."""
    data = np.zeros(THERMAL, np.uint16) if role == "thermal" else np.zeros((*RGB, 3), np.uint8)
    node.stats.stream(role).size = (0, 0)
    node._inputs._image(role, make_image(data, encoding, 1))
    return node.stats.stream(role)


def waiting(node):
    """Thermal frames that the matcher keeps when 20 came alone."""
    for number in range(20):
        node._matcher.push_thermal(Frame(1 + number * 10**9, np.zeros(THERMAL, np.uint16), "mono16"))
    return node._matcher.pending


def homography_file(folder):
    path = folder / "rig.yaml"
    path.write_text(yaml.safe_dump({"homography": [[1, 0, 500], [0, 1, 0], [0, 0, 1]]}))
    return str(path)


def weights_file(folder):
    torch.manual_seed(1)
    save_checkpoint(AENet(), folder / "other.safetensors", {"name": "other"})
    return str(folder / "other.safetensors")


SHIFT = [1.0, 0.0, 500.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]  # no overlap: every pair is an error
NO_OVERLAP = "do not overlap"

# What is set, and what shows that it is in force: a function of the active node, or the words of the problem that it causes.
BOX = {"black_box.enabled": True, "black_box.folder": str}  # in the test's folder
CASES = {
    "autostart": ({"autostart": False}, lambda node: not node.start()),
    "input.thermal.transport": ({"input.thermal.transport": "compressed"}, lambda node: compressed(node, "thermal")),
    "input.rgb.transport": ({"input.rgb.transport": "compressed"}, lambda node: compressed(node, "rgb")),
    "input.thermal.qos": ({"input.thermal.qos": "reliable"}, lambda node: reliable(subscription(node, "thermal"))),
    "input.rgb.qos": ({"input.rgb.qos": "reliable"}, lambda node: reliable(subscription(node, "rgb"))),
    "input.thermal.depth": ({"input.thermal.depth": 3}, lambda node: subscription(node, "thermal").qos_profile.depth == 3),
    "input.rgb.depth": ({"input.rgb.depth": 3}, lambda node: subscription(node, "rgb").qos_profile.depth == 3),
    "input.thermal.crop": (
        {"input.thermal.crop": [8.0, 4.0, 64.0, 32.0]}, lambda node: received(node, "thermal", "mono16").size == (32, 64)
    ),
    "input.rgb.crop": ({"input.rgb.crop": [8.0, 4.0, 64.0, 32.0]}, lambda node: received(node, "rgb", "rgb8").size == (32, 64)),
    "input.thermal.encoding": ({"input.thermal.encoding": "mono16"}, lambda node: received(node, "thermal", "y16").size == THERMAL),
    "input.rgb.encoding": ({"input.rgb.encoding": "bgr8"}, lambda node: received(node, "rgb", "BGR3").size == RGB),
    "input.find": ({"input.find": False}, lambda node: node._search is None),
    "sync.policy": ({"sync.policy": "exact"}, lambda node: node._matcher.slop_ns == 0),
    "sync.queue_size": ({"sync.queue_size": 3}, lambda node: waiting(node) == 3),
    "registration.mode": ({"registration.mode": "homography"}, lambda node: node.pipeline.registration.mode == "homography"),
    "registration.homography": ({"registration.mode": "homography", "registration.homography": SHIFT}, NO_OVERLAP),
    "registration.file": ({"registration.mode": "homography", "registration.file": homography_file}, NO_OVERLAP),
    "registration.extrinsics_source": ({"registration.mode": "plane", "registration.extrinsics_source": "tf"}, "t"),
    "registration.depth_slop_ms": ({"registration.depth_slop_ms": 7.0}, lambda node: node._inputs._depth._slop_ns == 7_000_000),
    "model.backend": ({"model.backend": "onnx"}, "aenet export"),
    "model.weights": ({"model.weights": weights_file}, lambda node: node.pipeline.fuser.card.get("name") == "other"),
    "model.device": ({"model.device": "cuda:93"}, lambda node: "cuda:93" in node.pipeline.fuser.fallback),
    "model.precision": ({"model.device": "cpu", "model.precision": "fp16"}, lambda node: "fp16" in node.pipeline.fuser.fallback),
    "model.allow_cpu": ({"model.device": "cuda:93", "model.allow_cpu": False}, "model.allow_cpu"),
    "model.threads": ({"model.threads": 2}, lambda node: torch.get_num_threads() == 2),
    "output.grid": ({"output.grid": "thermal"}, lambda node: fuse(node).image.shape[:2] == THERMAL),
    "output.width": ({"output.grid": "size", "output.width": 80}, lambda node: fuse(node).image.shape[:2] == (60, 80)),
    "output.height": ({"output.grid": "size", "output.height": 60}, lambda node: fuse(node).image.shape[:2] == (60, 80)),
    "output.reliability": ({"output.reliability": "best_effort"}, lambda node: not reliable(node._outputs.topics.publishers[IMAGE])),
    "diagnostics.period_s": ({"diagnostics.period_s": 0.25}, lambda node: node._timer.timer_period_ns == 250_000_000),
    "black_box.enabled": (BOX, lambda node: node._black_box is not None),
    "black_box.seconds": ({**BOX, "black_box.seconds": 2.0}, lambda node: node._black_box and node._black_box._config.seconds == 2.0),
    "black_box.max_mb": ({**BOX, "black_box.max_mb": 20}, lambda node: node._black_box and node._black_box._config.max_mb == 20),
    "black_box.folder": (BOX, lambda node: node._black_box and node._black_box.folder.is_dir()),
}  # fmt: skip


def test_ros2_param_describe_tells_every_range_and_choice(node):
    for name, spec in specs().items():
        told = node.describe_parameter(name)
        ranges = {int: told.integer_range, float: told.floating_point_range}.get(type(spec.default))
        if ranges is not None:
            assert [(each.from_value, each.to_value) for each in ranges] == [(spec.low, spec.high)], name
        assert spec.doc in told.description
        assert all(choice in told.additional_constraints for choice in spec.choices), name
    assert "9 finite numbers" in node.describe_parameter("registration.homography").additional_constraints


def test_every_parameter_that_is_not_dynamic_is_tried():
    assert set(CASES) == {name for name, spec in specs().items() if not spec.dynamic}


def test_the_defaults_show_otherwise(node):
    node.trigger_configure()
    node.trigger_activate()
    for name, (_, expected) in CASES.items():
        assert name == "autostart" or isinstance(expected, str) or not expected(node), name


@pytest.mark.parametrize("name", CASES)
def test_it_takes_effect_at_the_next_configure(node, tmp_path, name):
    values, expected = CASES[name]
    given = [Parameter(key, value=value(tmp_path) if callable(value) else value) for key, value in values.items()]
    assert node.set_parameters_atomically(given).successful
    node.trigger_configure()
    if isinstance(expected, str) and node.state_label == "inactive":
        node.trigger_activate()
        if node.pipeline.registration.mode == "plane":  # tf2_ros is installed: the pose is awaited
            expected = "pose"
        with pytest.raises(Exception, match=expected):
            fuse(node)
    elif isinstance(expected, str):
        assert expected in node.problem
    else:
        if name != "autostart":
            node.trigger_activate()
        assert expected(node)


def test_a_failed_transition_keeps_its_reason_until_one_succeeds(node):
    node.set_parameters([Parameter("model.weights", value="/nowhere/x.safetensors")])
    node.trigger_configure()
    assert node.state_label == "unconfigured"
    assert "/nowhere/x" in node.problem
    assert "/nowhere/x" in node._statuses()[0].message
    node.set_parameters([Parameter("model.weights", value="")])
    node.trigger_configure()
    assert node.problem == ""
    assert "activate the node" in node._statuses()[0].message


def test_a_finalized_node_is_not_told_to_be_activated(node):
    node.trigger_shutdown()
    (status,) = node._statuses()
    assert "activate" not in status.message
    assert "shut down" in status.message


def test_an_error_in_diagnostics_does_not_end_the_node(node):
    node.stats = None  # as a fault of ours would
    node.trigger_configure()
    node.trigger_activate()
    node._matcher = 5
    node._on_diagnostics()


def test_an_error_of_the_node_is_not_told_as_one_of_the_frame(node):
    node.trigger_configure()
    node.trigger_activate()
    node._policy = None  # as a fault of ours would
    data = np.zeros((8, 8), np.uint8)
    node._inputs._image("thermal", make_image(data, "mono8", 1))
    assert (node.stats.thermal.received, node.stats.thermal.rejected.number) == (1, 0)
    assert node.stats.internal_errors.number == 1
    assert "AttributeError" in node.stats.internal_errors.last
