"""Finds the cameras' topics in the ROS graph where the node's own names have no publisher: looks at a few frames of each image topic."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from rclpy.clock import Clock
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from aenet_ros.core.errors import format_error
from aenet_ros.messages.camera_finder import FoundCameras, find_cameras
from aenet_ros.messages.codec import stamp_ns
from aenet_ros.messages.stream_kinds import Stream, base_topic, info_topic, is_derived, stream_of
from aenet_ros.ros.compat import ClockType, no_event_callbacks

TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
PERIOD_S = 0.25
SETTLED_NS = 1_500_000_000
"""Time without a new image topic before the choice: drivers start one after another."""
PEEK_NS = 4_000_000_000
"""Longest time for which a topic is subscribed to; one that sent nothing is tried again after it."""
FRAMES = 4  # of each topic: the shortest time between two tells the rate, though some are lost
MOST_PEEKS = 24  # topics that are subscribed to at a time


class CameraSearch:
    """Runs from activation until both cameras are known. ``question``: which choice it needs from the user; else empty.
    ``running``: False once it is over.

    ``on_found`` gets the cameras once; then the search is over. It is over without a result as soon as one of the node's own topics has a
    publisher. Nothing is searched for in place of a remapped topic.
    """

    def __init__(self, node: Node, on_found: Callable[[FoundCameras], None]) -> None:
        self.question, self.running = "", True
        self._node, self._on_found = node, on_found
        self._streams: dict[str, Stream] = {}
        self._stamps: dict[str, list[int]] = {}
        self._peeks: dict[str, Subscription[Any]] = {}
        self._tried_ns: dict[str, int] = {}  # when each topic was last subscribed to
        self._changed_ns = time.monotonic_ns()
        self._timer = node.create_timer(PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def destroy(self) -> None:
        """End the search."""
        self.running = False
        self._node.destroy_timer(self._timer)
        for topic in list(self._peeks):
            self._end_peek(topic)

    def _on_timer(self) -> None:
        try:
            self._search()
        except Exception as error:  # it must not end the node
            self._node.get_logger().error(f"the search for cameras fails: {format_error(error)}", throttle_duration_sec=10.0)

    def _search(self) -> None:
        now_ns, graph = time.monotonic_ns(), image_topics(self._node)
        own = {role: own_topic(self._node, role, graph) for role in ("thermal", "rgb")}
        if any(topic.published for topic in own.values() if not topic.remapped):
            own = {role: topic._replace(remapped=True) for role, topic in own.items()}  # the node's own names are in use
        given = {role: topic.name for role, topic in own.items() if topic.remapped}
        if len(given) == 2:
            self.destroy()
            self.question = ""
            return
        self._follow(graph, now_ns)
        waiting = [topic for topic in self._streams if not self._stamps[topic]]
        patience_ns = PEEK_NS * math.ceil(len(self._streams) / MOST_PEEKS)
        if now_ns - self._changed_ns < SETTLED_NS or (waiting and now_ns - self._changed_ns < patience_ns):
            return
        found = find_cameras(self._streams.values(), given.get("thermal", ""), given.get("rgb", ""), self._node.get_namespace())
        if not found.question:
            self.destroy()
            self.question = ""
            self._on_found(found)
            return
        command = f"ros2 launch aenet_ros fusion.launch.py {found.choice('{role}_topic:={topic}')}"
        self.question = f"{found.question}. Choose: {command}" if self._streams else ""

    def _follow(self, graph: Mapping[str, str], now_ns: int) -> None:
        """Subscribe to new topics, end what has been seen, forget what is gone."""
        for topic in [topic for topic in self._streams if topic not in graph]:
            del self._streams[topic]
            self._end_peek(topic)
        for topic in graph:
            if topic not in self._streams:
                self._streams[topic], self._stamps[topic], self._changed_ns, self._tried_ns[topic] = Stream(topic), [], now_ns, 0
            elif topic in self._peeks and (len(self._stamps[topic]) >= FRAMES or now_ns - self._tried_ns[topic] > PEEK_NS):
                self._end_peek(topic)
        silent = [topic for topic in graph if topic not in self._peeks and not self._stamps[topic]]
        for topic in sorted(silent, key=self._tried_ns.__getitem__)[: MOST_PEEKS - len(self._peeks)]:
            self._peek(topic, graph[topic], now_ns)

    def _peek(self, topic: str, kind: str, now_ns: int) -> None:
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        callback, events = partial(self._on_message, topic), no_event_callbacks()
        self._tried_ns[topic] = now_ns
        try:
            self._peeks[topic] = self._node.create_subscription(TYPES[kind], topic, callback, qos, event_callbacks=events)
        except RuntimeError as error:  # rcl's: SROS 2 forbids the topic, for example; the others are looked at all the same
            text = f"the search for cameras cannot look at {topic}: {format_error(error)}"
            self._node.get_logger().warning(text, throttle_duration_sec=60.0)

    def _end_peek(self, topic: str) -> None:
        if topic in self._peeks:
            self._node.destroy_subscription(self._peeks.pop(topic))

    def _on_message(self, topic: str, message: Any) -> None:
        stamps = self._stamps[topic]
        if len(stamps) >= FRAMES:  # the subscription ends with the next period
            return
        if not stamps or self._streams[topic].median == 0:  # a blank frame tells nothing
            has_info = self._node.count_publishers(info_topic(topic)) > 0
            self._streams[topic] = stream_of(topic, message, has_info=has_info)
        stamps.append(stamp_ns(message))
        steps = [later - earlier for earlier, later in pairwise(stamps) if later > earlier]
        if steps:
            self._streams[topic] = self._streams[topic]._replace(rate_hz=1e9 / min(steps))


class OwnTopic(NamedTuple):
    """The topic that the node reads for a role: whether it was remapped, and whether it has a publisher."""

    name: str
    remapped: bool
    published: bool


def own_topic(node: Node, role: str, graph: Mapping[str, str]) -> OwnTopic:
    """The role's topic; ``name`` ends in /compressed where only that is on the graph."""
    name = f"{role}/image_raw"
    topic = node.resolve_topic_name(name)
    present = [each for each in (topic, f"{topic}/compressed") if each in graph]
    return OwnTopic((present or [topic])[0], topic != node.resolve_topic_name(name, only_expand=True), bool(present))


def image_topics(node: Node) -> dict[str, str]:
    """Type by topic of the cameras' images, sorted; no compressed ones of a raw topic, and no compressedDepth."""
    own = {name for name, _ in node.get_publisher_names_and_types_by_node(node.get_name(), node.get_namespace())}
    found = {}
    for name, types in sorted(node.get_topic_names_and_types()):
        kind = next((kind for kind in types if kind in TYPES), "")
        if kind and name not in own and not is_derived(name) and not name.endswith("/compressedDepth") and node.count_publishers(name):
            found[name] = kind
    return {name: kind for name, kind in found.items() if base_topic(name) == name or base_topic(name) not in found}
