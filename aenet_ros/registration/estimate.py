"""Estimates the homography from rgb to thermal pixels from many pairs of any scenes with edges; no target is needed.

Coarse to fine: an exhaustive search over scale, rotation and shift on small pictures, then block matching over all pairs together at
growing sizes. The confidence combines the share of the edges that coincide, the spread over bootstrap draws of the pairs (Efron 1979), and
the share of the picture that agrees.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from aenet_ros.core.camera import Size, scaling, size_of
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, FramePair, Plane
from aenet_ros.registration.image_alignment import (
    MIN_BLOCKS,
    SCORE_RANGE,
    BlockScores,
    BlockShifts,
    best_shifts,
    coinciding,
    edge_planes,
    fit_homography,
    grey,
    match_blocks,
    pair_weights,
    warp_thermal,
)

SEARCH_WIDTH = 96  # of the pictures in the exhaustive search
SCALES = np.exp(np.arange(np.log(0.5), np.log(2.01), 0.06))  # thermal field of view relative to the rgb one
ROTATIONS_DEG = np.arange(-8.0, 8.1, 2.0)
MIN_OVERLAP = 0.4  # of the thermal view inside the rgb picture

# Width of the rgb picture, reach of the shifts in its pixels, terms of the homography. The last level repeats until it converges.
LEVELS = ((160, 6, 4), (160, 5, 6), (320, 6, 6), (320, 4, 8), (640, 4, 8))
MAX_REPEATS = 5
CONVERGED_PX = 0.1  # mean corner movement, in pixels of the last level
SEARCH_PAIRS = 12  # pairs in the exhaustive search
BOOTSTRAP_DRAWS = 24
MIN_PAIRS = 4
MIN_CONFIDENCE = 0.5

# Values at which each measure contributes 0 and 1 to the confidence.
AGREEING_RANGE = (0.1, 0.3)
SPREAD_SCALE = 0.004  # of the rgb width


@dataclass(frozen=True)
class Estimate:
    """``matrix`` float64 [3, 3]: rgb pixels to thermal pixels at ``rgb_size`` and ``thermal_size`` (height, width).

    ``confidence`` 0..1: do not use it below MIN_CONFIDENCE; ``reason`` says why. ``score``: share of the edges that coincide.
    ``spread_px``: 68th percentile of the corners' movement, in rgb pixels, over bootstrap draws of the pairs.
    ``agreeing``: share of the picture whose blocks agree with the homography.
    """

    matrix: Array
    rgb_size: Size
    thermal_size: Size
    pairs: int
    confidence: float = 0.0
    score: float = 0.0
    spread_px: float = float("inf")
    agreeing: float = 0.0
    reason: str = ""


def estimate(pairs: Sequence[FramePair], start: Array | None = None) -> Estimate:
    """The homography of pairs of one thermal and one rgb size, from 20 to 40 pairs; ``start`` replaces the exhaustive search.

    Raises ImageError for fewer than MIN_PAIRS pairs, or for sizes that differ.
    """
    if len(pairs) < MIN_PAIRS:
        raise ImageError(
            f"{len(pairs)} pairs are too few to find the registration; give at least {MIN_PAIRS}, better 20 of different views"
        )
    sizes = {(pair.thermal.size, pair.rgb.size) for pair in pairs}
    if len(sizes) > 1:
        raise ImageError(f"the pairs are of {len(sizes)} different sizes; give frames of one thermal and one rgb camera")
    ((thermal_size, rgb_size),) = sizes
    thermals, rgbs = [grey(pair.thermal) for pair in pairs], [grey(pair.rgb) for pair in pairs]
    if start is None:
        chosen = np.unique(np.linspace(0, len(pairs) - 1, SEARCH_PAIRS).round().astype(int))
        start = _search_similarity([thermals[index] for index in chosen], [rgbs[index] for index in chosen])
    result = Estimate(start, rgb_size, thermal_size, len(pairs), reason="the two cameras show nothing that coincides")
    levels = [level for level in LEVELS[:-1] if level[0] < rgb_size[1]]
    last = (min(LEVELS[-1][0], rgb_size[1]), *LEVELS[-1][1:])
    level: Size = (0, 0)
    for width, reach, terms in [*levels, last, *[last] * MAX_REPEATS]:
        if width != level[1]:
            level = (max(32, round(rgb_size[0] * width / rgb_size[1])), width)
            to_level, from_level = scaling(rgb_size, level), scaling(level, rgb_size)
            rgb_edges = [edge_planes(cv2.resize(rgb, level[::-1], interpolation=cv2.INTER_AREA)) for rgb in rgbs]
        blocks = _match(rgb_edges, thermals, result.matrix @ from_level, reach)
        weights = pair_weights(blocks)
        found = best_shifts(blocks, weights)
        if len(found.centres) < MIN_BLOCKS:
            return result
        change, robust = _fit(found, level, terms)
        matrix = result.matrix @ from_level @ change @ to_level
        result = replace(result, matrix=np.asarray(matrix / matrix[2, 2]))
        if width == last[0] and corner_distance(change, np.eye(3), level) < CONVERGED_PX:
            break
    spread_px = _bootstrap_spread(blocks, weights, level, terms) * rgb_size[1] / level[1]
    final = _match(rgb_edges, thermals, result.matrix @ from_level, 0)
    score, agreeing = coinciding(final, weights, np.eye(3)), float(robust.sum()) / len(final.centres)
    return _with_confidence(replace(result, score=score, spread_px=spread_px, agreeing=agreeing))


def _with_confidence(result: Estimate) -> Estimate:
    """The estimate with its confidence and, where that is low, the reason and the remedy."""
    measures = [
        (
            _ramp(result.score, SCORE_RANGE),
            f"only {100 * result.score:.0f} % of the edges coincide: are these pairs of the same moments, and is the scene in focus?",
        ),
        (
            _ramp(result.agreeing, AGREEING_RANGE),
            f"only {100 * result.agreeing:.0f} % of the picture agrees: give scenes with edges all over both views",
        ),
        (
            float(np.exp(-((result.spread_px / (SPREAD_SCALE * result.rgb_size[1])) ** 2))),
            f"it moves by {result.spread_px:.1f} px from one half of the pairs to another: give more pairs of different scenes",
        ),
    ]
    confidence = math.prod(value for value, _ in measures)
    _, reason = min(measures, key=lambda measure: measure[0])
    return replace(result, confidence=confidence, reason=reason if confidence < MIN_CONFIDENCE else "")


def _ramp(value: float, ends: tuple[float, float]) -> float:
    return float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0))


def corner_distance(first: Array, second: Array, rgb_size: Size) -> float:
    """Mean distance, in thermal pixels, between two homographies at the rgb picture's corners."""
    return float(np.linalg.norm(_moved_corners(first, rgb_size) - _moved_corners(second, rgb_size), axis=1).mean())


