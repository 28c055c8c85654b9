"""Subscriptions to the cameras' topics, which exist only while the node is active, and the decoding of their messages."""

import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Bool

from aenet_ros.config import InputConfig, StreamConfig
from aenet_ros.core.errors import ImageError, format_error
from aenet_ros.core.frames import Frame
from aenet_ros.health.judge import TopicFacts
from aenet_ros.health.status import NodeStats
from aenet_ros.messages.codec import decode_rgb, decode_thermal, stamp_ns
from aenet_ros.ros.compat import no_event_callbacks
from aenet_ros.ros.graph import topic_facts
from aenet_ros.ros.outputs import RELIABILITY
from aenet_ros.ros.params import qos_overrides

MESSAGE_TYPES: dict[str, type[Any]] = {"raw": Image, "compressed": CompressedImage}
DECODERS = {"thermal": decode_thermal, "rgb": decode_rgb}


class Inputs:
    """Made at activation, destroyed at deactivation. Its callbacks count and decode messages and hand the result over."""

    def __init__(
        self,
        node: Node,
        config: InputConfig,
        stats: NodeStats,
        on_frame: Callable[[str, Frame], None],
        on_camera_info: Callable[[str, CameraInfo], None],
        on_shutter: Callable[[bool], None],
    ) -> None:
        self.camera_infos: dict[str, CameraInfo] = {}
        self._node, self._stats = node, stats
        self._on_frame, self._on_camera_info = on_frame, on_camera_info
        self._subscriptions: list[Subscription[Any]] = []
        self._topics: dict[str, tuple[str, str, QoSProfile]] = {}
        for role, stream in (("thermal", config.thermal), ("rgb", config.rgb)):
            self._subscribe_image(role, stream)
            self._subscribe(CameraInfo, f"{role}/camera_info", partial(self._camera_info, role))
        self._subscribe(Bool, "thermal/shutter", lambda message: on_shutter(message.data))

    def _subscribe_image(self, role: str, config: StreamConfig) -> None:
        # As image_transport does: the compressed topic follows a remapping of its base.
        topic = self._node.resolve_topic_name(f"{role}/image_raw") + ("/compressed" if config.transport == "compressed" else "")
        kind = MESSAGE_TYPES[config.transport]
        image = self._node.create_subscription(
            kind,
            topic,
            partial(self._image, role),
            QoSProfile(depth=config.depth, reliability=RELIABILITY[config.qos]),
            event_callbacks=no_event_callbacks(),
            qos_overriding_options=qos_overrides(self._node, topic, "subscription"),
        )
        self._subscriptions.append(image)
        self._topics[role] = (topic, f"sensor_msgs/msg/{kind.__name__}", image.qos_profile)

    def _subscribe(self, kind: type[Any], topic: str, callback: Callable[[Any], None]) -> None:
        qos = QoSProfile(depth=1, reliability=RELIABILITY["best_effort"])
        self._subscriptions.append(self._node.create_subscription(kind, topic, callback, qos, event_callbacks=no_event_callbacks()))

    def _image(self, role: str, message: Any) -> None:
        stream = self._stats.stream(role)
        stream.receive(stamp_ns(message))
        try:
            frame = DECODERS[role](message)
        except Exception as error:  # whatever a message holds, it must not end the node
            reason = str(error) if isinstance(error, ImageError) else format_error(error)
            if stream.reject(reason):
                self._node.get_logger().error(f"{role} frame cannot be decoded: {reason}", throttle_duration_sec=1.0)
            return
        if stream.accept(frame):
            change = f"{role} stream changed to {frame.size[1]}x{frame.size[0]} {frame.source_encoding}"
            self._node.get_logger().warning(change, throttle_duration_sec=1.0)
        try:
            self._on_frame(role, frame)
        except Exception as error:  # a fault of this node, not of the frame
            if self._stats.count_internal_error(format_error(error)):
                self._node.get_logger().error(f"internal error: {traceback.format_exc()}")

    def _camera_info(self, role: str, message: CameraInfo) -> None:
        self.camera_infos[role] = message
        self._on_camera_info(role, message)

    def topic_facts(self) -> dict[str, TopicFacts]:
        """What the ROS graph knows of the two image topics."""
        return {role: topic_facts(self._node, *topic) for role, topic in self._topics.items()}

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
