"""Hostile camera_info, depth images and transforms, thousands of them, through the callbacks of the node's own parts.

Whatever comes is used or refused in words that stay short; nothing else is ever raised, nothing is allocated for what a message only
claims; and once good messages come again the picture is, byte for byte, that of a pipeline which never saw the others.

AENET_FUZZ_EXAMPLES sets the number of examples of each test.
"""

import os
import time
import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")

from hostile_geometry import (  # noqa: E402
    CAMERA_INFOS,
    CLAIMS,
    FRAMES,
    INFO_TOPICS,
    LENS,
    NAMES,
    ROWS,
    SHIFT,
    SIZE,
    TRANSFORMS,
    depth_images,
    transform,
)
from rclpy.lifecycle import LifecycleNode  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from ros_harness import make_image, own_domain, ros_environment  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from aenet_ros.config import build  # noqa: E402
from aenet_ros.core.camera import Camera, Stereo  # noqa: E402
from aenet_ros.core.errors import ImageError  # noqa: E402
from aenet_ros.core.frames import FramePair  # noqa: E402
from aenet_ros.health.drift_analysis import DriftAnalysis, DriftMonitor  # noqa: E402
from aenet_ros.health.status import WARN, NodeStats  # noqa: E402
from aenet_ros.messages.codec import scaled_camera_info  # noqa: E402
from aenet_ros.pipeline import FusionPipeline  # noqa: E402
from aenet_ros.registration.calibration_file import stereo_content  # noqa: E402
from aenet_ros.ros.alignment import AlignmentMonitor  # noqa: E402
from aenet_ros.ros.inputs import Inputs  # noqa: E402
from aenet_ros.ros.outputs import IMAGE, INFO, REGISTERED, Outputs  # noqa: E402
from aenet_ros.ros.params import NodeParameters  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # thousands of messages take minutes on a busy machine

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # it is not on PyPI; then the test of transforms is skipped
    TFMessage = None

EXAMPLES = int(os.environ.get("AENET_FUZZ_EXAMPLES", "300"))
PERIOD_NS = 1_000_000_000
LONGEST_WORDS = 2000  # characters of a status, whatever names were sent
CLAIMED_BYTES = 4_000_000  # more than all that is really sent in an example takes; 100 Mpx would take 100 MB and more

fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
strict = pytest.mark.filterwarnings("error::RuntimeWarning")


class Side:
    """The node's parts for one configuration, without its executor and its worker: what is heard is done with at once."""

    def __init__(self, node, values):
        self.config = build(values)
        self.pipeline = FusionPipeline(self.config)
        self.alignment = AlignmentMonitor(node, NodeParameters(node, lambda: True, lambda config: None))
        self.alignment.configure(self.config)
        self.alignment.start(self.pipeline.registration)
        self.inputs = Inputs(node, self.config, NodeStats(), self._on_frame, self.alignment.set_intrinsics, lambda closed: None)
        self.outputs = Outputs(node, self.config, self.pipeline.registration)
        self.frames, self.refused = {}, ""
        # What rclpy's executor calls with each message that it took.
        self._callbacks = {subscription.topic_name: subscription.callback for subscription in node.subscriptions}

    def _on_frame(self, role, frame):
        self.frames[role] = frame

    def hear(self, topic, message):
        """A message as the middleware would bring it: through its bytes. Of transforms a list."""
        if topic == "/tf_static":
            self._callbacks[topic](TFMessage(transforms=[through_bytes(stamped) for stamped in message]))
        else:
            self._callbacks[topic](through_bytes(message))

    def hear_good(self, now_ns):
        """Both cameras as they are, and what the configuration asks for besides: a depth image, the mount."""
        for role in ("thermal", "rgb"):
            message = CameraInfo(height=SIZE[0], width=SIZE[1], distortion_model="plumb_bob", d=LENS, k=ROWS)
            self.hear(f"/{role}/camera_info", message)
        if self.config.registration.mode == "depth":
            self.hear("/depth/image_raw", make_image(3 + ramp() / 32, "32FC1", now_ns))
        if self.config.registration.extrinsics_source == "tf":
            self.hear("/tf_static", [transform("mast", NAMES[1]), transform("mast", NAMES[0], (-SHIFT, 0.0, 0.0))])

    def fuse(self, now_ns, names=NAMES):
        """The next pair, published as the node does; None where it is refused with a reason."""
        for (role, image, encoding), name in zip(scene(now_ns), names, strict=True):
            self.hear(f"/{role}/image_raw", make_image(image, encoding, now_ns, name))
        pair = self.inputs.join_depth(FramePair(self.frames["thermal"], self.frames["rgb"]))
        self.alignment.follow_tf(pair)
        self.alignment.put(pair)
        self.refused = ""
        try:
            fused = self.pipeline.process(pair, want_registered=True)
        except ImageError as error:
            self.refused = str(error)
            return None
        self.outputs.publish(fused, self.inputs.camera_infos, {IMAGE: 1, REGISTERED: 1, INFO: 1}, self.config.output)
        return fused

    def status(self):
        """Level and words of diagnostics."""
        fallback = self.inputs.depth_problem or self.pipeline.status().registration_fallback
        status = self.alignment.status(self.config, fallback)
        assert len(status.message) < LONGEST_WORDS, status.message[:300]
        return status

    def close(self):
        self.alignment.stop()
        self.inputs.destroy()
        self.pipeline.close()


