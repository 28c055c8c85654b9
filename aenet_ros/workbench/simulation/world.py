"""The canvas that the rig's world is painted on: textures of colour, of temperature and of light.

Coordinates are view units: the rgb camera at rest sees 640 x 512 of them. The street is a wide backdrop
(``WIDTH`` x ``HEIGHT`` units) over which the cameras pan; ``street.py`` paints it, what moves is in ``bodies.py``.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane

WIDTH, HEIGHT = 1180, 660
HORIZON, WALL_FOOT, KERB = 305.0, 352.0, 392.0
LAMPS = (300.0, 640.0, 1010.0)
BIN = (735.0, 448.0)  # the smouldering bin that the smoke comes from

CELSIUS_PER_COUNT, CELSIUS_AT_ZERO = 0.01, -273.15  # thermal counts are hundredths of a kelvin

Colour = tuple[float, float, float]


def fractal(rng: np.random.Generator, height: int, width: int, coarsest: int, octaves: int, stretch: float = 1.0) -> Plane:
    """Fractal noise that tiles in both directions: float32 [height, width] of mean 0 and standard deviation 1.

    ``coarsest`` is the period of the coarsest octave in pixels; ``stretch`` draws it out sideways.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        period = max(coarsest / 2**octave, 1.0)
        rows, columns = max(2, round(height / period)), max(2, round(width / period / stretch))
        grid = rng.standard_normal((rows, columns)).astype(np.float32)
        pad = 3
        wrapped = np.pad(grid, pad, mode="wrap")
        y = (np.arange(height, dtype=np.float32) + 0.5) * rows / height - 0.5 + pad
        x = (np.arange(width, dtype=np.float32) + 0.5) * columns / width - 0.5 + pad
        map_x, map_y = np.meshgrid(x, y)
        total += cv2.remap(wrapped, map_x, map_y, cv2.INTER_CUBIC) * np.float32(0.55**octave)
    return np.asarray((total - total.mean()) / max(float(total.std()), 1e-6), np.float32)


def counts_of(celsius: Array | float) -> Array:
    """Thermal counts, not yet rounded, of temperatures in degrees Celsius: float64."""
    return np.asarray((np.asarray(celsius, np.float64) - CELSIUS_AT_ZERO) / CELSIUS_PER_COUNT)


class Street:
    """The backdrop while it is painted: albedo, temperature by day and by night, and light that shines by itself."""

    def __init__(self, scale: float, rng: np.random.Generator) -> None:
        self.scale, self.rng = scale, rng
        self.shape = (round(HEIGHT * scale), round(WIDTH * scale))
        height, width = self.shape
        self.albedo = np.zeros((height, width, 3), np.float32)
        self.day = np.zeros((height, width), np.float32)
        self.night = np.zeros((height, width), np.float32)
        self.glow = np.zeros((height, width, 3), np.float32)
        self.fine = fractal(rng, height, width, max(2, round(6 * scale)), 3)
        self.coarse = fractal(rng, height, width, round(90 * scale), 6)
        self.streaks = fractal(rng, height, width, round(24 * scale), 4, stretch=6.0)

    def mask(self, points: Sequence[tuple[float, float]]) -> tuple[slice, slice, Plane] | None:
        """A polygon's box and its coverage 0..1 inside that box; None where it lies outside the backdrop."""
        height, width = self.shape
        corners = np.asarray(points, np.float64) * self.scale
        x0, y0 = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
        x1, y1 = np.minimum(np.ceil(corners.max(0)).astype(int) + 2, (width, height))
        if x1 <= x0 or y1 <= y0:
            return None
        cover = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(cover, [np.round((corners - (x0, y0)) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        return slice(y0, y1), slice(x0, x1), cover.astype(np.float32) / np.float32(255)

    def paint(
        self,
        points: Sequence[tuple[float, float]],
        colour: Colour,
        day: float,
        night: float,
        *,
        grain: float = 0.03,
        mottle: float = 0.04,
        glow: Colour | None = None,
    ) -> None:
        """Lay a textured surface over the polygon ``points`` (view units); temperatures in degrees Celsius."""
        found = self.mask(points)
        if found is None:
            return
        rows, columns, cover = found
        relief = grain * self.fine[rows, columns] + mottle * self.coarse[rows, columns]
        shade = np.asarray(colour, np.float32) * (1 + relief)[..., None]
        warmth = 8 * relief
        _lay(self.albedo[rows, columns], shade, cover[..., None])
        _lay(self.day[rows, columns], day + warmth, cover)
        _lay(self.night[rows, columns], night + 0.6 * warmth, cover)
        _lay(self.glow[rows, columns], np.asarray(glow or (0, 0, 0), np.float32), cover[..., None])

    def box(self, x: float, y: float, width: float, height: float, colour: Colour, day: float, night: float, **look: object) -> None:
        """``paint`` for an upright rectangle."""
        self.paint([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], colour, day, night, **look)  # type: ignore[arg-type]

    def shadow(self, x: float, y: float, width: float, height: float, depth: float = 0.5) -> None:
        """Darken a soft ellipse on the ground."""
        rows, columns = self.grid()
        dark = np.exp(-(((columns - x) / width) ** 2) - ((rows - y) / height) ** 2)
        self.albedo *= (1 - depth * dark)[..., None].astype(np.float32)
        self.day -= (1.5 * dark).astype(np.float32)

    def grid(self) -> tuple[Plane, Plane]:
        """Rows and columns in view units, to broadcast: float32 [H, 1] and [1, W]."""
        rows, columns = (np.arange(size, dtype=np.float32) / np.float32(self.scale) for size in self.shape)
        return rows[:, None], columns[None, :]


def _lay(base: Array, top: Array, cover: Array) -> None:
    base += (top - base) * cover
