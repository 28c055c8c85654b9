"""Opens rosbags of ROS 1 and ROS 2 for reading, and damaged MCAP up to the damage."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import yaml
import zstandard
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.io.bag_files import BagFile, Connection, McapFile, Record, Ros1File, SqliteFile
from aenet_ros.io.files import first_names, storage_files

METADATA = "metadata.yaml"
READ_ENCODINGS = ("cdr", "ros1")
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # CDR never begins with these bytes
_FORMATS: dict[bytes, type[BagFile]] = {b"\x89MCAP0\r\n": McapFile, b"SQLite format 3\0": SqliteFile, b"#ROSBAG V": Ros1File}
_COMPRESSED = (".mcap.zstd", ".db3.zstd")

_DEFINITIONS = {
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n"
    "uint8 flags\nbool is_bigendian\nuint8[] data",
    "foxglove_msgs/msg/CompressedVideo": "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format",
}
"""Types of video that bags without definitions (sqlite3 before Iron) may hold."""


class Topic(NamedTuple):
    """``msgtype`` is empty if the topic has messages of several types."""

    msgtype: str
    messages: int


class Bag:
    """An open bag. ``counts``: messages by connection; ``start_ns`` is the first log time."""

    def __init__(self, path: Path, files: list[BagFile]) -> None:
        self.path, self._files = path, files
        self.counts: Counter[Connection] = Counter()
        for file in files:
            for connection, count in file.counts.items():
                self.counts[connection] += count
        filled = [file for file in files if file.counts.total()]
        self.start_ns = min((file.start_ns for file in filled), default=0)
        self.duration_ns = max((file.end_ns for file in filled), default=0) - self.start_ns

    @property
    def topics(self) -> dict[str, Topic]:
        """All topics, by name."""
        found: dict[str, Topic] = {}
        for connection, count in sorted(self.counts.items(), key=lambda item: item[0].topic):
            before = found.get(connection.topic, Topic(connection.msgtype, 0))
            msgtype = before.msgtype if before.msgtype == connection.msgtype else ""
            found[connection.topic] = Topic(msgtype, before.messages + count)
        return found

    def messages(self, connections: Iterable[Connection], remarks: list[str], start_ns: int | None = None) -> Iterator[Record]:
        """Messages in the order of their log times, up to the end or to damage, which ``remarks`` then tells.

        ``start_ns``: the first log time that is wanted; None: the bag's first.
        """
        wanted = set(connections)
        if wanted:
            yield from heapq.merge(*(self._of_file(file, wanted, remarks, start_ns) for file in self._files), key=lambda item: item[1])

    def _of_file(self, file: BagFile, wanted: set[Connection], remarks: list[str], start_ns: int | None) -> Iterator[Record]:
        count = 0
        try:
            for connection, log_ns, data in file.messages(wanted, start_ns):
                if data[:4] == ZSTD_MAGIC and connection.encoding == "cdr":  # rosbag2 can compress messages one by one
                    data = zstandard.decompress(data)
                yield connection, log_ns, data
                count += 1
        except Exception as error:  # mcap, rosbags, sqlite and the decompressors raise anything for damaged bytes
            reason = str(error) or type(error).__name__
            remarks.append(f"{file.path} is damaged after {count} messages ({reason}), and the rest is lost; {_remedy(self.path)}")

    def deserialize(self, connection: Connection, data: bytes) -> Any:
        """The message; raises ImageError if its type is not known or its bytes are damaged."""
        store = typestore(connection)
        try:
            read = store.deserialize_ros1 if connection.encoding == "ros1" else store.deserialize_cdr
            return read(data, connection.msgtype)
        except Exception as error:  # rosbags raises anything for damaged bytes
            raise ImageError(f"a message of {connection.topic} is damaged ({str(error) or type(error).__name__})") from error


@contextmanager
def open_bag(path: Path, remarks: list[str]) -> Iterator[Bag]:
    """A rosbag2 (folder or single file, mcap or sqlite3) or ROS 1 bag, open for reading. For one thread only, because of sqlite3.

    A folder without metadata.yaml is read file by file. MCAP that is damaged, cut off or without its index is read up to the damage.
    ``remarks`` then gets a sentence. Raises SourceError, with the remedy, where nothing can be read.
    """
    if not path.exists():
        raise SourceError(f"there is no bag '{path}'")
    with ExitStack() as stack:
        files: list[BagFile] = []
        for file in _storage(path, remarks):
            files.append(_open_file(file, path, stack))
            stack.callback(files[-1].close)
        bag = Bag(path, files)
        damage = "; ".join(f"{file.path.name}: {file.damage}" for file in files if file.damage)
        if damage and not bag.counts.total():
            raise SourceError(f"{path} is damaged, and no message can be read from it ({damage}); {_remedy(path)}")
        if damage:
            remarks.append(f"{path} is damaged ({damage}); its first {bag.counts.total()} messages are read, and the rest is lost")
        yield bag


def _storage(path: Path, remarks: list[str]) -> list[Path]:
    """The files that hold the bag's messages. Raises SourceError for those that cannot be read, or are not complete."""
    try:
        if not path.is_dir():
            files = [path]
        elif (path / METADATA).exists():
            files = _listed_files(path, remarks)
        else:
            files = storage_files(path)
            remarks.append(f"{path} has no {METADATA} (was the recorder killed?); its {len(files)} files are read one by one")
        for file in files:
            file.open("rb").close()
    except OSError as error:
        raise SourceError(f"{error.filename or path} cannot be read: {error.strerror or error}") from error
    if not files:
        packed = sorted(entry.name for entry in path.iterdir() if entry.name.lower().endswith(_COMPRESSED))
        if packed:
            raise SourceError(f"the bag {path} has compressed files and no {METADATA}: run `zstd -d --rm {path / packed[0]}` for each")
        raise SourceError(f"the folder {path} holds no bag (no .mcap or .db3 file)")
    for file in files:
        log = file.with_name(f"{file.name}-wal")
        if file.suffix == ".active":
            raise SourceError(f"{file} was not closed by its recorder and has no index; {_remedy(file)}")
        if file.suffix.lower() == ".db3" and log.exists() and log.stat().st_size:
            raise SourceError(f"{file} is not complete: {log.name} holds messages that the recorder did not write back; {_remedy(path)}")
    return files


