"""The rig's geometry: world (view units on the backdrop), rgb pixels and thermal pixels, and pictures rendered through its maps.

All maps are float64 [3, 3] for points (x, y, 1); pixel (0, 0) is the centre of the first pixel. The rgb camera at rest sees
640 x 512 view units; a picture of another width sees the same 640 units across.

The thermal optics come in two steps: an affine map to *flat* thermal pixels, then the keystone and the lens.
"""

import math

import cv2
import numpy as np

from aenet_ros.core.frames import Array
from aenet_ros.workbench.simulation.rig_config import RigConfig
from aenet_ros.workbench.simulation.street import HEIGHT, WALL_FOOT, WIDTH

VIEW_WIDTH = 640.0
NEAREST = 500.0  # feet of the nearest person, who has the whole parallax
REACH = (175.0, 6.3)  # largest motion (x, y) of the cameras, in view units
# A backdrop is kept at parts of a pixel of the cameras' motion up and down, as many as fit; with too few it is rendered for each frame.
MAX_CACHE_BYTES = 16 * 2**20  # of one stream in one scene: at most 96 MiB for three scenes
MIN_ROW_STEPS, MAX_ROW_STEPS = 8, 32


def apply(matrix: Array, points: Array) -> Array:
    """Points [N, 2] through a 3x3 map: float64 [N, 2]."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:])


def shift(x: float, y: float) -> Array:
    """The map that adds (x, y)."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def camera_motion(config: RigConfig, seconds: float) -> Array:
    """Position [2] of both cameras relative to rest, in view units: a slow pan, and the up and down of a walking robot.

    The pan repeats only after 19 minutes, so that no two stretches of a recording are mistaken for each other.
    """
    pan = 150 * math.sin(2 * math.pi * seconds / 13.7 - 0.5) + 25 * math.sin(2 * math.pi * seconds / 8.3 - 0.5)
    bob = 1.3 * math.sin(2 * math.pi * 1.7 * seconds) + 5 * math.sin(2 * math.pi * seconds / 5.3)
    return config.motion * np.array([pan, bob])


def rgb_at_rest(config: RigConfig) -> Array:
    """World to rgb pixels while the cameras are at rest: an affine map."""
    return np.asarray(_view_to_pixels(config.rgb_size) @ shift(-WIDTH / 2, -HEIGHT / 2 - 32))


def flat_thermal_at_rest(config: RigConfig) -> Array:
    """World to flat thermal pixels while the cameras are at rest: an affine map."""
    cosine, sine = (config.zoom * turn(math.radians(config.rotation_deg)) for turn in (math.cos, math.sin))
    turned = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    moved = shift(config.shift_x, config.shift_y) @ turned @ shift(-WIDTH / 2, -HEIGHT / 2 - 32)
    return np.asarray(_view_to_pixels(config.thermal_size) @ moved)


def rgb_to_thermal(config: RigConfig) -> Array:
    """Rgb pixels to thermal pixels, before the lens."""
    matrix = _keystone(config) @ flat_thermal_at_rest(config) @ np.linalg.inv(rgb_at_rest(config))
    return np.asarray(matrix / matrix[2, 2])


def world_to_rgb(config: RigConfig, seconds: float) -> Array:
    """World to rgb pixels at an instant."""
    return rgb_at_rest(config) @ shift(*-camera_motion(config, seconds))


def parallax(config: RigConfig, foot_y: float) -> float:
    """Shift to the right, in view units, of a person with the feet at ``foot_y`` in the thermal picture."""
    return config.parallax_px * (foot_y - WALL_FOOT) / (NEAREST - WALL_FOOT)


def bend(config: RigConfig, points: Array) -> Array:
    """Thermal pixels [N, 2] before the lens to those after it: r' = r (1 + k1 r^2), r = 1 at half the width."""
    centre, unit = _axis(config)
    offset = (points - centre) / unit
    return np.asarray(centre + offset * (1 + config.lens_k1 * (offset**2).sum(1, keepdims=True)) * unit)


