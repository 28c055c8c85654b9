"""What a sink of fused frames is, and what sinks that write in the background have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from aenet_ros.core.frames import FramePair, FusedFrame
from aenet_ros.io.staging import BackgroundWriter, StagingDir, delay_signals


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
