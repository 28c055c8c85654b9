"""Hot and cold spots of a temperature picture: where they are, how hot, and which is which over time.

A spot is a connected region. It contains a pixel at the level or beyond, and reaches as far as the temperature stays within the
hysteresis of the level. The level is a temperature, or a difference to the surroundings. Cold spots are the hot spots of the
negated picture. The levels are those of ``config.HotSpotConfig``.
"""

import math
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
NEW_NS, NEW_REACH = 300_000_000, 1.5
"""A track whose speed is not known yet continues with a region up to so far from its place, in diagonals of its box."""
REACH, REACH_PER_S = 0.5, 0.2
"""The same for a track with a known speed, and what each second adds in which it had no region of its own."""
SIZE_WEIGHT = 0.2
"""Diagonals of distance that a factor of e in the width or height of a box counts as."""
MOTION_S = 0.6
"""Time constant in seconds with which a track's speed and size follow its region."""


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
    hot = (height >= level).view(np.uint8)  # NaN is never above
    if not cv2.countNonZero(hot):  # most frames
        return []
    inside = (height >= level - config.hysteresis).view(np.uint8)
    # Outlines are found in a tenth of the time of labels. A region within a hole of another one belongs to that one.
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for outline in outlines:
        left, top, width, rows = cv2.boundingRect(outline)
        part = np.s_[top : top + rows, left : left + width]
        if width * rows < config.min_area_px or not cv2.countNonZero(hot[part]):
            continue
        filled = cv2.drawContours(np.zeros((rows, width), np.uint8), [outline], 0, (255,), cv2.FILLED, offset=(-left, -top))
        region = np.where(inside[part], filled, np.uint8(0))
        area = cv2.countNonZero(region)
        if area >= config.min_area_px and cv2.countNonZero(cv2.bitwise_and(region, hot[part])):
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
    side = max(3, round(min(small) * SURROUNDINGS_SHARE)) | 1
    missing = np.isnan(values)
    if missing.any():
        weight = cv2.resize(255 * (~missing).view(np.uint8), small, interpolation=cv2.INTER_AREA).astype(np.float32)
        total = cv2.resize(np.where(missing, np.float32(0.0), values), small, interpolation=cv2.INTER_AREA) * np.float32(255.0)
        mean: Array = cv2.blur(total, (side, side)) / np.maximum(cv2.blur(weight, (side, side)), np.float32(1.0))
    else:
        mean = cv2.blur(cv2.resize(values, small, interpolation=cv2.INTER_AREA), (side, side))
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)


@dataclass(frozen=True)
class _Track:
    """A spot that was seen, and its motion: centre and size of its box in pixels, velocity in pixels per second, as x + yj.

    ``hidden``: it is within the region of another track. ``seen_ns``: stamp of the frame in which it last had a region of its own.
    """

    spot: HotSpot
    centre: complex
    size: complex
    velocity: complex
    first_ns: int
    seen_ns: int
    last_ns: int
    hidden: bool = False

    def at(self, stamp_ns: int) -> "_Track":
        """The track moved on to ``stamp_ns``."""
        return replace(self, centre=self.centre + self.velocity * ((stamp_ns - self.last_ns) / 1e9), last_ns=stamp_ns)

    @property
    def reach(self) -> float:
        """Largest distance of a region that continues it, in diagonals of its box."""
        if self.seen_ns - self.first_ns < NEW_NS:
            return NEW_REACH
        return min(NEW_REACH, REACH + REACH_PER_S * (self.last_ns - self.seen_ns) / 1e9)


