"""The rig's people: they walk along the street, and are drawn in colour and in temperature."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane
from aenet_ros.workbench.simulation.street import HORIZON, Colour, counts_of

FIGURE_HEIGHT, FIGURE_WIDTH = 320, 200  # texels; a person fills the height
PHASES = 12  # pictures of one stride


@dataclass(frozen=True)
class Walker:
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


class Figure(NamedTuple):
    """A person in one phase of the stride, facing right: ``rgba`` uint8 [H, W, 4], colour times coverage, and coverage 0..255;
    ``heat`` float32 [H, W, 2], thermal counts times coverage, and coverage 0..1.
    """

    rgba: Array
    heat: Plane


class Sprite(NamedTuple):
    """A figure in the pixels of one camera; ``left`` and ``top`` are relative to the pixel of the feet."""

    picture: Array
    left: int
    top: int


def sprite(stream: str, walker: Walker, heading: int, phase: int, linear: Array) -> Sprite:
    """The person as a camera sees them. ``linear`` [2, 2]: view units to pixels; ``stream``: thermal takes the heat, rgb the colour."""
    figure = draw_figure(walker, phase)
    picture = (figure.heat if stream == "thermal" else figure.rgba)[:, ::heading]
    pixels = walker.height * math.hypot(*linear[:, 0])
    height = max(2, round(pixels))
    width = max(2, round(pixels * FIGURE_WIDTH / FIGURE_HEIGHT))
    # Resized first: a warp alone would alias what it shrinks.
    kind = cv2.INTER_AREA if height < FIGURE_HEIGHT else cv2.INTER_LINEAR
    small = cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=kind)
    unit = walker.height / height
    matrix = linear @ np.array([[unit, 0, (0.5 - width / 2) * unit], [0, unit, (0.5 - height) * unit]])
    corners = matrix @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]])
    left, top = (math.floor(value) - 1 for value in corners.min(1))
    right, bottom = (math.ceil(value) + 2 for value in corners.max(1))
    matrix[:, 2] -= left, top
    turned = np.asarray(cv2.warpAffine(small, matrix, (right - left, bottom - top)))
    covered = np.flatnonzero(turned[:, :, -1].any(axis=0))
    first, last = int(covered[0]), int(covered[-1]) + 1
    return Sprite(np.ascontiguousarray(turned[:, first:last]), left + first, top)


@lru_cache
def draw_figure(walker: Walker, phase: int) -> Figure:
    """One phase of the stride; lengths are shares of the person's height."""
    angle = 2 * math.pi * phase / PHASES
    size, middle = FIGURE_HEIGHT, FIGURE_WIDTH / FIGURE_HEIGHT
    shape = (size, FIGURE_WIDTH)
    rgb = np.zeros((*shape, 3), np.float32)
    heat, cover = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    bob = 0.008 * abs(math.cos(angle))
    centre = middle / 2
    neck, hip = (centre + 0.012, 0.185 + bob), (centre, 0.50 + bob)

    def limb(points: list[tuple[float, float]], widths: list[float], colour: Colour, celsius: float) -> None:
        dots = np.array([(round(x * size), round(y * size)) for x, y in points])
        margin = round(max(widths) * size / 2) + 3
        x0, y0 = np.maximum(dots.min(0) - margin, 0)
        x1, y1 = dots.max(0) + margin
        box = (slice(y0, y1), slice(x0, x1))
        mask = np.zeros(cover[box].shape, np.uint8)
        for start, end, thickness in zip(dots - (x0, y0), dots[1:] - (x0, y0), widths, strict=False):
            cv2.line(mask, start.tolist(), end.tolist(), 255, max(1, round(thickness * size)), cv2.LINE_AA)
        inside = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
        rounding = np.clip(inside * (2 / (max(widths) * size)), 0, 1)  # darker and cooler towards the outline
        share = (mask / np.float32(255)).astype(np.float32)
        shade = np.asarray(colour, np.float32) * (0.62 + 0.48 * rounding)[..., None]
        rgb[box] += (shade - rgb[box]) * share[..., None]
        heat[box] += (celsius - 1.6 + 2.2 * rounding - heat[box]) * share
        cover[box] += (1 - cover[box]) * share

    def leg(swing: float, colour: Colour) -> None:
        thigh = 0.42 * math.sin(swing)
        bend = 0.08 + 0.55 * max(0.0, math.sin(swing + 2.1)) ** 2
        knee = (hip[0] + 0.235 * math.sin(thigh), hip[1] + 0.235 * math.cos(thigh))
        shin = thigh - bend
        ankle = (knee[0] + 0.215 * math.sin(shin), knee[1] + 0.215 * math.cos(shin))
        limb([hip, knee, ankle], [0.098, 0.066], colour, 24.5)
        limb([ankle, (ankle[0] + 0.055, ankle[1] + 0.020)], [0.042], (0.09, 0.08, 0.08), 21.5)

    def arm(swing: float, colour: Colour) -> None:
        upper = 0.42 * math.sin(swing)
        shoulder = (neck[0] - 0.006, neck[1] + 0.045)
        elbow = (shoulder[0] + 0.155 * math.sin(upper), shoulder[1] + 0.155 * math.cos(upper))
        fore = upper + 0.42
        wrist = (elbow[0] + 0.135 * math.sin(fore), elbow[1] + 0.135 * math.cos(fore))
        hand = (wrist[0] + 0.022 * math.sin(fore), wrist[1] + 0.022 * math.cos(fore))
        limb([shoulder, elbow, wrist], [0.062, 0.050], colour, 25.0)
        limb([wrist, hand], [0.034], walker.skin, 31.5)

    def darker(colour: Colour) -> Colour:
        return (colour[0] * 0.66, colour[1] * 0.66, colour[2] * 0.66)

    arm(angle + math.pi, darker(walker.jacket))
    leg(angle, darker(walker.trousers))
    leg(angle + math.pi, walker.trousers)
    chest, belly = (neck[0] - 0.004, neck[1] + 0.075), (hip[0], hip[1] - 0.02)
    limb([neck, (neck[0] + 0.006, neck[1] - 0.03)], [0.055], walker.skin, 33.5)
    limb([chest, (belly[0] - 0.006, belly[1] - 0.13), belly], [0.150, 0.138], walker.jacket, 26.0)
    arm(angle, (walker.jacket[0] * 0.9, walker.jacket[1] * 0.9, walker.jacket[2] * 0.9))
    face = (neck[0] + 0.016, neck[1] - 0.092)
    limb([face, (face[0] - 0.004, face[1] + 0.024)], [0.098], walker.skin, 34.0)
    limb([(face[0] - 0.014, face[1] - 0.022), (face[0] - 0.026, face[1] + 0.004)], [0.080], walker.hair, 28.0)
    # rgb was laid over black, so it is times coverage already.
    rgba = np.clip(np.dstack([rgb, cover]) * 255, 0, 255).astype(np.uint8)
    return Figure(rgba, np.dstack([counts_of(heat) * cover, cover]).astype(np.float32))
