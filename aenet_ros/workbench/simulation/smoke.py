"""Smoke that drifts over the rig's street: it veils the rgb camera, and the thermal camera sees through it."""

import cv2
import numpy as np

from aenet_ros.core.frames import Array
from aenet_ros.workbench.simulation import geometry
from aenet_ros.workbench.simulation.backdrop import Backdrop
from aenet_ros.workbench.simulation.rig_config import RigConfig
from aenet_ros.workbench.simulation.street import BIN, HEIGHT, WIDTH, fractal

_TILE = 256  # side of the noise tiles in texels
_LAYERS = ((0.42, -34.0, 16.0), (0.75, -58.0, 30.0))  # texels a view unit, and the drift (x, y) in view units a second
_WIDTH = 80  # the smoke is rendered at about this width and enlarged


class Smoke:
    """Two layers of noise that drift at different speeds, inside an envelope that spreads from the burning bin."""

    def __init__(self, config: RigConfig) -> None:
        rng = np.random.default_rng(config.seed + 2)
        height, width = config.rgb_size
        shrink = max(1, width // _WIDTH)
        size = max(2, height // shrink), max(2, width // shrink)
        pixel_to_world = np.linalg.inv(geometry.rgb_at_rest(config)) @ np.diag([width / size[1], height / size[0], 1.0])
        self._unit = 1 / pixel_to_world[0, 0], 1 / pixel_to_world[1, 1]  # pixels a view unit
        reach = tuple(config.motion * motion * unit for motion, unit in zip(geometry.REACH, self._unit, strict=True))
        rows, columns = np.mgrid[2:HEIGHT:4, 2:WIDTH:4].astype(np.float32)
        x, y = columns - BIN[0], rows - BIN[1]
        envelope = np.exp(-(((x + 110 + 0.3 * np.minimum(y, 0)) / 400) ** 2) - ((y + 70) / 180) ** 2)  # leans as it rises
        texel = np.array([[0.25, 0, -0.5], [0, 0.25, -0.5], [0, 0, 1]])
        self._still = Backdrop(np.dstack([envelope, 0.70 - 0.0006 * (y + 70)]), texel @ pixel_to_world, size, (reach[0], reach[1]))
        self._layers = []
        for scale, *_ in _LAYERS:
            texel = np.diag([scale, scale, 1.0])
            period = _TILE / scale * self._unit[0], _TILE / scale * self._unit[1]
            noise = fractal(rng, _TILE, _TILE, 96, 6)
            layer = Backdrop(noise, texel @ pixel_to_world, size, (period[0] / 2, period[1] / 2), border=cv2.BORDER_WRAP)
            self._layers.append((layer, period))

    def veil(self, frame: Array, camera: tuple[float, float], seconds: float, scene_seconds: float) -> None:
        """Add the smoke of an instant to an rgb frame, in place; it gathers in the first second of its scene.

        ``camera``: the camera's motion away from rest, in view units.
        """
        still = self._still.view((camera[0] * self._unit[0], camera[1] * self._unit[1]))
        first, second = (self._drifted(index, camera, seconds) for index in range(len(_LAYERS)))
        gathering = np.float32(0.45 + 0.55 * min(1.0, scene_seconds))
        cover = np.clip(gathering * still[..., 0] * (1.25 + 0.42 * first + 0.22 * second), 0, 0.95)
        bright = cover * np.clip(still[..., 1] + 0.035 * first + 0.045 * second, 0.5, 0.88)
        size = frame.shape[1], frame.shape[0]
        clear, shine = (cv2.cvtColor(cv2.resize((part * 255).astype(np.uint8), size), cv2.COLOR_GRAY2RGB) for part in (1 - cover, bright))
        cv2.add(cv2.multiply(frame, clear, dst=frame, scale=1 / 255), shine, dst=frame)

    def _drifted(self, index: int, camera: tuple[float, float], seconds: float) -> Array:
        layer, period = self._layers[index]
        x, y = (
            ((moved + drift * seconds) * unit + length / 2) % length - length / 2
            for moved, drift, unit, length in zip(camera, _LAYERS[index][1:], self._unit, period, strict=True)
        )
        return layer.view((x, y))
