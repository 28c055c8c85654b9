"""Where pairs come from without a running robot: picture files and folders of them here; videos and bags have files of their own."""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from aenet_ros.config import SyncConfig
from aenet_ros.core.camera import Camera
from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.io.background import ahead
from aenet_ros.io.picture_files import SUFFIXES, read_rgb, read_thermal
from aenet_ros.sync.matcher import DROP_REASONS, PairMatcher

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mpg", ".mpeg", ".ts")
BAG_SUFFIXES = (".mcap", ".db3", ".bag", ".active")
"""ROS 1's recorder calls a bag NAME.bag.active until it is complete."""


class Lost(NamedTuple):
    """A pair that could not be read: its name, and why in words."""

    name: str
    reason: str


class Named(NamedTuple):
    """A pair with the name that its result is to bear (a file's stem, or a frame's number)."""

    name: str
    pair: FramePair


class Done(NamedTuple):
    """A pair whose result is there already, so that it was not read."""

    name: str


class Source(Protocol):
    """Pairs in order. Opening has checked what can be checked without reading everything."""

    timed: bool
    """True: frames of cameras in time, so the AGC follows them; False: each pair stands alone."""
    total: int
    """Number of pairs, or an upper estimate of it."""
    rate_hz: float
    """Rate of the results, where ``timed``."""
    remarks: list[str]
    """Sentences on what will be left out and why; complete when the source is exhausted."""
    files: list[Path]
    """Every file that is read, so that no result overwrites it."""
    done: frozenset[str]
    """Names of pairs that need no fusing; where pairs stand alone they are not read either."""

    intrinsics: dict[str, Camera]
    """The cameras (``thermal``, ``rgb``), where the source describes them."""

    def __iter__(self) -> Iterator[Named | Lost | Done]: ...


def open_source(
    thermal: Path,
    rgb: Path | None,
    sync: SyncConfig | None = None,
    *,
    in_order: bool = False,
    sequence_hz: float = 0.0,
    thermal_side: str = "left",
    depth: Path | None = None,
    threads: int = 1,
) -> Source:
    """Two pictures, two folders of pictures, two videos, or one video that shows both cameras side by side.

    ``in_order`` pairs the folders' files in their order instead of by name; ``sequence_hz`` over 0 says that a folder
    holds consecutive frames at that rate; ``thermal_side``, ``left`` or ``right``, is of a side-by-side video. ``depth`` is a depth
    picture, or a folder of those, by the rgb pictures' names, aligned to them. ``threads`` decode pictures ahead.
    Raises SourceError with what is missing or does not fit.
    """
    for path in (thermal, rgb, depth):
        if path is not None and not path.exists():
            raise SourceError(f"there is no file or folder '{path}'")
    from aenet_ros.io.videos import VideoSource  # which imports from here

    if rgb is None:
        if thermal.suffix.lower() in VIDEO_SUFFIXES:
            return VideoSource(thermal, None, sync or SyncConfig(), thermal_side)
        raise SourceError(
            f"'{thermal}' alone is not enough: give the rgb file or folder too "
            "(alone may stand a bag, a side-by-side video, or a folder that holds thermal/ and rgb/)"
        )
    if thermal.is_dir() != rgb.is_dir():
        folder, file = (thermal, rgb) if thermal.is_dir() else (rgb, thermal)
        raise SourceError(f"'{folder}' is a folder and '{file}' a file; give two folders or two files")
    if thermal.suffix.lower() in VIDEO_SUFFIXES and rgb.suffix.lower() in VIDEO_SUFFIXES:
        if depth is not None:
            raise SourceError(f"--depth {depth}: depth goes with pictures and bags, not with videos, which have no 16 bits for it")
        return VideoSource(thermal, rgb, sync or SyncConfig())
    if depth is not None and depth.is_dir() != rgb.is_dir():
        raise SourceError(f"--depth {depth}: give a folder with folders of pictures, and a picture with single pictures")
    return PictureSource(thermal, rgb, in_order=in_order, sequence_hz=sequence_hz, depth=depth, threads=threads)


def is_bag(path: Path) -> bool:
    """Whether the path looks like a bag: a file of a bag's suffix, a folder with a rosbag2's metadata, or with the files of one.

    The files of one bag are called NAME_0, NAME_1 and so on; a folder of others, or of bags in folders, holds several.
    """
    if path.is_dir():
        if (path / "metadata.yaml").exists():
            return True
        names = {re.sub(r"_\d+$", "", file.stem) for file in storage_files(path)}
        return len(names) == 1 and not any(is_bag(entry) for entry in path.iterdir() if entry.is_dir())
    return path.suffix in BAG_SUFFIXES


