"""Regions of the picture with their temperatures, and alarms that do not chatter."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from aenet_ros.config import AlarmConfig
from aenet_ros.config.regions import Levels, Region
from aenet_ros.core.errors import ConfigError
from aenet_ros.core.frames import Array, Plane

OK, PRE_ALARM, ALARM = 0, 1, 2
WITHIN = "within its levels"  # a region's state in words, where there is no reason
RISE_WINDOW_NS = 10_000_000_000
"""The rate of rise is the slope of a line through the maxima of this time."""
MIN_RISE_SAMPLES = 5


class Reading(NamedTuple):
    """Temperatures of a region, or NaN where no pixel of it has a value. ``peak`` and ``lowest``: x, y of the maximum and of the minimum.

    ``maximum`` and ``minimum`` are those of the picture smoothed over 3x3 pixels, so that noise of single pixels does not count.
    """

    minimum: float
    mean: float
    maximum: float
    peak: tuple[int, int]
    lowest: tuple[int, int] = (-1, -1)


def region_mask(region: Region, size: tuple[int, int]) -> Array:
    """uint8 [H, W], 255 inside the region, for a picture of ``size`` (height, width). Raises ConfigError where it lies outside."""
    if not region.points:
        return np.full(size, 255, np.uint8)
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.array(region.points, np.int32)], (255,))
    if not mask.any():
        raise ConfigError(f"region '{region.name}' lies outside the picture of {size[1]}x{size[0]} pixels; give corners inside it")
    return mask


def read_region(temperature: Plane, mask: Array) -> Reading:
    """The temperatures within ``mask`` (uint8 [H, W], 255 inside) of ``temperature``, float32 [H, W] with NaN where there is no value."""
    x, y, w, h = cv2.boundingRect(mask)
    inside, values = mask[y : y + h, x : x + w], temperature[y : y + h, x : x + w]
    missing = np.isnan(values)
    if missing.any():
        inside = inside & ~(255 * missing.view(np.uint8))
    if not inside.any():
        return Reading(math.nan, math.nan, math.nan, (-1, -1), (-1, -1))
    mean = cv2.mean(values, inside)[0]
    smooth = cv2.blur(np.where(missing, np.float32(mean), values), (3, 3), borderType=cv2.BORDER_REPLICATE)
    low, high, low_at, high_at = cv2.minMaxLoc(smooth, inside)
    return Reading(low, mean, high, (x + high_at[0], y + high_at[1]), (x + low_at[0], y + low_at[1]))


def reading_text(values: Mapping[str, Any]) -> dict[str, str]:
    """The temperatures of a reading as shown; ``values``: by the names of ``Reading``, those that are known."""
    return {f"{name} [degC]": f"{values[name]:.1f}" for name in ("minimum", "mean", "maximum") if name in values}


class AlarmState(NamedTuple):
    """``level``: OK, PRE_ALARM or ALARM; ``reason``: a sentence for people, "" at OK; ``since_ns``: stamp of the last change."""

    level: int = OK
    reason: str = ""
    since_ns: int = 0


class _Latch:
    """Whether a value is beyond its level, with hysteresis and hold time."""

    def __init__(self) -> None:
        self.on = False
        self._pending_ns: int | None = None

    def update(self, excess: float, config: AlarmConfig, stamp_ns: int) -> bool:
        """The state after ``excess``, the value less the level. NaN changes nothing.

        A change is pending from the value that asks for it; a value on the other side of the hysteresis ends that.
        """
        asks, denies = excess >= 0.0, excess < -config.hysteresis
        if self.on:
            asks, denies = denies, asks
        if denies:
            self._pending_ns = None
        elif asks:
            if self._pending_ns is None:
                self._pending_ns = stamp_ns
            if stamp_ns - self._pending_ns >= round(config.hold_s * 1e9):
                self.on, self._pending_ns = not self.on, None
        return self.on


class Alarm:
    """The alarm of one value over time.

    It changes after the value was beyond the level for ``hold_s``, and back after it was ``hysteresis`` inside for as long. A reading of
    NaN changes nothing. A stamp before the last one forgets the past.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.reset_temporal()

    def reset_temporal(self) -> None:
        """Back to OK, without a past."""
        self.state = AlarmState()
        self._high, self._low, self._rise, self._pre = (_Latch() for _ in range(4))
        self._history: deque[tuple[int, float]] = deque()

    def update(self, reading: Reading, levels: Levels, config: AlarmConfig, stamp_ns: int) -> AlarmState:
        """The state after the reading of this stamp."""
        if math.isnan(reading.maximum):
            return self.state
        if self._history and stamp_ns < self._history[-1][0]:
            self.reset_temporal()
        self._history.append((stamp_ns, reading.maximum))
        while stamp_ns - self._history[0][0] > RISE_WINDOW_NS:
            self._history.popleft()
        level, reason = self._judge(reading, levels, config, stamp_ns)
        self.state = AlarmState(level, reason, stamp_ns if level != self.state.level else self.state.since_ns)
        return self.state

    def rise_per_min(self) -> float:
        """Slope of the maxima of the last RISE_WINDOW_NS a minute; NaN until half of that time was seen."""
        if len(self._history) < MIN_RISE_SAMPLES or self._history[-1][0] - self._history[0][0] < RISE_WINDOW_NS // 2:
            return math.nan
        stamps, values = np.array(self._history, np.float64).T
        return float(np.polyfit((stamps - stamps[0]) / 60e9, values, 1)[0])

    def _judge(self, reading: Reading, levels: Levels, config: AlarmConfig, stamp_ns: int) -> tuple[int, str]:
        rise = math.nan if math.isnan(levels.rise) else self.rise_per_min()
        high = self._high.update(reading.maximum - levels.high, config, stamp_ns)
        low = self._low.update(levels.low - reading.minimum, config, stamp_ns)
        rises = self._rise.update(rise - levels.rise, config, stamp_ns)
        pre = self._pre.update(reading.maximum - levels.pre, config, stamp_ns)
        if high:
            return ALARM, self._sentence(reading.maximum, reading.maximum >= levels.high, "alarm level", levels.high)
        if low:
            return ALARM, self._sentence(reading.minimum, reading.minimum <= levels.low, "low alarm level", levels.low)
        if rises:
            return ALARM, f"{self._name} rises by {rise:.1f} degC a minute; the alarm rate is {levels.rise:g}"
        if pre:
            return PRE_ALARM, self._sentence(reading.maximum, reading.maximum >= levels.pre, "pre-alarm level", levels.pre)
        return OK, ""

    def _sentence(self, value: float, beyond: bool, name: str, level: float) -> str:
        return f"{self._name} has {value:.1f} degC; the {name} is {level:g}" + ("" if beyond else " and was reached a moment ago")
