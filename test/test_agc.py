"""ThermalAgc against numbers worked out by hand."""

import math

import numpy as np
import pytest
from configured import Agc
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aenet_ros.config import AgcConfig
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Frame
from aenet_ros.thermal.agc import noise_of

SECOND = 1_000_000_000
PERIOD = SECOND // 30
WHOLE = {"low_percentile": 0.0, "high_percentile": 100.0}


def counts(values, stamp_ns=0):
    data = np.asarray(values)
    return Frame(stamp_ns, data, {"uint8": "mono8", "uint16": "mono16", "float32": "32FC1"}[data.dtype.name])


def ramp(first, last, dtype=np.uint16, shape=(100, 100)):
    return np.linspace(first, last, shape[0] * shape[1]).reshape(shape).astype(dtype)


def test_auto_takes_8_bit_frames_as_they_are():
    unit = Agc().apply(counts(np.array([[0, 51], [255, 102]], np.uint8)))
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, [[0.0, 0.2], [1.0, 0.4]], atol=1e-7)


def grey(*levels, shape=(100, 100)):
    """A uint8 frame of 50; from the top, each (level, pixels) fills so many pixels, row by row."""
    flat = np.full(shape, 50, np.uint8).ravel()
    begin = 0
    for level, pixels in levels:
        flat[begin : begin + pixels] = level
        begin += pixels
    return flat.reshape(shape)


def test_the_hot_end_of_an_8_bit_frame_is_stretched_and_the_rest_is_not():
    frame = grey((120, 20), (100, 300), (80, 100), (20, 400))  # 99.7 %: 100
    slope = (235 - 50) / (100 - 50)
    agc = Agc()
    unit = agc.apply(counts(frame)) * 255
    for level, expected in ((20, 20.0), (50, 50.0), (80, 50 + slope * 30), (100, 235.0), (120, 255.0)):
        np.testing.assert_allclose(unit[frame == level], expected, atol=1e-3)
    assert (agc.low, agc.high) == (0.0, 255.0)
    assert agc.gain_in_use.hot_end_text() == "x3.7 above brightness 0.20"


@pytest.mark.parametrize(("hot_gain", "expected"), [(6.0, 110.0), (2.0, 70.0), (1.0, 60.0)])
def test_the_stretch_is_bounded_and_can_be_switched_off(hot_gain, expected):
    frame = grey((60, 300))
    unit = Agc(AgcConfig(hot_gain=hot_gain)).apply(counts(frame)) * 255
    np.testing.assert_allclose(unit[frame == 60], expected, atol=1e-3)


@pytest.mark.parametrize("hot_pixels", [31, 3000])
def test_a_frame_whose_camera_used_the_range_is_untouched(hot_pixels):
    agc = Agc()
    frame = grey((240, hot_pixels), (110, 400))
    assert (agc.apply(counts(frame)) == frame.astype(np.float32) * np.float32(1 / 255)).all()
    assert agc.gain_in_use.hot_end_text() == "not stretched"


def test_a_small_man_is_stretched_to_white():
    random = np.random.default_rng(5)
    frame = 60 + random.normal(0, 1, (480, 640)) + np.linspace(0, 15, 640)
    frame[200:215, 300:310] += 45  # 0.05 % of the pixels
    unit = Agc().apply(counts(frame.astype(np.uint8)))
    assert np.median(unit[200:215, 300:310]) > 0.9
    assert np.median(unit) < 70 / 255


@pytest.mark.parametrize(("sigma", "slope"), [(1.5, 4.0), (3.0, 2.0), (12.0, 1.0)])
def test_noise_is_not_amplified_beyond_six_grey_levels(sigma, slope):
    random = np.random.default_rng(6)
    frame = 80 + random.normal(0, sigma, (256, 320))
    frame[:20, :20] += 5  # there is nothing hot
    agc = Agc(AgcConfig(smoothing_s=0.0))
    agc.apply(counts(np.clip(frame, 0, 255).astype(np.uint8)))
    assert agc.gain_in_use.slope == pytest.approx(slope, rel=0.1)


