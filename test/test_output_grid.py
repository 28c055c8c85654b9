"""The fused picture on the rgb grid, that grid scaled, and the thermal grid: by the rig's truth, and points that OpenCV projects."""

import cv2
import numpy as np
import pytest
import yaml

from aenet_ros.config import OutputConfig, RegistrationConfig, build
from aenet_ros.core.camera import Camera, Stereo
from aenet_ros.core.errors import ConfigError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.registration.calibration_file import Homography, homography_content, stereo_content
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import Registration
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

RGB = Camera(np.array([[420.0, 0, 322.0], [0, 418.0, 238.0], [0, 0, 1]]), (480, 640), "plumb_bob", (-0.25, 0.08, 0.001, -0.002, 0.0))
THERMAL = Camera(np.array([[240.0, 0, 161.0], [0, 241.0, 126.0], [0, 0, 1]]), (256, 320), "plumb_bob", (-0.2, 0.05, 0.0, 0.001, 0.0))
ROTATION = cv2.Rodrigues(np.array([0.02, -0.03, 0.01]))[0]
TRANSLATION = np.array([0.08, 0.01, -0.005])
RIG = RigConfig(
    thermal_width=320, thermal_height=256, rgb_width=640, rgb_height=480, zoom=1.1, rotation_deg=2.0, shift_x=12.0, keystone=5e-5,
    parallax_px=0.0, motion=0.0, scenes="day",
)  # fmt: skip


def by_lenses(tmp_path, mode, distance):
    path = tmp_path / "stereo.yaml"
    path.write_text(yaml.safe_dump(stereo_content(Stereo(RGB, THERMAL, ROTATION, TRANSLATION))))
    return Registration(RegistrationConfig(mode=mode, file=str(path), plane_distance_m=distance))


def gradients(size, dtype=np.float32):
    """A picture whose pixels tell their own place: x and y of each."""
    y, x = np.mgrid[: size[0], : size[1]]
    return x.astype(dtype), y.astype(dtype)


def warped_places(warps, thermal_size, rgb_size):
    """The rgb x and y that each pixel of the thermal grid shows, and their rounding."""
    step = max(rgb_size) / 250
    places = []
    for axis in gradients(rgb_size):
        picture = np.round(axis / step).astype(np.uint8)
        places.append(warps.rgb(picture, np.full(thermal_size, np.nan, np.float32)).astype(np.float32) * step)
    return places, step


def test_the_rig_s_rgb_lies_on_the_thermal_grid_by_the_inverse_map(tmp_path):
    rig = Rig(RIG)
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump(homography_content(Homography(rig.homography, (256, 320), (480, 640)))))
    registration = Registration(RegistrationConfig(mode="homography", file=str(path)))
    grid = OutputGrid(registration, OutputConfig(grid="thermal"))
    warps = grid.prepare((256, 320), (480, 640))
    (x, y), step = warped_places(warps, (256, 320), (480, 640))
    rows, columns = np.mgrid[20:236:18, 20:300:20]
    at = np.column_stack([x[rows, columns].ravel(), y[rows, columns].ravel()])
    off = np.linalg.norm(rig.rgb_to_thermal(at) - np.column_stack([columns.ravel(), rows.ravel()]), axis=1)
    # Rounding to `step` rgb pixels, of which two make a thermal one, and the mean of 2 x 2.
    assert off.mean() < step / 2
    assert grid.size((256, 320), (480, 640)) == (256, 320)
    assert warps.weight is None
    plane = np.zeros((256, 320), np.float32)
    assert warps.thermal(plane) is plane


@pytest.mark.parametrize("distance", [1.5, 40.0])
def test_by_both_lenses_a_point_on_the_plane_is_where_opencv_projects_it(tmp_path, distance):
    registration = by_lenses(tmp_path, "plane", distance)
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-0.5, 0.5, 600) * distance, rng.uniform(-0.4, 0.4, 600) * distance, np.full(600, distance)])
    in_rgb = cv2.projectPoints(points, np.zeros(3), np.zeros(3), RGB.matrix, np.array(RGB.distortion))[0][:, 0]
    in_thermal = cv2.projectPoints(
        points @ ROTATION.T + TRANSLATION, np.zeros(3), np.zeros(3), THERMAL.matrix, np.array(THERMAL.distortion)
    )[0][:, 0]
    x, y = registration.make_map(THERMAL.size, RGB.size, RGB.size, "thermal", distance)
    inner = (in_thermal > 1).all(1) & (in_thermal[:, 0] < 318) & (in_thermal[:, 1] < 254)
    at = in_thermal[inner].astype(np.float32)
    mapped = np.column_stack([cv2.remap(axis, at[:, :1], at[:, 1:], cv2.INTER_LINEAR)[:, 0] for axis in (x, y)])
    assert inner.sum() > 200
    assert np.linalg.norm(mapped - in_rgb[inner], axis=1).max() < 0.1


