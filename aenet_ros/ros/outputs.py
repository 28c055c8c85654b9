"""Publishers of the fused topics. The messages' buffers are reused for every frame."""

from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from aenet_ros.config import OutputConfig
from aenet_ros.core.frames import FusedFrame
from aenet_ros.messages.camera_info import fused_camera_info
from aenet_ros.messages.codec import encode_jpeg, fill_image, set_stamp
from aenet_ros.ros.params import qos_overrides

RELIABILITY = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}


class Subscribers(NamedTuple):
    """Number of subscribers of each fused topic."""

    image: int
    compressed: int
    registered: int
    camera_info: int

    @property
    def frames(self) -> int:
        """Subscribers of the topics that need a fused or a registered frame; camera_info alone needs neither."""
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
        options = qos_overrides(self._node, topic, "publisher")
        return self._node.create_publisher(message_type, topic, qos, qos_overriding_options=options)

    def subscribers(self) -> Subscribers:
        """Polled, because destroying entities with event callbacks crashes newer executors (ros2/rclpy#1644)."""
        publishers = (self._image, self._compressed, self._registered, self._camera_info)
        return Subscribers(*(publisher.get_subscription_count() for publisher in publishers))

    def publish(self, fused: FusedFrame, camera_infos: Mapping[str, CameraInfo], subscribers: Subscribers, jpeg_quality: int) -> None:
        """Publish the topics that have subscribers, all with the frame's stamp and frame_id; ``camera_infos`` by role, as last received."""
        if subscribers.image:
            self._send_image(self._image, self._image_message, fused, fused.image, fused.encoding)
        if subscribers.compressed:
            message = CompressedImage(format=f"{fused.encoding}; jpeg compressed {'mono8' if fused.encoding == 'mono8' else 'bgr8'}")
            # An array: the setter checks any other sequence byte by byte.
            message.data = array("B", encode_jpeg(fused.image, fused.encoding, jpeg_quality))
            _head(message.header, fused)
            self._compressed.publish(message)
        if subscribers.registered and fused.thermal_registered is not None:
            self._send_image(self._registered, self._registered_message, fused, fused.thermal_registered, fused.thermal_encoding)
        if subscribers.camera_info and (camera_info := fused_camera_info(camera_infos, fused, scaled=self._scales)) is not None:
            self._camera_info.publish(camera_info)

    @staticmethod
    def _send_image(publisher: "Publisher[Any]", message: Image, fused: FusedFrame, data: Any, encoding: str) -> None:
        _head(message.header, fused)
        fill_image(message, data, encoding)
        publisher.publish(message)

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._image, self._compressed, self._camera_info, self._registered):
            self._node.destroy_publisher(publisher)


def _head(header: Any, fused: FusedFrame) -> None:
    set_stamp(header, fused.stamp_ns)
    header.frame_id = fused.frame_id
