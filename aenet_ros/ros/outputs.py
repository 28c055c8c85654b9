"""The node's publishers: the fused topics here, thermal and video topics in ``thermal_outputs`` and ``video_outputs``."""

from collections.abc import Mapping

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from aenet_ros.config import Config, OutputConfig
from aenet_ros.core.frames import FusedFrame
from aenet_ros.messages.codec import fused_camera_info
from aenet_ros.registration.registration import Registration
from aenet_ros.ros import video_outputs
from aenet_ros.ros.thermal_outputs import ALARMS, ThermalOutputs
from aenet_ros.ros.topics import RELIABILITY, Topics
from aenet_ros.ros.video_outputs import VideoOutputs

IMAGE, COMPRESSED, REGISTERED, INFO = "fused/image", "fused/image/compressed", "fused/thermal_registered", "fused/camera_info"
NEED_FRAME = (IMAGE, COMPRESSED, REGISTERED, *video_outputs.TYPES)


class Outputs:
    """Made in configure, destroyed in cleanup. ``publish`` is called by one thread only."""

    def __init__(self, node: Node, config: Config, registration: Registration) -> None:
        self._scales, reliability = config.output.grid == "size", RELIABILITY[config.output.reliability]
        self.topics, qos = Topics(node), QoSProfile(depth=1, reliability=reliability)
        self.topics.add({IMAGE: Image, COMPRESSED: CompressedImage, REGISTERED: Image, INFO: CameraInfo}, qos)
        self.thermal, self.video = ThermalOutputs(node, self.topics, qos, registration), VideoOutputs(node, self.topics, reliability)

    def wanted(self, config: Config) -> dict[str, int]:
        """Subscribers of each topic that has any; ``alarms`` is wanted while regions are watched."""
        wanted = self.topics.subscribers()
        wanted.pop(ALARMS, None)
        self.video.follow(wanted)
        return {**wanted, ALARMS: 1} if config.alarms.regions else wanted

    def publish(self, fused: FusedFrame, camera_infos: Mapping[str, CameraInfo], wanted: Mapping[str, int], config: OutputConfig) -> None:
        """Publish the fused topics that are wanted, all with the frame's stamp and frame_id; ``camera_infos`` by role, as last received."""
        header = fused.stamp_ns, fused.frame_id
        if IMAGE in wanted:
            self.topics.send_image(IMAGE, fused.image, fused.encoding, *header)
        if COMPRESSED in wanted:
            self.topics.send_jpeg(COMPRESSED, fused.image, fused.encoding, config.jpeg_quality, *header)
        if REGISTERED in wanted and fused.thermal_registered is not None:
            self.topics.send_image(REGISTERED, fused.thermal_registered, fused.thermal_encoding, *header)
        info_holds = INFO in wanted and fused.keeps_geometry
        if info_holds and (camera_info := fused_camera_info(camera_infos, fused, scaled=self._scales)) is not None:
            self.topics.send(INFO, camera_info, *header)
        if wanted.keys() & video_outputs.TYPES.keys():
            self.video.put(fused, config)

    def close(self) -> None:
        """Destroy the publishers."""
        self.video.stop()
        self.topics.destroy()


def frame_subscribers(wanted: Mapping[str, int]) -> int:
    """Subscribers of the topics that need a fused or a registered frame; camera_info alone needs neither."""
    return sum(wanted.get(topic, 0) for topic in NEED_FRAME)
