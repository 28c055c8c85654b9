"""Hot and cold spots of a temperature picture: where they are, how hot, and which is which over time.

A spot is a connected region. It contains a pixel at the level or beyond, and reaches as far as the temperature stays within the
hysteresis of the level. The level is a temperature, or a difference to the surroundings. Cold spots are the hot spots of the
negated picture.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane

SURROUNDINGS_SHARE = 0.25
"""Side of the square whose mean is "the surroundings", relative to the shorter side of the picture."""
MIN_OVERLAP = 0.1
"""Smallest intersection over union of the boxes with which a region continues a track."""
MAX_SPEED = 1.5
"""Largest distance of a region from a track's predicted place with which it continues the track, in diagonals of its box."""
VELOCITY_SHARE = 0.3
"""Weight of a new frame in a track's velocity."""


@dataclass(frozen=True)
class SpotRule:
    """What counts as a spot. Temperatures in degrees Celsius, or grey levels where the camera is not radiometric.

    relative: ``level`` is a difference to the surroundings. hysteresis: see the module; also the level at which a tracked spot ends.
    cold: look for regions below the level (relative: below the surroundings).
    """

    level: float = 40.0
    hysteresis: float = 2.0
    relative: bool = False
    cold: bool = False
    min_area_px: int = 9
    max_count: int = 16


class HotSpot(NamedTuple):
    """One region. ``id`` is 0 and ``age_ns`` 0 where nothing is tracked.

    box: left, top, width, height in pixels; peak: x, y of the extreme pixel; peak_value: the extreme of the picture smoothed over 3x3
    pixels, so that noise of single pixels does not count; mean: over the region; area: pixels.
    """

    box: tuple[int, int, int, int]
    peak: tuple[int, int]
    peak_value: float
    mean: float
    area: int
    id: int = 0
    age_ns: int = 0


def find_hot_spots(temperature: Plane, rule: SpotRule | None = None) -> list[HotSpot]:
    """The spots of ``temperature``, float32 [H, W] with NaN where there is no value, the most extreme one first, at most ``max_count``."""
    rule = rule or SpotRule()
    values: Array = -temperature if rule.cold else temperature
    level = -rule.level if rule.cold and not rule.relative else rule.level
    height = values - _surroundings(values) if rule.relative else values
    if not (height >= level).any():  # most frames; NaN is never above
        return []
    inside = (height >= level - rule.hysteresis).view(np.uint8)
    left, top, width, rows = cv2.boundingRect(inside)
    window = np.s_[top : top + rows, left : left + width]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(inside[window]), connectivity=8)
    found = []
    for label in range(1, count):
        x, y, w, h, area = (int(number) for number in stats[label])
        if area < rule.min_area_px:
            continue
        box = (x + left, y + top, w, h)
        spot = _measure(values, height, labels[y : y + h, x : x + w] == label, box, area, level)
        if spot is not None:
            found.append(spot)
    found.sort(key=lambda spot: -spot.peak_value)
    found = found[: rule.max_count]
    return [spot._replace(peak_value=-spot.peak_value, mean=-spot.mean) for spot in found] if rule.cold else found


def _measure(values: Array, height: Array, region: Array, box: tuple[int, int, int, int], area: int, level: float) -> HotSpot | None:
    """The spot of a region, or None where none of its pixels reaches the level."""
    x, y, w, h = box
    part = np.s_[y : y + h, x : x + w]
    if float(height[part][region].max()) < level:
        return None
    around = values[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1]
    smooth = cv2.blur(np.fmax(around, values[part][region].min()), (3, 3), borderType=cv2.BORDER_REPLICATE)
    smooth = np.where(region, smooth[y - max(0, y - 1) :, x - max(0, x - 1) :][:h, :w], np.float32(-np.inf))
    row, column = divmod(int(smooth.argmax()), w)
    return HotSpot(box, (x + column, y + row), float(smooth[row, column]), float(values[part][region].mean()), area)


