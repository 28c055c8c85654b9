"""What the thermal frames of a stream say in degrees: temperatures, hot spots with ids, regions and their alarms."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from aenet_ros.config import AlarmConfig, Config
from aenet_ros.config.regions import Region, parse_regions
from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.core.frames import Array, Plane, ThermalSource, render_brightness, replace_bad_pixels
from aenet_ros.thermal.alarms import Alarm, AlarmState, Reading, read_region, region_mask
from aenet_ros.thermal.hot_spots import HotSpot, HotSpotTracker, find_hot_spots
from aenet_ros.thermal.temperature import temperature

DEGREES, GREY_LEVELS = "degC", "grey level"


class WatchedRegion(NamedTuple):
    """A region in one frame. ``points``: x and y in thermal pixels; none: the whole frame."""

    name: str
    points: tuple[tuple[int, int], ...]
    reading: Reading
    state: AlarmState


@dataclass(frozen=True)
class Measurement:
    """One thermal frame.

    values: float32 [h, w], known bad pixels replaced, NaN where a pixel has no value: degrees Celsius, or grey levels (0..255 after the
    gain control) of a camera that is not radiometric. unit: ``degC`` or ``grey level``. problem: why there are no degrees, or "".
    spots: as found, with ids. regions: those that are watched; ``region_problem``: which others cannot be, and why, or "".
    """

    stamp_ns: int
    frame_id: str
    values: Plane
    unit: str
    problem: str
    spots: list[HotSpot] = field(default_factory=list)
    regions: list[WatchedRegion] = field(default_factory=list)
    region_problem: str = ""


class Thermometer:
    """Measures frame by frame. A frame that is held during a shutter event is not measured again.

    A stamp before the last one forgets the past. For one thread.
    """

    def __init__(self) -> None:
        self._tracker = HotSpotTracker()
        self.reset_temporal()

    def reset_temporal(self) -> None:
        """Forget earlier frames: ids start at 1 again, alarms are over."""
        self.last: Measurement | None = None
        self._data: Array | None = None
        self._tracker.reset_temporal()
        self._watch: _Watch | None = None

    def measure_again(self) -> None:
        """Measure the frame of the last call once more: the configuration is another one."""
        self._data = None

    def measure(self, source: ThermalSource, config: Config, spots: bool = True) -> Measurement | None:
        """Measure a frame, with hot spots where ``spots``, and the regions of ``alarms.regions``; None for the frame of the last call."""
        frame = source.frame
        if frame.data is self._data:
            return None
        if self.last is not None and frame.stamp_ns < self.last.stamp_ns:
            self.reset_temporal()
        self._data = frame.data
        problem, unit = "", DEGREES
        try:
            values = temperature(frame, config.agc)
            if source.brightness.bad_pixels is not None:  # one at full scale would raise an alarm
                replace_bad_pixels(values, source.brightness.bad_pixels)
        except ImageError as error:
            problem, unit, values = str(error), GREY_LEVELS, grey_levels(source)
        found = self._tracker.update(find_hot_spots(values, config.hot_spots), frame.stamp_ns) if spots else []
        regions: list[WatchedRegion] = []
        region_problem = ""
        if config.alarms.regions:
            regions, region_problem = self._read_regions(source, values, problem, config)
        self.last = Measurement(frame.stamp_ns, frame.frame_id, values, unit, problem, found, regions, region_problem)
        return self.last

    def _read_regions(self, source: ThermalSource, values: Plane, problem: str, config: Config) -> tuple[list[WatchedRegion], str]:
        if problem:
            return [], problem
        watch = self._watch
        if watch is None or not watch.holds(source, config.alarms):
            known = {} if watch is None or watch.config.regions != config.alarms.regions else watch.alarms
            self._watch = watch = _Watch(source, config.alarms, known)
        return watch.read(values, source.frame.stamp_ns), watch.problem


class _Watch:
    """The regions on frames of one size and registration, with their alarms (``alarms``: those that go on from before).

    ``problem``: which regions cannot be watched, and why; the others are.
    """

    def __init__(self, source: ThermalSource, config: AlarmConfig, alarms: dict[str, Alarm]) -> None:
        self.config = config
        self._size, self._maps, self._picture = source.frame.size, source.maps, source.size
        self._regions: list[tuple[Region, Array]] = []
        problems = []
        for region in parse_regions(config.regions):
            try:
                region = _in_thermal(region, source, config)
                self._regions.append((region, region_mask(region, source.frame.size)))
            except ConfigError as error:
                problems.append(str(error))
        self.problem = "; ".join(dict.fromkeys(problems))
        self.alarms = {region.name: alarms.get(region.name) or Alarm(region.name) for region, _ in self._regions}

    def holds(self, source: ThermalSource, config: AlarmConfig) -> bool:
        """Whether the masks are right for this frame too."""
        same_picture = config.pixels == "thermal" or not source.size[0] or (source.maps is self._maps and source.size == self._picture)
        return config == self.config and source.frame.size == self._size and same_picture

    def read(self, values: Plane, stamp_ns: int) -> list[WatchedRegion]:
        watched = []
        for region, mask in self._regions:
            reading = read_region(values, mask)
            state = self.alarms[region.name].update(reading, region.levels, self.config, stamp_ns)
            watched.append(WatchedRegion(region.name, region.points, reading, state))
        return watched


def _in_thermal(region: Region, source: ThermalSource, config: AlarmConfig) -> Region:
    if config.pixels == "thermal" or not region.points:
        return region
    if not source.size[0]:
        raise ConfigError("alarms.pixels is fused, and no pair was fused yet: start the rgb camera, or give regions in thermal pixels")
    places = [source.to_thermal(*point) for point in region.points]
    return region._replace(points=tuple((round(x), round(y)) for x, y in places))


def grey_levels(source: ThermalSource) -> Plane:
    """The frame's brightness after the gain control, float32 [h, w] in 0..255, NaN where a pixel has no value."""
    values: Plane = render_brightness(source.brightness) * np.float32(255.0)
    if source.frame.invalid is not None:
        values[source.frame.invalid] = np.nan
    return values


