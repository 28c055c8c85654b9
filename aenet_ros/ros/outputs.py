"""Publishers of the fused topics. The messages' buffers are reused for every frame."""

from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from aenet_ros.config import OutputConfig
from aenet_ros.core.frames import Array, FusedFrame
from aenet_ros.messages.codec import encode_jpeg, fill_image, fused_camera_info, set_header
from aenet_ros.ros.params import create_publisher
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
        self._image = create_publisher(node, Image, base, qos)
        self._compressed = create_publisher(node, CompressedImage, base + "/compressed", qos)
        self._camera_info = create_publisher(node, CameraInfo, "fused/camera_info", qos)
        self._registered = create_publisher(node, Image, "fused/thermal_registered", qos)
        self._publishers = (self._image, self._compressed, self._registered, self._camera_info)  # in the order of Subscribers
        self.video = VideoOutputs(node, RELIABILITY[config.reliability])
        self._image_message, self._registered_message = Image(), Image()

    def subscribers(self) -> Subscribers:
        """Polled, because destroying entities with event callbacks crashes newer executors (ros2/rclpy#1644)."""
        return Subscribers(*[*(publisher.get_subscription_count() for publisher in self._publishers), self.video.subscribers()])

    def publish(self, fused: FusedFrame, camera_infos: Mapping[str, CameraInfo], subscribers: Subscribers, config: OutputConfig) -> None:
        """Publish the topics that have subscribers, all with the frame's stamp and frame_id; ``camera_infos`` by role, as last received."""
        if subscribers.image:
            fill_image(self._image_message, fused.image, fused.encoding)
            _send(self._image, self._image_message, fused)
        if subscribers.compressed:
            _send(self._compressed, jpeg_message(fused.image, fused.encoding, config.jpeg_quality), fused)
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


def jpeg_message(image: Array, encoding: str, quality: int) -> CompressedImage:
    """A CompressedImage of a picture in rgb8, bgr8 or mono8, without its header."""
    message = CompressedImage(format=f"{encoding}; jpeg compressed {'mono8' if encoding == 'mono8' else 'bgr8'}")
    message.data = array("B", encode_jpeg(image, encoding, quality))  # the setter checks any other sequence byte by byte
    return message


def _send(publisher: "Publisher[Any]", message: Any, fused: FusedFrame) -> None:
    set_header(message.header, fused.stamp_ns, fused.frame_id)
    publisher.publish(message)
