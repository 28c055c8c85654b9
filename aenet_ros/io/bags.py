"""Rosbags of ROS 1 and ROS 2: opening them, and choosing the topics of the cameras."""

import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from aenet_ros.core.camera import Camera, camera_from_info
from aenet_ros.core.errors import ConfigError, ImageError, MissingDependencyError, SourceError
from aenet_ros.io.sources import storage_files

try:
    from mcap.exceptions import EndOfFile
    from mcap.records import Channel, Message, Schema
    from mcap.stream_reader import StreamReader
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat, TopicInfo
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore
except ImportError as error:
    raise MissingDependencyError(f"bags need the packages rosbags and mcap ({error}): pip install 'aenet_ros[bags]'") from error

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

# Words in topic names. Fused and registered pictures of an earlier run are neither camera.
_THERMAL = re.compile(r"therm|infra|lwir|mwir|flir|boson|lepton|seek|optris|(^|[/_])(ir|tau)\d?([/_]|$)")
_RGB = re.compile(r"rgb|colou?r|visible|(^|[/_])(vis|eo|cam(era)?|left|usb_cam)\d?([/_]|$)")
_NEITHER = re.compile(r"fused|registered|depth|disparity|mask|debug")

METADATA = "metadata.yaml"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # CDR never begins with these bytes


class ImageTopic(NamedTuple):
    """A topic that carries pictures."""

    name: str
    msgtype: str
    messages: int


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
    reader = _open_reader(path, [path] if has_metadata or path.is_file() else files, files, remarks)
    try:
        if not has_metadata:
            _check_uncompressed(reader, path)
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
    reason = "; ".join(stream.damage) or reason
    if not stream.connections:
        raise SourceError(f"{path} is damaged, and no message can be read from it ({reason}); {_remedy(path)}")
    remarks.append(f"{path} is damaged ({reason}); its first {stream.message_count} messages are read, and the rest is lost")
    return cast(AnyReader, stream)  # it has the part of AnyReader's interface that this package uses


def _remedy(path: Path) -> str:
    """What the user can do about a damaged bag."""
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
            raise SourceError(
                f"the bag {path} was compressed file by file and has no {METADATA}: run `zstd -d --rm {path / packed[0]}` for each file"
            )
        raise SourceError(f"the folder {path} holds no bag (no {METADATA}, no .mcap or .db3 file)")
    for file in files:
        log = file.with_name(f"{file.name}-wal")
        if file.suffix == ".active":
            raise SourceError(f"{file} was not closed by its recorder and has no index; {_remedy(file)}")
        if file.suffix == ".db3" and log.exists() and log.stat().st_size:
            raise SourceError(f"{file} is not complete: {log.name} holds messages that the recorder did not write back; {_remedy(path)}")
    return files


def _check_uncompressed(reader: AnyReader, path: Path) -> None:
    """Raises SourceError where messages are compressed one by one, which only metadata.yaml says."""
    first = next(read_messages(reader, reader.connections, []), None) if reader.is2 else None
    if first is not None and first[2][:4] == ZSTD_MAGIC:
        raise SourceError(f"the messages of {path} are compressed, and the {METADATA} that says so is missing; {_remedy(path)}")


class McapStreamReader:
    """Reads MCAP files from their start to the first damaged byte, without their index. Has the interface of rosbags' AnyReader.

    ``damage``: one sentence for each file that is not read to its end. Messages come in the order of the files, by log time as recorded.
    """

    is2 = True

    def __init__(self, files: list[Path]) -> None:
        self.paths = files
        self.damage: list[str] = []
        self.typestore = get_typestore(Stores.EMPTY)
        counts: dict[tuple[str, str], int] = {}
        definitions: dict[str, str] = {}
        self.start_time = self.duration = self.message_count = 0
        for channel, schema, message in self._records(self.damage):
            key = (channel.topic, schema.name)
            counts[key] = counts.get(key, 0) + 1
            definitions[schema.name] = schema.data.decode(errors="replace")
            end_time = max(self.start_time + self.duration, message.log_time)
            self.start_time = min(self.start_time, message.log_time) if self.message_count else message.log_time
            self.duration = end_time - self.start_time
            self.message_count += 1
        for name, text in list(definitions.items()):
            try:
                self.typestore.register(get_types_from_msg(text, name))
            except Exception as error:  # the parser raises anything for a damaged definition
                self.damage.append(f"the definition of {name} cannot be read ({error})")
                del definitions[name]
        self.connections = [
            Connection(
                number, topic, name, MessageDefinition(MessageDefinitionFormat.MSG, definitions[name]), "", count,
                ConnectionExtRosbag2("cdr", []), self,
            )
            for number, ((topic, name), count) in enumerate(counts.items())
            if name in definitions
        ]  # fmt: skip
        self.topics = {item.topic: TopicInfo(item.msgtype, item.msgdef, item.msgcount, [item]) for item in self.connections}

    def _records(self, damage: list[str]) -> Iterator[tuple[Channel, Schema, Message]]:
        for file in self.paths:
            schemas: dict[int, Schema] = {}
            channels: dict[int, Channel] = {}
            try:
                with file.open("rb") as stream:
                    for record in StreamReader(stream, record_size_limit=None).records:
                        if isinstance(record, Schema):
                            schemas[record.id] = record
                        elif isinstance(record, Channel):
                            channels[record.id] = record
                        elif isinstance(record, Message):
                            channel = channels[record.channel_id]
                            yield channel, schemas[channel.schema_id], record
            except (EndOfFile, struct.error):
                damage.append(f"{file.name} ends in the middle")
            except Exception as error:  # damaged bytes make mcap and the decompressors raise anything
                damage.append(f"{file.name}: {str(error) or type(error).__name__}")

    def messages(self, connections: Iterable[Connection] = (), start: int | None = None) -> Iterator[tuple[Connection, int, bytes]]:
        """Messages of the connections as (connection, log time in ns, bytes), from the log time ``start`` on."""
        wanted = {(item.topic, item.msgtype): item for item in connections or self.connections}
        for channel, schema, message in self._records([]):
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
    wanted = list(connections)
    if not wanted:
        return
    count = 0
    try:
        for item in reader.messages(wanted, start=start_ns):
            yield item
            count += 1
    except Exception as error:  # rosbags, sqlite and the decompressors raise anything for damaged bytes
        path = Path(str(reader.paths[0]))
        remarks.append(f"{path} is damaged after {count} messages ({error}), and the rest is lost; {_remedy(path)}")


