"""Drift of the registration in force: how far thermal edges lie from rgb edges, over a few pairs now and then."""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from aenet_ros.core.camera import Size
from aenet_ros.core.frames import Array, Frame, FramePair, Plane
from aenet_ros.registration.image_alignment import (
    MIN_BLOCKS,
    SCORE_RANGE,
    BlockScores,
    best_shifts,
    edge_planes,
    fit_homography,
    grey,
    match_blocks,
    pair_weights,
)
from aenet_ros.registration.warp_maps import FloatMap, typical_step

WIDTH = 160  # of the pictures that are compared; 30 ms a pair
REACH = 9  # pixels of those pictures: the largest drift that is measured is 6 % of the width
HISTORY = 8  # pairs
MIN_HISTORY = 3


@dataclass(frozen=True)
class Drift:
    """``off_px``: mean distance between thermal and rgb edges in rgb pixels; None where the pairs have too few common edges.

    ``coincide`` 0..1: share of the edges that coincide under the map in force; ``pairs``: pairs used.
    """

    off_px: float | None
    coincide: float
    pairs: int


class DriftMonitor:
    """Measures the drift over the last HISTORY pairs. Not thread-safe."""

    def __init__(self) -> None:
        self._blocks: deque[BlockScores] = deque(maxlen=HISTORY)
        self._size: Size = (0, 0)
        self._rgb_width = 0

    def push(self, pair: FramePair, float_map: FloatMap) -> None:
        """Add a pair; ``float_map``: ``Registration.map`` of its sizes."""
        rgb_size, thermal_size = pair.rgb.size, pair.thermal.size
        size = (max(32, round(rgb_size[0] * WIDTH / rgb_size[1])), WIDTH)
        if (size, rgb_size[1]) != (self._size, self._rgb_width):
            self._blocks.clear()
            self._size, self._rgb_width = size, rgb_size[1]
        rgb = _small(pair.rgb, WIDTH)
        thermal = _small(pair.thermal, 2 * WIDTH)
        x, y = (cv2.resize(axis, size[::-1], interpolation=cv2.INTER_LINEAR) for axis in float_map)
        across, down = thermal.shape[1] / thermal_size[1], thermal.shape[0] / thermal_size[0]
        x, y = (x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5
        with np.errstate(invalid="ignore"):
            valid = (x >= 0) & (x <= thermal.shape[1] - 1) & (y >= 0) & (y <= thermal.shape[0] - 1)
        known = [np.nan_to_num(axis, nan=-16.0).astype(np.float32) for axis in (x, y)]
        step = min(max(1.0, typical_step(x, 1)), WIDTH)  # a degenerate map must not ask for an endless blur
        blurred = cv2.GaussianBlur(thermal, (0, 0), 0.4 * step) if step > 1.3 else thermal
        warped = cv2.remap(blurred, known[0], known[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        rgb = np.asarray(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA), np.float32)
        self._blocks.append(match_blocks([edge_planes(rgb)], [edge_planes(warped, valid)], REACH))

    def drift(self) -> Drift | None:
        """The drift; None before MIN_HISTORY pairs."""
        if len(self._blocks) < MIN_HISTORY:
            return None
        blocks = BlockScores(
            np.concatenate([one.scores for one in self._blocks]),
            np.concatenate([one.energy for one in self._blocks]),
            self._blocks[0].centres,
        )
        weights = pair_weights(blocks)
        coincide = _coincide(blocks, weights, np.eye(3))
        found = best_shifts(blocks, weights)
        if len(found.centres) < MIN_BLOCKS:
            return Drift(None, coincide, len(self._blocks))
        change, _ = fit_homography(found, self._size, 4)
        # Shifts found by chance fit no homography: with it hardly more edges coincide than by chance.
        off_px = _mean_shift(change, self._size) * self._rgb_width / WIDTH if _coincide(blocks, weights, change) > SCORE_RANGE[0] else None
        return Drift(off_px, coincide, len(self._blocks))


def _coincide(blocks: BlockScores, weights: Array, change: Array) -> float:
    """The share of the edges that coincide after ``change``, with each block's shift rounded to a pixel."""
    moved = cv2.perspectiveTransform(blocks.centres[None], change)[0] - blocks.centres
    right, down = np.clip(np.round(moved).astype(int), -REACH, REACH).T + REACH
    scores = blocks.scores[:, np.arange(len(moved)), down, right]
    return float((weights @ scores).sum() / max(float((weights @ blocks.energy).sum()), 1e-9))


def _small(frame: Frame, width: int) -> Plane:
    """``grey`` of the frame at about ``width``; shrunk first, to save time."""
    height = max(1, round(frame.size[0] * width / frame.size[1]))
    if width >= frame.size[1]:
        return grey(frame)
    return grey(Frame(0, np.asarray(cv2.resize(frame.data, (width, height), interpolation=cv2.INTER_AREA)), frame.encoding))


def _mean_shift(change: Array, size: Size) -> float:
    height, width = size
    x, y = np.meshgrid(np.linspace(0, width - 1, 8), np.linspace(0, height - 1, 6))
    points = np.stack([x.ravel(), y.ravel()], axis=1)[None]
    return float(np.linalg.norm(cv2.perspectiveTransform(points, change) - points, axis=-1).mean())