def through_bytes(message):
    return deserialize_message(serialize_message(message), type(message))


def ramp():
    return np.add.outer(np.arange(SIZE[0]), np.arange(SIZE[1])).astype(np.float32)


def scene(now_ns):
    """A thermal and an rgb image, never the same twice: role, array, encoding."""
    rng = np.random.default_rng(now_ns % 2**32)
    counts = 7000 + 40 * ramp() + rng.integers(0, 30, SIZE)
    colours = 60 + 2 * np.stack([ramp()] * 3, axis=-1) + rng.integers(0, 20, (*SIZE, 3))
    return ("thermal", counts.astype(np.uint16), "mono16"), ("rgb", colours.astype(np.uint8), "rgb8")


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """Makes two equal sides: one that will hear anything, and one that only ever hears what is good."""
    folder = tmp_path_factory.mktemp("geometry")
    pose = folder / "pose.yaml"
    pose.write_text(f"thermal_from_rgb: {{rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1], translation: [{SHIFT}, 0, 0]}}\n")
    common = {"model.device": "cpu", "model.threads": 1, "registration.file": str(pose), "registration.plane_distance_m": 3.0}
    made, threads = [], torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        for key, value in ros_environment(folder, own_domain()).items():
            if key.startswith(("ROS_", "FAST")):
                patch.setenv(key, value)
        context = rclpy.Context()
        rclpy.init(context=context)

        def make(values):
            for name in ("exposed", "clean"):
                overrides = [Parameter(key, value=value) for key, value in (common | values).items()]
                node = LifecycleNode(f"{name}{len(made)}", context=context, parameter_overrides=overrides)
                made.append((Side(node, common | values), node))
                made[-1][0].hear_good(0)
            return made[-2][0], made[-1][0]

        yield make
        for side, node in made:
            side.close()
            node.destroy_node()
        rclpy.try_shutdown(context=context)
        torch.set_num_threads(threads)


def run(both, hostile, now_ns, names=NAMES):
    """Hostile messages, a pair, good messages, a pair. What became of the first; the second is as if the hostile ones had not come."""
    exposed, clean = both
    for topic, message in hostile:
        exposed.hear(topic, message)
    between, said = exposed.fuse(now_ns, names), exposed.status()
    assert len(exposed.refused) < LONGEST_WORDS
    clean.fuse(now_ns)
    for side in both:
        side.hear_good(now_ns + PERIOD_NS)
    fused, wanted = (side.fuse(now_ns + PERIOD_NS) for side in both)
    assert wanted is not None
    assert fused is not None, "the good pair was refused"
    assert fused.image.tobytes() == wanted.image.tobytes()
    assert fused.thermal_registered.tobytes() == wanted.thermal_registered.tobytes()
    assert exposed.status().level == clean.status().level, exposed.status().message
    return "refused" if between is None else "fused, and something told" if said.level == WARN else "fused"


def clock():
    """Stamps of the examples of a test."""
    return iter(range(10**18, 2 * 10**18, 2 * PERIOD_NS))


@strict
@pytest.mark.parametrize("grid", ["rgb", "size", "thermal"])
def test_any_camera_infos_then_good_ones(sides, grid, record_property):
    both = sides({"registration.mode": "plane", "output.grid": grid} | ({"output.width": 40} if grid == "size" else {}))
    outcomes, stamps = Counter(), clock()

    @fuzz
    @given(st.lists(st.tuples(INFO_TOPICS, CAMERA_INFOS), min_size=2, max_size=8))
    def attempt(hostile):
        for _, message in hostile:
            scaled = scaled_camera_info(message, 30, 40)
            assert scaled is message if 0 in (message.width, message.height) else (scaled.height, scaled.width) == (30, 40)
        outcomes[run(both, hostile, next(stamps))] += 1
        outcomes["camera_info"] += len(hostile)

    attempt()
    record_property("hostile messages", str(dict(outcomes)))
    assert outcomes["refused"]
    assert outcomes["fused"]