def test_edges_and_texture_of_the_scene_are_no_noise():
    frame = np.full((256, 320), 60, np.uint8)
    frame[:, ::16] = 90  # a fence
    frame[:100, :100] = np.random.default_rng(7).integers(40, 90, (100, 100))
    frame[200:220, 200:220] = 100
    assert noise_of(frame) < 4
    assert noise_of(np.full((256, 320), 60, np.uint8)) == 0.0
    assert noise_of(np.zeros((5, 1), np.uint8)) == 0.0


def test_the_stretch_follows_exponentially():
    agc = Agc(AgcConfig(smoothing_s=1.0))
    agc.apply(counts(grey((60, 300), (90, 100))))
    assert agc.gain_in_use == pytest.approx((0.0, 1 / 255, 50 / 255, 185 / 40))
    agc.apply(counts(grey((250, 300)), round(math.log(2.0) * SECOND)))  # half of the way to a slope of 1
    assert agc.gain_in_use.slope == pytest.approx(math.sqrt(185 / 40))
    for index in range(300):
        agc.apply(counts(grey((250, 300)), (index + 30) * PERIOD))
    assert agc.gain_in_use.slope == 1.0


def test_between_the_two_limits_a_stretch_neither_begins_nor_ends():
    agc, slopes = Agc(AgcConfig(smoothing_s=0.0)), []
    for level in (200, 170, 200, 220, 200, 170):
        agc.apply(counts(grey((level, 300))))
        slopes.append(agc.gain_in_use.slope)
    on, between = 185 / 120, 185 / 150
    assert slopes == pytest.approx([1.0, on, between, 1.0, 1.0, on])


@pytest.mark.parametrize("step", [100, -40])
def test_a_scene_cut_starts_the_stretch_anew(step):
    agc = Agc()
    frame = grey((70, 300))
    agc.apply(counts(frame))
    agc.apply(counts((frame.astype(int) + step).astype(np.uint8), PERIOD))
    assert agc.resets == 1
    assert agc.gain_in_use.knee == pytest.approx((50 + step) / 255)


def test_what_is_hot_in_a_black_hot_frame_is_stretched():
    frame = grey((100, 300))
    unit = Agc(AgcConfig(invert=True)).apply(counts(255 - frame)) * 255
    np.testing.assert_allclose(unit[frame == 50], 50.0, atol=1e-3)
    np.testing.assert_allclose(unit[frame == 100], 235.0, atol=1e-3)


def test_deeper_frames_and_other_modes_have_no_stretch():
    for frame, config in (
        (grey((100, 300)).astype(np.uint16), AgcConfig()),
        (grey((100, 300)), AgcConfig(mode="percentile")),
        (grey((100, 300)), AgcConfig(mode="fixed")),
    ):
        agc = Agc(config)
        agc.apply(counts(frame))
        assert agc.gain_in_use.slope == 1.0


def test_percentiles_of_a_ramp_become_black_and_white():
    agc = Agc(AgcConfig(min_range=0.0))
    frame = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    unit = agc.apply(counts(frame))
    assert (agc.low, agc.high) == (100.0, 9949.0)  # ranks 0.01 * 9999 and 0.995 * 9999, to the nearest
    assert unit[1, 0] == 0.0
    assert unit[99, 49] == 1.0
    assert unit[50, 0] == pytest.approx((5000 - 100) / 9849, abs=1e-6)
    assert unit.min() == 0.0
    assert unit.max() == 1.0


def test_mode_percentile_stretches_8_bit_frames_too():
    agc = Agc(AgcConfig(mode="percentile", **WHOLE))
    agc.apply(counts(ramp(100, 150, np.uint8)))
    assert (agc.low, agc.high) == (100.0, 150.0)


def test_width_follows_in_its_logarithm():
    agc = Agc(AgcConfig(smoothing_s=1.0, scene_cut=0.0, **WHOLE))
    agc.apply(counts(ramp(1000, 1100)))
    agc.apply(counts(ramp(1000, 1400), stamp_ns=round(math.log(2.0) * SECOND)))  # half of the way: width 100 * sqrt(4)
    assert agc.low == pytest.approx(1000.0)
    assert agc.high == pytest.approx(1200.0, abs=1e-3)


def test_a_shift_follows_exponentially():
    agc = Agc(AgcConfig(smoothing_s=2.0, scene_cut=0.0, **WHOLE))
    agc.apply(counts(ramp(1000, 1100)))
    agc.apply(counts(ramp(1040, 1140), stamp_ns=round(2.0 * math.log(4.0) * SECOND)))  # three quarters of the way
    assert agc.low == pytest.approx(1030.0, abs=1e-3)
    assert agc.high == pytest.approx(1130.0, abs=1e-3)


