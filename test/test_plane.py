"""Mode plane: against the rig's truth, which knows nothing of cameras and poses, and against OpenCV's own projection."""

import math
import sys
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from aenet_ros.config import Config, RegistrationConfig, build
from aenet_ros.core.camera import Camera, Stereo, camera_from_info
from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.registration.calibration_file import stereo_content
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import Registration
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

RGB = Camera(np.array([[420.0, 0, 322.0], [0, 418.0, 238.0], [0, 0, 1]]), (480, 640), "plumb_bob", (-0.25, 0.08, 0.001, -0.002, 0.0))
THERMAL = Camera(np.array([[300.0, 0, 161.0], [0, 301.0, 126.0], [0, 0, 1]]), (256, 320), "plumb_bob", (-0.3, 0.1, 0.0, 0.001, 0.0))
ROTATION = cv2.Rodrigues(np.array([0.02, -0.03, 0.01]))[0]
TRANSLATION = np.array([0.08, 0.01, -0.005])


def plane(tmp_path, stereo, distance, drop=()):
    path = tmp_path / "stereo.yaml"
    content = {key: value for key, value in stereo_content(stereo).items() if key not in drop}
    path.write_text(yaml.safe_dump(content))
    return Registration(RegistrationConfig(mode="plane", file=str(path), plane_distance_m=distance))


def warps(registration, thermal_size=THERMAL.size, rgb_size=RGB.size, **options):
    return OutputGrid(registration).prepare(thermal_size, rgb_size, **options)


def seen(camera, points):
    """Pixels (x, y) in which a camera sees points [N, 3] of its own frame, by OpenCV."""
    if camera.model == "equidistant":
        return cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), camera.matrix, np.array(camera.distortion))[0][:, 0]
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera.matrix, np.array(camera.distortion))[0][:, 0]


def misses(registration, thermal, rgb, stereo, distance):
    """Pixels between the map and the truth, for points on the plane that both cameras see."""
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-0.6, 0.6, 2000) * distance, rng.uniform(-0.45, 0.45, 2000) * distance, np.full(2000, distance)])
    in_rgb = seen(rgb, points)
    in_thermal = seen(thermal, points @ stereo.rotation.T + stereo.translation)
    x, y = registration.map(thermal.size, rgb.size)
    height, width = rgb.size
    inner = (in_rgb > 1).all(1) & (in_rgb[:, 0] < width - 2) & (in_rgb[:, 1] < height - 2)
    at = in_rgb[inner].astype(np.float32)
    mapped = np.column_stack([cv2.remap(axis, at[:, :1], at[:, 1:], cv2.INTER_LINEAR)[:, 0] for axis in (x, y)])
    assert inner.sum() > 800
    return np.linalg.norm(mapped - in_thermal[inner], axis=1)


@pytest.mark.parametrize("distance", [1.0, 10.0, 200.0])
def test_points_on_the_plane_lie_where_opencv_projects_them(tmp_path, distance):
    stereo = Stereo(RGB, THERMAL, ROTATION, TRANSLATION)
    assert misses(plane(tmp_path, stereo, distance), THERMAL, RGB, stereo, distance).max() < 0.06  # cv2.remap reads to 1/32 pixel


def test_fisheye_and_rational_lenses(tmp_path):
    rgb = Camera(np.array([[200.0, 0, 320.0], [0, 200.0, 240.0], [0, 0, 1]]), (480, 640), "equidistant", (0.05, -0.01, 0.003, -0.001))
    thermal = THERMAL._replace(model="rational_polynomial", distortion=(0.4, -0.2, 0.001, 0.0, 0.02, 0.6, -0.1, 0.01))
    stereo = Stereo(rgb, thermal, ROTATION, TRANSLATION)
    assert misses(plane(tmp_path, stereo, 3.0), thermal, rgb, stereo, 3.0).max() < 0.06


def rig_stereo(config, distance):
    """The rig as two cameras: the thermal one has a focal length of half its width, as its lens_k1 is defined; the rgb one as zoom says."""
    cameras = []
    for (height, width), focal in ((config.rgb_size, 0.5 / config.zoom), (config.thermal_size, 0.5)):
        focal *= width
        cameras.append(Camera(np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]), (height, width)))
    angle = math.radians(config.rotation_deg)
    rotation = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    translation = np.array([config.shift_x, config.shift_y, 0]) / 320 * distance
    return Stereo(cameras[0], cameras[1]._replace(distortion=(config.lens_k1, 0, 0, 0)), rotation, translation)