def _moved_corners(matrix: Array, size: Size) -> Array:
    height, width = size
    corners = np.array([[[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]], np.float64)
    return np.asarray(cv2.perspectiveTransform(corners, matrix)[0])


def _match(rgb_edges: list[Plane], thermals: Sequence[Plane], matrix: Array, reach: int) -> BlockScores:
    """Block scores; ``matrix``: pixels of the grid of ``rgb_edges`` to thermal pixels."""
    size = size_of(rgb_edges[0])
    return match_blocks(rgb_edges, [edge_planes(*warp_thermal(thermal, matrix, size)) for thermal in thermals], reach)


def _fit(found: BlockShifts, level: Size, terms: int) -> tuple[Array, Array]:
    """``fit_homography``; of a similarity where there are few blocks."""
    return fit_homography(found, level, terms if len(found.centres) >= 2 * MIN_BLOCKS else 4)


def _bootstrap_spread(blocks: BlockScores, weights: Array, level: Size, terms: int) -> float:
    """68th percentile of the corners' movement in pixels when pairs are drawn with replacement."""
    rng = np.random.default_rng(0)
    corner_sets = []
    for _ in range(BOOTSTRAP_DRAWS):
        drawn = np.bincount(rng.integers(0, len(weights), len(weights)), minlength=len(weights))
        found = best_shifts(blocks, weights * drawn)
        if len(found.centres) >= MIN_BLOCKS:
            corner_sets.append(_moved_corners(_fit(found, level, terms)[0], level))
    if len(corner_sets) < BOOTSTRAP_DRAWS / 2:
        return float("inf")
    moved = np.linalg.norm(np.stack(corner_sets) - np.median(corner_sets, axis=0), axis=-1)
    return float(np.percentile(moved, 68))


def _search_similarity(thermals: Sequence[Plane], rgbs: Sequence[Plane]) -> Array:
    """The best similarity by exhaustive search over scale, rotation and shift: float64 [3, 3], rgb pixels to thermal pixels.

    Pictures are float32 [H, W] 0..1; all thermal ones have one size, and all rgb ones.
    """
    rgb_size, thermal_size = size_of(rgbs[0]), size_of(thermals[0])
    size = (max(16, round(rgb_size[0] * SEARCH_WIDTH / rgb_size[1])), SEARCH_WIDTH)
    shrink = min(1.0, 1.5 * SEARCH_WIDTH / thermal_size[1])
    small_size = (max(8, round(thermal_size[0] * shrink)), max(8, round(thermal_size[1] * shrink)))
    rgb_edges = [edge_planes(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA)) for rgb in rgbs]
    small = [cv2.resize(thermal, small_size[::-1], interpolation=cv2.INTER_AREA) for thermal in thermals]
    search = _ShiftSearch(rgb_edges, small)
    found = [search.best_shift(_similarity(scale, turn, size, small_size)) for scale in SCALES for turn in ROTATIONS_DEG]
    _, best = max(found, key=lambda item: item[0])
    full = scaling(small_size, thermal_size) @ best @ scaling(rgb_size, size)
    return np.asarray(full / full[2, 2])