def test_by_a_depth_image_too_and_what_the_rgb_camera_cannot_see_is_left_out(tmp_path):
    """A plate 2 m away before a wall at 8 m: on the thermal grid the plate hides other parts of the wall than on the rgb grid."""
    camera = Camera(np.array([[260.0, 0, 160], [0, 260.0, 120], [0, 0, 1]]), (240, 320))
    path = tmp_path / "stereo.yaml"
    path.write_text(yaml.safe_dump(stereo_content(Stereo(camera, camera, np.eye(3), np.array([0.2, 0.0, 0.0])))))
    registration = Registration(RegistrationConfig(mode="depth", file=str(path), plane_distance_m=8.0))
    grid = OutputGrid(registration, OutputConfig(grid="thermal"))
    columns, rows = np.meshgrid(np.arange(320), np.arange(240))
    x, y = (columns - 160) / 260, (rows - 120) / 260
    plate = (np.abs(2 * x) < 0.5) & (np.abs(2 * y) < 0.4)
    depth = Frame(0, np.where(plate, 2.0, 8.0).astype(np.float32), "32FC1")
    shown = grid.prepare((240, 320), (240, 320), depth=depth).rgb(
        np.where(plate, 200, 50).astype(np.uint8), np.full((240, 320), 0.5, np.float32)
    )
    # The thermal camera stands 0.2 m to the left, so it sees the plate 260 * 0.2 / 2 = 26 pixels to the right, the wall 6.5 pixels.
    row = shown[120].astype(int)
    assert (row[95 + 26 + 3 : 225 + 26 - 3] == 200).all()
    # To the left of the plate it sees 19.5 pixels of wall that the plate hides from the rgb camera: grey, as the thermal picture is.
    hidden = np.flatnonzero(row[20:] == 128) + 20  # what comes before lies beyond the rgb view
    assert 15 <= len(hidden) <= 22
    assert hidden[0] >= 95 + 6
    assert hidden[-1] <= 95 + 27
    assert (row[30:95] == 50).all()


def test_beyond_the_rgb_view_the_thermal_picture_goes_on_without_a_seam():
    registration = Registration(RegistrationConfig(mode="homography", homography=(0.5, 0, 80, 0, 0.5, 60, 0, 0, 1)))
    grid = OutputGrid(registration, OutputConfig(grid="thermal"))
    rgb, brightness = np.full((240, 320, 3), 200, np.uint8), np.full((240, 320), 0.2, np.float32)
    shown = grid.prepare((240, 320), (240, 320)).rgb(rgb, brightness).astype(int)
    assert (shown[:55, :] == 51).all()
    assert (shown[100:140, 130:190] == 200).all()
    assert np.abs(np.diff(shown[120, :, 0])).max() < 40


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(320, 0, (240, 320)), (0, 240, (240, 320)), (500, 300, (300, 500)), (1280, 0, (960, 1280))]
)
def test_a_given_size_is_the_rgb_grid_scaled(width, height, expected):
    rig = Rig(RIG)
    registration = Registration(RegistrationConfig(mode="homography", homography=tuple(rig.homography.ravel())))
    grid = OutputGrid(registration, OutputConfig(grid="size", width=width, height=height))
    assert grid.size((256, 320), (480, 640)) == expected
    warps, image = grid.prepare((256, 320), (480, 640)), np.zeros((480, 640, 3), np.uint8)
    assert warps.rgb(image, np.zeros((256, 320), np.float32)).shape == grid.scale_rgb(image).shape == (*expected, 3)
    x, y = (warps.thermal(axis) for axis in gradients((256, 320)))
    weight = warps.weight
    rows, columns = np.mgrid[: expected[0] : 7, : expected[1] : 7]
    full = np.column_stack([(columns.ravel() + 0.5) * 640 / expected[1] - 0.5, (rows.ravel() + 0.5) * 480 / expected[0] - 0.5])
    truth = rig.rgb_to_thermal(full)
    inner = (truth > 1).all(1) & (truth[:, 0] < 318) & (truth[:, 1] < 254)
    off = np.hypot(x[rows, columns].ravel() - truth[:, 0], y[rows, columns].ravel() - truth[:, 1])
    assert inner.sum() > 500
    assert off[inner].max() < 0.06  # cv2.remap reads to 1/32 pixel
    assert weight is None or weight.shape == expected
    counts = warps.counts(gradients((256, 320), np.uint16)[0])
    assert np.abs(counts[rows, columns].ravel()[inner] - truth[inner, 0]).max() <= 0.52


