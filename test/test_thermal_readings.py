"""Temperatures, hot spots and regions of whole frames, against the rig's own temperatures and against scenes drawn here."""

import numpy as np
import pytest

import aenet_ros
from aenet_ros.config import AgcConfig, build
from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.core.frames import BadPixelMap, Frame, FramePair, ThermalInput, ThermalSource
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.thermal.alarms import ALARM
from aenet_ros.thermal.thermometer import Thermometer, as_json

PERIOD_NS = 33_333_333
CENTIKELVIN = build({"agc.profile": "centikelvin", "hot_spots.relative": False, "hot_spots.level": 60.0})


def counts(celsius):
    return np.rint((celsius + 273.15) * 100).astype(np.uint16)


def scene(spot=80.0, at=(100, 60)):
    """uint16 [120, 160] centikelvin: 20 degC, a 9x9 body at (x, y)."""
    celsius = np.full((120, 160), 20.0)
    celsius[at[1] - 4 : at[1] + 5, at[0] - 4 : at[0] + 5] = spot
    return counts(celsius)


def source(data, stamp_ns=0, encoding="mono16", size=None, maps=None, gain=ThermalInput):
    return ThermalSource(Frame(stamp_ns, data, encoding, "ir"), gain(data), size or data.shape, maps)


def test_degrees_by_profile_and_nan_where_there_is_no_value():
    data = scene()
    data[:, :20] = 0  # the border of a rectified frame
    degrees = aenet_ros.temperature(Frame(0, data, "mono16"), "centikelvin")
    assert np.isnan(degrees[:, :20]).all()
    assert degrees[60, 100] == pytest.approx(80.0, abs=0.01)
    assert degrees[5, 50] == pytest.approx(20.0, abs=0.01)
    assert aenet_ros.find_hot_spots(degrees, CENTIKELVIN.hot_spots)[0].box == (96, 56, 9, 9)


@pytest.mark.parametrize(
    ("data", "encoding", "profile", "remedy"),
    [
        (scene(), "mono16", "generic", "Set the camera's profile"),
        (scene(), "mono16", "boson", "Set the camera's profile"),
        (np.full((120, 160), 90, np.uint8), "mono8", "lepton", "set the profile"),
        (scene().astype(np.float32), "32FC1", "celsius", "set the profile"),
    ],
)
def test_no_degrees_are_claimed_without_a_scale_or_against_it(data, encoding, profile, remedy):
    with pytest.raises(ImageError, match=remedy):
        aenet_ros.temperature(Frame(0, data, encoding), profile)


def test_a_profile_that_does_not_exist_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="lepton"):
        aenet_ros.temperature(Frame(0, scene(), "mono16"), "leptn")


def test_a_scale_of_ones_own_counts_as_radiometric():
    frame = Frame(0, np.full((120, 160), 500, np.uint16), "mono16")
    degrees = aenet_ros.temperature(frame, AgcConfig(celsius_per_count=0.1, celsius_at_zero=-10.0))
    assert degrees[0, 0] == pytest.approx(40.0, abs=1e-4)


def test_a_camera_without_degrees_has_hot_spots_in_grey_levels_and_no_alarms():
    data = np.full((120, 160), 40, np.uint8)
    data[50:60, 70:80] = 200
    config = build({"alarms.regions": "all all high=50"})

    def gain(pixels):
        return ThermalInput(pixels, 0.0, 1.0 / 255.0)

    measured = Thermometer().measure(source(data, encoding="mono8", gain=gain), config)
    assert measured.unit == "grey level"
    assert "agc.profile" in measured.problem
    assert "agc.profile" in measured.region_problem
    assert [(spot.box, round(spot.peak_value)) for spot in measured.spots] == [((70, 50, 10, 10), 200)]


def test_a_held_frame_is_not_measured_again_and_time_that_jumps_back_forgets():
    thermometer, data = Thermometer(), scene()
    assert thermometer.measure(source(data, 0), CENTIKELVIN) is not None
    assert thermometer.measure(source(data, PERIOD_NS), CENTIKELVIN) is None  # the frame before, held during a shutter event
    assert thermometer.measure(source(scene(), 2 * PERIOD_NS), CENTIKELVIN).spots[0].age_ns == 2 * PERIOD_NS
    assert thermometer.measure(source(scene(), PERIOD_NS), CENTIKELVIN).spots[0].age_ns == 0


