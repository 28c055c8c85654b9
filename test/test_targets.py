"""Calibration with targets, against the cameras that the pictures were made with."""

import boards
import cv2
import numpy as np
import pytest

from aenet_ros.core.errors import ConfigError, SourceError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.workbench.calibration.targets import calibrate, detect, parse_target

CHECKERBOARD = (boards.checkerboard(8, 5, 0.06), (7 * 0.06, 4 * 0.06))
CIRCLES = (boards.circles(4, 9, 0.04), (7 * 0.04, 8 * 0.04))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("board", "text", "hot"),
    [(CHECKERBOARD, "checkerboard:8x5:0.06", False), (CHECKERBOARD, "checkerboard:8x5:0.06", True), (CIRCLES, "circles:4x9:0.04", True)],
)
def test_known_cameras_are_found_again(board, text, hot):
    pairs = boards.views(*board, 14, hot=hot)
    blank = Frame(0, np.full(boards.THERMAL_SIZE, 29_000, np.uint16), "mono16")
    found = calibrate([*pairs, FramePair(blank, pairs[0].rgb)], parse_target(text))
    assert found.views["thermal"] <= 14
    assert found.views["both"] >= 8
    assert max(found.rgb_rms_px, found.thermal_rms_px, found.stereo_rms_px) < 0.35
    # What counts is where points are seen. In front of both cameras, 0.8 to 5 m away, within the area that the boards covered:
    rng = np.random.default_rng(1)
    depth = rng.uniform(0.8, 5.0, 500)
    points = np.column_stack([rng.uniform(-0.3, 0.3, 500) * depth, rng.uniform(-0.2, 0.2, 500) * depth, depth])
    truth = cv2.projectPoints(
        points @ boards.ROTATION.T + boards.TRANSLATION, np.zeros(3), np.zeros(3), boards.THERMAL_MATRIX, boards.THERMAL_LENS
    )[0]
    # From pixels of the true rgb camera, by the found cameras and the known depth, to thermal pixels.
    pixels = cv2.projectPoints(points, np.zeros(3), np.zeros(3), boards.RGB_MATRIX, boards.RGB_LENS)[0]
    rgb, thermal = found.stereo.rgb, found.stereo.thermal
    rays = np.hstack([cv2.undistortPoints(pixels, rgb.matrix, np.array(rgb.distortion))[:, 0], np.ones((500, 1))]) * depth[:, None]
    mapped = cv2.projectPoints(
        rays @ found.stereo.rotation.T + found.stereo.translation, np.zeros(3), np.zeros(3), thermal.matrix, np.array(thermal.distortion)
    )[0]
    off = np.linalg.norm(mapped - truth, axis=-1)
    assert np.median(off) < 0.7
    assert np.percentile(off, 95) < 1.5
    assert np.abs(found.stereo.translation - boards.TRANSLATION).max() < 0.01
    assert found.stereo.rgb.matrix[0, 0] == pytest.approx(520, rel=0.02)


def test_no_board_is_no_board():
    noise = np.random.default_rng(0).integers(0, 255, (240, 320)).astype(np.uint8)
    assert detect(Frame(0, noise, "mono8"), parse_target("checkerboard:8x5:0.06")) is None
    pair = FramePair(Frame(0, noise, "mono8"), Frame(0, np.dstack([noise] * 3), "bgr8"))
    with pytest.raises(SourceError, match=r"found in 0 of 2 rgb pictures"):
        calibrate([pair, pair], parse_target("circles:4x9:0.04"))


@pytest.mark.parametrize(
    "text", ["", "checkerboard", "checkerboard:8:1", "squares:8x5:0.1", "checkerboard:8x2:0.1", "circles:4x9:0", "circles:4x9:nan"]
)
def test_a_misspelt_target_is_refused(text):
    with pytest.raises(ConfigError, match="--target"):
        parse_target(text)
