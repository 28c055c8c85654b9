"""The rig's two cameras: they turn the painted street and its walkers into frames, quickly."""

import math
import random

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane
from aenet_ros.workbench.simulation import geometry
from aenet_ros.workbench.simulation.people import LEVELS, SPRITE_HEIGHT, WALKERS, Sprite, build_sprites
from aenet_ros.workbench.simulation.rig_config import RigConfig
from aenet_ros.workbench.simulation.scenes import Look, build_looks
from aenet_ros.workbench.simulation.smoke import Smoke
from aenet_ros.workbench.simulation.world import CELSIUS_AT_ZERO, CELSIUS_PER_COUNT, counts_of

_WEAK_CELSIUS = 5.0
_MARGIN = 64  # noise tiles are larger than a frame by this much: each frame takes another corner of them


class Renderer:
    """Renders frames of an instant; everything that does not change is made once, here."""

    def __init__(self, config: RigConfig) -> None:
        self.config = config
        self.scale = float(np.clip(max(config.rgb_width, config.thermal_width) / geometry.VIEW_WIDTH, 1.0, 2.0))
        self.looks = build_looks(self.scale, config.seed)
        self.counts = {
            name: np.round(counts_of(cv2.GaussianBlur(look.celsius, (0, 0), 0.8 * self.scale))).astype(np.uint16)
            for name, look in self.looks.items()
        }
        self.sprites = [build_sprites(walker) for walker in WALKERS]
        self.smoke = Smoke(config.seed)
        self._world_to_texel = np.array([[self.scale, 0, self.scale / 2 - 0.5], [0, self.scale, self.scale / 2 - 0.5], [0, 0, 1]])
        rng = np.random.default_rng(config.seed + 1)
        height, width = config.thermal_size
        sigma = config.noise_celsius / CELSIUS_PER_COUNT
        # Signed noise is kept as uint16 and added modulo 2^16: counts lie far from both ends, and numpy adds it in 0.03 ms.
        self._thermal_noise = _signed(rng.standard_normal((height + _MARGIN, width + _MARGIN)) * sigma)
        self._fixed = {0: self._columns(0)}
        self._dead = rng.choice(height * width, min(config.dead_pixels, height * width), replace=False)
        others = np.setdiff1d(np.arange(height * width), self._dead) if config.weak_pixels else np.empty(0, np.intp)
        dice = np.random.default_rng((config.seed, 4))
        self._weak = dice.choice(others, min(config.weak_pixels, len(others)), replace=False)
        self._rgb_noise = {name: self._grain(rng, look) for name, look in self.looks.items()}
        self._lens = self._lens_maps() if config.lens_k1 else None

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

    def marks(self, shutters: int) -> tuple[Array, Plane]:
        """Which pixels are dead or weak, bool [H, W], and the fixed pattern after so many shutter events, float32 [H, W] counts."""
        dead = np.zeros(self.config.thermal_size, bool)
        dead.flat[[*self._dead, *self._weak]] = True
        return dead, self._columns(shutters).view(np.int16).astype(np.float32)

    def celsius(self, seconds: float, scene: str) -> Plane:
        """What the thermal camera looks at, without noise: float32 [H, W] in degrees Celsius."""
        counts = self._counts(seconds, scene, None)
        return (counts.astype(np.float64) * CELSIUS_PER_COUNT + CELSIUS_AT_ZERO).astype(np.float32)

    def rgb(self, seconds: float, index: int, scene: str, scene_seconds: float, out: Array | None = None) -> Array:
        """The rgb camera's frame: uint8 [H, W, 3]."""
        look, size = self.looks[scene], self.config.rgb_size
        world_to_image = geometry.world_to_rgb(self.config, seconds)
        image_to_world = np.linalg.inv(world_to_image)
        frame = _warp(look.rgb, self._world_to_texel @ image_to_world, size, out)
        for walker, sprites in zip(WALKERS, self.sprites, strict=True):
            x, heading, phase = walker.at(seconds if self.config.walking else 0.0)
            light = look.light[_texel(look.light, x, walker.foot_y - 0.35 * walker.height, self.scale / 8)]
            sprite, matrix = self._place(sprites, x, walker.foot_y, walker.height, heading, phase, world_to_image)
            _draw_rgb(frame, sprite, matrix, light)
        if look.smoke:
            self.smoke.veil(frame, seconds, scene_seconds, image_to_world)
        more, less = self._rgb_noise[scene]
        dice = random.Random(f"{self.config.seed} rgb noise {index}")
        cv2.add(frame, _corner(more, size, dice), dst=frame)
        cv2.subtract(frame, _corner(less, size, dice), dst=frame)
        return frame

    def _counts(self, seconds: float, scene: str, out: Array | None) -> Array:
        size = self.config.thermal_size
        world_to_image = geometry.world_to_thermal(self.config, seconds)
        frame = _warp(self.counts[scene], self._world_to_texel @ np.linalg.inv(world_to_image), size, out)
        cooler = -3.0 if scene == "night" else 0.0  # cold air cools clothes
        for walker, sprites in zip(WALKERS, self.sprites, strict=True):
            x, heading, phase = walker.at(seconds if self.config.walking else 0.0)
            x += geometry.parallax(self.config, walker.foot_y)
            sprite, matrix = self._place(sprites, x, walker.foot_y, walker.height, heading, phase, world_to_image)
            _draw_heat(frame, sprite, matrix, cooler)
        if self._lens is not None:
            ideal = frame.copy() if out is not None else frame
            frame = cv2.remap(ideal, *self._lens, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REPLICATE)
        return frame

    def _place(
        self, sprites: dict[tuple[int, int, int], Sprite], x: float, foot_y: float, height: float, heading: int, phase: int, to_image: Array
    ) -> tuple[Sprite, Array]:
        """The picture of a body that suits its size in the image, and the map from its texels to pixels."""
        pixels = height * math.hypot(to_image[0, 0], to_image[1, 0])
        level = min(max(math.floor(math.log2(SPRITE_HEIGHT / max(pixels, 1.0)) + 0.3), 0), LEVELS - 1)
        sprite = sprites[level, heading, phase]
        return sprite, to_image @ geometry.sprite_to_world(x, foot_y, height, level, sprite.left)

    def _columns(self, shutters: int) -> Array:
        """The fixed pattern after so many shutter events: uint16 [H, W], to be added modulo 2^16."""
        rng = np.random.default_rng((self.config.seed, shutters))
        height, width = self.config.thermal_size
        sigma = self.config.column_celsius / CELSIUS_PER_COUNT
        return _signed(rng.standard_normal((1, width)) * sigma + rng.standard_normal((height, width)) * sigma / 4)

    def _grain(self, rng: np.random.Generator, look: Look) -> tuple[Array, Array]:
        """Noise of a scene as two tiles, one to be added and one to be taken off (each clips at its end of 0..255)."""
        height, width = self.config.rgb_size
        sigma = look.noise * self.config.rgb_noise * np.float32(1.22)  # of half-normal differences: each tile is clipped at 0
        tiles = (np.clip(rng.standard_normal((height + _MARGIN, width + _MARGIN, 3), np.float32) * sigma, 0, 255) for _ in range(2))
        more, less = (np.round(tile).astype(np.uint8) for tile in tiles)
        return more, less

    def _lens_maps(self) -> tuple[Array, Array]:
        height, width = self.config.thermal_size
        x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        ideal = geometry.unbend(self.config, np.column_stack([x.ravel(), y.ravel()])).astype(np.float32)
        first, second = cv2.convertMaps(ideal[:, 0].reshape(height, width), ideal[:, 1].reshape(height, width), cv2.CV_16SC2)
        return first, second


