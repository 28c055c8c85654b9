"""Frozen frames and shutter events (FFC, NUC) of a thermal camera. Sensor noise tells a repeated frame from a scene without motion.

A thermal camera that calibrates itself closes a shutter for some tenths of a second. Most cameras repeat their last frame meanwhile; some
deliver pictures of the shutter, which have almost no contrast.
"""

import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aenet_ros.config import ShutterConfig
from aenet_ros.core.frames import Array, Frame, Plane

SAMPLE_PIXELS = 2_000
HUGE = 1e6  # float counts are clipped to this, so that sums of their squares are finite
SAME_SHARE = 0.995  # share of the sampled pixels that do not change in a repeated frame
NOISY_SHARE = 0.97  # a new frame of a noisy stream has fewer unchanged pixels; the lower quartile of the stream must be below
NOISE_PART = 0.05  # pixels that differ by less than this part of the noise count as unchanged
MIN_FRAMES = 8  # frames with noise before any decision
WINDOW = 90
FLAT_PART = 0.15  # of the usual contrast; a picture with less shows the shutter
MIN_EVENT_S = 0.1  # a shutter event lasts longer than this, and longer than a slow camera's repeats between two new frames


def sample(frame: Frame) -> Plane:
    """About SAMPLE_PIXELS pixels on a regular grid, float32 [N] (mean over the channels), without those that hold no value.

    Zeros where none holds one.
    """
    data, (height, width) = frame.data, frame.size
    stride = max(1, math.isqrt(height * width // SAMPLE_PIXELS))
    top, left = min(stride // 2, height - 1), min(stride // 2, width - 1)  # at least one row of a picture that is a few pixels high
    picked: Plane = data[top::stride, left::stride].astype(np.float32)
    if picked.ndim == 3:
        return np.asarray(picked.mean(axis=2)).ravel()
    if frame.invalid is not None:
        valid = ~frame.invalid[top::stride, left::stride]
        picked = picked[valid] if valid.any() else np.zeros_like(picked)
    return np.clip(picked.ravel(), -HUGE, HUGE) if data.dtype.kind == "f" else picked.ravel()


class FrozenDetector:
    """Measures how long a stream has repeated one picture.

    ``still_ns``: time since the first frame with the present picture; 0 for a new picture. Streams without noise (rendered pictures, a
    still image that is sent again and again) are never reported as frozen.
    """

    def __init__(self) -> None:
        self.still_ns = 0
        self._last: Plane | None = None
        self._new_at_ns = 0
        self._same_shares: deque[float] = deque(maxlen=WINDOW)
        self._noise: deque[float] = deque(maxlen=WINDOW)
        self._intervals: deque[int] = deque(maxlen=WINDOW)

    def update(self, stamp_ns: int, picked: Plane) -> bool:
        """Take a frame's time and ``sample``, in order; True where it repeats the frame before."""
        last, self._last = self._last, picked
        if last is None or last.shape != picked.shape or stamp_ns <= self._new_at_ns:
            self._same_shares.clear()
            self._noise.clear()
            self.still_ns, self._new_at_ns = 0, stamp_ns
            return False
        difference = np.abs(picked - last)
        tolerance = NOISE_PART * min(self._noise) if self._noise else 0.0
        same = float(np.count_nonzero(difference <= tolerance)) / difference.size
        known = len(self._same_shares) >= MIN_FRAMES and sorted(self._same_shares)[len(self._same_shares) // 4] < NOISY_SHARE
        if known and same >= SAME_SHARE:
            self.still_ns = stamp_ns - self._new_at_ns
            self._last = last  # the first of the repeated frames, so that a slow drift is no repeat
            return True
        self._same_shares.append(same)
        if same < NOISY_SHARE:
            self._noise.append(float(np.median(difference)))
        self._intervals.append(stamp_ns - self._new_at_ns)
        self.still_ns, self._new_at_ns = 0, stamp_ns
        return False

    @property
    def usual_ns(self) -> int:
        """Median time between two new pictures; 0 before the first."""
        return statistics.median_low(self._intervals) if self._intervals else 0


@dataclass
class FfcCounts:
    """Since the start: shutter events, repeated frames, and frames replaced by an earlier one."""

    events: int = 0
    repeated: int = 0
    bridged: int = 0


class FfcHold:
    """Finds shutter events in a thermal stream and replaces pictures of the shutter by the last good frame. Not thread-safe.

    ``closed``: whether the latest frame belongs to an event; ``counts``: what was found.
    """

    def __init__(self) -> None:
        self.counts = FfcCounts()
        self.reset_temporal()

    def reset_temporal(self) -> None:
        """Forget earlier frames, as after a jump in time or before an unrelated picture; ``counts`` stay."""
        self.closed = False
        self._frozen = FrozenDetector()
        self._contrasts: deque[float] = deque(maxlen=WINDOW)
        self._good: Frame | None = None
        self._flat_since_ns: int | None = None

    def state(self) -> dict[str, Any]:
        """What finds the next picture of the shutter, ready for JSON; the last good frame is not in it."""
        return {"contrasts": list(self._contrasts), "flat_since_ns": self._flat_since_ns}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state``; the last good frame is the one that was seen here."""
        self._contrasts, self._flat_since_ns = deque(state["contrasts"], maxlen=WINDOW), state["flat_since_ns"]

    def apply(self, thermal: Frame, config: ShutterConfig, driver_shutter_closed: bool = False) -> Frame:
        """The frame to use: this one, or the last good one with this stamp while pictures show the shutter, for ``bridge_s`` at most.

        ``driver_shutter_closed``: the camera's driver reports the shutter closed. The result may share memory with an earlier frame.
        """
        if thermal.data.ndim != 2 or not thermal.data.size:
            return thermal  # its user reports what is wrong with it
        picked = sample(thermal)
        repeats = self._frozen.update(thermal.stamp_ns, picked)
        flat_ns = self._flat_ns(thermal, picked, driver_shutter_closed)
        held = flat_ns is not None and flat_ns <= config.bridge_s * 1e9
        long = self._frozen.still_ns > max(MIN_EVENT_S * 1e9, 2.5 * self._frozen.usual_ns)
        closed = held or (repeats and long)
        self.counts.repeated += repeats
        self.counts.events += closed and not self.closed
        self.closed = closed
        if held and config.bridge_s > 0 and self._good is not None:
            self.counts.bridged += 1
            return replace(thermal, data=self._good.data)
        self._good = thermal
        return thermal

    def _flat_ns(self, thermal: Frame, picked: Array, driver_shutter_closed: bool) -> int | None:
        """Time since the first picture of the shutter; None where this is no picture of it."""
        contrast = float(picked.std())
        if self._good is not None and (self._good.data.shape != thermal.data.shape or self._good.encoding != thermal.encoding):
            self._contrasts.clear()
            self._good = None
        known = len(self._contrasts) >= MIN_FRAMES
        # Against the last frame too: a scene loses contrast slowly, a shutter closes at once.
        flat = driver_shutter_closed or (known and contrast < FLAT_PART * min(statistics.median(self._contrasts), self._contrasts[-1]))
        if not flat:
            self._contrasts.append(contrast)
            self._flat_since_ns = None
            return None
        if self._flat_since_ns is None or thermal.stamp_ns < self._flat_since_ns:  # the first one, or time jumped back
            self._flat_since_ns = thermal.stamp_ns
        return thermal.stamp_ns - self._flat_since_ns
