"""Smoke that drifts over the rig's street: it veils the rgb camera, and the thermal camera sees through it."""

import cv2
import numpy as np

from aenet_ros.core.frames import Array
from aenet_ros.workbench.simulation.world import BIN, fractal

_TILE = 256  # side of the noise tiles, in quarter view units


class Smoke:
    """Two layers of tiling noise that drift at different speeds, under an envelope that spreads from the bin."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed + 2)
        self._layers = [fractal(rng, _TILE, _TILE, 96, 6) for _ in range(2)]

    def veil(self, frame: Array, seconds: float, scene_seconds: float, image_to_world: Array) -> None:
        """Lay the smoke of an instant over an rgb frame, in place; it gathers in the first second of its scene."""
        height, width = frame.shape[:2]
        small = (max(2, width // 4), max(2, height // 4))
        step = np.array([[width / small[0], 0, 0], [0, height / small[1], 0], [0, 0, 1]])
        to_world = image_to_world @ step
        columns, rows = np.arange(small[0], dtype=np.float32)[None], np.arange(small[1], dtype=np.float32)[:, None]
        x = np.float32(to_world[0, 0]) * columns + np.float32(to_world[0, 1]) * rows + np.float32(to_world[0, 2] - BIN[0])
        y = np.float32(to_world[1, 0]) * columns + np.float32(to_world[1, 1]) * rows + np.float32(to_world[1, 2] - BIN[1])
        envelope = np.exp(-(((x + 110 + 0.3 * np.minimum(y, 0)) / 400) ** 2) - ((y + 70) / 180) ** 2)  # leans as it rises
        first = self._sample(0, to_world, 0.42, -34 * seconds, 16 * seconds, small)
        second = self._sample(1, to_world, 0.75, -58 * seconds, 30 * seconds, small)
        gathering = 0.45 + 0.55 * min(1.0, scene_seconds)
        cover = np.clip(gathering * envelope * (1.25 + 0.42 * first + 0.22 * second), 0, 0.95)
        bright = cover * np.clip(0.70 + 0.035 * first + 0.045 * second - 0.0006 * (y + 70), 0.5, 0.88)
        layers = cv2.merge([1 - cover, bright])
        clear, shine = cv2.split(cv2.resize((layers * 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR))
        cv2.multiply(frame, cv2.cvtColor(clear, cv2.COLOR_GRAY2RGB), dst=frame, scale=1 / 255)
        cv2.add(frame, cv2.cvtColor(shine, cv2.COLOR_GRAY2RGB), dst=frame)

    def _sample(self, layer: int, to_world: Array, scale: float, drift_x: float, drift_y: float, size: tuple[int, int]) -> Array:
        matrix = (
            np.diag([scale, scale, 1.0])
            @ np.array([[1, 0, drift_x % (_TILE / scale)], [0, 1, drift_y % (_TILE / scale)], [0, 0, 1.0]])
            @ to_world
        )
        return cv2.warpAffine(
            self._layers[layer], matrix[:2], size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP
        )
