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
from aenet_ros.health.status import OK, WARN, NodeStats
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


def test_without_a_budget_or_a_live_stream_the_size_stays():
    assert set(play(Resolution(LatencyConfig(budget_ms=0.0)), 500.0, 200)) == {1.0}
    for config in (LatencyConfig(), LatencyConfig(budget_ms=5.0)):
        assert set(play(Resolution(config, period_ns=0), 500.0, 200)) == {1.0}


@pytest.mark.parametrize(
    ("hz", "full_ms", "wanted"), [(30, 15.0, 1.0), (30, 35.0, 0.75), (30, 60.0, 0.5), (30, 200.0, 0.25), (9, 60.0, 1.0)]
)
def test_the_automatic_budget_is_three_quarters_of_a_period(hz, full_ms, wanted):
    """By hand at 30 Hz: 25 ms; the rest of a pair takes 2 ms, so that 35 ms fit at 0.75 (21.7 ms) and 60 ms at 0.5 (17 ms)."""
    budget = Resolution(period_ns=round(1e9 / hz))
    scales = play(budget, full_ms, 100)
    assert scales[-1] == wanted
    assert scales.index(wanted) < 25  # at once to the size that fits, not step by step
    assert budget.state.budget_ms == pytest.approx(750.0 / hz)
    status = resolution_status(budget.config, budget.state)
    assert status.level == (OK if wanted == 1.0 else WARN)
    assert {1.0: "full size", 0.75: "three quarters of the size", 0.5: "half of the size", 0.25: "a quarter of the size"}[
        wanted
    ] in status.message
    assert "(automatic)" in status.values["budget [ms]"]


def test_a_smaller_network_is_not_used_where_it_does_not_help():
    """Registration takes 100 ms and the network 5: a quarter of the size would cost detail and gain 5 %."""
    budget = Resolution()
    assert set(play(budget, 5.0, 200, other_ms=100.0)) == {1.0}
    assert budget.state.exceeded
    status = resolution_status(budget.config, budget.state)
    assert status.level == WARN
    assert "would not help" in status.message
    assert "full size" in status.message


def test_it_steps_down_while_too_slow_and_back_when_it_is_quick_again():
    budget = Resolution(LatencyConfig(budget_ms=20.0))
    assert set(play(budget, 12.0, 300)) == {1.0}
    down = play(budget, 60.0, 300)
    assert down[-1] == 0.5
    assert down.index(0.5) < 60
    assert not budget.state.exceeded
    back = play(budget, 12.0, 600)
    assert back[-1] == 1.0
    assert (budget.state.steps_down, budget.state.steps_up) == (1, 2)


def test_it_says_when_even_the_smallest_size_is_too_slow():
    budget = Resolution(LatencyConfig(budget_ms=10.0))
    assert play(budget, 200.0, 200)[-1] == SCALES[-1]
    assert budget.state.exceeded
    assert budget.state.pair_ms == pytest.approx(14.5, rel=0.15)


@pytest.mark.parametrize("full_ms", [16.0, 17.0, 18.0, 19.0, 22.0, 30.0, 33.0, 40.0])
def test_a_machine_near_the_budget_does_not_swing(full_ms):
    budget = Resolution(LatencyConfig(budget_ms=20.0))
    scales = play(budget, full_ms, 9000, seed=int(full_ms))
    changes = np.flatnonzero(np.diff(scales))
    assert len(changes) <= 6  # in five minutes at 30 Hz


def test_a_step_back_that_does_not_last_is_tried_less_and_less_often():
    budget = Resolution(LatencyConfig(budget_ms=20.0))
    ups = []
    for index in range(30 * PATIENCE):
        # Quick at the smaller sizes and too slow at the full one, whatever they let expect: another program uses the caches.
        fusion_ms = {1.0: 40.0, 0.75: 8.0, 0.5: 4.0}[budget.scale]
        before = budget.state.steps_up
        budget.record(round((fusion_ms + 2) * MS), round(fusion_ms * MS))
        ups += [index] * (budget.state.steps_up - before) * (budget.scale == 1.0)
    waits = np.diff(ups)
    assert len(ups) >= 4
    assert all(later > 1.5 * earlier for earlier, later in pairwise(waits))
    assert LASTED > PATIENCE


def test_taking_the_budget_away_gives_the_full_size_at_once():
    budget = Resolution(LatencyConfig(budget_ms=10.0))
    play(budget, 100.0, 100)
    budget.config = LatencyConfig(budget_ms=0.0)
    assert play(budget, 100.0, 3)[-1] == 1.0


