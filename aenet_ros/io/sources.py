"""Pairs from picture files, folders of pictures and videos. Bags: ``bag_source``."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.config import SyncConfig
from aenet_ros.core.camera import Camera
from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.io.background import prefetch, prefetch_items
from aenet_ros.io.interfaces import VIDEO_SUFFIXES, Source, SourceItem, dropped_frames
from aenet_ros.io.picture_files import first_names, luma, pair_by_name, pair_in_order, pictures_in, read_rgb, read_thermal
from aenet_ros.sync.matcher import PairMatcher


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

    ``in_order`` pairs the folders' files in their order instead of by name. ``sequence_hz`` > 0: a folder holds consecutive frames at
    that rate. ``thermal_side``: ``left`` or ``right`` half of a side-by-side video. ``depth``: a depth picture aligned to the rgb
    picture, or a folder of them with the rgb pictures' names. ``threads`` decode pictures ahead.
    Raises SourceError with what is missing or does not fit.
    """
    for path in (thermal, rgb, depth):
        if path is not None and not path.exists():
            raise SourceError(f"there is no file or folder '{path}'")
    if rgb is None:
        if thermal.suffix.lower() in VIDEO_SUFFIXES:
            return VideoSource(thermal, None, sync or SyncConfig(), thermal_side)
        raise SourceError(
            f"'{thermal}' alone is not enough: give the rgb file or folder too "
            "(a bag, a side-by-side video, or a folder that holds thermal/ and rgb/ can be given alone)"
        )
    if thermal.is_dir() != rgb.is_dir():
        folder, file = (thermal, rgb) if thermal.is_dir() else (rgb, thermal)
        raise SourceError(f"'{folder}' is a folder and '{file}' a file; give two folders or two files")
    if thermal.suffix.lower() in VIDEO_SUFFIXES and rgb.suffix.lower() in VIDEO_SUFFIXES:
        if depth is not None:
            raise SourceError(f"--depth {depth}: depth goes with pictures and bags, not with videos, which have only 8 bits")
        return VideoSource(thermal, rgb, sync or SyncConfig())
    if depth is not None and depth.is_dir() != rgb.is_dir():
        raise SourceError(f"--depth {depth}: give a folder with folders of pictures, and a picture with single pictures")
    return PictureSource(thermal, rgb, in_order=in_order, sequence_hz=sequence_hz, depth=depth, threads=threads)


class PictureSource:
    """Two pictures or two folders of them; see ``open_source`` and ``Source``."""

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
        self.skip: frozenset[str] = frozenset()
        self.intrinsics: dict[str, Camera] = {}
        if not thermal.is_dir():
            self._pairs = [(thermal, rgb)]
        elif in_order:
            self._pairs = pair_in_order(thermal, rgb)
        else:
            self._pairs, self.remarks = pair_by_name(thermal, rgb)
        self.total = len(self._pairs)
        self.names: Sequence[str] = [rgb.stem for _, rgb in self._pairs]
        self._depths = self._find_depths(depth)
        self.files = [path for pair in self._pairs for path in pair] + list(self._depths.values())

    def __iter__(self) -> Iterator[SourceItem]:
        return prefetch((partial(self._read, index) for index in range(self.total)), self._threads)

    def _read(self, index: int) -> SourceItem:
        thermal, rgb = self._pairs[index]
        name = rgb.stem
        if name in self.skip and not self.timed:
            return SourceItem(name)
        stamp_ns = frame_stamp_ns(index, self.rate_hz) if self.timed else 0
        depth = self._depths.get(name)
        try:
            # Depth pictures have the types of thermal ones: 16 bit (millimetres) or float (metres).
            depth_frame = read_thermal(depth, stamp_ns) if depth else None
            return SourceItem(name, FramePair(read_thermal(thermal, stamp_ns), read_rgb(rgb, stamp_ns), depth=depth_frame))
        except SourceError as error:
            return SourceItem(name, error=str(error))

    def _find_depths(self, depth: Path | None) -> dict[str, Path]:
        """Depth pictures by the rgb picture's name."""
        if depth is None:
            return {}
        if not depth.is_dir():
            return {self.names[0]: depth}
        found = pictures_in(depth)
        missing = [name for name in self.names if name not in found]
        if len(missing) == len(self.names):
            raise SourceError(
                f"--depth {depth}: no file there ({first_names(found)}) has the name of an rgb picture ({first_names(self.names)})"
            )
        if missing:
            self.remarks.append(f"{len(missing)} pairs have no depth picture of their name in {depth}: {first_names(missing)}")
        return {name: found[name] for name in self.names if name in found}


