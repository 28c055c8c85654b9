"""Files of bags, read as connections and messages: MCAP of any kind, rosbag2's sqlite3, and ROS 1. ``bags`` opens them."""

import sqlite3
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader, SeekingReader
from mcap.records import Channel, Message, Schema
from rosbags.convert.converter import LATCH
from rosbags.interfaces import ConnectionExtRosbag1
from rosbags.rosbag1 import Reader
from rosbags.rosbag2.metadata import dump_qos_v8

QOS, TYPE_HASH = "offered_qos_profiles", "topic_type_hash"
"""Keys of the metadata that rosbag2 gives to an MCAP channel."""


class Connection(NamedTuple):
    """Messages of one type on one topic.

    ``encoding``: how the messages are serialized, ``cdr`` (ROS 2), ``ros1``, or another one (``protobuf``, ``json``), which is not read.
    ``schema``: the definition of ``msgtype`` in the language ``schema_encoding``; empty where the file has none.
    ``metadata``: QoS and hash of the type, as rosbag2 names them.
    """

    topic: str
    msgtype: str
    encoding: str
    schema_encoding: str = ""
    schema: bytes = b""
    metadata: tuple[tuple[str, str], ...] = ()


Record = tuple[Connection, int, bytes]
"""A message: its connection, log time in ns, and bytes."""


class BagFile(ABC):
    """One file. ``damage`` says why it was not read to its end, else empty; ``start_ns`` and ``end_ns`` are log times (0: no message)."""

    def __init__(self, path: Path) -> None:
        self.path, self.damage = path, ""
        self.counts: Counter[Connection] = Counter()
        self.start_ns = self.end_ns = 0

    @abstractmethod
    def messages(self, wanted: Collection[Connection], start_ns: int | None = None) -> Iterator[Record]:
        """The messages of these connections from the log time ``start_ns`` on, in its order. Raises anything for damaged bytes."""

    def close(self) -> None:
        """Close the file."""
        return


