"""A robot as a source for the page: subscriptions that exist only while a page is open, and only to what it looks at."""

import asyncio
import contextlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.clock import Clock
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from aenet_ros.config import AgcConfig, build, specs
from aenet_ros.core.errors import ConfigError
from aenet_ros.core.frames import Array, Frame
from aenet_ros.messages.codec import decode_rgb, decode_thermal, serialized_stamp_ns
from aenet_ros.ros.compat import ClockType, no_event_callbacks
from aenet_ros.ros.graph import IMAGE_TYPES
from aenet_ros.view.settings import ViewSettings
from aenet_ros.view.snapshot import Moment, ThermalLook
from aenet_ros.view.source import dynamic_options
from aenet_ros.view.stamp_grouper import StampGrouper
from aenet_ros.view.status_text import RobotFacts, robot_words, temperature_note

GRAPH_S = 1.0
ANSWER_S = 5.0
RATE_NS = 3_000_000_000
MOST_TOPICS = 8
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NOT_HERE = ("enabled",)


class RobotView(Node):
    """See ``Source``. Everything of ROS happens in the executor's thread."""

    kind = "robot"

    def __init__(self, settings: ViewSettings) -> None:
        super().__init__("aenet_view", namespace=settings.namespace or None, start_parameter_services=False)
        self._settings = settings
        base = self.get_namespace().rstrip("/")
        self._target = settings.node if settings.node.startswith("/") else f"{base}/{settings.node}"
        self.title = self._target
        self._wanted: frozenset[str] = frozenset()
        self._subscriptions_of: dict[str, Subscription[Any]] = {}
        self._topics: dict[str, str] = {}
        self._words: list[Subscription[Any]] = []
        self._assembler: StampGrouper[bytes] = StampGrouper()
        self._arrivals_ns: dict[str, deque[int]] = {}
        self._latency_ns: deque[int] = deque(maxlen=60)
        self._looking_since = time.monotonic()
        self._diagnostics_at: float | None = None
        self._statuses: list[dict[str, Any]] = []
        self._values: dict[str, Any] = {}
        self._model = ""
        self._agc: AgcConfig | None = None
        self._in_graph, self._fused_publishers, self._registered_publishers = False, 0, 0
        self._elsewhere: list[str] = []
        self._image_topics: list[str] = []
        self._look = ThermalLook()
        self._show: Callable[[Moment], None] = lambda _moment: None
        self._client: Any = self.create_client(SetParameters, f"{self._target}/set_parameters")
        self._executor_of_view = SingleThreadedExecutor(context=self.context)
        self._executor_of_view.add_node(self)
        self._thread = threading.Thread(target=self._spin, name="ros", daemon=True)
        self.create_timer(GRAPH_S, self._look_around, clock=Clock(clock_type=ClockType.STEADY_TIME))

    # What the server calls.

    def start(self, show: Callable[[Moment], None]) -> None:
        """Begin to spin."""
        self._show = show
        self._thread.start()

    def want(self, streams: frozenset[str]) -> None:
        """Subscribe to what is looked at, and to nothing else."""
        if streams != self._wanted:
            self._wanted = streams
            self._executor_of_view.create_task(self._subscribe)

    def options(self) -> list[str]:
        """All that the node takes while it runs."""
        return [name for name in dynamic_options() if name not in NOT_HERE]

    async def set_option(self, name: str, value: Any) -> str:
        """By the node's own service; its refusal in its own words."""
        spec = specs()[name]
        if isinstance(spec.default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not self._client.service_is_ready():
            return f"{self._target} does not answer: is it running?"
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def done(future: Any) -> None:
            result = future.result().results[0]
            text = "" if result.successful else result.reason or "refused without a reason"
            loop.call_soon_threadsafe(_settle, answer, text)

        self._executor_of_view.create_task(lambda: self._client.call_async(request).add_done_callback(done))
        try:
            return await asyncio.wait_for(answer, ANSWER_S)
        except asyncio.TimeoutError:
            return f"{self._target} has not answered for {ANSWER_S:g} s: is it busy, or gone?"

    def command(self, words: Mapping[str, Any]) -> None:
        """A robot is not played."""

    def state(self) -> dict[str, Any]:
        """What the node says of itself and what arrives here."""
        now_ns = time.monotonic_ns()
        rates = {stream: _rate_hz(arrivals, now_ns) for stream, arrivals in list(self._arrivals_ns.items())}
        words = robot_words(self._facts(now_ns))
        fresh = self._diagnostics_at is not None and time.monotonic() - self._diagnostics_at < 4.0
        latency = tuple(self._latency_ns)
        return {
            **words._asdict(),
            "rates": rates,
            "timings_ms": {"to here": float(np.median(latency)) * 1e-6} if latency and rates.get("fused") else {},
            "statuses": self._statuses,
            "stale": not fresh,
            "values": self._values,
            "options_note": "" if self._values else "the node has not told its configuration yet",
            "model": self._model,
            "temperature": temperature_note(self._agc, known=True),
            "topics": dict(self._topics),
        }

    def close(self) -> None:
        """Stop spinning; the context is the caller's."""
        self._executor_of_view.shutdown()
        if self._thread.ident is not None:
            self._thread.join(5.0)
        self.destroy_node()

    # In the executor's thread.

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor_of_view.spin()

    def _topic_of(self, stream: str) -> str:
        given = {"fused": self._settings.fused_topic, "rgb": self._settings.rgb_topic, "thermal": self._settings.thermal_topic}.get(
            stream, ""
        )
        if given:
            return str(self.resolve_topic_name(given))
        if stream == "registered":
            return str(self.resolve_topic_name("fused/thermal_registered"))
        if stream == "fused":
            return str(self.resolve_topic_name("fused/image"))
        # The node says what its input topics were remapped to.
        told = next((status["values"].get("topic", "") for status in self._statuses if status["name"] == f"input {stream}"), "")
        return told or str(self.resolve_topic_name(f"{stream}/image_raw"))

    def _needed(self) -> set[str]:
        needed = set(self._wanted - {"thermal"})
        if "thermal" in self._wanted:
            needed.add("registered")
            if not self._registered_publishers:
                needed.add("thermal")  # the camera's own picture is better than none
        return needed

    def _subscribe(self) -> None:
        needed = {stream: self._topic_of(stream) for stream in self._needed()}
        for stream in [name for name, topic in self._topics.items() if needed.get(name) != topic]:
            self.destroy_subscription(self._subscriptions_of.pop(stream))
            del self._topics[stream]
            self._arrivals_ns.pop(stream, None)
            self._assembler.forget()
        # In this order they are served when several arrive at once.
        for stream in ("rgb", "thermal", "fused", "registered"):
            if stream in needed and stream not in self._topics:
                self._topics[stream] = needed[stream]
                self._subscriptions_of[stream] = self._listen(stream, needed[stream])
        if self._wanted and not self._words:
            self._looking_since, self._diagnostics_at = time.monotonic(), None
            self._words = [
                self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10, event_callbacks=no_event_callbacks()),
                self.create_subscription(String, f"{self._target}/info", self._on_info, LATCHED, event_callbacks=no_event_callbacks()),
            ]
            self._look_around()
        elif not self._wanted:
            for subscription in self._words:
                self.destroy_subscription(subscription)
            self._words = []

    def _listen(self, stream: str, topic: str) -> "Subscription[Any]":
        kind = CompressedImage if topic.endswith("/compressed") else Image

        def on_data(data: bytes) -> None:
            self._on_data(stream, data)

        return self.create_subscription(kind, topic, on_data, BEST_EFFORT, raw=True, event_callbacks=no_event_callbacks())

    def _on_data(self, stream: str, data: bytes) -> None:
        """Serialized: a message is only decoded if a page is going to be shown it."""
        now_ns = time.monotonic_ns()
        stamp_ns = serialized_stamp_ns(data)
        self._arrivals_ns.setdefault(stream, deque(maxlen=120)).append(now_ns)
        if stream == "fused":
            self._latency_ns.append(time.time_ns() - stamp_ns)
        found = self._assembler.add(stream, stamp_ns, data, now_ns)
        if found:
            self._show(self._moment(stamp_ns, found))

    def _moment(self, stamp_ns: int, found: dict[str, bytes]) -> Moment:
        agc = self._agc
        kinds = {stream: CompressedImage if self._topics.get(stream, "").endswith("/compressed") else Image for stream in found}
        pictures: dict[str, Callable[[], Frame]] = {}
        for stream in ("rgb", "fused"):
            if stream in found:
                pictures[stream] = _decoder(found[stream], kinds[stream])
        source = "registered" if "registered" in found else "thermal"
        if source not in found:
            return Moment(stamp_ns, pictures, agc=agc)
        decoded: list[Array] = []

        def counts() -> Array:
            if not decoded:
                decoded.append(decode_thermal(deserialize_message(found[source], kinds[source])).data)
            return decoded[0]

        pictures["thermal"] = lambda: self._look.frame(counts(), stamp_ns, agc)
        return Moment(stamp_ns, pictures, counts, agc)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        own = [status for status in message.status if status.name.startswith(f"{self._target}: ")]
        if not own:
            return
        self._diagnostics_at = time.monotonic()
        self._statuses = [
            {
                "name": status.name.partition(": ")[2],
                "level": int.from_bytes(status.level, "little"),
                "message": status.message,
                "values": {item.key: item.value for item in status.values},
            }
            for status in own
        ]
        self._subscribe()  # the cameras' topics may be known now

    def _on_info(self, message: String) -> None:
        try:
            info = json.loads(message.data)
            values = {name: value for name, value in info["configuration"].items() if name in specs()}
            self._agc = build(values).agc
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            self.get_logger().warning(f"{self._target}/info cannot be read: {error}", throttle_duration_sec=10.0)
            return
        self._values = values
        self._model = f"{info.get('device', '')} {info.get('precision', '')}".strip()

    def _look_around(self) -> None:
        """What the ROS graph says; not asked while no page is open."""
        if not self._wanted:
            return
        nodes = {f"{space.rstrip('/')}/{own}" for own, space in self.get_node_names_and_namespaces()}
        self._in_graph = self._target in nodes
        before = self._registered_publishers
        self._fused_publishers = self.count_publishers(self._topic_of("fused"))
        self._registered_publishers = self.count_publishers(self._topic_of("registered"))
        topics = [topic for topic, kinds in self.get_topic_names_and_types() if any(kind in IMAGE_TYPES for kind in kinds)]
        published = sorted(topic for topic in topics if self.count_publishers(topic))
        self._image_topics = published[:MOST_TOPICS]
        self._elsewhere = [topic for topic in published if topic.endswith("/fused/image") and topic != self._topic_of("fused")]
        if before != self._registered_publishers:
            self._subscribe()

    def _facts(self, now_ns: int) -> RobotFacts:
        status: dict[str, Any] = next((item for item in self._statuses if item["name"] == "fusion"), {"level": 0, "message": ""})
        arrivals = self._arrivals_ns.get("fused")
        return RobotFacts(
            node=self._target,
            domain=os.environ.get("ROS_DOMAIN_ID", "0"),
            looking_s=time.monotonic() - self._looking_since,
            in_graph=self._in_graph,
            diagnostics_age_s=None if self._diagnostics_at is None else time.monotonic() - self._diagnostics_at,
            level=status["level"],
            message=status["message"],
            fused_topic=self._topic_of("fused"),
            fused_publishers=self._fused_publishers,
            fused_age_s=(now_ns - arrivals[-1]) * 1e-9 if arrivals else None,
            wants_fused="fused" in self._wanted,
            elsewhere=self._elsewhere,
            image_topics=self._image_topics,
        )


def _settle(answer: "asyncio.Future[str]", text: str) -> None:
    if not answer.done():
        answer.set_result(text)


def _decoder(data: bytes, kind: type[Any]) -> Callable[[], Frame]:
    return lambda: decode_rgb(deserialize_message(data, kind))


def _rate_hz(arrivals: deque[int], now_ns: int) -> float:
    recent = [arrival for arrival in tuple(arrivals) if now_ns - arrival < RATE_NS]
    return (len(recent) - 1) * 1e9 / max(recent[-1] - recent[0], 1) if len(recent) > 1 else 0.0
