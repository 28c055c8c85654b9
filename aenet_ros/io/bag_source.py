"""Frames of rosbags: pairs for `aenet fuse` through the live node's decoding and matcher, and a player for `aenet view`."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.io.bag_files import Connection
from aenet_ros.io.bag_topics import camera_topics, choose_depth, image_topics, read_intrinsics
from aenet_ros.io.bags import Bag, open_bag
from aenet_ros.io.source import Source, SourceItem, dropped_frames
from aenet_ros.messages.codec import decode_rgb, decode_thermal
from aenet_ros.sync.matcher import DepthQueue, PairMatcher

DIAGNOSTICS = "/diagnostics"
Listener = Callable[[Connection, int, bytes], None]
"""Gets every message as it is read: connection, log time in ns, bytes."""


class BagSource(Source):
    """The pairs of two picture topics of a bag, each topic given or guessed by its name; ``remarks`` names them. See ``Source``.

    ``depth_topic`` "" is guessed too; None: no depth is needed. ``intrinsics`` come from the first camera_info beside each topic.
    ``listeners`` get every message of the bag before its frame is paired.
    Raises SourceError if the bag cannot be read or the topics are not clear.
    """

    def __init__(
        self,
        path: Path,
        sync: SyncConfig,
        thermal_topic: str = "",
        rgb_topic: str = "",
        depth_topic: str | None = None,
        depth_slop_ms: float = 0.0,
    ) -> None:
        super().__init__()
        self.path = path
        self.files = [path] if path.is_file() else [entry for entry in path.iterdir() if entry.is_file()]
        self.listeners: list[Listener] = []
        self._sync, self._depth_slop_ns = sync, round(depth_slop_ms * 1e6)
        with open_bag(path, []) as bag:
            topics = image_topics(bag)
            self.connections = list(bag.counts)
            self.thermal_topic, self.rgb_topic = camera_topics(bag, thermal_topic, rgb_topic)
            self.depth_topic = choose_depth(topics, depth_topic) if depth_topic is not None else ""
            self.intrinsics = read_intrinsics(bag, {"thermal": self.thermal_topic, "rgb": self.rgb_topic})
            seconds = bag.duration_ns * 1e-9
        if self.thermal_topic == self.rgb_topic:
            raise SourceError(f"'{self.thermal_topic}' cannot be both the thermal and the rgb topic; give another --rgb-topic")
        self.cameras = {"thermal": self.thermal_topic, "rgb": self.rgb_topic}
        roles = {**self.cameras, "depth": self.depth_topic}
        self.remarks.append(", ".join(f"{role}: {topic} ({topics[topic]})" for role, topic in roles.items() if topic))
        self.total = min(topics[self.thermal_topic], topics[self.rgb_topic])
        self.rate_hz = min(max(self.total / seconds, 0.1), 1000.0) if seconds > 0 else 30.0

    def __iter__(self) -> Iterator[SourceItem]:
        matcher = PairMatcher(self._sync.slop_ns, self._sync.clock_offset_ns, self._sync.queue_size)
        depths = DepthQueue(self._depth_slop_ns)
        cameras = (self.thermal_topic, self.rgb_topic, self.depth_topic)
        with open_bag(self.path, self.remarks) as bag:
            wanted = [item for item in bag.counts if self.listeners or item.topic in cameras]
            for connection, log_ns, data in bag.messages(wanted, self.remarks):
                for listener in self.listeners:
                    listener(connection, log_ns, data)
                if connection.topic not in cameras:
                    continue
                pairs: list[FramePair] = []
                try:
                    message = bag.deserialize(connection, data)
                    if connection.topic == self.thermal_topic:
                        pairs = matcher.push_thermal(decode_thermal(message))
                    elif connection.topic == self.rgb_topic:
                        pairs = matcher.push_rgb(decode_rgb(message))
                    else:
                        depths.push(decode_thermal(message))  # depth images have the encodings of counts
                except ImageError as error:
                    yield SourceItem(f"{connection.topic} at {log_ns}", error=str(error))
                yield from (_item(depths.join(pair)) for pair in pairs)
            yield from (_item(depths.join(pair)) for pair in matcher.flush())
        self.remarks += dropped_frames(matcher)


def _item(pair: FramePair) -> SourceItem:
    return SourceItem(str(pair.rgb.stamp_ns), pair)


class Event(NamedTuple):
    """A message of a stream: ``thermal`` or ``rgb`` of a camera, ``fused`` or ``registered`` as recorded, or ``diagnostics``.

    ``at_ns``: log time since the bag's start. ``message`` deserializes it; ``message`` and ``frame`` raise ImageError for damaged bytes.
    """

    stream: str
    at_ns: int
    message: Callable[[], Any]

    def frame(self) -> Frame:
        """The picture of any stream but diagnostics."""
        return (decode_thermal if self.stream in ("thermal", "registered") else decode_rgb)(self.message())


class BagPlayer:
    """Messages of a bag from any time on, in the order of recording.

    ``recorded``: play the fused pictures in the bag, if it holds any, rather than the cameras' pairs.
    Raises SourceError if the bag cannot be read or holds no such pictures.
    """

    def __init__(self, path: Path, thermal_topic: str = "", rgb_topic: str = "", *, recorded: bool = True) -> None:
        self.path = path
        self.remarks: list[str] = []
        self.topics: dict[str, str] = {}
        with open_bag(path, self.remarks) as bag:
            topics = image_topics(bag)
            self._begin_ns, self.duration_ns = bag.start_ns, bag.duration_ns
        fused, registered = (_find_topic(topics, name) for name in ("fused/image", "fused/thermal_registered"))
        self.recorded = recorded and bool(fused)
        try:
            self.topics["thermal"], self.topics["rgb"] = camera_topics(bag, thermal_topic, rgb_topic)
        except SourceError as error:
            if not self.recorded or thermal_topic or rgb_topic:
                raise
            self.remarks.append(f"only recorded fused pictures are shown: {error}")
        if self.recorded:
            self.topics["fused"] = fused
            if registered:  # it is on the fused picture's grid
                self.topics["registered"] = registered
                self.topics.pop("thermal", None)

    def events(self, bag: Bag, from_ns: int) -> Iterator[Event]:
        """From ``from_ns`` after the bag's start to its end; ``bag`` is that of ``open``."""
        streams = {topic: stream for stream, topic in self.topics.items()}
        wanted = [connection for connection in bag.counts if connection.topic in (*streams, DIAGNOSTICS)]
        for connection, log_ns, data in bag.messages(wanted, self.remarks, self._begin_ns + from_ns):
            stream = streams.get(connection.topic, "diagnostics")
            yield Event(stream, log_ns - self._begin_ns, partial(bag.deserialize, connection, data))

    def open(self) -> AbstractContextManager[Bag]:
        """A context with the reader that ``events`` needs. For one thread only, because of sqlite."""
        return open_bag(self.path, [])


def _find_topic(topics: Iterable[str], name: str) -> str:
    """The shortest topic of that name, in any namespace; the compressed one only if there is no other; else empty."""
    found = [topic for topic in topics if f"/{topic}".endswith((f"/{name}", f"/{name}/compressed"))]
    return min(found, key=lambda topic: (topic.endswith("/compressed"), len(topic), topic), default="")
