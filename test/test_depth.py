"""Mode depth: a plate before a wall, seen by two cameras that are ray-traced here, with exact depth."""

import cv2
import numpy as np
import pytest
import yaml

from aenet_ros.config import RegistrationConfig
from aenet_ros.core.camera import Camera, Stereo
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.registration import depth as by_depth
from aenet_ros.registration.calibration_file import stereo_content
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import Registration
from aenet_ros.registration.warp_maps import BAND, StereoRays, make_warp_map, row_bands
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


def rough_scene(size, seed):
    """Depths of blocks at all distances, with noise, holes, NaN, infinity and impossible values."""
    random = np.random.default_rng(seed)
    blocks = random.uniform(0.7, 9.0, (size[0] // 8 + 1, size[1] // 8 + 1)).astype(np.float32)
    depth = np.kron(blocks, np.ones((8, 8), np.float32))[: size[0], : size[1]] * random.uniform(0.99, 1.01, size).astype(np.float32)
    for bad in (0.0, -1.0, np.nan, np.inf, -np.inf):
        depth[random.random(size) < 0.02] = bad
    return depth


def point_by_point(stereo, depth, plane_m, thermal_size):
    """Thermal x and y of each rgb pixel by OpenCV, and which are occluded, one point after another; depth without bad values but NaN."""
    rgb, thermal = stereo.rgb, stereo.thermal
    height, width = depth.shape
    nearest, points = {}, {}
    for row in range(height):
        for column in range(width):
            at = cv2.undistortPointsIter(
                np.array([[[column, row]]], np.float64), rgb.matrix, np.array(rgb.distortion), np.eye(3), np.eye(3), (3, 40, 1e-9)
            )[0, 0]
            known = np.isfinite(depth[row, column])
            ahead = float(depth[row, column]) if known else plane_m
            point = stereo.rotation @ (np.array([*at, 1.0]) * ahead) + stereo.translation
            x, y = cv2.projectPoints(point[None], np.zeros(3), np.zeros(3), thermal.matrix, np.array(thermal.distortion))[0][0, 0]
            points[row, column] = x, y, point[2]
            pixel = round(y), round(x)
            if known and 0 <= pixel[0] < thermal_size[0] and 0 <= pixel[1] < thermal_size[1]:
                nearest[pixel] = min(nearest.get(pixel, np.inf), point[2])
    occluded = np.zeros(depth.shape, bool)
    for place, (x, y, distance) in points.items():
        row, column = round(y), round(x)
        if 0 <= row < thermal_size[0] and 0 <= column < thermal_size[1]:
            around = [nearest.get((row + down, column + right), np.inf) for down in (-1, 0, 1) for right in (-1, 0, 1)]
            occluded[place] = distance > 1.05 * min(around)
    return points, occluded


@pytest.mark.parametrize("encoding", ["mono16", "32FC1"])
@pytest.mark.parametrize(("size", "thermal_size"), [((61, 83), (41, 57)), ((48, 64), (96, 128))])
def test_a_rough_scene_is_mapped_and_occluded_as_point_by_point(size, thermal_size, encoding):
    rgb = Camera(np.array([[70.0, 0, 41], [0, 71.0, 29], [0, 0, 1]]), size, distortion=(-0.1, 0.02, 0.001, -0.001))
    thermal = Camera(
        np.array([[0.9 * thermal_size[1], 0, 27], [0, 0.9 * thermal_size[1], 20], [0, 0, 1]]), thermal_size, distortion=(-0.2, 0.05, 0, 0)
    )
    stereo = Stereo(rgb, thermal, cv2.Rodrigues(np.array([0.02, -0.03, 0.05]))[0], np.array([0.15, 0.01, -0.02]))
    depth = rough_scene(size, seed=3)
    usable = np.isfinite(depth) & (depth > 0)
    if encoding == "mono16":
        depth = np.where(usable, 1000 * depth, 0).astype(np.uint16)
        usable = depth > 0
    known = np.where(usable, depth.astype(np.float32) * np.float32(0.001 if encoding == "mono16" else 1.0), np.nan)
    distances = by_depth.metres(Frame(0, depth, encoding), size)
    np.testing.assert_allclose(distances, known, rtol=1e-6)
    (x, y), occluded = by_depth.depth_map(StereoRays(stereo, thermal_size, size), distances, 5.0, thermal_size)
    points, expected = point_by_point(stereo, known, 5.0, thermal_size)
    seen = np.zeros(size, bool)
    for (row, column), (thermal_x, thermal_y, _) in points.items():
        if -0.5 < thermal_x < thermal_size[1] - 0.5 and -0.5 < thermal_y < thermal_size[0] - 0.5:
            seen[row, column] = True
            assert abs(x[row, column] - thermal_x) < 0.02
            assert abs(y[row, column] - thermal_y) < 0.02
    assert seen.mean() > 0.3
    assert 0.02 < expected.mean() < 0.8
    # A point on the edge between two pixels may fall to either by the last bit.
    assert (occluded != (cv2.medianBlur(expected.astype(np.uint8), 3) > 0)).mean() < 0.01


def test_bands_of_rows_cover_a_picture_of_any_size():
    for size in ((1, 1), (1, 3 * BAND), (720, 1280), (7, BAND), (487, 613)):
        rows = np.concatenate([np.arange(size[0])[band] for band in row_bands(size)])
        np.testing.assert_array_equal(rows, np.arange(size[0]))


def test_a_large_view_that_ends_in_the_picture_fades_out_as_a_map_that_stays():
    """Maps that change with each frame get their weight at half the size."""
    rows, columns = np.mgrid[0:481, 0:641].astype(np.float32)
    turned = (1.3 * columns + 0.2 * rows - 60, 1.3 * rows - 0.2 * columns + 30)
    stays = make_warp_map(turned, (512, 640)).weight
    changes = make_warp_map(tuple(np.clip(axis, -16, 656) for axis in turned), (512, 640), occluded=np.zeros((481, 641), bool)).weight
    assert np.abs(changes - stays).max() < 0.1
    assert abs(float((changes - stays).mean())) < 0.005
    inside = (turned[0] >= -0.5) & (turned[0] <= 639.5) & (turned[1] >= -0.5) & (turned[1] <= 511.5)
    assert not changes[~inside].any()
    assert 0.2 < (changes == 1).mean() < 0.9
