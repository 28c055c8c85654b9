"""Hidden, locked folder for results that are not complete, so that an interruption leaves no incomplete file elsewhere."""

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from aenet_ros.core.errors import SourceError
from aenet_ros.core.files import write_atomic

HIDDEN_FOLDER = ".aenet-fuse"
"""In a folder of pictures that is not complete."""
_SETTINGS = "run.json"


def staging_path(out: Path) -> Path:
    """The hidden folder of a result that is one file or one bag."""
    return out.parent / f".{out.name}.aenet-part"


class StagingDir:
    """A hidden folder that only one run uses at a time. At entry it removes what a killed run left there.

    Raises SourceError if the folder cannot be made, or if another run uses it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = -1

    def __enter__(self) -> "StagingDir":
        try:
            self._acquire()
            for entry in self.folder.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != _SETTINGS:
                    entry.unlink()
        except BaseException as error:
            if self._lock >= 0:
                with suppress(OSError):
                    self.folder.rmdir()  # succeeds only if it is empty: an interrupted run keeps its settings there
            self._release()
            if isinstance(error, OSError):
                raise SourceError(f"'{self.folder.parent}' cannot be written: {error.strerror or error}") from error
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._release()

    def _acquire(self) -> None:
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._release()
                raise SourceError(
                    f"another run is writing there just now ('{self.folder}' is locked); wait for its end, or give another -o"
                ) from None
            except OSError:
                return  # a file system without locks
            # The run that held the lock may have removed the folder between mkdir and flock.
            if self.folder.exists() and os.fstat(self._lock).st_ino == self.folder.stat().st_ino:
                return
            self._release()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def save_settings(self, settings: Mapping[str, Any]) -> None:
        """Store the run's settings, for ``changed_settings`` of a later run."""
        write_atomic(self.folder / _SETTINGS, json.dumps(settings, indent=1, sort_keys=True))

    def remove(self) -> None:
        """Remove the folder: the run is complete, or is not to be resumed."""
        shutil.rmtree(self.folder, ignore_errors=True)


def changed_settings(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Sentences on how ``settings`` differ from those of the interrupted run in ``folder``; empty if there is none."""
    try:
        before = json.loads((folder / _SETTINGS).read_text())
    except (OSError, ValueError):
        return []
    if not isinstance(before, dict) or not before:
        return []
    now = json.loads(json.dumps(settings))  # JSON knows no tuples
    names = sorted({*before, *now})
    return [f"{name}: {before.get(name)} then, {now.get(name)} now" for name in names if before.get(name) != now.get(name)]
