"""A thermal sensor's own marks on its picture, found while the scene changes: dead pixels, and columns that read too high or low.

A pixel that is not like its neighbours may be a lamp, and a column that is not like the next may be a wall's edge; but those go away when
the camera moves. So a pixel is judged only where the picture around it has changed since, and columns only once the picture moved sideways.
"""

import math
from collections import deque
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.config import SensorConfig
from aenet_ros.core.frames import Array, BadPixelMap, Frame, Plane

EVERY = 8  # of the frames one in so many is looked at
HUGE = 1e6  # stands for float counts that are no number
VOTES, MOST_VOTES = 6, 12  # looks at which a pixel was unlike its neighbours,
AGAINST = 2  # less so many for each at which it was like them: what people pass by looks one way and the other
STANDS_OUT = 6.0  # standard deviations of the pixels' differences from their neighbours, to be unlike them
VISIBLE = 0.04  # of the picture's range (1st to 99th percentile), under which no pixel is unlike
CROWD = 5  # suspects in 5 x 5, this one with them, from which they are a thing in view: a wire, a lens hood, dirt
BY_CHANCE = 1e-9  # share of healthy pixels that may seem to be stuck
LIVELY = 0.5  # share of pixels that a frame may leave as they were; in a stream that leaves more, standing still tells nothing
LOOKS, LEAST_LOOKS = 15, 6  # at the columns: so many count, so many are needed
ROWS = 96  # that the columns are told from
SMALL_WIDTH = 128  # of the pictures that movement is told from
STEP, SIDEWAYS = 2.0, 1.0  # pixels of those, by which it must have moved for a look at the pixels, and at the columns
BROAD = 12.0  # columns: what varies much more slowly than this is the scene's
SURE = 3.0  # by how many times the pattern must exceed its own error


class SensorMarks(NamedTuple):
    """What is corrected now: how many pixels, and the columns' standard deviation in counts (0: no pattern is seen)."""

    dead_pixels: int
    column_counts: float


class SensorCorrection:
    """Is shown raw frames by ``look`` and learns by ``learn``; ``columns`` and ``mend`` correct the brightness. Not thread-safe.

    ``config`` may be replaced between frames. It starts anew when the frames' size or encoding changes.
    """

    def __init__(self, config: SensorConfig | None = None) -> None:
        self.config = config or SensorConfig()
        self._count = 0
        self._kind: tuple[tuple[int, ...], str] = ((), "")
        self._pixels, self._columns = _Pixels(), _Columns()
        self._due: Array | None = None  # to be learnt from

    @property
    def marks(self) -> SensorMarks:
        """For diagnostics."""
        columns = self.columns
        return SensorMarks(len(self._pixels.dead.pixels), 0.0 if columns is None else float(columns.std()))

    @property
    def columns(self) -> Plane | None:
        """Counts, float32 [W], to be taken off each row; None while there is no pattern."""
        return self._columns.pattern

    @property
    def bad_pixels(self) -> BadPixelMap | None:
        """Dead pixels and what ``mend`` writes over them, the same object while nothing changes; None while there are none."""
        return self._pixels.dead if len(self._pixels.dead.pixels) else None

    def look(self, thermal: Frame, shutter_closed: bool = False) -> None:
        """See a raw frame in mono8, mono16 or 32FC1; most are only counted, and one is kept for ``learn`` now and then.

        A shutter event makes a new pattern of columns.
        """
        data = thermal.data
        if (data.shape, thermal.encoding) != self._kind:
            self._kind = (data.shape, thermal.encoding)
            self._pixels, self._columns, self._due = _Pixels(), _Columns(), None
        if self.config.column_noise == "off" or shutter_closed:
            self._columns = _Columns()
        if shutter_closed:
            self._due = None
        if self.config.dead_pixels == "off":
            self._pixels = _Pixels()
        self._count += not shutter_closed
        if not (shutter_closed or self._count % EVERY or data.ndim != 2 or min(data.shape) < 2 * BROAD):
            self._due = data

    def learn(self) -> None:
        """Learn from the frame kept last, if there is one; to be called when there is time, for it takes some milliseconds."""
        data, self._due = self._due, None
        if data is None or self.config.dead_pixels == self.config.column_noise == "off":
            return
        if data.dtype.kind == "f":
            data = np.clip(np.nan_to_num(data, nan=HUGE), -HUGE, HUGE)
        around = np.asarray(cv2.medianBlur(data, 3))
        size = (SMALL_WIDTH, max(16, round(data.shape[0] * SMALL_WIDTH / data.shape[1])))
        small = np.asarray(cv2.resize(around, size, interpolation=cv2.INTER_AREA), np.float32)
        if self.config.dead_pixels == "auto":
            self._pixels.look(data, around, small)
        if self.config.column_noise == "auto":
            self._columns.look(data, small)

    def mend(self, brightness: Plane) -> Plane:
        """The same array, float32 [H, W], with the mean of the healthy neighbours written over each dead pixel."""
        if self.bad_pixels is not None:
            mend(brightness, self.bad_pixels)
        return brightness


def mend(brightness: Plane, dead: BadPixelMap) -> None:
    """Write the neighbours' share over each dead pixel of a contiguous plane, float32 [H, W]."""
    flat = brightness.reshape(-1)
    flat[dead.pixels] = (flat[dead.near] * dead.shares).sum(1)


class _Motion:
    """Whether the picture lies elsewhere than when this was last so, by ``least`` (x, y) small pixels along either axis."""

    def __init__(self, least: tuple[float, float]) -> None:
        self._least = least
        self._seen: Plane | None = None

    def moved(self, small: Plane) -> bool:
        if self._seen is not None:
            window = np.asarray(cv2.createHanningWindow(small.shape[::-1], cv2.CV_32F), np.float32)
            shift, _ = cv2.phaseCorrelate(self._seen, small, window)
            if not any(abs(way) >= least for way, least in zip(shift, self._least, strict=True)):
                return False
        self._seen = small
        return True


