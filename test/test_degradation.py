"""Degraded pairs: each degradation does what it says and no more, and pasted targets have the stated size and contrast."""

import numpy as np
import pytest

from aenet_ros.workbench import degradation
from aenet_ros.workbench.degradation import DEGRADATIONS, degrade_clip
from aenet_ros.workbench.hot_targets import paste_hot_targets, ring_of

SHAPE = 120, 160


def rng(seed=0):
    return np.random.default_rng(seed)


def grey(value=0.5, shape=SHAPE):
    return np.full(shape, value, np.float32)


@pytest.fixture
def scene():
    """A thermal gradient with grain and a luma of coarse blocks, both away from black and white."""
    columns = np.linspace(0.3, 0.6, SHAPE[1], dtype=np.float32)
    thermal = (columns + 0.02 * rng(1).standard_normal(SHAPE, np.float32)).astype(np.float32)
    blocks = np.kron(rng(2).uniform(0.2, 0.8, (12, 16)), np.ones((10, 10)))
    return thermal, blocks.astype(np.float32)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_degradation_repeats_for_a_seed_and_leaves_its_inputs_and_the_other_plane(name, scene):
    before = [plane.copy() for plane in scene]
    first, again, other = (degrade_clip(name, [scene], rng(seed))[0] for seed in (3, 3, 4))
    changed = 0 if DEGRADATIONS[name].plane == "thermal" else 1
    np.testing.assert_array_equal(scene, before)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[1 - changed], before[1 - changed])
    assert not np.array_equal(first[changed], before[changed])
    assert not np.array_equal(first[changed], other[changed])


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_results_are_planes_in_range(name, value):
    for seed in range(5):
        for plane in degrade_clip(name, [(grey(value), grey(value))], rng(seed))[0]:
            assert plane.dtype == np.float32
            assert plane.shape == SHAPE
            assert plane.flags.c_contiguous
            assert plane.min() >= 0.0
            assert plane.max() <= 1.0


def test_the_thermal_camera_sees_through_weather_and_light():
    of_rgb = {"fog", "smoke", "glare", "low_light", "over_exposed", "under_exposed", "rgb_blur"}
    assert {name for name, row in DEGRADATIONS.items() if row.plane == "luma"} == of_rgb


