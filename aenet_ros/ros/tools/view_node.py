"""Serves the web page of a robot. `aenet view` starts it, with the settings as JSON in the environment variable AENET_VIEW.

The node subscribes only while a page is open, and only to the streams that the page shows.
"""

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache, partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.clock import Clock
from rclpy.exceptions import InvalidNamespaceException, InvalidNodeNameException, InvalidTopicNameException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from aenet_ros.config import Config, build, specs
from aenet_ros.core.errors import AenetError, ConfigError, format_error
from aenet_ros.core.frames import Frame
from aenet_ros.health.status import Code
from aenet_ros.messages.codec import decode_rgb, decode_thermal, serialized_stamp_ns
from aenet_ros.ros.compat import ClockType
from aenet_ros.ros.inputs import published_image_topics
from aenet_ros.ros.tools.camera_publisher import LATCHED, listen
from aenet_ros.view import ViewSettings
from aenet_ros.view.server import serve
from aenet_ros.view.snapshot import Snapshot, StampGrouper, ThermalRenderer
from aenet_ros.view.source import OK, SILENT_S, WAITING, RobotFacts, dynamic_options, robot_status_text, status_row, temperature_note
from aenet_ros.view.spots import spots_for_page

GRAPH_PERIOD_S = 1.0
SERVICE_TIMEOUT_S = 5.0
MAX_TOPICS = 8
MAX_SPOT_AGE_S = 1.0
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
NODE_TOPICS = {"fused": "fused/image", "registered": "fused/thermal_registered", "spots": "hot_spots/json", "alarms": "alarms"}
IMAGE_STREAMS = ("rgb", "thermal", "fused", "registered")
"""The executor serves subscriptions in this order; the leader of a group comes last."""
STATUS_STREAMS = ("diagnostics", "info", "alarms")
STREAMS = (*IMAGE_STREAMS, "spots", *STATUS_STREAMS)


