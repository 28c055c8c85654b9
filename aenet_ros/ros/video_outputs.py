"""Publishers of the fused picture as H.264, where their message packages are installed. A thread of their own encodes."""

import importlib
import os
import threading
import time
from array import array
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from aenet_ros.config import OutputConfig
from aenet_ros.core.errors import MissingDependencyError
from aenet_ros.core.frames import FusedFrame
from aenet_ros.core.mailbox import Mailbox
from aenet_ros.health.status import OK, RECENT_NS, WARN, WINDOW, Code, Failures, Status
from aenet_ros.messages.codec import set_header
from aenet_ros.ros.topics import Topics

if TYPE_CHECKING:
    from aenet_ros.io.video_encoder import VideoEncoder, VideoPacket

TYPES: dict[str, type[Any]] = {}
PACKAGES = {"fused/video": "foxglove_msgs", "fused/image/ffmpeg": "ffmpeg_image_transport_msgs"}
with suppress(ImportError):
    TYPES["fused/video"] = importlib.import_module("foxglove_msgs.msg").CompressedVideo
with suppress(ImportError):
    TYPES["fused/image/ffmpeg"] = importlib.import_module("ffmpeg_image_transport_msgs.msg").FFMPEGPacket

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
    """``fused/video`` and ``fused/image/ffmpeg``. An error is counted and costs no other topic."""

    def __init__(self, node: Node, topics: Topics, reliability: ReliabilityPolicy) -> None:
        self._logger, self._missing = node.get_logger(), ""
        topics.add(TYPES, QoSProfile(depth=QUEUE, reliability=reliability))
        self._publishers = [topics.publishers[topic] for topic in TYPES]
        if missing := [topic for topic in PACKAGES if topic not in TYPES]:
            names = [PACKAGES[topic] for topic in missing]
            packages = " ".join(f"ros-{os.environ.get('ROS_DISTRO')}-{name.replace('_', '-')}" for name in names)
            remedy = f"apt install {packages}" if "ROS_DISTRO" in os.environ else "they come with ROS 2 from apt only"
            self._missing = f"not installed: {', '.join(names)} ({remedy})"
            self._logger.info(f"{', '.join(missing)}: no such topic, {self._missing}")
        self._subscribers = 0
        self._keyframes_ns: tuple[int, ...] = ()  # times of the monotonic clock at which keyframes are due
        self._mailbox: Mailbox[tuple[FusedFrame, OutputConfig]] = Mailbox()
        self._thread: threading.Thread | None = None
        self._encoder_text = ""
        self._encoded: deque[Encoded] = deque(maxlen=WINDOW)
        self._published = self._dropped = 0
        self._failures = Failures()
        self._judged, self._dropped_share = (0, 0), 0.0  # published and dropped so far, and the share since the time before

    def follow(self, wanted: Mapping[str, int]) -> None:
        """Take the subscribers by topic. A new one gets a keyframe with the next picture, and another soon: the first may be lost."""
        count = sum(wanted.get(topic, 0) for topic in TYPES)
        if count > self._subscribers:
            now_ns = time.monotonic_ns()
            self._keyframes_ns = (now_ns, now_ns + DISCOVERY_NS)
        self._subscribers = count

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
            "failed": str(self._failures.number),
        }
        if self._failures.recent:
            return Status("video", WARN, Code.VIDEO_FAILS, f"pictures are not encoded, other topics go on: {self._failures.last}", values)
        if not TYPES:
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

    def stop(self) -> None:
        """Stop the thread."""
        self._mailbox.close()
        if self._thread is not None:
            self._thread.join(STOP_S)

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
                self._failures.count(error)
                if isinstance(error, MissingDependencyError):
                    retry_ns = time.monotonic_ns() + RETRY_NS

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
    if kind is TYPES.get("fused/video"):
        message.frame_id, message.format = frame_id, "h264"
        message.timestamp.sec, message.timestamp.nanosec = divmod(packet.stamp_ns, 1_000_000_000)
        return message
    set_header(message.header, packet.stamp_ns, frame_id)
    message.width, message.height, message.pts, message.flags = packet.width, packet.height, packet.number, int(packet.keyframe)
    message.encoding = encoder  # subscribers of ffmpeg_image_transport choose the decoder by it
    return message
