"""The rig's scenes: the street lit by day, by night and in smoke."""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane
from aenet_ros.workbench.simulation import geometry
from aenet_ros.workbench.simulation.rig_config import RigConfig
from aenet_ros.workbench.simulation.street import BIN, HEIGHT, HORIZON, LAMPS, WIDTH, Street, fractal, paint_street

_TILE = 256  # side of the smoke's noise tiles in texels
_LAYERS = ((0.42, (-34.0, 16.0)), (0.75, (-58.0, 30.0)))  # of smoke: texels a view unit, and the drift in view units a second
_SMOKE_WIDTH = 80  # the smoke is rendered at about this width and enlarged


class Look(NamedTuple):
    """One scene's textures on the backdrop's grid, ``scale`` texels per view unit.

    ``rgb`` uint8 [H, W, 3]; ``celsius`` float32 [H, W]; ``light`` float32 [H, W, 3] at one texel per 8 view units: the light on a person
    at a place (1 is daylight); ``noise`` is the rgb camera's noise (standard deviation, 0..255).
    """

    rgb: Array
    celsius: Plane
    light: Plane
    noise: float


@lru_cache(maxsize=1)
def build_looks(scale: float, seed: int) -> dict[str, Look]:
    """Paint the street and light it for every scene. It takes about a second: the last result is cached for the next rig."""
    street = Street(scale, np.random.default_rng(seed))
    paint_street(street)
    haze = 0.14 * np.clip(1 - np.abs(street.rows - HORIZON) / 150, 0, 1)[..., None] ** 2
    day = street.albedo * (1 - haze) + haze * np.float32(0.78)
    lamps = np.zeros(street.shape, np.float32)
    for x in LAMPS:
        lamps += 0.62 * street.spot(x, 432, 105, 62) + 0.42 * street.spot(x, 270, 80, 110) + 0.05 * street.spot(x, 300, 190, 190)
    glow = street.glow.copy()
    bloom = 0.55 * cv2.GaussianBlur(glow, (0, 0), 5 * scale) + 0.5 * cv2.GaussianBlur(glow, (0, 0), 22 * scale)
    lamplight = _coloured(lamps, 1.0, 0.80, 0.50) + np.array([0.030, 0.040, 0.070], np.float32)
    x, y = BIN
    fire, ember = street.spot(x, y - 33, 9, 7), _coloured(street.spot(x, y - 40, 70, 60), 0.34, 0.13, 0.02)
    dim = np.float32(0.78)
    return {
        "day": _look(day, street.day, np.ones_like(day), 1.6),
        "night": _look(street.albedo * lamplight + glow + bloom, street.night, lamplight + bloom, 5.0),
        "smoke": _look(dim * day + ember + _coloured(fire, 0.9, 0.45, 0.1), street.day - 2 + 65 * fire, dim + ember, 2.2),
    }


def _coloured(grey: Plane, *colour: float) -> Plane:
    return np.asarray(grey[..., None] * np.array(colour, np.float32))


def _look(rgb: Plane, celsius: Plane, light: Plane, noise: float) -> Look:
    small = np.asarray(cv2.resize(light, (WIDTH // 8, HEIGHT // 8), interpolation=cv2.INTER_AREA), np.float32)
    return Look(np.clip(rgb * 255, 0, 255).astype(np.uint8), celsius.copy(), small, noise)


class Smoke:
    """It veils the rgb camera: two layers of noise that drift at different speeds, in an envelope that spreads from the burning bin."""

    def __init__(self, config: RigConfig) -> None:
        rng = np.random.default_rng(config.seed + 2)
        height, width = config.rgb_size
        shrink = max(1, width // _SMOKE_WIDTH)
        size = max(2, height // shrink), max(2, width // shrink)
        pixel_to_world = np.linalg.inv(geometry.rgb_at_rest(config)) @ np.diag([width / size[1], height / size[0], 1.0])
        self._unit = 1 / np.diag(pixel_to_world)[:2]  # pixels a view unit, (x, y)
        rows, columns = np.mgrid[2:HEIGHT:4, 2:WIDTH:4].astype(np.float32)
        x, y = columns - BIN[0], rows - BIN[1]
        envelope = np.exp(-(((x + 110 + 0.3 * np.minimum(y, 0)) / 400) ** 2) - ((y + 70) / 180) ** 2)  # leans as it rises
        texel = np.array([[0.25, 0, -0.5], [0, 0.25, -0.5], [0, 0, 1]])
        reach = config.motion * self._unit * geometry.REACH
        self._still = geometry.Backdrop(np.dstack([envelope, 0.70 - 0.0006 * (y + 70)]), texel @ pixel_to_world, size, reach)
        self._periods = [_TILE / scale * self._unit for scale, _ in _LAYERS]
        self._layers = []
        for (scale, _), period in zip(_LAYERS, self._periods, strict=True):
            texel, noise = np.diag([scale, scale, 1]), fractal(rng, _TILE, _TILE, 96, 6)
            self._layers.append(geometry.Backdrop(noise, texel @ pixel_to_world, size, period / 2, cv2.BORDER_WRAP))

    def veil(self, frame: Array, camera: Array, seconds: float, scene_seconds: float) -> None:
        """Add the smoke of an instant to an rgb frame, in place; it gathers in the first second of its scene.

        ``camera`` [2]: the camera's motion away from rest, in view units.
        """
        envelope, shade = cv2.split(self._still.view(camera * self._unit))
        first, second = (self._drifted(index, camera + np.multiply(drift, seconds)) for index, (_, drift) in enumerate(_LAYERS))
        gathering = 0.45 + 0.55 * min(1.0, scene_seconds)
        cover = np.clip(gathering * envelope * (1.25 + 0.42 * first + 0.22 * second), 0, 0.95)
        bright = cover * np.clip(shade + 0.035 * first + 0.045 * second, 0.5, 0.88)
        size = frame.shape[1], frame.shape[0]
        clear, shine = (cv2.cvtColor(cv2.resize((part * 255).astype(np.uint8), size), cv2.COLOR_GRAY2RGB) for part in (1 - cover, bright))
        cv2.add(cv2.multiply(frame, clear, dst=frame, scale=1 / 255), shine, dst=frame)

    def _drifted(self, index: int, moved: Array) -> Array:
        period = self._periods[index]
        return self._layers[index].view((moved * self._unit + period / 2) % period - period / 2)