def test_the_rig_s_backdrop_and_its_nearest_body(tmp_path):
    """A shift of the nearest body against the backdrop is the distance's doing: the same cameras at another plane give it."""
    config = RigConfig(lens_k1=-0.12, shift_x=20, rotation_deg=2.0, rgb_width=960, rgb_height=720, parallax_px=12.0)
    rig, distance = Rig(config), 12.0
    registration = plane(tmp_path, rig_stereo(config, distance), distance)
    points = np.array([(x, y) for x in range(40, 930, 80) for y in range(40, 700, 60)], np.float64)
    truth = rig.rgb_to_thermal(points)

    def off(want, plane_distance_m=distance):
        x, y = registration.map(config.thermal_size, config.rgb_size, plane_distance_m)
        columns, rows = points.astype(int).T
        return np.abs(np.column_stack([x[rows, columns], y[rows, columns]]) - want).max()

    assert off(truth) < 0.01
    # t/d is 20 view pixels at the backdrop and 32 at the body: it stands at 20/32 of the distance. Without a vertical shift that is all.
    config = RigConfig(shift_x=20, shift_y=0, rotation_deg=0, zoom=1, parallax_px=12.0)
    registration = plane(tmp_path, rig_stereo(config, distance), distance)
    truth = Rig(config).rgb_to_thermal(points)
    points, truth = points[points[:, 0] < 600], truth[points[:, 0] < 600]
    points, truth = points[points[:, 1] < 500], truth[points[:, 1] < 500]
    assert off(truth) < 0.01
    assert off(truth + np.array([12.0, 0.0]), distance * 20 / 32) < 0.01


def test_each_call_says_the_distance(tmp_path):
    registration = plane(tmp_path, Stereo(RGB, THERMAL, ROTATION, TRANSLATION), 10.0)
    thermal = np.random.default_rng(1).random(THERMAL.size, np.float32)
    far = warps(registration).thermal(thermal)
    assert np.abs(warps(registration, plane_distance_m=1.0).thermal(thermal) - far).max() > 0.1
    np.testing.assert_array_equal(warps(registration, plane_distance_m=10.0).thermal(thermal), far)


def test_what_a_lens_folds_back_is_not_shown_twice(tmp_path):
    """A wide rgb camera beside a thermal lens of strong barrel: far outside its view the polynomial turns back into the picture."""
    rgb = Camera(np.array([[160.0, 0, 320.0], [0, 160.0, 240.0], [0, 0, 1]]), (480, 640))
    thermal = Camera(np.array([[300.0, 0, 160.0], [0, 300.0, 128.0], [0, 0, 1]]), (256, 320), "plumb_bob", (-0.5, 0, 0, 0))
    registration = plane(tmp_path, Stereo(rgb, thermal, np.eye(3), np.zeros(3)), 10.0)
    weight = warps(registration, thermal.size, rgb.size).weight
    assert weight[240, 320] == 1.0
    assert cv2.connectedComponents((weight > 0).astype(np.uint8))[0] == 2  # one view, and what lies outside
    assert weight[240, 0] == weight[0, 0] == 0.0


def test_cameras_come_from_camera_info_where_the_file_has_none(tmp_path):
    stereo = Stereo(RGB, THERMAL, ROTATION, TRANSLATION)
    whole = plane(tmp_path, stereo, 5.0).map(THERMAL.size, RGB.size)
    registration = plane(tmp_path, stereo, 5.0, drop=("rgb_camera", "thermal_camera"))
    with pytest.raises(ImageError, match=r"needs the rgb camera's intrinsics.*rgb/camera_info"):
        warps(registration)
    for role, camera in (("rgb", RGB), ("thermal", THERMAL)):
        nothing = SimpleNamespace(k=np.zeros(9), d=[], width=0, height=0, distortion_model="")
        registration.set_intrinsics(role, camera_from_info(nothing))
        height, width = camera.size
        info = SimpleNamespace(
            k=camera.matrix.ravel(), d=list(camera.distortion), width=width, height=height, distortion_model=camera.model
        )
        registration.set_intrinsics(role, camera_from_info(info))
    np.testing.assert_array_equal(registration.map(THERMAL.size, RGB.size), whole)


