"""Where fused frames go without a running robot: pictures and video, each written whole or not at all."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol

import cv2
import numpy as np

from aenet_ros.errors import SourceError
from aenet_ros.frames import Array, FusedFrame
from aenet_ros.imaging.picture_files import SUFFIXES, whole_file, write_picture
from aenet_ros.offline.sources import BAG_SUFFIXES, VIDEO_SUFFIXES, PictureSource, Source


class Sink(Protocol):
    """Takes results in order; used with ``with``, so that an interruption leaves nothing half-written."""

    def write(self, name: str, fused: FusedFrame) -> None:
        """Take one result. Raises SourceError where it cannot be written."""

    def __enter__(self) -> "Sink": ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def open_sink(out: Path, source: Source, *, force: bool = False, suffix: str = ".png") -> Sink:
    """A video where ``out`` has a video's suffix; one picture for a pair of pictures; else a folder of pictures with ``suffix``.

    Raises SourceError where something exists already and ``force`` is false, or where an input would be overwritten.
    """
    if out.suffix.lower() in VIDEO_SUFFIXES:
        if not source.timed:
            raise SourceError(f"single pictures make no video; for consecutive frames give --sequence, else a folder in place of {out}")
        _refuse_existing([out], source.files, force)
        return VideoSink(out, source.rate_hz)
    if out.suffix in BAG_SUFFIXES:
        raise SourceError(f"'{out}': only a bag becomes a bag; give a folder, or a video's name")
    if isinstance(source, PictureSource):
        to_file = source.total == 1 and out.suffix.lower() in SUFFIXES and not out.is_dir()
        targets = {name: out if to_file else out / f"{name}{suffix}" for name in source.names}
        if out.is_file() and not to_file:
            raise SourceError(f"'{out}' is a file; {source.total} pictures need a folder: give another -o")
        _refuse_existing(targets.values(), source.files, force)
        return PictureSink(targets)
    if out.is_dir() and any(out.iterdir()) and not force:
        raise SourceError(f"the folder '{out}' is not empty; give --force to write into it, or another -o")
    return PictureSink({}, out, suffix)


def _refuse_existing(targets: Iterable[Path], inputs: Iterable[Path], force: bool) -> None:
    existing = [path for path in targets if path.exists()]
    read = {path.resolve() for path in inputs}
    for path in existing:
        if path.resolve() in read:
            raise SourceError(f"'{path}' is one of the inputs and would be overwritten; give another -o")
    if existing and not force:
        others = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise SourceError(f"'{existing[0]}'{others} exists already; give --force to overwrite, or another -o")


class PictureSink:
    """One picture file for each result, at ``targets[name]``, else ``folder/name + suffix``."""

    def __init__(self, targets: dict[str, Path], folder: Path | None = None, suffix: str = ".png") -> None:
        self._targets, self._folder, self._suffix = targets, folder or Path(), suffix

    def write(self, name: str, fused: FusedFrame) -> None:
        """Write one picture."""
        write_picture(self._targets.get(name) or self._folder / f"{name}{self._suffix}", fused.image, fused.encoding)

    def __enter__(self) -> "PictureSink":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class VideoSink:
    """A video at a constant rate; it gets its name when it is complete. mp4 is encoded as MPEG-4 part 2, which OpenCV has everywhere."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz = path, rate_hz
        self._stack = ExitStack()
        self._part = Path()
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, name: str, fused: FusedFrame) -> None:
        """Add one frame; all must have the first one's size."""
        size = (fused.image.shape[1], fused.image.shape[0])
        if self._writer is None:
            self._size = size
            code = cv2.VideoWriter.fourcc(*("MJPG" if self._path.suffix.lower() == ".avi" else "mp4v"))
            self._writer = cv2.VideoWriter(str(self._part), code, self._rate_hz, size)
            if not self._writer.isOpened():
                raise SourceError(f"this OpenCV build writes no video '{self._path.suffix}'; give .mp4 or .avi, or a folder")
        if size != self._size:
            raise SourceError(f"frame {name} is {size[0]}x{size[1]}, the video {self._size[0]}x{self._size[1]}; write to a folder instead")
        self._writer.write(_bgr(fused))

    def __enter__(self) -> "VideoSink":
        self._part = self._stack.enter_context(whole_file(self._path))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is None and kind is None:
            kind, error = SourceError, SourceError("no frame was fused, so no video was written")
            self._stack.__exit__(kind, error, trace)
            raise error
        if self._writer is not None:
            self._writer.release()
        self._stack.__exit__(kind, error, trace)


def _bgr(fused: FusedFrame) -> Array:
    if fused.encoding == "bgr8":
        return fused.image
    return np.asarray(cv2.cvtColor(fused.image, cv2.COLOR_GRAY2BGR if fused.encoding == "mono8" else cv2.COLOR_RGB2BGR))
