"""Where a run keeps what is not finished: one hidden folder, locked, so that an end at any time leaves nothing half-written elsewhere."""

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from aenet_ros.core.atomic_io import write_atomic
from aenet_ros.core.errors import SourceError

IN_FOLDER = ".aenet-fuse"
_RECORD = "run.json"


def beside(out: Path) -> Path:
    """The hidden folder of a result that is one file or one bag."""
    return out.parent / f".{out.name}.aenet-part"


class Workplace:
    """A hidden folder that one run has for itself; leftovers of an earlier run, which was killed, are removed at entry.

    Raises SourceError where it cannot be made, or where another run has it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = -1

    def __enter__(self) -> "Workplace":
        try:
            self._take()
            for entry in self.folder.iterdir():
                if entry.name != _RECORD:
                    _remove(entry)
        except OSError as error:
            self._release()
            raise SourceError(f"'{self.folder.parent}' cannot be written: {error.strerror or error}") from error
        return self

    def _take(self) -> None:
        """Make the folder and lock it; its former owner may remove it between the two."""
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
            if self.folder.exists() and os.fstat(self._lock).st_ino == self.folder.stat().st_ino:
                return
            self._release()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remember(self, settings: Mapping[str, Any]) -> None:
        """Write down what the run was asked for, for ``check`` of a later one."""
        write_atomic(self.folder / _RECORD, json.dumps(settings, indent=1, sort_keys=True))

    def remove(self) -> None:
        """Take the folder away: the run is complete, or is not to be resumed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._release()


def remembered(folder: Path) -> dict[str, Any] | None:
    """What ``Workplace.remember`` wrote there; None where there was no run, or where it was not interrupted."""
    try:
        found = json.loads((folder / _RECORD).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two records differ in, as words; ``before`` was read from JSON, which knows no tuples."""
    now = json.loads(json.dumps(now))
    return [
        f"{name}: {before.get(name)} then, {now.get(name)} now" for name in sorted({*before, *now}) if before.get(name) != now.get(name)
    ]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
