"""Camera model: intrinsics, lens distortion and the pose of two cameras; OpenCV's and ROS's conventions.

Pixels are (x to the right, y down) with the first pixel's centre at 0. A camera's optical frame has x right, y down, z ahead, in metres.
"""

import copy
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from aenet_ros.core.errors import ConfigError, sanitize
from aenet_ros.core.frames import Array

Size = tuple[int, int]  # height, width

MAX_CONDITION = 1e12  # a 3x3 matrix of a larger condition number is singular in float64
COEFFICIENT_COUNTS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
ALIASES = {"fisheye": "equidistant", "": "plumb_bob", "none": "plumb_bob"}
MAX_COEFFICIENTS = 14  # of OpenCV's longest model; a longer list is refused before it is converted


class Camera(NamedTuple):
    """Intrinsics float64 [3, 3] at ``size``, and OpenCV's coefficients of plumb_bob, rational_polynomial or equidistant."""

    matrix: Array
    size: Size
    model: str = "plumb_bob"
    distortion: tuple[float, ...] = ()


class Stereo(NamedTuple):
    """Both cameras, where known, and the pose: thermal point = ``rotation`` [3, 3] @ rgb point + ``translation`` [3] (metres).

    ``has_pose`` False: the pose is not known yet, and the two have no meaning.
    """

    rgb: Camera | None
    thermal: Camera | None
    rotation: Array
    translation: Array
    has_pose: bool = True

    def inverse(self) -> "Stereo":
        """The same from thermal to rgb: the cameras exchanged, the pose inverted."""
        inverse = self.rotation.T
        return Stereo(self.thermal, self.rgb, inverse, -inverse @ self.translation, self.has_pose)


def same_camera(camera: Camera, other: Camera | None) -> bool:
    """Whether two cameras are equal."""
    return other is not None and camera[1:] == other[1:] and np.array_equal(camera.matrix, other.matrix)


def size_of(data: Array) -> Size:
    """Height and width."""
    return int(data.shape[0]), int(data.shape[1])


def scaling(source: tuple[float, float], target: tuple[float, float]) -> Array:
    """The 3x3 matrix from pixels of an image of one size to those of the same image at another, edge to edge."""
    y, x = target[0] / source[0], target[1] / source[1]
    return np.array([[x, 0.0, (x - 1.0) / 2.0], [0.0, y, (y - 1.0) / 2.0], [0.0, 0.0, 1.0]])


def shifting(left: int, top: int) -> Array:
    """The 3x3 matrix from pixels of an image to those of its part that begins at (left, top)."""
    return np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]])


def camera_from_info(info: Any) -> Camera | None:
    """The camera that a sensor_msgs/CameraInfo describes (any object with its fields); None where it is not calibrated.

    It is that of the frames: binning and region of interest are applied. Raises ConfigError for an unknown lens model.
    """
    info = delivered_camera_info(info)
    matrix = np.asarray(info.k, np.float64).reshape(3, 3)
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0 and info.width and info.height):
        return None
    return make_camera(matrix, (info.height, info.width), info.distortion_model, info.d, "camera_info")


