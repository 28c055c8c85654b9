"""What all inputs and outputs share: the record that sources yield, the ``Source`` and ``Sink`` protocols, and file kinds."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from aenet_ros.core.camera import Camera
from aenet_ros.core.frames import FramePair, FusedFrame
from aenet_ros.sync.matcher import DROP_REASONS, PairMatcher

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mpg", ".mpeg", ".ts")
BAG_SUFFIXES = (".mcap", ".db3", ".bag", ".active")
"""ROS 1's recorder calls a bag NAME.bag.active until it is complete."""


class SourceItem(NamedTuple):
    """One pair of a source, or the reason why it is missing."""

    name: str
    """Name of the result: a file's stem, a frame's number or its stamp."""
    pair: FramePair | None = None
    """None: not read."""
    error: str = ""
    """Why it cannot be read; empty without a pair: it is in ``Source.skip``."""


class Source(Protocol):
    """Pairs in order. The constructor checks what it can without reading everything."""

    timed: bool
    """True: consecutive frames of two cameras; False: each pair stands alone."""
    total: int
    """Number of pairs, or an upper estimate."""
    rate_hz: float
    """Pairs a second, if ``timed``."""
    names: Sequence[str]
    """Names of all pairs, if they are known before reading; else empty."""
    files: list[Path]
    """Every file that is read, so that no result overwrites one."""
    remarks: list[str]
    """Sentences on what is left out and why; complete after the last item."""
    intrinsics: dict[str, Camera]
    """The cameras by role (``thermal``, ``rgb``), if the source describes them."""
    skip: frozenset[str]
    """Names of pairs whose results exist; they are not read if pairs stand alone."""

    def __iter__(self) -> Iterator[SourceItem]: ...


class Sink(Protocol):
    """Takes fused frames in order. Use it with ``with``: an interruption then leaves no incomplete file.

    The defaults are those of a sink that keeps no earlier result and writes each one immediately.
    """

    existing: frozenset[str] = frozenset()
    """Names of results that exist already and are kept."""

    def record_settings(self, settings: Mapping[str, Any]) -> None:
        """Call before ``with``: store the run's settings for --resume. Raises SourceError if existing results have others."""
        return

    @abstractmethod
    def write(self, name: str, fused: FusedFrame) -> None:
        """Take one result. Raises SourceError if it cannot be written."""

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return


def is_bag(path: Path) -> bool:
    """Whether the path looks like a bag: a bag file, a folder with metadata.yaml, or a folder with the files of one bag.

    The files of one bag are called NAME_0, NAME_1 and so on. A folder with other files, or with bags in folders, holds several bags.
    """
    if not path.is_dir():
        return path.suffix in BAG_SUFFIXES
    if (path / "metadata.yaml").exists():
        return True
    names = {re.sub(r"_\d+$", "", file.stem) for file in storage_files(path)}
    return len(names) == 1 and not any(is_bag(entry) for entry in path.iterdir() if entry.is_dir())


def storage_files(folder: Path) -> list[Path]:
    """The files of a rosbag2 folder that hold its messages."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".mcap", ".db3"))


def dropped_frames(matcher: PairMatcher) -> list[str]:
    """Sentences on the frames that found no partner."""
    return [f"{count} frames left out: {DROP_REASONS[reason]}" for reason, count in matcher.counts.dropped.items() if count]
