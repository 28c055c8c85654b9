"""Any message through everything that sees it before and while it is fused: a result or a typed error, never anything else.

AENET_FUZZ_EXAMPLES sets the number of examples of each test.
"""

import os
import random
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from aenet_ros.config import DegradedConfig, RegistrationConfig, build
from aenet_ros.core.camera import camera_from_info
from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.health.quality import picture_fault
from aenet_ros.messages.codec import decode_rgb, decode_thermal
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import Registration
from aenet_ros.sync.clock_offset import ClockOffsetEstimator, small_grey
from aenet_ros.sync.matcher import PairMatcher
from aenet_ros.thermal.ffc import FrozenDetector, sample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # thousands of messages take minutes on a busy machine

EXAMPLES = int(os.environ.get("AENET_FUZZ_EXAMPLES", "1200"))
CHANNELS = {
    "mono8": 1, "8UC1": 1, "mono16": 2, "16UC1": 2, "32FC1": 4, "rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4,
    "yuv422": 2, "yuv422_yuy2": 2, "nv12": 1, "bayer_rggb8": 1,
}  # fmt: skip
HUGE = st.sampled_from([0, 2**31 - 1, 2**31, 2**32 - 1, 10_000])
SIZES = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([(1, 1), (1, 6000), (6000, 1), (2, 5000), (3, 4001), (16, 16), (15, 64)]),
)


@st.composite
def messages(draw):
    """A message with a whole picture of any size and any bytes, NaN and infinity among them; or one that lies in some respect."""
    encoding = draw(st.sampled_from(list(CHANNELS)))
    height, width = draw(SIZES)
    if encoding == "nv12":
        height, width = height * 2 // 2 * 2 or 2, width * 2
    padding = draw(st.sampled_from([0, 0, 1, 4]))
    step = width * CHANNELS[encoding] + padding
    rows = height * 3 // 2 if encoding == "nv12" else height
    message = SimpleNamespace(height=height, width=width, encoding=encoding, step=step, is_bigendian=draw(st.integers(0, 1)))
    message.data = (draw(st.sampled_from([None, None, 0, 255, 127])), draw(st.integers(0, 2**32)), step * rows)
    seconds = draw(st.sampled_from([0, 1, 1_750_000_000, -(2**31), 2**31 - 1]))
    stamp = SimpleNamespace(sec=seconds, nanosec=draw(st.sampled_from([0, 2**32 - 1])))
    message.header = SimpleNamespace(stamp=stamp, frame_id="camera")
    lie = draw(st.sampled_from(["", "", "", "height", "width", "step", "encoding", "data"]))
    if lie in ("height", "width", "step"):
        setattr(message, lie, draw(HUGE))
    elif lie == "encoding":
        message.encoding = draw(st.one_of(st.text(max_size=10), st.binary(max_size=10)))
    elif lie == "data":
        message.data = (*message.data[:2], draw(st.integers(0, 200)))
    return message


def with_bytes(message):
    """The message with its bytes: one value throughout, or random ones."""
    filler, seed, size = message.data
    data = random.Random(seed).randbytes(size) if filler is None else bytes([filler]) * size
    return SimpleNamespace(**{**vars(message), "data": data})


@pytest.fixture(scope="module")
def parts():
    pipeline = FusionPipeline(build({"model.device": "cpu", "model.threads": 1, "output.isotherm": True}))
    stills = {"thermal": FrozenDetector(), "rgb": FrozenDetector()}
    return pipeline, PairMatcher(25_000_000), stills, ClockOffsetEstimator(window_s=1.0)


