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
from aenet_ros.messages.codec import encode_jpeg, fill_image, fused_camera_info, set_stamp
from aenet_ros.ros.params import qos_overrides
from aenet_ros.ros.video_outputs import VideoOutputs

RELIABILITY = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}


class Subscribers(NamedTuple):
    """Number of subscribers of each fused topic."""

    image: int
    compressed: int
    registered: int
    camera_info: int
    video: int

    @property
    def frames(self) -> int:
        """Subscribers of the topics that need a fused or a registered frame; camera_info alone needs neither."""
        return self.image + self.compressed + self.registered + self.video


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
        self._publishers = (self._image, self._compressed, self._registered, self._camera_info)  # in the order of Subscribers
        self.video = VideoOutputs(node, RELIABILITY[config.reliability])
        self._image_message, self._registered_message = Image(), Image()

    def _publisher(self, message_type: type[Any], topic: str, qos: QoSProfile) -> "Publisher[Any]":
        options = qos_overrides(self._node, topic, "publisher")
        return self._node.create_publisher(message_type, topic, qos, qos_overriding_options=options)

    def subscribers(self) -> Subscribers:
        """Polled, because destroying entities with event callbacks crashes newer executors (ros2/rclpy#1644)."""
        return Subscribers(*[*(publisher.get_subscription_count() for publisher in self._publishers), self.video.subscribers()])

    def publish(self, fused: FusedFrame, camera_infos: Mapping[str, CameraInfo], subscribers: Subscribers, config: OutputConfig) -> None:
        """Publish the topics that have subscribers, all with the frame's stamp and frame_id; ``camera_infos`` by role, as last received."""
        if subscribers.image:
            fill_image(self._image_message, fused.image, fused.encoding)
            _send(self._image, self._image_message, fused)
        if subscribers.compressed:
            message = CompressedImage(format=f"{fused.encoding}; jpeg compressed {'mono8' if fused.encoding == 'mono8' else 'bgr8'}")
            # An array: the setter checks any other sequence byte by byte.
            message.data = array("B", encode_jpeg(fused.image, fused.encoding, config.jpeg_quality))
            _send(self._compressed, message, fused)
        if subscribers.registered and fused.thermal_registered is not None:
            fill_image(self._registered_message, fused.thermal_registered, fused.thermal_encoding)
            _send(self._registered, self._registered_message, fused)
        info_holds = subscribers.camera_info and fused.keeps_geometry
        if info_holds and (camera_info := fused_camera_info(camera_infos, fused, scaled=self._scales)) is not None:
            self._camera_info.publish(camera_info)
        if subscribers.video:
            self.video.put(fused, config)

    def destroy(self) -> None:
        """Destroy the publishers."""
        self.video.destroy()
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)


def _send(publisher: "Publisher[Any]", message: Any, fused: FusedFrame) -> None:
    set_stamp(message.header, fused.stamp_ns)
    message.header.frame_id = fused.frame_id
    publisher.publish(message)
