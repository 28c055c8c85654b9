"""Writes bags of ROS 2: one MCAP file and its metadata.yaml, which every rosbag2 from Humble on reads."""

import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from mcap.writer import CompressionType, Writer
from rosbags.interfaces import Qos
from rosbags.rosbag2.metadata import dump_qos_v8, parse_qos

from aenet_ros.core.errors import SourceError
from aenet_ros.io.bag_files import QOS, TYPE_HASH, Connection
from aenet_ros.io.bags import METADATA, known_types
from aenet_ros.io.sink import BackgroundWriter, write_errors

VERSION = 8
"""Of the metadata. From 9 on, which needs Jazzy, QoS has words in place of numbers."""


def ros2_connection(topic: str, msgtype: str, qos: tuple[Qos, ...] = ()) -> Connection:
    """A new connection for messages of a common type in CDR. Raises SourceError for another type."""
    store = known_types(ros1=False)
    if msgtype not in store.fielddefs:
        raise SourceError(f"{topic} cannot be written: the type {msgtype} is not known")
    metadata = {QOS: dump_qos_v8(list(qos)), TYPE_HASH: store.hash_rihs01(msgtype)}
    definition = store.generate_msgdef(msgtype, ros_version=2)[0].encode()
    return Connection(topic, msgtype, "cdr", "ros2msg", definition, tuple(metadata.items()))


class BagWriter:
    """Writes ``folder/NAME.mcap``, NAME being the folder's name; ``close`` adds metadata.yaml. Raises OSError if the disk refuses."""

    def __init__(self, folder: Path, *, compressed: bool = True) -> None:
        folder.mkdir(parents=True)
        self.folder, self.file = folder, folder / f"{folder.name}.mcap"
        self.counts: Counter[Connection] = Counter()
        self._stream = self.file.open("xb")
        self._writer = Writer(self._stream, compression=CompressionType.ZSTD if compressed else CompressionType.NONE)
        self._writer.start(profile="ros2", library="aenet_ros")
        self._schemas: dict[tuple[str, str, bytes], int] = {("", "", b""): 0}  # 0: MCAP's word for none
        self._channels: dict[Connection, int] = {}
        self._first_ns = self._last_ns = self._count = 0

    def add(self, connection: Connection) -> None:
        """Add a connection, so that its topic is in the bag even without messages."""
        schema = (connection.msgtype, connection.schema_encoding, connection.schema)
        if schema not in self._schemas:
            self._schemas[schema] = self._writer.register_schema(*schema)
        number = self._writer.register_channel(
            connection.topic, connection.encoding, self._schemas[schema], {**dict(connection.metadata), QOS: _numbered_qos(connection)}
        )
        self._channels[connection] = number
        self.counts[connection] = 0

    def write(self, connection: Connection, log_ns: int, data: bytes | memoryview) -> None:
        """Write a message."""
        if connection not in self._channels:
            self.add(connection)
        self._first_ns = min(self._first_ns, log_ns) if self._count else log_ns
        self._last_ns = max(self._last_ns, log_ns)
        self._writer.add_message(self._channels[connection], log_ns, bytes(data), log_ns)
        self._count += 1
        self.counts[connection] += 1

    def close(self) -> None:
        """Complete the file and write metadata.yaml."""
        content = self._metadata()
        self._writer.add_metadata("rosbag2", {"serialized_metadata": yaml.safe_dump(content, sort_keys=False)})
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._stream.close()
        (self.folder / METADATA).write_text(yaml.safe_dump({"rosbag2_bagfile_information": content}, sort_keys=False), encoding="utf-8")

    def abort(self) -> None:
        """Close the incomplete file."""
        with suppress(OSError):  # a full disk fails here too
            self._stream.close()

    def _metadata(self) -> dict[str, Any]:
        span = {"starting_time": {"nanoseconds_since_epoch": self._first_ns}, "duration": {"nanoseconds": self._last_ns - self._first_ns}}
        return {
            "version": VERSION,
            "storage_identifier": "mcap",
            **span,
            "message_count": self._count,
            "topics_with_message_count": [
                {"topic_metadata": _topic_metadata(connection), "message_count": number} for connection, number in self.counts.items()
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self.file.name],
            "files": [{"path": self.file.name, **span, "message_count": self._count}],
            "custom_data": None,
            "ros_distro": "unknown",
        }


def _topic_metadata(connection: Connection) -> dict[str, str]:
    return {
        "name": connection.topic,
        "type": connection.msgtype,
        "serialization_format": connection.encoding,
        "offered_qos_profiles": _numbered_qos(connection),
        "type_description_hash": dict(connection.metadata).get(TYPE_HASH, ""),
    }


def _numbered_qos(connection: Connection) -> str:
    """The connection's QoS with numbers, as VERSION has it; empty if it has none."""
    try:
        return dump_qos_v8(parse_qos(dict(connection.metadata).get(QOS, "")))
    except Exception:  # rosbags raises anything for damaged text
        return ""


class BagRecorder:
    """Records serialized messages into ``DIR/NAME.mcap`` with a ``DIR/metadata.yaml``, so that both file and folder can be played.

    A thread writes, so that ``write`` never waits for the disk. The bag appears completely in ``close``, or not at all; it replaces
    what has these names. Raises SourceError if the folder or disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = self.lost = 0
        self._connections: dict[str, Connection] = {}
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._scratch = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
            self._writer = BagWriter(self._scratch / path.stem, compressed=False)
        self._background = BackgroundWriter(queue_length=256)

    def write(self, topic: str, message_type: str, data: bytes, time_ns: int) -> None:
        """Record one message: ``message_type`` as ``sensor_msgs/msg/Image``, ``data`` CDR bytes, ``time_ns`` when it was received.

        If the disk is too slow the message is dropped and counted in ``lost``.
        """
        self.lost += not self._background.try_call(self._write, topic, message_type, data, time_ns)

    def _write(self, topic: str, message_type: str, data: bytes, time_ns: int) -> None:
        if topic not in self._connections:
            self._connections[topic] = ros2_connection(topic, message_type)
        self._writer.write(self._connections[topic], time_ns, data)
        self.written += 1

    def close(self) -> None:
        """Write what waits, finish the bag and rename it; raises SourceError if that failed."""
        error = self._background.finish()  # the disk, or a type that is not known
        try:
            if error is not None:
                raise SourceError(f"{self.path} cannot be written: {error}") from error
            with write_errors(self.path):
                self._writer.close()
                self._writer.file.replace(self.path)
                (self._writer.folder / METADATA).replace(self.path.parent / METADATA)
        finally:
            self._writer.abort()
            shutil.rmtree(self._scratch, ignore_errors=True)

    def abort(self) -> None:
        """Discard what was recorded."""
        self._background.finish()
        self._writer.abort()
        shutil.rmtree(self._scratch, ignore_errors=True)
