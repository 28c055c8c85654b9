"""The rig's street: a wide backdrop of houses, trees, cars and lamps, painted in colour and in temperature.

Coordinates are view units: the rgb camera at rest sees 640 x 512 of the backdrop's ``WIDTH`` x ``HEIGHT``. Colours are 0..1; the two
temperatures that follow a colour are by day and by night, in degrees Celsius.
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

    ``coarsest`` is the period of the coarsest octave in pixels; ``stretch`` lengthens it along x.
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
    """The backdrop while it is painted: albedo, temperature by day and by night, and emitted light."""

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
        """Paint a textured surface over the polygon ``points`` (view units)."""
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


LIT: Colour = (0.95, 0.72, 0.36)


def paint_street(street: Street) -> None:
    """Paint everything, from far to near."""
    _sky(street)
    _hills(street)
    _house(street, 20, 96, 250, (0.52, 0.30, 0.23), bricks=True, columns=4, floors=4)
    _house(street, 268, 170, 170, (0.62, 0.57, 0.47), bricks=False, columns=3, floors=3)
    _warehouse(street, 680, 150, 270)
    _house(street, 948, 70, 240, (0.46, 0.42, 0.40), bricks=True, columns=4, floors=5)
    for trunk, foot, size in ((470, 350, 92), (548, 349, 120), (640, 352, 100)):
        _tree(street, trunk, foot, size)
    _ground(street)
    for x in LAMPS:
        _lamp(street, x)
    _car(street, 150, 428, 1.0, (0.16, 0.26, 0.46), warm=True)
    _car(street, 860, 432, 1.06, (0.55, 0.12, 0.10), warm=False)
    _bin(street)


def _sky(street: Street) -> None:
    rows, _ = street.grid()
    up = np.clip(1 - rows / 330, 0, 1)
    clouds = np.clip(street.streaks * 0.5 + street.coarse * 0.5, -1, 2) * 0.06
    base = np.array([0.80, 0.85, 0.90], np.float32) - up[..., None] * np.array([0.42, 0.28, 0.10], np.float32)
    street.albedo[:] = base + clouds[..., None]
    street.day[:] = 11 - 6 * up + 10 * clouds
    street.night[:] = 5 - 5 * up + 5 * clouds


def _hills(street: Street) -> None:
    for ridge, colour, day, night in ((262.0, (0.50, 0.57, 0.62), 13.0, 6.5), (288.0, (0.33, 0.41, 0.36), 15.0, 7.5)):
        xs = np.linspace(0, WIDTH, 60)
        ys = ridge + 14 * np.sin(xs / 90 + ridge) + 7 * np.sin(xs / 37)
        outline = list(zip(xs.tolist(), ys.tolist(), strict=True))
        street.paint([(0.0, 400.0), *outline, (float(WIDTH), 400.0)], colour, day, night)


def _house(street: Street, x: float, y: float, width: float, colour: Colour, *, bricks: bool, columns: int, floors: int) -> None:
    height = WALL_FOOT - y
    street.box(x, y, width, height, colour, 21.0, 12.5, mottle=0.05)
    if bricks:
        _courses(street, x, y, width, height)
    street.box(x - 5, y - 7, width + 10, 9, (0.30, 0.28, 0.27), 23.0, 10.0)
    cell, floor = width / columns, (height - 14) / floors
    for row in range(floors):
        for column in range(columns):
            left, top = x + column * cell + cell * 0.24, y + 12 + row * floor + floor * 0.14
            door = row == floors - 1 and column == columns // 2
            wide, tall = cell * 0.52, (floor * 0.86 if door else floor * 0.58)
            street.box(left - 2.5, top - 2.5, wide + 5, tall + 5, (0.74, 0.72, 0.68), 19.5, 13.5)
            if door:
                street.box(left, top, wide, tall, (0.20, 0.30, 0.26), 20.0, 15.5)
                continue
            lit = street.rng.random() < 0.22
            leak = float(street.rng.uniform(-1.0, 1.5))
            glow: Colour | None = (LIT[0] * 0.85, LIT[1] * 0.85, LIT[2] * 0.85) if lit else None
            street.box(left, top, wide, tall, (0.24, 0.30, 0.36), 16.5 + leak, 16.0 + leak + 2.5 * lit, grain=0.0, mottle=0.08, glow=glow)
            street.box(left + wide / 2 - 1, top, 2, tall, (0.74, 0.72, 0.68), 19.0, 14.0)
            street.box(left, top + tall * 0.45, wide, 2, (0.74, 0.72, 0.68), 19.0, 14.0)


def _courses(street: Street, x: float, y: float, width: float, height: float) -> None:
    """Brick joints: thin lighter rows, and shorter vertical ones that alternate."""
    for index, top in enumerate(np.arange(y + 4, y + height, 7.0)):
        street.box(x, top, width, 1.0, (0.60, 0.50, 0.44), 20.6, 12.2)
        for left in np.arange(x + (7 if index % 2 else 0), x + width - 1, 14.0):
            street.box(left, top, 0.9, 7.0, (0.57, 0.46, 0.40), 20.7, 12.3)


def _warehouse(street: Street, x: float, y: float, width: float) -> None:
    height = WALL_FOOT - y
    street.box(x, y, width, height, (0.56, 0.58, 0.58), 22.0, 11.0)
    for left in np.arange(x, x + width, 9.0):
        street.box(left, y, 2.2, height, (0.47, 0.49, 0.50), 21.3, 10.5)
    street.paint([(x - 6, y), (x + width + 6, y), (x + width - 8, y - 22), (x + 8, y - 22)], (0.36, 0.38, 0.40), 25.0, 8.5)
    street.box(x + 24, y + 96, 92, height - 96, (0.36, 0.42, 0.46), 20.0, 13.0)
    for top in np.arange(y + 99, WALL_FOOT, 7.0):
        street.box(x + 24, top, 92, 1.6, (0.26, 0.31, 0.35), 19.4, 12.4)
    street.box(x + 140, y + 34, 112, 30, (0.86, 0.80, 0.62), 20.5, 12.0)
    street.box(x + 146, y + 40, 100, 18, (0.70, 0.20, 0.14), 20.5, 12.0)
    for left in (150, 190, 230):  # extractor outlets blow warm air
        street.box(x + left, y + 92, 20, 14, (0.22, 0.24, 0.25), 31.0, 27.0)
    street.box(x + 200, y + 130, 44, height - 130, (0.30, 0.22, 0.18), 19.5, 14.5)


def _tree(street: Street, x: float, foot: float, size: float) -> None:
    street.paint(
        [(x - 4, foot), (x + 4, foot), (x + 2.5, foot - size * 0.6), (x - 2.5, foot - size * 0.6)], (0.27, 0.21, 0.16), 16.5, 9.5, grain=0.1
    )
    for _ in range(150):
        angle, reach = street.rng.uniform(0, 2 * np.pi), size * 0.42 * np.sqrt(street.rng.uniform())
        cx, cy = x + reach * np.cos(angle), foot - size * 0.78 + reach * 0.85 * np.sin(angle)
        radius = street.rng.uniform(0.05, 0.10) * size
        turn = np.linspace(0, 2 * np.pi, 9)[:-1] + angle
        spread = radius * street.rng.uniform(0.6, 1.15, 8)
        leaf = list(zip((cx + spread * np.cos(turn)).tolist(), (cy + spread * np.sin(turn)).tolist(), strict=True))
        tone = float(np.clip(0.75 + 0.35 * (foot - size * 0.55 - cy) / size + street.rng.normal(0, 0.12), 0.4, 1.5))
        street.paint(leaf, (0.21 * tone, 0.33 * tone, 0.14 * tone), 15.0 + 1.6 * tone, 8.0 + 0.8 * tone, grain=0.12)


def _ground(street: Street) -> None:
    width = float(WIDTH)
    street.box(0, WALL_FOOT, width, KERB - WALL_FOOT, (0.55, 0.53, 0.50), 20.5, 11.5, grain=0.05)
    for left in np.arange(-200, width + 200, 46.0):  # slabs converge towards the middle of the backdrop
        far, near = left + (width / 2 - left) * 0.10, left - (width / 2 - left) * 0.02
        street.paint([(far, WALL_FOOT), (far + 1.2, WALL_FOOT), (near + 1.8, KERB), (near, KERB)], (0.42, 0.40, 0.38), 20.0, 11.0)
    street.box(0, KERB, width, 6, (0.66, 0.65, 0.62), 21.0, 10.8)
    street.box(0, KERB + 6, width, 5, (0.34, 0.33, 0.32), 20.0, 11.0)
    street.box(0, KERB + 11, width, HEIGHT - KERB, (0.30, 0.30, 0.31), 20.5, 13.0, grain=0.05, mottle=0.05)
    for left in (-60.0, 90.0, 240.0, 540.0, 690.0, 840.0, 990.0, 1140.0):
        slope = (left - width / 2) * 0.035
        street.paint(
            [(left, 498), (left + 78, 498), (left + 80 + slope, 507), (left + slope - 2, 507)], (0.82, 0.81, 0.76), 19.8, 12.0, grain=0.08
        )
    for index, left in enumerate(np.arange(395, 520, 25.0)):  # zebra crossing
        slope = (left - width / 2) * 0.55
        street.paint(
            [(left, KERB + 14), (left + 13, KERB + 14), (left + 24 + slope, 660), (left - 6 + slope, 660)],
            (0.80, 0.79, 0.75),
            20.1 + 0.1 * index,
            12.2,
            grain=0.10,
        )
    street.paint([(250, 560), (330, 552), (360, 566), (300, 575)], (0.20, 0.20, 0.21), 21.6, 13.6)  # a patch in the asphalt
    rows, _ = street.grid()
    street.albedo *= (1 - 0.16 * np.clip((rows - 470) / 190, 0, 1))[..., None].astype(np.float32)
    street.day += (0.9 * np.clip((rows - KERB) / 250, 0, 1)).astype(np.float32)


def _lamp(street: Street, x: float) -> None:
    street.box(x - 1.8, 186, 3.6, KERB - 188, (0.22, 0.24, 0.25), 19.0, 10.0)
    street.box(x - 14, 183, 28, 4, (0.22, 0.24, 0.25), 19.0, 12.0)
    for side in (-1, 1):
        head = x + side * 14
        street.paint(
            [(head - 7, 186), (head + 7, 186), (head + 4, 191), (head - 4, 191)], (0.80, 0.80, 0.76), 19.0, 44.0, glow=(1.0, 0.86, 0.58)
        )


def _car(street: Street, x: float, foot: float, size: float, colour: Colour, *, warm: bool) -> None:
    """A parked car, seen from its side; ``warm``: just arrived, so bonnet and wheels are hot."""

    def at(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x + px * size, foot - py * size) for px, py in points]

    street.shadow(x + 78 * size, foot - 1, 88 * size, 9, 0.6)
    dark = (colour[0] * 0.62, colour[1] * 0.62, colour[2] * 0.62)
    bonnet, wheel = (36.0, 31.0) if warm else (20.0, 9.5)
    body = [(0, 12), (2, 32), (14, 36), (34, 39), (54, 58), (104, 59), (124, 40), (150, 35), (156, 24), (156, 12)]
    street.paint(at(body), colour, 21.0, 9.5, grain=0.01, mottle=0.02)
    street.paint(at([(0, 12), (1, 22), (156, 22), (156, 12)]), dark, 20.5, 10.0, grain=0.01)
    street.paint(at([(2, 30), (14, 35), (34, 38), (38, 24), (4, 23)]), colour, bonnet, bonnet - 6 if warm else 9.3, grain=0.02)
    street.paint(at([(40, 40), (56, 55), (77, 55), (77, 40)]), (0.17, 0.21, 0.25), 16.5, 7.5, mottle=0.06)
    street.paint(at([(81, 40), (81, 55), (102, 55), (118, 40)]), (0.17, 0.21, 0.25), 16.5, 7.5, mottle=0.06)
    street.paint(at([(77.5, 22), (77.5, 40), (79, 40), (79, 22)]), dark, 20.0, 9.0)
    street.paint(at([(1, 26), (2, 31), (10, 32), (10, 27)]), (0.90, 0.88, 0.80), 20.0, 10.0)
    street.paint(at([(149, 27), (149, 33), (155, 32), (155, 26)]), (0.62, 0.08, 0.06), 20.0, 10.0)
    turn = np.linspace(0, 2 * np.pi, 32)
    for centre in (32, 124):
        for radius, shade, temperature in (
            (15.5, (0.06, 0.06, 0.07), wheel - 4),
            (9.5, (0.56, 0.57, 0.58), wheel),
            (3.0, (0.2, 0.2, 0.2), wheel + 2),
        ):
            rim = [(centre + radius * np.cos(a), 13 + radius * np.sin(a)) for a in turn]
            street.paint(at(rim), shade, temperature, temperature - 3 if warm else 9.0)


def _bin(street: Street) -> None:
    x, foot = BIN
    street.shadow(x, foot, 22, 5, 0.5)
    street.paint([(x - 12, foot), (x + 12, foot), (x + 14, foot - 34), (x - 14, foot - 34)], (0.20, 0.25, 0.22), 20.0, 11.0)
    street.paint([(x - 15, foot - 33), (x + 15, foot - 33), (x + 14, foot - 38), (x - 14, foot - 38)], (0.14, 0.17, 0.16), 20.5, 11.0)
