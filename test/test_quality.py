"""Measures of fused pictures, by pictures whose values are known, and the words for what is past its limit."""

import math

import numpy as np
import pytest

from aenet_ros.config import build
from aenet_ros.core.frames import FusedFrame
from aenet_ros.health.quality import Quality, QualityMonitor, find_problem, measure
from aenet_ros.health.status import OK, WARN, NodeStats, PipelineStatus

MS = 1_000_000
PIPELINE = PipelineStatus("cpu", "fp32", "", "0123456789ab", (0.0, 1.0), 0, False)
STRIPES = np.tile(np.array([0, 255], np.uint8), (100, 50))
FOUR = np.tile(np.array([60, 100, 140, 180], np.uint8), (100, 25))


@pytest.mark.parametrize(
    ("picture", "entropy", "saturated"),
    [
        (np.full((100, 100), 90, np.uint8), 0.0, 0.0),
        (STRIPES, 1.0, 1.0),  # two levels of equal share: one bit; both at an end
        (FOUR, 2.0, 0.0),
        (np.repeat(FOUR[..., None], 3, axis=2), 2.0, 0.0),
        (np.random.default_rng(0).integers(3, 253, (1000, 1000)).astype(np.uint8), math.log2(250), 0.0),
    ],
)
def test_known_pictures(picture, entropy, saturated):
    found = measure(picture)
    assert found.entropy == pytest.approx(entropy, abs=0.03)
    assert found.saturated == pytest.approx(saturated, abs=0.01)


@pytest.mark.parametrize(
    ("found", "sync_ms", "words"),
    [
        (Quality(6.0, 0.02), 3.0, ""),
        (None, math.nan, ""),
        (None, 24.0, "trigger the cameras together"),
        (Quality(1.0, 0.0), 3.0, "check exposure, lens and focus"),
        (Quality(6.0, 0.7), 3.0, "70 % of the fused picture is saturated"),
    ],
)
def test_what_to_do(found, sync_ms, words):
    said = find_problem(found, sync_ms, build({}))
    assert (said is not None and words in said[1]) if words else said is None


def test_limits_are_parameters():
    off = build({"diagnostics.max_sync_error_ms": 0.0, "diagnostics.min_entropy": 0.0, "diagnostics.max_saturated": 1.0})
    assert find_problem(Quality(0.0, 1.0), 1000.0, off) is None


def test_the_status_tells_all_values():
    watch, stats = QualityMonitor(), NodeStats()
    assert watch.status(build({}), stats, PIPELINE).level == OK
    for index in range(40):
        stats.count_pair(0, (4 if index % 10 else 30) * MS)
        watch.add(FusedFrame(0, STRIPES, "mono8"))
    status = watch.status(build({}), stats, PIPELINE)
    assert status.level == WARN
    assert (status.values["entropy [bit]"], status.values["saturated [%]"]) == ("1.00", "100.0")
    assert status.values["stamp difference p50 [ms]"] == "4.00"
    assert "differ by 30.0 ms at p95" in status.message