class HotSpotTracker:
    """Gives spots an id that stays over frames, also through short gaps: crossings and shutter events of up to ``hold_ns``.

    Bodies that cross are one region for a while, which has the id of one of them. The others move on at their speed within that region,
    for at most ``hidden_ns``, and have their ids again when they are apart.
    """

    def __init__(self, hold_ns: int = 2_000_000_000, hidden_ns: int = 6_000_000_000) -> None:
        self._hold_ns, self._hidden_ns = hold_ns, hidden_ns
        self.reset_temporal()

    def reset_temporal(self) -> None:
        """Forget all tracks; ids start at 1 again."""
        self._tracks: list[_Track] = []
        self._next_id = 1

    def update(self, spots: list[HotSpot], stamp_ns: int) -> list[HotSpot]:
        """``spots`` of a frame with their ids and ages, in the same order. A stamp before the last one forgets all tracks."""
        if self._tracks and stamp_ns < max(track.last_ns for track in self._tracks):
            self.reset_temporal()
        tracks = [track for track in self._tracks if stamp_ns - track.seen_ns <= (self._hidden_ns if track.hidden else self._hold_ns)]
        moved = [track.at(stamp_ns) for track in tracks]
        assigned = _assign(spots, moved)
        kept, shared = [], set()
        for index in sorted(set(range(len(tracks))) - set(assigned.values())):
            track = moved[index]
            number = next((number for number, spot in enumerate(spots) if _holds(spot, track)), None)
            if number is not None:  # it is one region with another track
                shared.add(number)
                track = replace(_follow(tracks[index], track, spots[number], True), hidden=True)
            kept.append(track)
        named = []
        for number, spot in enumerate(spots):
            if number in assigned:
                index = assigned[number]
                track = _follow(tracks[index], moved[index], spot, number in shared)
                spot = spot._replace(id=track.spot.id, age_ns=stamp_ns - track.first_ns)
                track = replace(track, spot=spot, seen_ns=stamp_ns, hidden=False)
            else:
                track = self._start(spot, stamp_ns)
            kept.append(track)
            named.append(track.spot)
        self._tracks = kept
        return named

    def _start(self, spot: HotSpot, stamp_ns: int) -> _Track:
        self._next_id += 1
        return _Track(spot._replace(id=self._next_id - 1), _centre(spot), complex(*spot.box[2:]), 0j, stamp_ns, stamp_ns, stamp_ns)


def _assign(spots: list[HotSpot], tracks: list[_Track]) -> dict[int, int]:
    """The track of each spot that continues one, by their indices; the most alike in place and size first."""
    if not spots or not tracks:
        return {}
    apart = np.array([_centre(spot) for spot in spots])[:, None] - np.array([track.centre for track in tracks])
    sizes, last = np.array([complex(*spot.box[2:]) for spot in spots])[:, None], np.array([track.size for track in tracks])
    distance = np.abs(apart) / np.abs(last)
    shared, unlike = np.ones_like(distance), np.zeros_like(distance)
    for gap, side, before in ((apart.real, sizes.real, last.real), (apart.imag, sizes.imag, last.imag)):
        shared *= np.maximum(np.minimum(np.minimum(side, before), (side + before) / 2 - np.abs(gap)), 0.0)
        unlike += np.abs(np.log(side / before))
    overlap = shared / (sizes.real * sizes.imag + last.real * last.imag - shared)
    same_kind = np.array([spot.kind for spot in spots])[:, None] == np.array([track.spot.kind for track in tracks])
    possible = same_kind & ((distance <= np.array([track.reach for track in tracks])) | (overlap >= MIN_OVERLAP))
    cost = distance + SIZE_WEIGHT * unlike
    assigned: dict[int, int] = {}
    taken: set[int] = set()
    for index in np.argsort(np.where(possible, cost, np.inf), axis=None)[: np.count_nonzero(possible)].tolist():
        spot, track = divmod(index, len(tracks))
        if spot not in assigned and track not in taken:
            assigned[spot] = track
            taken.add(track)
    return assigned


def _holds(spot: HotSpot, track: _Track) -> bool:
    left, top, width, height = spot.box
    x, y = track.centre.real, track.centre.imag
    return bool(spot.kind == track.spot.kind and left <= x <= left + width and top <= y <= top + height)


def _within(track: _Track, spot: HotSpot) -> complex:
    """The track's centre, moved so that its box lies within the spot's."""
    left, top, width, height = spot.box
    across, down = track.size.real / 2, track.size.imag / 2
    x = _clamp(track.centre.real, left + across, left + width - across)
    return complex(x, _clamp(track.centre.imag, top + down, top + height - down))


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high) if low <= high else (low + high) / 2


def _follow(before: _Track, track: _Track, spot: HotSpot, shared: bool) -> _Track:
    """``track``, which is ``before`` at the new stamp, in its region; ``shared``: others are in it too, so its box limits the place."""
    centre = _within(track, spot) if shared else _centre(spot)
    seconds = (track.last_ns - before.last_ns) / 1e9
    share = 1.0 - math.exp(-seconds / MOTION_S)
    velocity = track.velocity
    if seconds > 0:
        velocity = velocity + share * ((centre - before.centre) / seconds - velocity)
    size = track.size if shared else track.size + share * (complex(*spot.box[2:]) - track.size)
    return replace(track, centre=centre, size=size, velocity=velocity)


def _centre(spot: HotSpot) -> complex:
    left, top, width, height = spot.box
    return complex(left + width / 2, top + height / 2)
