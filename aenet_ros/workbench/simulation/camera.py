"""The rig's two cameras: they turn the painted street and its people into frames, quickly."""

import itertools
import math
import random
from collections.abc import Iterator

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane
from aenet_ros.workbench.simulation import geometry
from aenet_ros.workbench.simulation.people import PHASES, WALKERS, Sprite, Walker, sprite
from aenet_ros.workbench.simulation.rig_config import RigConfig
from aenet_ros.workbench.simulation.scenes import Smoke, build_looks
from aenet_ros.workbench.simulation.street import CELSIUS_AT_ZERO, CELSIUS_PER_COUNT

_WEAK_CELSIUS = 5.0
_MARGIN = 64  # noise tiles are larger than a frame by this much: each frame takes another corner of them


class Renderer:
    """Renders the frames of an instant. Backdrops, people and noise are rendered once; a frame puts them together."""

    def __init__(self, config: RigConfig) -> None:
        self.config = config
        self._scale = float(np.clip(max(config.rgb_width, config.thermal_width) / geometry.VIEW_WIDTH, 1.0, 2.0))
        self._looks = build_looks(self._scale, config.seed)
        self._border = 0
        self._optics: tuple[Array, Array] | None = None
        if config.lens_k1 or config.keystone:
            self._border, self._optics = self._optics_map()
        flat = geometry.shift(self._border, self._border) @ geometry.flat_thermal_at_rest(config)
        self._at_rest = {"thermal": flat, "rgb": geometry.rgb_at_rest(config)}  # world to the pixels that are drawn
        self._backdrops = {(stream, scene): self._backdrop(stream, scene) for stream in self._at_rest for scene in config.scene_names}
        self._sprites: dict[tuple[str, Walker, int, int], Sprite] = {}
        self._smoke = Smoke(config)
        rng = np.random.default_rng(config.seed + 1)
        height, width = config.thermal_size
        # Signed noise is kept as uint16 and added modulo 2^16: counts lie far from both ends, and numpy adds it in 0.03 ms.
        self._thermal_noise = _signed(rng.standard_normal((height + _MARGIN, width + _MARGIN)) * config.noise_celsius / CELSIUS_PER_COUNT)
        self._fixed = 0, self._columns(0)
        defects = rng.permutation(height * width)[: config.dead_pixels + config.weak_pixels]
        self._dead, self._weak = defects[: config.dead_pixels], defects[config.dead_pixels :]
        noise = rng.standard_normal((config.rgb_height + _MARGIN, config.rgb_width + _MARGIN, 3), np.float32) * config.rgb_noise
        self._rgb_noise = {}  # what is added and what is subtracted, as uint8 takes no signed noise
        for name in config.scene_names:
            grain = np.clip(np.rint(noise * self._looks[name].noise), -255, 255)
            self._rgb_noise[name] = np.maximum(grain, 0).astype(np.uint8), np.maximum(-grain, 0).astype(np.uint8)

    def prepare(self) -> None:
        """Fill the caches now, not when the first frames need them: all people, and the backdrops of each scene."""
        for backdrop in self._backdrops.values():
            backdrop.prepare()
        for stream in self._at_rest:
            for walker, heading, phase in itertools.product(WALKERS, (1, -1), range(PHASES)):
                self._sprite(stream, walker, heading, phase)

    def thermal(self, seconds: float, index: int, scene: str, shutters: int, out: Array | None = None) -> Array:
        """The thermal camera's frame: uint16 [H, W] counts, with noise, fixed pattern and dead pixels."""
        frame = self._counts(seconds, scene, out)
        frame += self._corner(self._thermal_noise, "thermal", index)
        if shutters != self._fixed[0]:
            self._fixed = shutters, self._columns(shutters)
        frame += self._fixed[1]
        if len(self._weak) or len(self._dead):
            flat = frame.reshape(-1)
            flat[self._weak[::2]] += round(_WEAK_CELSIUS / CELSIUS_PER_COUNT)
            flat[self._weak[1::2]] -= round(_WEAK_CELSIUS / CELSIUS_PER_COUNT)
            flat[self._dead[::2]], flat[self._dead[1::2]] = 0, 65535
        return frame

    def sensor_defects(self, shutters: int) -> tuple[Array, Plane]:
        """The dead and weak pixels, bool [H, W], and the fixed pattern after ``shutters`` shutter events, float32 [H, W] counts."""
        dead = np.zeros(self.config.thermal_size, bool)
        dead.flat[[*self._dead, *self._weak]] = True
        return dead, self._columns(shutters).view(np.int16).astype(np.float32)

    def celsius(self, seconds: float, scene: str) -> Plane:
        """The temperatures in front of the thermal camera, without noise: float32 [H, W] in degrees Celsius."""
        return (self._counts(seconds, scene, None) * CELSIUS_PER_COUNT + CELSIUS_AT_ZERO).astype(np.float32)

    def rgb(self, seconds: float, index: int, scene: str, scene_seconds: float, out: Array | None = None) -> Array:
        """The rgb camera's frame: uint8 [H, W, 3]."""
        light = self._looks[scene].light
        frame = self._view("rgb", scene, seconds, out)
        for walker, x, drawn, corner in self._people("rgb", seconds):
            row, column = int((walker.foot_y - 0.35 * walker.height) / 8), int(x / 8)
            _draw(frame, drawn, corner, None if scene == "day" else np.minimum(light[row, column], 1.0))
        if scene == "smoke":
            self._smoke.veil(frame, geometry.camera_motion(self.config, seconds), seconds, scene_seconds)
        more, less = (self._corner(tile, "rgb", index) for tile in self._rgb_noise[scene])
        return cv2.subtract(cv2.add(frame, more, dst=frame), less, dst=frame)

    def _counts(self, seconds: float, scene: str, out: Array | None) -> Array:
        frame = self._view("thermal", scene, seconds, out if self._optics is None else None)
        for _, _, drawn, corner in self._people("thermal", seconds):
            _draw(frame, drawn, corner)
        if self._optics is not None:
            frame = cv2.remap(frame, *self._optics, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REPLICATE)
        return frame

    def _people(self, stream: str, seconds: float) -> Iterator[tuple[Walker, float, Sprite, tuple[int, int]]]:
        """Each person, from far to near: position along the street, sprite, and the sprite's first column and row in the frame."""
        motion = geometry.camera_motion(self.config, seconds)
        (xx, xy, x0), (yx, yy, y0), _ = (self._at_rest[stream] @ geometry.shift(*-motion)).tolist()  # plain numbers: quicker for one point
        for walker in WALKERS:
            x, heading, phase = walker.at(seconds if self.config.walking else 0.0)
            if stream == "thermal":
                x += geometry.parallax(self.config, walker.foot_y)
            drawn = self._sprite(stream, walker, heading, phase)
            column, row = xx * x + xy * walker.foot_y + x0, yx * x + yy * walker.foot_y + y0
            yield walker, x, drawn, (round(column) + drawn.left, round(row) + drawn.top)

    def _sprite(self, stream: str, walker: Walker, heading: int, phase: int) -> Sprite:
        key = (stream, walker, heading, phase)
        if key not in self._sprites:
            self._sprites[key] = sprite(*key, self._at_rest[stream][:2, :2])
        return self._sprites[key]

    def _view(self, stream: str, scene: str, seconds: float, out: Array | None) -> Array:
        """The backdrop as a camera sees it at an instant, in ``out`` or in new memory."""
        moved = self._at_rest[stream][:2, :2] @ geometry.camera_motion(self.config, seconds)
        return self._backdrops[stream, scene].view(moved, out)

    def _backdrop(self, stream: str, scene: str) -> geometry.Backdrop:
        at_rest, scale, look = self._at_rest[stream], self._scale, self._looks[scene]
        picture, (height, width), border = look.rgb, self.config.rgb_size, 0
        if stream == "thermal":
            celsius = cv2.GaussianBlur(look.celsius, (0, 0), 0.8 * scale)
            picture = np.rint((celsius - CELSIUS_AT_ZERO) / CELSIUS_PER_COUNT).astype(np.uint16)
            (height, width), border = self.config.thermal_size, 2 * self._border
        reach = self.config.motion * np.abs(at_rest[:2, :2]) @ geometry.REACH
        world_to_texel = geometry.shift(scale / 2 - 0.5, scale / 2 - 0.5) @ np.diag([scale, scale, 1.0])
        return geometry.Backdrop(picture, world_to_texel @ np.linalg.inv(at_rest), (height + border, width + border), reach)

    def _columns(self, shutters: int) -> Array:
        """The fixed pattern after ``shutters`` shutter events: uint16 [H, W], to be added modulo 2^16."""
        rng = np.random.default_rng((self.config.seed, shutters))
        height, width = self.config.thermal_size
        pattern = rng.standard_normal((1, width)) + rng.standard_normal((height, width)) / 4
        return _signed(pattern * self.config.column_celsius / CELSIUS_PER_COUNT)

    def _corner(self, tile: Array, stream: str, index: int) -> Array:
        """A frame's part of a noise tile."""
        dice = random.Random(f"{self.config.seed} {stream} noise {index}")
        row, column = dice.randrange(_MARGIN + 1), dice.randrange(_MARGIN + 1)
        return tile[row : row + tile.shape[0] - _MARGIN, column : column + tile.shape[1] - _MARGIN]

    def _optics_map(self) -> tuple[int, tuple[Array, Array]]:
        """Keystone and lens: the border in pixels that they need around a flat frame, and the maps for cv2.remap."""
        height, width = self.config.thermal_size
        rows, columns = np.mgrid[:height, :width]
        flat = geometry.flatten(self.config, np.column_stack([columns.ravel(), rows.ravel()]))
        outside = max(float(-flat.min()), float((flat - (width - 1, height - 1)).max()), 0.0)
        border = min(math.ceil(outside) + 1, width // 2)
        x, y = (flat + border).astype(np.float32).T.reshape(2, height, width)
        first, second = cv2.convertMaps(x, y, cv2.CV_16SC2)
        return border, (first, second)


def _signed(values: Array) -> Array:
    return np.rint(values).astype(np.int16).view(np.uint16)


def _draw(frame: Array, drawn: Sprite, corner: tuple[int, int], light: Array | None = None) -> None:
    """Lay a sprite onto a frame with its first pixel at ``corner`` (column, row), lit by ``light`` [3], 0..1; None: 1."""
    left, top = max(corner[0], 0), max(corner[1], 0)
    part = frame[top : max(corner[1] + drawn.clear.shape[0], 0), left : max(corner[0] + drawn.clear.shape[1], 0)]
    if not part.size:
        return
    rows, columns = slice(top - corner[1], top - corner[1] + part.shape[0]), slice(left - corner[0], left - corner[0] + part.shape[1])
    picture, one = drawn.picture[rows, columns], float(np.iinfo(frame.dtype).max)
    if light is not None:
        lamp = np.empty(picture.shape, np.uint8)
        lamp.reshape(len(lamp), -1)[:] = np.tile(np.rint(light * 255).astype(np.uint8), picture.shape[1])
        picture = cv2.multiply(picture, lamp, dst=lamp, scale=1 / 255)
    cv2.multiply(part, drawn.clear[rows, columns], dst=part, scale=1 / one)
    cv2.add(part, picture, dst=part)
