"""Bad pixels and column noise (fixed-pattern noise) of a thermal sensor.

A pixel that differs from its neighbours may be a lamp, and a column that differs from the next may be the edge of a wall; both go away when
the camera moves. So a pixel is judged only where the picture around it has changed, and columns best after the picture moved sideways.
Until then a column pattern is what all heights of the picture have in common: a scene seldom has the same small steps from top to bottom.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from aenet_ros.config import SensorConfig
from aenet_ros.core.frames import Array, BadPixelMap, Frame, Plane

EVERY = 8  # one of EVERY frames is analysed
HUGE = 1e6  # float counts are clipped to this
VOTES, MAX_VOTES = 6, 12  # a pixel gets one vote for each analysed frame in which it is an outlier,
AGAINST = 2  # and loses this number of votes for each frame in which it is none
OUTLIER_SIGMAS = 6.0  # standard deviations of the pixels' differences from their neighbours' median
VISIBLE = 0.04  # of the picture's range (1st to 99th percentile); smaller differences make no outlier
CROWD = 5  # suspects in 5 x 5 pixels, from which they are an object in view: a wire, a lens hood, dirt
FALSE_STUCK_SHARE = 1e-9  # share of good pixels that may seem to be stuck
MAX_UNCHANGED = 0.5  # share of pixels that repeat their value in a frame; above it, repeating says nothing about a pixel
MAX_SAMPLES, MIN_SAMPLES = 15, 6  # analysed frames that the column pattern is the median of
ROWS = 96  # rows that column differences are measured in
SMALL_WIDTH = 128  # width of the picture that motion is measured in
PIXEL_MOTION, COLUMN_MOTION = 2.0, 1.0  # pixels of that picture by which it must move before pixels, or columns, are judged again
SMOOTHING_COLUMNS = 12.0  # sigma in columns; slower variation belongs to the scene
MIN_SNR = 3.0  # ratio of the pattern's standard deviation to that of its own error
BANDS, BAND_ROWS = 16, 12  # horizontal bands of the picture, and the rows measured in each, in which a camera at rest must show the pattern
MAX_STEP_SIGMAS = 4.0  # larger steps are edges of the scene from top to bottom: a pole, a window frame
END_SNR = 2.0  # a pattern from bands is kept above it; 198 pictures without visible stripes have 2.75 at most
MEAN_FRAMES = 8  # analysed frames that the values of the bands are averaged over


class SensorMarks(NamedTuple):
    """What is corrected now: number of bad pixels, and standard deviation of the column pattern in counts (0: none)."""

    dead_pixels: int
    column_counts: float


class SensorCorrection:
    """Collects raw frames by ``observe``, analyses them by ``update``; ``columns`` and ``bad_pixels`` are the result. Not thread-safe.

    The columns of the first frame are analysed at once, so that stills and the start of a stream are corrected too.

    It restarts when the size or the encoding of the frames changes.
    """

    def __init__(self) -> None:
        self._count = 0
        self._kind: tuple[tuple[int, ...], str] = ((), "")
        self._pixels, self._columns = _Pixels(), _Columns()
        self._due: Frame | None = None  # to be analysed

    @property
    def marks(self) -> SensorMarks:
        """What is corrected now, for diagnostics."""
        return SensorMarks(len(self._pixels.bad.pixels), 0.0 if self.columns is None else float(self.columns.std()))

    @property
    def columns(self) -> Plane | None:
        """Counts that each column reads too high, float32 [W]; None while no pattern is significant."""
        return self._columns.pattern

    @property
    def bad_pixels(self) -> BadPixelMap | None:
        """Bad pixels, the same object while nothing changes; None while there are none. A missing neighbour has index 0 and share 0."""
        return self._pixels.bad if len(self._pixels.bad.pixels) else None

    def state(self) -> dict[str, Any]:
        """What is corrected now, ready for JSON but for its arrays."""
        bad = self._pixels.bad
        return {"kind": self._kind, "columns": self.columns, "analysed": self._columns.frames, "bad_pixels": list(bad)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Correct what a ``state`` says, whose arrays may be lists. What was learned besides is forgotten."""
        shape, encoding = state["kind"]
        self._kind, self._pixels, self._columns, self._due = (tuple(shape), encoding), _Pixels(), _Columns(), None
        self._columns.frames = state["analysed"]
        if state["columns"] is not None:
            self._columns.pattern = np.array(state["columns"], np.float32)
        pixels, neighbours, shares = state["bad_pixels"]
        if len(pixels):
            self._pixels.bad = BadPixelMap(np.array(pixels, np.intp), np.array(neighbours, np.intp), np.array(shares, np.float32))

    def observe(self, thermal: Frame, config: SensorConfig, shutter_closed: bool = False) -> None:
        """Take a raw frame in mono8, mono16 or 32FC1. One frame in EVERY is kept for ``update``; the first one takes 4 ms (640x512).

        A shutter event (FFC) changes the column pattern, so its estimate restarts.
        """
        data = thermal.data
        if (data.shape, thermal.encoding) != self._kind:
            self._kind = (data.shape, thermal.encoding)
            self._pixels, self._columns, self._due = _Pixels(), _Columns(), None
        if config.column_noise == "off" or shutter_closed:
            self._columns = _Columns()
        if config.dead_pixels == "off":
            self._pixels = _Pixels()
        if shutter_closed:
            self._due = None
            return
        self._count += 1
        if data.ndim != 2 or min(data.shape) < 2 * SMOOTHING_COLUMNS:
            return
        if self._count % EVERY == 0:
            self._due = thermal
        if config.column_noise == "auto" and self._columns.frames == 0:
            self._columns.update_at_rest(_counts(thermal))

    def update(self, config: SensorConfig) -> None:
        """Analyse the frame kept last, if there is one. Takes some milliseconds, so it runs after publishing."""
        thermal, self._due = self._due, None
        if thermal is None or config.dead_pixels == config.column_noise == "off":
            return
        data = _counts(thermal)
        around = np.asarray(cv2.medianBlur(data, 3))
        size = (SMALL_WIDTH, max(16, round(data.shape[0] * SMALL_WIDTH / data.shape[1])))
        small = np.asarray(cv2.resize(around, size, interpolation=cv2.INTER_AREA), np.float32)
        if config.dead_pixels == "auto":
            self._pixels.update(data, around, small, thermal.invalid)
        if config.column_noise == "auto":
            self._columns.update(data, small)


