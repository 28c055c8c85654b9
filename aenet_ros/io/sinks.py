"""Fused frames into picture files and videos, each written completely or not at all. Bags: ``bag_sink``."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import FramePair, FusedFrame
from aenet_ros.io.files import BAG_SUFFIXES, PICTURE_SUFFIXES, VIDEO_SUFFIXES, write_picture
from aenet_ros.io.source import Source, file_threads
from aenet_ros.io.staging import HIDDEN_FOLDER, BackgroundWriter, StagingDir, delay_signals, staging_path, write_errors


class Sink(ABC):
    """Takes fused frames in order. Use it with ``with``: an interruption then leaves no incomplete file."""

    existing: frozenset[str] = frozenset()  # names of results that exist already and are kept

    def record_settings(self, settings: Mapping[str, Any]) -> None:
        """Call before ``with``: store the run's settings for --resume. Raises SourceError if existing results have others."""
        return

    def take(self, pair: FramePair) -> None:
        """Take a pair, before its result: a bag keeps the cameras' frames. Raises SourceError if it cannot be written."""
        return

    @abstractmethod
    def write(self, name: str, fused: FusedFrame) -> None:
        """Take one result. Raises SourceError if it cannot be written."""

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return


class StagedSink(Sink):
    """A sink that writes in background threads, into a locked hidden folder until the result is complete."""

    _threads = 1

    def __init__(self, staging: Path) -> None:
        self._staging = StagingDir(staging)
        self._written = 0

    def __enter__(self) -> "StagedSink":
        with ExitStack() as stack:
            stack.enter_context(self._staging)
            self._open(stack)
            self._writer = BackgroundWriter(self._threads)
            self._stack = stack.pop_all()
        return self

    @delay_signals()  # results that are queued are written
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack:
            write_error = self._writer.finish()
            self._finish(kind is None and write_error is None)
            if kind is None and write_error is not None:
                raise write_error

    @abstractmethod
    def _open(self, stack: ExitStack) -> None:
        """Begin the result; ``stack`` is closed after ``_finish``."""

    @abstractmethod
    def _finish(self, good: bool) -> None:
        """Complete the result or, if the run ended with an error, discard what cannot be kept."""


def open_sink(out: Path, source: Source, *, force: bool = False, resume: bool = False, suffix: str = ".png") -> Sink:
    """A video if ``out`` has a video's suffix; one picture for a pair of pictures; else a folder of pictures with ``suffix``.

    ``resume`` keeps the pictures that exist. Raises SourceError if something exists and neither ``resume`` nor ``force`` is given,
    or if an input would be overwritten.
    """
    if out.suffix.lower() in VIDEO_SUFFIXES:
        if not source.timed:
            raise SourceError(f"single pictures make no video; for consecutive frames give --sequence, else a folder in place of {out}")
        _refuse_existing([out], source.files, force)
        return VideoSink(out, source.rate_hz)
    if out.suffix.lower() in BAG_SUFFIXES:
        raise SourceError(f"'{out}' is a bag's name; leave --to away, or give a folder's or a video's name")
    if source.total == len(source.names) == 1 and out.suffix.lower() in PICTURE_SUFFIXES and not out.is_dir():
        _refuse_existing([out], source.files, force)
        return SinglePictureSink(out)
    if out.is_file():
        raise SourceError(f"'{out}' is a file; {source.total} pictures need a folder: give another -o")
    existing = frozenset(path.stem for path in out.iterdir() if path.suffix == suffix) if out.is_dir() else frozenset()
    if source.names:
        existing &= frozenset(source.names)
        _refuse_existing((out / f"{name}{suffix}" for name in source.names), source.files, force or resume)
    elif out.is_dir() and any(out.iterdir()) and not (force or resume):
        raise SourceError(f"the folder '{out}' is not empty; give {_remedies(out)}")
    if out.resolve() in {path.resolve().parent for path in source.files}:
        raise SourceError(f"'{out}' is a folder that is read, and results in it would be taken for inputs the next time; give another -o")
    return PictureSink(out, suffix, existing if resume else frozenset())


def _refuse_existing(targets: Iterable[Path], inputs: Iterable[Path], allowed: bool) -> None:
    existing = [path for path in targets if path.exists()]
    read = {path.resolve() for path in inputs}
    for path in existing:
        if path.resolve() in read:
            raise SourceError(f"'{path}' is one of the inputs and would be overwritten; give another -o")
    if existing and not allowed:
        others = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise SourceError(f"'{existing[0]}'{others} exists already; give {_remedies(existing[0].parent)}")


