"""Pictures that stand still or show the closed shutter, told apart from a scene that stands still by the camera's own noise.

A thermal camera that calibrates itself (FFC, NUC) closes a shutter for some tenths of a second. Most repeat their last frame
meanwhile; some let the shutter itself be seen, which is a picture almost without contrast.
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from aenet_ros.config import ShutterConfig
from aenet_ros.core.frames import Array, Frame, Plane

SAMPLE_PIXELS = 2_000
HUGE = 1e6  # float counts are cut at this, so that sums of their squares are finite
SAME_SHARE = 0.995  # of the sampled pixels that a repeated frame leaves as they were
LIVELY_SHARE = 0.97  # a new frame leaves fewer unchanged; a stream of which no quarter does has no noise to go by
NOISE_PART = 0.05  # pixels that differ by less than this part of the noise are the same
LEARN = 8  # frames that must have shown noise before anything is judged
WINDOW = 90
FLAT_PART = 0.15  # contrast, against the usual one, under which the shutter itself is seen
FEWEST_S = 0.1  # a shutter event lasts longer than this, and than a slow camera's repeats between two new frames


def sample(frame: Frame) -> Plane:
    """About SAMPLE_PIXELS pixels on a regular grid, float32 [N] (of colours the mean); finite: NaN is 0."""
    data, (height, width) = frame.data, frame.size
    stride = max(1, math.isqrt(height * width // SAMPLE_PIXELS))
    top, left = min(stride // 2, height - 1), min(stride // 2, width - 1)  # of a picture a few pixels high, one row at least
    picked: Plane = data[top::stride, left::stride].astype(np.float32)
    picked = picked.mean(axis=2).ravel() if picked.ndim == 3 else picked.ravel()
    if data.dtype.kind != "f":
        return picked
    return np.clip(np.nan_to_num(picked, copy=False, nan=0.0), -HUGE, HUGE)


class FrozenDetector:
    """Tells how long a stream has repeated one picture; to be shown each frame's time and ``sample`` in turn.

    ``still_ns``: the time since the first frame that showed the present picture; 0 for a new picture. Streams that never
    had noise (painted pictures, a still image sent again and again) are never said to stand still.
    """

    def __init__(self) -> None:
        self.still_ns = 0
        self._last: Plane | None = None
        self._new_at_ns = 0
        self._same_shares: deque[float] = deque(maxlen=WINDOW)
        self._noise: deque[float] = deque(maxlen=WINDOW)
        self._intervals: deque[int] = deque(maxlen=WINDOW)

    def see(self, stamp_ns: int, picked: Plane) -> bool:
        """True where the frame repeats the one before it."""
        last, self._last = self._last, picked
        if last is None or last.shape != picked.shape or stamp_ns <= self._new_at_ns:
            self._same_shares.clear()
            self._noise.clear()
            self.still_ns, self._new_at_ns = 0, stamp_ns
            return False
        difference = np.abs(picked - last)
        tolerance = NOISE_PART * min(self._noise) if self._noise else 0.0
        same = float(np.count_nonzero(difference <= tolerance)) / difference.size
        known = len(self._same_shares) >= LEARN and sorted(self._same_shares)[len(self._same_shares) // 4] < LIVELY_SHARE
        if known and same >= SAME_SHARE:
            self.still_ns = stamp_ns - self._new_at_ns
            self._last = last  # compared with the first of them, so that a slow drift is no repeat
            return True
        self._same_shares.append(same)
        if same < LIVELY_SHARE:
            self._noise.append(float(np.median(difference)))
        self._intervals.append(stamp_ns - self._new_at_ns)
        self.still_ns, self._new_at_ns = 0, stamp_ns
        return False

    @property
    def usual_ns(self) -> int:
        """Time between two new pictures, as a rule; 0 before any was seen."""
        return statistics.median_low(self._intervals) if self._intervals else 0


@dataclass
class FfcCounts:
    """Since the start: events, frames that repeated, and frames in whose place an earlier one was used."""

    events: int = 0
    repeated: int = 0
    bridged: int = 0


class FfcHold:
    """Finds shutter events in a thermal stream and puts the last good frame in place of pictures of the shutter.

    ``closed`` tells whether the latest frame was in an event; ``counts`` what was found. Whoever knows from the camera that the shutter is
    closed sets ``driver_shutter_closed``. Not thread-safe, but for that.
    """

    def __init__(self, config: ShutterConfig | None = None) -> None:
        self.config = config or ShutterConfig()
        self.counts = FfcCounts()
        self.closed = False
        self.driver_shutter_closed = False
        self._still = FrozenDetector()
        self._contrasts: deque[float] = deque(maxlen=WINDOW)
        self._good: Frame | None = None
        self._flat_since_ns = 0

    def apply(self, thermal: Frame) -> Frame:
        """The frame to use: this one; or, while the shutter is seen and for ``bridge_s`` at most, the last good one with this stamp.

        What it returns may share memory with a frame given earlier.
        """
        if thermal.data.ndim != 2 or not thermal.data.size:
            return thermal  # what is wrong with it is said by whoever uses it
        picked = sample(thermal)
        repeats = self._still.see(thermal.stamp_ns, picked)
        flat = self._is_flat(thermal, picked)
        held = flat and thermal.stamp_ns - self._flat_since_ns <= self.config.bridge_s * 1e9
        long = self._still.still_ns > max(FEWEST_S * 1e9, 2.5 * self._still.usual_ns)
        closed = held or (repeats and long)
        self.counts.repeated += repeats
        self.counts.events += closed and not self.closed
        self.closed = closed
        if held and self.config.bridge_s > 0 and self._good is not None:
            self.counts.bridged += 1
            return replace(thermal, data=self._good.data)
        self._good = thermal
        return thermal

    def _is_flat(self, thermal: Frame, picked: Array) -> bool:
        contrast = float(picked.std())
        if self._good is not None and (self._good.data.shape != thermal.data.shape or self._good.encoding != thermal.encoding):
            self._contrasts.clear()
            self._good = None
        known = len(self._contrasts) >= LEARN
        # Against the last frame too: a scene fades, a shutter closes.
        flat = self.driver_shutter_closed or (known and contrast < FLAT_PART * min(statistics.median(self._contrasts), self._contrasts[-1]))
        if not flat:
            self._contrasts.append(contrast)
            self._flat_since_ns = 0
        elif not self._flat_since_ns:
            self._flat_since_ns = thermal.stamp_ns
        return flat
