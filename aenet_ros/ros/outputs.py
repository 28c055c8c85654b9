"""The fused topics: their publishers, who listens to each, and the messages, whose buffers are used again for every frame."""

from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from aenet_ros.config import OutputConfig
from aenet_ros.core.frames import Frame, FramePair, FusedFrame
from aenet_ros.messages.camera_info import fused_camera_info
from aenet_ros.messages.codec import encode_jpeg, fill_image, set_stamp

RELIABILITY = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}


class Listeners(NamedTuple):
    """How many subscribers each fused topic has."""

    image: int
    compressed: int
    registered: int
    camera_info: int

    @property
    def frames(self) -> int:
        """Subscribers of the topics that need a fused frame or a warped one; camera_info alone is no reason to work."""
        return self.image + self.compressed + self.registered


class Outputs:
    """Publishers of the fused topics; made in configure, destroyed in cleanup. ``publish`` is called by one thread only."""

    def __init__(self, node: Node, config: OutputConfig) -> None:
        self._node, self._scales = node, config.grid == "size"
        qos = QoSProfile(depth=1, reliability=RELIABILITY[config.reliability])
        # As image_transport does: the compressed topic follows a remapping of its base.
        base = node.resolve_topic_name("fused/image")
        self._image = self._publisher(Image, base, qos)
        self._compressed = self._publisher(CompressedImage, base + "/compressed", qos)
        self._camera_info = self._publisher(CameraInfo, "fused/camera_info", qos)
        self._registered = self._publisher(Image, "fused/thermal_registered", qos)
        self._image_message, self._registered_message = Image(), Image()

    def _publisher(self, message_type: type[Any], topic: str, qos: QoSProfile) -> "Publisher[Any]":
        return self._node.create_publisher(message_type, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies())

    def listeners(self) -> Listeners:
        """Polled, since entities with event callbacks crash newer executors when destroyed (ros2/rclpy#1644)."""
        publishers = (self._image, self._compressed, self._registered, self._camera_info)
        return Listeners(*(publisher.get_subscription_count() for publisher in publishers))

    def publish(
        self, fused: FusedFrame, pair: FramePair, camera_infos: Mapping[str, CameraInfo], listeners: Listeners, jpeg_quality: int
    ) -> None:
        """Publish what somebody listens to, all with its stamp and frame_id; ``camera_infos`` by role, as last received."""
        if listeners.image:
            self._send_image(self._image, self._image_message, fused, fused.image, fused.encoding)
        if listeners.compressed:
            message = CompressedImage(format=f"{fused.encoding}; jpeg compressed {'mono8' if fused.encoding == 'mono8' else 'bgr8'}")
            # An array, because the setter checks any other sequence byte by byte.
            message.data = array("B", encode_jpeg(fused.image, fused.encoding, jpeg_quality))
            _head(message.header, fused)
            self._compressed.publish(message)
        if listeners.registered and fused.thermal_registered is not None:
            self._send_image(self._registered, self._registered_message, fused, fused.thermal_registered, _count_encoding(pair.thermal))
        if listeners.camera_info and (camera_info := fused_camera_info(camera_infos, fused, scaled=self._scales)) is not None:
            self._camera_info.publish(camera_info)

    @staticmethod
    def _send_image(publisher: "Publisher[Any]", message: Image, fused: FusedFrame, data: Any, encoding: str) -> None:
        _head(message.header, fused)
        fill_image(message, data, encoding)
        publisher.publish(message)

    def destroy(self) -> None:
        """Take the topics off the graph."""
        for publisher in (self._image, self._compressed, self._camera_info, self._registered):
            self._node.destroy_publisher(publisher)


def _head(header: Any, fused: FusedFrame) -> None:
    set_stamp(header, fused.stamp_ns)
    header.frame_id = fused.frame_id


def _count_encoding(thermal: Frame) -> str:
    """The input's own encoding where it is one of counts; decoded pseudo-colour and png are named by what they hold."""
    return thermal.source_encoding if thermal.source_encoding in ("8UC1", "16UC1") else thermal.encoding
