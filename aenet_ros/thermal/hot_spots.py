"""Hot and cold spots of a temperature picture: where they are, how hot, and which is which over time.

A spot is a connected region. It contains a pixel at the level or beyond, and reaches as far as the temperature stays within the
hysteresis of the level. The level is a temperature, or a difference to the surroundings. Cold spots are the hot spots of the
negated picture. The levels are those of ``config.HotSpotConfig``.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.config import HotSpotConfig
from aenet_ros.core.frames import Array, Plane

SURROUNDINGS_SHARE = 0.25
"""Side of the square whose mean is "the surroundings", relative to the shorter side of the picture."""
MIN_OVERLAP = 0.1
"""Smallest intersection over union of the boxes with which a region continues a track."""
MAX_SPEED = 1.5
"""Largest distance of a region from a track's predicted place with which it continues the track, in diagonals of its box."""
VELOCITY_SHARE = 0.3
"""Weight of a new frame in a track's velocity."""


class HotSpot(NamedTuple):
    """One region. ``id`` is 0 and ``age_ns`` 0 where nothing is tracked.

    kind: hot or cold. box: left, top, width, height in pixels. peak: x, y of the extreme pixel. peak_value: the extreme of the picture
    smoothed over 3x3 pixels, so that noise of single pixels does not count. mean: over the region. area: pixels.
    """

    kind: str
    box: tuple[int, int, int, int]
    peak: tuple[int, int]
    peak_value: float
    mean: float
    area: int
    id: int = 0
    age_ns: int = 0


def find_hot_spots(temperature: Plane, config: HotSpotConfig | None = None) -> list[HotSpot]:
    """The spots of ``temperature``, float32 [H, W] with NaN where there is no value; of each kind the most extreme one first.

    ``config``: what counts as a spot, in the unit of ``temperature``.
    """
    config = config or HotSpotConfig()
    spots = []
    if config.find != "cold":
        spots += _find("hot", temperature, config.level, config)
    if config.find != "hot":
        found = _find("cold", -temperature, config.cold_level if config.relative else -config.cold_level, config)
        spots += [spot._replace(peak_value=-spot.peak_value, mean=-spot.mean) for spot in found]
    return spots


def _find(kind: str, values: Array, level: float, config: HotSpotConfig) -> list[HotSpot]:
    """The regions of ``values`` at ``level`` or above it."""
    height = values - _surroundings(values) if config.relative else values
    if not (height >= level).any():  # most frames; NaN is never above
        return []
    inside = (height >= level - config.hysteresis).view(np.uint8)
    # Outlines are found in a tenth of the time of labels. A region within a hole of another one belongs to that one.
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for outline in outlines:
        left, top, width, rows = cv2.boundingRect(outline)
        part = np.s_[top : top + rows, left : left + width]
        if width * rows < config.min_area_px or cv2.minMaxLoc(np.fmax(height[part], level - 1.0))[1] < level:
            continue
        filled = cv2.drawContours(np.zeros((rows, width), np.uint8), [outline], 0, (255,), cv2.FILLED, offset=(-left, -top))
        region = np.where(inside[part], filled, np.uint8(0))
        area = cv2.countNonZero(region)
        if area >= config.min_area_px and cv2.minMaxLoc(height[part], region)[1] >= level:
            found.append(_measure(kind, values, region, (left, top, width, rows), area))
    found.sort(key=lambda spot: -spot.peak_value)
    return found[: config.max_count]


def _measure(kind: str, values: Array, region: Array, box: tuple[int, int, int, int], area: int) -> HotSpot:
    """The spot of ``region``, uint8 [h, w], 255 inside, within ``box``."""
    x, y, w, h = box
    low, _, _, _ = cv2.minMaxLoc(values[y : y + h, x : x + w], region)
    around = np.fmax(values[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1], np.float32(low))
    smooth = cv2.blur(around, (3, 3), borderType=cv2.BORDER_REPLICATE)[y - max(0, y - 1) :, x - max(0, x - 1) :][:h, :w]
    _, peak, _, (column, row) = cv2.minMaxLoc(smooth, region)
    return HotSpot(kind, box, (x + column, y + row), peak, cv2.mean(values[y : y + h, x : x + w], region)[0], area)


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
    if not spots or not tracks:
        return {}
    centres, places = np.array([_centre(spot) for spot in spots])[:, None], np.array([track.predicted(stamp_ns) for track in tracks])
    sizes, last = (np.array([spot.box[2:] for spot in group], np.float64) for group in (spots, [track.spot for track in tracks]))
    sizes = sizes[:, None]
    shared = np.minimum(centres + sizes / 2, places + last / 2) - np.maximum(centres - sizes / 2, places - last / 2)
    both = np.maximum(shared, 0.0).prod(-1)
    overlap = both / (sizes.prod(-1) + last.prod(-1) - both)
    distance = np.hypot(*np.moveaxis(centres - places, -1, 0))
    same_kind = np.array([spot.kind for spot in spots])[:, None] == np.array([track.spot.kind for track in tracks])
    possible = same_kind & ((distance <= MAX_SPEED * np.hypot(*last.T)) | (overlap >= MIN_OVERLAP))
    assigned: dict[int, int] = {}
    taken: set[int] = set()
    for index in np.argsort(np.where(possible, distance, np.inf), axis=None)[: np.count_nonzero(possible)].tolist():
        spot, track = divmod(index, len(tracks))
        if spot not in assigned and track not in taken:
            assigned[spot] = track
            taken.add(track)
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
