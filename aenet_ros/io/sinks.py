"""Fused frames into picture files and videos, each written completely or not at all. Bags: ``bag_sink``."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import FusedFrame
from aenet_ros.io.background import BackgroundWriter, file_threads
from aenet_ros.io.interfaces import BAG_SUFFIXES, VIDEO_SUFFIXES, Sink, Source
from aenet_ros.io.picture_files import SUFFIXES, write_picture
from aenet_ros.io.signals import delay_signals
from aenet_ros.io.staging import HIDDEN_FOLDER, StagingDir, changed_settings, staging_path


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
    if out.suffix in BAG_SUFFIXES:
        raise SourceError(f"'{out}': only a bag becomes a bag; give a folder, or a video's name")
    if source.total == len(source.names) == 1 and out.suffix.lower() in SUFFIXES and not out.is_dir():
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
        """Write the picture."""
        write_picture(self._path, fused.image, fused.encoding)


class PictureSink(Sink):
    """A picture file for each result, ``folder/name + suffix``. See ``Sink``.

    Until it is complete, a hidden folder in there holds the run's settings.
    """

    def __init__(self, folder: Path, suffix: str = ".png", existing: frozenset[str] = frozenset()) -> None:
        self.existing = existing
        self._folder, self._suffix = folder, suffix
        self._settings: Mapping[str, Any] = {}
        self._staging = StagingDir(folder / HIDDEN_FOLDER)
        self._written = 0

    def record_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse to mix results of two settings in one folder."""
        if self.existing and (changed := changed_settings(self._staging.folder, settings)):
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
        _move(part, self._folder / part.name)

    def __enter__(self) -> "PictureSink":
        self._is_new = not self._folder.exists()
        self._staging.__enter__()
        try:
            self._staging.save_settings(self._settings)
        except BaseException:
            self._staging.__exit__()
            raise
        self._writer = BackgroundWriter(file_threads())
        return self

    @delay_signals()  # results that are queued are written
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        write_error = self._writer.finish()
        if (kind is None and write_error is None) or not (self._written or self.existing):
            self._staging.remove()
        self._staging.__exit__()
        if self._is_new and not any(self._folder.iterdir()):
            self._folder.rmdir()
        if kind is None and write_error is not None:
            raise write_error


class VideoSink(Sink):
    """A video at a constant rate, renamed to its name when it is complete. mp4 is encoded as MPEG-4 part 2, which every OpenCV has."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz = path, rate_hz
        self._staging = StagingDir(staging_path(path))
        self._part = self._staging.folder / f"part{path.suffix}"
        self._video: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._frames = 0

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
        self._frames += 1

    def __enter__(self) -> "VideoSink":
        self._writer = BackgroundWriter()
        self._staging.__enter__()
        return self

    @delay_signals()  # results that are queued are written
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            write_error = self._writer.finish()
            if self._video is not None:
                self._video.release()
            if kind is None:
                if write_error is not None:
                    raise write_error
                self._complete()
        finally:
            self._staging.remove()
            self._staging.__exit__()

    def _complete(self) -> None:
        if self._video is None:
            raise SourceError("no frame was fused, so no video was written")
        if not _is_playable(self._part, self._frames):  # OpenCV does not say when a write fails
            self._check_space()
            raise SourceError(f"'{self._path}' is damaged after writing and was not kept; check the disk, or write pictures into a folder")
        _move(self._part, self._path)

    def _check_space(self) -> None:
        if shutil.disk_usage(self._staging.folder).free < 1 << 20:
            raise SourceError(f"'{self._path}' cannot be written: No space left on device; make room, or give an -o on another disk")


def _move(part: Path, target: Path) -> None:
    try:
        part.replace(target)
    except OSError as error:
        raise SourceError(f"'{target}' cannot be written: {error.strerror or error}") from error


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
