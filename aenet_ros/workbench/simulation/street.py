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

NONE: Colour = (0.0, 0.0, 0.0)
LIT: Colour = (0.81, 0.61, 0.31)
FRAME: Colour = (0.74, 0.72, 0.68)
METAL: Colour = (0.22, 0.24, 0.25)
GLASS: Colour = (0.20, 0.25, 0.30)
MARKING: Colour = (0.81, 0.80, 0.75)


def fractal(rng: np.random.Generator, height: int, width: int, coarsest: float, octaves: int, stretch: float = 1.0) -> Plane:
    """Fractal noise that tiles in both directions: float32 [height, width] of mean 0 and standard deviation 1.

    ``coarsest`` is the period of the coarsest octave in pixels; ``stretch`` lengthens it along x.
    """
    total = np.zeros((height, width), np.float32)
    pad = 3
    for octave in range(octaves):
        period = max(coarsest / 2**octave, 1.0)
        rows, columns = max(2, round(height / period)), max(2, round(width / period / stretch))
        grid = np.pad(rng.standard_normal((rows, columns)).astype(np.float32), pad, mode="wrap")
        scale = np.array([[columns / width, 0, pad + columns / width / 2 - 0.5], [0, rows / height, pad + rows / height / 2 - 0.5]])
        total += np.float32(0.55**octave) * cv2.warpAffine(grid, scale, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    return np.asarray((total - total.mean()) / max(float(total.std()), 1e-6), np.float32)


class Street:
    """The backdrop while it is painted: albedo, temperature by day and by night, and emitted light, all float32.

    ``rows`` [H, 1] and ``columns`` [1, W] are its coordinates in view units.
    """

    def __init__(self, scale: float, rng: np.random.Generator) -> None:
        self.scale, self.rng = scale, rng
        height, width = round(HEIGHT * scale), round(WIDTH * scale)
        self.shape = (height, width)
        self.rows = np.arange(height, dtype=np.float32)[:, None] / np.float32(scale)
        self.columns = np.arange(width, dtype=np.float32)[None] / np.float32(scale)
        self._layers = np.zeros((height, width, 8), np.float32)
        self.albedo, self.day, self.night = self._layers[..., :3], self._layers[..., 3], self._layers[..., 4]
        self.glow = self._layers[..., 5:]
        self.fine = fractal(rng, height, width, max(2.0, 6 * scale), 3)
        self.coarse = fractal(rng, height, width, 90 * scale, 6)

    def paint(
        self,
        points: Array | Sequence[tuple[float, float]],
        colour: Colour,
        day: float,
        night: float,
        *,
        grain: float = 0.03,
        mottle: float = 0.04,
        glow: Colour = NONE,
    ) -> None:
        """Paint a textured surface over the polygon ``points``; what lies outside the backdrop is left out."""
        corners = np.asarray(points, np.float64) * self.scale
        x0, y0 = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
        x1, y1 = np.minimum(np.ceil(corners.max(0)).astype(int) + 2, self.shape[::-1])
        if x1 <= x0 or y1 <= y0:
            return
        box = slice(y0, y1), slice(x0, x1)
        cover = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(cover, [np.round((corners - (x0, y0)) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        relief = (grain * self.fine[box] + mottle * self.coarse[box])[..., None]
        surface = np.array([*colour, day, night, *glow], np.float32) + relief * np.array([*colour, 8, 4.8, *NONE], np.float32)
        self._layers[box] += (surface - self._layers[box]) * (cover / np.float32(255))[..., None]

    def box(self, x: float, y: float, width: float, height: float, colour: Colour, day: float, night: float, **look: object) -> None:
        """``paint`` for an upright rectangle."""
        self.paint([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], colour, day, night, **look)  # type: ignore[arg-type]

    def spot(self, x: float, y: float, width: float, height: float) -> Plane:
        """A soft ellipse, 1 in the middle: float32 [H, W]."""
        return np.asarray(np.exp(-(((self.columns - x) / width) ** 2) - ((self.rows - y) / height) ** 2), np.float32)

    def shadow(self, x: float, y: float, width: float, height: float) -> None:
        """Darken a soft ellipse on the ground."""
        dark = self.spot(x, y, width, height)
        self.albedo *= 1 - 0.55 * dark[..., None]
        self.day -= 1.5 * dark


def paint_street(street: Street) -> None:
    """Paint everything, from far to near."""
    _sky(street)
    _house(street, 20, 96, 250, (0.52, 0.30, 0.23), bricks=True, columns=4, floors=4)
    _house(street, 268, 170, 170, (0.62, 0.57, 0.47), bricks=False, columns=3, floors=3)
    _warehouse(street, 680, 150, 270)
    _house(street, 948, 70, 240, (0.46, 0.42, 0.40), bricks=True, columns=4, floors=5)
    for trunk, size in ((470, 92), (548, 120), (640, 100)):
        _tree(street, trunk, 350, size)
    _ground(street)
    for x in LAMPS:
        street.box(x - 1.8, 186, 3.6, KERB - 188, METAL, 19, 10)
        street.box(x - 14, 183, 28, 4, METAL, 19, 12)
        for side in (-21, 7):
            street.box(x + side, 186, 14, 5, (0.80, 0.80, 0.76), 19, 44, glow=(1.0, 0.86, 0.58))
    _car(street, 150, 428, (0.16, 0.26, 0.46), warm=True)
    _car(street, 860, 432, (0.55, 0.12, 0.10), warm=False)
    x, foot = BIN
    street.shadow(x, foot, 22, 5)
    street.paint([(x - 12, foot), (x + 12, foot), (x + 14, foot - 34), (x - 14, foot - 34)], (0.20, 0.25, 0.22), 20, 11)
    street.box(x - 15, foot - 38, 30, 5, (0.14, 0.17, 0.16), 20.5, 11)


def _sky(street: Street) -> None:
    up = np.clip(1 - street.rows / 330, 0, 1)
    clouds = 0.03 * (fractal(street.rng, *street.shape, 24 * street.scale, 4, stretch=6.0) + street.coarse)
    street.albedo[:] = (0.80, 0.85, 0.90) - up[..., None] * (0.42, 0.28, 0.10) + clouds[..., None]
    street.day[:] = 11 - 6 * up + 10 * clouds
    street.night[:] = 5 - 5 * up + 5 * clouds
    xs = np.linspace(0, WIDTH, 60)
    hills = np.column_stack([xs, 285 + 14 * np.sin(xs / 90) + 7 * np.sin(xs / 37)])
    street.paint([(0, 400), *hills, (WIDTH, 400)], (0.33, 0.41, 0.36), 15, 7.5)


def _house(street: Street, x: float, y: float, width: float, colour: Colour, *, bricks: bool, columns: int, floors: int) -> None:
    height = WALL_FOOT - y
    street.box(x, y, width, height, colour, 21, 12.5, mottle=0.05)
    joint = (0.59, 0.48, 0.42)
    for index, top in enumerate(np.arange(y + 4, WALL_FOOT, 7.0) if bricks else ()):
        street.box(x, top, width, 1, joint, 20.6, 12.2)
        for left in np.arange(x + 7 * (index % 2), x + width - 1, 14.0):
            street.box(left, top, 0.9, 7, joint, 20.7, 12.3)
    street.box(x - 5, y - 7, width + 10, 9, (0.30, 0.28, 0.27), 23, 10)
    cell, floor = width / columns, (height - 14) / floors
    for row in range(floors):
        for column in range(columns):
            left, top, wide = x + cell * (column + 0.24), y + 12 + floor * (row + 0.14), cell * 0.52
            if row == floors - 1 and column == columns // 2:
                street.box(left, top, wide, floor * 0.86, (0.20, 0.30, 0.26), 20, 15.5)  # a door
                continue
            tall = floor * 0.58
            lit, leak = street.rng.random() < 0.22, float(street.rng.uniform(-1.0, 1.5))
            street.box(left - 2.5, top - 2.5, wide + 5, tall + 5, FRAME, 19.5, 13.5)
            street.box(left, top, wide, tall, GLASS, 16.5 + leak, 16 + leak + 2.5 * lit, mottle=0.08, glow=LIT if lit else NONE)
            street.box(left + wide / 2 - 1, top, 2, tall, FRAME, 19, 14)
            street.box(left, top + tall * 0.45, wide, 2, FRAME, 19, 14)


def _warehouse(street: Street, x: float, y: float, width: float) -> None:
    height = WALL_FOOT - y
    street.box(x, y, width, height, (0.56, 0.58, 0.58), 22, 11)
    for left in np.arange(x, x + width, 9.0):
        street.box(left, y, 2.2, height, (0.47, 0.49, 0.50), 21.3, 10.5)
    street.paint([(x - 6, y), (x + width + 6, y), (x + width - 8, y - 22), (x + 8, y - 22)], (0.36, 0.38, 0.40), 25, 8.5)
    street.box(x + 24, y + 96, 92, height - 96, (0.36, 0.42, 0.46), 20, 13)
    street.box(x + 200, y + 130, 44, height - 130, (0.30, 0.22, 0.18), 19.5, 14.5)
    street.box(x + 140, y + 34, 112, 30, (0.86, 0.80, 0.62), 20.5, 12)
    street.box(x + 146, y + 40, 100, 18, (0.70, 0.20, 0.14), 20.5, 12)
    for left in (150, 190, 230):  # outlets blow warm air
        street.box(x + left, y + 92, 20, 14, METAL, 31, 27)


def _tree(street: Street, x: float, foot: float, size: float) -> None:
    street.box(x - 3, foot - size * 0.6, 6, size * 0.6, (0.27, 0.21, 0.16), 16.5, 9.5, grain=0.1)
    turn = np.linspace(0, 2 * np.pi, 9)[:-1]
    for _ in range(150):
        angle, reach = street.rng.uniform(0, 2 * np.pi), size * 0.42 * np.sqrt(street.rng.uniform())
        middle = np.array([x + reach * np.cos(angle), foot - size * 0.78 + reach * 0.85 * np.sin(angle)])
        radius = size * street.rng.uniform(0.05, 0.10) * street.rng.uniform(0.6, 1.15, 8)
        tone = float(np.clip(0.75 + 0.35 * (foot - size * 0.55 - middle[1]) / size + street.rng.normal(0, 0.12), 0.4, 1.5))
        leaf = middle + np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])
        street.paint(leaf, (0.21 * tone, 0.33 * tone, 0.14 * tone), 15 + 1.6 * tone, 8 + 0.8 * tone, grain=0.12)


def _ground(street: Street) -> None:
    street.box(0, WALL_FOOT, WIDTH, KERB - WALL_FOOT, (0.55, 0.53, 0.50), 20.5, 11.5, grain=0.05)
    for left in np.arange(-200, WIDTH + 200, 46.0):  # slabs converge towards the middle of the backdrop
        far = left + (WIDTH / 2 - left) * 0.12
        street.paint([(far, WALL_FOOT), (far + 1.2, WALL_FOOT), (left + 1.8, KERB), (left, KERB)], (0.42, 0.40, 0.38), 20, 11)
    street.box(0, KERB, WIDTH, 6, (0.66, 0.65, 0.62), 21, 10.8)
    street.box(0, KERB + 6, WIDTH, HEIGHT - KERB, (0.30, 0.30, 0.31), 20.5, 13, grain=0.05, mottle=0.05)
    for left in (-60.0, 90.0, 240.0, 540.0, 690.0, 840.0, 990.0, 1140.0):
        lean = (left - WIDTH / 2) * 0.035
        street.paint([(left, 498), (left + 78, 498), (left + 80 + lean, 507), (left + lean - 2, 507)], MARKING, 19.8, 12, grain=0.08)
    for left in np.arange(395, 520, 25.0):  # zebra crossing
        foot = left + (left - WIDTH / 2) * 0.55
        street.paint([(left, 406), (left + 13, 406), (foot + 24, 660), (foot - 6, 660)], MARKING, 20.3, 12.2, grain=0.10)
    nearness = np.clip((street.rows - KERB) / 250, 0, 1)
    street.albedo *= 1 - 0.16 * nearness[..., None]
    street.day += 0.9 * nearness


def _car(street: Street, x: float, foot: float, colour: Colour, *, warm: bool) -> None:
    """A parked car, seen from its side; ``warm``: just arrived, so bonnet and wheels are hot."""
    street.shadow(x + 78, foot - 1, 88, 9)
    bonnet, wheel = (36.0, 31.0) if warm else (20.0, 9.5)
    body = [(0, 12), (2, 32), (14, 36), (34, 39), (54, 58), (104, 59), (124, 40), (150, 35), (156, 24), (156, 12)]
    for points, shade, day, night in (
        (body, colour, 21, 9.5),
        ([(0, 12), (1, 22), (156, 22), (156, 12)], (colour[0] * 0.62, colour[1] * 0.62, colour[2] * 0.62), 20.5, 10),
        ([(2, 30), (14, 35), (34, 38), (38, 24), (4, 23)], colour, bonnet, bonnet - 6 if warm else 9.3),
        ([(40, 40), (56, 55), (77, 55), (77, 40)], GLASS, 16.5, 7.5),
        ([(81, 40), (81, 55), (102, 55), (118, 40)], GLASS, 16.5, 7.5),
        ([(1, 26), (2, 31), (10, 32), (10, 27)], (0.90, 0.88, 0.80), 20, 10),
        ([(149, 27), (149, 33), (155, 32), (155, 26)], (0.62, 0.08, 0.06), 20, 10),
    ):
        street.paint(np.array(points) * (1, -1) + (x, foot), shade, day, night, grain=0.01)
    turn = np.linspace(0, 2 * np.pi, 32)
    circle = np.column_stack([np.cos(turn), np.sin(turn)])
    for centre in (x + 32, x + 124):
        for radius, grey, day in ((15.5, 0.06, wheel - 4), (9.5, 0.57, wheel), (3.0, 0.2, wheel + 2)):
            street.paint(radius * circle + (centre, foot - 13), (grey, grey, grey), day, day - 3 if warm else 9.0)