def test_no_smoothing_takes_each_frame_for_itself():
    agc = Agc(AgcConfig(smoothing_s=0.0, scene_cut=0.0, **WHOLE))
    agc.apply(counts(ramp(1000, 1100)))
    agc.apply(counts(ramp(5000, 9000), PERIOD))
    assert (agc.low, agc.high) == pytest.approx((5000.0, 9000.0))


def test_a_scene_cut_starts_anew():
    agc = Agc(AgcConfig(**WHOLE))
    agc.apply(counts(ramp(1000, 1100)))
    agc.apply(counts(ramp(7000, 7400), PERIOD))
    assert agc.resets == 1
    assert (agc.low, agc.high) == (7000.0, 7400.0)


def test_a_hot_object_that_enters_and_leaves_does_not_pump():
    agc = Agc()
    scene = ramp(20_000, 20_400)
    with_fire = scene.copy()
    with_fire[40:65, 40:60] = 45_000  # 5 % of the picture, 60 times the scene's width
    seen = []
    for index in range(300):
        frame = with_fire if 30 <= index < 165 else scene
        seen.append(float(agc.apply(counts(frame, index * PERIOD))[:40].mean()))
    assert agc.resets == 0
    assert np.abs(np.diff(seen)).max() < 0.04
    assert seen[160] < 0.03  # the range does reach up to the fire
    assert seen[-1] == pytest.approx(seen[0], abs=0.02)  # and comes back


def test_noise_does_not_flicker():
    random = np.random.default_rng(4)
    scene = ramp(20_000, 22_000, np.float64, (512, 640))
    agc = Agc()
    means = [float(agc.apply(counts((scene + random.normal(0, 20, scene.shape)).astype(np.uint16), i * PERIOD)).mean()) for i in range(30)]
    assert np.abs(np.diff(means)).max() < 0.2 / 255


@pytest.mark.parametrize("value", [0, 7, 40_000, 65_535])
def test_a_constant_frame_is_mid_grey(value):
    agc = Agc()
    assert np.all(agc.apply(counts(np.full((60, 80), value, np.uint16))) == 0.5)
    assert agc.high - agc.low == 32.0


def test_least_range_of_a_float_frame_is_a_degree():
    agc = Agc(AgcConfig(**WHOLE))
    unit = agc.apply(counts(ramp(20.0, 20.5, np.float32)))
    assert (agc.low, agc.high) == pytest.approx((19.75, 20.75))
    assert unit[0, 0] == pytest.approx(0.25, abs=1e-5)


def test_unknown_values_become_black_and_count_for_nothing():
    frame = ramp(20.0, 40.0, np.float32)
    frame[0, :3] = np.nan, np.inf, -np.inf
    agc = Agc(AgcConfig(**WHOLE))
    unit = agc.apply(counts(frame))
    assert list(unit[0, :3]) == [0.0, 0.0, 0.0]
    assert agc.low == frame[0, 3]
    assert agc.high == 40.0


def test_a_frame_of_nothing_keeps_the_range():
    agc = Agc(AgcConfig(**WHOLE))
    agc.apply(counts(ramp(20.0, 40.0, np.float32)))
    assert not agc.apply(counts(np.full((100, 100), np.nan, np.float32), PERIOD)).any()
    assert (agc.low, agc.high) == (20.0, 40.0)
    assert not Agc().apply(counts(np.full((9, 9), np.nan, np.float32))).any()


def test_dead_pixels_do_not_move_the_range():
    frame = ramp(20_000, 24_000, shape=(200, 200))
    clean, dead = Agc(), Agc()
    clean.apply(counts(frame))
    frame[::20, ::20] = 0  # 0.25 %
    frame[10::20, 10::20] = 65_535  # 0.25 %
    dead.apply(counts(frame))
    assert dead.low == pytest.approx(clean.low, abs=40)
    assert dead.high == pytest.approx(clean.high, abs=40)


