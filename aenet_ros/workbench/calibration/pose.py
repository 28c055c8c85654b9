"""How the cameras are turned against each other, out of any scenes, where both lenses are known.

The pictures are freed of their lenses' distortion, the homography between them is found as without lenses (``targetless``), and the turn
that explains it best is fitted. The distance between the cameras cannot be told from scenes: it is taken as given (by a ruler).
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
class Posed:
    """``stereo`` with the turn found; ``found``: of the pictures without distortion; ``rms_px``: thermal pixels that the turn leaves."""

    stereo: Stereo
    found: Estimate
    rms_px: float

    @property
    def degrees(self) -> Array:
        """The turn as a rotation vector, float64 [3]: about the axes that point right, down and ahead."""
        return np.rad2deg(np.ravel(cv2.Rodrigues(self.stereo.rotation)[0]))


def estimate_pose(pairs: Sequence[FramePair], start: Stereo, distance: float, trust_start: bool = True) -> Posed:
    """The turn of the thermal camera; ``start`` has both cameras, and the translation, which is kept.

    ``distance``: metres at which most of what the pairs show lies. ``trust_start``: the pose of ``start`` is near, so nothing is searched.
    Raises ConfigError where a camera is missing, ImageError as ``estimate`` does.
    """
    rgb, thermal = start.rgb, start.thermal
    if rgb is None or thermal is None:
        raise ConfigError("the pose needs the lenses of both cameras: rgb_camera and thermal_camera in the file of --start")
    flat = list(pairs)
    if pairs:
        (rgb, rgb_maps), (thermal, thermal_maps) = _flattening(rgb, pairs[0].rgb.size), _flattening(thermal, pairs[0].thermal.size)
        flat = [replace(pair, rgb=_flat(pair.rgb, rgb_maps), thermal=_flat(pair.thermal, thermal_maps)) for pair in pairs]
    guess = _homography(rgb, thermal, start.rotation, start.translation, distance) if trust_start and start.has_pose else None
    found = estimate(flat, guess)
    rotation, rms_px = _fit(rgb, thermal, start, found.matrix, distance)
    return Posed(start._replace(rotation=rotation, has_pose=True), found, rms_px)


def _flattening(camera: Camera, size: Size) -> tuple[Camera, tuple[Array, Array]]:
    """The camera at the pictures' size without distortion, and the maps that make its pictures."""
    matrix, shape = scaling(camera.size, size) @ camera.matrix, size[::-1]
    lens = np.array(camera.distortion or (0.0,) * 4)
    if camera.model == "equidistant":
        maps = cv2.fisheye.initUndistortRectifyMap(matrix, lens, np.eye(3), matrix, shape, cv2.CV_32FC1)
    else:
        maps = cv2.initUndistortRectifyMap(matrix, lens, np.eye(3), matrix, shape, cv2.CV_32FC1)
    return Camera(matrix, size), (np.asarray(maps[0]), np.asarray(maps[1]))


def _flat(frame: Frame, maps: tuple[Array, Array]) -> Frame:
    return replace(frame, data=cv2.remap(frame.data, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _homography(rgb: Camera, thermal: Camera, rotation: Array, translation: Array, distance: float) -> Array:
    """Rgb to thermal pixels of what lies on the plane ``distance`` ahead of the rgb camera."""
    matrix: Array = thermal.matrix @ (rotation + np.outer(translation, [0, 0, 1]) / distance) @ np.linalg.inv(rgb.matrix)
    return np.asarray(matrix / matrix[2, 2])


def _fit(rgb: Camera, thermal: Camera, start: Stereo, matrix: Array, distance: float) -> tuple[Array, float]:
    """The turn whose homography is nearest to ``matrix`` where the thermal camera looks, by Gauss and Newton, and the rms left."""
    height, width = rgb.size
    y, x = np.meshgrid(np.linspace(0, height - 1, POINTS[0]), np.linspace(0, width - 1, POINTS[1]), indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=1)[None]
    wanted = cv2.perspectiveTransform(points, matrix)[0]
    seen = ((wanted > 0) & (wanted < [thermal.size[1], thermal.size[0]])).all(1)
    points, wanted = points[:, seen], wanted[seen]

    def off(turn: Array) -> Array:
        rotation = np.asarray(cv2.Rodrigues(turn)[0])
        given = _homography(rgb, thermal, rotation, start.translation, distance)
        return np.asarray((cv2.perspectiveTransform(points, given)[0] - wanted).ravel())

    turn = np.ravel(cv2.Rodrigues(start.rotation)[0]).astype(np.float64)
    for _ in range(STEPS):
        now = off(turn)
        slopes = np.stack([(off(turn + step) - now) / 1e-6 for step in 1e-6 * np.eye(3)], axis=1)
        change = np.linalg.lstsq(slopes, -now, rcond=None)[0]
        turn = turn + change
        if np.linalg.norm(change) < 1e-9:
            break
    return np.asarray(cv2.Rodrigues(turn)[0]), float(np.sqrt(np.mean(np.square(off(turn))) * 2))
