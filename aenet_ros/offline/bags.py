"""Rosbags of either ROS: opening them, damaged ones too, and telling which topics are the two cameras."""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from aenet_ros.errors import MissingDependencyError, SourceError
from aenet_ros.offline.sources import storage_files

try:
    from rosbags.highlevel import AnyReader, AnyReaderError
    from rosbags.interfaces import Connection
    from rosbags.typesys import Stores, get_typestore
except ImportError as error:
    raise MissingDependencyError(
        "bags are read and written with the package rosbags, which is not installed: pip install rosbags"
    ) from error

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

# Words in topic names. Fused and registered pictures of an earlier run are neither camera.
_THERMAL = re.compile(r"therm|infra|lwir|mwir|flir|boson|lepton|seek|optris|(^|[/_])(ir|tau)\d?([/_]|$)")
_RGB = re.compile(r"rgb|colou?r|visible|(^|[/_])(vis|eo|cam(era)?|left|usb_cam)\d?([/_]|$)")
_NEITHER = re.compile(r"fused|registered|depth|disparity|mask|debug")


class ImageTopic(NamedTuple):
    """A topic that carries pictures."""

    name: str
    msgtype: str
    messages: int


@contextmanager
def open_bag(path: Path, remarks: list[str]) -> Iterator[AnyReader]:
    """A rosbag2 (folder or single file, mcap or sqlite3) or ROS 1 bag, open for reading.

    A folder without metadata.yaml (a recorder that was killed) is read by its files, and an mcap file without its end is read as
    far as it goes; ``remarks`` then gets a sentence on that. Raises SourceError where nothing can be read.
    """
    if not path.exists():
        raise SourceError(f"there is no bag '{path}'")
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(AnyReader(_paths(path, remarks), default_typestore=get_typestore(Stores.LATEST)))
        except (AnyReaderError, OSError, AssertionError, ValueError) as error:
            reader = stack.enter_context(AnyReader([_salvaged(path, error, stack, remarks)]))
        yield reader


def _paths(path: Path, remarks: list[str]) -> list[Path]:
    if not path.is_dir() or (path / "metadata.yaml").exists():
        return [path]
    files = storage_files(path)
    if not files:
        raise SourceError(f"the folder {path} holds no bag (no metadata.yaml, no .mcap or .db3 file)")
    remarks.append(f"{path} has no metadata.yaml (was the recorder killed?); its {len(files)} files are read one by one")
    return files


def _salvaged(path: Path, error: Exception, stack: ExitStack, remarks: list[str]) -> Path:
    """A whole bag, in a folder that lives as long as ``stack``, of what can be read from the mcap files at ``path``."""
    from aenet_ros.offline.salvage import salvage

    files = storage_files(path) if path.is_dir() else [path]
    if not all(file.suffix == ".mcap" for file in files):
        raise SourceError(f"{path} cannot be read as a bag: {error}") from error
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="aenet-salvage-")))
    count, reason = salvage(files, folder / "bag")
    if count == 0:
        raise SourceError(f"{path} is damaged, and no message can be read from it: {reason or error}") from error
    remarks.append(f"{path} is damaged ({reason or error}); the {count} messages before that are read, what came after is lost")
    return folder / "bag"


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
    except (AnyReaderError, OSError, ValueError, AssertionError) as error:
        remarks.append(f"the bag is damaged after {count} messages ({error}); the rest is lost")


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


def _prefer_raw(names: list[str]) -> list[str]:
    """Without the compressed topics whose raw ones are there too, and without processed ones of a raw one."""
    kept = [name for name in names if not (name.endswith("/compressed") and name.removesuffix("/compressed") in names)]
    return [name for name in kept if name.endswith(("/image_raw", "/image_raw/compressed"))] or kept
