"""Regions of the picture with their temperatures, and alarms that do not chatter."""

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.errors import ConfigError
from aenet_ros.core.frames import Array, Plane

OK, PRE_ALARM, ALARM = 0, 1, 2
RISE_WINDOW_NS = 10_000_000_000
"""The rate of rise is the slope of a line through the maxima of this time."""
MIN_RISE_SAMPLES = 5


class Region(NamedTuple):
    """A named polygon; ``points``: int32 [N, 2], x and y in pixels of the picture."""

    name: str
    points: Array


class Reading(NamedTuple):
    """Temperatures of a region, or NaN where no pixel of it has a value. ``peak``: x, y of the maximum.

    ``maximum`` and ``minimum`` are those of the picture smoothed over 3x3 pixels, so that noise of single pixels does not count.
    """

    minimum: float
    mean: float
    maximum: float
    peak: tuple[int, int]


def parse_region(text: str) -> Region:
    """The region written as ``name: x,y x,y`` (two opposite corners) or ``name: x,y x,y x,y ...`` (a polygon), in whole pixels.

    Raises ConfigError, which says what is wrong.
    """
    name, colon, places = text.partition(":")
    try:
        points = np.array([[int(number) for number in place.split(",")] for place in places.split()], np.int32)
    except ValueError:
        points = np.empty((0, 0), np.int32)
    if not colon or not name.strip() or points.ndim != 2 or points.shape[0] < 2 or points.shape[1] != 2:
        raise ConfigError(f"region '{text}' cannot be read; give a name and corners, such as 'boiler: 100,80 220,160'")
    if len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)
    if not cv2.contourArea(points):
        raise ConfigError(f"region '{name.strip()}' has no area; give at least three corners that are not on one line")
    return Region(name.strip(), points)


def region_mask(region: Region, size: tuple[int, int]) -> Array:
    """uint8 [H, W], 255 inside the region, for a picture of ``size`` (height, width). Raises ConfigError where it lies outside."""
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [region.points], (255,))
    if not mask.any():
        raise ConfigError(f"region '{region.name}' lies outside the picture of {size[1]}x{size[0]} pixels; give corners inside it")
    return mask


def read_region(temperature: Plane, mask: Array) -> Reading:
    """The temperatures within ``mask`` (uint8 [H, W]) of ``temperature``, float32 [H, W] with NaN where there is no value."""
    x, y, w, h = cv2.boundingRect(mask)
    inside = mask[y : y + h, x : x + w] > 0
    values = temperature[y : y + h, x : x + w]
    inside &= ~np.isnan(values)
    if not inside.any():
        return Reading(math.nan, math.nan, math.nan, (-1, -1))
    mean = float(values[inside].mean())
    smooth = cv2.blur(np.where(inside, values, np.float32(mean)), (3, 3), borderType=cv2.BORDER_REPLICATE)[inside]
    rows, columns = np.nonzero(inside)
    hottest = int(smooth.argmax())
    return Reading(float(smooth.min()), mean, float(smooth[hottest]), (x + int(columns[hottest]), y + int(rows[hottest])))


@dataclass(frozen=True)
class AlarmRule:
    """When a value is an alarm. A level of NaN is not checked. Temperatures in degrees Celsius, rate in degrees Celsius a minute."""

    level: float = math.nan
    pre_level: float = math.nan
    low_level: float = math.nan
    rise_per_min: float = math.nan
    hysteresis: float = 1.0
    hold_ns: int = 200_000_000


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

    def update(self, excess: float, rule: AlarmRule, stamp_ns: int) -> bool:
        """The state after ``excess``, the value less the level. NaN changes nothing.

        A change is pending from the value that asks for it; a value on the other side of the hysteresis ends that.
        """
        asks, denies = excess >= 0.0, excess < -rule.hysteresis
        if self.on:
            asks, denies = denies, asks
        if denies:
            self._pending_ns = None
        elif asks:
            if self._pending_ns is None:
                self._pending_ns = stamp_ns
            if stamp_ns - self._pending_ns >= rule.hold_ns:
                self.on, self._pending_ns = not self.on, None
        return self.on


class Alarm:
    """The alarm of one value over time.

    It changes after the value was beyond the level for ``hold_ns``, and back after it was ``hysteresis`` inside for as long. A reading of
    NaN changes nothing. A stamp before the last one forgets the past.
    """

    def __init__(self, name: str, unit: str = "degC") -> None:
        self._name, self._unit = name, unit
        self.reset_temporal()

    def reset_temporal(self) -> None:
        """Back to OK, without a past."""
        self.state = AlarmState()
        self._high, self._low, self._rise, self._pre = (_Latch() for _ in range(4))
        self._history: deque[tuple[int, float]] = deque()

    def update(self, reading: Reading, rule: AlarmRule, stamp_ns: int) -> AlarmState:
        """The state after the reading of this stamp."""
        if math.isnan(reading.maximum):
            return self.state
        if self._history and stamp_ns < self._history[-1][0]:
            self.reset_temporal()
        self._history.append((stamp_ns, reading.maximum))
        while stamp_ns - self._history[0][0] > RISE_WINDOW_NS:
            self._history.popleft()
        level, reason = self._judge(reading, rule, stamp_ns)
        self.state = AlarmState(level, reason, stamp_ns if level != self.state.level else self.state.since_ns)
        return self.state

    def rise_per_min(self) -> float:
        """Slope of the maxima of the last RISE_WINDOW_NS a minute; NaN until half of that time was seen."""
        if len(self._history) < MIN_RISE_SAMPLES or self._history[-1][0] - self._history[0][0] < RISE_WINDOW_NS // 2:
            return math.nan
        stamps, values = np.array(self._history, np.float64).T
        return float(np.polyfit((stamps - stamps[0]) / 60e9, values, 1)[0])

    def _judge(self, reading: Reading, rule: AlarmRule, stamp_ns: int) -> tuple[int, str]:
        rise = math.nan if math.isnan(rule.rise_per_min) else self.rise_per_min()
        high = self._high.update(reading.maximum - rule.level, rule, stamp_ns)
        low = self._low.update(rule.low_level - reading.minimum, rule, stamp_ns)
        rises = self._rise.update(rise - rule.rise_per_min, rule, stamp_ns)
        pre = self._pre.update(reading.maximum - rule.pre_level, rule, stamp_ns)
        if high:
            return ALARM, f"{self._name} has {reading.maximum:.1f} {self._unit}; the alarm level is {rule.level:g}"
        if low:
            return ALARM, f"{self._name} has {reading.minimum:.1f} {self._unit}; the low alarm level is {rule.low_level:g}"
        if rises:
            return ALARM, f"{self._name} rises by {rise:.1f} {self._unit} a minute; the alarm rate is {rule.rise_per_min:g}"
        if pre:
            return PRE_ALARM, f"{self._name} has {reading.maximum:.1f} {self._unit}; the pre-alarm level is {rule.pre_level:g}"
        return OK, ""
