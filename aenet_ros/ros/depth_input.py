"""The third input of registration.mode depth: depth images aligned to the rgb frame, joined to the pairs by their stamps."""

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from aenet_ros.config import Config
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import FramePair
from aenet_ros.messages.codec import decode_thermal
from aenet_ros.registration.warp_maps import DepthQueue
from aenet_ros.ros.compat import no_event_callbacks
from aenet_ros.ros.params import qos_overrides


class DepthInput:
    """Subscribes to ``depth/image_raw`` while the node is active in mode depth; else it does nothing."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._queue = DepthQueue(0)
        self._subscription: Any = None
        self.problem = ""

    def start(self, config: Config) -> None:
        """At activation."""
        self._queue, self.problem = DepthQueue(round(config.registration.depth_slop_ms * 1e6)), ""
        if config.registration.mode == "depth":
            self._subscription = self._node.create_subscription(
                Image,
                "depth/image_raw",
                self._on_depth,
                QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
                event_callbacks=no_event_callbacks(),
                qos_overriding_options=qos_overrides(self._node, self._node.resolve_topic_name("depth/image_raw"), "subscription"),
            )

    def stop(self) -> None:
        """At deactivation."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def join(self, pair: FramePair) -> FramePair:
        """The pair with the depth image nearest to its rgb frame, where one is near enough (``registration.depth_slop_ms``)."""
        return self._queue.join(pair) if self._subscription is not None else pair

    def _on_depth(self, message: Image) -> None:
        try:
            frame = decode_thermal(message)  # 16UC1 and 32FC1 are read alike, whatever they count
        except ImageError as error:
            self.problem = f"depth image cannot be read: {error}"
            return
        self.problem = ""
        self._queue.push(frame)
