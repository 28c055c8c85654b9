"""What a sink of fused frames is, and how results are written: by threads, in a hidden folder, and completely or not at all."""

import fcntl
import json
import os
import shutil
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from aenet_ros.core.errors import SourceError
from aenet_ros.core.files import write_atomic, write_error
from aenet_ros.core.frames import FramePair, FusedFrame

HIDDEN_FOLDER = ".aenet-fuse"
"""In a folder of pictures that is not complete."""
_SETTINGS = "run.json"
_QUEUE_LENGTH = 8  # calls that wait for a BackgroundWriter; each may hold a frame


@contextmanager
def write_errors(what: object) -> Iterator[None]:
    """Raise SourceError, that ``what`` cannot be written, instead of OSError."""
    try:
        yield
    except OSError as error:
        raise write_error(what, error) from error


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
            with write_errors(f"'{self.folder.parent}'"):
                self._acquire()
                for entry in self.folder.iterdir():
                    if entry.is_dir() and not entry.is_symlink():
                        shutil.rmtree(entry)
                    elif entry.name != _SETTINGS:
                        entry.unlink()
        except BaseException:
            if self._lock >= 0:
                with suppress(OSError):
                    self.folder.rmdir()  # succeeds only if it is empty: an interrupted run keeps its settings there
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _acquire(self) -> None:
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.__exit__()
                raise SourceError(
                    f"another run is writing there just now ('{self.folder}' is locked); wait for its end, or give another -o"
                ) from None
            except OSError:
                return  # a file system without locks
            # The run that held the lock may have removed the folder between mkdir and flock.
            if self.folder.exists() and os.fstat(self._lock).st_ino == self.folder.stat().st_ino:
                return
            self.__exit__()

    def save_settings(self, settings: Mapping[str, Any]) -> None:
        """Store the run's settings, for ``changed_settings`` of a later run."""
        write_atomic(self.folder / _SETTINGS, json.dumps(settings, indent=1, sort_keys=True))

    def changed_settings(self, settings: Mapping[str, Any]) -> list[str]:
        """Sentences on how ``settings`` differ from those of the interrupted run; empty if there is none."""
        try:
            before = json.loads((self.folder / _SETTINGS).read_text())
        except (OSError, ValueError):
            return []
        if not isinstance(before, dict) or not before:
            return []
        now = json.loads(json.dumps(settings))  # JSON knows no tuples
        names = sorted({*before, *now})
        return [f"{name}: {before.get(name)} then, {now.get(name)} now" for name in names if before.get(name) != now.get(name)]

    def remove(self) -> None:
        """Remove the folder: the run is complete, or is not to be resumed."""
        shutil.rmtree(self.folder, ignore_errors=True)


class BackgroundWriter:
    """Makes calls in threads; with one thread in their order. A full queue blocks ``call``.

    After the first error later calls are dropped, and ``call`` raises that error.
    """

    def __init__(self, threads: int = 1, queue_length: int = _QUEUE_LENGTH) -> None:
        self._pool = ThreadPoolExecutor(threads, "background writer")
        self._room = threading.Semaphore(threads + queue_length)
        self._error: Exception | None = None

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Queue a call. Raises the error of an earlier one."""
        if self._error is not None:
            raise self._error
        self._room.acquire()
        self._pool.submit(self._run, function, *arguments)

    def try_call(self, function: Callable[..., object], *arguments: object) -> bool:
        """Queue a call without waiting; False if the queue is full, and the call is not made."""
        if not self._room.acquire(blocking=False):
            return False
        self._pool.submit(self._run, function, *arguments)
        return True

    def finish(self) -> Exception | None:
        """Wait for the queued calls and end the threads; the first error, or None."""
        self._pool.shutdown()
        return self._error

    def _run(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            if self._error is None:
                function(*arguments)
        except Exception as error:
            self._error = self._error or error
        finally:
            self._room.release()


@contextmanager
def delay_signals() -> Iterator[None]:
    """Complete a short step before SIGINT or SIGTERM is handled; a second signal is handled at once.

    Works in the main thread and for signals with a Python handler; otherwise it changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}
    pending: list[tuple[int, FrameType | None]] = []

    def delay(number: int, frame: FrameType | None) -> None:
        if not pending:
            pending.append((number, frame))
            return
        pending.clear()
        handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, delay)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in pending:
            handlers[number](number, frame)


class Sink(ABC):
    """Takes fused frames in order. Use it with ``with``: an interruption then leaves no incomplete file."""

    existing: frozenset[str] = frozenset()  # names of results that exist already and are kept

    def record_settings(self, settings: Mapping[str, Any]) -> None:
        """Call before ``with``: store the run's settings for --resume. Raises SourceError if existing results have others."""
        return

    def take(self, pair: FramePair) -> None:
        """Take a pair, before its result: a bag keeps the cameras' frames. Raises SourceError if it cannot be written."""
        return

    @property
    def complete(self) -> int | None:
        """Number of results that stay when the run is stopped, for --resume; None: the result is written as a whole, or not at all."""
        return None

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