def _listed_files(path: Path, remarks: list[str]) -> list[Path]:
    """The files of a folder that its metadata.yaml lists; all storage files if it lists none that is there."""
    try:
        listed = yaml.safe_load((path / METADATA).read_text(encoding="utf-8"))["rosbag2_bagfile_information"]["relative_file_paths"]
        names = [PurePath(str(name)).name for name in listed]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        remarks.append(f"{path / METADATA} is damaged; all files of the folder are read")
        return storage_files(path)
    files, missing = [], []
    for name in names:
        unpacked = path / name.removesuffix(".zstd")  # as `zstd -d` leaves it
        found = [file for file in (path / name, unpacked) if file.exists()]
        files += found[:1]
        missing += [] if found else [name]
    if missing and files:
        remarks.append(f"{len(missing)} files of {path} are missing, and the others are read: {first_names(missing)}")
    return files or storage_files(path)


def _open_file(file: Path, path: Path, stack: ExitStack) -> BagFile:
    """Open one file of the bag ``path`` by what its first bytes say. Raises SourceError."""
    try:
        if file.suffix.lower() == ".zstd":
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="aenet_bag_")))
            with file.open("rb") as packed, (folder / file.stem).open("wb") as out:
                zstandard.ZstdDecompressor().copy_stream(packed, out)
            file = folder / file.stem
        with file.open("rb") as stream:
            magic = stream.read(16)
        for begin, kind in _FORMATS.items():
            if magic.startswith(begin):
                return kind(file)
        reason = "it is empty" if not magic else "it is neither MCAP nor sqlite3 nor a ROS 1 bag"
    except Exception as error:  # rosbags, sqlite and the decompressors raise anything for damaged bytes
        reason = str(error) or type(error).__name__
    raise SourceError(f"{file} cannot be read as a bag ({reason}); {_remedy(path)}")


def _remedy(path: Path) -> str:
    if path.suffix.lower() in (".bag", ".active"):
        return f"try `rosbag reindex {path}`"
    return f"try `ros2 bag reindex {path if path.is_dir() else path.parent}`"


@cache
def known_types(ros1: bool) -> Typestore:
    """The common message types of ROS 1 or ROS 2."""
    store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.LATEST)
    for msgtype, definition in () if ros1 else _DEFINITIONS.items():
        store.register(get_types_from_msg(definition, msgtype))
    return store


@lru_cache(maxsize=256)
def typestore(connection: Connection) -> Typestore:
    """A store that knows the connection's type. Raises ImageError if its messages cannot be read."""
    if connection.encoding not in READ_ENCODINGS:
        raise ImageError(f"{connection.topic} holds {describe(connection)} messages; only those of ROS (cdr, ros1) are read")
    known = known_types(connection.encoding == "ros1")
    if connection.msgtype in known.fielddefs:
        return known
    store, text = get_typestore(Stores.EMPTY), connection.schema.decode(errors="replace")
    with suppress(Exception):  # the parsers raise anything for a damaged definition
        if not connection.schema_encoding.endswith("idl"):
            store.register(get_types_from_msg(text, connection.msgtype))
        else:
            parts = [part.split("\n", 1)[1] for part in text.split("=" * 80 + "\n") if part.startswith("IDL: ")]
            for part in parts or [text]:
                store.register(get_types_from_idl(part))
    if connection.msgtype not in store.fielddefs:
        raise ImageError(f"the bag has no definition of {connection.msgtype}, the type of {connection.topic}")
    return store


def describe(connection: Connection) -> str:
    """Encoding and type, for messages."""
    return " ".join(filter(None, (connection.encoding or "unnamed", connection.msgtype)))
