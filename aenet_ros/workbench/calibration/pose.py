"""Estimates the rotation between the cameras from any scenes, where both lenses are known.

The pictures are undistorted, the homography between them is estimated (``registration.estimate``), and the rotation that explains
it best is fitted. Scenes do not show the distance between the cameras: the translation is taken as given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from aenet_ros.core.camera import Camera, Size, Stereo, scaling
from aenet_ros.core.errors import ConfigError
from aenet_ros.core.frames import Array, Frame, FramePair
from aenet_ros.registration.estimate import Estimate, estimate

STEPS = 20
POINTS = (12, 16)  # rows and columns of a grid over the rgb picture


@dataclass(frozen=True)
class PoseEstimate:
    """``stereo`` with the rotation; ``found``: homography of the undistorted pictures; ``rms_px``: residual in thermal pixels."""

    stereo: Stereo
    found: Estimate
    rms_px: float

    @property
    def degrees(self) -> Array:
        """The rotation vector in degrees, float64 [3]: about the axes right, down and ahead."""
        return np.rad2deg(np.ravel(cv2.Rodrigues(self.stereo.rotation)[0]))


def estimate_pose(pairs: Sequence[FramePair], start: Stereo, distance: float, trust_start: bool = True) -> PoseEstimate:
    """The rotation of the thermal camera; ``start`` has both cameras, and the translation, which is kept.

    ``distance``: of most of the scene, in metres. ``trust_start``: begin at the pose of ``start``, without a search.
    Raises ConfigError where a camera is missing, ImageError as ``estimate`` does.
    """
    rgb, thermal = start.rgb, start.thermal
    if rgb is None or thermal is None:
        raise ConfigError("the pose needs the lenses of both cameras: rgb_camera and thermal_camera in the file of --start")
    undistorted = list(pairs)
    if pairs:
        (rgb, rgb_maps), (thermal, thermal_maps) = _undistortion(rgb, pairs[0].rgb.size), _undistortion(thermal, pairs[0].thermal.size)
        undistorted = [
            replace(pair, rgb=_undistorted(pair.rgb, rgb_maps), thermal=_undistorted(pair.thermal, thermal_maps)) for pair in pairs
        ]
    guess = _homography(rgb, thermal, start.rotation, start.translation, distance) if trust_start and start.has_pose else None
    found = estimate(undistorted, guess)
    rotation, rms_px = _fit(rgb, thermal, start, found.matrix, distance)
    return PoseEstimate(start._replace(rotation=rotation, has_pose=True), found, rms_px)


def _undistortion(camera: Camera, size: Size) -> tuple[Camera, tuple[Array, Array]]:
    """The camera at the pictures' size without distortion, and the maps for cv2.remap."""
    matrix, shape = scaling(camera.size, size) @ camera.matrix, size[::-1]
    lens = np.array(camera.distortion or (0.0,) * 4)
    if camera.model == "equidistant":
        maps = cv2.fisheye.initUndistortRectifyMap(matrix, lens, np.eye(3), matrix, shape, cv2.CV_32FC1)
    else:
        maps = cv2.initUndistortRectifyMap(matrix, lens, np.eye(3), matrix, shape, cv2.CV_32FC1)
    return Camera(matrix, size), (np.asarray(maps[0]), np.asarray(maps[1]))


def _undistorted(frame: Frame, maps: tuple[Array, Array]) -> Frame:
    return replace(frame, data=cv2.remap(frame.data, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _homography(rgb: Camera, thermal: Camera, rotation: Array, translation: Array, distance: float) -> Array:
    """Rgb to thermal pixels of what lies on the plane ``distance`` ahead of the rgb camera."""
    matrix: Array = thermal.matrix @ (rotation + np.outer(translation, [0, 0, 1]) / distance) @ np.linalg.inv(rgb.matrix)
    return np.asarray(matrix / matrix[2, 2])


def _fit(rgb: Camera, thermal: Camera, start: Stereo, matrix: Array, distance: float) -> tuple[Array, float]:
    """The rotation whose homography is nearest to ``matrix`` inside the thermal view, by Gauss-Newton, and the rms in pixels."""
    height, width = rgb.size
    y, x = np.meshgrid(np.linspace(0, height - 1, POINTS[0]), np.linspace(0, width - 1, POINTS[1]), indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=1)[None]
    wanted = cv2.perspectiveTransform(points, matrix)[0]
    seen = ((wanted > 0) & (wanted < [thermal.size[1], thermal.size[0]])).all(1)
    points, wanted = points[:, seen], wanted[seen]

    def residual(turn: Array) -> Array:
        rotation = np.asarray(cv2.Rodrigues(turn)[0])
        given = _homography(rgb, thermal, rotation, start.translation, distance)
        return np.asarray((cv2.perspectiveTransform(points, given)[0] - wanted).ravel())

    turn = np.ravel(cv2.Rodrigues(start.rotation)[0]).astype(np.float64)
    for _ in range(STEPS):
        now = residual(turn)
        slopes = np.stack([(residual(turn + step) - now) / 1e-6 for step in 1e-6 * np.eye(3)], axis=1)
        change = np.linalg.lstsq(slopes, -now, rcond=None)[0]
        turn = turn + change
        if np.linalg.norm(change) < 1e-9:
            break
    return np.asarray(cv2.Rodrigues(turn)[0]), float(np.sqrt(np.mean(np.square(residual(turn))) * 2))