def delivered_camera_info(info: Any) -> Any:
    """A sensor_msgs/CameraInfo of the frames that the camera delivers, where ``info`` describes the whole sensor; else ``info`` itself.

    By the message's definition size, K and P are those of the whole sensor without binning; the region of interest is in its pixels. A
    region that is not within the size shows that the driver gives the size of the frames already.
    """
    roi, x, y = getattr(info, "roi", None), max(getattr(info, "binning_x", 1), 1), max(getattr(info, "binning_y", 1), 1)
    if roi is None:
        return info
    left, top, width, height = roi.x_offset, roi.y_offset, roi.width, roi.height
    if not (width and height) or left + width > info.width or top + height > info.height:
        left, top, width, height = 0, 0, info.width, info.height
    if (left, top, width, height, x, y) == (0, 0, info.width, info.height, 1, 1) or not (width >= x and height >= y):
        return info
    return moved_camera_info(info, (height // y, width // x), scaling((height, width), (height / y, width / x)) @ shifting(left, top))


def moved_camera_info(info: Any, size: Size, matrix: Array) -> Any:
    """A copy of a sensor_msgs/CameraInfo for frames of ``size``, to whose pixels ``matrix`` [3, 3] maps those of ``info``."""
    result = copy.copy(info)
    (result.height, result.width), result.binning_x, result.binning_y = size, 0, 0
    result.roi = copy.copy(info.roi)
    result.roi.x_offset = result.roi.y_offset = result.roi.height = result.roi.width = 0
    result.roi.do_rectify = False
    result.k, result.p = (_moved(matrix, values) for values in (info.k, info.p))
    return result


def _moved(matrix: Array, values: Any) -> Array:
    """A projection matrix, row-major, after ``matrix``; unchanged where it is all zero (not calibrated)."""
    projection = np.array(values, np.float64).reshape(3, -1)
    with np.errstate(all="ignore"):  # NaN and infinity are passed on
        return (matrix @ projection if projection.any() else projection).ravel()


def make_camera(matrix: Any, size: Size, model: str, distortion: Any, name: str) -> Camera:
    """A checked camera. Raises ConfigError; ``name`` says in its text what was read."""
    model = ALIASES.get(model, model)
    if model not in COEFFICIENT_COUNTS:
        raise ConfigError(f"{name}: the lens model {sanitize(model)} is not known; give one of {', '.join(COEFFICIENT_COUNTS)}")
    counts = " or ".join(str(count) for count in COEFFICIENT_COUNTS[model])
    if hasattr(distortion, "__len__") and len(distortion) > MAX_COEFFICIENTS:
        raise ConfigError(f"{name}: {len(distortion)} lens coefficients; {model} has {counts}")
    try:
        coefficients = tuple(float(value) for value in distortion)
        if not np.isfinite(coefficients).all():
            raise ValueError
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: the lens coefficients {sanitize(distortion)} are no finite numbers") from error
    if len(coefficients) not in COEFFICIENT_COUNTS[model] and any(coefficients):
        raise ConfigError(f"{name}: {len(coefficients)} lens coefficients; {model} has {counts}")
    matrix = check_matrix(matrix, f"{name}: camera_matrix")
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise ConfigError(f"{name}: focal lengths {matrix[0, 0]:g}, {matrix[1, 1]:g} must be more than 0")
    return Camera(matrix, size, model, coefficients if any(coefficients) else ())


def check_matrix(values: Any, name: str) -> Array:
    """Nine numbers, flat or in rows, as an invertible 3x3 float64 matrix. Raises ConfigError."""
    matrix = parse_numbers(values, 9, "3x3", name).reshape(3, 3)
    if not np.linalg.cond(matrix) < MAX_CONDITION:
        raise ConfigError(f"{name}: {matrix.tolist()} is singular, so it maps the picture onto a line; calibrate again")
    return matrix


def parse_numbers(values: Any, count: int, shape: str, name: str) -> Array:
    """``count`` finite numbers, float64 [count]. Raises ConfigError."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.size != count or not np.isfinite(numbers).all():
            raise ValueError(f"{numbers.size} numbers")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {values!r} is not {shape} finite numbers") from error
    return numbers.ravel()


def pixel_rays(camera: Camera, size: Size) -> Array:
    """Directions (x, y, 1) of every pixel of a picture of ``size``: float64 [3, H, W]; NaN where the lens model has no inverse.

    The last ones are kept, read-only: on a moving mount the pose changes with each frame, and the lens does not.
    """
    return _pixel_rays(camera.matrix.tobytes(), *camera[1:], size)


@lru_cache(maxsize=4)  # two sizes of each camera
def _pixel_rays(numbers: bytes, camera_size: Size, model: str, distortion: tuple[float, ...], size: Size) -> Array:
    camera = Camera(np.frombuffer(numbers).reshape(3, 3), camera_size, model, distortion)
    height, width = size
    matrix = scaling(camera.size, size) @ camera.matrix
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    points = np.stack([x.ravel(), y.ravel()], axis=1)[:, None]
    lens = np.array(camera.distortion or (0.0,) * 4)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    if camera.model == "equidistant":
        undistorted = cv2.fisheye.undistortPoints(points, matrix, lens)
    else:
        undistorted = cv2.undistortPointsIter(points, matrix, lens, np.eye(3), np.eye(3), criteria)
    x, y = np.asarray(undistorted, np.float64).reshape(height, width, 2).transpose(2, 0, 1)
    if camera.distortion:
        # OpenCV's iteration may end at a wrong point; projecting it back shows that.
        u, v = distort(camera, x, y)
        projected_x, projected_y = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2], matrix[1, 1] * v + matrix[1, 2]
        columns, rows = np.arange(width), np.arange(height)[:, None]
        wrong = ~(np.hypot(projected_x - columns, projected_y - rows) < 0.5)
        x, y = np.where(wrong, np.nan, x), np.where(wrong, np.nan, y)
    rays = np.stack([x, y, np.ones_like(x)])
    rays.flags.writeable = False
    return rays


def distort(camera: Camera, x: Array, y: Array) -> tuple[Array, Array]:
    """Distorted coordinates at focal length 1 of directions (x, y, 1), by OpenCV's formulas; NaN beyond ``_radius_limit``."""
    if not camera.distortion:
        return x, y
    square = x * x
    square += y * y
    limit = _radius_limit(camera.model, camera.distortion)
    if camera.model == "equidistant":
        radius = np.sqrt(square)
        angle = np.arctan(radius)
        scale = np.where(radius > 1e-8, angle / np.maximum(radius, 1e-8), 1.0).astype(x.dtype)
        scale *= _radial(camera.model, camera.distortion, angle * angle)
        np.copyto(scale, np.nan, where=angle >= limit)
        return x * scale, y * scale
    scale = _radial(camera.model, camera.distortion, square)
    if np.isfinite(limit):
        np.copyto(scale, np.nan, where=square >= limit * limit)
    p1, p2 = camera.distortion[2:4]
    if not (p1 or p2):
        return x * scale, y * scale
    twice = 2 * x * y
    return x * scale + p1 * twice + p2 * (square + 2 * x * x), y * scale + p2 * twice + p1 * (square + 2 * y * y)


def _radial(model: str, distortion: tuple[float, ...], square: Array) -> Array:
    """The factor of the radius (equidistant: of the angle), from its square."""
    if model == "equidistant":
        return _polynomial(distortion, square)
    k1, k2, _, _, k3, k4, k5, k6 = (*distortion, *(0.0,) * (8 - len(distortion)))
    factor = _polynomial((k1, k2, k3), square)
    if k4 or k5 or k6:
        factor /= _polynomial((k4, k5, k6), square)
    return factor


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """1 + c1 x + c2 x^2 + ..., in one new array."""
    count = max((number for number, value in enumerate(coefficients, 1) if value), default=1)
    result = x * coefficients[count - 1]
    for value in coefficients[count - 2 :: -1] if count > 1 else ():
        result += value
        result *= x
    result += 1
    return result


@lru_cache(maxsize=8)  # it is asked for each band of a map
def _radius_limit(model: str, distortion: tuple[float, ...]) -> float:
    """The radius (equidistant: the angle) from which the distortion polynomial decreases, so that points would appear twice."""
    radius = np.linspace(0.0, np.pi / 2 if model == "equidistant" else 10.0, 4001)
    with np.errstate(divide="ignore", invalid="ignore"):
        decreases = ~(np.diff(radius * _radial(model, distortion, radius**2)) > 0)
    return float(radius[np.argmax(decreases)]) if decreases.any() else float("inf")
