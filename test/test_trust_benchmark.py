"""benchmarks/trust.py on a made scene: a copy of thermal keeps all targets, and what a degradation costs is seen."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from aenet_ros.workbench.evaluation.methods import Method

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import trust

COPIES = (Method("thermal", lambda pair: pair.thermal), Method("luma", lambda pair: pair.rgb))


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    thermal = 60 + 4 * rng.standard_normal((240, 320))
    luma = cv2.GaussianBlur(128 + 90 * rng.standard_normal((240, 320)), (0, 0), 1.5)
    return trust.Scene("made", *(np.clip(plane, 0, 255).astype(np.uint8) for plane in (thermal, luma)), seed=(0, 0))


def test_a_copy_of_thermal_keeps_the_targets_and_a_copy_of_luma_loses_them(scene):
    table = trust.targets([scene], COPIES, draws=4)
    count = table["thermal"]["all"]["count"]
    assert count >= 8
    assert table["thermal"]["all"]["kept"] == 1.0
    assert table["luma"]["all"]["kept"] < 0.3
    for unit in ("pixels", "noise", "clutter"):  # each target is in one group of a kind
        assert sum(row["count"] for name, row in table["thermal"].items() if name.endswith(unit)) == count


def test_degradations_are_measured_against_the_clean_fused_pair_and_the_better_source(scene):
    table = trust.degraded([scene], COPIES, ["rgb_blur", "thermal_noise", "thermal_blur"])
    unharmed = table["rgb_blur"]["thermal"]  # the blurred camera is not used
    assert unharmed["VIF"] == pytest.approx(1.0)
    assert unharmed["Qabf"] == pytest.approx(1.0)
    assert table["rgb_blur"]["luma"]["VIF"] < 0.8
    assert table["rgb_blur"]["luma"]["VIF below the better source"] == 1.0
    noisy = table["thermal_noise"]["thermal"]
    assert noisy["change"] > 1.0
    assert noisy["change"] == pytest.approx(noisy["input change"], rel=0.1)  # luma is still
    assert table["thermal_noise"]["luma"]["change"] == 0.0
    # A still scene has sensor noise: before rounding the difference of two frames has a deviation of 0.5 * sqrt(2), and a mean of
    # sqrt(2 / pi) times that: 0.56.
    assert table["thermal_blur"]["thermal"]["change"] == pytest.approx(0.56, abs=0.08)