def storage_files(folder: Path) -> list[Path]:
    """The files of a rosbag2 folder that hold its messages."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".mcap", ".db3"))


class PictureSource:
    """Two pictures or two folders of them; see ``open_source``."""

    def __init__(
        self,
        thermal: Path,
        rgb: Path,
        *,
        in_order: bool = False,
        sequence_hz: float = 0.0,
        depth: Path | None = None,
        threads: int = 1,
    ) -> None:
        self._threads = threads
        self.timed, self.rate_hz = sequence_hz > 0, sequence_hz
        self.remarks: list[str] = []
        self.done: frozenset[str] = frozenset()
        self.intrinsics: dict[str, Camera] = {}
        if not thermal.is_dir():
            self._paths = [(thermal, rgb)]
        elif in_order:
            self._paths = _pair_in_order(thermal, rgb)
        else:
            self._paths, self.remarks = _pair_by_name(thermal, rgb)
        self.total = len(self._paths)
        self._depth = self._depths(depth)
        self.files = [path for pair in self._paths for path in pair] + list(self._depth.values())

    @property
    def names(self) -> list[str]:
        """The pairs' names: stems of the rgb files."""
        return [rgb.stem for _, rgb in self._paths]

    def __iter__(self) -> Iterator[Named | Lost | Done]:
        return ahead((partial(self._item, index) for index in range(self.total)), self._threads)

    def _item(self, index: int) -> Named | Lost | Done:
        thermal, rgb = self._paths[index]
        if rgb.stem in self.done and not self.timed:
            return Done(rgb.stem)
        stamp_ns = at_ns(index, self.rate_hz) if self.timed else 0
        depth = self._depth.get(rgb.stem)
        try:
            # Depth pictures have the same depths as thermal ones: 16 bit (millimetres) and float (metres).
            far = read_thermal(depth, stamp_ns) if depth else None
            return Named(rgb.stem, FramePair(read_thermal(thermal, stamp_ns), read_rgb(rgb, stamp_ns), depth=far))
        except SourceError as error:
            return Lost(rgb.stem, str(error))

    def _depths(self, depth: Path | None) -> dict[str, Path]:
        """Depth pictures by the rgb picture's name."""
        if depth is None:
            return {}
        if not depth.is_dir():
            return {self.names[0]: depth}
        found = pictures_in(depth)
        missing = [name for name in self.names if name not in found]
        if len(missing) == len(self.names):
            raise SourceError(f"--depth {depth}: no file there ({_some(found)}) has the name of an rgb picture ({_some(self.names)})")
        if missing:
            self.remarks.append(f"{len(missing)} pairs have no depth picture of their name in {depth}: {_some(missing)}")
        return {name: found[name] for name in self.names if name in found}


def pictures_in(folder: Path) -> dict[str, Path]:
    """The folder's picture files by stem, numbers within names in numeric order. Raises SourceError for none or for two of one stem."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"the folder {folder} cannot be read: {error.strerror or error}") from error
    if not paths:
        raise SourceError(f"the folder {folder} holds no pictures ({', '.join(SUFFIXES)})")
    found: dict[str, Path] = {}
    for path in sorted(paths, key=_natural):
        if path.stem in found:
            raise SourceError(
                f"{folder} holds both {found[path.stem].name} and {path.name}; names without suffix must be unique: remove one"
            )
        found[path.stem] = path
    return found


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _pair_by_name(thermal: Path, rgb: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    thermals, rgbs = pictures_in(thermal), pictures_in(rgb)
    pairs = [(path, rgbs[stem]) for stem, path in thermals.items() if stem in rgbs]
    if not pairs:
        raise SourceError(
            f"no file of {thermal} ({_some(thermals)}) has the name of one in {rgb} ({_some(rgbs)}); "
            "suffixes may differ, the rest must not: rename them, or pair them in their order with --in-order"
        )
    remarks = []
    for folder, other, alone in ((thermal, rgb, thermals.keys() - rgbs.keys()), (rgb, thermal, rgbs.keys() - thermals.keys())):
        if alone:
            remarks.append(f"{len(alone)} of {folder} left out, no such name in {other}: {_some(sorted(alone))}")
    return pairs, remarks


def _pair_in_order(thermal: Path, rgb: Path) -> list[tuple[Path, Path]]:
    thermals, rgbs = pictures_in(thermal), pictures_in(rgb)
    if len(thermals) != len(rgbs):
        raise SourceError(
            f"{thermal} holds {len(thermals)} pictures and {rgb} {len(rgbs)}; to pair them in their order there must be as many"
        )
    return list(zip(thermals.values(), rgbs.values(), strict=True))


def at_ns(index: int, rate_hz: float) -> int:
    """Stamps of a file's frames; they start at 1 s, since a stamp of 0 means that there is none."""
    return 1_000_000_000 + round(index * 1e9 / rate_hz)


def _some(names: Iterable[str], most: int = 3) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def matched(frames: Iterable[tuple[str, Frame]], matcher: PairMatcher) -> Iterator[FramePair]:
    """The pairs of ("thermal" | "rgb", frame) in order of time, by the matcher that the node uses, to the last one."""
    for stream, frame in frames:
        yield from matcher.push_thermal(frame) if stream == "thermal" else matcher.push_rgb(frame)
    yield from matcher.flush()


def dropped(matcher: PairMatcher) -> list[str]:
    """Sentences on the frames that found no partner."""
    return [f"{count} frames left out: {DROP_REASONS[reason]}" for reason, count in matcher.counts.dropped.items() if count]
