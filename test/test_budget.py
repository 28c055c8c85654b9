"""The latency budget: steps down and back without swinging, and what a reduced picture keeps."""

from itertools import pairwise

import numpy as np
import pytest
from configured import Resolution

from aenet_ros.config import LatencyConfig, ModelConfig, build
from aenet_ros.core.frames import Frame, FramePair, ThermalInput
from aenet_ros.fusion.engine import FusionJob
from aenet_ros.fusion.fuser import Fuser
from aenet_ros.health.adaptive_resolution import LASTED, PATIENCE, SCALES, resolution_status
from aenet_ros.health.status import OK, WARN
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.workbench.evaluation.metrics import similarity
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

MS = 1_000_000


def downscaled(scale, fuser, thermal, rgb, weight=None):
    """The picture with the network at ``scale`` of the size."""
    return fuser.submit(FusionJob(ThermalInput(thermal, weight=weight, rendered=True), rgb, scale=scale)).result()


def play(budget, full_ms, pairs, other_ms=2.0, seed=0):
    """A machine on which the network takes ``full_ms`` at full size, by area at others, with a tenth of noise; the scales in turn."""
    noise = np.random.default_rng(seed).normal(1.0, 0.1, pairs)
    scales = []
    for factor in noise:
        scales.append(budget.scale)
        fusion_ns = round(full_ms * budget.scale**2 * factor * MS)
        budget.record(fusion_ns + round(other_ms * MS), fusion_ns)
    return scales


def test_without_a_budget_the_size_stays():
    assert set(play(Resolution(), 500.0, 200)) == {1.0}


def test_it_steps_down_while_too_slow_and_back_when_it_is_quick_again():
    budget = Resolution(LatencyConfig(budget_ms=20.0))
    assert set(play(budget, 12.0, 300)) == {1.0}
    down = play(budget, 60.0, 300)
    assert down[-1] == 0.5
    assert down.index(0.5) < 60
    assert not budget.state.exceeded
    back = play(budget, 12.0, 600)
    assert back[-1] == 1.0
    assert (budget.state.steps_down, budget.state.steps_up) == (2, 2)


def test_it_says_when_even_the_smallest_size_is_too_slow():
    budget = Resolution(LatencyConfig(budget_ms=10.0))
    assert play(budget, 100.0, 200)[-1] == SCALES[-1]
    assert budget.state.exceeded
    assert budget.state.pair_ms == pytest.approx(27.0, rel=0.15)


@pytest.mark.parametrize("full_ms", [16.0, 17.0, 18.0, 19.0, 22.0, 30.0, 33.0, 40.0])
def test_a_machine_near_the_budget_does_not_swing(full_ms):
    budget = Resolution(LatencyConfig(budget_ms=20.0))
    scales = play(budget, full_ms, 9000, seed=int(full_ms))
    changes = np.flatnonzero(np.diff(scales))
    assert len(changes) <= 6  # in five minutes at 30 Hz


def test_a_step_back_that_does_not_last_is_tried_less_and_less_often():
    budget = Resolution(LatencyConfig(budget_ms=20.0))
    ups = []
    for index in range(12 * PATIENCE):
        # Quick at the small size and too slow at the full one, whatever the small one lets expect: another program uses the caches.
        fusion_ms = 40.0 if budget.scale == 1.0 else 8.0
        before = budget.state.steps_up
        budget.record(round((fusion_ms + 2) * MS), round(fusion_ms * MS))
        ups += [index] * (budget.state.steps_up - before)
    waits = np.diff(ups)
    assert len(ups) >= 2
    assert all(later > 1.5 * earlier for earlier, later in pairwise(waits))
    assert LASTED > PATIENCE


def test_taking_the_budget_away_gives_the_full_size_at_once():
    budget = Resolution(LatencyConfig(budget_ms=10.0))
    play(budget, 100.0, 100)
    budget.config = LatencyConfig()
    assert play(budget, 100.0, 3)[-1] == 1.0


@pytest.fixture(scope="module")
def pair():
    events = Rig(RigConfig(scenes="night", rgb_width=320, rgb_height=256, thermal_width=320, thermal_height=256)).events()
    frames = {event.stream: event.frame for event, _ in zip(events, range(2), strict=False)}
    return FramePair(frames["thermal"], frames["rgb"])


def brightness(frame):
    low, high = np.percentile(frame.data, (1, 99.5))
    return np.clip((frame.data - low) / (high - low), 0, 1).astype(np.float32)


@pytest.mark.parametrize(("scale", "least"), [(0.75, 0.94), (0.5, 0.89)])
def test_a_reduced_picture_is_much_like_the_full_one(pair, scale, least):
    fuser = Fuser(ModelConfig(device="cpu"))
    thermal = brightness(pair.thermal)
    full = fuser.fuse(thermal, pair.rgb.data)
    reduced = downscaled(scale, fuser, thermal, pair.rgb.data)
    assert reduced.shape == full.shape
    assert similarity(reduced.mean(axis=2), full.mean(axis=2))[1] > least
    assert (reduced != full).any()


def test_reduced_or_not_the_picture_is_the_rgb_one_where_nothing_thermal_is_seen(pair):
    fuser = Fuser(ModelConfig(device="cpu"))
    weight = np.zeros(pair.rgb.size, np.float32)
    weight[:, 200:] = 1.0
    reduced = downscaled(0.5, fuser, brightness(pair.thermal), pair.rgb.data, weight)
    np.testing.assert_array_equal(reduced[:, :200], pair.rgb.data[:, :200])
    assert (reduced[:, 210:] != pair.rgb.data[:, 210:]).any()


def test_tiny_pictures_stay_at_full_size(pair):
    fuser = Fuser(ModelConfig(device="cpu"))
    thermal, rgb = brightness(pair.thermal)[:24, :24], pair.rgb.data[:24, :24].copy()
    np.testing.assert_array_equal(downscaled(0.5, fuser, thermal.copy(), rgb), fuser.fuse(thermal.copy(), rgb))


def test_a_pipeline_that_is_really_too_slow_steps_down_and_one_with_time_does_not():
    rng = np.random.default_rng(3)
    big = FramePair(
        Frame(1, rng.normal(22_000, 300, (512, 640)).astype(np.uint16), "mono16"),
        Frame(1, rng.integers(40, 200, (540, 960, 3)).astype(np.uint8), "rgb8"),
    )
    options = {"model.device": "cpu", "model.threads": 1}
    for budget_ms, wanted in ((0.5, 0.5), (10_000.0, 1.0)):
        pipeline = FusionPipeline(build({**options, "latency.budget_ms": budget_ms}))
        for _ in range(45):
            assert pipeline.process(big).image.shape == (540, 960, 3)
        state = pipeline.status().resolution
        assert state.scale == wanted
        assert state.exceeded == (wanted == 0.5)
        status = resolution_status(pipeline.config.latency, state)
        assert status.level == (WARN if wanted == 0.5 else OK)
        assert status.values["steps down"] == ("2" if wanted == 0.5 else "0")
        assert ("use a GPU" in status.message) == (wanted == 0.5)