def _signed(values: Array) -> Array:
    return np.round(values).astype(np.int16).view(np.uint16)


def _corner(tile: Array, size: tuple[int, int], dice: random.Random) -> Array:
    row, column = dice.randrange(_MARGIN + 1), dice.randrange(_MARGIN + 1)
    return tile[row : row + size[0], column : column + size[1]]


def _texel(picture: Array, x: float, y: float, scale: float) -> tuple[int, int]:
    height, width = picture.shape[:2]
    return min(max(int(y * scale), 0), height - 1), min(max(int(x * scale), 0), width - 1)


def _warp(picture: Array, image_to_texel: Array, size: tuple[int, int], out: Array | None) -> Array:
    """The part of ``picture`` that an image of ``size`` (height, width) sees; an affine map costs half of a perspective one."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if _is_affine(image_to_texel):
        affine = image_to_texel[:2] / image_to_texel[2, 2]
        return cv2.warpAffine(picture, affine, size[::-1], dst=out, flags=flags, borderMode=cv2.BORDER_REFLECT)
    return cv2.warpPerspective(picture, image_to_texel, size[::-1], dst=out, flags=flags, borderMode=cv2.BORDER_REFLECT)


def _is_affine(matrix: Array) -> bool:
    return bool(abs(matrix[2, 0]) + abs(matrix[2, 1]) < 1e-12)


def _window(frame: Array, sprite: Sprite, matrix: Array) -> tuple[Array, Array, tuple[int, int]] | None:
    """The part of ``frame`` that a sprite covers, the map from texels into that part, and its size (width, height)."""
    height, width = sprite.heat.shape[:2]
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()  # plain numbers: numpy costs more on four points
    corners = [(x, y, g * x + h * y + i) for x, y in ((0, 0), (width, 0), (width, height), (0, height))]
    xs = [(a * x + b * y + c) / w for x, y, w in corners]
    ys = [(d * x + e * y + f) / w for x, y, w in corners]
    x0, y0 = max(math.floor(min(xs)) - 1, 0), max(math.floor(min(ys)) - 1, 0)
    x1, y1 = min(math.ceil(max(xs)) + 2, frame.shape[1]), min(math.ceil(max(ys)) + 2, frame.shape[0])
    if x1 <= x0 or y1 <= y0:
        return None
    return frame[y0:y1, x0:x1], geometry.shift(-x0, -y0) @ matrix, (x1 - x0, y1 - y0)


def _draw_rgb(frame: Array, sprite: Sprite, matrix: Array, light: Array) -> None:
    found = _window(frame, sprite, matrix)
    if found is None:
        return
    part, local, size = found
    rgba = cv2.warpAffine(sprite.rgba, local[:2], size)
    uncovered = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(rgba, 3)), cv2.COLOR_GRAY2RGB)
    # 3x4: drops the coverage, and dims the colour where it is dark.
    colour = cv2.transform(rgba, np.eye(3, 4) * np.minimum(light, 1.0)[:, None])
    cv2.add(cv2.multiply(part, uncovered, scale=1 / 255), colour, dst=part)


def _draw_heat(frame: Array, sprite: Sprite, matrix: Array, cooler: float) -> None:
    found = _window(frame, sprite, matrix)
    if found is None:
        return
    part, local, size = found
    warped = cv2.warpAffine(sprite.heat, local[:2], size) if _is_affine(local) else cv2.warpPerspective(sprite.heat, local, size)
    heat, cover = cv2.split(warped)  # counts times coverage, and coverage
    if cooler:
        cv2.scaleAdd(cover, cooler / CELSIUS_PER_COUNT, heat, dst=heat)
    np.subtract(np.float32(1), cover, out=cover)
    cv2.multiply(part, cover, dst=cover, dtype=cv2.CV_32F)
    cv2.add(cover, heat, dst=part, dtype=cv2.CV_16U)