class McapFile(BagFile):
    """MCAP with messages of any encoding. Without an index, or with a damaged one, it is read from its start to the damage."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._indexed = self._read_index()
        if not self._indexed:
            for connection, log_ns, _ in self._scan():
                self.start_ns = min(self.start_ns, log_ns) if self.counts else log_ns
                self.end_ns = max(self.end_ns, log_ns)
                self.counts[connection] += 1

    def _read_index(self) -> bool:
        """Whether the file has an index of all its messages."""
        try:
            with self.path.open("rb") as stream:
                summary = SeekingReader(stream).get_summary()
            if summary is None or summary.statistics is None:
                return False
            statistics = summary.statistics
            for number, channel in summary.channels.items():
                schema = summary.schemas[channel.schema_id] if channel.schema_id else None
                self.counts[_connection(schema, channel)] += statistics.channel_message_counts.get(number, 0)
            self.start_ns, self.end_ns = statistics.message_start_time, statistics.message_end_time
            complete = self.counts.total() == statistics.message_count and bool(summary.chunk_indexes or not statistics.message_count)
        except Exception:  # cut off or damaged: mcap raises anything
            complete = False
        if not complete:
            self.counts.clear()
        return complete

    def _scan(self) -> Iterator[Record]:
        """All messages in the order of the file, up to the first damaged byte."""
        try:
            with self.path.open("rb") as stream:
                reader = NonSeekingReader(stream, validate_crcs=True, record_size_limit=None)
                yield from _records(reader.iter_messages(log_time_order=False))
        except (EndOfFile, struct.error):
            self.damage = "ends in the middle"
        except Exception as error:  # damaged bytes make mcap and the decompressors raise anything
            self.damage = str(error) or type(error).__name__

    def messages(self, wanted: Collection[Connection], start_ns: int | None = None) -> Iterator[Record]:
        """See ``BagFile``. Without an index the messages come in the order of the file."""
        if not self._indexed:
            yield from (item for item in self._scan() if item[0] in wanted and (start_ns is None or item[1] >= start_ns))
            return
        with self.path.open("rb") as stream:
            reader = SeekingReader(stream, validate_crcs=True)
            found = reader.iter_messages({connection.topic for connection in wanted}, starting_at=start_ns)
            yield from (item for item in _records(found) if item[0] in wanted)


def _records(messages: Iterator[tuple[Schema | None, Channel, Message]]) -> Iterator[Record]:
    known: dict[int, Connection] = {}
    for schema, channel, message in messages:
        connection = known.get(channel.id)
        if connection is None:
            connection = known[channel.id] = _connection(schema, channel)
        yield connection, message.log_time, message.data


def _connection(schema: Schema | None, channel: Channel) -> Connection:
    name = schema.name if schema is not None else ""
    if channel.message_encoding == "ros1" and "/msg/" not in name:
        name = name.replace("/", "/msg/")  # as rosbags calls the types of ROS 1
    described = (schema.encoding, schema.data) if schema is not None else ("", b"")
    return Connection(channel.topic, name, channel.message_encoding, *described, tuple(sorted(channel.metadata.items())))


class SqliteFile(BagFile):
    """rosbag2's sqlite3, of any version. For one thread only."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True)
        try:
            self._by_id = self._connections()
            counts = dict(self._db.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id"))
            span = self._db.execute("SELECT min(timestamp), max(timestamp) FROM messages").fetchone()
        except BaseException:
            self._db.close()
            raise
        self.start_ns, self.end_ns = (value or 0 for value in span)
        for number, connection in self._by_id.items():
            self.counts[connection] += counts.get(number, 0)

    def _connections(self) -> dict[int, Connection]:
        definitions = {}
        with suppress(sqlite3.OperationalError):  # there is no such table before Iron
            query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            definitions = {name: (language if text else "", text.encode()) for name, language, text in self._db.execute(query)}
        cursor = self._db.execute("SELECT * FROM topics ORDER BY id")
        columns = [column[0] for column in cursor.description]
        found = {}
        for topic in (dict(zip(columns, row, strict=True)) for row in cursor):
            metadata = {QOS: topic.get(QOS), TYPE_HASH: topic.get("type_description_hash")}  # younger columns than the others
            pairs = tuple(sorted((key, value) for key, value in metadata.items() if value))
            described = definitions.get(topic["type"], ("", b""))
            found[topic["id"]] = Connection(topic["name"], topic["type"], topic["serialization_format"], *described, pairs)
        return found

    def messages(self, wanted: Collection[Connection], start_ns: int | None = None) -> Iterator[Record]:
        """See ``BagFile``."""
        numbers = [number for number, connection in self._by_id.items() if connection in wanted]
        places = ", ".join("?" * len(numbers))
        query = f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({places}) AND timestamp >= ? ORDER BY timestamp"
        for number, log_ns, data in self._db.execute(query, [*numbers, -(2**63) if start_ns is None else start_ns]):
            yield self._by_id[number], log_ns, data

    def close(self) -> None:
        """Close the database."""
        self._db.close()


class Ros1File(BagFile):
    """A bag of ROS 1."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._reader = Reader(path)
        self._reader.open()
        reader = self._reader
        self._by_id = {}
        for item in reader.connections:
            latched = isinstance(item.ext, ConnectionExtRosbag1) and item.ext.latching
            metadata = ((QOS, dump_qos_v8(LATCH)),) if latched else ()
            self._by_id[item.id] = Connection(item.topic, item.msgtype, "ros1", "ros1msg", item.msgdef.data.encode(), metadata)
        for item in reader.connections:
            self.counts[self._by_id[item.id]] += item.msgcount
        if self.counts.total():
            self.start_ns, self.end_ns = reader.start_time, reader.end_time - 1

    def messages(self, wanted: Collection[Connection], start_ns: int | None = None) -> Iterator[Record]:
        """See ``BagFile``."""
        connections = [item for item in self._reader.connections if self._by_id[item.id] in wanted]
        for item, log_ns, data in self._reader.messages(connections, start=start_ns) if connections else ():
            yield self._by_id[item.id], log_ns, data

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
