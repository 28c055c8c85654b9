"""Opens rosbags of ROS 1 and ROS 2 for reading, and damaged MCAP up to the damage."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader
from mcap.records import Channel, Message, Schema
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat, TopicInfo
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.io.files import storage_files

METADATA = "metadata.yaml"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # CDR never begins with these bytes


@contextmanager
def open_bag(path: Path, remarks: list[str]) -> Iterator[AnyReader]:
    """A rosbag2 (folder or single file, mcap or sqlite3) or ROS 1 bag, open for reading.

    A folder without metadata.yaml is read file by file. MCAP that is damaged, cut off or without its index is read up to the damage.
    ``remarks`` then gets a sentence. Raises SourceError, with the remedy, where nothing can be read.
    """
    if not path.exists():
        raise SourceError(f"there is no bag '{path}'")
    files = _files(path)
    has_metadata = (path / METADATA).exists()
    if path.is_dir() and not has_metadata:
        remarks.append(f"{path} has no {METADATA} (was the recorder killed?); its {len(files)} files are read one by one")
    reader = _open_reader(path, [path] if has_metadata else files, files, remarks)
    try:
        if reader.is2 and not has_metadata:
            first = next(read_messages(reader, reader.connections, []), None)
            if first is not None and first[2][:4] == ZSTD_MAGIC:  # messages compressed one by one, which only the metadata says
                raise SourceError(f"the messages of {path} are compressed, and the {METADATA} that says so is missing; {_remedy(path)}")
        yield reader
    finally:
        reader.close()


def _open_reader(path: Path, paths: list[Path], files: list[Path], remarks: list[str]) -> AnyReader:
    try:
        reader = AnyReader(paths, default_typestore=get_typestore(Stores.LATEST))
        reader.open()
        return reader
    except Exception as error:  # rosbags, sqlite and the decompressors raise anything for damaged bytes
        reason = str(error) or type(error).__name__
        if not files or any(file.suffix != ".mcap" for file in files):
            raise SourceError(f"{path} cannot be read as a bag ({reason}); {_remedy(path)}") from error
    stream = McapStreamReader(files)
    reason = "; ".join(f"{name}: {text}" for name, text in stream.damage.items()) or reason
    if not stream.connections:
        raise SourceError(f"{path} is damaged, and no message can be read from it ({reason}); {_remedy(path)}")
    remarks.append(f"{path} is damaged ({reason}); its first {stream.message_count} messages are read, and the rest is lost")
    return cast(AnyReader, stream)  # it has the part of AnyReader's interface that this package uses


def _remedy(path: Path) -> str:
    if path.suffix in (".bag", ".active"):
        return f"try `rosbag reindex {path}`"
    return f"try `ros2 bag reindex {path if path.is_dir() else path.parent}`"


def _files(path: Path) -> list[Path]:
    """The files that hold the bag's messages. Raises SourceError for those that cannot be read, or are not complete."""
    files = [path]
    try:
        if path.is_dir():
            files = storage_files(path)
        for file in files:
            file.open("rb").close()
    except OSError as error:
        raise SourceError(f"{error.filename or path} cannot be read: {error.strerror or error}") from error
    if not files and not (path / METADATA).exists():
        packed = sorted(entry.name for entry in path.iterdir() if entry.name.endswith((".mcap.zstd", ".db3.zstd")))
        if packed:
            raise SourceError(f"the bag {path} has compressed files and no {METADATA}: run `zstd -d --rm {path / packed[0]}` for each")
        raise SourceError(f"the folder {path} holds no bag (no {METADATA}, no .mcap or .db3 file)")
    for file in files:
        log = file.with_name(f"{file.name}-wal")
        if file.suffix == ".active":
            raise SourceError(f"{file} was not closed by its recorder and has no index; {_remedy(file)}")
        if file.suffix == ".db3" and log.exists() and log.stat().st_size:
            raise SourceError(f"{file} is not complete: {log.name} holds messages that the recorder did not write back; {_remedy(path)}")
    return files


