"""Publishers of the fused picture as H.264, where their message packages are installed. A thread of their own encodes."""

import os
import threading
import time
from array import array
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from aenet_ros.config import OutputConfig
from aenet_ros.core.errors import MissingDependencyError, format_error
from aenet_ros.core.frames import FusedFrame
from aenet_ros.health.judge import RECENT_NS
from aenet_ros.health.status import OK, WARN, WINDOW, Code, Status
from aenet_ros.messages.codec import set_header
from aenet_ros.ros.mailbox import Mailbox
from aenet_ros.ros.params import create_publisher

if TYPE_CHECKING:
    from aenet_ros.io.video_encoder import VideoEncoder, VideoPacket

try:
    from foxglove_msgs.msg import CompressedVideo
except ImportError:
    CompressedVideo = None
try:
    from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
except ImportError:
    FFMPEGPacket = None

QUEUE = 10  # messages that DDS keeps for a slow subscriber: each one needs those before it
IDLE_S = 2.0  # without a picture, after which the encoder is freed
RETRY_NS = 1_000_000_000  # after which a missing encoder is looked for again
STOP_S = 5.0
DISCOVERY_NS = 500_000_000
"""A new subscriber may take so long to know this publisher, while it is counted already."""
MOST_DROPPED, MIN_JUDGED = 0.1, 30
"""Share of dropped pictures above which diagnostics warn, and the pictures of which it is taken."""


class Encoded(NamedTuple):
    """What a picture took; ``at_ns`` is of the monotonic clock."""

    at_ns: int
    size: int
    duration_ns: int


