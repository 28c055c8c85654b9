"""Degrees from counts, against what the cameras' makers and drivers say and against the rig's own temperatures; the isotherm."""

import math

import numpy as np
import pytest
from configured import Agc

from aenet_ros.config import AgcConfig, build, specs
from aenet_ros.core.errors import ConfigError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import Registration
from aenet_ros.thermal.temperature import COLORS, PROFILES, Scale, celsius, celsius_at, draw_isotherm, scale_of
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

CENTIKELVIN = Scale(0.01, -273.15)


def test_config_and_tables_name_the_same():
    assert specs()["agc.profile"].choices == tuple(PROFILES)
    assert specs()["output.isotherm_color"].choices == tuple(COLORS)
    assert all(profile.source for name, profile in PROFILES.items() if name not in ("auto", "generic"))


@pytest.mark.parametrize(
    ("profile", "counts", "degrees"),
    [
        ("lepton", 29_815, 25.0),  # 298.15 K in hundredths
        ("tau2", 7_500, 26.85),  # 300 K in steps of 0.04
        ("optris", 1_279, 27.9),  # the example in optris_drivers issue 21
        ("infiray", 19_200, 26.85),  # 300 K in 64ths
        ("seek", 36.6, 36.6),
        ("generic", 500.0, 40.0),
        ("boson", 500.0, 40.0),  # no scale of its own: the parameters hold
        ("adk", 500.0, 40.0),
    ],
)
def test_each_profile_gives_the_temperature_of_known_counts(profile, counts, degrees):
    scale = scale_of(AgcConfig(profile=profile, celsius_per_count=0.1, celsius_at_zero=-10.0))
    assert counts * scale.per_count + scale.at_zero == pytest.approx(degrees, abs=1e-9)
    assert scale.counts(degrees) == pytest.approx(counts, abs=1e-6)


def test_bounds_that_are_one_number_in_counts_divide_by_nothing():
    """20 degC and the next float64 are both 29315 counts."""
    agc = Agc(AgcConfig(mode="fixed", unit="celsius", profile="lepton", fixed_low=20.0, fixed_high=math.nextafter(20.0, 30.0)))
    assert not agc.apply(Frame(1, np.full((4, 6), 29_315, np.uint16), "mono16")).any()


def test_a_fixed_range_in_degrees_follows_the_profile():
    """0 to 50 degrees of an optris camera is 1000 to 1500 counts."""
    agc = Agc(AgcConfig(mode="fixed", unit="celsius", profile="optris", fixed_low=0.0, fixed_high=50.0))
    plane = agc.apply(Frame(0, np.array([[900, 1000, 1250], [1500, 1600, 1125]], np.uint16), "mono16"))
    assert (agc.low, agc.high) == (1000.0, 1500.0)
    np.testing.assert_allclose(plane, [[0, 0, 0.5], [1, 1, 0.25]], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_there_is_no_temperature_where_there_are_no_counts(dtype):
    registered = np.array([[0, 100], [50, 0]]).astype(dtype)
    if dtype == np.float32:
        registered[registered == 0] = np.nan
    degrees = celsius(registered, Scale(0.5, -10.0))
    np.testing.assert_array_equal(np.isnan(degrees), [[True, False], [False, True]])
    assert degrees[0, 1] == 40.0
    assert celsius_at(registered, 0.2, 1.4, Scale(0.5, -10.0)) == 15.0
    for x, y in [(0, 0), (-1, 0), (2, 0), (0, 2)]:
        assert np.isnan(celsius_at(registered, x, y, Scale(0.5, -10.0)))


def test_the_temperature_at_a_fused_pixel_is_the_rigs_own():
    """Counts go through registration untouched: what is read at an rgb pixel is what the camera saw there, but for its noise."""
    config = RigConfig(thermal_width=320, thermal_height=256, noise_celsius=0.02, column_celsius=0.0, parallax_px=0.0, scenes="night")
    rig = Rig(config)
    event = next(event for event in rig.events(0.1) if event.stream == "thermal")
    truth = rig.celsius(event.shot.shows_ns)
    matrix = tuple(float(value) for value in rig.homography.ravel())
    registration = Registration(build({"registration.mode": "homography", "registration.homography": matrix}).registration)
    registered = OutputGrid(registration).prepare(event.frame.size, config.rgb_size).counts(event.frame.data)
    rng = np.random.default_rng(4)
    points = np.column_stack([rng.integers(60, 580, 200), rng.integers(60, 450, 200)]).astype(float)
    errors = []
    for (x, y), (u, v) in zip(points, rig.rgb_to_thermal(points), strict=True):
        if 0 <= u < 319.5 and 0 <= v < 255.5:
            errors.append(celsius_at(registered, x, y, CENTIKELVIN) - truth[round(v), round(u)])
    assert len(errors) > 150
    assert np.max(np.abs(errors)) < 0.12  # five standard deviations of the noise, and rounding


def rig_pair():
    events = {
        event.stream: event for event in Rig(RigConfig(zoom=1.0, rotation_deg=0.0, shift_x=0.0, shift_y=0.0, parallax_px=0.0)).events(0.02)
    }
    return FramePair(events["thermal"].frame, events["rgb"].frame), events


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
def test_people_are_tinted_and_nothing_else_changes(encoding):
    pair, _ = rig_pair()
    plain = FusionPipeline(build({"model.device": "cpu", "model.threads": 1, "output.encoding": encoding}))
    drawn = FusionPipeline(
        build(
            {"output.isotherm": True, "output.isotherm_low": 27.0, "output.isotherm_high": 40.0, "output.isotherm_color": "green"},
            plain.config,
        )
    )
    before, after = plain.process(pair).image.astype(int), drawn.process(pair)
    assert after.thermal_registered is None
    degrees = pair.thermal.data * 0.01 - 273.15
    band = (degrees > 27.01) & (degrees < 39.99)
    outside = (degrees < 26.99) | (degrees > 40.01)
    assert 0.002 < band.mean() < 0.3
    np.testing.assert_array_equal(after.image[outside], before[outside])
    tinted = after.image[band].astype(float)
    if encoding == "mono8":
        assert (tinted >= 127).all()
    else:
        assert (tinted[:, 1] >= 110).all()  # half of green's 220
        assert np.abs(tinted - (before[band] / 2 + np.array([40, 220, 60] if encoding == "rgb8" else [60, 220, 40]) / 2)).max() <= 1


def test_the_band_reaches_no_pixel_without_counts():
    picture = np.full((2, 2, 3), 90, np.uint8)
    drawn = draw_isotherm(picture, "rgb8", np.array([[0, 5], [10, 20]], np.uint16), -5.0, 10.0, "red")
    assert (drawn[0, 0] == 90).all()
    assert (drawn[1, 1] == 90).all()
    assert (drawn[0, 1] != 90).any()
    assert (drawn[1, 0] != 90).any()
    nothing = np.full((2, 2), np.nan, np.float32)
    assert draw_isotherm(picture, "rgb8", nothing, 0.0, 1.0, "red") is picture


def test_an_empty_band_is_refused():
    with pytest.raises(ConfigError, match="isotherm_low"):
        build({"output.isotherm": True, "output.isotherm_low": 50.0, "output.isotherm_high": 40.0})
