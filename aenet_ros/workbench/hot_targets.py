"""Small hot targets of which the truth is known, pasted into registered pairs.

Planes are float32 [H, W] in 0..1. Results depend on the arguments and the state of ``rng`` only.
"""

from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane
from aenet_ros.workbench.degradation import Planes, Rng, as_plane, clipped
from aenet_ros.workbench.evaluation.trust import NEAR, RING, Mask, dilated

_REACH = RING // 2  # pixels from a target to the outer edge of its ring
_CLUTTER_STD = 0.02  # least local standard deviation of luma at a place for a target


class HotTarget(NamedTuple):
    """``mask``: bool [h, w] from (``top``, ``left``) on, pixels covered by half or more. ``size``: larger side of the shape in pixels.

    ``contrast`` of thermal: (mean in the mask - mean in the ring) / (standard deviation in the ring + 1 grey level).
    """

    top: int
    left: int
    mask: Array
    size: int
    contrast: float

    def region(self, shape: tuple[int, ...]) -> Array:
        """Return the mask in a frame of ``shape`` (H, W), bool [H, W]."""
        region = np.zeros(shape, bool)
        region[self.top : self.top + self.mask.shape[0], self.left : self.left + self.mask.shape[1]] = self.mask
        return region


def ring_of(region: Mask) -> Mask:
    """Return the surroundings of a region, bool [H, W], as evaluation.trust has them for a single region."""
    filled = region.astype(np.uint8)
    return dilated(filled, RING) & ~dilated(filled, NEAR)


def paste_hot_targets(
    thermal: Plane,
    luma: Plane,
    rng: Rng,
    count: int = 3,
    sizes: tuple[int, int] = (3, 12),
    contrasts: tuple[float, float] = (3.0, 8.0),
) -> tuple[Plane, Plane, list[HotTarget]]:
    """Paste up to ``count`` small hot targets where luma is cluttered; return thermal, luma and the targets.

    Targets are ellipses, squares and, from 6 pixels on, people of ``sizes`` pixels, outside each other's rings. Their mean exceeds their
    ring's by ``contrasts`` times its noise (standard deviation + 1 grey level). Places where thermal is hotter already, or white is not hot
    enough, are left out. In luma half of them are a weak dark or bright patch, the others invisible.
    """
    width = thermal.shape[1]
    thermal, luma, untouched = thermal.copy(), luma.copy(), thermal
    clutter = _local_statistics(luma, 15)[1]
    mean, deviation = _local_statistics(thermal, 2 * _REACH + 1)
    needed = mean + np.float32(contrasts[0]) * deviation  # at least, about
    free = (needed < 1.0) & (cv2.dilate(thermal, np.ones((5, 5), np.uint8)) < needed)
    free &= clutter >= max(float(np.quantile(clutter[::4, ::4], 0.6)), _CLUTTER_STD)
    border = sizes[1]
    free[:border], free[-border:], free[:, :border], free[:, -border:] = False, False, False, False
    targets: list[HotTarget] = []
    for _ in range(8 * count):
        places = np.flatnonzero(free)
        if len(targets) == count or not places.size:
            break
        row, column = divmod(int(rng.choice(places)), width)
        coverage = target_coverage(int(rng.integers(sizes[0], sizes[1] + 1)), rng)
        contrast = float(rng.uniform(*contrasts))
        top, left = row - coverage.shape[0] // 2, column - coverage.shape[1] // 2
        target = HotTarget(top, left, coverage >= 0.5, coverage.shape[0] - 2, contrast)
        level = _level_of(target, coverage, untouched)
        if level is None:
            free[row - 2 : row + 3, column - 2 : column + 3] = False
            continue
        part = slice(top, top + coverage.shape[0]), slice(left, left + coverage.shape[1])
        thermal[part] += coverage * (np.float32(level) - thermal[part])
        if rng.random() < 0.5:
            visible = rng.choice((-1.0, 1.0)) * rng.uniform(0.2, 0.7) * clutter[row, column]
            luma[part] = clipped(luma[part] + coverage * np.float32(visible))
        distance = _REACH + border
        free[max(row - distance, 0) : row + distance, max(column - distance, 0) : column + distance] = False
        targets.append(target)
    return thermal, luma, targets


def _level_of(target: HotTarget, coverage: Plane, thermal: Plane) -> float | None:
    """Return the brightness of the target that gives its contrast, or None if it is above white or not the hottest there."""
    margin = _REACH + 1
    first_row, first_column = max(target.top - margin, 0), max(target.left - margin, 0)
    around = thermal[first_row : target.top + coverage.shape[0] + margin, first_column : target.left + coverage.shape[1] + margin]
    region = target._replace(top=target.top - first_row, left=target.left - first_column).region(around.shape)
    ring = around[ring_of(region)]
    mean = float(ring.mean() + target.contrast * (ring.std() + 1.0 / 255.0))
    covered, behind = coverage[target.mask], around[region]
    level = (mean - float(((1.0 - covered) * behind).mean())) / float(covered.mean())
    return level if float(behind.max()) < level <= 1.0 else None


def target_coverage(size: int, rng: Rng) -> Plane:
    """Return the share of each pixel that a random shape covers, float32 [size + 2, size + 2] in 0..1."""
    fine, side = 8, 8 * (size + 2)
    canvas = np.zeros((side, side), np.uint8)
    x, y = (side // 2 + int(rng.integers(-fine // 2, fine // 2 + 1)) for _ in range(2))
    half = size * fine // 2
    shape = rng.choice(("ellipse", "square", "person") if size >= 6 else ("ellipse", "square"))
    if shape == "ellipse":
        cv2.ellipse(canvas, (x, y), (half, int(half * rng.uniform(0.7, 1.0))), float(rng.uniform(0, 180)), 0, 360, 255, -1)
    elif shape == "square":
        cv2.rectangle(canvas, (x - half, y - half), (x + half - 1, y + half - 1), 255, -1)
    else:
        cv2.circle(canvas, (x, y - int(0.76 * half)), int(0.24 * half), 255, -1)
        cv2.ellipse(canvas, (x, y - int(0.15 * half)), (int(0.34 * half), int(0.45 * half)), 0, 0, 360, 255, -1)
        for side_sign in (-1, 1):
            foot = x + side_sign * int(half * rng.uniform(0.08, 0.35)), y + int(0.86 * half)
            cv2.line(canvas, (x + side_sign * int(0.15 * half), y + int(0.1 * half)), foot, 255, max(2, int(0.26 * half)))
    return as_plane(cv2.resize(canvas, (size + 2, size + 2), interpolation=cv2.INTER_AREA)) / np.float32(255)


def _local_statistics(plane: Plane, size: int) -> Planes:
    """Return mean and standard deviation in a square window of ``size`` pixels about each pixel."""
    mean, square = as_plane(cv2.blur(plane, (size, size))), as_plane(cv2.sqrBoxFilter(plane, cv2.CV_32F, (size, size)))
    return mean, np.sqrt(np.maximum(square - mean * mean, 0.0))