def test_regions_give_an_alarm_and_say_what_is_wrong_with_them():
    thermometer = Thermometer()
    config = build({"alarms.regions": "boiler 90,50 110,70 high=70; far 150,110 159,119 high=70"}, CENTIKELVIN)
    for frame in range(10):
        measured = thermometer.measure(source(scene(), frame * PERIOD_NS), config)
    boiler, far = measured.regions
    assert (boiler.state.level, far.state.level) == (ALARM, 0)
    assert "boiler has 80.0 degC" in boiler.state.reason
    assert boiler.reading.maximum == pytest.approx(80.0, abs=0.01)
    outside = build({"alarms.regions": "roof 200,200 300,300 high=70"}, CENTIKELVIN)
    assert "roof" in thermometer.measure(source(scene(), 10 * PERIOD_NS), outside).region_problem
    both = build({"alarms.regions": "roof 200,200 300,300 high=70; boiler 90,50 110,70 high=70"}, CENTIKELVIN)
    for frame in range(11, 20):
        measured = thermometer.measure(source(scene(), frame * PERIOD_NS), both)
    assert "roof" in measured.region_problem
    assert [(region.name, region.state.level) for region in measured.regions] == [("boiler", ALARM)]  # one bad region costs no other


def test_a_dead_pixel_raises_no_alarm_and_is_no_spot():
    """At full scale it reads 382 degrees, and still 60 in a mean of nine."""
    data = counts(np.full((120, 160), 20.0))
    data[40, 50] = 65535
    pixel = 40 * 160 + 50
    near = np.array([[pixel + row * 160 + column for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]])
    bad = BadPixelMap(np.array([pixel]), near, np.full((1, 8), 0.125, np.float32))
    config = build({"alarms.regions": "all all high=50", "hot_spots.min_area_px": 1}, CENTIKELVIN)
    thermometer = Thermometer()
    for frame in range(10):
        seen = source(data.copy(), frame * PERIOD_NS, gain=lambda pixels: ThermalInput(pixels, bad_pixels=bad))
        measured = thermometer.measure(seen, config)
    assert measured.spots == []
    assert measured.regions[0].state.level == 0
    assert measured.regions[0].reading.maximum == pytest.approx(20.0, abs=0.02)


def test_a_fire_that_fills_the_view_is_in_the_alarm_and_among_the_hot_spots():
    data = np.full((120, 160), 65_535, np.uint16)
    data[30:90, 50:110] = counts(20.0)
    config = build({"alarms.regions": "fire all high=100"}, CENTIKELVIN)
    thermometer = Thermometer()
    for stamp_ns in range(0, 40 * PERIOD_NS, PERIOD_NS):
        measured = thermometer.measure(source(data.copy(), stamp_ns), config)
    assert measured.regions[0].state.level == ALARM
    assert measured.regions[0].reading.maximum == pytest.approx(65_535 * 0.01 - 273.15, abs=0.01)
    assert [spot.kind for spot in measured.spots] == ["hot"]
    assert measured.spots[0].area == pytest.approx(120 * 160 - 60 * 60, rel=0.05)


def test_places_in_the_fused_picture_and_regions_in_its_pixels():
    """The picture is the thermal frame at half its size, shifted by 10 thermal pixels."""
    y, x = np.mgrid[:60, :80].astype(np.float32)
    maps = (2 * x + 10, 2 * y)
    config = build({"alarms.regions": "boiler 40,25 50,35 high=70", "alarms.pixels": "fused"}, CENTIKELVIN)
    thermometer = Thermometer()
    for frame in range(10):
        seen = source(scene(), frame * PERIOD_NS, size=(60, 80), maps=maps)
        measured = thermometer.measure(seen, config)
    report = as_json(measured, seen)
    x, y = report["spots"][0]["fused"]
    assert abs(2 * x + 10 - measured.spots[0].peak[0]) <= 1
    assert abs(2 * y - measured.spots[0].peak[1]) <= 1
    assert report["regions"][0]["level"] == ALARM
    assert report["regions"][0]["points"] == [[90, 50], [110, 50], [110, 70], [90, 70]]
    assert seen.to_picture(2.0, 60.0) is None  # left of the picture
    alone = thermometer.measure(source(scene(), 10 * PERIOD_NS, size=(0, 0)), config)  # the rgb camera failed
    assert alone.regions[0].state.level == ALARM


def test_fused_regions_need_a_picture():
    config = build({"alarms.regions": "boiler 40,25 50,35 high=70", "alarms.pixels": "fused"}, CENTIKELVIN)
    measured = Thermometer().measure(source(scene(), size=(0, 0)), config)
    assert "rgb camera" in measured.region_problem


def test_the_pipeline_hands_out_the_thermal_frame_of_a_pair_and_of_a_frame_alone():
    pytest.importorskip("torch", reason="torch is not installed: the pipeline needs it")
    pipeline, thermal = FusionPipeline(CENTIKELVIN), Frame(0, scene(), "mono16", "ir")
    fused = pipeline.process(FramePair(thermal, Frame(0, np.zeros((240, 320, 3), np.uint8), "rgb8")))
    assert fused.thermal.frame is thermal
    assert fused.thermal.size == (240, 320)
    assert fused.thermal.to_picture(100, 60) == (200.5, 120.5)
    alone = pipeline.thermal_source(Frame(1, scene(), "mono16", "ir"))
    assert Thermometer().measure(alone, CENTIKELVIN).spots[0].box == (96, 56, 9, 9)