def _remedies(folder: Path) -> str:
    if (folder / HIDDEN_FOLDER).exists():
        return "--resume to go on with the run that was interrupted there, --force to start over, or another -o"
    return "--force to overwrite, --resume to make only what is missing, or another -o"


class SinglePictureSink(Sink):
    """One picture in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, fused: FusedFrame) -> None:
        """Write the picture at once."""
        write_picture(self._path, fused.image, fused.encoding)


class PictureSink(StagedSink):
    """A picture file for each result, ``folder/name + suffix``. Until it is complete, a hidden folder in there holds the run's settings."""

    def __init__(self, folder: Path, suffix: str, existing: frozenset[str]) -> None:
        super().__init__(folder / HIDDEN_FOLDER)
        self.existing = existing
        self._folder, self._suffix, self._is_new = folder, suffix, not folder.exists()
        self._settings: Mapping[str, Any] = {}
        self._threads = file_threads()

    def record_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse to mix results of two settings in one folder."""
        if self.existing and (changed := self._staging.changed_settings(settings)):
            raise SourceError(
                f"'{self._folder}' holds part of a run with other settings ({'; '.join(changed[:3])}); "
                "give those again to go on, or --force instead of --resume to start over"
            )
        self._settings = settings

    def write(self, name: str, fused: FusedFrame) -> None:
        """Queue one picture."""
        self._writer.call(self._write, name, fused)
        self._written += 1

    def _write(self, name: str, fused: FusedFrame) -> None:
        part = self._staging.folder / f"{name}{self._suffix}"
        write_picture(part, fused.image, fused.encoding)
        target = self._folder / part.name
        with write_errors(f"'{target}'"):
            part.replace(target)

    def _open(self, stack: ExitStack) -> None:
        self._staging.save_settings(self._settings)

    def _finish(self, good: bool) -> None:
        if good or not (self._written or self.existing):
            self._staging.remove()
        if self._is_new and not any(self._folder.iterdir()):
            self._folder.rmdir()


class VideoSink(StagedSink):
    """A video at a constant rate, renamed to its name when it is complete. mp4 is encoded as MPEG-4 part 2, which every OpenCV has."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        super().__init__(staging_path(path))
        self._path, self._rate_hz = path, rate_hz
        self._part = self._staging.folder / f"part{path.suffix}"
        self._video: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, name: str, fused: FusedFrame) -> None:
        """Queue one frame. All must have the first one's size."""
        self._writer.call(self._write, name, fused)

    def _write(self, name: str, fused: FusedFrame) -> None:
        size = (fused.image.shape[1], fused.image.shape[0])
        if self._video is None:
            self._size = size
            code = cv2.VideoWriter.fourcc(*("MJPG" if self._path.suffix.lower() == ".avi" else "mp4v"))
            self._video = cv2.VideoWriter(str(self._part), code, self._rate_hz, size)
            if not self._video.isOpened():
                self._check_space()
                raise SourceError(f"this OpenCV build writes no video '{self._path.suffix}'; give .mp4 or .avi, or a folder")
        if size != self._size:
            raise SourceError(f"frame {name} is {size[0]}x{size[1]}, the video {self._size[0]}x{self._size[1]}; write to a folder instead")
        bgr = fused.image
        if fused.encoding != "bgr8":
            bgr = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_GRAY2BGR if fused.encoding == "mono8" else cv2.COLOR_RGB2BGR))
        self._video.write(bgr)
        self._written += 1

    def _open(self, stack: ExitStack) -> None:
        stack.callback(self._staging.remove)

    def _finish(self, good: bool) -> None:
        if self._video is not None:
            self._video.release()
        if not good:
            return
        if self._video is None:
            raise SourceError("no frame was fused, so no video was written")
        if not _is_playable(self._part, self._written):  # OpenCV does not say when a write fails
            self._check_space()
            raise SourceError(f"'{self._path}' is damaged after writing and was not kept; check the disk, or write pictures into a folder")
        with write_errors(f"'{self._path}'"):
            self._part.replace(self._path)

    def _check_space(self) -> None:
        if shutil.disk_usage(self._staging.folder).free < 1 << 20:
            raise SourceError(f"'{self._path}' cannot be written: No space left on device; make room, or give an -o on another disk")


def _is_playable(path: Path, frames: int) -> bool:
    """Whether the video has as many frames, and its last one can be decoded."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened() or int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) < frames:
            return False
        capture.set(cv2.CAP_PROP_POS_FRAMES, frames - 1)
        return bool(capture.read()[0])
    finally:
        capture.release()
