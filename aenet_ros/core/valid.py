"""Pixels without a value: the one definition, for thermal counts and temperatures.

A pixel of a thermal frame has no value where

- it is NaN or infinite;
- float32: it is at or below absolute zero (-273.15, -9999 and the like), and these values lie far from all others: counts may be negative;
- uint16 and float32: it is exactly 0, in a region of MIN_REGION pixels at least, and 0 lies far from all other values: the border of a
  rectified frame, or a hole (fewer pixels are bad ones of the sensor, which ``thermal.sensor_correction`` finds);
- uint16: it is at full scale, connected to the frame's edge, on all four sides, in at most MAX_WHITE of the frame, and far from all others:
  a white border (more is a scene that saturates the sensor, such as a fire);
- it is in a first or last row, of which a quarter is 0 and most is far out of the picture's range: telemetry.

*Far*: the gap to the other values is wider than the gap from their low end to their median (or from the median to their high end), and at
least MIN_GAP counts, and the other values are MIN_OTHERS of the frame. A frame whose darkest parts are clipped to 0 has no such gap: its
zeros are values. Where 0 is not far, it does little harm to the gain. 8-bit pixels always have a value, because a 0 is common there;
``input.thermal.crop`` removes their borders.
"""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ABSOLUTE_ZERO = -273.0  # degrees Celsius, with the rounding of drivers
ENDS = (2.0, 50.0, 98.0)  # percentiles of the other values: low end, median, high end
FULL_SCALES = (4_095, 16_383, 65_535)
MIN_GAP = 256.0  # counts of a uint16 frame; less is the dark end of a frame with few counts
MAX_WHITE = 0.5  # share of the frame
MIN_OTHERS = 0.1  # share of the frame; with fewer other values, these are the odd ones
SAMPLE_PIXELS = 10_000
NEAR = np.ones((9, 9), np.uint8)  # pixels beside those without a value that may be interpolated from both
TELEMETRY_ROWS = 4  # at either end of a frame: Lepton 2 or 3, Boson 2, Tau 1
MIN_REGION = 9  # connected pixels, from which the rgb picture is shown in their place; fewer are interpolated
RAMP = 4.0  # pixels beside a region, over which the thermal share grows to 1

Mask = NDArray[np.bool_]


def invalid_pixels(data: NDArray[Any]) -> Mask | None:
    """The pixels without a value, bool [H, W]; None where all have one. ``data``: uint8, uint16 or float32 [H, W]; other shapes: None."""
    if data.ndim != 2 or not data.size or data.dtype.itemsize == 1:
        return None
    low, high = data.min(), data.max()  # NaN where a pixel is NaN
    sides = (data[0], data[-1], data[:, 0], data[:, -1])
    white = high in FULL_SCALES and all((side == high).any() for side in sides)
    if low > 0 and high < np.inf and not white:
        return None
    is_float = data.dtype.kind == "f"
    found: Mask = ~np.isfinite(data) if is_float else np.zeros(data.shape, bool)
    zeros = data == 0
    candidates = [data <= np.float32(ABSOLUTE_ZERO)] if is_float else []
    candidates.append(large_regions(zeros))
    if white:
        border = _touching_edge(data == high)
        if np.count_nonzero(border) <= MAX_WHITE * data.size:
            candidates.append(border)
    for candidate in candidates:
        candidate &= ~found
        if candidate.any():
            found |= _far(data, candidate, found)
    _add_telemetry(data, zeros, found)
    return found if found.any() else None