class _Pixels:
    """``dead``: those found; where a neighbour is missing any stands in its place, with no share."""

    def __init__(self) -> None:
        self.dead = BadPixelMap(np.empty(0, np.intp), np.empty((0, 8), np.intp), np.empty((0, 8), np.float32))
        self._motion = _Motion((STEP, STEP))
        self._around: Array | None = None  # the neighbours' median, when a pixel was last judged
        self._votes: Array = np.empty(0, np.uint8)
        self._last: Array = np.empty(0)
        self._unchanged: Array = np.empty(0, np.uint8)  # looks

    def look(self, data: Array, around: Array, small: Plane) -> None:
        """See a frame, the median of 3 x 3 about each of its pixels, and the picture small."""
        off = cv2.absdiff(data, around)
        noise = float(np.median(off[2::7, 2::7])) / 0.6745
        low, high = np.percentile(around[2::7, 2::7], (1, 99))
        unlike = _mask(off > max(STANDS_OUT * noise, VISIBLE * float(high - low), 1e-6))
        if self._around is None:
            self._motion.moved(small)
            self._around, self._last = around, data.copy()
            self._votes, self._unchanged = np.zeros(data.shape, np.uint8), np.zeros(data.shape, np.uint8)
            return
        if self._motion.moved(small):
            fresh = _mask(cv2.absdiff(around, self._around) > max(4 * noise, 1e-6))
            votes, against = (np.asarray(which, np.uint8) for which in (fresh & unlike, (fresh & ~unlike) * np.uint8(AGAINST)))
            self._votes = np.minimum(cv2.subtract(cv2.add(self._votes, votes), against), MOST_VOTES)
            cv2.copyTo(around, fresh, self._around)
        stuck = self._stuck(data, unlike)
        found = (self._votes >= VOTES) | stuck
        suspects = np.asarray((self._votes >= VOTES // 2) | stuck, np.uint8)
        crowded = cv2.boxFilter(suspects, -1, (5, 5), normalize=False, borderType=cv2.BORDER_REFLECT) >= CROWD
        dead = np.flatnonzero(found & ~np.asarray(crowded))
        if not np.array_equal(dead, self.dead.pixels):
            self._replace(dead, found)

    def _stuck(self, data: Array, unlike: Array) -> Array:
        """Pixels that noise never touches and that are unlike their neighbours: they are dead even if nothing moves."""
        same = _mask(data == self._last)
        share = float(same[2::7, 2::7].mean())
        if data.dtype == np.uint8 or share > LIVELY:  # 8 bits clip, and repeat themselves
            return np.zeros(data.shape, bool)
        np.copyto(self._last, data)
        self._unchanged = cv2.add(self._unchanged, same) * same
        looks = math.ceil(math.log(BY_CHANCE) / math.log(max(share, 0.01)))
        return np.asarray((self._unchanged >= looks) & (unlike != 0))

    def _replace(self, dead: Array, found: Array) -> None:
        height, width = found.shape
        row, column = (axis[:, None] for axis in np.divmod(dead, width))
        down, right = (np.array(steps) for steps in ((-1, -1, -1, 0, 0, 1, 1, 1), (-1, 0, 1, -1, 1, -1, 0, 1)))
        row, column = row + down, column + right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        row, column = np.where(inside, row, 0), np.where(inside, column, 0)
        good = inside & ~found[row, column]
        count = good.sum(1)
        mended = count > 0
        shares = good / np.maximum(count, 1)[:, None]
        self.dead = BadPixelMap(dead[mended], (row * width + column)[mended], shares[mended].astype(np.float32))


class _Columns:
    """``pattern``: what the columns read too high, float32 [W] counts; None while none is sure."""

    def __init__(self) -> None:
        self.pattern: Plane | None = None
        self._looks: deque[Plane] = deque(maxlen=LOOKS)
        self._motion = _Motion((SIDEWAYS, math.inf))

    def look(self, data: Array, small: Plane) -> None:
        """See a frame, and the picture small."""
        if not self._motion.moved(small):
            return
        part = data[:: max(1, data.shape[0] // ROWS)].astype(np.float32)
        steps = np.diff(part, axis=1)
        self._looks.append(np.partition(steps, len(steps) // 2, axis=0)[len(steps) // 2])  # the median, in a fifth of its time
        if len(self._looks) < LEAST_LOOKS:
            return
        looks = np.stack(self._looks)
        pattern = _pattern(looks)
        error = float((_pattern(looks[::2]) - _pattern(looks[1::2])).std()) / 2
        self.pattern = pattern if float(pattern.std()) > SURE * error else None


def _pattern(looks: Plane) -> Plane:
    """Columns from their steps [looks, W - 1]: the looks' median, summed, less what varies slowly; what stands out is a thing in view."""
    columns = np.concatenate([[0.0], np.cumsum(np.median(looks, axis=0))]).astype(np.float32)
    pattern, odd = columns, np.zeros(columns.shape, bool)
    for _ in range(3):
        slow = cv2.GaussianBlur(np.where(odd, columns - pattern, columns)[None], (0, 0), BROAD, borderType=cv2.BORDER_REFLECT)[0]
        pattern = columns - slow
        odd = np.abs(pattern) > STANDS_OUT * 1.5 * max(float(np.median(np.abs(pattern))), 1e-6)
    return np.where(odd, np.float32(0), pattern).astype(np.float32)


def _mask(which: Array) -> Array:
    mask: Array = which.view(np.uint8)
    return mask