class RobotView(Node):
    """See ``ViewSource``. All ROS entities belong to the executor's thread."""

    kind = "robot"

    def __init__(self, settings: ViewSettings) -> None:
        super().__init__("aenet_view", namespace=settings.namespace or None, start_parameter_services=False)
        self._settings = settings
        base = self.get_namespace().rstrip("/")
        self.title = self._target = settings.node if settings.node.startswith("/") else f"{base}/{settings.node}"
        self._streams: frozenset[str] = frozenset()
        self._subscribed: dict[str, tuple[str, Subscription[Any]]] = {}  # by stream: its topic too
        self._grouper: StampGrouper[bytes] = StampGrouper()
        self._facts = RobotFacts(self._target, os.environ.get("ROS_DOMAIN_ID", "0"), time.monotonic())
        self._statuses: list[dict[str, Any]] = []
        self._values: dict[str, Any] = {}
        self._model = ""
        self._config: Config | None = None
        self._spots: dict[str, Any] | None = None
        self._spots_s = 0.0
        self._spot_publishers = 0
        self._alarms: list[dict[str, Any]] = []
        self._registered_publishers = 0
        self._renderer = ThermalRenderer()
        self._on_snapshot: Callable[[Snapshot], None] = lambda _snapshot: None
        self._client: Any = self.create_client(SetParameters, f"{self._target}/set_parameters")
        self._closed = False
        self._view_executor = SingleThreadedExecutor(context=self.context)
        self._view_executor.add_node(self)
        self._thread = threading.Thread(target=self._spin, name="ros", daemon=True)
        self._listeners: dict[str, tuple[type[Any], Callable[[bytes], None], QoSProfile | int]] = {
            "spots": (String, self._on_spots, NEWEST),
            "diagnostics": (DiagnosticArray, self._on_diagnostics, 10),
            "info": (String, self._on_info, LATCHED),
            "alarms": (DiagnosticArray, self._on_alarms, LATCHED),
        }
        self.create_timer(GRAPH_PERIOD_S, self._read_graph, clock=Clock(clock_type=ClockType.STEADY_TIME))

    # Called by the server's thread.

    def start(self, on_snapshot: Callable[[Snapshot], None]) -> None:
        """Start the executor's thread."""
        self._on_snapshot = on_snapshot
        self._thread.start()

    def set_streams(self, streams: frozenset[str]) -> None:
        """Subscribe to these streams and to no others."""
        if streams != self._streams:
            self._streams = streams
            self._view_executor.create_task(self._subscribe)

    def options(self) -> list[str]:
        """All parameters that can change while the node runs."""
        return [name for name in dynamic_options() if name != "enabled"]

    async def set_option(self, name: str, value: Any) -> str:
        """Call the node's set_parameters service. Returns the node's reason for a refusal, or an empty text."""
        if isinstance(specs()[name].default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not self._client.service_is_ready():
            return f"{self._target} has no parameter service: check that it is running"
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        answer: Future[Any] = Future()
        answer.set_running_or_notify_cancel()  # so that an answer after the timeout does no harm
        self._view_executor.create_task(self._call, request, answer)
        try:
            result = await asyncio.wait_for(asyncio.wrap_future(answer), SERVICE_TIMEOUT_S)
        except asyncio.TimeoutError:
            return f"{self._target} did not answer within {SERVICE_TIMEOUT_S:g} s: check whether it still runs"
        return "" if result.successful else result.reason or "refused without a reason"

    def control(self, action: str, value: float) -> None:
        """A robot has no player."""

    def state(self) -> dict[str, Any]:
        """See ``ViewSource``. ``stale``: the statuses are old."""
        now_s, diagnostics_s = time.monotonic(), self._facts.diagnostics_s
        return {
            **robot_status_text(self._facts, now_s)._asdict(),
            "statuses": self._statuses,
            "stale": diagnostics_s is None or now_s - diagnostics_s >= SILENT_S,
            "values": self._values,
            "options_note": "" if self._values else "The node has not published its configuration yet.",
            "model": self._model,
            "temperature": temperature_note(self._config, known=True),
            "alarms": self._alarm_rows(),
            "spots_note": "" if self._spot_publishers else f"no spots: {self._topic_of('spots')} has no publisher; activate the node",
            "topics": {stream: topic for stream, (topic, _) in dict(self._subscribed).items() if stream in IMAGE_STREAMS},
        }

    def close(self) -> None:
        """Stop the executor's thread and destroy the node; the context belongs to the caller."""
        self._closed = True
        self._view_executor.shutdown()
        if self._thread.ident is not None:
            self._thread.join(5.0)
        self.destroy_node()

    # In the executor's thread.

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            while self.context.ok() and not self._closed:
                try:
                    self._view_executor.spin()
                except Exception as error:  # one bad message must not stop the thread
                    self.get_logger().error(f"error in a callback: {format_error(error)}", throttle_duration_sec=10.0)

    def _call(self, request: SetParameters.Request, answer: "Future[Any]") -> None:
        self._client.call_async(request).add_done_callback(lambda response: answer.set_result(response.result().results[0]))

    def _topic_of(self, stream: str) -> str:
        settings = self._settings
        names = {"fused": settings.fused_topic, "rgb": settings.rgb_topic, "thermal": settings.thermal_topic}
        names |= {"diagnostics": "/diagnostics", "info": f"{self._target}/info"}
        name = names.get(stream) or NODE_TOPICS.get(stream)
        if name is None:  # the node reports to which topic a camera's input was remapped
            rows = (row["values"].get("topic") for row in self._statuses if row["name"] == f"input {stream}")
            name = next(rows, None) or f"{stream}/image_raw"
        return str(self.resolve_topic_name(name))

    def _needed_streams(self) -> list[str]:
        """In the order of STREAMS."""
        needed = {*self._streams, *(STATUS_STREAMS if self._streams else ())}
        if "thermal" in needed:
            needed.add("registered")
            if self._registered_publishers:  # else the camera's own picture
                needed.remove("thermal")
        return [stream for stream in STREAMS if stream in needed]

    def _subscribe(self) -> None:
        needed = {stream: self._topic_of(stream) for stream in self._needed_streams()}
        for stream in [name for name, (topic, _) in self._subscribed.items() if needed.get(name) != topic]:
            self.destroy_subscription(self._subscribed.pop(stream)[1])
            if stream in IMAGE_STREAMS:
                self._facts.fused_s = None if stream == "fused" else self._facts.fused_s
                self._grouper.reset()
        opens = "info" in needed and "info" not in self._subscribed
        for stream, topic in needed.items():
            if stream not in self._subscribed:
                kind, callback, qos = self._listeners.get(stream, (_message_type(topic), partial(self._on_image, stream), NEWEST))
                self._subscribed[stream] = topic, listen(self, kind, topic, callback, qos)
        self._facts.wants_fused = "fused" in self._streams
        if opens:
            self._facts.search_start_s, self._facts.diagnostics_s = time.monotonic(), None
            self._read_graph()

    def _on_image(self, stream: str, data: bytes) -> None:
        """``data`` is serialized. It is decoded only if a page shows it."""
        stamp_ns = serialized_stamp_ns(data)
        if stream == "fused":
            self._facts.fused_s = time.monotonic()
        if group := self._grouper.add(stream, stamp_ns, data, time.monotonic_ns()):
            self._on_snapshot(self._snapshot(stamp_ns, group))

    def _snapshot(self, stamp_ns: int, group: dict[str, bytes]) -> Snapshot:
        config = self._config
        frames = {
            name: cache(partial(_decode, name, data, _message_type(self._subscribed.get(name, ("",))[0]))) for name, data in group.items()
        }
        pictures: dict[str, Frame | Callable[[], Frame]] = {name: frames[name] for name in ("rgb", "fused") if name in frames}
        source = frames.get("registered") or frames.get("thermal")
        if source is None:
            return Snapshot(stamp_ns, pictures, config=config, spots=self._newest_spots)
        pictures["thermal"] = lambda: self._renderer.render(source().data, stamp_ns, config)
        return Snapshot(stamp_ns, pictures, lambda: source().data, config, spots=self._newest_spots)

    def _on_spots(self, data: bytes) -> None:
        self._spots, self._spots_s = spots_for_page(json.loads(deserialize_message(data, String).data)), time.monotonic()

    def _newest_spots(self) -> dict[str, Any] | None:
        """None where they are too old to be shown on a new picture."""
        return self._spots if time.monotonic() - self._spots_s < MAX_SPOT_AGE_S else None

    def _on_alarms(self, data: bytes) -> None:
        """Published on changes; the temperatures of now are in diagnostics."""
        self._alarms = [status_row(status) for status in deserialize_message(data, DiagnosticArray).status]

    def _alarm_rows(self) -> list[dict[str, Any]]:
        """A row for each region; none where the node watches none: it may have been restarted without them."""
        watched = next((row for row in self._statuses if row["name"] == "alarms"), None)
        if watched is None:
            return []
        values = watched["values"]
        return [
            {**row, "values": {key: values.get(f"{row['name']} {key}", value) for key, value in row["values"].items()}}
            for row in self._alarms
        ]

    def _on_diagnostics(self, data: bytes) -> None:
        statuses = deserialize_message(data, DiagnosticArray).status
        own = [status_row(status) for status in statuses if status.name.startswith(f"{self._target}: ")]
        if own:
            self._facts.diagnostics_s, self._statuses = time.monotonic(), own
            for row in own:
                if row["name"] == "fusion":
                    waits = row["values"].get("code") == Code.FUSION_WAITING.name
                    self._facts.level, self._facts.message = WAITING if waits else row["level"], row["message"]
            alarms = [row for row in own if row["name"] == "alarms"]
            self._facts.alarm_level, self._facts.alarm = (alarms[0]["level"], alarms[0]["message"]) if alarms else (OK, "")
            self._subscribe()  # the topics of the cameras may be known now

    def _on_info(self, data: bytes) -> None:
        try:
            info = json.loads(deserialize_message(data, String).data)
            values = {name: value for name, value in info["configuration"].items() if name in specs()}
            self._config = build(values)
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            self.get_logger().warning(f"cannot read {self._target}/info: {error}", throttle_duration_sec=10.0)
            return
        self._values = values
        self._model = f"{info.get('device', '')} {info.get('precision', '')}".strip()

    def _read_graph(self) -> None:
        """Read nodes, topics and publishers from the ROS graph, while a page is open."""
        if not self._streams:
            return
        facts, before = self._facts, self._registered_publishers
        facts.in_graph = self._target in {f"{namespace.rstrip('/')}/{name}" for name, namespace in self.get_node_names_and_namespaces()}
        facts.fused_topic = self._topic_of("fused")
        facts.fused_publishers = self.count_publishers(facts.fused_topic)
        self._registered_publishers = self.count_publishers(self._topic_of("registered"))
        self._spot_publishers = self.count_publishers(self._topic_of("spots"))
        published = published_image_topics(self)
        facts.image_topics = published[:MAX_TOPICS]
        facts.other_fused_topics = [topic for topic in published if topic.endswith("/fused/image") and topic != facts.fused_topic]
        if before != self._registered_publishers:
            self._subscribe()


def _message_type(topic: str) -> type[Any]:
    message_type: type[Any] = CompressedImage if topic.endswith("/compressed") else Image
    return message_type


def _decode(stream: str, data: bytes, message_type: type[Any]) -> Frame:
    message = deserialize_message(data, message_type)
    return (decode_thermal if stream in ("thermal", "registered") else decode_rgb)(message)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM. An error ends the process with one sentence and status 1."""
    settings = ViewSettings(**json.loads(os.environ.pop("AENET_VIEW", "{}")))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        source = RobotView(settings)
        serve(source, settings, f"the node {source.title}")
    except (AenetError, InvalidNamespaceException, InvalidNodeNameException, InvalidTopicNameException) as error:
        sys.exit(f"aenet view: {' '.join(str(error).split())}")
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
