"""Publishers of what a thermal frame says: temperatures, the coloured view, hot spots, alarms. No subscriber, no work."""

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from aenet_ros.config import Config
from aenet_ros.core.frames import Array, Frame, FusedFrame, ThermalSource, render_brightness
from aenet_ros.health.status import ERROR, OK, WARN, Code, Failures, Status
from aenet_ros.registration.registration import Registration
from aenet_ros.ros import hot_spot_messages
from aenet_ros.ros.topics import Topics
from aenet_ros.thermal.alarms import WITHIN, reading_text
from aenet_ros.thermal.palettes import colorize, draw_color_bar
from aenet_ros.thermal.temperature import celsius, is_radiometric, scale_of
from aenet_ros.thermal.thermometer import Measurement, Thermometer, as_json

LEVELS = (OK, WARN, ERROR)  # of alarms.OK, PRE_ALARM, ALARM
ALARMS = "alarms"
TYPES: dict[str, type[Any]] = {
    "thermal/temperature": Image,
    "fused/temperature": Image,
    "thermal/view": Image,
    "thermal/view/compressed": CompressedImage,
    "hot_spots/json": String,
    **hot_spot_messages.topics(),
}
NEED_REPORT = {"hot_spots/json", "hot_spots/image_marker", "hot_spots/markers"}


def thermal_wanted(wanted: Mapping[str, int]) -> bool:
    """Whether anything of a thermal frame is to be published, or regions are watched."""
    return ALARMS in wanted or bool(TYPES.keys() & wanted.keys())


