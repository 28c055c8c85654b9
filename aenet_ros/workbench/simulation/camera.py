"""The rig's two cameras: they turn the painted street and its people into frames, quickly."""

import itertools
import math
import random
from collections.abc import Iterator

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane
from aenet_ros.workbench.simulation import geometry
from aenet_ros.workbench.simulation.backdrop import Backdrop
from aenet_ros.workbench.simulation.people import PHASES, WALKERS, Sprite, Walker, sprite
from aenet_ros.workbench.simulation.rig_config import RigConfig
from aenet_ros.workbench.simulation.scenes import Look, build_looks
from aenet_ros.workbench.simulation.smoke import Smoke
from aenet_ros.workbench.simulation.street import CELSIUS_AT_ZERO, CELSIUS_PER_COUNT, counts_of

_WEAK_CELSIUS = 5.0
_MARGIN = 64  # noise tiles are larger than a frame by this much: each frame takes another corner of them


class Renderer:
    """Renders the frames of an instant. Backdrops, sprites and noise are rendered once; a frame puts them together."""

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
        self._backdrops: dict[tuple[str, str], Backdrop] = {}
        self._sprites: dict[tuple[str, Walker, int, int], Sprite] = {}
        self._smoke = Smoke(config)
        rng = np.random.default_rng(config.seed + 1)
        height, width = config.thermal_size
        sigma = config.noise_celsius / CELSIUS_PER_COUNT
        # Signed noise is kept as uint16 and added modulo 2^16: counts lie far from both ends, and numpy adds it in 0.03 ms.
        self._thermal_noise = _signed(rng.standard_normal((height + _MARGIN, width + _MARGIN)) * sigma)
        self._fixed = {0: self._columns(0)}
        self._dead = rng.choice(height * width, min(config.dead_pixels, height * width), replace=False)
        others = np.setdiff1d(np.arange(height * width), self._dead) if config.weak_pixels else np.empty(0, np.intp)
        self._weak = np.random.default_rng((config.seed, 4)).choice(others, min(config.weak_pixels, len(others)), replace=False)
        self._rgb_noise = {name: self._grain(rng, look) for name, look in self._looks.items() if name in config.scene_names}

    def prepare(self) -> None:
        """Render all that frames are made of now, not when the first one needs it."""
        for stream in self._at_rest:
            for scene in self.config.scene_names:
                self._backdrop(stream, scene).prepare()
            for walker, heading, phase in itertools.product(WALKERS, (1, -1), range(PHASES)):
                self._sprite(stream, walker, heading, phase)

    def thermal(self, seconds: float, index: int, scene: str, shutters: int, out: Array | None = None) -> Array:
        """The thermal camera's frame: uint16 [H, W] counts, with noise, fixed pattern and dead pixels."""
        frame = self._counts(seconds, scene, out)
        dice = random.Random(f"{self.config.seed} thermal noise {index}")
        frame += _corner(self._thermal_noise, self.config.thermal_size, dice)
        if shutters not in self._fixed:
            self._fixed = {shutters: self._columns(shutters)}
        frame += self._fixed[shutters]
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
        counts = self._counts(seconds, scene, None)
        return (counts.astype(np.float64) * CELSIUS_PER_COUNT + CELSIUS_AT_ZERO).astype(np.float32)

    def rgb(self, seconds: float, index: int, scene: str, scene_seconds: float, out: Array | None = None) -> Array:
        """The rgb camera's frame: uint8 [H, W, 3]."""
        look = self._looks[scene]
        frame = self._view("rgb", scene, seconds, out)
        for walker, x, drawn, corner in self._people("rgb", seconds):
            _draw_rgb(frame, drawn.picture, corner, look.light_at(x, walker.foot_y - 0.35 * walker.height, self._scale))
        if look.smoke:
            self._smoke.veil(frame, geometry.camera_motion(self.config, seconds), seconds, scene_seconds)
        dice = random.Random(f"{self.config.seed} rgb noise {index}")
        for combine, tile in zip((cv2.add, cv2.subtract), self._rgb_noise[scene], strict=True):
            combine(frame, _corner(tile, self.config.rgb_size, dice), dst=frame)
        return frame

    def _counts(self, seconds: float, scene: str, out: Array | None) -> Array:
        frame = self._view("thermal", scene, seconds, out if self._optics is None else None)
        cooler = -3.0 if scene == "night" else 0.0  # cold air cools clothes
        for _, _, drawn, corner in self._people("thermal", seconds):
            _draw_heat(frame, drawn.picture, corner, cooler)
        if self._optics is not None:
            frame = cv2.remap(frame, *self._optics, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REPLICATE)
        return frame

    def _people(self, stream: str, seconds: float) -> Iterator[tuple[Walker, float, Sprite, tuple[int, int]]]:
        """Each person, from far to near: position along the street, sprite, and the sprite's first column and row in the frame."""
        to_image = self._at_rest[stream] @ geometry.shift(*(-value for value in geometry.camera_motion(self.config, seconds)))
        for walker in WALKERS:
            x, heading, phase = walker.at(seconds if self.config.walking else 0.0)
            if stream == "thermal":
                x += geometry.parallax(self.config, walker.foot_y)
            drawn = self._sprite(stream, walker, heading, phase)
            column, row, _ = to_image @ (x, walker.foot_y, 1.0)
            yield walker, x, drawn, (round(column) + drawn.left, round(row) + drawn.top)

    def _sprite(self, stream: str, walker: Walker, heading: int, phase: int) -> Sprite:
        key = (stream, walker, heading, phase)
        if key not in self._sprites:
            self._sprites[key] = sprite(*key, self._at_rest[stream][:2, :2])
        return self._sprites[key]

    def _view(self, stream: str, scene: str, seconds: float, out: Array | None) -> Array:
        """The backdrop as a camera sees it at an instant, in ``out`` or in new memory."""
        x, y = self._at_rest[stream][:2, :2] @ geometry.camera_motion(self.config, seconds)
        return self._backdrop(stream, scene).view((float(x), float(y)), out)

    def _backdrop(self, stream: str, scene: str) -> Backdrop:
        if (stream, scene) not in self._backdrops:
            at_rest, look = self._at_rest[stream], self._looks[scene]
            height, width = self.config.thermal_size if stream == "thermal" else self.config.rgb_size
            border = 2 * self._border if stream == "thermal" else 0
            x, y = self.config.motion * np.abs(at_rest[:2, :2]) @ geometry.REACH
            world_to_texel = np.array([[self._scale, 0, self._scale / 2 - 0.5], [0, self._scale, self._scale / 2 - 0.5], [0, 0, 1]])
            if stream == "thermal":
                picture = np.round(counts_of(cv2.GaussianBlur(look.celsius, (0, 0), 0.8 * self._scale))).astype(np.uint16)
            else:
                picture = look.rgb
            to_texel = world_to_texel @ np.linalg.inv(at_rest)
            self._backdrops[stream, scene] = Backdrop(picture, to_texel, (height + border, width + border), (float(x), float(y)))
        return self._backdrops[stream, scene]

    def _columns(self, shutters: int) -> Array:
        """The fixed pattern after ``shutters`` shutter events: uint16 [H, W], to be added modulo 2^16."""
        rng = np.random.default_rng((self.config.seed, shutters))
        height, width = self.config.thermal_size
        sigma = self.config.column_celsius / CELSIUS_PER_COUNT
        return _signed(rng.standard_normal((1, width)) * sigma + rng.standard_normal((height, width)) * sigma / 4)

    def _grain(self, rng: np.random.Generator, look: Look) -> tuple[Array, Array]:
        """Noise of a scene as two tiles, one to be added and one to be subtracted (each clips at its end of 0..255)."""
        height, width = self.config.rgb_size
        sigma = look.noise * self.config.rgb_noise * np.float32(1.22)  # of half-normal differences: each tile is clipped at 0
        tiles = (np.clip(rng.standard_normal((height + _MARGIN, width + _MARGIN, 3), np.float32) * sigma, 0, 255) for _ in range(2))
        more, less = (np.round(tile).astype(np.uint8) for tile in tiles)
        return more, less

    def _optics_map(self) -> tuple[int, tuple[Array, Array]]:
        """Keystone and lens: the border in pixels that they need around a flat frame, and the maps for cv2.remap."""
        height, width = self.config.thermal_size
        x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        flat = geometry.flatten(self.config, np.column_stack([x.ravel(), y.ravel()]))
        outside = max(float(-flat.min()), float((flat - (width - 1, height - 1)).max()), 0.0)
        border = min(math.ceil(outside) + 1, width // 2)
        columns, rows = (flat + border).astype(np.float32).T.reshape(2, height, width)
        first, second = cv2.convertMaps(columns, rows, cv2.CV_16SC2)
        return border, (first, second)


def _signed(values: Array) -> Array:
    return np.round(values).astype(np.int16).view(np.uint16)


def _corner(tile: Array, size: tuple[int, int], dice: random.Random) -> Array:
    row, column = dice.randrange(_MARGIN + 1), dice.randrange(_MARGIN + 1)
    return tile[row : row + size[0], column : column + size[1]]


def _overlap(frame: Array, picture: Array, corner: tuple[int, int]) -> tuple[Array, Array]:
    """The parts of a frame and of a sprite at ``corner`` (column, row) that lie on each other; empty where they do not meet."""
    x, y = corner
    left, top = max(x, 0), max(y, 0)
    right, bottom = max(min(x + picture.shape[1], frame.shape[1]), left), max(min(y + picture.shape[0], frame.shape[0]), top)
    return frame[top:bottom, left:right], picture[top - y : bottom - y, left - x : right - x]


def _draw_rgb(frame: Array, picture: Array, corner: tuple[int, int], light: Array) -> None:
    part, rgba = _overlap(frame, picture, corner)
    if not part.size:
        return
    uncovered = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(rgba, 3)), cv2.COLOR_GRAY2RGB)
    colour = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    if light.min() < 1.0:
        colour = cv2.LUT(colour, np.outer(np.arange(256), np.minimum(light, 1.0)).astype(np.uint8)[None])
    cv2.add(cv2.multiply(part, uncovered, scale=1 / 255), colour, dst=part)


def _draw_heat(frame: Array, picture: Array, corner: tuple[int, int], cooler: float) -> None:
    part, warm = _overlap(frame, picture, corner)
    if not part.size:
        return
    heat, cover = cv2.split(warm)  # counts times coverage, and coverage
    if cooler:
        heat = cv2.scaleAdd(cover, cooler / CELSIUS_PER_COUNT, heat)
    np.subtract(np.float32(1), cover, out=cover)
    cv2.multiply(part, cover, dst=cover, dtype=cv2.CV_32F)
    cv2.add(cover, heat, dst=part, dtype=cv2.CV_16U)
