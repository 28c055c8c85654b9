"""A thermal frame without contrast does not grey out the rgb picture, and a small hot target is no such frame."""

import cv2
import numpy as np
import pytest

from aenet_ros.cli import main as cli
from aenet_ros.config import AgcConfig, build
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.thermal.contrast import contrast_share

SIZE = (120, 160)
RNG = np.random.default_rng(12)
NOISE = RNG.standard_normal(SIZE)
RGB = cv2.GaussianBlur(RNG.integers(0, 255, (*SIZE, 3), np.uint8), (0, 0), 2)
LEVELS = {"mono8": 128.0, "mono16": 14_000.0, "32FC1": 21.0}
UNITS = {"mono8": 1.0, "mono16": 3.0, "32FC1": 0.05}
"""Standard deviation of a sensor's noise."""
DTYPES = {"mono8": np.uint8, "mono16": np.uint16, "32FC1": np.float32}


def flat(encoding, noise=1.0):
    return LEVELS[encoding] + noise * UNITS[encoding] * NOISE


def frame(encoding, values):
    return Frame(0, (values if encoding == "32FC1" else np.rint(values)).astype(DTYPES[encoding]), encoding)


@pytest.fixture(scope="module")
def pipeline():
    made = FusionPipeline(build({"model.threads": 1, "model.device": "cpu", "sensor.column_noise": "off"}))
    yield made
    made.close()


def fuse(pipeline, thermal):
    pipeline.reset_temporal()
    return pipeline.process(FramePair(thermal, Frame(0, RGB, "rgb8"))).image


@pytest.mark.parametrize("encoding", LEVELS)
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_picture_stays_the_rgb_frame(pipeline, encoding, noise):
    before = pipeline.status().flat_frames
    np.testing.assert_array_equal(fuse(pipeline, frame(encoding, flat(encoding, noise))), RGB)
    assert pipeline.status().flat_frames == before + 1


@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_frames(pipeline, value):
    np.testing.assert_array_equal(fuse(pipeline, Frame(0, np.full(SIZE, value, np.uint8), "mono8")), RGB)


def test_pixels_without_a_value_do_not_make_contrast():
    counts = flat("mono16")
    counts[:20] = 0
    assert contrast_share(frame("mono16", counts), AgcConfig()) == 0.0
    degrees = flat("32FC1")
    degrees[:20] = np.nan
    assert contrast_share(frame("32FC1", degrees), AgcConfig()) == 0.0
    assert contrast_share(frame("32FC1", np.full(SIZE, np.nan)), AgcConfig()) == 0.0


def test_bad_pixels_do_not_make_contrast():
    counts = flat("mono16")
    counts[::17, ::13] = 0
    counts[5::29, 7::31] = 16_383
    assert contrast_share(frame("mono16", counts), AgcConfig()) == 0.0


@pytest.mark.parametrize("encoding", LEVELS)
def test_a_small_hot_target_is_fused(pipeline, encoding):
    values = flat(encoding)
    values[60:63, 80:83] += 16 * UNITS[encoding]
    assert contrast_share(frame(encoding, values), AgcConfig()) == 1.0
    assert (fuse(pipeline, frame(encoding, values)) != RGB).any()


def test_the_share_rises_without_a_step():
    ramp = np.linspace(0.0, 1.0, SIZE[1])[None]
    shares = [contrast_share(frame("mono16", flat("mono16") + span * ramp), AgcConfig()) for span in np.linspace(0, 40, 81)]
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert np.abs(np.diff(shares)).max() < 0.25


def test_fuse_says_so(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "t.png"), frame("mono16", flat("mono16")).data)
    cv2.imwrite(str(tmp_path / "c.png"), RGB)
    arguments = ["fuse", str(tmp_path / "t.png"), str(tmp_path / "c.png"), "-o", str(tmp_path / "o.png"), "--set", "model.threads=1"]
    assert cli.main(arguments) == 0
    assert "no contrast" in capsys.readouterr().err
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "o.png")), RGB)