def checkerboard(low=0.2, high=0.8):
    rows, columns = np.indices(SHAPE)
    return np.where((rows // 4 + columns // 4) % 2, high, low).astype(np.float32)


def test_fog_takes_more_contrast_far_away():
    foggy = degradation.fog(checkerboard(), rng(), thickness=2.0, airlight=1.0, horizon=0.3)
    far, near = foggy[40:56].std(), foggy[-16:].std()  # at the horizon, and at the feet
    assert far < 0.5 * near
    assert near < 0.95 * checkerboard()[-16:].std()


def test_no_fog_is_no_change_and_thick_fog_is_airlight():
    clear = degradation.fog(checkerboard(), rng(), thickness=0.0, airlight=1.0, horizon=0.3)
    np.testing.assert_allclose(clear, checkerboard(), atol=1e-4)
    thick = degradation.fog(checkerboard(), rng(), thickness=500.0, airlight=1.0, horizon=0.3)
    np.testing.assert_allclose(thick, 0.8, atol=1e-3)  # as the brightest parts of the picture


def test_smoke_lies_between_scene_and_smoke():
    smoky = degradation.smoke(grey(0.2), rng(), thickness=4.0, brightness=0.7, cover=0.0)
    assert smoky.min() == pytest.approx(0.2, abs=1e-3)  # a clear place
    assert 0.5 < smoky.max() < 0.7 + 1e-4
    clear = degradation.smoke(checkerboard(), rng(), thickness=0.0, brightness=0.7, cover=0.2)
    np.testing.assert_allclose(clear, checkerboard(), atol=1e-4)


def test_smoke_drifts_smoothly():
    frames = [degradation.smoke(grey(0.2), rng(5), 3.0, 0.7, 0.2, time_s) for time_s in (0.0, 0.04, 10.0)]
    step, later = (np.abs(frame - frames[0]).mean() for frame in frames[1:])
    assert 0.0 < step < 0.1 * later


def test_glare_only_adds_light_most_at_the_lamp():
    bright = degradation.glare(grey(0.2), rng(1), lamps=1, power=2.0, streak=0.0)
    row, column = np.unravel_index(np.argmax(bright), SHAPE)
    assert bright[row, column] == pytest.approx(1.0, abs=1e-6)
    assert bright.min() > 0.2
    distance = np.hypot(*(np.indices(SHAPE) - np.array([row, column])[:, None, None]))
    rings = [bright[(distance >= low) & (distance < low + 10)].mean() for low in (0, 20, 40)]
    assert rings[0] > rings[1] + 0.05 > rings[2] + 0.05


def test_no_lamp_is_no_change_of_a_dark_picture():
    np.testing.assert_allclose(degradation.glare(checkerboard(0.1, 0.6), rng(), 0, 4.0, 0.5), checkerboard(0.1, 0.6), atol=1e-4)


def test_exposure_is_in_stops_of_linear_light():
    # sRGB by its standard: 0.5 is 0.21404 of the light of white, and 0.42808 is 0.6858; 0.10702 is 0.3616.
    over = degradation.over_exposed(grey(0.5), 1.0)
    np.testing.assert_allclose(over, 0.6858, atol=1e-3)
    under = degradation.under_exposed(grey(0.5), rng(), 1.0)
    assert under.mean() == pytest.approx(0.3616, abs=2e-3)
    np.testing.assert_allclose(degradation.over_exposed(grey(0.9), 2.0), 1.0, atol=1e-6)
    assert (degradation.over_exposed(grey(0.0), 2.0) == 0.0).all()


def test_underexposure_leaves_few_levels():
    ramp = np.tile(np.linspace(0, 1, SHAPE[1], dtype=np.float32), (SHAPE[0], 1))
    counts = degradation.under_exposed(ramp, rng(), 4.0) * 255
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-3)
    assert counts.max() < 90  # white at 1/16 of the light: 0.278 of full scale, 71 counts


def test_low_light_has_shot_and_read_noise():
    """Grey has 0.21404 * 10000 / 2^6 = 33.4 electrons; sqrt(33.4 + 2.5^2) = 6.30 of noise, of which a 3x3 Gaussian of 0.6 leaves 50.1 %."""
    noisy = degradation.low_light(grey(0.5), rng(), stops=6.0, regain=1.0)
    electrons = ((noisy + 0.055) / 1.055) ** 2.4 * 10_000 / 64
    assert electrons.mean() == pytest.approx(33.4, rel=0.01)
    assert electrons.std() == pytest.approx(6.30 * 0.501, rel=0.04)
    assert degradation.low_light(grey(0.5), rng(), stops=6.0, regain=0.5).mean() < 0.25


@pytest.mark.parametrize("seed", range(6))
def test_rgb_blur_spreads_a_point_within_its_radius_and_keeps_its_light(seed):
    point = grey(0.0)
    point[60, 80] = 1.0
    blurred = degradation.rgb_blur(point, rng(seed), 3.0)
    rows, columns = np.nonzero(blurred > 1e-6)
    assert rows.size > 5
    assert np.hypot(rows - 60, columns - 80).max() < 4.5
    light = np.where(blurred <= 0.04045, blurred / 12.92, ((blurred + 0.055) / 1.055) ** 2.4)
    assert light.sum() == pytest.approx(1.0, abs=1e-3)


def test_column_and_row_noise_are_constant_along_their_lines():
    columns = degradation.column_noise(grey(shape=(40, 2000)), rng(), 0.02) - 0.5
    assert np.ptp(columns, axis=0).max() == 0.0
    assert columns[0].std() == pytest.approx(0.02, rel=0.1)
    rows = degradation.row_noise(grey(shape=(2000, 40)), rng(), 0.02) - 0.5
    assert np.ptp(rows, axis=1).max() == 0.0
    assert rows[:, 0].std() == pytest.approx(0.02, rel=0.1)


def test_stripes_have_their_period_and_amplitude():
    directions = set()
    for seed in range(12):
        pattern = degradation.stripes(grey(shape=(160, 160)), rng(seed), amplitude=0.03, period=8.0) - 0.5
        down = np.ptp(pattern, axis=0).max() > 0
        directions.add(down)
        line = pattern[:, 0] if down else pattern[0]
        np.testing.assert_array_equal(pattern, np.broadcast_to(line[:, None] if down else line, pattern.shape))
        assert np.argmax(np.abs(np.fft.rfft(line))) == 160 // 8
        assert line.std() == pytest.approx(0.03 / np.sqrt(2), rel=1e-3)
    assert directions == {True, False}


def test_thermal_noise_has_its_deviation():
    noise = degradation.thermal_noise(grey(), rng(), 0.03) - 0.5
    assert noise.std() == pytest.approx(0.03, rel=0.03)
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.03


@pytest.mark.parametrize(("span", "level"), [(12.0, 0.5), (40.0, 0.1), (64.0, 0.95)])
def test_low_contrast_keeps_only_its_counts(span, level):
    ramp = np.tile(np.linspace(0, 1, SHAPE[1], dtype=np.float32), (SHAPE[0], 1))
    counts = degradation.low_contrast(ramp, span, level) * 255
    levels = np.unique(np.rint(counts))
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-3)
    assert span <= levels.size <= span + 2  # the ends are rounded
    assert abs(np.ptp(levels) - span) <= 1
    assert (np.diff(counts[0]) >= -1e-3).all()