class McapStreamReader:
    """Reads MCAP files from their start to the first damaged byte, without their index. Has the interface of rosbags' AnyReader.

    ``damage``: what ends the reading of each file that is not read to its end. Messages come in the order of the files.
    """

    is2 = True

    def __init__(self, files: list[Path]) -> None:
        self.paths = files
        self.damage: dict[str, str] = {}
        self.typestore = get_typestore(Stores.EMPTY)
        self.connections: list[Connection] = []
        found: dict[tuple[str, str, bytes], list[int]] = {}
        for channel, schema, message in self._records():
            found.setdefault((channel.topic, schema.name, schema.data), []).append(message.log_time)
        times = [time for times in found.values() for time in times]
        self.message_count, self.start_time = len(times), min(times, default=0)
        self.duration = max(times, default=0) - self.start_time
        for (topic, msgtype, text), log_times in found.items():
            with suppress(Exception):  # the parser raises anything for a damaged definition; its topic is left out
                definition = MessageDefinition(MessageDefinitionFormat.MSG, text.decode())
                self.typestore.register(get_types_from_msg(definition.data, msgtype))
                ext = ConnectionExtRosbag2("cdr", [])
                self.connections.append(Connection(len(self.connections), topic, msgtype, definition, "", len(log_times), ext, self))
        self.topics = {item.topic: TopicInfo(item.msgtype, item.msgdef, item.msgcount, [item]) for item in self.connections}

    def _records(self) -> Iterator[tuple[Channel, Schema, Message]]:
        for file in self.paths:
            try:
                with file.open("rb") as stream:
                    reader = NonSeekingReader(stream, record_size_limit=None)
                    for schema, channel, message in reader.iter_messages(log_time_order=False):
                        if schema is not None:
                            yield channel, schema, message
            except (EndOfFile, struct.error):
                self.damage[file.name] = "ends in the middle"
            except Exception as error:  # damaged bytes make mcap and the decompressors raise anything
                self.damage[file.name] = str(error) or type(error).__name__

    def messages(self, connections: Iterable[Connection], start: int | None = None) -> Iterator[tuple[Connection, int, bytes]]:
        """Messages of the connections as (connection, log time in ns, bytes), from the log time ``start`` on."""
        wanted = {(item.topic, item.msgtype): item for item in connections}
        for channel, schema, message in self._records():
            connection = wanted.get((channel.topic, schema.name))
            if connection is not None and (start is None or message.log_time >= start):
                yield connection, message.log_time, message.data

    def deserialize(self, rawdata: bytes, typ: str) -> object:
        """The message; raises what rosbags raises for damaged bytes."""
        return self.typestore.deserialize_cdr(rawdata, typ)

    def close(self) -> None:
        """Nothing is open between calls."""


def read_messages(
    reader: AnyReader, connections: Iterable[Connection], remarks: list[str], start_ns: int | None = None
) -> Iterator[tuple[Connection, int, bytes]]:
    """Messages as (connection, log time in ns, bytes), up to the end or to damage, which ``remarks`` then tells.

    ``start_ns``: the first log time that is wanted; None: the bag's first.
    """
    wanted, count = list(connections), 0
    if not wanted:
        return
    try:
        for item in reader.messages(wanted, start=start_ns):
            yield item
            count += 1
    except Exception as error:  # rosbags, sqlite and the decompressors raise anything for damaged bytes
        path = Path(str(reader.paths[0]))
        remarks.append(f"{path} is damaged after {count} messages ({error}), and the rest is lost; {_remedy(path)}")


def deserialize(reader: AnyReader, connection: Connection, data: bytes) -> Any:
    """The message; raises ImageError if its bytes are damaged."""
    try:
        return reader.deserialize(data, connection.msgtype)
    except Exception as error:  # rosbags raises anything for damaged bytes
        raise ImageError(f"a message of {connection.topic} is damaged ({str(error) or type(error).__name__})") from error
