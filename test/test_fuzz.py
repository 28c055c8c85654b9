"""Any message through everything that sees it before and while it is fused: a result or a typed error, never anything else."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aenet_ros.clock_offset import ClockOffsetEstimator, small_grey
from aenet_ros.config import DegradedConfig, build
from aenet_ros.errors import ImageError
from aenet_ros.frames import FramePair
from aenet_ros.image_codec import decode_rgb, decode_thermal
from aenet_ros.imaging.faults import picture_fault
from aenet_ros.imaging.shutter import StillWatch, sample
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.sync import PairMatcher

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
    stills = {"thermal": StillWatch(), "rgb": StillWatch()}
    return pipeline, PairMatcher(25_000_000), stills, ClockOffsetEstimator(window_s=1.0)


@settings(max_examples=1200, deadline=None)
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
        stills[role].see(frame.stamp_ns, picked)
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