def as_json(measured: Measurement, source: ThermalSource) -> dict[str, Any]:
    """The measurement in plain types, for JSON: places in thermal pixels, and ``fused`` in pixels of the picture (null: not in view)."""
    return {
        "stamp_ns": measured.stamp_ns,
        "frame_id": measured.frame_id,
        "size": list(source.frame.size[::-1]),
        "fused_size": list(source.size[::-1]),
        "unit": measured.unit,
        "no_degrees": measured.problem,
        **_reading(read_region(measured.values, np.full(measured.values.shape, 255, np.uint8))),
        "spots": [_spot(spot, source) for spot in measured.spots],
        "regions": [_region(region, source) for region in measured.regions],
        "region_problem": measured.region_problem,
    }


def _spot(spot: HotSpot, source: ThermalSource) -> dict[str, Any]:
    return {
        "id": spot.id,
        "kind": spot.kind,
        "box": list(spot.box),
        "peak": list(spot.peak),
        "value": round(spot.peak_value, 3),
        "mean": round(spot.mean, 3),
        "area": spot.area,
        "age_s": round(spot.age_ns / 1e9, 3),
        "fused": _places([spot.peak], source)[0],
        "fused_box": _places(corners(spot.box), source),
    }


def _region(region: WatchedRegion, source: ThermalSource) -> dict[str, Any]:
    return {
        "name": region.name,
        "points": [list(point) for point in region.points],
        "fused": _places(region.points, source),
        **_reading(region.reading),
        "level": region.state.level,
        "reason": region.state.reason,
    }


def corners(box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """The four corner pixels of a box (left, top, width, height), clockwise from the left top one."""
    left, top, right, bottom = box[0], box[1], box[0] + box[2] - 1, box[1] + box[3] - 1
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _places(points: Iterable[tuple[float, float]], source: ThermalSource) -> list[list[float] | None]:
    found = (source.to_picture(*point) for point in points)
    return [None if place is None else [round(place[0], 1), round(place[1], 1)] for place in found]


def _reading(reading: Reading) -> dict[str, Any]:
    """Without the values that are not known."""
    if math.isnan(reading.maximum):
        return {}
    values = {"minimum": reading.minimum, "mean": reading.mean, "maximum": reading.maximum}
    places = {"minimum_at": list(reading.lowest), "maximum_at": list(reading.peak)}
    return {**{name: round(value, 3) for name, value in values.items()}, **places}
