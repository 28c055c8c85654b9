"""Rosbags of either ROS: opening them, damaged ones too, and telling which topics are the two cameras."""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

from aenet_ros.core.errors import ConfigError, ImageError, MissingDependencyError, SourceError
from aenet_ros.io.sources import storage_files
from aenet_ros.registration.calibration_file import Camera, camera_from_info

try:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection
    from rosbags.typesys import Stores, get_typestore
except ImportError as error:
    raise MissingDependencyError(
        "bags are read and written with the package rosbags, which is not installed: pip install rosbags"
    ) from error

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

# Words in topic names. Fused and registered pictures of an earlier run are neither camera.
_THERMAL = re.compile(r"therm|infra|lwir|mwir|flir|boson|lepton|seek|optris|(^|[/_])(ir|tau)\d?([/_]|$)")
_RGB = re.compile(r"rgb|colou?r|visible|(^|[/_])(vis|eo|cam(era)?|left|usb_cam)\d?([/_]|$)")
_NEITHER = re.compile(r"fused|registered|depth|disparity|mask|debug")

METADATA = "metadata.yaml"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # CDR never begins so
_SALVAGED: dict[tuple[tuple[str, int, int], ...], tuple[Path, str]] = {}
"""Copies of damaged bags that this process made, for a bag is opened more than once."""
_FOLDERS: list[TemporaryDirectory[str]] = []


class ImageTopic(NamedTuple):
    """A topic that carries pictures."""

    name: str
    msgtype: str
    messages: int


@contextmanager
def open_bag(path: Path, remarks: list[str]) -> Iterator[AnyReader]:
    """A rosbag2 (folder or single file, mcap or sqlite3) or ROS 1 bag, open for reading.

    A folder without metadata.yaml (a recorder that was killed) is read by its files, and a bag that is damaged, cut off or without
    its index as far as it goes; ``remarks`` then gets a sentence on that. Raises SourceError where nothing can be read.
    """
    if not path.exists():
        raise SourceError(f"there is no bag '{path}'")
    files = _files(path)
    _check_readable(files)
    bare = path.is_dir() and not (path / METADATA).exists()
    if bare:
        remarks.append(f"{path} has no {METADATA} (was the recorder killed?); its {len(files)} files are read one by one")
    with ExitStack() as stack:
        known = _SALVAGED.get(_state(files))
        fault = "" if known else _needs_salvage(files)
        reader: AnyReader | None = None
        if not known and not fault:
            try:
                reader = stack.enter_context(AnyReader(files if bare else [path], default_typestore=get_typestore(Stores.LATEST)))
                if not (path.is_dir() and (path / METADATA).exists()) and _compressed(reader):
                    fault, reader = "its metadata.yaml, which says how it is compressed, is missing", None
            except Exception as error:  # bytes that are damaged make rosbags, sqlite and the decompressors raise anything
                fault = str(error) or type(error).__name__
        if reader is None:
            whole, words = known or _salvage(path, files, fault)
            remarks.append(words)
            reader = stack.enter_context(AnyReader([whole], default_typestore=get_typestore(Stores.LATEST)))
        yield reader


def _files(path: Path) -> list[Path]:
    """The files that hold the bag's messages."""
    if not path.is_dir():
        return [path]
    try:
        files = storage_files(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    if files or (path / METADATA).exists():
        return files
    packed = sorted(entry.name for entry in path.iterdir() if entry.name.endswith((".mcap.zstd", ".db3.zstd")))
    if packed:
        raise SourceError(
            f"the bag {path} was compressed file by file and has no {METADATA}: `zstd -d --rm {path / packed[0]}` (and so on), then again"
        )
    raise SourceError(f"the folder {path} holds no bag (no {METADATA}, no .mcap or .db3 file)")


def _check_readable(files: list[Path]) -> None:
    for file in files:
        try:
            file.open("rb").close()
        except OSError as error:
            raise SourceError(f"{file} cannot be read: {error.strerror or error}") from error


def _state(files: list[Path]) -> tuple[tuple[str, int, int], ...]:
    """Files as they are now."""
    return tuple((str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists())


def _needs_salvage(files: list[Path]) -> str:
    """What rosbags would read without an error, but not to its end: the reason, else empty."""
    for file in files:
        log = file.with_name(f"{file.name}-wal")
        if file.suffix == ".db3" and log.exists() and log.stat().st_size:
            return f"{log.name} holds messages that are not in {file.name} yet"
        if file.suffix == ".active":
            return f"{file.name} was not closed by its recorder"
    return ""


def _compressed(reader: AnyReader) -> bool:
    """Whether messages are compressed one by one."""
    first = next(iter(reader.messages(reader.connections)), None) if reader.connections and reader.is2 else None
    return first is not None and first[2][:4] == ZSTD_MAGIC


def _salvage(path: Path, files: list[Path], fault: str) -> tuple[Path, str]:
    """A whole bag of what can be read, kept until this process ends, and a sentence on what was lost."""
    from aenet_ros.io.salvage import salvage

    if not files or {file.suffix for file in files} - {".mcap", ".db3", ".bag", ".active"}:
        raise SourceError(f"{path} cannot be read as a bag: {fault}")
    folder = TemporaryDirectory(prefix="aenet-salvage-")
    try:
        whole, count, reason = salvage(files, Path(folder.name) / "bag")
    except OSError as error:
        raise SourceError(
            f"{path} is damaged, and there is no room for what can be read of it ({folder.name}: {error.strerror or error}); "
            "set TMPDIR to a folder with as much room as the bag takes"
        ) from error
    remedy = "rosbag reindex" if files[0].suffix in (".bag", ".active") else "ros2 bag reindex"
    if count == 0:
        raise SourceError(f"{path} is damaged, and no message can be read from it ({reason or fault}); perhaps `{remedy}` can")
    if reason:
        words = f"{path} is damaged ({reason}); the {count} messages that can be read are, the others are lost"
    else:
        words = f"{path} was not finished properly ({fault}); all its {count} messages are read (`{remedy}` would mend it)"
    _SALVAGED[_state(files)] = whole, words
    _FOLDERS.append(folder)
    return whole, words


def readable(
    reader: AnyReader, connections: Iterable[Connection], remarks: list[str], start_ns: int | None = None
) -> Iterator[tuple[Connection, int, bytes]]:
    """Messages as (connection, log time in ns, bytes), up to the end or to where the bag is damaged, which ``remarks`` then tells.

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
    except Exception as error:  # bytes that are damaged make rosbags, sqlite and the decompressors raise anything
        remarks.append(f"the bag is damaged after {count} messages ({error}); the rest is lost")


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


def read_intrinsics(reader: AnyReader, topics: dict[str, str]) -> dict[str, Camera]:
    """The cameras by role, by the first camera_info beside each one's picture topic that says something."""
    found = {}
    for role, topic in topics.items():
        name = f"{topic.removesuffix('/compressed').rsplit('/', 1)[0]}/camera_info"
        wanted = [item for item in reader.connections if item.topic == name and item.msgtype == CAMERA_INFO]
        for connection, _, data in readable(reader, wanted, []):
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