@pytest.mark.parametrize(("model", "lens"), [("x" * 10**6, []), ("plumb_bob", [0.5] * 10**5), ("plumb_bob", [float("nan")] * 14)])
def test_a_camera_info_is_refused_in_few_words_whatever_it_holds(model, lens):
    info = SimpleNamespace(k=RGB.matrix.ravel(), d=lens, width=640, height=480, distortion_model=model)
    with pytest.raises(ConfigError) as refusal:
        camera_from_info(info)
    assert len(str(refusal.value)) < 300


def test_threads_may_ask_for_maps_beside_each_other(tmp_path):
    """As the watch of the registration does beside the fusing thread. One pushed out what the other was about to take."""
    registration, raised, interval = plane(tmp_path, Stereo(RGB, THERMAL, ROTATION, TRANSLATION), 5.0), [], sys.getswitchinterval()
    end = time.monotonic() + 3.0

    def look(width):
        try:
            while not raised and time.monotonic() < end:
                registration.map(THERMAL.size, (2, width))
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=look, args=(width,)) for width in range(2, 8)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert raised == []


def test_a_driver_that_changes_its_mind_is_followed_and_the_file_is_not_overruled(tmp_path):
    stereo = Stereo(RGB, THERMAL, ROTATION, TRANSLATION)
    whole = plane(tmp_path, stereo, 5.0)
    wrong = RGB._replace(matrix=RGB.matrix * [[1e-9], [1e-9], [1.0]])
    registration = plane(tmp_path, stereo, 5.0, drop=("rgb_camera",))
    registration.set_intrinsics("rgb", wrong)
    with pytest.raises(ImageError):
        warps(registration)
    registration.set_intrinsics("rgb", RGB)
    expected = warps(whole).weight
    np.testing.assert_array_equal(warps(registration).weight, expected)
    whole.set_intrinsics("rgb", wrong)
    np.testing.assert_array_equal(warps(whole).weight, expected)


def test_another_size_is_the_same_camera_scaled(tmp_path):
    registration = plane(tmp_path, Stereo(RGB, THERMAL, ROTATION, TRANSLATION), 5.0)
    x, y = registration.map(THERMAL.size, RGB.size)
    # A third of the rgb picture: the middle of its row 80, column 106 is that of row 241, column 319. Half of the thermal one.
    small_x, small_y = registration.map((128, 160), (160, 640 // 3 + 1))
    columns = (107 + 0.5) * 640 / 214 - 0.5
    assert small_y[80, 107] == pytest.approx((y[241, round(columns)] + 0.5) / 2 - 0.5, abs=0.01)
    assert small_x[80, 107] == pytest.approx((np.interp(columns, np.arange(640), x[241]) + 0.5) / 2 - 0.5, abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thermal_from_rgb": None}, "not 4x4 finite numbers"),
        ({"thermal_from_rgb": {"rotation": [1, 0, 0, 0, 1, 0, 0, 0, 2], "translation": [0, 0, 0]}}, "not a rotation"),
        ({"thermal_from_rgb": {"rotation": [1, 0, 0, 0, 1, 0, 0, 0, -1], "translation": [0, 0, 0]}}, "not a rotation"),
        ({"thermal_from_rgb": {"rotation": [1, 0, 0, 0, 1, 0, 0, 0, 1]}}, "translation: None is not 3 finite"),
        ({"rgb_camera": 5}, "rgb_camera: give image_width"),
        ({"rgb_camera": {"image_width": 0, "image_height": 5, "camera_matrix": [1] * 9}}, "whole pixels"),
        ({"rgb_camera": {"image_width": 5, "image_height": 5, "camera_matrix": [0] * 9}}, "singular"),
    ],
)
def test_a_bad_file_is_refused_with_the_fault(tmp_path, change, message):
    content = {**stereo_content(Stereo(RGB, THERMAL, ROTATION, TRANSLATION)), **change}
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=message) as caught:
        Registration(RegistrationConfig(mode="plane", file=str(path)))
    assert "bad.yaml" in str(caught.value)


def test_a_file_without_a_pose_or_no_file_at_all(tmp_path):
    path = tmp_path / "homography.yaml"
    path.write_text("homography: [1, 0, 0, 0, 1, 0, 0, 0, 1]\n")
    with pytest.raises(ConfigError, match="no key thermal_from_rgb"):
        Registration(RegistrationConfig(mode="plane", file=str(path)))
    with pytest.raises(ConfigError, match=r"set registration\.file"):
        Registration(RegistrationConfig(mode="plane"))
    assert build({"registration.plane_distance_m": 3}, Config()).registration.plane_distance_m == 3.0
