"""Snapshots: the pictures of one instant, encoded once for all pages, with thermal readings of points and of a box."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np

from aenet_ros.config import AgcConfig, Config
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Frame, Plane, ThermalInput, counts_encoding, render_brightness
from aenet_ros.messages.codec import encode_jpeg
from aenet_ros.thermal.agc import FLOAT_UNIT_COUNTS, ThermalAgc
from aenet_ros.thermal.alarms import read_region
from aenet_ros.thermal.palettes import colorize
from aenet_ros.thermal.temperature import celsius, scale_of, temperature

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

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in a picture, as fractions of its width and height, 0..1."""

Decode = Callable[[], Frame]
T = TypeVar("T")


class Readings(NamedTuple):
    """Thermal values for a page. ``unit``: "°C", or "counts" for the reason ``no_degrees``.

    points: value and counts of each point, None where there is none. box: minimum, mean and maximum; None where the box has no value.
    """

    unit: str
    no_degrees: str
    points: list[tuple[float | None, float | None]]
    box: tuple[float, float, float] | None


class ThermalValues:
    """The thermal values of a picture, from its counts (uint8, uint16 or float32 [H, W], 0 or NaN outside the thermal view).

    They are degrees Celsius where ``config`` says what counts mean, else counts; ``no_degrees`` is the reason.
    """

    def __init__(self, counts: Array, config: Config | None) -> None:
        self._counts, self._config = counts, config
        self.no_degrees = "the node has not reported what its counts mean yet"
        if config is not None:
            try:
                # For its checks; every fourth pixel is enough for them.
                temperature(Frame(0, counts[::4, ::4], counts_encoding(counts)), config.agc)
                self.no_degrees = ""
            except ImageError as error:
                self.no_degrees = str(error)

    def point(self, point: Point) -> tuple[float | None, float | None]:
        """The value and the counts at a point; None outside the thermal view."""
        height, width = self._counts.shape
        column, row = (min(int(fraction * size), size - 1) for fraction, size in zip(point, (width, height), strict=True))
        pixel = self._counts[row : row + 1, column : column + 1]
        value = float(self._values(pixel)[0, 0])
        return (value, float(pixel[0, 0])) if np.isfinite(value) else (None, None)

    def box(self, box: Box) -> tuple[float, float, float] | None:
        """Minimum, mean and maximum, as regions have them (``alarms.Reading``); None without a value."""
        (top, bottom), (left, right) = (_pixels(box[axis], box[axis + 2], self._counts.shape[1 - axis]) for axis in (1, 0))
        values = self._values(self._counts[top:bottom, left:right])
        reading = read_region(values, np.full(values.shape, 255, np.uint8))
        return (reading.minimum, reading.mean, reading.maximum) if np.isfinite(reading.mean) else None

    def _values(self, counts: Array) -> Plane:
        if self._config is not None and not self.no_degrees:
            return celsius(counts, scale_of(self._config.agc))
        values: Plane = counts.astype(np.float32)
        values[~np.isfinite(values) | ((counts == 0) & (counts.dtype.kind == "u"))] = np.nan
        return values


def _pixels(first: float, last: float, size: int) -> tuple[int, int]:
    """The pixels from one fraction to another one: start and end of a slice that is not empty."""
    start = min(int(min(first, last) * size), size - 1)
    return start, min(max(start + 1, round(max(first, last) * size)), size)


class Snapshot:
    """The pictures of one instant. Each is decoded and encoded when the first page needs it, by one thread for all pages.

    ``pictures``: for each stream, a Frame in rgb8, bgr8 or mono8, or a function that returns it. ``counts``: returns those of
    ``ThermalValues``. ``at_ns``: time since the start of the bag; 0 for a robot. ``spots``: returns ``spots_for_page``, or None.
    """

    def __init__(
        self,
        stamp_ns: int,
        pictures: Mapping[str, Frame | Decode],
        counts: Callable[[], Array] | None = None,
        config: Config | None = None,
        at_ns: int = 0,
        spots: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> None:
        self.stamp_ns, self.pictures, self.at_ns, self.spots = stamp_ns, pictures, at_ns, spots
        self._counts, self._config = counts, config
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

    @cached_property
    def _values(self) -> ThermalValues | None:
        return None if self._counts is None else ThermalValues(self._counts(), self._config)

    def readings(self, points: Sequence[Point], box: Box | None = None) -> Readings | None:
        """The thermal values; None without a thermal frame. Raises ImageError if the counts cannot be decoded."""
        values = self._values
        if values is None:
            return None
        measured = None if box is None else values.box(box)
        return Readings("counts" if values.no_degrees else "°C", values.no_degrees, [values.point(point) for point in points], measured)


class ThermalRenderer:
    """Renders counts on the rgb grid as a picture, with the node's gain control and its smoothing over time."""

    def __init__(self) -> None:
        self._agc = ThermalAgc()

    def render(self, counts: Array, stamp_ns: int, config: Config | None) -> Frame:
        """Counts (uint8, uint16 or float32 [H, W]) in the colours of ``output.palette``, mono8 for white_hot; black outside the view."""
        config = config or Config()
        grey = self.grey(counts, stamp_ns, config.agc)
        if config.output.palette == "white_hot":
            return Frame(stamp_ns, grey, "mono8")
        picture = colorize(grey, config.output.palette)
        picture[(counts == 0) if counts.dtype.kind == "u" else ~np.isfinite(counts)] = 0
        return Frame(stamp_ns, picture, "rgb8")

    def grey(self, counts: Array, stamp_ns: int, config: AgcConfig) -> Array:
        """The brightness of counts (uint8, uint16 or float32 [H, W]), uint8 [H, W]; 0 outside the thermal view."""
        if counts.dtype == np.uint8 and config.mode == "auto":
            return self._stretch_grey(counts, stamp_ns, config)
        values = counts.astype(np.float32)
        if counts.dtype.kind == "u":
            values[counts == 0] = np.nan  # outside the thermal view, not cold
            # The gain control multiplies min_range for float counts.
            config = replace(config, min_range=config.min_range * FLOAT_UNIT_COUNTS)
        brightness = self._agc.apply(Frame(stamp_ns, values, "32FC1"), config)
        grey: Array = (brightness * np.float32(255)).astype(np.uint8)
        return grey

    def _stretch_grey(self, counts: Array, stamp_ns: int, config: AgcConfig) -> Array:
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
