"""One instant as a page is shown it: pictures that are encoded once for all pages, and what the thermal camera measured at points."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.config import AgcConfig
from aenet_ros.core.frames import Array, Frame
from aenet_ros.messages.codec import encode_jpeg
from aenet_ros.thermal.agc import FLOAT_UNIT_COUNTS, ThermalAgc
from aenet_ros.thermal.temperature import celsius_at, scale_of

STREAMS = ("rgb", "thermal", "fused")
"""The pictures that a page can ask for."""

Point = tuple[float, float]
"""A place in the picture: shares of its width and height, 0..1."""

Decode = Callable[[], Frame]


class Reading(NamedTuple):
    """The thermal camera at a point: its counts, and degrees Celsius where their scale is known; None where there is nothing."""

    counts: float | None
    celsius: float | None


NOTHING = Reading(None, None)


class Moment:
    """The pictures of one instant, each decoded and encoded when the first page asks for it. Safe to be used by several threads.

    ``pictures``: functions that give a frame in rgb8, bgr8 or mono8, by stream. ``counts``: gives the thermal counts (uint8, uint16 or
    float32 [H, W]) on the same grid, 0 or NaN where there are none. ``agc``: holds the counts' scale; None where that is not known.
    ``at_ns``: time in the bag, from its start; for a robot 0.
    """

    def __init__(
        self,
        stamp_ns: int,
        pictures: Mapping[str, Decode],
        counts: Callable[[], Array] | None = None,
        agc: AgcConfig | None = None,
        at_ns: int = 0,
    ) -> None:
        self.stamp_ns, self.at_ns, self.agc = stamp_ns, at_ns, agc
        self._pictures, self._counts = pictures, counts
        self._frames: dict[str, Frame] = {}
        self._made: dict[tuple[str, int, int], bytes] = {}
        self._measured: Array | None = None
        self._lock = threading.Lock()

    @property
    def streams(self) -> tuple[str, ...]:
        """The pictures that there are."""
        return tuple(self._pictures)

    def jpeg(self, stream: str, width: int, quality: int) -> bytes:
        """The picture, made smaller to ``width`` pixels where it is wider. Raises ImageError for one that cannot be decoded."""
        with self._lock:
            if stream not in self._frames:
                self._frames[stream] = self._pictures[stream]()
            frame = self._frames[stream]
            width = min(width, frame.size[1])
            key = (stream, width, quality)
            if key not in self._made:
                data = frame.data
                if width < frame.size[1]:
                    height = max(1, round(frame.size[0] * width / frame.size[1]))
                    data = cv2.resize(data, (width, height), interpolation=cv2.INTER_AREA)
                self._made[key] = encode_jpeg(data, frame.encoding, quality)
            return self._made[key]

    def readings(self, points: Sequence[Point]) -> list[Reading]:
        """What the thermal camera measured at the points. Raises ImageError for counts that cannot be decoded."""
        if self._counts is None or not points:
            return [NOTHING] * len(points)
        with self._lock:
            if self._measured is None:
                self._measured = self._counts()
        return [read(self._measured, point, self.agc) for point in points]


def read(counts: Array, point: Point, agc: AgcConfig | None) -> Reading:
    """The counts at a point and what they mean; 8-bit counts are brightness, not temperatures."""
    height, width = counts.shape
    column, row = (min(int(share * size), size - 1) for share, size in zip(point, (width, height), strict=True))
    value = float(counts[row, column])
    if not np.isfinite(value) or (counts.dtype.kind == "u" and value == 0):
        return NOTHING
    if agc is None or counts.dtype == np.uint8:
        return Reading(value, None)
    return Reading(value, celsius_at(counts, column, row, scale_of(agc)))


class ThermalLook:
    """Counts on the rgb grid to a grey picture, steady from frame to frame, as the node's own gain control would have it."""

    def __init__(self) -> None:
        self._agc = ThermalAgc()

    def frame(self, counts: Array, stamp_ns: int, config: AgcConfig | None) -> Frame:
        """A mono8 Frame of counts (uint8, uint16 or float32 [H, W]); black where there are none."""
        config = config or AgcConfig()
        if counts.dtype == np.uint8 and config.mode == "auto":
            return Frame(stamp_ns, np.where(counts == 0, counts, 255 - counts) if config.invert else counts, "mono8")
        values = counts.astype(np.float32)
        if counts.dtype.kind == "u":
            values[counts == 0] = np.nan  # outside the thermal view: not to be taken for cold
            # The gain control takes a float's unit for more than one count.
            config = replace(config, min_range=config.min_range * FLOAT_UNIT_COUNTS)
        brightness = self._agc.apply(Frame(stamp_ns, values, "32FC1"), config)
        return Frame(stamp_ns, (brightness * np.float32(255)).astype(np.uint8), "mono8")
