"""Whether the registration in force still holds: how far thermal edges lie beside rgb edges, from a few pairs now and then."""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Frame, FramePair, Plane
from aenet_ros.registration import block_matching as blocks
from aenet_ros.registration.calibration_file import Size
from aenet_ros.registration.edges import edges, grey
from aenet_ros.registration.maps import FloatMap, typical_step
from aenet_ros.registration.targetless import LEAST_BLOCKS, SCORES, pair_trust

WIDTH = 160  # of the pictures that are compared; 30 ms a pair
REACH = 9  # pixels of those pictures: 6 % of the width is the most that can be told
KEPT = 8  # pairs; older ones are forgotten
LEAST_KEPT = 3


@dataclass(frozen=True)
class Drift:
    """``off_px``: by how many rgb pixels thermal edges lie beside rgb edges (mean over the picture); None where the pairs do not tell.

    ``coincide`` 0..1: share of the edges that coincide as it is; ``pairs``: how many were looked at.
    """

    off_px: float | None
    coincide: float
    pairs: int


class DriftMonitor:
    """Takes a pair every few seconds; ``drift`` tells of the last KEPT. Not thread-safe."""

    def __init__(self) -> None:
        self._kept: deque[blocks.Surfaces] = deque(maxlen=KEPT)
        self._size: Size = (0, 0)
        self._rgb_width = 0

    def push(self, pair: FramePair, float_map: FloatMap) -> None:
        """Compare a pair by the map in force (``Registration.map`` of its sizes)."""
        rgb_size, thermal_size = pair.rgb.size, pair.thermal.size
        size = (max(32, round(rgb_size[0] * WIDTH / rgb_size[1])), WIDTH)
        if (size, rgb_size[1]) != (self._size, self._rgb_width):
            self._kept.clear()
            self._size, self._rgb_width = size, rgb_size[1]
        rgb = _small(pair.rgb, WIDTH)
        thermal = _small(pair.thermal, 2 * WIDTH)
        x, y = (cv2.resize(axis, size[::-1], interpolation=cv2.INTER_LINEAR) for axis in float_map)
        across, down = thermal.shape[1] / thermal_size[1], thermal.shape[0] / thermal_size[0]
        x, y = (x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5
        with np.errstate(invalid="ignore"):
            seen = (x >= 0) & (x <= thermal.shape[1] - 1) & (y >= 0) & (y <= thermal.shape[0] - 1)
        known = [np.nan_to_num(axis, nan=-16.0).astype(np.float32) for axis in (x, y)]
        step = min(max(1.0, typical_step(x, 1)), WIDTH)  # of a map that is none the blur would never end
        blurred = cv2.GaussianBlur(thermal, (0, 0), 0.4 * step) if step > 1.3 else thermal
        warped = cv2.remap(blurred, known[0], known[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        rgb = np.asarray(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA), np.float32)
        self._kept.append(blocks.compare([edges(rgb)], [edges(warped, seen)], REACH))

    def drift(self) -> Drift | None:
        """By how much the registration is off; None before LEAST_KEPT pairs."""
        if len(self._kept) < LEAST_KEPT:
            return None
        surfaces = blocks.Surfaces(
            np.concatenate([one.agreed for one in self._kept]),
            np.concatenate([one.energy for one in self._kept]),
            self._kept[0].centres,
        )
        trust = pair_trust(surfaces)
        coincide = _coincide(surfaces, trust, np.eye(3))
        found = blocks.best_shifts(surfaces, trust)
        if len(found.centres) < LEAST_BLOCKS:
            return Drift(None, coincide, len(self._kept))
        change, _ = blocks.fit(found, self._size, 4)
        # Shifts that chance found agree with no homography, so that by it hardly more of the edges coincide than by chance.
        off_px = _mean_shift(change, self._size) * self._rgb_width / WIDTH if _coincide(surfaces, trust, change) > SCORES[0] else None
        return Drift(off_px, coincide, len(self._kept))


def _coincide(surfaces: blocks.Surfaces, trust: Array, change: Array) -> float:
    """The share of the edges that would coincide after a change, to the nearest pixel of each block's shift."""
    moved = cv2.perspectiveTransform(surfaces.centres[None], change)[0] - surfaces.centres
    right, down = np.clip(np.round(moved).astype(int), -REACH, REACH).T + REACH
    agreed = surfaces.agreed[:, np.arange(len(moved)), down, right]
    return float((trust @ agreed).sum() / max(float((trust @ surfaces.energy).sum()), 1e-9))


def _small(frame: Frame, width: int) -> Plane:
    """The frame's brightness at about ``width``: shrunk first, since everything after costs by the pixel."""
    height = max(1, round(frame.size[0] * width / frame.size[1]))
    if width >= frame.size[1]:
        return grey(frame)
    return grey(Frame(0, np.asarray(cv2.resize(frame.data, (width, height), interpolation=cv2.INTER_AREA)), frame.encoding))


def _mean_shift(change: Array, size: Size) -> float:
    height, width = size
    x, y = np.meshgrid(np.linspace(0, width - 1, 8), np.linspace(0, height - 1, 6))
    points = np.stack([x.ravel(), y.ravel()], axis=1)[None]
    return float(np.linalg.norm(cv2.perspectiveTransform(points, change) - points, axis=-1).mean())
