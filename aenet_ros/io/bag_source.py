"""Pairs of a rosbag, through the same decoding and the same matcher as in the live node."""

from collections.abc import Callable, Iterator
from pathlib import Path

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection

from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import FramePair
from aenet_ros.io.bags import choose_depth, choose_topics, image_topics, message_of, open_bag, read_intrinsics, read_messages
from aenet_ros.io.sources import Lost, Named, dropped
from aenet_ros.messages.codec import decode_rgb, decode_thermal
from aenet_ros.registration.depth import DepthQueue
from aenet_ros.sync.matcher import PairMatcher

Listener = Callable[[Connection, int, bytes], None]
"""Is told of every message as it is read: connection, log time in ns, bytes."""


class BagSource:
    """The pairs of two picture topics of a bag, each topic given or guessed by its name.

    ``remarks`` says which topics were taken. ``depth_topic`` "" is guessed too; None: there is no need of depth. ``intrinsics``
    are the cameras (``thermal``, ``rgb``) as the first camera_info of each describes them, where there is one.
    Raises SourceError where the bag cannot be read or the topics are not clear.
    """

    timed = True

    def __init__(
        self,
        path: Path,
        sync: SyncConfig,
        thermal_topic: str = "",
        rgb_topic: str = "",
        depth_topic: str | None = None,
        depth_slop_ms: float = 0.0,
    ) -> None:
        self.path = path
        self.files = [path] if path.is_file() else [entry for entry in path.iterdir() if entry.is_file()]
        self.remarks: list[str] = []
        self.listeners: list[Listener] = []
        self.done: frozenset[str] = frozenset()
        self._sync, self._depth_slop_ns = sync, round(depth_slop_ms * 1e6)
        with open_bag(path, []) as reader:
            topics = image_topics(reader)
            self.thermal_topic, self.rgb_topic = choose_topics(topics, thermal_topic, rgb_topic)
            self.depth_topic = choose_depth(topics, depth_topic) if depth_topic is not None else ""
            self.intrinsics = read_intrinsics(reader, {"thermal": self.thermal_topic, "rgb": self.rgb_topic})
            counts = {topic.name: topic.messages for topic in topics}
            seconds = reader.duration * 1e-9
        if self.thermal_topic == self.rgb_topic:
            raise SourceError(f"'{self.thermal_topic}' cannot be both the thermal and the rgb topic")
        depth = f", depth: {self.depth_topic} ({counts[self.depth_topic]})" if self.depth_topic else ""
        self.remarks.append(
            f"thermal: {self.thermal_topic} ({counts[self.thermal_topic]}), rgb: {self.rgb_topic} ({counts[self.rgb_topic]}){depth}"
        )
        self.total = min(counts[self.thermal_topic], counts[self.rgb_topic])
        self.rate_hz = min(max(self.total / seconds, 0.1), 1000.0) if seconds > 0 else 30.0

    def __iter__(self) -> Iterator[Named | Lost]:
        matcher = PairMatcher(round(self._sync.slop_ms * 1e6), round(self._sync.clock_offset_ms * 1e6), self._sync.queue_size)
        depths = DepthQueue(self._depth_slop_ns)
        with open_bag(self.path, self.remarks) as reader:
            wanted = reader.connections if self.listeners else self.cameras(reader)
            for connection, log_ns, data in read_messages(reader, wanted, self.remarks):
                for listener in self.listeners:
                    listener(connection, log_ns, data)
                try:
                    if connection.topic == self.depth_topic:
                        depths.push(decode_thermal(message_of(reader, connection, data)))  # depths are encoded as counts are
                    else:
                        yield from (_named(depths.join(pair)) for pair in self._push(reader, matcher, connection, data))
                except ImageError as error:
                    yield Lost(f"{connection.topic} at {log_ns}", str(error))
            yield from (_named(depths.join(pair)) for pair in matcher.flush())
        self.remarks += dropped(matcher)

    def cameras(self, reader: AnyReader) -> list[Connection]:
        """The connections of the two topics, and of depth."""
        return [
            connection for connection in reader.connections if connection.topic in (self.thermal_topic, self.rgb_topic, self.depth_topic)
        ]

    def _push(self, reader: AnyReader, matcher: PairMatcher, connection: Connection, data: bytes) -> list[FramePair]:
        if connection.topic == self.thermal_topic:
            return matcher.push_thermal(decode_thermal(message_of(reader, connection, data)))
        if connection.topic == self.rgb_topic:
            return matcher.push_rgb(decode_rgb(message_of(reader, connection, data)))
        return []


def _named(pair: FramePair) -> Named:
    return Named(str(pair.rgb.stamp_ns), pair)