class ThermalOutputs:
    """``publish`` is called by one thread only; an error in it is counted and reported."""

    def __init__(self, node: Node, topics: Topics, qos: QoSProfile, registration: Registration) -> None:
        self._node, self._topics, self._registration = node, topics, registration
        topics.add(TYPES, qos)
        topics.add({ALARMS: DiagnosticArray}, QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self._thermometer, self._failures = Thermometer(), Failures()
        self._last_levels: dict[str, int] | None = None
        self._measured_at_ns = 0

    def publish(
        self, source: ThermalSource, fused: FusedFrame | None, wanted: Mapping[str, int], config: Config, depth: Frame | None = None
    ) -> None:
        """Measure a frame and publish what is wanted. ``fused``: the picture made of it; ``depth``: the pair's depth image."""
        try:
            with_spots = any(topic.startswith("hot_spots") for topic in wanted)
            measured = self._thermometer.measure(source, config, with_spots)
            if measured is None:
                return
            self._measured_at_ns = time.monotonic_ns()
            self._publish_alarms(measured)
            self._publish_pictures(measured, source, fused, wanted, config)
            if with_spots:
                self._publish_spots(measured, source, fused, wanted, config.registration.plane_distance_m, depth)
        except Exception as error:  # a fault here must not cost the next pair
            self._failures.count(error)

    def _publish_pictures(
        self, measured: Measurement, source: ThermalSource, fused: FusedFrame | None, wanted: Mapping[str, int], config: Config
    ) -> None:
        header = measured.stamp_ns, measured.frame_id
        if "thermal/temperature" in wanted and not measured.problem:
            self._topics.send_image("thermal/temperature", measured.values, "32FC1", *header)
        if "fused/temperature" in wanted and not measured.problem and fused is not None and fused.thermal_registered is not None:
            degrees = celsius(fused.thermal_registered, scale_of(config.agc))
            self._topics.send_image("fused/temperature", degrees, "32FC1", fused.stamp_ns, fused.frame_id)
        if wanted.keys() & {"thermal/view", "thermal/view/compressed"}:
            view = draw_view(source, measured, config)
            if "thermal/view" in wanted:
                self._topics.send_image("thermal/view", view, "rgb8", *header)
            if "thermal/view/compressed" in wanted:
                self._topics.send_jpeg("thermal/view/compressed", view, "rgb8", config.output.jpeg_quality, *header)

    def _publish_spots(
        self,
        measured: Measurement,
        source: ThermalSource,
        fused: FusedFrame | None,
        wanted: Mapping[str, int],
        plane_m: float,
        depth: Frame | None,
    ) -> None:
        report, publishers = as_json(measured, source) if wanted.keys() & NEED_REPORT else {}, self._topics.publishers
        if "hot_spots/json" in wanted:
            publishers["hot_spots/json"].publish(String(data=json.dumps(report, allow_nan=False)))
        if "hot_spots" in wanted:
            self._topics.send("hot_spots", hot_spot_messages.detections(measured), measured.stamp_ns, measured.frame_id)
        if "hot_spots/image_marker" in wanted and fused is not None:
            self._topics.send("hot_spots/image_marker", hot_spot_messages.image_marker(report), fused.stamp_ns, fused.frame_id)
        if "hot_spots/markers" in wanted:
            on_rgb = fused is not None and fused.grid == "rgb"
            places = hot_spot_messages.locate(report, self._registration, plane_m, depth) if on_rgb else {}
            publishers["hot_spots/markers"].publish(hot_spot_messages.markers(measured, places))

    def _publish_alarms(self, measured: Measurement) -> None:
        """On a change of any region's state, and of the regions themselves."""
        levels = {region.name: region.state.level for region in measured.regions}
        if levels == (self._last_levels or {}):
            return
        self._last_levels = levels
        message = DiagnosticArray()
        name = self._node.get_fully_qualified_name()
        for region in measured.regions:
            values = [KeyValue(key=key, value=text) for key, text in reading_text(region.reading._asdict()).items()]
            level = bytes([LEVELS[region.state.level]])
            text = region.state.reason or WITHIN
            message.status.append(DiagnosticStatus(level=level, name=f"{name}: {region.name}", message=text, values=values))
        self._topics.send(ALARMS, message, measured.stamp_ns, measured.frame_id)

    def statuses(self, wanted: Mapping[str, int], config: Config) -> list[Status]:
        """For diagnostics: temperatures where they are asked for, and the regions that are watched."""
        last = self._thermometer.last
        statuses = [self._temperature_status(last, wanted, config)]
        if ALARMS in wanted:
            age_ns = time.monotonic_ns() - self._measured_at_ns if self._measured_at_ns else 0
            statuses.append(alarm_status(last, age_ns if age_ns > config.diagnostics.stale_s * 1e9 else 0))
        return statuses

    def _temperature_status(self, last: Measurement | None, wanted: Mapping[str, int], config: Config) -> Status:
        topics = TYPES.keys() & wanted.keys()
        values = {"subscribed": ", ".join(sorted(topics)) or "nothing", "errors": str(self._failures.number)}
        if not thermal_wanted(wanted):
            return Status("temperature", OK, Code.TEMPERATURE_OK, "idle: no thermal topic has a subscriber", values)
        if self._failures.recent:
            text = f"temperatures fail, fusion goes on: {self._failures.last}"
            return Status("temperature", WARN, Code.TEMPERATURE_FAILS, text, values)
        if last is None:
            return Status("temperature", OK, Code.TEMPERATURE_OK, "waiting for a thermal frame", values)
        values |= {"unit": last.unit, "spots": str(len(last.spots))}
        asked = topics & {"thermal/temperature", "fused/temperature"}
        if last.problem and (asked or not is_radiometric(config.agc)):
            return Status("temperature", WARN if asked else OK, Code.TEMPERATURE_UNKNOWN, last.problem, values)
        return Status("temperature", OK, Code.TEMPERATURE_OK, f"temperatures in {last.unit}", values)


def alarm_status(last: Measurement | None, silent_ns: int) -> Status:
    """All watched regions in one status: ERROR for an alarm, WARN for a pre-alarm or for regions that cannot be watched.

    ``silent_ns``: time since the last thermal frame where that is too long, else 0.
    """
    if last is None:
        return Status("alarms", OK, Code.ALARMS_OK, "waiting for a thermal frame", {})
    values: dict[str, str] = {}
    for region in last.regions:
        values |= {f"{region.name} {key}": text for key, text in reading_text(region.reading._asdict()).items()}
    level = max((LEVELS[region.state.level] for region in last.regions), default=OK)
    reasons = "; ".join(region.state.reason for region in last.regions if region.state.reason)
    if silent_ns:
        before = f"; before that: {reasons}" if reasons else ""
        text = f"no region is watched: no thermal frame for {silent_ns / 1e9:.1f} s, see the other entries{before}"
        return Status("alarms", ERROR, Code.ALARMS_NO_FRAMES, text, values)
    code = Code.ALARMS_RAISED if level else Code.ALARMS_OK
    text = reasons or f"{len(last.regions)} regions are within their levels"
    unwatched = [last.region_problem] if last.region_problem else []
    unwatched += [f"region '{region.name}' shows no value" for region in last.regions if math.isnan(region.reading.maximum)]
    if unwatched:
        reason = "; ".join(unwatched)
        text = f"not all regions are watched: {reason}; {text}" if last.regions else f"no region is watched: {reason}"
        level, code = max(level, WARN), code if level else Code.ALARMS_UNWATCHED
    return Status("alarms", level, code, text, values)


def draw_view(source: ThermalSource, measured: Measurement, config: Config) -> Array:
    """The thermal frame for people, uint8 [h, w, 3], red, green, blue: the gain control's brightness in the colours of ``output.palette``.

    Black where a pixel has no value; with a colour bar where the values are degrees.
    """
    output, given = config.output, source.brightness
    view = colorize(render_brightness(given), output.palette)
    if source.frame.invalid is not None:
        view[source.frame.invalid] = 0
    if output.color_bar and not measured.problem and given.factor:
        scale = scale_of(config.agc)
        top = given.knee + (1.0 - given.knee) / given.slope  # what the gain shows as white
        low, high = ((given.black + value / given.factor) * scale.per_count + scale.at_zero for value in (0.0, top))
        view = draw_color_bar(view, output.palette, low, high)
    return view