def _similarity(scale: float, turn: float, size: Size, small_size: Size) -> Array:
    """Pixels of ``size`` to pixels of ``small_size`` about both centres; ``turn`` in degrees; at scale 1 the two are equally wide."""
    unit = scale * small_size[1] / size[1]
    c, s = unit * np.cos(np.deg2rad(turn)), unit * np.sin(np.deg2rad(turn))
    from_centre = np.array([[1, 0, -(size[1] - 1) / 2], [0, 1, -(size[0] - 1) / 2], [0, 0, 1]])
    return np.asarray(np.array([[c, -s, (small_size[1] - 1) / 2], [s, c, (small_size[0] - 1) / 2], [0, 0, 1]]) @ from_centre)


class _ShiftSearch:
    """Correlates thermal edges at one scale and rotation with the rgb edges over all shifts, by FFT; rgb spectra are computed once."""

    def __init__(self, rgb_edges: Sequence[Plane], thermals: Sequence[Array]) -> None:
        self.size = size_of(rgb_edges[0])
        height, width = self.size
        self._thermals = thermals
        # Shifts of up to three quarters of the picture do not wrap around.
        self._padded = cv2.getOptimalDFTSize(2 * height - height // 4), cv2.getOptimalDFTSize(2 * width - width // 4)
        self._rgb = [self._spectrum(found) for found in rgb_edges]
        self._rgb_energy = self._spectrum(np.sum([np.square(found).sum(-1) for found in rgb_edges], axis=0))
        self._rgb_valid = self._spectrum(np.ones(self.size))

    def best_shift(self, matrix: Array) -> tuple[float, Array]:
        """The best score over all shifts, and ``matrix`` with that shift."""
        energy, total, valid = np.zeros(self.size), np.zeros_like(self._rgb_valid), np.ones(self.size, bool)
        for thermal, spectrum in zip(self._thermals, self._rgb, strict=True):
            picture, valid = warp_thermal(thermal, matrix, self.size)
            found = edge_planes(picture, valid)
            energy += np.square(found).sum(-1)
            total = total + (np.conj(self._spectrum(found)) * spectrum).sum(-1)
        mask = np.conj(self._spectrum(valid.astype(np.float64)))
        products = (total, self._rgb_energy * mask, self._rgb_valid * np.conj(self._spectrum(energy)), self._rgb_valid * mask)
        correlation, rgb_energy, thermal_energy, overlap = (np.fft.irfft2(product, self._padded) for product in products)
        pixels = valid.size
        # Pearson's correlation over the overlap, times its root: a small overlap correlates by chance more easily.
        score = correlation / np.sqrt(np.maximum(rgb_energy * thermal_energy, 1e-6)) * np.sqrt(np.clip(overlap / pixels, 0, 1))
        score[overlap < MIN_OVERLAP * max(1.0, float(valid.sum()))] = 0.0
        row, column = np.unravel_index(np.argmax(score), score.shape)
        down, right = (int(at) - size if at > size // 2 else int(at) for at, size in zip((row, column), self._padded, strict=True))
        return float(score[row, column]), matrix @ np.array([[1, 0, -right], [0, 1, -down], [0, 0, 1]])

    def _spectrum(self, planes: Array) -> Array:
        return np.fft.rfft2(planes, self._padded, axes=(0, 1))
