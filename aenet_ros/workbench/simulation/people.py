"""The rig's people: they walk along the street, and are drawn in colour and in temperature."""

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane
from aenet_ros.workbench.simulation import geometry
from aenet_ros.workbench.simulation.street import CELSIUS_AT_ZERO, CELSIUS_PER_COUNT, HORIZON, Colour

FIGURE_HEIGHT, FIGURE_WIDTH = 256, 160  # texels; a person fills the height
PHASES = 12  # pictures of one stride


class Walker(NamedTuple):
    """One person: clothes, and a walk to and fro between two places at one depth.

    ``foot_y`` is the height of the feet on the backdrop: the lower, the nearer, the larger and the faster.
    """

    jacket: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    foot_y: float
    left: float
    right: float
    start: float
    speed: float

    @property
    def height(self) -> float:
        """Height in view units: the camera is carried at 0.75 of a person's height."""
        return (self.foot_y - HORIZON) * 1.34

    def at(self, seconds: float) -> tuple[float, int, int]:
        """Position of the feet along the street, direction (1 right, -1 left) and phase of the stride."""
        span = self.right - self.left
        walked = (self.start - self.left) + self.speed * self.height * seconds
        turn = walked % (2 * span)
        x, heading = (self.left + turn, 1) if turn < span else (self.right - (turn - span), -1)
        stride = walked / (0.78 * self.height)
        return x, heading, int(stride * PHASES) % PHASES

    def outline(self, x: float) -> Array:
        """The four corners in the world of the person with the feet at ``x``: float64 [4, 2]."""
        half, top = self.height * FIGURE_WIDTH / FIGURE_HEIGHT / 2, self.foot_y - self.height
        return np.array([(x - half, top), (x + half, top), (x + half, self.foot_y), (x - half, self.foot_y)])


WALKERS = (
    Walker((0.16, 0.30, 0.24), (0.20, 0.22, 0.28), (0.82, 0.62, 0.50), (0.15, 0.10, 0.07), 374, 330, 800, 620, 0.62),
    Walker((0.30, 0.32, 0.36), (0.14, 0.14, 0.16), (0.55, 0.38, 0.28), (0.06, 0.05, 0.05), 384, 200, 860, 390, -0.55),
    Walker((0.72, 0.52, 0.14), (0.26, 0.31, 0.42), (0.86, 0.68, 0.56), (0.45, 0.30, 0.14), 421, 380, 830, 560, 0.60),
    Walker((0.50, 0.14, 0.18), (0.12, 0.14, 0.22), (0.66, 0.46, 0.35), (0.08, 0.06, 0.05), 447, 250, 720, 500, -0.50),
    Walker((0.13, 0.20, 0.34), (0.34, 0.30, 0.25), (0.84, 0.65, 0.53), (0.28, 0.18, 0.10), 497, 420, 1000, 760, -0.45),
)


class Limb(NamedTuple):
    """A stroke through ``points`` (x + yj, y downwards), ``widths`` from point to point; all in shares of the person's height."""

    points: list[complex]
    widths: list[float]
    colour: Array | Colour
    celsius: float


class Sprite(NamedTuple):
    """A person in the pixels of one camera: ``picture`` [H, W] or [H, W, 3], its values times coverage, and ``clear``, of the same shape,
    1 - coverage (the dtype's largest value stands for 1), both in the frame's dtype. ``left`` and ``top`` are relative to the feet's pixel.
    """

    picture: Array
    clear: Array
    left: int
    top: int


def sprite(stream: str, walker: Walker, heading: int, phase: int, linear: Array) -> Sprite:
    """The person as a camera sees them. ``linear`` [2, 2]: view units to pixels; ``stream``: thermal takes the heat, rgb the colour."""
    channels = [3, 4] if stream == "thermal" else [0, 1, 2, 4]
    figure = np.ascontiguousarray(draw_figure(walker, phase)[:, ::heading, channels])
    unit = walker.height / FIGURE_HEIGHT
    matrix = np.eye(3)  # texels to pixels
    matrix[:2] = linear @ np.array([[unit, 0, (0.5 - FIGURE_WIDTH / 2) * unit], [0, unit, (0.5 - FIGURE_HEIGHT) * unit]])
    corners = matrix[:2] @ np.array([[0, FIGURE_WIDTH, FIGURE_WIDTH, 0], [0, 0, FIGURE_HEIGHT, FIGURE_HEIGHT], [1, 1, 1, 1]])
    left, top = (math.floor(value) - 1 for value in corners.min(1))
    right, bottom = (math.ceil(value) + 2 for value in corners.max(1))
    matrix[:2, 2] -= left, top
    turned = geometry.warp(figure, np.linalg.inv(matrix), (right - left, bottom - top))
    covered = np.flatnonzero(turned[..., -1].any(axis=0))
    turned, left = np.ascontiguousarray(turned[:, covered[0] : covered[-1] + 1]), left + int(covered[0])
    picture, cover = turned[..., :-1], turned[..., -1]
    if stream == "thermal":
        counts = (picture[..., 0] - CELSIUS_AT_ZERO * cover) / CELSIUS_PER_COUNT
        return Sprite(np.rint(counts).astype(np.uint16), np.rint((1 - cover) * 65535).astype(np.uint16), left, top)
    clear = np.rint((1 - cover) * 255).astype(np.uint8)
    return Sprite(np.rint(picture).astype(np.uint8), cv2.cvtColor(clear, cv2.COLOR_GRAY2RGB), left, top)


