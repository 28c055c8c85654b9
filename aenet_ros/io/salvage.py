"""Reading bags that are damaged or unfinished: a robot that lost power, a full disk, a copy that broke off.

What can be read of them is copied, in order, into a whole bag of the same ROS, which is then read like any other.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import apsw
from mcap.exceptions import EndOfFile
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.interfaces import Connection
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from aenet_ros.io.bags import ZSTD_MAGIC
from aenet_ros.io.salvage_ros1 import Definition, records_of_ros1

T = TypeVar("T")
AFTER_DAMAGE = 2000
"""So many message ids of a sqlite3 file are tried one by one after one that cannot be read."""


class Found(NamedTuple):
    """A message as a damaged bag gives it; ``text`` is its type's definition, where the bag has one."""

    topic: str
    msgtype: str
    text: str
    log_ns: int
    data: bytes


def salvage(files: list[Path], bag: Path) -> tuple[Path, int, str]:
    """Copies what can be read of mcap, sqlite3 or ROS 1 files into the new bag ``bag``.

    Returns the bag's path, the number of messages, and why reading ended ("" at a file's end). Raises OSError where the copy
    cannot be written.
    """
    reasons: list[str] = []
    if files[0].suffix in (".bag", ".active"):
        bag = bag.with_suffix(".bag")
        count = _copy_ros1(files, bag, reasons)
    else:
        count = _copy_ros2(files, bag, reasons)
    return bag, count, "; ".join(reasons)


def _until_damage(records: Iterator[T], file: Path, reasons: list[str]) -> Iterator[T]:
    try:
        yield from records
    except EndOfFile:
        reasons.append(f"{file.name} ends in the middle")
    except Exception as error:  # damaged bytes make sqlite and the decompressors raise anything
        reasons.append(f"{file.name}: {error}")


def _copy_ros2(files: list[Path], bag: Path, reasons: list[str]) -> int:
    count = 0
    types = get_typestore(Stores.LATEST)
    connections: dict[tuple[str, str], Connection | None] = {}
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for file in files:
            for found in _until_damage((_of_mcap if file.suffix == ".mcap" else _of_sqlite3)(file), file, reasons):
                key = (found.topic, found.msgtype)
                if key not in connections:
                    try:
                        connections[key] = writer.add_connection(*key, typestore=_typestore(found, types))
                    except Exception as error:  # of a definition that is damaged, the parser
                        connections[key] = None
                        reasons.append(f"{found.topic}: the type {found.msgtype} is damaged or unknown ({error})")
                connection = connections[key]
                if connection is not None:
                    writer.write(connection, found.log_ns, found.data)
                    count += 1
    return count


def _typestore(found: Found, default: Typestore) -> Typestore:
    if not found.text:
        return default
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(found.text, found.msgtype))
    return store


def _of_mcap(file: Path) -> Iterator[Found]:
    """By the records, from the file's begin; chunk indexes at its end are not needed."""
    channels: dict[int, Channel] = {}
    schemas: dict[int, Schema] = {}
    with file.open("rb") as stream:
        for record in StreamReader(stream, record_size_limit=None).records:
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel) and record.schema_id in schemas:
                channels[record.id] = record
            elif isinstance(record, Message) and record.channel_id in channels:
                channel = channels[record.channel_id]
                schema = schemas[channel.schema_id]
                yield Found(channel.topic, schema.name, schema.data.decode(), record.log_time, _decompressed(record.data))


def _of_sqlite3(file: Path) -> Iterator[Found]:
    """By the message ids, in the order of recording. Raises apsw.Error at the end where a page was missing or damaged."""
    log = file.with_name(f"{file.name}-wal")
    # With a write-ahead log beside it (a recorder that was killed) the last messages are in there.
    mode = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    database = apsw.Connection(f"file:{file}?{mode}", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        database.execute("PRAGMA writable_schema=ON")  # else a file that is shorter than it says is not opened at all
        topics = {number: (name, msgtype) for number, name, msgtype in database.execute("SELECT id, name, type FROM topics")}
        definitions = {}
        if any(database.execute("PRAGMA table_info(message_definitions)")):
            columns = "topic_type, encoded_message_definition FROM message_definitions WHERE encoding = 'ros2msg'"
            definitions = dict(database.execute(f"SELECT {columns}"))
        fault: apsw.Error | None = None
        last = 0
        while True:
            try:
                rows = database.execute("SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id", (last,))
                for number, topic, log_ns, data in rows:
                    last = number
                    if topic in topics:
                        name, msgtype = topics[topic]
                        yield Found(name, msgtype, definitions.get(msgtype, ""), log_ns, _decompressed(data))
                break
            except apsw.Error as error:
                fault = fault or error
                if (following := _next_readable(database, last + 2)) is None:
                    break
                last = following - 1
        if fault is not None:
            raise fault
    finally:
        database.close()


def _next_readable(database: apsw.Connection, start: int) -> int | None:
    for number in range(start, start + AFTER_DAMAGE):
        try:
            if any(database.execute("SELECT data FROM messages WHERE id = ?", (number,))):
                return number
        except apsw.Error:
            continue
    return None


def _decompressed(data: bytes) -> bytes:
    """A message of a bag that was compressed message by message, which only its metadata.yaml says; CDR never begins so."""
    if not data.startswith(ZSTD_MAGIC):
        return data
    return bytes(zstd.decompress(data))


def _copy_ros1(files: list[Path], bag: Path, reasons: list[str]) -> int:
    count = 0
    with Writer1(bag) as writer:
        for file in files:
            connections: dict[int, Connection] = {}
            for record in _until_damage(records_of_ros1(file), file, reasons):
                if isinstance(record, Definition):
                    known = [item for item in writer.connections if (item.topic, item.msgtype) == (record.topic, record.msgtype)]
                    connections[record.number] = (known or [_add_ros1(writer, record)])[0]
                elif record.number in connections:
                    writer.write(connections[record.number], record.log_ns, record.data)
                    count += 1
    return count


def _add_ros1(writer: Writer1, record: Definition) -> Connection:
    return writer.add_connection(record.topic, record.msgtype, msgdef=record.text, md5sum=record.md5sum)
