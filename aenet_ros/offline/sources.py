"""Where pairs come from without a running robot: picture files, folders of them, and videos."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from aenet_ros.config import SyncConfig
from aenet_ros.errors import SourceError
from aenet_ros.frames import Frame, FramePair
from aenet_ros.imaging.picture_files import SUFFIXES, luma, read_rgb, read_thermal
from aenet_ros.sync import DROP_REASONS, PairMatcher

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mpg", ".mpeg", ".ts")
BAG_SUFFIXES = (".mcap", ".db3", ".bag")


class Lost(NamedTuple):
    """A pair that could not be read: its name, and why in words."""

    name: str
    reason: str


class Named(NamedTuple):
    """A pair with the name that its result is to bear (a file's stem, or a frame's number)."""

    name: str
    pair: FramePair


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

    def __iter__(self) -> Iterator[Named | Lost]: ...


def open_source(
    thermal: Path, rgb: Path | None, sync: SyncConfig | None = None, *, in_order: bool = False, sequence_hz: float = 0.0
) -> Source:
    """Two pictures, two folders of pictures, two videos, or one video that shows thermal on the left and rgb on the right.

    ``in_order`` pairs the folders' files in their order instead of by name; ``sequence_hz`` over 0 says that a folder
    holds consecutive frames at that rate. Raises SourceError with what is missing or does not fit.
    """
    for path in (thermal, rgb):
        if path is not None and not path.exists():
            raise SourceError(f"there is no file or folder '{path}'")
    if rgb is None:
        if thermal.suffix.lower() in VIDEO_SUFFIXES:
            return VideoSource(thermal, None, sync or SyncConfig())
        raise SourceError(
            f"'{thermal}' alone is not enough: give the rgb file or folder too (alone may stand a side-by-side video or a bag)"
        )
    if thermal.is_dir() != rgb.is_dir():
        folder, file = (thermal, rgb) if thermal.is_dir() else (rgb, thermal)
        raise SourceError(f"'{folder}' is a folder and '{file}' a file; give two folders or two files")
    if thermal.suffix.lower() in VIDEO_SUFFIXES and rgb.suffix.lower() in VIDEO_SUFFIXES:
        return VideoSource(thermal, rgb, sync or SyncConfig())
    return PictureSource(thermal, rgb, in_order=in_order, sequence_hz=sequence_hz)


def is_bag(path: Path) -> bool:
    """Whether the path looks like a bag: a file of a bag's suffix, or a folder with one or with a rosbag2's metadata."""
    if path.is_dir():
        return (path / "metadata.yaml").exists() or bool(storage_files(path))
    return path.suffix in BAG_SUFFIXES


def storage_files(folder: Path) -> list[Path]:
    """The files of a rosbag2 folder that hold its messages."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".mcap", ".db3"))


class PictureSource:
    """Two pictures or two folders of them; see ``open_source``."""

    def __init__(self, thermal: Path, rgb: Path, *, in_order: bool = False, sequence_hz: float = 0.0) -> None:
        self.timed, self.rate_hz = sequence_hz > 0, sequence_hz
        self.remarks: list[str] = []
        if not thermal.is_dir():
            self._paths = [(thermal, rgb)]
        elif in_order:
            self._paths = _pair_in_order(thermal, rgb)
        else:
            self._paths, self.remarks = _pair_by_name(thermal, rgb)
        self.total = len(self._paths)
        self.files = [path for pair in self._paths for path in pair]

    @property
    def names(self) -> list[str]:
        """The pairs' names: stems of the rgb files."""
        return [rgb.stem for _, rgb in self._paths]

    def __iter__(self) -> Iterator[Named | Lost]:
        for index, (thermal, rgb) in enumerate(self._paths):
            stamp_ns = _stamp_ns(index, self.rate_hz) if self.timed else 0
            try:
                pair = FramePair(read_thermal(thermal, stamp_ns), read_rgb(rgb, stamp_ns))
            except SourceError as error:
                yield Lost(rgb.stem, str(error))
            else:
                yield Named(rgb.stem, pair)


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


