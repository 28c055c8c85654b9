"""Measures of what an operator needs from a fused picture: hot targets kept, nothing invented, both sources served, no tiles.

Inputs are grey planes [H, W] of one size in 0..255, any dtype, rounded to integers first. The definitions are the project's own.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from aenet_ros.core.frames import Array, Plane
from aenet_ros.workbench.evaluation.metrics import Grey, checked, measure_planes, visual_fidelity

Mask = NDArray[np.bool_]

TRUST = ("lost", "retention", "halo", "halo share", "worst VIF", "mesh")
LOST_BELOW = 0.5  # a hot region with less retention is lost
RING, NEAR = 41, 9  # pixels: sides of the elliptic dilations between which the surroundings of a region lie
HOT_CONTRAST, PLAIN_CONTRAST = 1.0, 3.0  # least local contrast of a hot region; contrast that is plain to see, more is no gain
CONTRAST_FLOOR = 4.0  # grey levels, added to the standard deviation of the surroundings
HALO_LIMIT = 4.0  # grey levels over 8 pixels; flatter pixels are smooth
_TILE = 4  # pixels
_HALO_SIGMA = 8.0  # pixels
_HALO_BORDER = 16  # pixels
_HALO_LEAST_PIXELS = 500


class Trust(NamedTuple):
    """Measures of one fused picture: ``retentions`` of its hot regions, at most 1; ``worst_vif``, the lower VIF of both sources.

    ``halo`` (grey levels) and ``halo_share`` (0..1) are None where too few pixels are flat in both sources.
    """

    retentions: tuple[float, ...]
    halo: float | None
    halo_share: float | None
    worst_vif: float
    mesh: float

    @property
    def lost(self) -> int:
        """Number of hot regions that are lost."""
        return sum(retention < LOST_BELOW for retention in self.retentions)


def trust(fused: Array, thermal: Array, rgb_luma: Array) -> Trust:
    """Return the measures of one picture. Raises ImageError if the sizes differ or a side is below 41 pixels."""
    return measure_with_trust(fused, thermal, rgb_luma)[1]


def measure_with_trust(fused: Array, thermal: Array, rgb_luma: Array) -> tuple[dict[str, float], Trust]:
    """Return ``metrics.measure`` and ``trust`` of one picture; both share the VIF. Raises ImageError as they do."""
    f, a, b = checked(fused, thermal, rgb_luma)
    fidelity = visual_fidelity(a, f), visual_fidelity(b, f)
    kept = tuple(retention for _, retention in retentions(f, a, b))
    return measure_planes(f, a, b, fidelity), Trust(kept, *halo(f, a, b), min(fidelity), mesh(f, a, b))


def pooled(pictures: Sequence[Trust]) -> dict[str, float | None]:
    """Return the measures TRUST of a set, and "hot regions", their number. None where no picture of the set has a value.

    *lost* is the share of all regions of the set, and *retention* their mean; the others are means over the pictures that have a value.
    """
    kept = [retention for picture in pictures for retention in picture.retentions]
    return {
        "lost": _mean([float(retention < LOST_BELOW) for retention in kept]),
        "retention": _mean(kept),
        "halo": _mean([picture.halo for picture in pictures if picture.halo is not None]),
        "halo share": _mean([picture.halo_share for picture in pictures if picture.halo_share is not None]),
        "worst VIF": _mean([picture.worst_vif for picture in pictures]),
        "mesh": _mean([picture.mesh for picture in pictures]),
        "hot regions": len(kept),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def lost_regions(fused: Array, thermal: Array, rgb_luma: Array) -> list[Mask]:
    """Return the masks [H, W] of the hot regions that are lost. Raises ImageError as ``trust``."""
    return [region for region, retention in retentions(*checked(fused, thermal, rgb_luma)) if retention < LOST_BELOW]


def retentions(f: Grey, a: Grey, b: Grey) -> Iterator[tuple[Mask, float]]:
    """Yield the mask and the retention of each hot region of ``a`` with a local contrast of 1 or more there.

    Retention is the local contrast in f relative to the larger one of both sources, at most 1; negative where f is darker than the ring.
    """
    for region, ring in hot_regions(a):
        of_f, of_a, of_b = (local_contrast(plane, region, ring) for plane in (f, a, b))
        if of_a >= HOT_CONTRAST:
            yield region, min(1.0, of_f / max(of_a, of_b))


def hot_regions(a: Grey) -> Iterator[tuple[Mask, Mask]]:
    """Yield (region, ring) masks [H, W] of the five largest hot regions of a thermal picture.

    Hot: above the 99.5th percentile after a Gaussian blur of sigma 1; 8-connected, at least 9 pixels. Ring: at least 50 pixels within an
    elliptic 41x41 dilation of the region, and not within an elliptic 9x9 dilation of any hot pixel.
    """
    blurred = cv2.GaussianBlur(a, (0, 0), 1.0)
    hot = (blurred > np.percentile(blurred, 99.5)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(hot, connectivity=8)
    near = dilated(hot, NEAR)
    areas = [(int(stats[label, cv2.CC_STAT_AREA]), label) for label in range(1, count)]
    for area, label in sorted(areas, reverse=True)[:5]:
        region, ring = labels == label, np.zeros_like(near)
        left, top, width, height, _ = stats[label]
        reach = RING // 2
        window = slice(max(top - reach, 0), top + height + reach), slice(max(left - reach, 0), left + width + reach)
        ring[window] = dilated(region[window].astype(np.uint8), RING) & ~near[window]
        if area >= 9 and ring.sum() >= 50:
            yield region, ring


def dilated(mask: NDArray[np.uint8], size: int) -> Mask:
    """Return the elliptic dilation of a mask [H, W] of zeros and ones by ``size`` x ``size`` pixels."""
    return np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0)


def local_contrast(plane: Grey, region: Mask, ring: Mask) -> float:
    """Return (mean in the region - mean in the ring) / (standard deviation in the ring + 4), at most 3: plain to see."""
    around = plane[ring]
    return min(PLAIN_CONTRAST, float((plane[region].mean() - around.mean()) / (around.std() + CONTRAST_FLOOR)))


def halo(f: Grey, a: Grey, b: Grey) -> tuple[float | None, float | None]:
    """Return the mean excess of coarse gradients in f, in grey levels over 8 pixels, and the share of pixels where it is above 4.

    Pixels with a coarse gradient below 4 in both sources count, without a border of 16; None, None where they are less than 500.
    """
    inner = (slice(_HALO_BORDER, -_HALO_BORDER),) * 2
    of_f, of_a, of_b = (_coarse_gradient(plane)[inner] for plane in (f, a, b))
    of_sources = np.maximum(of_a, of_b)
    flat = of_sources < HALO_LIMIT
    if flat.sum() < _HALO_LEAST_PIXELS:
        return None, None
    excess = np.maximum(of_f - of_sources, 0.0)[flat]
    return float(excess.mean(dtype=np.float64)), float((excess > HALO_LIMIT).mean())


def _coarse_gradient(plane: Grey) -> Plane:
    down, across = np.gradient(cv2.GaussianBlur(plane.astype(np.float32), (0, 0), _HALO_SIGMA, borderType=cv2.BORDER_REFLECT))
    return np.asarray(np.sqrt(down * down + across * across) * 8.0, np.float32)


def mesh(f: Grey, a: Grey, b: Grey) -> float:
    """Return how much more the steps of f than those of a source concentrate at every fourth column or row; 0.02 or less without tiles.

    The largest, over the 4 phases and both directions, of: energy of first differences at this phase relative to the mean of the others,
    minus the larger of the same figures of both sources.
    """
    return max(float((_phases(f, axis) - np.maximum(_phases(a, axis), _phases(b, axis))).max()) for axis in (0, 1))


def _phases(plane: Grey, axis: int) -> Grey:
    energy = (np.diff(plane, axis=axis) ** 2).mean(axis=1 - axis)
    phases = np.array([energy[start::_TILE].mean() for start in range(_TILE)])
    return np.asarray(phases / np.maximum((phases.sum() - phases) / (_TILE - 1), 1e-9), np.float64)
