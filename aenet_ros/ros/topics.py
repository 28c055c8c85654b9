"""Publishers and their QoS, as outputs and inputs share them."""

from array import array
from collections.abc import Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from aenet_ros.core.frames import Array
from aenet_ros.messages.codec import encode_jpeg, fill_image, set_header

RELIABILITY = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}
TRANSPORTS = ("compressed", "ffmpeg")


class Topics:
    """Publishers by topic. The buffers of images are reused for every frame, so one thread only sends them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.publishers: dict[str, Any] = {}
        self._images: dict[str, Image] = {}

    def add(self, types: Mapping[str, type[Any]], qos: QoSProfile) -> None:
        """Create publishers."""
        for topic, kind in types.items():
            name = transport_topic(self._node, topic)
            overrides = qos_overrides(self._node, name, "publisher")
            self.publishers[topic] = self._node.create_publisher(kind, name, qos, qos_overriding_options=overrides)

    def subscribers(self) -> dict[str, int]:
        """Subscribers of each topic that has any. Polled: destroying entities with event callbacks crashes executors (ros2/rclpy#1644)."""
        return {topic: count for topic, publisher in self.publishers.items() if (count := publisher.get_subscription_count())}

    def send(self, topic: str, message: Any, stamp_ns: int, frame_id: str) -> None:
        """Publish a message with this header."""
        set_header(message.header, stamp_ns, frame_id)
        self.publishers[topic].publish(message)

    def send_image(self, topic: str, data: Array, encoding: str, stamp_ns: int, frame_id: str) -> None:
        """Publish an image; arguments as of ``fill_image``."""
        message = self._images.setdefault(topic, Image())
        fill_image(message, data, encoding)
        self.send(topic, message, stamp_ns, frame_id)

    def send_jpeg(self, topic: str, data: Array, encoding: str, quality: int, stamp_ns: int, frame_id: str) -> None:
        """Publish an image in rgb8, bgr8 or mono8 as jpeg."""
        message = CompressedImage(format=f"{encoding}; jpeg compressed {'mono8' if encoding == 'mono8' else 'bgr8'}")
        message.data = array("B", encode_jpeg(data, encoding, quality))  # the setter checks any other sequence byte by byte
        self.send(topic, message, stamp_ns, frame_id)

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in self.publishers.values():
            self._node.destroy_publisher(publisher)


def transport_topic(node: Node, topic: str) -> str:
    """The name to give to rclpy. As image_transport does: topics of TRANSPORTS follow a remapping of their base."""
    base, _, transport = topic.rpartition("/")
    return f"{node.resolve_topic_name(base)}/{transport}" if transport in TRANSPORTS else topic


def qos_overrides(node: Node, topic: str, entity: str) -> QoSOverridingOptions | None:
    """The QoS policies of ``topic`` that the user overrides; ``entity``: publisher or subscription.

    Only these: rclpy declares the others as read-only parameters with the values of the first profile, which would then hold at every later
    activation in place of this node's own parameters.
    """
    prefix = f"qos_overrides.{node.resolve_topic_name(topic)}.{entity}."
    given = [name.removeprefix(prefix) for name in getattr(node, "_parameter_overrides", {}) if name.startswith(prefix)]
    kinds = [kind for kind in QoSPolicyKind if kind.name.lower() in given]
    return QoSOverridingOptions(kinds) if kinds else None