@settings(max_examples=EXAMPLES, deadline=None)
@given(messages(), messages())
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_any_two_messages_are_fused_or_refused_with_a_reason(parts, thermal_message, rgb_message):
    pipeline, matcher, stills, estimator = parts
    frames = []
    for role, message, decode in (("thermal", thermal_message, decode_thermal), ("rgb", rgb_message, decode_rgb)):
        try:
            frame = decode(with_bytes(message))
        except ImageError:
            continue
        frames.append(frame)
        assert frame.data.size > 0
        picked = sample(frame)
        assert 0 < picked.size <= 12_100
        assert np.isfinite(picked).all()
        stills[role].update(frame.stamp_ns, picked)
        assert picture_fault(role, frame, picked, DegradedConfig()) in ("", "black", "saturated")
        (estimator.push_thermal if role == "thermal" else estimator.push_rgb)(frame.stamp_ns, small_grey(frame))
        (matcher.push_thermal if role == "thermal" else matcher.push_rgb)(frame)
    counts = matcher.counts
    assert 2 * counts.pairs + sum(counts.dropped.values()) + matcher.pending == counts.thermal_in + counts.rgb_in
    if len(frames) == 2:
        try:
            fused = pipeline.process(FramePair(*frames), want_registered=True)
        except ImageError:
            return
        assert fused.image.shape[:2] == frames[1].size
        assert fused.thermal_registered.shape == frames[1].size


NUMBERS = st.one_of(st.sampled_from([0.0, -1.0, 1.0, 20.0, 1e-300, 1e300, float("nan"), float("inf"), float("-inf")]), st.floats())


@st.composite
def camera_infos(draw):
    """A CameraInfo's fields: plausible ones, or such that lie in one respect."""
    info = SimpleNamespace(width=32, height=24, k=[40.0, 0, 16, 0, 40, 12, 0, 0, 1], d=[-0.1, 0.01, 0, 0, 0], distortion_model="plumb_bob")
    lie = draw(st.sampled_from(["", "", "size", "focal", "matrix", "lens"]))
    if lie == "size":
        info.width, info.height = (draw(st.one_of(st.integers(0, 64), st.sampled_from([2**31, 2**32 - 1]))) for _ in range(2))
    elif lie == "focal":
        info.k[0], info.k[4] = (draw(st.one_of(st.sampled_from([40.0, 1e-12, 0.5, 1e4, 1e15]), NUMBERS)) for _ in range(2))
    elif lie == "matrix":
        for place in draw(st.lists(st.integers(0, 8), min_size=1, max_size=3)):
            info.k[place] = draw(NUMBERS)
    elif lie == "lens":
        models = [("plumb_bob", 5), ("rational_polynomial", 8), ("equidistant", 4), ("", 0), ("\U0001f525", 3)]
        info.distortion_model, count = draw(st.sampled_from(models))
        info.d = draw(st.one_of(st.lists(NUMBERS, min_size=count, max_size=count), st.lists(NUMBERS, max_size=14)))
    return info


@pytest.fixture(scope="module")
def pose(tmp_path_factory):
    path = tmp_path_factory.mktemp("pose") / "pose.yaml"
    path.write_text("thermal_from_rgb: {rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1], translation: [0.1, 0, 0]}\n")
    return str(path)


@pytest.fixture(scope="module")
def loaded(pose):
    return FusionPipeline(build({"model.device": "cpu", "model.threads": 1, "registration.mode": "depth", "registration.file": pose}))


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(st.tuples(camera_infos(), camera_infos()), min_size=1, max_size=2),
    st.sampled_from(["32FC1", "mono16"]),
    st.lists(NUMBERS, min_size=1, max_size=12),
    st.sampled_from([(24, 32), (1, 1), (7, 64), (3, 1000)]),
)
def test_any_camera_info_and_depth_are_used_or_refused_with_a_reason(loaded, pose, infos, encoding, values, size):
    registration = Registration(RegistrationConfig(mode="depth", file=pose))
    for role, info in (item for both in infos for item in zip(("thermal", "rgb"), both, strict=True)):
        with suppress(ConfigError):
            registration.set_intrinsics(role, camera_from_info(info))
    with np.errstate(all="ignore"):
        data = np.resize(np.array(values, np.float64), size).astype(np.float32 if encoding == "32FC1" else np.uint16)
    loaded.registration, loaded.grid = registration, OutputGrid(registration)
    frames = Frame(1, np.full((24, 32), 7000, np.uint16), "mono16"), Frame(1, np.full((24, 32, 3), 90, np.uint8), "rgb8")
    try:
        fused = loaded.process(FramePair(*frames, depth=Frame(1, data, encoding)), want_registered=True)
    except ImageError:
        event("refused")
        return
    event("fused by depth" if not loaded.grid.fallback else "fused by the plane")
    assert fused.image.shape == (24, 32, 3)
