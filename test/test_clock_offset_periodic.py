"""The clock offset over motion that repeats, where lags that differ by a period look alike, and over motion that does not."""

import math
import time

import cv2
import numpy as np
import pytest

from aenet_ros.config import build
from aenet_ros.core.frames import Frame
from aenet_ros.health.offset_monitor import OffsetMonitor, offset_refusal, offset_status
from aenet_ros.health.status import OK, WARN
from aenet_ros.sync.clock_offset import ClockOffsetEstimator

START = 1_750_000_000_000_000_000
HZ = 15


def irregular(seed):
    """A camera's shake: many sines of frequencies that have no common period; pixels (x, y) at a time in seconds."""
    rng = np.random.default_rng(seed)
    hertz, phases = rng.uniform(0.1, 3.0, 24), rng.uniform(0, 2 * np.pi, (24, 2))
    sizes = 0.6 * rng.normal(size=(24, 2)) / (0.3 + hertz[:, None])
    return lambda t: (sizes * np.sin(2 * np.pi * hertz[:, None] * t + phases)).sum(0)


def periodic(period, share=0.0, seed=0):
    """A rhythm that repeats every ``period`` seconds, and so much of an irregular shake."""
    shake = irregular(seed)

    def place(t):
        phase = 2 * math.pi * t / period
        return np.array([4 * math.sin(phase) + 1.5 * math.sin(2 * phase + 1), 2 * math.cos(phase)]) + share * shake(t)

    return place


def views(motion, seconds, offset_s, seed, drift_ppm=0.0, start_s=0.0):
    """(role, stamp, picture) of two noisy cameras on one mount, in the order they are taken; the thermal one sees the negative."""
    rng = np.random.default_rng(seed)
    world = cv2.GaussianBlur(rng.standard_normal((400, 500)).astype(np.float32), (0, 0), 3.0)
    world = 100 + 60 * world / world.std()
    begins = {role: start_s + rng.uniform(0, 1 / HZ) for role in ("thermal", "rgb")}
    shots = [(begin + index / HZ, role) for role, begin in begins.items() for index in range(int(seconds * HZ))]
    for t, role in sorted(shots):
        x, y = motion(t)
        picture = cv2.warpAffine(world, np.float32([[1, 0, -200 - x], [0, 1, -150 - y]]), (80, 64))
        picture = (255 - 0.7 * picture if role == "thermal" else picture) + rng.normal(0, 3, picture.shape)
        late_s = offset_s + t * drift_ppm * 1e-6 if role == "thermal" else 0.0
        yield role, START + round((t + late_s + rng.normal(0, 0.002)) * 1e9), picture.astype(np.float32)


def estimate(motion, seconds, offset_s, seed=0, drift_ppm=0.0):
    estimator = ClockOffsetEstimator()
    for role, stamp_ns, picture in views(motion, seconds, offset_s, seed, drift_ppm):
        (estimator.push_thermal if role == "thermal" else estimator.push_rgb)(stamp_ns, picture)
    return estimator.estimate()


@pytest.mark.parametrize("offset_s", [0.0, 0.4, -0.3])
@pytest.mark.parametrize("seconds", [11, 32])
def test_irregular_motion_gives_the_offset(offset_s, seconds):
    found = estimate(irregular(5), seconds, offset_s, seed=1)
    assert found.trusted, found.problem
    assert found.offset_ns / 1e6 == pytest.approx(offset_s * 1e3, abs=5)


@pytest.mark.parametrize("offset_s", [0.0, 0.4])
@pytest.mark.parametrize("period", [0.7, 1.7])
def test_a_shake_on_top_of_a_rhythm_gives_the_offset(period, offset_s):
    found = estimate(periodic(period, share=0.5), 22, offset_s, seed=2)
    assert found.trusted, found.problem
    assert found.offset_ns / 1e6 == pytest.approx(offset_s * 1e3, abs=8)


@pytest.mark.parametrize(("period", "seconds"), [(0.4, 11), (0.59, 11), (0.7, 11), (1.0, 11), (1.7, 11), (0.7, 31), (1.7, 31)])
def test_a_rhythm_alone_never_gives_a_trusted_wrong_offset(period, seconds):
    for seed in range(3):
        offset_s = (0.0, 0.4, -0.3)[seed]
        found = estimate(periodic(period), seconds, offset_s, seed)
        assert not found.trusted or abs(found.offset_ns / 1e9 - offset_s) < 0.01, (seed, found)
        assert found.trusted or found.problem


def test_a_drift_that_no_clock_has_is_not_trusted():
    found = estimate(irregular(5), 32, 0.02, seed=1, drift_ppm=1500.0)
    assert not found.trusted
    assert "drift" in found.problem or "differ by" in found.problem


def feed(monitor, frames, until, limit_s=120.0):
    """Give the monitor frames as fast as it takes them until ``until()``."""
    end = time.monotonic() + limit_s
    for role, stamp_ns, picture in frames:
        while monitor._mailbox.waiting and time.monotonic() < end:
            time.sleep(0.001)
        monitor.put(role, Frame(stamp_ns, picture, "32FC1"))
        if until():
            return
    while not until():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("error_ms", "verified"), [(0.0, True), (589.0, False)])
def test_an_applied_offset_is_verified_by_later_frames(error_ms, verified):
    monitor = OffsetMonitor(period_s=0.0)  # with every frame: they come faster here than from cameras
    try:
        assert "10 s are needed" in offset_refusal(monitor)
        feed(monitor, views(irregular(5), 16, 0.1, 1), lambda: monitor.found is not None and monitor.seconds() > 12)
        assert offset_refusal(monitor) == ""
        status = offset_status(monitor, build({}))
        assert (status.level, "not confirmed yet" in status.message) == (OK, True)  # one window alone raises no warning
        monitor.verify(round((100 + error_ms) * 1e6), previous_ms=3.0)
        assert monitor.applied.verified is None
        feed(monitor, views(irregular(5), 60, 0.1, 1, start_s=16.0), lambda: monitor.applied.verified is not None)
        assert monitor.applied.verified is verified
        status = offset_status(monitor, build({"sync.clock_offset_ms": 100 + error_ms if verified else 3.0}))
        assert (status.level, "applied and verified" in status.message) == (OK if verified else WARN, verified)
        assert verified or "set back to 3" in status.message
    finally:
        monitor.stop()