def message_of(reader: AnyReader, connection: Connection, data: bytes) -> Any:
    """The message; raises ImageError where its bytes are damaged."""
    try:
        return reader.deserialize(data, connection.msgtype)
    except Exception as error:  # bytes that are damaged make rosbags, sqlite and the decompressors raise anything
        raise ImageError(f"the message is damaged ({str(error) or type(error).__name__})") from error


def image_topics(reader: AnyReader) -> list[ImageTopic]:
    """The bag's picture topics that hold messages, by name."""
    found = [ImageTopic(name, info.msgtype or "", info.msgcount) for name, info in reader.topics.items() if info.msgtype in IMAGE_TYPES]
    return sorted(topic for topic in found if topic.messages)


def choose_topics(topics: list[ImageTopic], thermal: str = "", rgb: str = "") -> tuple[str, str]:
    """The names of the thermal and the rgb topic: as given, else guessed by words in the names.

    Raises SourceError, which lists the picture topics, where the choice is not clear.
    """
    names = [topic.name for topic in topics]
    listing = ", ".join(f"{topic.name} ({topic.messages})" for topic in topics) or "none"
    for given in (thermal, rgb):
        if given and given not in names:
            raise SourceError(f"the bag has no picture topic '{given}'; it has: {listing}")
    plain = [name for name in names if not _NEITHER.search(name)]
    thermals = [thermal] if thermal else _prefer_raw([name for name in plain if _THERMAL.search(name.lower()) and name != rgb])
    others = [name for name in plain if name not in thermals and not _THERMAL.search(name.lower())]
    rgbs = [rgb] if rgb else _prefer_raw([name for name in others if _RGB.search(name.lower())] or others)
    if len(thermals) != 1 or len(rgbs) != 1:
        unclear = [f"thermal ({', '.join(thermals) or 'none found'})"] if len(thermals) != 1 else []
        unclear += [f"rgb ({', '.join(rgbs) or 'none found'})"] if len(rgbs) != 1 else []
        raise SourceError(f"which topic is {' and which is '.join(unclear)}? Give --thermal-topic and --rgb-topic; the bag has: {listing}")
    return thermals[0], rgbs[0]


def choose_depth(topics: list[ImageTopic], given: str = "") -> str:
    """The depth topic: as given, else the only one with depth in its name, aligned ones first. Raises SourceError."""
    names = [topic.name for topic in topics]
    found = [name for name in names if name == given] if given else _prefer_raw([name for name in names if "depth" in name.lower()])
    found = [name for name in found if "aligned" in name] or found
    if len(found) != 1:
        raise SourceError(
            f"registration.mode depth needs the depth camera's topic, aligned to the rgb frame: give --depth-topic; "
            f"the bag has: {', '.join(f'{topic.name} ({topic.messages})' for topic in topics) or 'none'}"
        )
    return found[0]


def info_topic(image_topic: str) -> str:
    """The camera_info topic beside a picture topic, as image_transport names it."""
    return f"{image_topic.removesuffix('/compressed').rsplit('/', 1)[0]}/camera_info"


def read_intrinsics(reader: AnyReader, topics: dict[str, str]) -> dict[str, Camera]:
    """The cameras by role, by the first camera_info beside each one's picture topic that says something."""
    found = {}
    for role, topic in topics.items():
        wanted = [item for item in reader.connections if item.topic == info_topic(topic) and item.msgtype == CAMERA_INFO]
        for connection, _, data in read_messages(reader, wanted, []):
            with suppress(ImageError, ConfigError):  # a camera that is not described is said where it is needed
                info = message_of(reader, connection, data)
                # ROS 1 writes these in capitals.
                parts = {name: getattr(info, name if hasattr(info, name) else name.upper()) for name in ("k", "d")}
                size = {"height": info.height, "width": info.width}
                camera = camera_from_info(SimpleNamespace(**parts, **size, distortion_model=info.distortion_model))
                if camera is not None:
                    found[role] = camera
            break
    return found


def _prefer_raw(names: list[str]) -> list[str]:
    """Without the compressed topics whose raw ones are there too, and without processed ones of a raw one."""
    kept = [name for name in names if not (name.endswith("/compressed") and name.removesuffix("/compressed") in names)]
    return [name for name in kept if name.endswith(("/image_raw", "/image_raw/compressed"))] or kept
