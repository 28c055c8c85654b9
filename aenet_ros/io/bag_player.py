"""Frames of a bag from any time on, in the order in which they were recorded."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection

from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Frame
from aenet_ros.io.bags import ImageTopic, choose_topics, image_topics, open_bag, read_messages
from aenet_ros.messages.codec import decode_rgb, decode_thermal

DIAGNOSTICS = "/diagnostics"


class Event(NamedTuple):
    """A message of a stream: ``thermal`` or ``rgb`` of a camera, ``fused``, ``registered`` as recorded, or ``diagnostics``.

    ``at_ns``: log time since the bag's start. ``message`` gives it deserialized; it and ``frame`` raise ImageError for what is damaged.
    """

    stream: str
    at_ns: int
    message: Callable[[], Any]

    def frame(self) -> Frame:
        """The picture of any stream but diagnostics."""
        return (decode_thermal if self.stream in ("thermal", "registered") else decode_rgb)(self.message())


class BagPlayer:
    """Opens nothing until ``events``. Raises SourceError where the bag cannot be read or shows no picture that is asked for.

    ``recorded``: the fused pictures in the bag are wanted where it holds any, rather than the cameras' pairs.
    """

    def __init__(self, path: Path, thermal_topic: str = "", rgb_topic: str = "", *, recorded: bool = True) -> None:
        self.path = path
        self.remarks: list[str] = []
        self.topics: dict[str, str] = {}
        with open_bag(path, self.remarks) as reader:
            topics = image_topics(reader)
            self._begin_ns, self.duration_ns = reader.start_time, max(reader.duration, 0)
        fused = _ending(topics, "fused/image")
        self.recorded = recorded and bool(fused)
        if self.recorded:
            self.topics["fused"] = fused
            if registered := _ending(topics, "fused/thermal_registered"):
                self.topics["registered"] = registered
        try:
            self.topics["thermal"], self.topics["rgb"] = choose_topics(topics, thermal_topic, rgb_topic)
        except SourceError as error:
            if not self.recorded or thermal_topic or rgb_topic:
                raise
            self.remarks.append(f"only recorded fused pictures are shown: {error}")
        if self.recorded and "registered" in self.topics:
            self.topics.pop("thermal", None)  # the registered one lies on the picture

    def events(self, reader: AnyReader, from_ns: int) -> Iterator[Event]:
        """From ``from_ns`` after the bag's start to its end; ``reader`` is that of ``open``."""
        streams = {topic: stream for stream, topic in self.topics.items()}
        wanted = [connection for connection in reader.connections if connection.topic in (*streams, DIAGNOSTICS)]
        for connection, log_ns, data in read_messages(reader, wanted, self.remarks, self._begin_ns + from_ns):
            stream = streams.get(connection.topic, "diagnostics")
            yield Event(stream, log_ns - self._begin_ns, partial(_message, reader, connection, data))

    def open(self) -> Any:
        """A context with the reader that ``events`` needs. To be used by one thread only, as sqlite wants it."""
        return open_bag(self.path, [])


def _message(reader: AnyReader, connection: Connection, data: bytes) -> Any:
    try:
        return reader.deserialize(data, connection.msgtype)
    except Exception as error:  # damaged bytes make the deserializer raise anything
        raise ImageError(f"a message of {connection.topic} cannot be read: {error}") from error


def _ending(topics: list[ImageTopic], name: str) -> str:
    """The shortest topic of that name, in any namespace; the compressed one only where there is no other."""
    found = [topic.name for topic in topics if f"/{topic.name}".endswith((f"/{name}", f"/{name}/compressed"))]
    return min(found, key=lambda topic: (topic.endswith("/compressed"), len(topic), topic), default="")