@pytest.fixture(scope="module")
def pair():
    events = Rig(RigConfig(scenes="night", rgb_width=320, rgb_height=256, thermal_width=320, thermal_height=256)).events()
    frames = {event.stream: event.frame for event, _ in zip(events, range(2), strict=False)}
    return FramePair(frames["thermal"], frames["rgb"])


def brightness(frame):
    low, high = np.percentile(frame.data, (1, 99.5))
    return np.clip((frame.data - low) / (high - low), 0, 1).astype(np.float32)


@pytest.mark.parametrize(("scale", "least"), [(0.75, 0.94), (0.5, 0.89), (0.25, 0.75)])
def test_a_reduced_picture_is_much_like_the_full_one(pair, scale, least):
    fuser = Fuser(ModelConfig(device="cpu"))
    thermal = brightness(pair.thermal)
    full = fuser.fuse(thermal, pair.rgb.data)
    reduced = downscaled(scale, fuser, thermal, pair.rgb.data)
    assert reduced.shape == full.shape
    assert similarity(reduced.mean(axis=2), full.mean(axis=2))[1] > least
    assert (reduced != full).any()


@pytest.mark.parametrize("scene", ["day", "night", "smoke"])
def test_a_step_is_not_visible_as_a_jump_of_brightness(scene):
    events = Rig(RigConfig(scenes=scene)).events()
    frames = {event.stream: event.frame for event, _ in zip(events, range(2), strict=False)}
    fuser, thermal = Fuser(ModelConfig(device="cpu")), brightness(frames["thermal"])
    means = [float(downscaled(scale, fuser, thermal, frames["rgb"].data).mean()) for scale in SCALES]
    assert np.abs(np.diff(means)).max() < 2.5  # grey levels
    assert np.ptp(means) < 5.0


@pytest.mark.parametrize("scale", SCALES[1:])
def test_small_hot_targets_stay_in_a_reduced_picture(pair, scale):
    """Targets of 3x3 pixels, half of the range hotter than their surroundings; without a target the pictures are the same."""
    fuser, plain = Fuser(ModelConfig(device="cpu")), brightness(pair.thermal) * np.float32(0.5)
    rgb, hot = pair.rgb.data // 2, plain.copy()
    places = [(row, column) for row in range(30, 230, 50) for column in range(30, 290, 60)]
    for row, column in places:
        hot[row : row + 3, column : column + 3] = plain[row : row + 3, column : column + 3].mean() + 0.5
    change = downscaled(scale, fuser, hot, rgb).astype(float) - downscaled(scale, fuser, plain, rgb)
    gained = [change[row : row + 3, column : column + 3].mean() / 127.5 for row, column in places]
    assert np.median(gained) > 0.6
    assert min(gained) > 0.3


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
    for budget_ms, wanted in ((0.5, 0.25), (10_000.0, 1.0)):
        pipeline = FusionPipeline(build({**options, "latency.budget_ms": budget_ms}))
        for _ in range(45):
            assert pipeline.submit(big, period_ns=33_333_333).result().image.shape == (540, 960, 3)
        state = pipeline.status().resolution
        assert state.scale == wanted
        assert state.exceeded == (wanted == 0.25)
        status = resolution_status(pipeline.config.latency, state)
        assert status.level == (WARN if wanted == 0.25 else OK)
        assert status.values["steps down"] == ("1" if wanted == 0.25 else "0")
        assert ("use a GPU" in status.message) == (wanted == 0.25)


def test_offline_the_same_input_gives_the_same_bytes_whatever_the_budget(pair):
    pipelines = [FusionPipeline(build({"model.device": "cpu", "latency.budget_ms": budget_ms})) for budget_ms in (0.001, -1.0, 0.0)]
    for _ in range(40):
        first, *others = [pipeline.process(pair).image for pipeline in pipelines]
        assert all(np.array_equal(first, other) for other in others)
    assert [pipeline.status().resolution.scale for pipeline in pipelines] == [1.0, 1.0, 1.0]


def test_the_period_of_the_pairs_is_that_of_the_stamps_with_drops_jitter_and_pauses():
    stats, rng = NodeStats(), np.random.default_rng(4)
    assert stats.pair_period_ns() == 0
    stamps = [index * 33_333_333 + round(rng.normal(0, 2 * MS)) for index in range(60) if index % 4]  # each fourth pair is missing
    for stamp_ns in [5, *stamps, stamps[-1] + 60_000 * MS, 7]:  # a pause, and a clock that jumps back
        stats.count_pair(stamp_ns, 0)
    assert stats.pair_period_ns() == pytest.approx(33_333_333, rel=0.1)
    idle = NodeStats()
    for _ in range(20):
        idle.count_pair(0, 0)  # a driver that does not stamp
    assert idle.pair_period_ns() == 0
