"""Hot spots, regions, alarms and palettes, on pictures whose truth is drawn by the test."""

import math

import numpy as np
import pytest

from aenet_ros.config import PALETTES, AlarmConfig, HotSpotConfig
from aenet_ros.config.regions import Levels, parse_region
from aenet_ros.core.errors import ConfigError
from aenet_ros.thermal import palettes
from aenet_ros.thermal.alarms import ALARM, OK, PRE_ALARM, Alarm, Reading, read_region, region_mask
from aenet_ros.thermal.hot_spots import HotSpotTracker, find_hot_spots

PERIOD_NS = 33_333_333
NOISE = 0.05  # degC, of a good microbolometer


def picture(bodies, seed=0, background=20.0, size=(240, 320)):
    """float32 [H, W] in degC: noise, and a disc for each (x, y, radius, degC)."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    scene = np.full(size, background, np.float32)
    for x, y, radius, value in bodies:
        scene[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = value
    return scene + np.random.default_rng(seed).normal(0.0, NOISE, size).astype(np.float32)


def test_place_and_temperature_are_those_of_the_scene():
    spots = find_hot_spots(picture([(60, 80, 6, 60.0), (200, 150, 9, 45.0)]), HotSpotConfig(level=40.0, relative=False))
    assert [round(spot.peak_value, 1) for spot in spots] == pytest.approx([60.0, 45.0], abs=0.2)
    assert [spot.box for spot in spots] == [(54, 74, 13, 13), (191, 141, 19, 19)]
    assert [spot.mean for spot in spots] == pytest.approx([60.0, 45.0], abs=0.05)
    for spot, (x, y, radius) in zip(spots, ((60, 80, 6), (200, 150, 9)), strict=True):
        assert math.hypot(spot.peak[0] - x, spot.peak[1] - y) <= radius


def test_the_peak_of_a_gradual_body_is_found_within_a_pixel():
    rows, columns = np.mgrid[:240, :320]
    scene = picture([]) + 40.0 * np.exp(-((columns - 101) ** 2 + (rows - 57) ** 2) / (2 * 4.0**2)).astype(np.float32)
    spot = find_hot_spots(scene, HotSpotConfig(level=40.0, relative=False))[0]
    assert math.hypot(spot.peak[0] - 101, spot.peak[1] - 57) <= 1.0


def test_relative_and_cold_rules():
    scene = picture([(60, 80, 6, 32.0), (200, 150, 9, 8.0)])
    assert find_hot_spots(scene, HotSpotConfig(level=40.0, relative=False)) == []
    assert [spot.box for spot in find_hot_spots(scene, HotSpotConfig(level=8.0))] == [(54, 74, 13, 13)]
    cold = HotSpotConfig(find="cold", cold_level=10.0, relative=False)
    assert [round(spot.peak_value) for spot in find_hot_spots(scene, cold)] == [8]
    assert [spot.box for spot in find_hot_spots(scene, HotSpotConfig(find="cold", cold_level=8.0))] == [(191, 141, 19, 19)]


def test_pixels_without_a_value_are_no_spot_and_do_not_hide_one():
    scene = picture([(60, 80, 6, 60.0)])
    scene[:30] = np.nan
    scene[78:80, 58:60] = np.nan
    for rule in (HotSpotConfig(level=40.0, relative=False), HotSpotConfig(level=10.0)):
        spots = find_hot_spots(scene, rule)
        assert [spot.box for spot in spots] == [(54, 74, 13, 13)]
        assert spots[0].peak_value == pytest.approx(60.0, abs=0.2)
    assert find_hot_spots(np.full((64, 64), np.nan, np.float32), HotSpotConfig(level=10.0)) == []


def test_small_regions_and_more_than_the_limit_are_left_out():
    bodies = [(20 + 30 * n, 40, 4, 50.0 + n) for n in range(8)] + [(300, 200, 1, 90.0)]
    spots = find_hot_spots(picture(bodies), HotSpotConfig(level=40.0, relative=False, min_area_px=9, max_count=3))
    assert [round(spot.peak_value) for spot in spots] == [57, 56, 55]


def test_ids_stay_through_a_crossing_and_a_shutter_event():
    tracker, seen = HotSpotTracker(), []
    for frame in range(120):
        if 80 <= frame < 110:  # one second without frames
            continue
        bodies = [(40 + 2 * frame, 100, 6, 60.0), (280 - 2 * frame, 104, 6, 50.0)]
        spots = tracker.update(find_hot_spots(picture(bodies, frame), HotSpotConfig(level=40.0, relative=False)), frame * PERIOD_NS)
        seen.append({spot.id: spot.peak_value for spot in spots})
    assert set(seen[0]) == set(seen[-1]) == {1, 2}
    for number in (1, 2):
        assert seen[-1][number] == pytest.approx(seen[0][number], abs=0.5)  # the bodies did not exchange their ids
    assert max(max(names) for names in seen) == 2


def test_a_jump_back_in_time_forgets_the_tracks_and_a_new_body_gets_a_new_id():
    tracker, rule = HotSpotTracker(), HotSpotConfig(level=40.0, relative=False)
    assert [spot.id for spot in tracker.update(find_hot_spots(picture([(60, 80, 6, 60.0)]), rule), 10**9)] == [1]
    both = find_hot_spots(picture([(62, 80, 6, 60.0), (250, 200, 6, 50.0)]), rule)
    assert [(spot.id, spot.age_ns) for spot in tracker.update(both, 10**9 + PERIOD_NS)] == [(1, PERIOD_NS), (2, 0)]
    assert [spot.age_ns for spot in tracker.update(both, 0)] == [0, 0]


NO_REGIONS = """boiler|boiler 1,2|boiler 1,2 3|boiler a,b c,d|1,2 3,4|boiler 1,1 1,9|b 1,1 5,5 9,9|b 1,1 9999999,5|b all 1,1|
b 1,1 5,5 high=x|b 1,1 5,5 hihg=3|b all high=3 pre=4|b all rise=0|b all high=nan"""


@pytest.mark.parametrize("text", NO_REGIONS.replace("\n", "").split("|"))
def test_a_region_that_cannot_be_read_is_named(text):
    with pytest.raises(ConfigError, match="region"):
        parse_region(text)


def test_readings_of_a_region():
    region = parse_region("boiler 40,60 80,100")
    scene = picture([(60, 80, 6, 60.0)])
    reading = read_region(scene, region_mask(region, scene.shape))
    assert reading.maximum == pytest.approx(60.0, abs=0.2)
    assert reading.minimum == pytest.approx(20.0, abs=0.2)
    assert math.hypot(reading.peak[0] - 60, reading.peak[1] - 80) <= 6
    with pytest.raises(ConfigError, match="outside"):
        region_mask(parse_region("far 900,900 950,950"), scene.shape)
    assert math.isnan(read_region(np.full_like(scene, np.nan), region_mask(region, scene.shape)).maximum)


def readings(values):
    return [(index * PERIOD_NS, Reading(20.0, value, value, (0, 0))) for index, value in enumerate(values)]


def test_an_alarm_comes_within_half_a_second_and_goes_once():
    rng, alarm, levels = np.random.default_rng(2), Alarm("boiler"), Levels(high=60.0, pre=50.0)
    values = np.concatenate([np.full(30, 40.0), np.full(30, 52.0), np.full(60, 60.02), np.full(60, 59.5), np.full(60, 40.0)])
    states = [
        alarm.update(reading, levels, AlarmConfig(), stamp) for stamp, reading in readings(values + rng.normal(0.0, NOISE, len(values)))
    ]
    levels = [state.level for state in states]
    changes = [(index, level) for index, level in enumerate(levels) if index == 0 or level != levels[index - 1]]
    assert [level for _, level in changes] == [OK, PRE_ALARM, ALARM, OK]
    assert changes[1][0] - 30 <= 15
    assert changes[2][0] - 60 <= 15
    assert changes[3][0] >= 180  # 59.5 is within the hysteresis
    assert "boiler has 60" in states[changes[2][0]].reason
    assert states[150].reason.endswith("the alarm level is 60 and was reached a moment ago")


def test_a_single_frame_beyond_the_level_is_no_alarm():
    alarm, levels = Alarm("boiler"), Levels(high=60.0)
    values = [40.0] * 30 + [90.0] + [40.0] * 30
    assert {alarm.update(reading, levels, AlarmConfig(), stamp).level for stamp, reading in readings(values)} == {OK}


def test_the_rate_of_rise_and_a_low_level():
    alarm, levels = Alarm("motor"), Levels(rise=6.0)
    slow = [20.0 + 3.0 * index / 1800 for index in range(600)]
    assert {alarm.update(reading, levels, AlarmConfig(), stamp).level for stamp, reading in readings(slow)} == {OK}
    fast = [20.0 + 12.0 * index / 1800 for index in range(600)]
    alarm.reset_temporal()
    states = [alarm.update(reading, levels, AlarmConfig(), stamp) for stamp, reading in readings(fast)]
    assert states[-1].level == ALARM
    assert "rises by 12.0 degC a minute" in states[-1].reason
    frozen = Alarm("pipe")
    states = [frozen.update(Reading(-3.0, 0.0, 1.0, (0, 0)), Levels(low=-2.0), AlarmConfig(), n * PERIOD_NS) for n in range(30)]
    assert states[-1].level == ALARM


def test_palettes_grow_in_luma_but_for_the_rainbow():
    for name in PALETTES:
        table = palettes.table(name)
        assert table.shape == (256, 3)
        steps = np.diff(table.astype(float) @ (0.299, 0.587, 0.114))
        if name != "rainbow":
            assert (steps < 0).all() if name == "black_hot" else (steps > 0).all(), name


def test_colours_of_a_palette_come_as_red_green_blue():
    hot = palettes.colorize(np.full((4, 4), 0.75, np.float32), "ironbow")[0, 0]
    assert hot[0] > hot[1] > hot[2]  # orange
    assert palettes.colorize(np.array([[0, 255]], np.uint8), "black_hot").tolist() == [[[255] * 3, [0] * 3]]
    with pytest.raises(ConfigError, match="ironbow"):
        palettes.table("iron")


def test_the_colour_bar_is_drawn_on_a_copy():
    image = np.zeros((120, 160, 3), np.uint8)
    drawn = palettes.draw_color_bar(image, "inferno", 10.0, 60.0)
    assert not image.any()
    assert drawn[:, 130:].any()
    assert not drawn[:, :80].any()
