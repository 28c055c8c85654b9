"""Mode depth: a plate before a wall, seen by two cameras that are ray-traced here, with exact depth."""

import cv2
import numpy as np
import pytest
import yaml

from aenet_ros.config import RegistrationConfig
from aenet_ros.core.camera import Camera, Stereo
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.registration.calibration_file import stereo_content
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import Registration
from aenet_ros.sync.matcher import DepthQueue

SIZE = (240, 320)
MATRIX = np.array([[260.0, 0, 160], [0, 260.0, 120], [0, 0, 1]])
BASE = 0.2  # metres; the thermal camera stands to the left of the rgb camera: what is near lies to the right in its picture
NEAR, FAR = 2.0, 8.0


def heat(x, y, plate):
    """Temperature of a surface point: smooth waves on the wall, others on the plate."""
    return np.where(plate, 0.75 + 0.2 * np.sin(14 * x) * np.cos(11 * y), 0.25 + 0.2 * np.sin(4 * x) * np.cos(3 * y))


def look(offset):
    """Temperature, depth, and which pixels show the plate, of a camera ``offset`` metres to the right of the rgb camera."""
    column, row = np.meshgrid(np.arange(320.0), np.arange(240.0))
    x, y = (column - 160) / 260, (row - 120) / 260
    plate = (np.abs(x * NEAR + offset) < 0.5) & (np.abs(y * NEAR) < 0.4)
    depth = np.where(plate, NEAR, FAR)
    return heat(x * depth + offset, y * depth, plate).astype(np.float32), depth.astype(np.float32), plate


@pytest.fixture
def grid(tmp_path):
    camera = Camera(MATRIX, SIZE)
    path = tmp_path / "stereo.yaml"
    path.write_text(yaml.safe_dump(stereo_content(Stereo(camera, camera, np.eye(3), np.array([BASE, 0.0, 0.0])))))
    return OutputGrid(Registration(RegistrationConfig(mode="depth", file=str(path), plane_distance_m=FAR)))


def test_every_pixel_gets_its_own_point_and_hidden_ones_get_none(grid):
    thermal = look(-BASE)[0]
    truth, depth, plate = look(0.0)
    warps = grid.prepare(SIZE, SIZE, depth=Frame(0, depth, "32FC1"))
    assert warps.fallback == ""
    warped, weight = warps.thermal(thermal), warps.weight
    # On the plate's row the wall to the right of it, within BASE of shift, is hidden: 260 * 0.2 * (1/2 - 1/8) = 19.5 pixels wide.
    row = weight[120]
    right = 160 + 65  # the plate's edge: 0.5 m at 2 m
    hidden = np.flatnonzero(row[right : right + 40] < 0.01) + right
    assert 16 <= len(hidden) <= 22
    assert hidden[0] - right <= 2
    inner = cv2.erode(plate.astype(np.uint8), np.ones((5, 5))) + cv2.erode((~plate).astype(np.uint8), np.ones((5, 5)))
    shown = (weight > 0.99) & (inner > 0)
    assert shown.mean() > 0.6
    off = np.abs(warped - truth)[shown]
    assert np.percentile(off, 99) < 0.02
    # The plane alone lays the plate 19.5 pixels aside.
    warps = grid.prepare(SIZE, SIZE, depth=None)
    assert np.abs(warps.thermal(thermal) - truth)[plate].mean() > 0.1
    assert "no depth image for this pair" in warps.fallback


def test_counts_of_hidden_pixels_are_left_out(grid):
    _, depth, _ = look(0.0)
    counts = np.full(SIZE, 30_000, np.uint16)
    warps = grid.prepare(SIZE, SIZE, depth=Frame(0, depth, "32FC1"))
    laid = warps.counts(counts)
    assert not laid[120, 230:240].any()
    assert (laid[120, 100:220] == 30_000).all()


def test_something_right_before_the_depth_camera_leaves_the_plane(grid):
    """At 1 mm the two cameras, 0.2 m apart, have nothing in view together."""
    warps = grid.prepare(SIZE, SIZE, depth=Frame(0, np.ones(SIZE, np.uint16), "mono16"))
    assert "nothing is in view of both cameras: all is taken to be 8 m away" in warps.fallback
    thermal = look(-BASE)[0]
    after = warps.thermal(thermal)
    warps = grid.prepare(SIZE, SIZE, depth=None)
    np.testing.assert_array_equal(after, warps.thermal(thermal))


def test_where_depth_is_missing_the_plane_stands_in(grid):
    thermal = look(-BASE)[0]
    warps = grid.prepare(SIZE, SIZE, depth=None)
    by_plane = warps.thermal(thermal)
    holes = np.zeros(SIZE, np.uint16)
    warps = grid.prepare(SIZE, SIZE, depth=Frame(0, holes, "mono16"))
    assert "empty" in warps.fallback
    np.testing.assert_array_equal(warps.thermal(thermal), by_plane)
    half = (look(0.0)[1] * 1000).astype(np.uint16)  # millimetres
    half[:, :160] = 0
    warps = grid.prepare(SIZE, SIZE, depth=Frame(0, half, "mono16"))
    assert warps.fallback == ""
    warped = warps.thermal(thermal)
    np.testing.assert_allclose(warped[:, :160], by_plane[:, :160], atol=1e-6)
    assert np.abs(warped - by_plane)[80:160, 165:220].mean() > 0.05


def test_a_smaller_depth_image_and_one_that_is_none(grid):
    truth, depth, plate = look(0.0)
    warps = grid.prepare(SIZE, SIZE, depth=Frame(0, depth[::2, ::2].copy(), "32FC1"))
    inner = cv2.erode(plate.astype(np.uint8), np.ones((9, 9))) > 0
    assert np.abs(warps.thermal(look(-BASE)[0]) - truth)[inner].mean() < 0.01
    warps = grid.prepare(SIZE, SIZE, depth=Frame(0, np.zeros((*SIZE, 3), np.uint8), "rgb8"))
    assert "16UC1" in warps.fallback


def test_a_frame_without_a_pair_does_not_use_the_depth_image_of_the_last_pair(grid):
    """As a thermal frame that is passed through when the rgb and the depth camera have stopped."""
    thermal, depth = look(-BASE)[0], look(0.0)[1]
    by_plane = OutputGrid(grid._registration).prepare(SIZE, SIZE).thermal(thermal)
    with_depth = grid.prepare(SIZE, SIZE, depth=Frame(0, depth, "32FC1"))
    after = grid.prepare(SIZE, SIZE)
    np.testing.assert_array_equal(after.thermal(thermal), by_plane)
    assert grid.fallback == after.fallback == "no depth image for this pair: all is taken to be 8 m away"
    assert np.abs(with_depth.thermal(thermal) - by_plane).max() > 0.1
    assert with_depth.fallback == ""


def test_a_depth_image_counts_within_the_slop_only():
    queue = DepthQueue(slop_ns=100_000_000)
    queue.push(Frame(1_000_000_000, np.ones(SIZE, np.float32), "32FC1"))
    for rgb_ns, joined in ((1_100_000_000, True), (1_100_000_001, False), (60_000_000_000, False)):
        rgb = Frame(rgb_ns, np.zeros((*SIZE, 3), np.uint8), "rgb8")
        pair = queue.join(FramePair(Frame(rgb_ns, np.zeros(SIZE, np.uint16), "mono16"), rgb))
        assert (pair.depth is not None) is joined
