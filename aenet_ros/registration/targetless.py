"""The homography from rgb to thermal pixels out of what both cameras see: no target, any scene with edges, many pairs.

Coarse to fine: a search over scale, turn and shift on small pictures, then blocks that each find how far they are off, over all
pairs together, at growing sizes. How sure the result is comes from how much of the edges coincides, from how far the result moves
when other pairs are drawn (bootstrap, Efron 1979), and from how much of the picture agrees.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, FramePair, Plane
from aenet_ros.registration import block_matching as blocks
from aenet_ros.registration.calibration_file import Size
from aenet_ros.registration.coarse import first_guess
from aenet_ros.registration.edges import edges, grey, warped
from aenet_ros.registration.maps import scaling

# Width of the rgb picture, reach of the shifts in its pixels, terms of the homography. The last is repeated until nothing moves.
LEVELS = ((160, 6, 4), (160, 5, 6), (320, 6, 6), (320, 4, 8), (640, 4, 8))
REPEATS = 5
STILL = 0.1  # pixels of the last level
SEARCHED = 12  # pairs that the first search looks at
DRAWS = 24  # of pairs, for the spread
LEAST_PAIRS = 4
LEAST_BLOCKS = 8
LEAST_CONFIDENCE = 0.5

# Where each measure turns from worthless (0) to convincing (1). Edges of scenes that have nothing in common coincide by 0.07.
SCORES = (0.08, 0.15)
AGREEING = (0.1, 0.3)
SPREAD = 0.004  # of the rgb width


@dataclass(frozen=True)
class Estimate:
    """``matrix`` float64 [3, 3]: rgb pixels to thermal pixels at ``rgb_size`` and ``thermal_size`` (height, width).

    ``confidence`` 0..1, under LEAST_CONFIDENCE do not use it; ``reason`` says then why. ``score``: share of the edges that coincide.
    ``spread_px``: how far, in rgb pixels, the picture's corners move when other pairs are drawn (in two of three cases less).
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
    """The homography of pairs of one thermal and one rgb size; ``start`` skips the search. 20 pairs suffice, 40 are plenty.

    Raises ImageError for fewer than LEAST_PAIRS pairs, or for sizes that differ.
    """
    if len(pairs) < LEAST_PAIRS:
        raise ImageError(
            f"{len(pairs)} pairs are too few to find the registration; give at least {LEAST_PAIRS}, better 20 of different views"
        )
    sizes = {(pair.thermal.size, pair.rgb.size) for pair in pairs}
    if len(sizes) > 1:
        raise ImageError(f"the pairs are of {len(sizes)} different sizes; give frames of one thermal and one rgb camera")
    ((thermal_size, rgb_size),) = sizes
    thermals, rgbs = [grey(pair.thermal) for pair in pairs], [grey(pair.rgb) for pair in pairs]
    if start is None:
        few = np.unique(np.linspace(0, len(pairs) - 1, SEARCHED).round().astype(int))
        start = first_guess([thermals[index] for index in few], [rgbs[index] for index in few])
    result = Estimate(start, rgb_size, thermal_size, len(pairs), reason="the two cameras show nothing that coincides")
    shown = _Shown(thermals, rgbs)
    for width, reach, terms in [*_levels(rgb_size[1]), *[_levels(rgb_size[1])[-1]] * REPEATS]:
        level = (max(32, round(rgb_size[0] * width / rgb_size[1])), width)
        surfaces = shown.compare(result.matrix @ scaling(level, rgb_size), level, reach)
        trust = pair_trust(surfaces)
        found = blocks.best_shifts(surfaces, trust)
        if len(found.centres) < LEAST_BLOCKS:
            return result
        change, agreement = blocks.fit(found, level, _affordable(terms, found))
        result = replace(result, matrix=_after(result.matrix, change, level, rgb_size))
        if width == min(LEVELS[-1][0], rgb_size[1]) and corner_distance(change, np.eye(3), level) < STILL:
            break
    spread_px = _spread(surfaces, trust, level, terms) * rgb_size[1] / level[1]
    final = shown.compare(result.matrix @ scaling(level, rgb_size), level, 0)
    score = float((trust @ final.agreed[:, :, 0, 0]).sum() / max((trust @ final.energy).sum(), 1e-9))
    return _judged(replace(result, score=score, spread_px=spread_px, agreeing=float(agreement.sum()) / len(final.centres)))