def test_identity_has_all_three_grids():
    thermal, rgb = np.random.default_rng(0).random((24, 32), np.float32), np.zeros((48, 64, 3), np.uint8)
    shapes = {}
    for config in (OutputConfig(), OutputConfig(grid="thermal"), OutputConfig(grid="size", width=100, height=20)):
        grid = OutputGrid(Registration(), config)
        warps = grid.prepare((24, 32), (48, 64))
        assert warps.thermal(thermal).shape == warps.rgb(rgb, thermal).shape[:2] == warps.size == grid.size((24, 32), (48, 64))
        shapes[config.grid] = grid.size((24, 32), (48, 64))
    assert shapes == {"rgb": (48, 64), "thermal": (24, 32), "size": (20, 100)}


def test_a_size_without_numbers_is_refused():
    with pytest.raises(ConfigError, match=r"neither output\.width nor output\.height"):
        build({"output.grid": "size"})


@pytest.mark.parametrize("kind", ["rgb", "thermal", "size"])
def test_the_pipeline_puts_all_its_pictures_on_one_grid(kind, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: the pipeline needs it")
    torch.set_num_threads(1)
    from aenet_ros.pipeline import FusionPipeline

    rig = Rig(RIG)
    values = {"output.grid": kind, "registration.mode": "homography", "registration.homography": list(rig.homography.ravel())}
    pipeline = FusionPipeline(build(values | ({"output.width": 200} if kind == "size" else {})))
    events = list(rig.events(0.02))
    pair = FramePair(*(next(event.frame for event in events if event.stream == role) for role in ("thermal", "rgb")))
    fused = pipeline.process(pair, want_registered=True)
    size = {"rgb": (480, 640), "thermal": (256, 320), "size": (150, 200)}[kind]
    assert fused.image.shape == (*size, 3)
    assert fused.thermal_registered.shape == size
    assert (fused.grid, fused.frame_id) == (("thermal", "thermal_camera") if kind == "thermal" else ("rgb", "rgb_camera"))
    if kind == "thermal":
        assert fused.thermal_registered is pair.thermal.data
    # A body is where the rig says it is on this grid, warmer than what is above the street.
    body = rig.bodies(0)[3]
    x, y = body.thermal_xy if kind == "thermal" else np.array(body.rgb_xy) * size[1] / 640
    assert fused.thermal_registered[round(y), round(x)] > 29_600


def test_a_camera_info_that_was_wrong_for_a_while_leaves_no_trace(tmp_path):
    """How much the rgb frame is shrunk for the thermal grid goes by the cameras as they are now."""
    content = stereo_content(Stereo(RGB, THERMAL, ROTATION, TRANSLATION))
    del content["rgb_camera"]
    path = tmp_path / "stereo.yaml"
    path.write_text(yaml.safe_dump(content))
    config = RegistrationConfig(mode="plane", file=str(path), plane_distance_m=5.0)
    image = np.random.default_rng(4).integers(0, 255, (480, 640), np.uint8)
    pictures = []
    for cameras in ((RGB,), (RGB._replace(matrix=RGB.matrix * [[8.0], [8.0], [1.0]]), RGB)):
        registration = Registration(config)
        grid = OutputGrid(registration, OutputConfig(grid="thermal"))
        for camera in cameras:
            registration.set_intrinsics("rgb", camera)
            picture = grid.prepare(THERMAL.size, RGB.size).rgb(image, np.zeros(THERMAL.size, np.float32))
        pictures.append(picture)
    np.testing.assert_array_equal(*pictures)


def test_camera_info_is_scaled_with_the_picture():
    """A point in space falls on the same spot of the picture, whichever of the two camera_infos projects it."""
    messages = pytest.importorskip("sensor_msgs.msg", reason="sensor_msgs is not installed: pip install '.[ros]' or source a ROS 2")
    from aenet_ros.messages.codec import scaled_camera_info

    info = messages.CameraInfo(width=640, height=480, distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0])
    info.k = [520.0, 0.0, 322.0, 0.0, 518.0, 238.0, 0.0, 0.0, 1.0]
    info.p = [500.0, 0.0, 320.0, -30.0, 0.0, 501.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.header.frame_id = "rgb_optical"
    scaled = scaled_camera_info(info, 240, 400)
    assert (scaled.width, scaled.height, scaled.header.frame_id, list(scaled.d)) == (400, 240, "rgb_optical", list(info.d))
    for matrix, point in (("k", [0.2, -0.1, 2.0]), ("p", [0.2, -0.1, 2.0, 1.0])):
        (x, y), (u, v) = (
            place[:2] / place[2] for place in (np.reshape(getattr(given, matrix), (3, -1)) @ point for given in (info, scaled))
        )
        assert (u, v) == pytest.approx(((x + 0.5) * 400 / 640 - 0.5, (y + 0.5) * 240 / 480 - 0.5))
    unknown = scaled_camera_info(messages.CameraInfo(width=640, height=480), 240, 320)
    assert (unknown.width, list(unknown.k)) == (320, [0.0] * 9)
    empty = messages.CameraInfo()
    assert scaled_camera_info(empty, 240, 320) is empty
