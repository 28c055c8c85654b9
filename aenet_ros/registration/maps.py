"""Maps from rgb pixels to thermal pixels: by a homography, or through both lenses by way of a distance.

Pixels are integer coordinates (x to the right, y down) with the first pixel's centre at 0.
"""

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane
from aenet_ros.registration.calibration_file import Camera, Homography, Size, Stereo

FloatMap = tuple[Plane, Plane]  # thermal x and thermal y of every rgb pixel, float32 [H, W]; NaN where there is none


def identity_map(thermal_size: Size, rgb_size: Size) -> FloatMap:
    """The map that scales the thermal frame to the rgb frame, edge to edge."""
    return homography_map(Homography(np.eye(3), rgb_size, rgb_size), thermal_size, rgb_size)


def homography_map(homography: Homography, thermal_size: Size, rgb_size: Size) -> FloatMap:
    """The map of a homography, scaled to the frames' sizes where it was found at others (and these are known)."""
    matrix = homography.matrix
    if homography.rgb_size:
        matrix = matrix @ scaling(rgb_size, homography.rgb_size)
    if homography.thermal_size:
        matrix = scaling(homography.thermal_size, thermal_size) @ matrix
    height, width = rgb_size
    x, y = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)[:, None]
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
    # A homography's sign is free; it is taken such that the picture's centre lies in front of the camera.
    in_front = w * np.copysign(1.0, w[height // 2, width // 2]) > 1e-9
    with np.errstate(divide="ignore"):
        inverse = np.where(in_front, 1.0 / w, np.nan)
    return (u * inverse).astype(np.float32), (v * inverse).astype(np.float32)


def scaling(source: Size, target: Size) -> Array:
    """The 3x3 matrix from pixels of an image of one size to those of the same image at another, edge to edge."""
    y, x = target[0] / source[0], target[1] / source[1]
    return np.array([[x, 0.0, (x - 1.0) / 2.0], [0.0, y, (y - 1.0) / 2.0], [0.0, 0.0, 1.0]])


def typical_step(axis: Plane, along: int) -> float:
    """How far apart neighbours of one axis of a map are, in the median, along an axis of the picture; NaN where no two are known."""
    with np.errstate(all="ignore"):
        steps = np.abs(np.diff(axis, axis=along))
    steps = steps[np.isfinite(steps)]
    return float(np.median(steps)) if steps.size else float("nan")


class StereoRays:
    """The rgb pixels' lines of sight, turned into the thermal camera's frame: all of a plane's map that its distance does not change.

    Raises nothing; where a lens cannot see a direction the map has NaN.
    """

    def __init__(self, rgb: Camera, thermal: Camera, stereo: Stereo, thermal_size: Size, rgb_size: Size) -> None:
        self._thermal, self._to_pixels = thermal, scaling(thermal.size, thermal_size) @ thermal.matrix
        self._translation = stereo.translation.astype(np.float32)
        with np.errstate(all="ignore"):  # here and below: what leaves the range of floats is out of every view
            turned = np.einsum("ij,jhw->ihw", stereo.rotation, sight_lines(rgb, rgb_size))
            self._rays: Array = turned.astype(np.float32)

    def map(self, depth: float | Plane) -> FloatMap:
        """The map for what lies ``depth`` metres ahead of the rgb camera (along its optical axis): a number, or float32 [H, W]."""
        with np.errstate(all="ignore"):
            inverse = np.float32(1.0) / np.asarray(depth, np.float32)
            x, y, z = (ray + shift * inverse for ray, shift in zip(self._rays, self._translation, strict=True))
            ahead = np.where(z > 1e-6, np.float32(1.0) / z, np.float32(np.nan))
            x, y = bend(self._thermal, x * ahead, y * ahead)
            (fx, skew, cx), (_, fy, cy) = self._to_pixels[0].astype(np.float32), self._to_pixels[1].astype(np.float32)
            return fx * x + skew * y + cx, fy * y + cy

    def depth_of_plane(self, distance: float) -> Plane:
        """How far along its own optical axis each pixel meets the plane that lies ``distance`` metres ahead of the other camera."""
        with np.errstate(all="ignore"):
            away = (np.float32(distance) - self._translation[2]) / self._rays[2]
        return np.asarray(np.where(away > 0, away, np.float32(np.nan)), np.float32)

    def depth_in_thermal(self, depth: Plane) -> Plane:
        """How far ahead of the thermal camera (metres) each rgb pixel's point lies, which is ``depth`` ahead of the rgb camera."""
        with np.errstate(all="ignore"):
            return np.asarray(self._rays[2] * depth + self._translation[2], np.float32)


def sight_lines(camera: Camera, size: Size) -> Array:
    """Directions (x, y, 1) of every pixel of a picture of ``size``: float64 [3, H, W]; NaN where the lens model does not reach."""
    height, width = size
    matrix = scaling(camera.size, size) @ camera.matrix
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    points = np.stack([x.ravel(), y.ravel()], axis=1)[:, None]
    lens = np.array(camera.distortion or (0.0,) * 4)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    if camera.model == "equidistant":
        flat = cv2.fisheye.undistortPoints(points, matrix, lens)
    else:
        flat = cv2.undistortPointsIter(points, matrix, lens, np.eye(3), np.eye(3), criteria)
    x, y = np.asarray(flat, np.float64).reshape(height, width, 2).transpose(2, 0, 1)
    if camera.distortion:
        # Where the way back does not lead to the pixel the search found nothing.
        u, v = bend(camera, x, y)
        back_x, back_y = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2], matrix[1, 1] * v + matrix[1, 2]
        columns, rows = np.arange(width), np.arange(height)[:, None]
        missed = ~(np.hypot(back_x - columns, back_y - rows) < 0.5)
        x, y = np.where(missed, np.nan, x), np.where(missed, np.nan, y)
    return np.stack([x, y, np.ones_like(x)])


def bend(camera: Camera, x: Array, y: Array) -> tuple[Array, Array]:
    """Directions (x, y, 1) to where the lens puts them at focal length 1, by OpenCV's formulas; NaN beyond the fold of a polynomial."""
    if not camera.distortion:
        return x, y
    square = x * x + y * y
    if camera.model == "equidistant":
        radius = np.sqrt(square)
        angle = np.arctan(radius)
        k1, k2, k3, k4 = camera.distortion
        q = angle * angle
        scale = np.where(radius > 1e-8, angle / np.maximum(radius, 1e-8), 1.0) * (1 + q * (k1 + q * (k2 + q * (k3 + q * k4))))
        scale = np.where(angle < _fold(camera), scale, np.nan).astype(x.dtype)
        return x * scale, y * scale
    k1, k2, p1, p2, k3, k4, k5, k6 = (*camera.distortion, *(0.0,) * (8 - len(camera.distortion)))
    scale = 1 + square * (k1 + square * (k2 + square * k3))
    if k4 or k5 or k6:
        scale = scale / (1 + square * (k4 + square * (k5 + square * k6)))
    limit = _fold(camera)
    if np.isfinite(limit):
        scale = np.where(square < limit * limit, scale, np.nan).astype(x.dtype)
    if not (p1 or p2):
        return x * scale, y * scale
    twist = 2 * x * y
    return x * scale + p1 * twist + p2 * (square + 2 * x * x), y * scale + p2 * twist + p1 * (square + 2 * y * y)


def _fold(camera: Camera) -> float:
    """The radius (for equidistant, the angle) at which a lens' polynomial turns back, so that what lies beyond would show twice."""
    radius = np.linspace(0.0, np.pi / 2 if camera.model == "equidistant" else 10.0, 4001)
    square = radius**2
    if camera.model == "equidistant":
        k1, k2, k3, k4 = camera.distortion
        bent = radius * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
    else:
        k1, k2, _, _, k3, k4, k5, k6 = (*camera.distortion, *(0.0,) * (8 - len(camera.distortion)))
        below = 1 + square * (k4 + square * (k5 + square * k6))
        bent = radius * (1 + square * (k1 + square * (k2 + square * k3))) / np.where(below > 1e-9, below, np.nan)
    turned = ~(np.diff(bent) > 0)
    return float(radius[np.argmax(turned)]) if turned.any() else float("inf")