@strict
@pytest.mark.parametrize("grid", ["rgb", "thermal"])
def test_any_depth_images_then_good_ones(sides, grid, record_property):
    both = sides({"registration.mode": "depth", "output.grid": grid})
    outcomes, stamps = Counter(), clock()

    @fuzz
    @given(st.data())
    def attempt(data):
        now_ns = next(stamps)
        hostile = data.draw(st.lists(depth_images(now_ns), min_size=2, max_size=8))
        outcomes[run(both, [("/depth/image_raw", message) for message in hostile], now_ns)] += 1
        outcomes["depth images"] += len(hostile)

    attempt()
    record_property("hostile messages", str(dict(outcomes)))
    assert not outcomes["refused"], "the plane stands in for any depth image"
    assert outcomes["fused"]


@strict
def test_any_transforms_then_good_ones(sides, record_property):
    pytest.importorskip("tf2_ros", reason="tf2_ros is not installed: apt install ros-$ROS_DISTRO-tf2-ros-py")
    both = sides({"registration.mode": "plane", "registration.extrinsics_source": "tf"})
    outcomes, stamps = Counter(), clock()
    # Not the mount's parent: a loop that a static transform closes stays in tf2, whatever is published later.
    harmless = TRANSFORMS.filter(lambda stamped: stamped.child_frame_id.strip("/") != "mast")

    @fuzz
    @given(st.lists(harmless, min_size=2, max_size=12), st.tuples(st.sampled_from(FRAMES), st.sampled_from(FRAMES)))
    def attempt(hostile, names):
        outcomes[run(both, [("/tf_static", hostile)], next(stamps), names)] += 1
        outcomes["transforms"] += len(hostile)

    attempt()
    record_property("hostile messages", str(dict(outcomes)))
    assert outcomes["refused"]


@strict
def test_nothing_is_allocated_for_what_is_only_claimed(sides, record_property):
    both = sides({"registration.mode": "depth"})
    images = st.tuples(st.sampled_from(["/depth/image_raw", "/thermal/image_raw", "/rgb/image_raw"]), CLAIMS)
    infos = st.tuples(INFO_TOPICS, CLAIMS)
    stamps, peaks, count = clock(), [], Counter()

    @settings(fuzz, max_examples=EXAMPLES // 3)  # tracing takes its time
    @given(st.lists(images, min_size=2, max_size=8), st.lists(infos, max_size=2))
    def attempt(claims, cameras):
        hostile = [(topic, Image(**claim)) for topic, claim in claims]
        for topic, claim in cameras:
            hostile.append((topic, CameraInfo(width=claim["width"], height=claim["height"], k=ROWS, d=LENS, distortion_model="plumb_bob")))
        tracemalloc.start()
        try:
            run(both, hostile, next(stamps))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        count["claims"] += len(hostile)
        assert peaks[-1] < CLAIMED_BYTES

    attempt()
    record_property("hostile messages", f"{dict(count)}, {max(peaks)} bytes at most")


@strict
def test_drift_is_looked_for_whatever_the_cameras_say(sides, record_property):
    exposed, _ = sides({"registration.mode": "plane"})
    exposed.fuse(0)
    pair, outcomes = FramePair(exposed.frames["thermal"], exposed.frames["rgb"]), Counter()

    @fuzz
    @given(st.lists(st.tuples(INFO_TOPICS, CAMERA_INFOS), min_size=1, max_size=4))
    def attempt(hostile):
        for topic, message in hostile:
            exposed.hear(topic, message)
        monitor = DriftMonitor()
        monitor.push(pair, exposed.pipeline.registration.map(SIZE, SIZE))
        outcomes["camera_info"] += len(hostile)

    attempt()
    record_property("hostile messages", str(dict(outcomes)))


def test_a_refused_camera_info_is_told_where_it_matters_even_while_drift_is(sides, tmp_path):
    exposed, _ = sides({"registration.mode": "plane"})
    nothing = CameraInfo(height=SIZE[0], width=SIZE[1], distortion_model="unheard of", k=ROWS)
    exposed.fuse(0)
    exposed.hear_good(0)
    drift = DriftAnalysis(period_s=0.0)
    exposed.alignment._drift.stop()
    exposed.alignment._drift = drift
    end = time.monotonic() + 60
    while "common edges" not in exposed.status().message and time.monotonic() < end:
        exposed.fuse(0)
    assert "common edges" in exposed.status().message
    exposed.hear("/rgb/camera_info", nothing)
    assert "the lens model 'unheard of' is not known" in exposed.status().message
    exposed.hear_good(0)
    assert "common edges" in exposed.status().message
    known = Camera(np.reshape(ROWS, (3, 3)), SIZE)
    path = tmp_path / "whole.yaml"
    path.write_text(yaml.safe_dump(stereo_content(Stereo(known, known, np.eye(3), np.zeros(3)))))
    exposed, _ = sides({"registration.mode": "plane", "registration.file": str(path)})
    exposed.hear("/rgb/camera_info", nothing)
    assert exposed.status().message == "not measured yet", "the file's cameras hold, whatever the driver says"