@lru_cache
def draw_figure(walker: Walker, phase: int) -> Plane:
    """One phase of the stride, facing right: float32 [H, W, 5], each times coverage: red, green, blue 0..255, degrees Celsius, and 1."""
    figure = np.zeros((FIGURE_HEIGHT, FIGURE_WIDTH, 5), np.float32)
    for points, widths, colour, celsius in _limbs(walker, 2 * math.pi * phase / PHASES):
        dots = np.rint([(point.real * FIGURE_HEIGHT, point.imag * FIGURE_HEIGHT) for point in points]).astype(int)
        mask = np.zeros(figure.shape[:2], np.uint8)
        for start, end, thickness in zip(dots, dots[1:], widths, strict=False):
            cv2.line(mask, start.tolist(), end.tolist(), 255, round(thickness * FIGURE_HEIGHT), cv2.LINE_AA)
        x, y, width, height = cv2.boundingRect(mask)
        box = slice(y, y + height), slice(x, x + width)
        mask = mask[box]
        inside = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
        rounding = np.clip(inside * (2 / (max(widths) * FIGURE_HEIGHT)), 0, 1)[..., None]  # darker and cooler towards the outline
        red, green, blue = np.multiply(colour, 255)
        outline = np.array([0.62 * red, 0.62 * green, 0.62 * blue, celsius - 1.6, 1], np.float32)
        middle = np.array([1.10 * red, 1.10 * green, 1.10 * blue, celsius + 0.6, 1], np.float32)
        figure[box] += (outline + (middle - outline) * rounding - figure[box]) * (mask / np.float32(255))[..., None]
    return figure


def _limbs(walker: Walker, angle: float) -> list[Limb]:
    """A body at an angle of its stride, from far to near."""
    centre, bob = FIGURE_WIDTH / FIGURE_HEIGHT / 2, 0.008 * abs(math.cos(angle))
    neck, hip = complex(centre + 0.012, 0.185 + bob), complex(centre, 0.50 + bob)
    face = neck + 0.016 - 0.092j
    return [
        *_arm(neck, angle + math.pi, walker, 0.66),
        *_leg(hip, angle, walker, 0.66),
        *_leg(hip, angle + math.pi, walker, 1.0),
        Limb([neck, neck + 0.006 - 0.03j], [0.055], walker.skin, 33.5),
        Limb([neck - 0.004 + 0.075j, hip - 0.006 - 0.15j, hip - 0.02j], [0.150, 0.138], walker.jacket, 26.0),
        *_arm(neck, angle, walker, 0.9),
        Limb([face, face - 0.004 + 0.024j], [0.098], walker.skin, 34.0),
        Limb([face - 0.014 - 0.022j, face - 0.026 + 0.004j], [0.080], walker.hair, 28.0),
    ]


def _leg(hip: complex, swing: float, walker: Walker, shade: float) -> list[Limb]:
    thigh = 0.42 * math.sin(swing)
    knee = hip + _bone(0.235, thigh)
    ankle = knee + _bone(0.215, thigh - 0.08 - 0.55 * max(0.0, math.sin(swing + 2.1)) ** 2)
    return [
        Limb([hip, knee, ankle], [0.098, 0.066], np.multiply(walker.trousers, shade), 24.5),
        Limb([ankle, ankle + 0.055 + 0.020j], [0.042], (0.09, 0.08, 0.08), 21.5),
    ]


def _arm(neck: complex, swing: float, walker: Walker, shade: float) -> list[Limb]:
    upper = 0.42 * math.sin(swing)
    shoulder = neck - 0.006 + 0.045j
    elbow = shoulder + _bone(0.155, upper)
    wrist = elbow + _bone(0.135, upper + 0.42)
    return [
        Limb([shoulder, elbow, wrist], [0.062, 0.050], np.multiply(walker.jacket, shade), 25.0),
        Limb([wrist, wrist + _bone(0.022, upper + 0.42)], [0.034], walker.skin, 31.5),
    ]


def _bone(length: float, angle: float) -> complex:
    """What hangs at ``angle`` from the vertical, from its upper end to its lower end."""
    return complex(length * math.sin(angle), length * math.cos(angle))