def large_regions(mask: Mask) -> Mask:
    """``mask``, bool [H, W], without its connected regions of less than MIN_REGION pixels."""
    if np.count_nonzero(mask) < MIN_REGION:
        return np.zeros_like(mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    large = np.asarray(stats)[:, cv2.CC_STAT_AREA] >= MIN_REGION
    large[0] = False  # what is not in the mask
    return np.asarray(large[np.asarray(labels)])


def _touching_edge(mask: Mask) -> Mask:
    _, labels = cv2.connectedComponents(mask.view(np.uint8))
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.asarray(mask & np.isin(labels, edge))


def _far(data: NDArray[Any], candidate: Mask, found: Mask) -> Mask:
    """``candidate`` and the pixels interpolated between it and the picture, where it lies far from all other values; else none."""
    near: Mask = np.asarray(cv2.dilate(candidate.view(np.uint8), NEAR)).view(bool)
    near[[0, -1]] = near[:, [0, -1]] = True  # where the fill's edge runs along the frame's, interpolated pixels reach far
    near &= ~candidate
    others = ~(candidate | found)
    if np.count_nonzero(others) < MIN_OTHERS * data.size:
        return np.zeros_like(candidate)
    sample = _sample(data, others & ~near)
    if not sample.size:  # single pixels all over the frame
        sample = data[others]
    first, middle, last = (float(value) for value in np.percentile(sample, ENDS))
    values = data[candidate]
    spreads = middle - first, last - middle
    least = MIN_GAP if data.dtype.kind == "u" else 1e-6 * max(abs(first), abs(last))
    below, above = float(values.max()), float(values.min())
    if first - below > max(spreads[0], least):
        return candidate | (near & ~found & (data < first - 2 * spreads[0]))
    if above - last > max(spreads[1], least):
        return candidate | (near & ~found & (data > last + 2 * spreads[1]))
    return np.zeros_like(candidate)


def _sample(data: NDArray[Any], wanted: Mask) -> NDArray[Any]:
    step = max(1, int(np.sqrt(data.size / SAMPLE_PIXELS)))
    return np.asarray(data[::step, ::step][wanted[::step, ::step]])


def _add_telemetry(data: NDArray[Any], zeros: Mask, found: Mask) -> None:
    """Add the first and last rows that hold words of telemetry to ``found``."""
    inner = slice(TELEMETRY_ROWS, -TELEMETRY_ROWS)
    sample = _sample(data[inner], ~found[inner])
    if not sample.size:
        return
    first, middle, last = (float(value) for value in np.percentile(sample, ENDS))
    for rows in (range(TELEMETRY_ROWS), range(-1, -1 - TELEMETRY_ROWS, -1)):
        for row in rows:
            words = data[row][~found[row]]
            strange = (words < 2 * first - middle) | (words > 2 * last - middle)
            if 4 * np.count_nonzero(zeros[row] | found[row]) < data.shape[1] or (words.size and strange.mean() <= 0.5):
                break
            found[row] = True


def without_values(data: NDArray[Any], invalid: Mask | None) -> NDArray[Any]:
    """``data`` with 0, or NaN in float32, in the pixels without a value; ``data`` itself where ``invalid`` is None."""
    if invalid is None:
        return data
    copy = np.array(data)
    copy[invalid] = np.nan if data.dtype.kind == "f" else 0
    return copy


def filled(data: NDArray[Any], invalid: Mask | None) -> NDArray[Any]:
    """``data`` with the value of the nearest pixel that has one in place of those without (0 where none has).

    ``data`` itself where ``invalid`` is None. A filter or a mean over the result sees no edge where values end.
    """
    if invalid is None:
        return data
    target, source = _nearest(invalid.shape, np.packbits(invalid).tobytes())
    copy = np.array(data)  # contiguous
    flat = copy.reshape(-1)
    flat[target] = flat[source] if source.size else 0
    return copy


@lru_cache(maxsize=4)
def _nearest(shape: tuple[int, int], packed: bytes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Flat indices of the pixels without a value, and of the nearest one with a value for each; the second is empty where there is none."""
    invalid = _unpacked(shape, packed)
    target = np.flatnonzero(invalid)
    if target.size == invalid.size:
        return target, np.empty(0, np.intp)
    _, labels = cv2.distanceTransformWithLabels(invalid.view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    labels = np.asarray(labels).reshape(-1)
    good = np.flatnonzero(~invalid)
    place = np.empty(good.size + 1, np.intp)
    place[labels[good]] = good
    return target, place[labels[target]]


def visible_share(invalid: Mask | None) -> NDArray[np.float32] | None:
    """Share of a thermal frame in the picture, float32 [H, W] in 0..1: 0 in regions without a value and beside them; None: 1 everywhere.

    Bilinear interpolation of the frame, by this share, takes nothing from a region. The same object for the same pixels.
    """
    return None if invalid is None else _visible_share(invalid.shape, np.packbits(invalid).tobytes())


@lru_cache(maxsize=4)
def _visible_share(shape: tuple[int, int], packed: bytes) -> NDArray[np.float32] | None:
    regions = large_regions(_unpacked(shape, packed))
    if not regions.any():
        return None
    distance = cv2.distanceTransform((~regions).view(np.uint8), cv2.DIST_C, 3)
    share = np.clip((np.asarray(distance, np.float32) - 1.0) / np.float32(RAMP), 0.0, 1.0)
    share.flags.writeable = False
    return np.asarray(share, np.float32)


def _unpacked(shape: tuple[int, int], packed: bytes) -> Mask:
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=shape[0] * shape[1]).reshape(shape).view(bool)
