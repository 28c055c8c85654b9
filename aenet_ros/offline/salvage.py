"""Reading an mcap file whose end is missing: a robot that lost power, a full disk, a copy that broke off."""

from pathlib import Path

from mcap.exceptions import EndOfFile, McapError
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore


def salvage(files: list[Path], bag: Path) -> tuple[int, str]:
    """Copies what can be read of mcap files into a new bag; the number of messages, and why reading ended ("" at a file's end)."""
    count, reason = 0, ""
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for file in files:
            connections: dict[int, Connection] = {}
            schemas: dict[int, Schema] = {}
            try:
                with file.open("rb") as stream:
                    for record in StreamReader(stream, record_size_limit=None).records:
                        if isinstance(record, Schema):
                            schemas[record.id] = record
                        elif isinstance(record, Channel) and record.schema_id in schemas:
                            connections[record.id] = _connection(writer, record, schemas[record.schema_id])
                        elif isinstance(record, Message) and record.channel_id in connections:
                            writer.write(connections[record.channel_id], record.log_time, record.data)
                            count += 1
            except EndOfFile:
                reason = f"{file.name} ends in the middle"
            except (McapError, OSError, ValueError, TypesysError, RuntimeError) as error:
                reason = f"{file.name}: {error}"
    return count, reason


def _connection(writer: Writer, channel: Channel, schema: Schema) -> Connection:
    for connection in writer.connections:
        if (connection.topic, connection.msgtype) == (channel.topic, schema.name):
            return connection
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(schema.data.decode(), schema.name))
    return writer.add_connection(channel.topic, schema.name, typestore=store)