class VideoOutputs:
    """``fused/video`` and ``fused/image/ffmpeg``; made in configure, destroyed in cleanup. An error is counted and costs no other topic."""

    def __init__(self, node: Node, reliability: ReliabilityPolicy) -> None:
        self._node, self._logger = node, node.get_logger()
        # As image_transport names it, a remapping of the base topic included.
        topics = {"fused/video": CompressedVideo, node.resolve_topic_name("fused/image") + "/ffmpeg": FFMPEGPacket}
        qos = QoSProfile(depth=QUEUE, reliability=reliability)
        self._publishers = [create_publisher(node, kind, topic, qos) for topic, kind in topics.items() if kind is not None]
        missing = [
            name for name, kind in (("foxglove_msgs", CompressedVideo), ("ffmpeg_image_transport_msgs", FFMPEGPacket)) if kind is None
        ]
        self._missing = ""
        if missing:
            packages = " ".join(f"ros-{os.environ.get('ROS_DISTRO', '$ROS_DISTRO')}-{name.replace('_', '-')}" for name in missing)
            self._missing = f"not installed: {', '.join(missing)} (apt install {packages})"
            self._logger.info(f"{', '.join(t for t, kind in topics.items() if kind is None)}: no such topic, {self._missing}")
        self._subscribers = 0
        self._keyframes_ns: tuple[int, ...] = ()  # times of the monotonic clock at which keyframes are due
        self._mailbox: Mailbox[tuple[FusedFrame, OutputConfig]] = Mailbox()
        self._thread: threading.Thread | None = None
        self._encoder_text = ""
        self._encoded: deque[Encoded] = deque(maxlen=WINDOW)
        self._published = self._dropped = self._failed = self._failed_at_ns = 0
        self._last_failure = ""
        self._judged, self._dropped_share = (0, 0), 0.0  # published and dropped so far, and the share since the time before

    def subscribers(self) -> int:
        """Subscribers of both topics. A new one gets a keyframe with the next picture, and another one soon: the first may be lost."""
        count = sum(publisher.get_subscription_count() for publisher in self._publishers)
        if count > self._subscribers:
            now_ns = time.monotonic_ns()
            self._keyframes_ns = (now_ns, now_ns + DISCOVERY_NS)
        self._subscribers = count
        return count

    def put(self, fused: FusedFrame, config: OutputConfig) -> None:
        """Hand over a picture; returns at once. A waiting one is replaced and counted."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="video", daemon=True)
            self._thread.start()
        self._dropped += len(self._mailbox.put((fused, config)))

    def status(self) -> Status:
        """A line of diagnostics. To be called once in their period."""
        now_ns, encoded = time.monotonic_ns(), list(self._encoded)
        published, dropped = self._published - self._judged[0], self._dropped - self._judged[1]
        if published + dropped >= MIN_JUDGED:
            self._dropped_share, self._judged = dropped / (published + dropped), (self._published, self._dropped)
        values = {
            "subscribers": str(self._subscribers),
            "encoder": self._encoder_text or "-",
            "published": str(self._published),
            "dropped: encoder busy": str(self._dropped),
            "failed": str(self._failed),
        }
        if self._failed and now_ns - self._failed_at_ns < RECENT_NS:
            return Status("video", WARN, Code.VIDEO_FAILS, f"pictures are not encoded, other topics go on: {self._last_failure}", values)
        if not self._publishers:
            return Status("video", OK, Code.VIDEO_ABSENT, f"no video topics: {self._missing}", values)
        if len(encoded) < 2 or now_ns - encoded[-1].at_ns > RECENT_NS:
            text = "waiting for pictures" if self._subscribers else "idle: no subscriber"
            return Status("video", OK, Code.VIDEO_OK, text, values)
        kbps = sum(item.size for item in encoded[1:]) * 8e6 / max(encoded[-1].at_ns - encoded[0].at_ns, 1)
        duration_ms = sorted(item.duration_ns for item in encoded)[len(encoded) // 2] / 1e6
        values |= {"rate [kbit/s]": f"{kbps:.0f}", "encoding p50 [ms]": f"{duration_ms:.1f}"}
        if self._dropped_share > MOST_DROPPED:
            text = (
                f"{100 * self._dropped_share:.0f} % of the pictures are dropped, since the encoder is too slow: use a smaller output.grid"
            )
            return Status("video", WARN, Code.VIDEO_SLOW, text, values)
        return Status("video", OK, Code.VIDEO_OK, f"{self._encoder_text}, {kbps:.0f} kbit/s, {duration_ms:.1f} ms a picture", values)

    def destroy(self) -> None:
        """Stop the thread and destroy the publishers."""
        self._mailbox.close()
        if self._thread is not None:
            self._thread.join(STOP_S)
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)

    # In the thread.

    def _run(self) -> None:
        encoder: VideoEncoder | None = None
        retry_ns = 0
        while not self._mailbox.closed:
            waiting = self._mailbox.take(IDLE_S if encoder is not None else None)
            if waiting is None:  # idle
                encoder = None
            if waiting is None or time.monotonic_ns() < retry_ns:
                continue
            try:
                encoder = encoder or _new_encoder()
                self._encode(encoder, *waiting)
            except Exception as error:  # a fault of a codec, or rclpy's shutdown, must not end the thread
                self._failed, self._last_failure, self._failed_at_ns = self._failed + 1, format_error(error), time.monotonic_ns()
                if isinstance(error, MissingDependencyError):
                    retry_ns = self._failed_at_ns + RETRY_NS

    def _encode(self, encoder: "VideoEncoder", fused: FusedFrame, config: OutputConfig) -> None:
        begin_ns, due = time.monotonic_ns(), self._keyframes_ns
        wanted = bool(due) and begin_ns >= due[0]
        if wanted:
            self._keyframes_ns = due[1:]
        packets = encoder.encode(fused.image, fused.encoding, fused.stamp_ns, config, wanted)
        now_ns = time.monotonic_ns()
        self._encoded.append(Encoded(now_ns, sum(len(packet.data) for packet in packets), now_ns - begin_ns))
        self._name(encoder)
        for packet in packets:
            for publisher in self._publishers:
                if publisher.get_subscription_count():
                    publisher.publish(_message(publisher.msg_type, packet, fused.frame_id, encoder.name))
            self._published += 1

    def _name(self, encoder: "VideoEncoder") -> None:
        """Log the encoder where it is another one than the last."""
        if self._encoder_text == encoder.name:
            return
        self._encoder_text = encoder.name
        others = "".join(f"; {name} is not used: {reason}" for name, reason in encoder.rejected.items())
        self._logger.info(f"video topics are encoded by {encoder.name}{others}")


def _new_encoder() -> "VideoEncoder":
    from aenet_ros.io.video_encoder import VideoEncoder  # a robot without such a subscriber does not load it

    return VideoEncoder(hardware=True)


def _message(kind: type[Any], packet: "VideoPacket", frame_id: str, encoder: str) -> Any:
    """The packet as CompressedVideo or FFMPEGPacket."""
    message = kind()
    message.data = array("B", packet.data)
    if kind is CompressedVideo:
        message.frame_id, message.format = frame_id, "h264"
        message.timestamp.sec, message.timestamp.nanosec = divmod(packet.stamp_ns, 1_000_000_000)
        return message
    set_header(message.header, packet.stamp_ns, frame_id)
    message.width, message.height, message.pts, message.flags = packet.width, packet.height, packet.number, int(packet.keyframe)
    message.encoding = encoder  # subscribers of ffmpeg_image_transport choose the decoder by it
    return message