def test_thermal_blur_widens_a_step():
    step = grey(0.2)
    step[:, 80:] = 0.8
    blurred = degradation.thermal_blur(step, 2.0)
    np.testing.assert_allclose(blurred[:, [0, -1]], step[:, [0, -1]], atol=1e-4)
    # A step after a Gaussian has the slope 1 / (sigma * sqrt(2 pi)) of its height.
    assert np.diff(blurred, axis=1).max() == pytest.approx(0.6 / (2.0 * np.sqrt(2 * np.pi)), rel=0.03)


@pytest.mark.parametrize("seed", range(4))
def test_misregistration_is_bounded_and_smooth(seed):
    rows, columns = np.indices(SHAPE).astype(np.float32)
    moved = [degradation.misregister(ramp / 200, rng(seed), 4.0) * 200 - ramp for ramp in (rows, columns)]
    inner = (slice(8, -8), slice(8, -8))
    distance = np.hypot(*moved)[inner]
    assert distance.max() < 4.05  # bilinear sampling has steps of 1/32 pixel
    assert distance.max() > 0.5
    assert max(np.abs(np.diff(part[inner], axis=axis)).max() for part in moved for axis in (0, 1)) < 0.3


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_consecutive_frames_share_all_but_noise(name, scene):
    first, second = degrade_clip(name, [scene, scene], rng(7))
    changed = 0 if DEGRADATIONS[name].plane == "thermal" else 1
    difference = np.abs(first[changed] - second[changed])
    moves = {"low_light", "under_exposed", "column_noise", "row_noise", "thermal_noise"}
    if name in moves:
        assert difference.mean() > 1e-3
    elif name == "smoke":
        assert 0 < difference.mean() < 0.02
    else:
        assert difference.max() == 0.0


def test_noise_field_is_about_normal_and_moves():
    fields = np.array([degradation.noise_field((64, 64), rng(seed), 24.0, 3) for seed in range(40)])
    assert fields.std() == pytest.approx(1.0, abs=0.12)
    assert abs(fields.mean()) < 0.15
    still, moved = (degradation.noise_field((64, 64), rng(3), 16.0, 1, offset) for offset in ((0.0, 0.0), (3.0, 5.0)))
    np.testing.assert_allclose(moved[3:, 5:], still[:-3, :-5], atol=1e-4)