@pytest.mark.parametrize("stamps", [(0, 0, 0, 0), (9 * SECOND, 8 * SECOND, 7 * SECOND, 6 * SECOND)])
def test_standing_and_backward_stamps_count_as_a_thirtieth_of_a_second(stamps):
    agc = Agc(AgcConfig(smoothing_s=0.1, scene_cut=0.0, **WHOLE))
    agc.apply(counts(ramp(1000, 1100), stamps[0]))
    for stamp in stamps[1:]:
        agc.apply(counts(ramp(1100, 1200), stamp))
    assert agc.low == pytest.approx(1000 + 100 * (1 - math.exp(-1.0)), abs=0.1)  # three thirtieths are one time constant


def test_fixed_range_in_counts():
    agc = Agc(AgcConfig(mode="fixed", fixed_low=1000.0, fixed_high=3000.0))
    unit = agc.apply(counts(np.array([[500, 1000], [1500, 4000]], np.uint16)))
    assert unit.tolist() == [[0.0, 0.0], [0.25, 1.0]]


def test_fixed_range_in_degrees():
    agc = Agc(AgcConfig(mode="fixed", unit="celsius", fixed_low=20.0, fixed_high=40.0))  # TLinear: kelvin / 100
    unit = agc.apply(counts(np.array([[29_315, 30_315, 31_315]], np.uint16)))
    np.testing.assert_allclose(unit, [[0.0, 0.5, 1.0]], atol=1e-6)


def test_a_camera_whose_counts_fall_with_the_temperature():
    config = AgcConfig(mode="fixed", unit="celsius", fixed_low=0.0, fixed_high=100.0, celsius_per_count=-0.1, celsius_at_zero=200.0)
    unit = Agc(config).apply(counts(np.array([[2000, 1750, 1000]], np.uint16)))  # 0, 25 and 100 degrees
    np.testing.assert_allclose(unit, [[0.0, 0.25, 1.0]], atol=1e-6)


def test_invert_makes_hot_bright_again():
    agc = Agc(AgcConfig(invert=True))
    np.testing.assert_allclose(agc.apply(counts(np.array([[0, 51, 255]], np.uint8))), [[1.0, 0.8, 0.0]], atol=1e-6)


def test_another_encoding_starts_anew():
    agc = Agc(AgcConfig(scene_cut=0.0, **WHOLE))
    agc.apply(counts(ramp(20_000, 24_000)))
    agc.apply(counts(ramp(20.0, 40.0, np.float32), PERIOD))
    assert (agc.low, agc.high) == (20.0, 40.0)


def test_configuration_changes_between_frames():
    agc = Agc()
    frame = counts(np.array([[0, 51, 255]], np.uint8))
    agc.apply(frame)
    agc.config = AgcConfig(mode="fixed", fixed_low=51.0, fixed_high=255.0)
    assert agc.apply(frame).tolist() == [[0.0, 0.0, 1.0]]


def test_a_read_only_view_with_row_padding():
    padded = np.zeros((4, 12), np.uint16)
    padded[:, :8] = np.arange(32, dtype=np.uint16).reshape(4, 8) * 8
    padded[:, 8:] = 65_535
    view = padded[:, :8]
    view.flags.writeable = False
    unit = Agc(AgcConfig(**WHOLE)).apply(counts(view))
    np.testing.assert_allclose(unit.ravel(), np.arange(32) / 31, atol=1e-6)


def test_colour_and_empty_frames_are_refused():
    with pytest.raises(ImageError, match="rgb8"):
        Agc().apply(Frame(0, np.zeros((4, 4, 3), np.uint8), "rgb8"))
    with pytest.raises(ImageError, match=r"\(0, 0\)"):
        Agc().apply(counts(np.zeros((0, 0), np.uint16)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            hnp.arrays(np.uint16, (5, 6)),
            hnp.arrays(np.uint8, (5, 6)),
            hnp.arrays(np.float32, (5, 6), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(-(2**62), 2**62), min_size=4, max_size=4),
)
def test_whatever_comes_is_brightness_and_keeps_its_order(frames, stamps):
    agc = Agc()
    for data, stamp in zip(frames, stamps, strict=False):
        unit = agc.apply(counts(data, stamp))
        assert unit.min() >= 0.0
        assert unit.max() <= 1.0
        finite = np.isfinite(data)
        order = np.argsort(data[finite], kind="stable")
        assert np.all(np.diff(unit[finite][order]) >= -1e-6)  # vector instructions round the stretch of equal counts differently
