"""Where fused frames go without a running robot: pictures and video, each written whole or not at all."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import cv2
import numpy as np

from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import Array, FusedFrame
from aenet_ros.io.background import Behind, file_threads
from aenet_ros.io.picture_files import SUFFIXES, write_picture
from aenet_ros.io.sources import BAG_SUFFIXES, VIDEO_SUFFIXES, PictureSource, Source
from aenet_ros.io.staging import IN_FOLDER, Workplace, beside, differences, remembered


class Sink(Protocol):
    """Takes results in order; used with ``with``, so that an interruption leaves nothing half-written."""

    done: frozenset[str]
    """Names whose results are there already and are to stay."""

    def remember(self, settings: Mapping[str, Any]) -> None:
        """Before ``with``: what the run is asked for, so that another can go on with it. Raises SourceError where it differs."""

    def write(self, name: str, fused: FusedFrame) -> None:
        """Take one result. Raises SourceError where it cannot be written."""

    def __enter__(self) -> "Sink": ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def open_sink(out: Path, source: Source, *, force: bool = False, resume: bool = False, suffix: str = ".png") -> Sink:
    """A video where ``out`` has a video's suffix; one picture for a pair of pictures; else a folder of pictures with ``suffix``.

    ``resume`` keeps the pictures that are there. Raises SourceError where something exists already and neither that nor ``force``
    is given, or where an input would be overwritten.
    """
    if out.suffix.lower() in VIDEO_SUFFIXES:
        if not source.timed:
            raise SourceError(f"single pictures make no video; for consecutive frames give --sequence, else a folder in place of {out}")
        _refuse_existing([out], source.files, force)
        return VideoSink(out, source.rate_hz)
    if out.suffix in BAG_SUFFIXES:
        raise SourceError(f"'{out}': only a bag becomes a bag; give a folder, or a video's name")
    if isinstance(source, PictureSource) and source.total == 1 and out.suffix.lower() in SUFFIXES and not out.is_dir():
        _refuse_existing([out], source.files, force)
        return PictureFileSink(out)
    if out.is_file():
        raise SourceError(f"'{out}' is a file; {source.total} pictures need a folder: give another -o")
    return _open_folder(out, source, force, resume, suffix)


def _open_folder(out: Path, source: Source, force: bool, resume: bool, suffix: str) -> "PictureSink":
    there = frozenset(path.stem for path in out.iterdir() if path.suffix == suffix) if out.is_dir() else frozenset()
    if isinstance(source, PictureSource):
        there &= frozenset(source.names)
        _refuse_existing((out / f"{name}{suffix}" for name in source.names), source.files, force or resume)
    elif out.is_dir() and any(out.iterdir()) and not (force or resume):
        raise SourceError(f"the folder '{out}' is not empty; give {_ways(out)}")
    if out.resolve() in {path.resolve().parent for path in source.files}:
        raise SourceError(f"'{out}' is a folder that is read, and results in it would be taken for inputs the next time; give another -o")
    return PictureSink(out, suffix, there if resume else frozenset())


def _refuse_existing(targets: Iterable[Path], inputs: Iterable[Path], allowed: bool) -> None:
    existing = [path for path in targets if path.exists()]
    read = {path.resolve() for path in inputs}
    for path in existing:
        if path.resolve() in read:
            raise SourceError(f"'{path}' is one of the inputs and would be overwritten; give another -o")
    if existing and not allowed:
        others = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise SourceError(f"'{existing[0]}'{others} exists already; give {_ways(existing[0].parent)}")


def _ways(folder: Path) -> str:
    if (folder / IN_FOLDER).exists():
        return "--resume to go on with the run that was interrupted there, --force to start over, or another -o"
    return "--force to overwrite, --resume to make only what is missing, or another -o"


class PictureFileSink:
    """One picture, to one file."""

    done: frozenset[str] = frozenset()

    def __init__(self, path: Path) -> None:
        self._path = path

    def remember(self, settings: Mapping[str, Any]) -> None:
        """Nothing to go on with."""

    def write(self, name: str, fused: FusedFrame) -> None:
        """Write the picture."""
        write_picture(self._path, fused.image, fused.encoding)

    def __enter__(self) -> "PictureFileSink":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class PictureSink:
    """A picture file for each result, ``folder/name + suffix``; ``done`` are the names that are there and stay.

    While it runs, and after an interruption, a hidden folder in there says with what settings.
    """

    def __init__(self, folder: Path, suffix: str = ".png", done: frozenset[str] = frozenset()) -> None:
        self.done = done
        self._folder, self._suffix = folder, suffix
        self._settings: Mapping[str, Any] = {}
        self._workplace = Workplace(folder / IN_FOLDER)
        self._written = 0

    def remember(self, settings: Mapping[str, Any]) -> None:
        """Refuse to mix results of two settings in one folder."""
        before = remembered(self._folder / IN_FOLDER)
        if before and self.done and (changed := differences(before, settings)):
            raise SourceError(
                f"'{self._folder}' holds part of a run with other settings ({'; '.join(changed[:3])}); "
                "give those again to go on, or --force instead of --resume to start over"
            )
        self._settings = settings

    def write(self, name: str, fused: FusedFrame) -> None:
        """Write one picture, soon."""
        self._behind.call(self._write, name, fused)
        self._written += 1

    def _write(self, name: str, fused: FusedFrame) -> None:
        part = self._workplace.folder / f"{name}{self._suffix}"
        write_picture(part, fused.image, fused.encoding)
        try:
            part.replace(self._folder / part.name)
        except OSError as error:
            raise SourceError(f"'{self._folder / part.name}' cannot be written: {error.strerror or error}") from error

    def __enter__(self) -> "PictureSink":
        self._new = not self._folder.exists()
        with self._workplace:  # until all is in order
            self._workplace.remember(self._settings)
        self._workplace.__enter__()
        self._behind = Behind(file_threads())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        late = self._behind.finish()
        if (kind is None and late is None) or not (self._written or self.done):
            self._workplace.remove()
        self._workplace.__exit__(kind, error, trace)
        if self._new and not any(self._folder.iterdir()):
            self._folder.rmdir()
        if kind is None and late is not None:
            raise late


class VideoSink:
    """A video at a constant rate; it gets its name when it is complete. mp4 is encoded as MPEG-4 part 2, which OpenCV has everywhere."""

    done: frozenset[str] = frozenset()

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz = path, rate_hz
        self._workplace = Workplace(beside(path))
        self._part = self._workplace.folder / f"part{path.suffix}"
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._frames = 0

    def remember(self, settings: Mapping[str, Any]) -> None:
        """Nothing: a video is made anew."""

    def write(self, name: str, fused: FusedFrame) -> None:
        """Add one frame, soon; all must have the first one's size."""
        self._behind.call(self._write, name, fused)

    def _write(self, name: str, fused: FusedFrame) -> None:
        size = (fused.image.shape[1], fused.image.shape[0])
        if self._writer is None:
            self._size = size
            code = cv2.VideoWriter.fourcc(*("MJPG" if self._path.suffix.lower() == ".avi" else "mp4v"))
            self._writer = cv2.VideoWriter(str(self._part), code, self._rate_hz, size)
            if not self._writer.isOpened():
                self._check_room()
                raise SourceError(f"this OpenCV build writes no video '{self._path.suffix}'; give .mp4 or .avi, or a folder")
        if size != self._size:
            raise SourceError(f"frame {name} is {size[0]}x{size[1]}, the video {self._size[0]}x{self._size[1]}; write to a folder instead")
        self._writer.write(_bgr(fused))
        self._frames += 1

    def __enter__(self) -> "VideoSink":
        self._workplace.__enter__()
        self._behind = Behind()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            late = self._behind.finish()
            if self._writer is not None:
                self._writer.release()
            if kind is None:
                if late is not None:
                    raise late
                self._finish()
        finally:
            self._workplace.remove()
            self._workplace.__exit__(kind, error, trace)

    def _finish(self) -> None:
        if self._writer is None:
            raise SourceError("no frame was fused, so no video was written")
        if not _plays(self._part, self._frames):  # OpenCV does not say when a write fails
            self._check_room()
            raise SourceError(
                f"'{self._path}' came out damaged, so it was not kept; is the disk in order? Else write pictures into a folder"
            )
        try:
            self._part.replace(self._path)
        except OSError as error:
            raise SourceError(f"'{self._path}' cannot be written: {error.strerror or error}") from error

    def _check_room(self) -> None:
        if shutil.disk_usage(self._workplace.folder).free < 1 << 20:
            raise SourceError(f"'{self._path}' cannot be written: No space left on device; make room, or give an -o on another disk")


def _plays(path: Path, frames: int) -> bool:
    """Whether the video says to have so many frames, and shows the last one."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened() or int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) < frames:
            return False
        capture.set(cv2.CAP_PROP_POS_FRAMES, frames - 1)
        return bool(capture.read()[0])
    finally:
        capture.release()


def _bgr(fused: FusedFrame) -> Array:
    if fused.encoding == "bgr8":
        return fused.image
    return np.asarray(cv2.cvtColor(fused.image, cv2.COLOR_GRAY2BGR if fused.encoding == "mono8" else cv2.COLOR_RGB2BGR))