class _Motion:
    """Whether the picture has moved since this was last True, by ``minimum`` (x, y) pixels along either axis."""

    def __init__(self, minimum: tuple[float, float]) -> None:
        self._minimum = minimum
        self._reference: Plane | None = None

    def moved(self, small: Plane) -> bool:
        if self._reference is not None:
            window = np.asarray(cv2.createHanningWindow(small.shape[::-1], cv2.CV_32F), np.float32)
            shift, _ = cv2.phaseCorrelate(self._reference, small, window)
            if not any(abs(pixels) >= minimum for pixels, minimum in zip(shift, self._minimum, strict=True)):
                return False
        self._reference = small
        return True


class _Pixels:
    def __init__(self) -> None:
        self.bad = BadPixelMap(np.empty(0, np.intp), np.empty((0, 8), np.intp), np.empty((0, 8), np.float32))
        self._motion = _Motion((PIXEL_MOTION, PIXEL_MOTION))
        self._around: Array | None = None  # median of each pixel's neighbours when it was last judged
        self._votes: Array = np.empty(0, np.uint8)
        self._last: Array = np.empty(0)
        self._unchanged: Array = np.empty(0, np.uint8)  # consecutive frames with the same value

    def update(self, data: Array, around: Array, small: Plane, invalid: Array | None) -> None:
        """``invalid``, bool [H, W]: pixels that hold no value; ``data`` has a neighbour's there."""
        off = cv2.absdiff(data, around)
        sampled_off, sampled = off[2::7, 2::7], around[2::7, 2::7]
        if invalid is not None:
            known = ~invalid[2::7, 2::7]
            if not known.any():
                return
            sampled_off, sampled = sampled_off[known], sampled[known]
        noise = float(np.median(sampled_off)) / 0.6745
        low, high = np.percentile(sampled, (1, 99))
        outlier = _mask(off > max(OUTLIER_SIGMAS * noise, VISIBLE * float(high - low), 1e-6))
        if invalid is not None:
            outlier[invalid] = 0
        if self._around is None:
            self._motion.moved(small)
            self._around, self._last = around, data.copy()
            self._votes, self._unchanged = np.zeros(data.shape, np.uint8), np.zeros(data.shape, np.uint8)
            return
        if self._motion.moved(small):
            fresh = _mask(cv2.absdiff(around, self._around) > max(4 * noise, 1e-6))
            votes, against = (np.asarray(which, np.uint8) for which in (fresh & outlier, (fresh & ~outlier) * np.uint8(AGAINST)))
            self._votes = np.minimum(cv2.subtract(cv2.add(self._votes, votes), against), MAX_VOTES)
            cv2.copyTo(around, fresh, self._around)
        stuck = self._stuck(data, outlier)
        found = (self._votes >= VOTES) | stuck
        suspects = np.asarray((self._votes >= VOTES // 2) | stuck, np.uint8)
        crowded = cv2.boxFilter(suspects, -1, (5, 5), normalize=False, borderType=cv2.BORDER_REFLECT) >= CROWD
        bad = np.flatnonzero(found & ~np.asarray(crowded))
        if not np.array_equal(bad, self.bad.pixels):
            self.bad = _map_of(bad, found)

    def _stuck(self, data: Array, outlier: Array) -> Array:
        """Outliers whose value never changes, although the sensor has noise: they are bad even if nothing moves."""
        same = _mask(data == self._last)
        share = float(same[2::7, 2::7].mean())
        if data.dtype == np.uint8 or share > MAX_UNCHANGED:  # 8-bit values clip and repeat
            return np.zeros(data.shape, bool)
        np.copyto(self._last, data)
        self._unchanged = cv2.add(self._unchanged, same) * same
        frames = math.ceil(math.log(FALSE_STUCK_SHARE) / math.log(max(share, 0.01)))
        return np.asarray((self._unchanged >= frames) & (outlier != 0))


def _map_of(bad: Array, found: Array) -> BadPixelMap:
    """A map of ``bad`` (flat indices) by neighbours that are not ``found``, bool [H, W]; outside a crowd each pixel has some."""
    height, width = found.shape
    row, column = (axis[:, None] for axis in np.divmod(bad, width))
    row, column = row + np.array((-1, -1, -1, 0, 0, 1, 1, 1)), column + np.array((-1, 0, 1, -1, 1, -1, 0, 1))
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    row, column = np.where(inside, row, 0), np.where(inside, column, 0)
    good = inside & ~found[row, column]
    return BadPixelMap(bad, row * width + column, (good / good.sum(1, keepdims=True)).astype(np.float32))


class _Columns:
    """``pattern``: counts that each column reads too high, float32 [W]; None while it is not significant. ``frames``: number analysed."""

    def __init__(self) -> None:
        self.pattern: Plane | None = None
        self.frames = 0
        self._bands: Plane = np.zeros((BANDS, 1), np.float32)
        self._samples: deque[Plane] = deque(maxlen=MAX_SAMPLES)
        self._motion = _Motion((COLUMN_MOTION, math.inf))

    def update_at_rest(self, data: Array) -> None:
        """Take a frame: the pattern is what its bands have in common."""
        self.frames += 1
        self._bands = self._bands + (_band_steps(data) - self._bands) * np.float32(1.0 / min(self.frames, MEAN_FRAMES))
        pattern, *halves = (_pattern(_common_steps(bands)[None]) for bands in (self._bands, self._bands[::2], self._bands[1::2]))
        error, weakest = float((halves[0] - halves[1]).std()) / 2, min(float(which.std()) for which in (pattern, *halves))
        self.pattern = pattern if weakest > (MIN_SNR if self.pattern is None else END_SNR) * error else None

    def update(self, data: Array, small: Plane) -> None:
        if len(self._samples) < MIN_SAMPLES:
            self.update_at_rest(data)
        if not self._motion.moved(small):
            return
        steps = np.diff(data[:: max(1, data.shape[0] // ROWS)].astype(np.float32), axis=1)
        self._samples.append(np.partition(steps, len(steps) // 2, axis=0)[len(steps) // 2])  # median, in a fifth of the time
        if len(self._samples) < MIN_SAMPLES:
            return
        samples = np.stack(self._samples)
        pattern = _pattern(samples)
        error = float((_pattern(samples[::2]) - _pattern(samples[1::2])).std()) / 2
        self.pattern = pattern if float(pattern.std()) > MIN_SNR * error else None


def _band_steps(data: Array) -> Plane:
    """Steps from each column to the next in each band, float32 [BANDS, W - 1]: means over rows, each no further from the median than usual.

    A mean resolves less than one count. Where most steps of whole counts are equal, the others must count too.
    """
    rows = data[:: max(1, round(data.shape[0] / (BANDS * BAND_ROWS)))]
    count, least = len(rows) // BANDS, 0.0 if data.dtype.kind == "f" else 0.7
    found = np.empty((BANDS, data.shape[1] - 1), np.float32)
    for band, mean in enumerate(found):  # one at a time stays in the cache
        steps = np.diff(rows[band * count : (band + 1) * count].astype(np.float32), axis=1)
        median = np.partition(steps, count // 2, axis=0)[count // 2]
        spread = np.maximum(np.partition(np.abs(steps - median), count // 2, axis=0)[count // 2], np.float32(least))
        np.clip(steps, median - spread, median + spread, out=steps).mean(axis=0, out=mean)
    return found


def _common_steps(bands: Plane) -> Plane:
    """What the steps in all bands, [bands, W - 1], have in common; 0 where that is not significant, or an edge of the scene."""
    ordered, count = np.sort(bands, axis=0), len(bands)
    middle = ordered[count * 3 // 8 : count - count * 3 // 8].mean(axis=0)
    error = (ordered[-1 - count // 8] - ordered[count // 8]) / (2.3 * math.sqrt(count)) * 1.25  # of a median; 2.3 sigmas lie between
    size = np.maximum(np.abs(middle), 1e-6)
    usual = 1.4826 * float(np.median(size))
    return np.where(size > MAX_STEP_SIGMAS * usual, np.float32(0), middle * np.maximum(1.0 - (error / size) ** 2, 0.0)).astype(np.float32)


def _counts(thermal: Frame) -> Array:
    data = thermal.filled
    return np.clip(data, -HUGE, HUGE) if data.dtype.kind == "f" else data


def _pattern(steps: Plane) -> Plane:
    """Column pattern, float32 [W], from steps between columns, [samples, W - 1]: their median, summed, without slow variation.

    Outliers belong to an object in view and become 0.
    """
    columns = np.concatenate([[0.0], np.cumsum(np.median(steps, axis=0))]).astype(np.float32)
    pattern, odd = columns, np.zeros(columns.shape, bool)
    for _ in range(3):
        known = np.where(odd, columns - pattern, columns)[None]
        slow = cv2.GaussianBlur(known, (0, 0), SMOOTHING_COLUMNS, borderType=cv2.BORDER_REFLECT)[0]
        pattern = columns - slow
        odd = np.abs(pattern) > OUTLIER_SIGMAS * 1.5 * max(float(np.median(np.abs(pattern))), 1e-6)
    return np.where(odd, np.float32(0), pattern).astype(np.float32)


def _mask(which: Array) -> Array:
    mask: Array = which.view(np.uint8)
    return mask