def flatten(config: RigConfig, points: Array) -> Array:
    """Thermal pixels [N, 2] to flat ones: the inverse of lens and keystone."""
    centre, unit = _axis(config)
    bent = offset = (points - centre) / unit
    for _ in range(20):  # fixed-point iteration: k1 is small, so that 20 steps reach 1e-6 pixels
        offset = bent / (1 + config.lens_k1 * (offset**2).sum(1, keepdims=True))
    return apply(np.linalg.inv(_keystone(config)), centre + offset * unit)


def warp(picture: Array, pixel_to_texel: Array, size: tuple[int, int], border: int = cv2.BORDER_CONSTANT) -> Array:
    """Render ``picture`` through an affine map, float64 [3, 3], at ``size`` (width, height). It is smoothed before where it shrinks."""
    shrink = math.hypot(pixel_to_texel[0, 0], pixel_to_texel[1, 0])  # texels a pixel
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.4 * shrink) if shrink > 1.5 else picture  # else it would alias
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(smooth, pixel_to_texel[:2], size, flags=flags, borderMode=border))


class Backdrop:
    """A picture as a camera sees it that moves parallel to it: rendered once, so that a frame is only a window of it.

    ``pixel_to_texel``: float64 [3, 3], affine, for the camera at rest. ``size``: (height, width) of a frame. ``reach``: largest motion
    (x, y) of the camera in pixels. ``border``: OpenCV's border mode beyond the picture.
    """

    def __init__(
        self, picture: Array, pixel_to_texel: Array, size: tuple[int, int], reach: Array, border: int = cv2.BORDER_REFLECT
    ) -> None:
        self._size, self._pad = size, np.ceil(reach) + 1
        width, height = (size[1], size[0]) + 2 * self._pad.astype(int)
        self._picture = warp(picture, pixel_to_texel @ shift(*-self._pad), (int(width), int(height)), border)
        steps = min(MAX_CACHE_BYTES // self._picture.nbytes, MAX_ROW_STEPS)
        self._row_steps = steps if steps >= MIN_ROW_STEPS else 0  # 0: not cached
        self._moved_up: dict[int, Array] = {}  # by the part of a pixel, in row steps

    def prepare(self) -> None:
        """Fill the cache now, not when the first frames need it."""
        for step in range(self._row_steps):
            self._moved_up[step] = _blend_rows(self._picture, step / self._row_steps)

    def view(self, motion: Array, out: Array | None = None) -> Array:
        """The frame after the camera has moved by (x, y) pixels, y to a row step if it is cached; in ``out`` where that is given."""
        (x, y), (height, width), steps = (motion + self._pad).tolist(), self._size, self._row_steps
        left, top = int(x), int(y)
        columns, right = slice(left, left + width + 1), x - left
        if steps:
            top, step = divmod(round(y * steps), steps)
            if step not in self._moved_up:
                self._moved_up[step] = _blend_rows(self._picture, step / steps)
            window = self._moved_up[step][top : top + height, columns]
        else:
            window = _blend_rows(self._picture[top : top + height + 1, columns], y - top)
        return cv2.addWeighted(window[:, :-1], 1.0 - right, window[:, 1:], right, 0.0, dst=out)


def _blend_rows(picture: Array, share: float) -> Array:
    """The picture moved up by ``share`` of a pixel, 0..1; one row less."""
    return cv2.addWeighted(picture[:-1], 1.0 - share, picture[1:], share, 0.0)


def _view_to_pixels(size: tuple[int, int]) -> Array:
    """View units about the optical axis to pixels of a picture (height, width)."""
    height, width = size
    unit = width / VIEW_WIDTH
    return np.array([[unit, 0, width / 2 - 0.5], [0, unit, height / 2 - 0.5], [0, 0, 1]], np.float64)


def _keystone(config: RigConfig) -> Array:
    """Flat thermal pixels to those with the keystone."""
    from_view = _view_to_pixels(config.thermal_size) @ shift(config.shift_x, config.shift_y)
    return np.asarray(from_view @ np.array([[1, 0, 0], [0, 1, 0], [config.keystone, 0, 1]]) @ np.linalg.inv(from_view))


def _axis(config: RigConfig) -> tuple[Array, float]:
    height, width = config.thermal_size
    return np.array([(width - 1) / 2, (height - 1) / 2]), width / 2