def _levels(rgb_width: int) -> list[tuple[int, int, int]]:
    """LEVELS as far as the picture goes; the last at its own width where that is smaller."""
    coarse = [level for level in LEVELS[:-1] if level[0] < rgb_width]
    width, reach, terms = LEVELS[-1]
    return [*coarse, (min(width, rgb_width), reach, terms)]


def _judged(result: Estimate) -> Estimate:
    """The estimate with its confidence and, where that is low, the reason and what to do."""
    coincide, agree = _ramp(result.score, SCORES), _ramp(result.agreeing, AGREEING)
    steady = float(np.exp(-((result.spread_px / (SPREAD * result.rgb_size[1])) ** 2)))
    confidence = coincide * agree * steady
    reason = ""
    if confidence < LEAST_CONFIDENCE:
        worst = min(coincide, agree, steady)
        if worst == coincide:
            reason = (
                f"only {100 * result.score:.0f} % of the edges coincide: are these pairs of the same moments, and is the scene in focus?"
            )
        elif worst == agree:
            reason = f"only {100 * result.agreeing:.0f} % of the picture agrees: give scenes with edges all over both views"
        else:
            reason = f"it moves by {result.spread_px:.1f} px from one half of the pairs to another: give more pairs of different scenes"
    return replace(result, confidence=confidence, reason=reason)


def _ramp(value: float, ends: tuple[float, float]) -> float:
    return float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0))


def corner_distance(first: Array, second: Array, rgb_size: Size) -> float:
    """By how many thermal pixels two homographies differ, mean over the rgb picture's corners."""
    height, width = rgb_size
    corners = np.array([[[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]], np.float64)
    off = cv2.perspectiveTransform(corners, first) - cv2.perspectiveTransform(corners, second)
    return float(np.linalg.norm(off[0], axis=1).mean())


def pair_trust(surfaces: blocks.Surfaces) -> Array:
    """A weight for each pair [pairs]: how well it agrees with what all say together; bad ones (blank, out of step) get little."""
    together = surfaces.agreed.sum(0)
    best = together.reshape(len(together), -1).argmax(1)
    own = np.take_along_axis(surfaces.agreed.reshape(*surfaces.agreed.shape[:2], -1), best[None, :, None], axis=2)[..., 0].sum(1)
    share = own / np.maximum(surfaces.energy.sum(1), 1e-9)
    weights: Array = np.clip(share / max(float(np.median(share)), 1e-9), 0.05, 1.0) ** 2
    return weights


class _Shown:
    """The pairs; the rgb pictures' edges are kept while the size stays."""

    def __init__(self, thermals: Sequence[Plane], rgbs: Sequence[Plane]) -> None:
        self._thermals, self._rgbs = thermals, rgbs
        self._edges: tuple[Size, list[Plane]] = ((0, 0), [])

    def compare(self, matrix: Array, size: Size, reach: int) -> blocks.Surfaces:
        """``matrix``: pixels of the rgb grid at ``size`` to thermal pixels."""
        if self._edges[0] != size:
            self._edges = (size, [edges(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA)) for rgb in self._rgbs])
        return blocks.compare(self._edges[1], [edges(*warped(thermal, matrix, size)) for thermal in self._thermals], reach)


def _affordable(terms: int, found: blocks.Shifts) -> int:
    return terms if len(found.centres) >= 2 * LEAST_BLOCKS else 4


def _after(matrix: Array, change: Array, level: Size, rgb_size: Size) -> Array:
    """``matrix`` with a change, found on the grid of ``level``, applied before it."""
    result: Array = matrix @ scaling(level, rgb_size) @ change @ scaling(rgb_size, level)
    return np.asarray(result / result[2, 2])


def _spread(surfaces: blocks.Surfaces, trust: Array, level: Size, terms: int) -> float:
    """By how many pixels a corner moves, in two of three cases, when pairs are drawn anew with repetition."""
    rng = np.random.default_rng(0)
    height, width = level
    corners = np.array([[[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]], np.float64)
    places = []
    for _ in range(DRAWS):
        drawn = np.bincount(rng.integers(0, len(trust), len(trust)), minlength=len(trust))
        found = blocks.best_shifts(surfaces, trust * drawn)
        if len(found.centres) >= LEAST_BLOCKS:
            places.append(cv2.perspectiveTransform(corners, blocks.fit(found, level, _affordable(terms, found))[0])[0])
    if len(places) < DRAWS / 2:
        return float("inf")
    moved = np.linalg.norm(np.stack(places) - np.median(places, axis=0), axis=-1)
    return float(np.percentile(moved, 68))
