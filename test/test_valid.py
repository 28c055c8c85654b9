"""Pixels without a value: which they are, and that none takes part in anything from the input to the output."""

import cv2
import numpy as np
import pytest

from aenet_ros.config import AgcConfig, Config, SensorConfig, ShutterConfig
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.core.valid import filled, invalid_pixels, visible_share, without_values
from aenet_ros.health.quality import picture_fault
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.registration.image_alignment import grey
from aenet_ros.sync.clock_offset import small_grey
from aenet_ros.thermal.agc import ThermalAgc
from aenet_ros.thermal.ffc import FfcHold, sample
from aenet_ros.thermal.sensor_correction import SensorCorrection
from aenet_ros.thermal.temperature import Scale, celsius

RNG = np.random.default_rng(11)
ENCODINGS = {"uint8": "mono8", "uint16": "mono16", "float32": "32FC1"}


def scene(low=22_000, high=22_900, shape=(120, 160), dtype=np.uint16):
    """A smooth random scene that covers low to high."""
    picture = cv2.GaussianBlur(RNG.random(shape, dtype=np.float32), (0, 0), 4)
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    return (low + picture * (high - low)).astype(dtype)


def frame(data, stamp_ns=1):
    return Frame(stamp_ns, data, ENCODINGS[data.dtype.name])


def rectified(raw, border=0):
    """As image_proc gives it: no pixel outside the lens' view."""
    height, width = raw.shape
    k = np.array([[0.66 * width, 0, width / 2], [0, 0.66 * width, height / 2], [0, 0, 1]])
    lens = np.array([-0.35, 0.12, 0, 0])
    new = cv2.getOptimalNewCameraMatrix(k, lens, (width, height), 1)[0]
    maps = cv2.initUndistortRectifyMap(k, lens, None, new, (width, height), cv2.CV_32FC1)
    return cv2.remap(raw, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border)


# Which pixels have no value.


@pytest.mark.parametrize(
    "data",
    [
        scene(),
        scene(0, 65_535),  # stretched to the whole range: its zeros are the coldest pixels
        scene(0, 300),  # 8 bits in 16
        scene(0, 255).astype(np.uint8),
        np.zeros((120, 160), np.uint16),  # a dark or dead camera: health says so
        np.full((120, 160), 65_535, np.uint16),
        scene(-5, 30, dtype=np.float32),
        scene(-1_500, 500, dtype=np.float32),  # hundredths of a degree, from 16SC1
        np.clip(scene(-20, 100, dtype=np.float32), 0, None),  # clipped at 0: no gap
    ],
)
def test_all_pixels_of_an_ordinary_frame_have_a_value(data):
    assert invalid_pixels(data) is None


@pytest.mark.parametrize("shape", [(120, 160), (256, 320), (512, 640)])
@pytest.mark.parametrize("border", [0, 65_535, 16_383])
def test_the_border_of_a_rectified_frame_has_no_value(shape, border):
    raw = scene(3_000, 3_900, shape) if border == 16_383 else scene(shape=shape)
    data = rectified(raw, border)
    found = invalid_pixels(data)
    assert found[data == border].all()
    good = data[~found]
    assert good.min() >= raw.min() - 2 * 900
    assert good.max() <= raw.max() + 2 * 900
    assert found.mean() < (data == border).mean() + 0.05


def test_a_hot_target_stays_valid_beside_the_border_and_at_full_scale():
    data = rectified(scene())
    data[60:70, 70:90] = 65_535
    data[110:, 60:100] = 65_535  # to the frame's edge
    found = invalid_pixels(data)
    assert found is not None
    assert not found[60:70, 70:90].any()
    assert not found[119, 60:100].any() or (data[119, 60:100][found[119, 60:100]] == 0).all()


def test_a_white_border_leaves_a_hot_target_valid():
    data = rectified(scene(), 65_535)
    data[60:70, 70:90] = 65_535
    found = invalid_pixels(data)
    assert found.any()
    assert not found[50:80, 60:100].any()


def test_fire_at_the_edge_of_an_unbordered_frame_is_a_value():
    data = scene()
    data[80:, :] = 65_535
    assert invalid_pixels(data) is None