# Targets


@pytest.fixture
def clutter():
    """A quiet thermal plane, and luma that is flat on the left and cluttered on the right."""
    thermal = (0.3 + 0.01 * rng(1).standard_normal((240, 320), np.float32)).astype(np.float32)
    luma = grey(0.5, (240, 320))
    luma[:, 160:] += 0.15 * rng(2).standard_normal((240, 160), np.float32)
    return thermal, np.clip(luma, 0, 1)


def pasted(clutter, count=40):
    """(thermal, luma, target) of many draws."""
    for seed in range(count):
        thermal, luma, targets = paste_hot_targets(*clutter, rng(seed), count=4)
        yield from ((thermal, luma, target) for target in targets)


def surroundings(target, shape):
    """Pixels that are 4 to 20 pixels away from the nearest pixel of the target."""
    covered = np.argwhere(target.region(shape))
    points = np.argwhere(np.ones(shape, bool))
    near = points[(np.abs(points - covered.mean(0)) < 40).all(1)]
    distance = np.sqrt(((near[:, None] - covered[None]) ** 2).sum(2)).min(1)
    return near[(distance > 4.5) & (distance < 19.5)].T


def test_targets_have_the_stated_contrast(clutter):
    found = list(pasted(clutter, 6))
    assert len(found) >= 12
    for thermal, _, target in found:
        around = thermal[tuple(surroundings(target, thermal.shape))]
        contrast = (thermal[target.region(thermal.shape)].mean() - around.mean()) / (around.std() + 1 / 255)
        assert contrast == pytest.approx(target.contrast, rel=0.05)
        assert 3.0 <= target.contrast <= 8.0


def test_targets_have_the_stated_size(clutter):
    sizes = set()
    for _, _, target in pasted(clutter):
        rows, columns = np.nonzero(target.mask)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 3 <= target.size <= 12
        assert target.size - 1 <= max(height, width) <= target.size + 1
        assert target.mask.sum() <= (target.size + 1) ** 2
        sizes.add(target.size)
    assert sizes == set(range(3, 13))


def test_targets_lie_in_clutter_apart_and_change_nothing_else(clutter):
    for seed in range(10):
        thermal, luma, targets = paste_hot_targets(*clutter, rng(seed), count=4)
        assert targets
        boxes = np.zeros(thermal.shape, int)
        for target in targets:
            assert target.left >= 145  # half a window of local variance from the flat half
            boxes[target.top : target.top + target.mask.shape[0], target.left : target.left + target.mask.shape[1]] += 1
        assert boxes.max() == 1
        for after, before in ((thermal, clutter[0]), (luma, clutter[1])):
            assert after.dtype == np.float32
            np.testing.assert_array_equal(after[boxes == 0], before[boxes == 0])
        assert (thermal - clutter[0]).min() > -0.02  # hot: only grain is covered
        assert np.abs(luma - clutter[1]).max() < 0.2
        assert thermal.max() <= 1.0


def test_some_targets_are_invisible_to_the_rgb_camera(clutter):
    visible = [bool((luma != clutter[1])[target.region(luma.shape)].any()) for _, luma, target in pasted(clutter)]
    assert 0.3 < np.mean(visible) < 0.7


def test_targets_need_clutter_and_a_thermal_range(clutter):
    thermal, luma = clutter
    assert paste_hot_targets(thermal, grey(0.5, luma.shape), rng())[2] == []
    assert paste_hot_targets(np.clip(thermal + 0.69, 0, 1), luma, rng())[2] == []


def test_the_ring_leaves_the_target_and_its_rim_out():
    region = np.zeros((80, 80), bool)
    region[40, 40] = True
    rows, columns = np.nonzero(ring_of(region))
    distance = np.hypot(rows - 40, columns - 40)
    assert 3.9 < distance.min() < 5.1
    assert 19.0 < distance.max() < 21.0
