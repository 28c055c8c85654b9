"""The reference for the fusing node's latency: pairs two streams by stamp and republishes the rgb frame.

Same input topics and QoS; output ``passthrough/image``. Its latency is the share of the middleware and of Python.
"""

from collections.abc import Iterable, Sequence

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from aenet_ros.config import Config
from aenet_ros.core.frames import FramePair
from aenet_ros.messages.codec import decode_rgb, decode_thermal, fill_image, set_stamp
from aenet_ros.ros.compat import no_event_callbacks
from aenet_ros.ros.node_main import running
from aenet_ros.ros.tools.camera_publisher import BEST_EFFORT
from aenet_ros.sync.matcher import PairMatcher


class PassthroughNode(Node):
    """Decodes, pairs and publishes in the callback that completes a pair."""

    def __init__(self) -> None:
        super().__init__("passthrough")
        sync = Config().sync
        self._matcher = PairMatcher(sync.slop_ns, sync.clock_offset_ns, sync.queue_size)
        self._message = Image()
        self._publisher = self.create_publisher(Image, "passthrough/image", QoSProfile(depth=1))
        for topic, callback in (("thermal/image_raw", self._on_thermal), ("rgb/image_raw", self._on_rgb)):
            self.create_subscription(Image, topic, callback, BEST_EFFORT, event_callbacks=no_event_callbacks())

    def _on_thermal(self, message: Image) -> None:
        self._send(self._matcher.push_thermal(decode_thermal(message)))

    def _on_rgb(self, message: Image) -> None:
        self._send(self._matcher.push_rgb(decode_rgb(message)))

    def _send(self, pairs: Iterable[FramePair]) -> None:
        for pair in pairs:
            set_stamp(self._message.header, pair.rgb.stamp_ns)
            self._message.header.frame_id = pair.rgb.frame_id
            fill_image(self._message, pair.rgb.data, pair.rgb.encoding)
            self._publisher.publish(self._message)


def main(args: Sequence[str] | None = None) -> None:
    """Run until stopped."""
    with running("passthrough_node", PassthroughNode, args) as (_, executor):
        executor.spin()


if __name__ == "__main__":
    main()