def _surroundings(values: Array) -> Array:
    """Mean of the values in a large square around each pixel, float32 [H, W], NaN left out; computed at 1/8 of the size."""
    height, width = values.shape
    small = (max(1, width // 8), max(1, height // 8))
    missing = np.isnan(values)
    known = np.where(missing, np.float32(0.0), values) if missing.any() else values
    weight = cv2.resize(255 * (~missing).view(np.uint8), small, interpolation=cv2.INTER_AREA).astype(np.float32)
    total = cv2.resize(known, small, interpolation=cv2.INTER_AREA) * np.float32(255.0)
    side = max(3, round(min(small) * SURROUNDINGS_SHARE)) | 1
    mean = cv2.blur(total, (side, side)) / np.maximum(cv2.blur(weight, (side, side)), np.float32(1.0))
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)


@dataclass(frozen=True)
class _Track:
    """A spot that was seen, and its motion: centre of the box in pixels, velocity in pixels per second."""

    spot: HotSpot
    centre: Array
    velocity: Array
    first_ns: int
    last_ns: int

    def predicted(self, stamp_ns: int) -> Array:
        return self.centre + self.velocity * ((stamp_ns - self.last_ns) / 1e9)


class HotSpotTracker:
    """Gives spots an id that stays over frames, also through short gaps: crossings and shutter events of up to ``hold_ns``."""

    def __init__(self, hold_ns: int = 2_000_000_000) -> None:
        self._hold_ns = hold_ns
        self.reset_temporal()

    def reset_temporal(self) -> None:
        """Forget all tracks; ids start at 1 again."""
        self._tracks: list[_Track] = []
        self._next_id = 1

    def update(self, spots: list[HotSpot], stamp_ns: int) -> list[HotSpot]:
        """``spots`` of a frame with their ids and ages, in the same order. A stamp before the last one forgets all tracks."""
        if self._tracks and stamp_ns < max(track.last_ns for track in self._tracks):
            self.reset_temporal()
        tracks = [track for track in self._tracks if stamp_ns - track.last_ns <= self._hold_ns]
        assigned = _assign(spots, tracks, stamp_ns)
        named, kept = [], [track for index, track in enumerate(tracks) if index not in assigned.values()]
        for index, spot in enumerate(spots):
            track = _continue(tracks[assigned[index]], spot, stamp_ns) if index in assigned else self._start(spot, stamp_ns)
            kept.append(track)
            named.append(track.spot)
        self._tracks = kept
        return named

    def _start(self, spot: HotSpot, stamp_ns: int) -> _Track:
        self._next_id += 1
        return _Track(spot._replace(id=self._next_id - 1), _centre(spot), np.zeros(2), stamp_ns, stamp_ns)


def _assign(spots: list[HotSpot], tracks: list[_Track], stamp_ns: int) -> dict[int, int]:
    """The track of each spot that continues one, by their indices; the nearest to the predicted place first."""
    candidates = []
    for t, track in enumerate(tracks):
        place = track.predicted(stamp_ns)
        shift = place - track.centre
        for s, spot in enumerate(spots):
            distance = float(np.hypot(*(_centre(spot) - place)))
            reach = MAX_SPEED * float(np.hypot(*track.spot.box[2:]))
            if distance <= reach or _overlap(spot.box, track.spot.box, shift) >= MIN_OVERLAP:
                candidates.append((distance, s, t))
    assigned: dict[int, int] = {}
    for _, s, t in sorted(candidates):
        if s not in assigned and t not in assigned.values():
            assigned[s] = t
    return assigned


def _continue(track: _Track, spot: HotSpot, stamp_ns: int) -> _Track:
    centre, seconds = _centre(spot), (stamp_ns - track.last_ns) / 1e9
    velocity = track.velocity
    if seconds > 0:
        velocity = velocity + VELOCITY_SHARE * ((centre - track.centre) / seconds - velocity)
    named = spot._replace(id=track.spot.id, age_ns=stamp_ns - track.first_ns)
    return replace(track, spot=named, centre=centre, velocity=velocity, last_ns=stamp_ns)


def _centre(spot: HotSpot) -> Array:
    left, top, width, height = spot.box
    return np.array((left + width / 2, top + height / 2))


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int], shift: Array) -> float:
    """Intersection over union of box ``a`` and of box ``b`` moved by ``shift``."""
    left, top = max(a[0], b[0] + shift[0]), max(a[1], b[1] + shift[1])
    right, bottom = min(a[0] + a[2], b[0] + shift[0] + b[2]), min(a[1] + a[3], b[1] + shift[1] + b[3])
    both = max(0.0, right - left) * max(0.0, bottom - top)
    return float(both / (a[2] * a[3] + b[2] * b[3] - both))
