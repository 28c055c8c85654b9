"""Frames of rosbags: pairs for `aenet fuse` through the live node's decoding and matcher, and a player for `aenet view`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.io.bag_files import Connection
from aenet_ros.io.bag_frames import FrameReader
from aenet_ros.io.bag_topics import camera_topics, choose_depth, choose_time, image_topics, read_intrinsics
from aenet_ros.io.bags import Bag, open_bag
from aenet_ros.io.source import Source, SourceItem, dropped_frames
from aenet_ros.sync.matcher import DepthQueue, PairCounts, PairMatcher

DIAGNOSTICS = "/diagnostics"
NO_KEYFRAME = "video frames before a keyframe, or after a damaged one"
Listener = Callable[[Connection, int, bytes], None]
"""Gets every message as it is read: connection, log time in ns, bytes."""


class BagSource(Source):
    """The pairs of two picture topics of a bag, each topic given or found (``camera_topics``); ``remarks`` names them. See ``Source``.

    ``depth_topic`` "" is found by its name; None: no depth is needed. ``time``: header or log, the times that pair frames; empty: see
    ``choose_time``. ``intrinsics`` come from the first camera_info beside each topic. ``by_log``: the times that are used; frames have
    their header stamps all the same, where these are not zero. ``counts`` and ``undecoded`` (by topic and reason) are complete after the
    last item. Raises SourceError if the bag cannot be read or the topics are not clear.
    """

    def __init__(
        self,
        path: Path,
        sync: SyncConfig,
        thermal_topic: str = "",
        rgb_topic: str = "",
        depth_topic: str | None = None,
        depth_slop_ms: float = 0.0,
        time: str = "",
    ) -> None:
        super().__init__()
        self.path = path
        self.files = [path] if path.is_file() else [entry for entry in path.iterdir() if entry.is_file()]
        self.counts = PairCounts()
        self.undecoded: Counter[tuple[str, str]] = Counter()
        self.on_frame: Callable[[str, int], object] | None = None  # gets role and time of each frame that is decoded
        self._listeners: list[tuple[Listener, frozenset[Connection]]] = []
        self._sync, self._depth_slop_ns = sync, round(depth_slop_ms * 1e6)
        with open_bag(path, []) as bag:
            topics = image_topics(bag)
            self.connections = list(bag.counts)
            found = camera_topics(bag, thermal_topic, rgb_topic)
            thermal, rgb, self.profile = found.thermal, found.rgb, found.profile
            if thermal == rgb:
                raise SourceError(f"'{thermal}' cannot be both the thermal and the rgb topic; give another --rgb-topic")
            self.cameras = {"thermal": thermal, "rgb": rgb}
            self._roles = {topic: role for role, topic in self.cameras.items()}
            if depth_topic is not None:
                self._roles.setdefault(choose_depth(topics, depth_topic), "depth")
            self.intrinsics = read_intrinsics(bag, self.cameras)
            self.by_log, remark = choose_time(bag, self.cameras, sync.clock_offset_ns, time)
            seconds = bag.duration_ns * 1e-9
        self.remarks.append(", ".join(f"{role}: {topic} ({topics[topic]})" for topic, role in self._roles.items()))
        self.remarks += [*([] if thermal_topic and rgb_topic else [found.why]), *([remark] if remark else [])]
        self.total = min(topics[topic] for topic in self.cameras.values())
        self.rate_hz = min(max(self.total / seconds, 0.1), 1000.0) if seconds > 0 else 30.0

    def listen(self, listener: Listener, connections: Iterable[Connection]) -> None:
        """Give every message of these connections to ``listener``, before its frame is paired."""
        self._listeners.append((listener, frozenset(connections)))

    def __iter__(self) -> Iterator[SourceItem]:
        matcher = PairMatcher(self._sync.slop_ns, self._sync.clock_offset_ns, self._sync.queue_size)
        self.counts = matcher.counts
        depths = DepthQueue(self._depth_slop_ns)
        with open_bag(self.path, self.remarks) as bag:
            encodings = {"thermal": self.inputs.thermal.encoding, "rgb": self.inputs.rgb.encoding}
            reader = FrameReader(bag, self.by_log, encodings)
            for item in self._read(bag, reader):
                if isinstance(item, SourceItem):
                    yield item
                    continue
                role, frame = item
                if role == "depth":
                    depths.push(frame)
                    continue
                if self.on_frame:
                    self.on_frame(role, frame.stamp_ns)
                for pair in matcher.push_thermal(frame) if role == "thermal" else matcher.push_rgb(frame):
                    yield _item(reader.restore(depths.join(pair)))
            for pair in matcher.flush():
                yield _item(reader.restore(depths.join(pair)))
        self.remarks += dropped_frames(matcher)

    def _read(self, bag: Bag, reader: FrameReader) -> Iterator[tuple[str, Frame] | SourceItem]:
        """(role, frame) of the cameras in the order of recording; an item with the error for a message that cannot be decoded."""
        wanted = {item for item in self.connections if item.topic in self._roles}
        for connection, log_ns, data in bag.messages(wanted.union(*(heard for _, heard in self._listeners)), self.remarks):
            for listener, heard in self._listeners:
                if connection in heard:
                    listener(connection, log_ns, data)
            if connection not in wanted:
                continue
            role = self._roles[connection.topic]
            try:
                yield from ((role, frame) for frame in reader.read(role, connection, log_ns, data))
            except ImageError as error:
                self.undecoded[connection.topic, str(error)] += 1
                yield SourceItem(f"{connection.topic} at {log_ns}", error=str(error))
        yield from reader.flush()
        for topic, role in self._roles.items():
            if (count := reader.missing[role]) > 0:
                self.undecoded[topic, NO_KEYFRAME] += count
                self.remarks.append(undecoded_text(topic, NO_KEYFRAME, count))


def undecoded_text(topic: str, reason: str, count: int) -> str:
    """A sentence on frames that cannot be decoded."""
    return f"{count} frames of {topic} cannot be decoded: {reason}"


def _item(pair: FramePair) -> SourceItem:
    return SourceItem(str(pair.rgb.stamp_ns), pair)


class Event(NamedTuple):
    """A message of a stream: ``thermal`` or ``rgb`` of a camera, ``fused`` or ``registered`` as recorded, or ``diagnostics``.

    ``at_ns``: log time since the bag's start. ``message`` deserializes it; ``frames`` gives the pictures of any stream but diagnostics
    (usually one; none or several of video): call it for every event. Both raise ImageError for damaged bytes.
    """

    stream: str
    at_ns: int
    message: Callable[[], Any]
    frames: Callable[[], list[Frame]]


class BagPlayer:
    """Messages of a bag from any time on, in the order of recording.

    ``recorded``: play the fused pictures in the bag, if it holds any, rather than the cameras' pairs. ``time``: as in BagSource.
    Raises SourceError if the bag cannot be read or holds no such pictures.
    """

    def __init__(
        self, path: Path, thermal_topic: str = "", rgb_topic: str = "", *, recorded: bool = True, offset_ns: int = 0, time: str = ""
    ) -> None:
        self.path = path
        self.remarks: list[str] = []
        self.topics: dict[str, str] = {}
        self.profile = ""  # as in Source
        self.notes: list[str] = []  # which cameras were chosen, and why
        self._by_log = False
        with open_bag(path, self.remarks) as bag:
            topics = image_topics(bag)
            self._begin_ns, self.duration_ns = bag.start_ns, bag.duration_ns
            fused, registered = (_find_topic(topics, *names) for names in (("fused/image", "fused/video"), ("fused/thermal_registered",)))
            self.recorded = recorded and bool(fused)
            try:
                found = camera_topics(bag, thermal_topic, rgb_topic)
                self.topics["thermal"], self.topics["rgb"], self.profile = found.thermal, found.rgb, found.profile
                self.notes += [] if thermal_topic and rgb_topic else [found.why]
            except SourceError as error:
                if not self.recorded or thermal_topic or rgb_topic:
                    raise
                self.remarks.append(f"only recorded fused pictures are shown: {error}")
            if not self.recorded:
                self._by_log, remark = choose_time(bag, self.topics, offset_ns, time)
                self.remarks += [remark] if remark else []
        if self.recorded:
            self.topics["fused"] = fused
            if registered:  # it is on the fused picture's grid
                self.topics["registered"] = registered
                self.topics.pop("thermal", None)

    def events(self, bag: Bag, from_ns: int) -> Iterator[Event]:
        """From ``from_ns`` after the bag's start to its end; ``bag`` is that of ``open``."""
        streams = {topic: stream for stream, topic in self.topics.items()}
        wanted = [connection for connection in bag.counts if connection.topic in (*streams, DIAGNOSTICS)]
        reader = FrameReader(bag, self._by_log)
        for connection, log_ns, data in bag.messages(wanted, self.remarks, self._begin_ns + from_ns):
            stream = streams.get(connection.topic, "diagnostics")
            message = partial(bag.deserialize, connection, data)
            yield Event(stream, log_ns - self._begin_ns, message, partial(reader.read, stream, connection, log_ns, data))

    def open(self) -> AbstractContextManager[Bag]:
        """A context with the bag that ``events`` needs. For one thread only, because of sqlite."""
        return open_bag(self.path, [])


def _find_topic(topics: Iterable[str], *names: str) -> str:
    """The shortest topic of the first of ``names`` that is there, in any namespace; the compressed one only if there is no other."""
    endings = [f"/{name}{compressed}" for name in names for compressed in ("", "/compressed")]
    found = [(endings.index(ending), len(topic), topic) for topic in topics for ending in endings if f"/{topic}".endswith(ending)]
    return min(found, default=(0, 0, ""))[2]
