"""Opens sinks, and writes pictures, each completely or not at all. Videos: ``video_sink``; bags: ``bag_sink``."""

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import FusedFrame
from aenet_ros.io.files import BAG_SUFFIXES, PICTURE_SUFFIXES, VIDEO_SUFFIXES, WRITTEN_VIDEO_SUFFIXES, write_picture
from aenet_ros.io.sink import HIDDEN_FOLDER, Sink, StagedSink, write_errors
from aenet_ros.io.source import Source, file_threads

FILE_SUFFIX = r"\.(?=.*[a-z].*[a-z])[a-z0-9]{3,4}"
"""What looks like a file's suffix and not like a part of a folder's name (out.v2, 12.05)."""


def open_sink(out: Path, source: Source, *, force: bool = False, resume: bool = False, suffix: str = ".png", to: str = "") -> Sink:
    """A video if ``out`` has a video's suffix; one picture for a pair of pictures; else a folder of pictures with ``suffix``.

    ``resume`` keeps the pictures that exist. ``to`` "pictures": ``out`` is a folder, whatever its name. Raises SourceError if something
    exists and neither ``resume`` nor ``force`` is given, if an input would be overwritten, or for an unknown suffix.
    """
    if out.suffix.lower() in VIDEO_SUFFIXES:
        if out.suffix.lower() not in WRITTEN_VIDEO_SUFFIXES:
            raise SourceError(
                f"'{out}': videos are read from {out.suffix}, but not written; give one of {', '.join(WRITTEN_VIDEO_SUFFIXES)}"
            )
        if not source.timed:
            raise SourceError(f"single pictures make no video; for consecutive frames give --sequence, else a folder in place of {out}")
        _refuse_existing([out], source.files, force)
        from aenet_ros.io.video_sink import VideoSink  # needs PyAV, which pictures do not

        return VideoSink(out, source.rate_hz, source.remarks)
    if out.suffix.lower() in BAG_SUFFIXES:
        raise SourceError(f"'{out}' is a bag's name; leave --to away, or give a folder's or a video's name")
    if source.total == len(source.names) == 1 and out.suffix.lower() in PICTURE_SUFFIXES and not out.is_dir():
        _refuse_existing([out], source.files, force)
        return SinglePictureSink(out)
    if out.is_file():
        raise SourceError(f"'{out}' is a file; {source.total} pictures need a folder: give another -o")
    if to != "pictures" and re.fullmatch(FILE_SUFFIX, out.suffix.lower()) and not out.is_dir():
        raise SourceError(
            f"'{out}': {out.suffix} is no suffix that fits this source; give one of {', '.join(WRITTEN_VIDEO_SUFFIXES)} for a video, "
            f"{', '.join(PICTURE_SUFFIXES)} for the picture of a single pair, and for a folder --to pictures or a name without suffix"
        )
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
        self._names: list[str] = []  # of complete results; several threads append

    @property
    def complete(self) -> int:
        """Number of complete pictures, those that were there before included."""
        return len(self.existing) + len(self._names)

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
        self._names.append(name)

    def _open(self, stack: ExitStack) -> None:
        self._staging.save_settings(self._settings)

    def _finish(self, good: bool) -> None:
        if good or not (self._written or self.existing):
            self._staging.remove()
        if self._is_new and not any(self._folder.iterdir()):
            self._folder.rmdir()
