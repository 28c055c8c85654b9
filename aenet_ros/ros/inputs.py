"""Subscriptions to the cameras' topics, the decoding of their messages, and what the ROS graph knows of the image topics."""

import os
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Bool

from aenet_ros.config import Config, StreamConfig
from aenet_ros.core.crop import crop_camera_info, crop_frame
from aenet_ros.core.errors import ImageError, format_error
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.health.judge import TopicFacts
from aenet_ros.health.status import NodeStats
from aenet_ros.messages.codec import IMAGE_TYPES, decode_rgb, decode_thermal, stamp_ns
from aenet_ros.messages.stream_kinds import base_topic, info_topic
from aenet_ros.ros.black_box import BlackBox
from aenet_ros.ros.compat import no_event_callbacks
from aenet_ros.ros.topics import RELIABILITY, qos_overrides, transport_topic
from aenet_ros.sync.matcher import DepthQueue

DECODERS = {"thermal": decode_thermal, "rgb": decode_rgb}
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
MOST_ALTERNATIVES = 6


class Inputs:
    """Made at activation, destroyed at deactivation. Its callbacks count and decode messages and hand the result over.

    ``camera_infos``: the last one of each camera, by role. ``depth_problem``: why the last depth image cannot be read, else empty.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        stats: NodeStats,
        on_frame: Callable[[str, Frame], None],
        on_camera_info: Callable[[str, CameraInfo], None],
        on_shutter: Callable[[bool], None],
        black_box: BlackBox | None = None,
    ) -> None:
        self.camera_infos: dict[str, CameraInfo] = {}
        self.depth_problem = ""
        self._node, self._stats, self._config = node, stats, config.input
        self._on_frame, self._on_camera_info, self._black_box = on_frame, on_camera_info, black_box
        self._depth = DepthQueue(round(config.registration.depth_slop_ms * 1e6))
        self._registers_depth, self._on_shutter = config.registration.mode == "depth", on_shutter
        self._subscriptions: list[Subscription[Any]] = []
        self._images: dict[str, Subscription[Any]] = {}
        self.subscribe({})

    def subscribe(self, found: Mapping[str, str]) -> None:
        """Subscribe, in place of all subscriptions before; ``found``: by role, image topics in place of the node's own ones."""
        self.destroy()
        if self._black_box is not None:
            self._black_box.roles.clear()
        streams = {"thermal": self._config.thermal, "rgb": self._config.rgb}
        self._images = {role: self._subscribe_image(role, stream, found.get(role, "")) for role, stream in streams.items()}
        for role in self._images:
            own, image = f"{role}/camera_info", found.get(role) or self._remapped(f"{role}/image_raw")
            topic = info_topic(image) if image and not self._remapped(own) else own
            self._subscribe(CameraInfo, topic, f"{role} camera_info", partial(self._camera_info, role))
        self._subscribe(Bool, "thermal/shutter", "shutter", lambda message: self._on_shutter(message.data))
        if self._registers_depth:
            self._subscribe(Image, "depth/image_raw", "depth", self._depth_image, depth=5)

    def _remapped(self, name: str) -> str:
        """The topic that a relative name is remapped to; empty where it is not."""
        topic = self._node.resolve_topic_name(name)
        return topic if topic != self._node.resolve_topic_name(name, only_expand=True) else ""

    def _subscribe_image(self, role: str, config: StreamConfig, found: str) -> "Subscription[Any]":
        topic, callback = base_topic(found) or f"{role}/image_raw", partial(self._image, role)
        if not found.endswith("/compressed") if found else config.transport == "raw":
            return self._subscribe(Image, topic, role, callback, config.depth, config.qos)
        compressed = transport_topic(self._node, f"{topic}/compressed")
        return self._subscribe(CompressedImage, compressed, role, callback, config.depth, config.qos)

    def _subscribe(
        self, kind: type[Any], topic: str, role: str, callback: Callable[[Any], None], depth: int = 1, reliability: str = "best_effort"
    ) -> "Subscription[Any]":
        if self._black_box is not None:
            callback = self._black_box.recorder(role, self._node.resolve_topic_name(topic), callback)
        subscription = self._node.create_subscription(
            kind,
            topic,
            callback,
            QoSProfile(depth=depth, reliability=RELIABILITY[reliability]),
            event_callbacks=no_event_callbacks(),
            qos_overriding_options=qos_overrides(self._node, topic, "subscription"),
        )
        self._subscriptions.append(subscription)
        return subscription

    def _image(self, role: str, message: Any) -> None:
        stream = self._stats.stream(role)
        stream.receive(stamp_ns(message))
        try:
            config: StreamConfig = getattr(self._config, role)
            frame = crop_frame(DECODERS[role](message, config.encoding), config.rectangle, f"input.{role}.crop")
        except Exception as error:  # whatever a message holds, it must not end the node
            reason = str(error) if isinstance(error, ImageError) else format_error(error)
            if stream.rejected.count(reason):
                self._node.get_logger().error(f"{role} frame cannot be decoded: {reason}", throttle_duration_sec=1.0)
            return
        if stream.accept(frame):
            change = f"{role} stream changed to {frame.size[1]}x{frame.size[0]} {frame.source_encoding}"
            self._node.get_logger().warning(change, throttle_duration_sec=1.0)
        try:
            self._on_frame(role, frame)
        except Exception as error:  # a fault of this node, not of the frame
            if self._stats.internal_errors.count(error):
                self._node.get_logger().error(f"internal error: {traceback.format_exc()}")

    def _camera_info(self, role: str, message: CameraInfo) -> None:
        message = crop_camera_info(message, getattr(self._config, role).rectangle)
        self.camera_infos[role] = message
        self._on_camera_info(role, message)

    def _depth_image(self, message: Image) -> None:
        try:
            frame = decode_thermal(message)  # 16UC1 and 32FC1 are read alike, whatever they count
            self._depth.push(crop_frame(frame, self._config.rgb.rectangle, "input.rgb.crop"))  # it is aligned to the whole rgb frame
            self.depth_problem = ""
        except ImageError as error:
            self.depth_problem = f"depth image cannot be read: {error}"

    def topic(self, role: str) -> str:
        """The topic that is read for a role."""
        return str(self._images[role].topic_name)

    def join_depth(self, pair: FramePair) -> FramePair:
        """The pair with the depth image nearest to its rgb frame, where one is within ``registration.depth_slop_ms``."""
        return self._depth.join(pair)

    def topic_facts(self) -> dict[str, TopicFacts]:
        """What the ROS graph knows of the two image topics."""
        return {role: _topic_facts(self._node, subscription) for role, subscription in self._images.items()}

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []


def _topic_facts(node: Node, subscription: "Subscription[Any]") -> TopicFacts:
    topic, qos, wanted_type = subscription.topic_name, subscription.qos_profile, f"sensor_msgs/msg/{subscription.msg_type.__name__}"
    facts = TopicFacts(topic, has_dds_profile=any(os.environ.get(name) for name in PROFILE_VARIABLES))
    for publisher in node.get_publishers_info_by_topic(topic):
        if publisher.topic_type != wanted_type:
            facts.other_type = (
                f"{topic} carries {publisher.topic_type}, this node reads {wanted_type}: {_type_remedy(publisher.topic_type)}"
            )
            continue
        facts.publishers += 1
        compatibility, reason = qos_check_compatible(publisher.qos_profile, qos)
        if compatibility == QoSCompatibility.ERROR:
            facts.incompatible.append(
                f"{publisher.node_name} offers {publisher.qos_profile.reliability.name.lower()}, this node asks for "
                f"{qos.reliability.name.lower()} ({reason.strip() or 'incompatible'}); set input.*.qos to best_effort"
            )
    if len(facts.incompatible) < facts.publishers:
        facts.incompatible = []  # at least one publisher is compatible
    if not facts.publishers:
        facts.alternatives = _image_topics(node, topic)
    return facts


def _type_remedy(found: str) -> str:
    if found.endswith("CompressedImage"):
        return "set input.*.transport to compressed"
    if found.endswith("msg/Image"):
        return "set input.*.transport to raw"
    return "remap to an image topic"


def _image_topics(node: Node, but: str) -> list[str]:
    own = {name for name, _ in node.get_publisher_names_and_types_by_node(node.get_name(), node.get_namespace())}
    return [name for name in published_image_topics(node) if name != but and name not in own][:MOST_ALTERNATIVES]


def published_image_topics(node: Node) -> list[str]:
    """All image topics with a publisher, sorted."""
    names = [name for name, types in node.get_topic_names_and_types() if any(kind in IMAGE_TYPES for kind in types)]
    return sorted(name for name in names if node.count_publishers(name))
