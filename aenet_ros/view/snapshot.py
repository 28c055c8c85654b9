"""Snapshots: the pictures of one instant, encoded once for all pages, with thermal readings at points."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

import cv2
import numpy as np

from aenet_ros.config import AgcConfig
from aenet_ros.core.frames import Array, Frame, ThermalInput, render_brightness
from aenet_ros.messages.codec import encode_jpeg
from aenet_ros.thermal.agc import FLOAT_UNIT_COUNTS, ThermalAgc
from aenet_ros.thermal.temperature import celsius_at, scale_of

STREAMS = ("rgb", "thermal", "fused")
"""The pictures that a page can request."""

LEADERS = ("registered", "fused", "rgb", "thermal")
"""The first active stream of these completes a group: of one stamp the node publishes the registered thermal frame last."""

MAX_FRAMES = 30
ACTIVE_NS = 2_500_000_000
"""A stream that was silent for longer is not waited for."""
JUMP_NS = 1_000_000_000
"""A stamp that is further back than this is a jump in time, as in `sync.matcher`; a smaller step is a late frame."""

Point = tuple[float, float]
"""(x, y) in a picture, as fractions of its width and height, 0..1."""

Decode = Callable[[], Frame]
T = TypeVar("T")


class Reading(NamedTuple):
    """The thermal value at a point: counts, and degrees Celsius if the scale is known. None outside the thermal view."""

    counts: float | None
    celsius: float | None


NO_READING = Reading(None, None)


class Snapshot:
    """The pictures of one instant. Each is decoded and encoded when the first page needs it, by one thread for all pages.

    ``pictures``: for each stream, a Frame in rgb8, bgr8 or mono8, or a function that returns it. ``counts``: returns thermal counts (uint8,
    uint16 or float32 [H, W]) on the same grid, with 0 or NaN outside the thermal view. ``agc``: has the counts' scale; None if unknown.
    ``at_ns``: time since the start of the bag; 0 for a robot.
    """

    def __init__(
        self,
        stamp_ns: int,
        pictures: Mapping[str, Frame | Decode],
        counts: Callable[[], Array] | None = None,
        agc: AgcConfig | None = None,
        at_ns: int = 0,
    ) -> None:
        self.stamp_ns, self.pictures, self.at_ns = stamp_ns, pictures, at_ns
        self._counts, self._agc = counts, agc
        self._frames: dict[str, Frame] = {}
        self._jpegs: dict[tuple[str, int, int], bytes] = {}

    def jpeg(self, stream: str, width: int, quality: int) -> bytes:
        """The picture as JPEG, scaled down to ``width`` pixels if it is wider. Raises ImageError if it cannot be decoded."""
        if stream not in self._frames:
            picture = self.pictures[stream]
            self._frames[stream] = picture if isinstance(picture, Frame) else picture()
        frame = self._frames[stream]
        height, full_width = frame.size
        width = min(width, full_width)
        key = (stream, width, quality)
        if key not in self._jpegs:
            data = frame.data
            if width < full_width:
                data = cv2.resize(data, (width, max(1, round(height * width / full_width))), interpolation=cv2.INTER_AREA)
            self._jpegs[key] = encode_jpeg(data, frame.encoding, quality)
        return self._jpegs[key]

    def readings(self, points: Sequence[Point]) -> list[Reading]:
        """The thermal values at the points. Raises ImageError if the counts cannot be decoded."""
        if self._counts is None or not points:
            return [NO_READING] * len(points)
        counts = self._counts()
        return [read_point(counts, point, self._agc) for point in points]


def read_point(counts: Array, point: Point, agc: AgcConfig | None) -> Reading:
    """The counts (uint8, uint16 or float32 [H, W]) at a point, and their temperature. 8-bit counts are brightness, not temperatures."""
    height, width = counts.shape
    column, row = (min(int(fraction * size), size - 1) for fraction, size in zip(point, (width, height), strict=True))
    value = float(counts[row, column])
    if not np.isfinite(value) or (counts.dtype.kind == "u" and value == 0):
        return NO_READING
    if agc is None or counts.dtype == np.uint8:
        return Reading(value, None)
    return Reading(value, celsius_at(counts, column, row, scale_of(agc)))


class ThermalRenderer:
    """Renders counts on the rgb grid as a grey picture, with the node's gain control and its smoothing over time."""

    def __init__(self) -> None:
        self._agc = ThermalAgc()

    def render(self, counts: Array, stamp_ns: int, config: AgcConfig | None) -> Frame:
        """A mono8 Frame of counts (uint8, uint16 or float32 [H, W]); black outside the thermal view."""
        config = config or AgcConfig()
        if counts.dtype == np.uint8 and config.mode == "auto":
            return Frame(stamp_ns, self._render_grey(counts, stamp_ns, config), "mono8")
        values = counts.astype(np.float32)
        if counts.dtype.kind == "u":
            values[counts == 0] = np.nan  # outside the thermal view, not cold
            # The gain control multiplies min_range for float counts.
            config = replace(config, min_range=config.min_range * FLOAT_UNIT_COUNTS)
        brightness = self._agc.apply(Frame(stamp_ns, values, "32FC1"), config)
        return Frame(stamp_ns, (brightness * np.float32(255)).astype(np.uint8), "mono8")

    def _render_grey(self, counts: Array, stamp_ns: int, config: AgcConfig) -> Array:
        seen = counts != 0
        if not seen.any():
            return counts
        # What lies outside the thermal view must not count as dark; the noise is measured between neighbours all the same.
        gain = self._agc.gain(Frame(stamp_ns, counts[seen][None], "mono8"), config)
        brightness = render_brightness(ThermalInput(counts, *gain))
        return np.where(seen, np.rint(brightness * np.float32(255)), 0).astype(np.uint8)


class StampGrouper(Generic[T]):
    """Groups frames of several streams by stamp. Keeps the latest MAX_FRAMES of each stream of LEADERS."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all frames, after a jump in time or when a stream is left."""
        self._frames: dict[str, dict[int, T]] = {name: {} for name in LEADERS}
        self._seen_ns: dict[str, int] = {}

    def add(self, stream: str, stamp_ns: int, frame: T, now_ns: int) -> dict[str, T]:
        """Add a frame. If it completes a group, return the frame of the same or the nearest stamp of each active stream; else nothing.

        ``now_ns``: time of arrival, of any clock that never goes back.
        """
        frames = self._frames[stream]
        if frames and stamp_ns < next(reversed(frames)) - JUMP_NS:  # later stamps are of the time before the jump
            for name, others in self._frames.items():
                self._frames[name] = {stamp: other for stamp, other in others.items() if stamp <= stamp_ns + JUMP_NS}
            frames = self._frames[stream]
        frames[stamp_ns] = frame
        if len(frames) > MAX_FRAMES:
            del frames[next(iter(frames))]
        self._seen_ns[stream] = now_ns
        active = [name for name in LEADERS if name in self._seen_ns and now_ns - self._seen_ns[name] < ACTIVE_NS]
        if stream != active[0]:
            return {}
        groups = {name: self._frames[name] for name in active if self._frames[name]}
        return {name: others[min(others, key=lambda stamp: abs(stamp - stamp_ns))] for name, others in groups.items()}