def _stamp_ns(index: int, rate_hz: float) -> int:
    """Frames of a file start at 1 s, since a stamp of 0 means that there is none."""
    return 1_000_000_000 + round(index * 1e9 / rate_hz)


def _some(names: Iterable[str], most: int = 3) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


class VideoSource:
    """Two videos, or one that shows thermal on the left and rgb on the right; frames are paired by their times through ``PairMatcher``."""

    timed = True

    def __init__(self, thermal: Path, rgb: Path | None, sync: SyncConfig) -> None:
        self.files = [path for path in (thermal, rgb) if path is not None]
        self.remarks: list[str] = []
        self._sync = sync
        properties = [_probe(path) for path in self.files]
        self.rate_hz = properties[-1].rate_hz
        self.total = min(item.frames for item in properties)

    def __iter__(self) -> Iterator[Named | Lost]:
        matcher = PairMatcher(round(self._sync.slop_ms * 1e6), round(self._sync.clock_offset_ms * 1e6), self._sync.queue_size)
        frames = _split(self.files[0]) if len(self.files) == 1 else _merge(*self.files)
        for index, pair in enumerate(matched(frames, matcher)):
            yield Named(f"{index:06d}", pair)
        self.remarks += dropped(matcher)


def matched(frames: Iterable[tuple[str, Frame]], matcher: PairMatcher) -> Iterator[FramePair]:
    """The pairs of ("thermal" | "rgb", frame) in order of time, by the matcher that the node uses, to the last one."""
    for stream, frame in frames:
        yield from matcher.push_thermal(frame) if stream == "thermal" else matcher.push_rgb(frame)
    yield from matcher.flush()


def dropped(matcher: PairMatcher) -> list[str]:
    """Sentences on the frames that found no partner."""
    return [f"{count} frames left out: {DROP_REASONS[reason]}" for reason, count in matcher.counts.dropped.items() if count]


class _Video(NamedTuple):
    rate_hz: float
    frames: int


def _probe(path: Path) -> _Video:
    capture = _capture(path)
    rate_hz, frames = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if not 0.1 <= rate_hz <= 10_000:
        raise SourceError(f"{path} does not say its frame rate ({rate_hz:g}); convert it to mp4, or to pictures and use --sequence")
    return _Video(rate_hz, max(frames, 0))


def _capture(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SourceError(f"{path} cannot be opened as a video; it is damaged, or its codec is not in this OpenCV build")
    return capture


def _frames(path: Path) -> Iterator[Frame]:
    capture = _capture(path)
    rate_hz = capture.get(cv2.CAP_PROP_FPS)
    index = 0
    try:
        while (read := capture.read())[0]:
            yield Frame(_stamp_ns(index, rate_hz), np.asarray(read[1]), "bgr8")
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise SourceError(f"{path} holds no frame that can be decoded")


def _split(path: Path) -> Iterator[tuple[str, Frame]]:
    for frame in _frames(path):
        width = frame.size[1] // 2
        yield "thermal", Frame(frame.stamp_ns, luma(frame.data[:, :width]), "mono8")
        yield "rgb", Frame(frame.stamp_ns, frame.data[:, width : 2 * width], "bgr8")


def _merge(thermal: Path, rgb: Path) -> Iterator[tuple[str, Frame]]:
    """Both videos' frames in order of time."""
    streams = {"thermal": _frames(thermal), "rgb": _frames(rgb)}
    heads = {name: next(stream, None) for name, stream in streams.items()}
    while waiting := {name: frame for name, frame in heads.items() if frame is not None}:
        name, frame = min(waiting.items(), key=lambda item: item[1].stamp_ns)
        yield name, frame if name == "rgb" else Frame(frame.stamp_ns, luma(frame.data), "mono8")
        heads[name] = next(streams[name], None)
