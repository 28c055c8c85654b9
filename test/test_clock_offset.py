"""The clock offset against the truth that the rig was given."""

import math

import numpy as np
import pytest

from aenet_ros.core.frames import Frame
from aenet_ros.sync.clock_offset import ClockOffsetEstimator, agreement, global_shift, small_grey
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

START = 1_750_000_000_000_000_000
SMALL = {"thermal_width": 320, "thermal_height": 256, "rgb_width": 320, "rgb_height": 256}


def watch(config, seconds=11, drift_ppm=0.0):
    """The estimator after so many seconds of the rig, whose thermal clock runs fast by ``drift_ppm``."""
    estimator = ClockOffsetEstimator()
    for event in Rig(config).events(seconds, START):
        stamp_ns, grey = event.frame.stamp_ns, small_grey(event.frame)
        if event.stream == "thermal":
            estimator.push_thermal(stamp_ns + round((stamp_ns - START) * drift_ppm * 1e-6), grey)
        else:
            estimator.push_rgb(stamp_ns, grey)
    return estimator.estimate()


@pytest.mark.parametrize(
    "settings",
    [
        {"scenes": "day"},
        {"scenes": "day", "offset_ms": 183.4, "jitter_ms": 2.0, "phase_ms": 15.0, "thermal_drop": 0.1, "rgb_drop": 0.1},
        {"scenes": "night", "offset_ms": -300.0, "thermal_hz": 9.0},
        {"scenes": "smoke", "offset_ms": 1234.5},
        {"scenes": "day", "offset_ms": 3_600_000.0, "shutter_period_s": 4.0},
    ],
    ids=str,
)
def test_the_rigs_offset_is_found_within_5_ms_from_10_s(settings):
    found = watch(RigConfig(**SMALL, **settings))
    assert abs(found.offset_ns / 1e6 - settings.get("offset_ms", 0.0)) < 5.0
    assert found.trusted, found.problem
    assert math.isnan(found.drift_ppm)
    assert not found.confirmed  # by a second window


def test_a_drift_is_found():
    found = watch(RigConfig(**SMALL, scenes="day", offset_ms=20.0), seconds=31, drift_ppm=150.0)
    assert found.confirmed
    assert abs(found.drift_ppm - 150.0) < 60.0
    # The last window's middle is 26 s after the start: 20 ms + 26 s * 150 ppm.
    assert abs(found.offset_ns / 1e6 - 23.9) < 5.0


def test_cameras_that_stand_still_give_no_confidence():
    assert watch(RigConfig(**SMALL, scenes="day", motion=0.0, offset_ms=180.0)).confidence < 0.5


def test_too_little_time_gives_nothing():
    assert watch(RigConfig(**SMALL), seconds=5) is None
    assert ClockOffsetEstimator().estimate() is None


def test_a_stamp_that_went_back_starts_anew_and_constant_pictures_are_harmless():
    estimator, grey = ClockOffsetEstimator(window_s=1.0), np.full((64, 80), 7.0, np.float32)
    for index in range(60):
        estimator.push_thermal(START + index * 33_000_000, grey)
        estimator.push_rgb(START + index * 33_000_000, grey)
    found = estimator.estimate()
    assert found.confidence < 0.5
    estimator.push_rgb(START - 10**10, grey)
    assert estimator.estimate() is None


def waves(right=0.0, down=0.0):
    """A smooth picture, moved by so many pixels."""
    y, x = np.mgrid[:64, :80].astype(np.float64)
    x, y = x - right, y - down
    return (100 + 20 * np.sin(x / 6) + 15 * np.cos(y / 5) + 10 * np.sin((x + y) / 9)).astype(np.float32)


@pytest.mark.parametrize(("right", "down"), [(0.0, 0.0), (0.5, -0.25), (-1.0, 0.8)])
def test_shift_of_the_whole_picture(right, down):
    found = global_shift(waves(), waves(right, down) + 3)  # brighter as well
    np.testing.assert_allclose(found, (right, down), atol=0.03)


def test_a_body_that_moves_by_itself_is_left_out():
    before, after = waves(), waves(0.4, 0.0)
    before[20:44, 20:32] = 160
    after[20:44, 26:38] = 160
    np.testing.assert_allclose(global_shift(before, after), (0.4, 0.0), atol=0.05)


def test_small_grey_takes_every_canonical_encoding():
    for encoding, pixels in [
        ("mono8", np.full((100, 120), 9, np.uint8)),
        ("mono16", np.full((100, 120), 30_000, np.uint16)),
        ("rgb8", np.full((100, 120, 3), 50, np.uint8)),
        ("bgr8", np.full((100, 120, 3), 50, np.uint8)),
    ]:
        small = small_grey(Frame(1, pixels, encoding))
        assert (small.shape, small.dtype) == ((64, 80), np.float32)
        np.testing.assert_allclose(small, pixels.flat[0], rtol=1e-5)
    holes = np.full((100, 120), np.nan, np.float32)
    assert (small_grey(Frame(1, holes, "32FC1")) == 0).all()


def test_agreement_is_pearsons_correlation_of_what_both_hold():
    rng = np.random.default_rng(3)
    first, second = rng.standard_normal((2, 90)), rng.standard_normal((2, 90))
    first_valid, second_valid = (rng.random(90) > 0.2).astype(float), (rng.random(90) > 0.2).astype(float)
    found = agreement(first, first_valid, second, second_valid, 20)
    for lag in (-20, -3, 0, 7, 20):
        pairs = [(i, i - lag) for i in range(90) if 0 <= i - lag < 90 and first_valid[i] and second_valid[i - lag]]
        left, right = np.array(pairs).T
        for kind in range(2):
            assert found[kind, lag + 20] == pytest.approx(np.corrcoef(first[kind, left], second[kind, right])[0, 1], abs=1e-9)
