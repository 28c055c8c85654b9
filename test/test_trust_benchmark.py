"""benchmarks/trust.py on a made scene: a copy of thermal keeps all targets, and what a degradation costs is seen."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import trust


def copy_thermal(thermal, luma):
    return thermal


def copy_luma(thermal, luma):
    return luma


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    thermal = 60 + 4 * rng.standard_normal((240, 320))
    luma = cv2.GaussianBlur(128 + 90 * rng.standard_normal((240, 320)), (0, 0), 1.5)
    return trust.Scene("made", *(np.clip(plane, 0, 255).astype(np.uint8) for plane in (thermal, luma)), seed=(0, 0))


def test_a_copy_of_thermal_keeps_the_targets_and_a_copy_of_luma_loses_them(scene):
    methods = {"thermal": copy_thermal, "luma": copy_luma}
    found = trust.targets([scene], methods, draws=4)
    table = trust.targets_table(found, methods)
    assert table["thermal"]["all"]["count"] == len(found) / 2 >= 8
    assert table["thermal"]["all"]["kept"] == 1.0
    assert table["luma"]["all"]["kept"] < 0.3
    groups = table["thermal"].items()
    for unit in ("pixels", "noise", "clutter"):  # each target is in one group of a kind
        assert sum(row["count"] for name, row in groups if name.endswith(unit)) == len(found) / 2


def test_degradations_are_measured_against_the_clean_fused_pair_and_the_better_source(scene):
    rows = trust.degraded([scene], {"thermal": copy_thermal, "luma": copy_luma}, ["rgb_blur", "thermal_noise"])
    table = trust.degraded_table(rows)
    unharmed = table["rgb_blur"]["thermal"]  # the blurred camera is not used
    assert unharmed["VIF"] == pytest.approx(1.0)
    assert unharmed["Qabf lowest"] == pytest.approx(1.0)
    assert table["rgb_blur"]["luma"]["VIF"] < 0.9
    assert table["rgb_blur"]["luma"]["VIF below the better source"] == 1.0
    assert table["rgb_blur"]["luma"]["VIF share of 0.8 or more"] == 0.0
    noisy = table["thermal_noise"]["thermal"]
    assert noisy["change"] > 1.0
    assert noisy["change"] == pytest.approx(noisy["input change"], rel=0.1)  # luma is still
    assert table["thermal_noise"]["luma"]["change"] == 0.0


def test_a_still_scene_has_sensor_noise(scene):
    table = trust.degraded_table(trust.degraded([scene], {"thermal": copy_thermal}, ["thermal_blur"]))
    # Before rounding the difference of two frames has a deviation of 0.5 * sqrt(2), and a mean of sqrt(2 / pi) times that: 0.56.
    assert table["thermal_blur"]["thermal"]["change"] == pytest.approx(0.56, abs=0.08)
