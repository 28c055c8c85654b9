"""The rig's geometry: world (view units on the backdrop), rgb pixels and thermal pixels.

All maps are float64 [3, 3] for points (x, y, 1); pixel (0, 0) is the middle of the first pixel. The rgb camera at
rest sees 640 x 512 view units; a picture of another width sees the same 640 across.
"""

import math
from functools import lru_cache

import numpy as np

from aenet_ros.core.frames import Array
from aenet_ros.workbench.simulation.people import SPRITE_HEIGHT, SPRITE_WIDTH
from aenet_ros.workbench.simulation.rig_config import RigConfig
from aenet_ros.workbench.simulation.world import HEIGHT, WALL_FOOT, WIDTH

VIEW_WIDTH, VIEW_HEIGHT = 640.0, 512.0
NEAREST = 500.0  # foot of the nearest body, where the parallax is whole


def apply(matrix: Array, points: Array) -> Array:
    """Points [N, 2] through a 3x3 map: float64 [N, 2]."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:])


def shift(x: float, y: float) -> Array:
    """The map that adds (x, y)."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def _turn(scale: float, degrees: float) -> Array:
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float64)


def _pixels_to_view(size: tuple[int, int]) -> Array:
    """Pixels of a picture (height, width) to view units about the optical axis."""
    height, width = size
    unit = VIEW_WIDTH / width
    return np.array([[unit, 0, (0.5 - width / 2) * unit], [0, unit, (0.5 - height / 2) * unit], [0, 0, 1]], np.float64)


def _view_to_world(config: RigConfig, seconds: float) -> Array:
    """The cameras' own motion: a slow pan, the bob of a walking robot, and a little roll and push."""
    m = config.motion
    pan = 175 * m * math.sin(2 * math.pi * seconds / 14.0 - 0.5)
    bob = m * (1.3 * math.sin(2 * math.pi * 1.7 * seconds) + 5 * math.sin(2 * math.pi * seconds / 5.3))
    roll = m * 0.5 * math.sin(2 * math.pi * seconds / 4.1)
    push = 1 + 0.025 * m * math.sin(2 * math.pi * seconds / 9.0)
    return shift(WIDTH / 2 + pan, HEIGHT / 2 + 32 + bob) @ _turn(1 / push, roll)


def _view_to_thermal_view(config: RigConfig) -> Array:
    bend = np.array([[1, 0, 0], [0, 1, 0], [config.keystone, 0, 1]], np.float64)
    return shift(config.shift_x, config.shift_y) @ bend @ _turn(config.zoom, config.rotation_deg)


@lru_cache
def rgb_to_thermal(config: RigConfig) -> Array:
    """Rgb pixels to thermal pixels, before the lens."""
    matrix = np.linalg.inv(_pixels_to_view(config.thermal_size)) @ _view_to_thermal_view(config) @ _pixels_to_view(config.rgb_size)
    matrix /= matrix[2, 2]
    matrix.flags.writeable = False  # the same array for every caller
    return matrix


def world_to_rgb(config: RigConfig, seconds: float) -> Array:
    """World to rgb pixels at an instant."""
    return np.linalg.inv(_view_to_world(config, seconds) @ _pixels_to_view(config.rgb_size))


def world_to_thermal(config: RigConfig, seconds: float) -> Array:
    """World to thermal pixels at an instant, before the lens."""
    return rgb_to_thermal(config) @ world_to_rgb(config, seconds)


def parallax(config: RigConfig, foot_y: float) -> float:
    """How far to the right the thermal camera sees a body with its feet at ``foot_y``, in view units."""
    return config.parallax_px * (foot_y - WALL_FOOT) / (NEAREST - WALL_FOOT)


def outline(x: float, foot_y: float, height: float) -> Array:
    """A body's four corners in the world: float64 [4, 2]."""
    half = height * SPRITE_WIDTH / SPRITE_HEIGHT / 2
    return np.array([(x - half, foot_y - height), (x + half, foot_y - height), (x + half, foot_y), (x - half, foot_y)])


def sprite_to_world(x: float, foot_y: float, height: float, level: int, left: int = 0) -> Array:
    """Texels of a body's sprite at a level of detail, cut at column ``left``, to the world."""
    unit = height / (SPRITE_HEIGHT >> level)
    half = (SPRITE_WIDTH >> level) / 2
    return np.array([[unit, 0, x + (left + 0.5 - half) * unit], [0, unit, foot_y - height + 0.5 * unit], [0, 0, 1]], np.float64)


def bend(config: RigConfig, points: Array) -> Array:
    """Ideal thermal pixels [N, 2] to those that the lens gives: r' = r (1 + k1 r^2), r = 1 at half the width."""
    if not config.lens_k1:
        return points
    centre, unit = _axis(config)
    offset = (points - centre) / unit
    result: Array = centre + offset * (1 + config.lens_k1 * (offset**2).sum(1, keepdims=True)) * unit
    return result


def unbend(config: RigConfig, points: Array) -> Array:
    """The inverse of ``bend``, by fixed-point iteration (k1 is small, so that 20 steps reach 1e-6 pixels)."""
    centre, unit = _axis(config)
    bent = (points - centre) / unit
    offset = bent
    for _ in range(20):
        offset = bent / (1 + config.lens_k1 * (offset**2).sum(1, keepdims=True))
    result: Array = centre + offset * unit
    return result


def _axis(config: RigConfig) -> tuple[Array, float]:
    height, width = config.thermal_size
    return np.array([(width - 1) / 2, (height - 1) / 2]), width / 2
