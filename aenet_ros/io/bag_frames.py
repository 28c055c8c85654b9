"""Messages of a bag's picture topics as frames: pictures, and packets of video."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from aenet_ros.core.errors import ImageError, MissingDependencyError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.io.bag_files import Connection
from aenet_ros.io.bags import Bag
from aenet_ros.io.video_decoder import PacketDecoder
from aenet_ros.messages.codec import IMAGE_TYPES, decode_rgb, decode_thermal, stamp_ns

FFMPEG_PACKET, COMPRESSED_VIDEO = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket", "foxglove_msgs/msg/CompressedVideo"
VIDEO_TYPES = (FFMPEG_PACKET, COMPRESSED_VIDEO)
PICTURE_TYPES = (*IMAGE_TYPES, *VIDEO_TYPES, "foxglove_msgs/msg/CompressedImage", "foxglove_msgs/msg/RawImage")
"""Types of the topics that are taken for cameras."""
COLOUR = ("rgb", "fused")
"""Roles whose frames are pictures; those of all others are counts."""
_VIDEO = re.compile(r"[hx]\.?26[45]|hevc|avc|vp[89]|av1", re.IGNORECASE)


def with_header(message: Any) -> Any:
    """The message; those of Foxglove, which have ``timestamp`` and ``frame_id``, with a header as sensor_msgs have it."""
    if hasattr(message, "header"):
        return message
    header = SimpleNamespace(stamp=message.timestamp, frame_id=message.frame_id)
    return SimpleNamespace(**vars(message), header=header, is_bigendian=0)


def video_codec(connection: Connection, message: Any) -> str:
    """The codec of a packet of video, as the message names it; empty for a picture."""
    if connection.msgtype == FFMPEG_PACKET:
        return str(message.encoding)
    codec = str(message.format if hasattr(message, "format") else message.encoding)  # drivers also put packets into an Image
    return codec if connection.msgtype in VIDEO_TYPES or _VIDEO.search(codec) else ""


def picture_format(connection: Connection, message: Any) -> str:
    """What a message holds, in words: encoding and size, or the format of compressed data."""
    if codec := video_codec(connection, message):
        return f"{codec} (video)"
    return f"{message.format} (compressed)" if hasattr(message, "format") else f"{message.encoding} {message.width}x{message.height}"


class FrameReader:
    """Decodes the messages of picture topics. Keeps state: give every message, in order.

    ``by_log``: frames get the log times of their messages as stamps, each later than the one before; ``restore`` gives pairs their
    header stamps back. ``encodings``: by role, to read in place of those that the messages name.
    """

    def __init__(self, bag: Bag, by_log: bool, encodings: Mapping[str, str] | None = None) -> None:
        self._bag, self._by_log, self._encodings = bag, by_log, encodings or {}
        self._decoders: dict[str, PacketDecoder] = {}
        self._headers: dict[str, dict[int, int]] = {}  # by role: header stamps by the log times that stand for them
        self._latest_ns: dict[str, int] = {}
        self.missing: Counter[str] = Counter()  # by role: video frames that no error told of: before a keyframe, or after a damaged one

    def read(self, role: str, connection: Connection, log_ns: int, data: bytes) -> list[Frame]:
        """The frames that a message completes: one, or for video none or several. ``role``: thermal, rgb, or that of another topic.

        Raises ImageError if it cannot be decoded.
        """
        message = with_header(self._bag.deserialize(connection, data))
        time_ns = self._time(role, stamp_ns(message), log_ns)
        codec, thermal = video_codec(connection, message), role not in COLOUR
        if not codec:
            return [replace((decode_thermal if thermal else decode_rgb)(message, self._encodings.get(role, "")), stamp_ns=time_ns)]
        try:
            decoder = self._decoders.get(role) or self._decoders.setdefault(role, PacketDecoder(codec, thermal))
        except MissingDependencyError as error:
            raise ImageError(f"{codec} video is not decoded: {error}") from error
        frames = decoder.decode(bytes(message.data), time_ns)
        self.missing[role] += 1 - len(frames)
        return [replace(frame, frame_id=message.header.frame_id, source_encoding=codec) for frame in frames]

    def flush(self) -> list[tuple[str, Frame]]:
        """(role, frame) that decoders of video still hold at the end of the bag."""
        found = [(role, frame) for role, decoder in self._decoders.items() for frame in decoder.flush()]
        self.missing.subtract(role for role, _ in found)
        return found

    def restore(self, pair: FramePair) -> FramePair:
        """The pair with its header stamps, where they are not zero."""
        if not self._by_log:
            return pair
        return replace(pair, thermal=self._with_header("thermal", pair.thermal), rgb=self._with_header("rgb", pair.rgb))

    def _with_header(self, role: str, frame: Frame) -> Frame:
        headers = self._headers[role]
        stamp = headers[frame.stamp_ns]
        self._headers[role] = {time: header for time, header in headers.items() if time > frame.stamp_ns}
        return replace(frame, stamp_ns=stamp) if stamp > 0 else frame

    def _time(self, role: str, stamp: int, log_ns: int) -> int:
        if not self._by_log:
            return stamp
        time_ns = max(log_ns, self._latest_ns.get(role, 0) + 1)  # a recorder may log several messages at once
        self._latest_ns[role] = time_ns
        self._headers.setdefault(role, {})[time_ns] = stamp
        return time_ns