def frame_stamp_ns(index: int, rate_hz: float) -> int:
    """Stamp of a file's frame ``index``. The first is 1 s, since a stamp of 0 means that there is none."""
    return 1_000_000_000 + round(index * 1e9 / rate_hz)


class VideoSource:
    """Two videos, or one that shows both cameras side by side; frames are paired by their times, through ``PairMatcher``.

    ``remarks`` reports unequal durations, and frames that a file promises and does not hold. See ``Source``.
    """

    timed = True
    names: Sequence[str] = ()

    def __init__(self, thermal: Path, rgb: Path | None, sync: SyncConfig, thermal_side: str = "left") -> None:
        self.files = [path for path in (thermal, rgb) if path is not None]
        self.remarks: list[str] = []
        self.skip: frozenset[str] = frozenset()
        self.intrinsics: dict[str, Camera] = {}
        self._sync, self._thermal_side = sync, thermal_side
        videos = [_probe(path) for path in self.files]
        self.rate_hz = videos[-1].rate_hz
        self.total = min(video.frames for video in videos)
        if len(videos) == 2 and abs(videos[0].seconds - videos[1].seconds) > 1.5 / min(video.rate_hz for video in videos):
            both = " and ".join(f"{path.name} lasts {video}" for path, video in zip(self.files, videos, strict=True))
            self.remarks.append(f"{both}: the rest of the longer one is left out")

    def __iter__(self) -> Iterator[SourceItem]:
        matcher = PairMatcher(self._sync.slop_ns, self._sync.clock_offset_ns, self._sync.queue_size)
        count = 0
        for stream, frame in prefetch_items(self._frames()):
            for pair in matcher.push_thermal(frame) if stream == "thermal" else matcher.push_rgb(frame):
                yield SourceItem(f"{count:06d}", pair)
                count += 1
        for pair in matcher.flush():
            yield SourceItem(f"{count:06d}", pair)
            count += 1
        self.remarks += dropped_frames(matcher)

    def _frames(self) -> Iterator[tuple[str, Frame]]:
        """("thermal" or "rgb", frame) in order of time."""
        if len(self.files) == 1:
            for frame in _decode(self.files[0], self.remarks):
                width = frame.size[1] // 2
                left, right = frame.data[:, :width], frame.data[:, frame.size[1] - width :]
                thermal, rgb = (left, right) if self._thermal_side == "left" else (right, left)
                yield "thermal", Frame(frame.stamp_ns, luma(thermal), "mono8")
                yield "rgb", Frame(frame.stamp_ns, rgb, "bgr8")
            return
        streams = {name: _decode(path, self.remarks) for name, path in zip(("thermal", "rgb"), self.files, strict=True)}
        heads = {name: next(stream, None) for name, stream in streams.items()}
        while waiting := {name: frame for name, frame in heads.items() if frame is not None}:
            name, frame = min(waiting.items(), key=lambda item: item[1].stamp_ns)
            yield name, frame if name == "rgb" else Frame(frame.stamp_ns, luma(frame.data), "mono8")
            heads[name] = next(streams[name], None)


class _Video(NamedTuple):
    rate_hz: float
    frames: int

    @property
    def seconds(self) -> float:
        return self.frames / self.rate_hz

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s ({self.frames} frames at {self.rate_hz:.4g} Hz)"


def _open_video(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SourceError(f"{path} cannot be opened as a video; it is damaged, or this OpenCV build lacks its codec: convert it to mp4")
    return capture


def _probe(path: Path) -> _Video:
    capture = _open_video(path)
    rate_hz, frames = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if not 0.1 <= rate_hz <= 10_000:
        raise SourceError(f"{path} does not say its frame rate ({rate_hz:g}); convert it to mp4, or to pictures and use --sequence")
    return _Video(rate_hz, max(frames, 0))


def _decode(path: Path, remarks: list[str]) -> Iterator[Frame]:
    rate_hz, promised = _probe(path)
    capture = _open_video(path)
    index = 0
    try:
        while (read := capture.read())[0]:
            yield Frame(frame_stamp_ns(index, rate_hz), np.asarray(read[1]), "bgr8")
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise SourceError(f"{path} holds no frame that can be decoded; convert it to mp4")
    if index < promised - 1:  # some containers know their number of frames only roughly
        remarks.append(f"{path} promises {promised} frames, and {index} can be decoded: it is damaged or cut off, and the rest is lost")
