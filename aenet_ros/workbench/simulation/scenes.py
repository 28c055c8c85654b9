"""The rig's scenes: the street lit by day, by night and in smoke."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane
from aenet_ros.workbench.simulation.street import BIN, HORIZON, LAMPS, Street, paint_street

SCENES = ("day", "night", "smoke")


@dataclass(frozen=True)
class Look:
    """One scene's textures on the backdrop's grid, ``scale`` texels per view unit.

    ``rgb`` uint8 [H, W, 3]; ``celsius`` float32 [H, W]; ``light`` float32 [H/8, W/8, 3], the light on a
    person at a place (1 is daylight); ``noise`` is the rgb camera's noise (standard deviation, 0..255).
    """

    rgb: Array
    celsius: Plane
    light: Plane
    noise: float
    smoke: bool

    def light_at(self, x: float, y: float, scale: float) -> Plane:
        """Light at a place in view units: float32 [3]."""
        height, width = self.light.shape[:2]
        row, column = min(max(int(y * scale / 8), 0), height - 1), min(max(int(x * scale / 8), 0), width - 1)
        return np.asarray(self.light[row, column])


@lru_cache(maxsize=1)
def build_looks(scale: float, seed: int) -> dict[str, Look]:
    """Paint the street and light it for every scene. It takes about a second: the last result is cached for the next rig."""
    street = Street(scale, np.random.default_rng(seed))
    paint_street(street)
    rows, columns = street.grid()
    haze = np.clip(1 - np.abs(rows - HORIZON) / 150, 0, 1) ** 2 * 0.14
    day = street.albedo * (1 - haze[..., None]) + haze[..., None] * np.float32(0.78)
    ambient = np.array([0.030, 0.040, 0.070], np.float32)
    light = np.broadcast_to(ambient, (*street.shape, 3)).copy()
    for x in LAMPS:
        pool = 0.62 * np.exp(-(((columns - x) / 105) ** 2) - ((rows - 432) / 62) ** 2)
        wall = 0.42 * np.exp(-(((columns - x) / 80) ** 2) - ((rows - 270) / 110) ** 2)
        halo = 0.05 * np.exp(-(((columns - x) / 190) ** 2) - ((rows - 300) / 190) ** 2)
        light += (pool + wall + halo)[..., None] * np.array([1.0, 0.80, 0.50], np.float32)
    bloom = cv2.GaussianBlur(street.glow, (0, 0), 5 * scale) * 0.55 + cv2.GaussianBlur(street.glow, (0, 0), 22 * scale) * 0.5
    night = street.albedo * light + street.glow + bloom
    ember = np.exp(-(((columns - BIN[0]) / 70) ** 2) - ((rows - BIN[1] + 40) / 60) ** 2)[..., None] * np.array(
        [0.34, 0.13, 0.02], np.float32
    )
    smoky = day * np.float32(0.78) + ember
    core = np.exp(-(((columns - BIN[0]) / 9) ** 2) - ((rows - BIN[1] + 33) / 7) ** 2)
    smoky += core[..., None] * np.array([0.9, 0.45, 0.1], np.float32)
    ones = np.ones_like(light)
    return {
        "day": _look(day, street.day, ones, 1.6, False),
        "night": _look(night, street.night, light + bloom, 5.0, False),
        "smoke": _look(smoky, street.day - 2 + 65 * core, 0.78 * ones + ember, 2.2, True),
    }


def _look(rgb: Plane, celsius: Plane, light: Plane, noise: float, smoke: bool) -> Look:
    small = (max(1, light.shape[1] // 8), max(1, light.shape[0] // 8))
    picture = np.clip(rgb * 255, 0, 255).astype(np.uint8)
    dim = np.asarray(cv2.resize(light, small, interpolation=cv2.INTER_AREA), np.float32)
    return Look(picture, celsius.astype(np.float32), dim, noise, smoke)