@pytest.mark.parametrize("full_scale", [4_095, 16_383, 65_535])
def test_a_fire_that_fills_the_view_is_a_value(full_scale):
    data = np.full((120, 160), full_scale, np.uint16)
    cv2.ellipse(data, (80, 60), (50, 40), 0, 0, 360, 2_000, -1)  # a cold, sharply bounded thing before it
    assert invalid_pixels(data) is None


@pytest.mark.parametrize("at", ["top", "bottom"])
@pytest.mark.parametrize(("shape", "rows"), [((120, 160), 2), ((512, 640), 2), ((60, 80), 3), ((512, 640), 1)])
def test_rows_of_telemetry_have_no_value(at, shape, rows):
    words = np.zeros((rows, shape[1]), np.uint16)
    words[0, : shape[1] // 3] = RNG.integers(0, 65_535, shape[1] // 3)
    picture = scene(shape=shape)
    data = np.vstack([picture, words] if at == "bottom" else [words, picture])
    found = invalid_pixels(data)
    assert found.sum() == words.size
    assert (found[-rows:] if at == "bottom" else found[:rows]).all()


@pytest.mark.parametrize("sentinel", [np.nan, np.inf, -np.inf, -273.15, -9999.0, -1e30, -32_768.0])
def test_sentinels_of_float_frames(sentinel):
    data = scene(18, 34, dtype=np.float32)
    data[5, 5] = data[40:60, 100:120] = sentinel
    found = invalid_pixels(data)
    assert found.sum() == 401
    assert found[5, 5]
    assert found[40:60, 100:120].all()


def test_several_sentinels_in_one_frame():
    data = scene(18, 34, dtype=np.float32)
    data[0], data[1], data[2, :50], data[10:20, 10:20] = np.nan, -9999, -273.15, np.inf
    found = invalid_pixels(data)
    assert found.sum() == 2 * 160 + 50 + 100


def test_kelvin_and_zero_outside_the_view():
    data = scene(290, 310, dtype=np.float32)
    data[:, :30] = 0
    assert invalid_pixels(data).sum() == 30 * 120


def test_filled_takes_the_nearest_value_and_without_values_says_none():
    data = np.array([[5, 5, 9, 0], [5, 5, 0, 0]], np.uint16)
    invalid = np.array([[0, 0, 0, 1], [0, 0, 0, 1]], bool)
    assert filled(data, invalid).tolist() == [[5, 5, 9, 9], [5, 5, 0, 0]]
    assert without_values(data, invalid).tolist() == [[5, 5, 9, 0], [5, 5, 0, 0]]
    floats = data.astype(np.float32)
    assert np.isnan(without_values(floats, invalid)[:, 3]).all()
    assert filled(floats, np.ones((2, 4), bool)).tolist() == [[0] * 4] * 2
    assert filled(data, None) is without_values(data, None) is data


def test_single_pixels_are_interpolated_and_regions_show_rgb():
    invalid = np.zeros((40, 40), bool)
    invalid[20, 20] = True
    assert visible_share(invalid) is None
    invalid[5:10, 5:10] = True
    share = visible_share(invalid)
    assert (share[4:11, 4:11] == 0).all()
    assert share[20, 20] == 1
    assert visible_share(invalid.copy()) is share  # engines keep what they made of it


# No statistic uses them.


def border(data, value=0):
    """``data`` with a border of a quarter of the frame."""
    data = data.copy()
    data[:20], data[:, :20] = value, value
    return data


@pytest.mark.parametrize("mode", ["auto", "percentile"])
@pytest.mark.parametrize(("low", "high", "dtype", "value"), [(22_000, 22_900, np.uint16, 0), (18, 30, np.float32, -9999)])
def test_the_gain_is_that_of_the_frame_without_its_border(mode, low, high, dtype, value):
    picture = scene(low, high, dtype=dtype)
    config = AgcConfig(mode=mode)
    agc, alone = ThermalAgc(), ThermalAgc()
    brightness = agc.apply(frame(border(picture, value)), config)
    expected = alone.apply(frame(np.ascontiguousarray(picture[20:, 20:])), config)
    np.testing.assert_allclose(brightness[20:, 20:], expected, atol=0.02)
    assert (brightness[:20] == 0).all()


def test_the_shutter_is_found_in_rectified_frames():
    hold, shutter = FfcHold(), ShutterConfig()
    for index in range(20):
        noise = RNG.normal(0, 3, (120, 160))
        hold.apply(frame(border((scene() + noise).astype(np.uint16)), index * 33_000_000), shutter)
    flat = border((22_400 + RNG.normal(0, 3, (120, 160))).astype(np.uint16))
    hold.apply(frame(flat, 20 * 33_000_000), shutter)
    assert hold.closed


def test_faults_of_the_picture_are_judged_by_the_pixels_with_a_value():
    dark = np.full((120, 160), np.nan, np.float32)
    assert picture_fault("thermal", frame(dark), sample(frame(dark)), Config().degraded) == "black"
    saturated = border(np.full((120, 160), 65_535, np.uint16))
    assert picture_fault("thermal", frame(saturated), sample(frame(saturated)), Config().degraded) == "saturated"


def test_no_bad_pixels_and_no_columns_are_found_at_the_border():
    correction = SensorCorrection()
    for index in range(200):
        noise = RNG.normal(0, 2, (120, 160))
        correction.observe(frame(border((np.roll(SCENE, 2 * index, 1) + noise).astype(np.uint16)), index), SensorConfig())
        correction.update(SensorConfig())
    assert correction.bad_pixels is None
    assert correction.columns is None


SCENE = scene().astype(np.float32)


def test_motion_and_alignment_see_no_edge_where_values_end():
    picture = scene()
    for plane in (small_grey(frame(border(picture))), grey(frame(border(picture)))):
        assert plane.min() >= (picture.min() if plane.max() > 1 else 0)
        assert np.abs(np.diff(plane, axis=0)).max() < 0.3 * (plane.max() - plane.min())


def test_temperature():
    degrees = celsius(np.array([[-9999, -273.15, np.nan, 20.0]], np.float32), Scale(1.0, 0.0))
    assert np.isnan(degrees[0, :3]).all()
    assert degrees[0, 3] == 20.0


# The output.


@pytest.fixture(scope="module")
def pipeline():
    made = FusionPipeline(Config())
    yield made
    made.close()


@pytest.mark.parametrize("value", [0, np.nan])
@pytest.mark.parametrize("rgb_size", [(120, 160), (240, 320), (60, 80)])
def test_the_fused_picture_shows_rgb_where_the_thermal_frame_has_no_value(pipeline, value, rgb_size):
    pipeline.reset_temporal()
    thermal = border(scene() if value == 0 else scene(18, 34, dtype=np.float32), value)
    rgb = RNG.integers(0, 255, (*rgb_size, 3), dtype=np.uint8)
    fused = pipeline.process(FramePair(frame(thermal), Frame(1, rgb, "rgb8")), want_registered=True)
    edge = 20 * rgb_size[0] // 120
    assert (fused.image[:edge] == rgb[:edge]).all()
    assert (fused.image[:, :edge] == rgb[:, :edge]).all()
    inside = slice(2 * edge, None)
    assert (fused.image[inside, inside] != rgb[inside, inside]).mean() > 0.3
    registered = fused.thermal_registered
    empty = np.isnan(registered) if value else registered == 0
    assert empty[: edge - 1].all()
    assert not empty[edge + 1 :, edge + 1 :].any()


def test_the_fused_picture_does_not_depend_on_what_stands_in_the_pixels_without_a_value(pipeline):
    picture, rgb = scene(18, 34, dtype=np.float32), RNG.integers(0, 255, (120, 160, 3), dtype=np.uint8)
    images = []
    for value in (np.nan, -9999.0, -273.15, np.inf):
        pipeline.reset_temporal()
        images.append(pipeline.process(FramePair(frame(border(picture, value)), Frame(1, rgb, "rgb8"))).image)
    assert all((image == images[0]).all() for image in images[1:])
