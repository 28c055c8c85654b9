"""Several pieces of work at a time, each in a process; one that fails or dies takes no other with it."""

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

Tell = Callable[[Any], None]
Work = Callable[[Any, Tell], Any]
"""A function of a module: takes an item and ``tell``, which sends news of it; returns the result. Both are pickled."""

_STOP_S = 20.0


class Died(Exception):
    """A process ended without a result; the text says how."""


def run_jobs(items: Sequence[Any], work: Work, jobs: int, on_news: Callable[[int, Any], None], on_end: Callable[[int, Any], None]) -> None:
    """Do ``work`` on every item, at most ``jobs`` at a time, in the order of the items as processes come free.

    ``on_news`` and ``on_end`` are called here, with the item's index: with each thing told, and with the result (a Died
    where the process was killed). An exception here (Ctrl-C) stops the processes, each of which tidies up first.
    """
    waiting = deque(range(len(items)))
    workers = [_Worker(work) for _ in range(max(1, min(jobs, len(items))))]
    try:
        for worker in workers:
            worker.give(waiting, items)
        while busy := [worker for worker in workers if worker.index is not None]:
            for ready in wait([worker.connection for worker in busy]):
                worker = next(item for item in busy if item.connection is ready)
                index = worker.index
                assert index is not None
                try:
                    kind, value = worker.connection.recv()
                except (EOFError, OSError):
                    on_end(index, Died(worker.last_words()))
                    worker.start(work)
                    worker.give(waiting, items)
                    continue
                if kind == "news":
                    on_news(index, value)
                else:
                    on_end(index, value)
                    worker.give(waiting, items)
    finally:
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.join()


class _Worker:
    """A process that takes one item after the other."""

    def __init__(self, work: Work) -> None:
        self.start(work)

    def start(self, work: Work) -> None:
        """Start the process, or another in its place."""
        self.index: int | None = None
        # spawn: torch's and OpenCV's threads do not live through a fork.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        # A process that is still importing would answer Ctrl-C with a traceback; the parent tells it to stop. The tracker
        # is started before, because its start unblocks the signal.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def give(self, waiting: "deque[int]", items: Sequence[Any]) -> None:
        """Hand over the next item, if there is one."""
        self.index = waiting.popleft() if waiting else None
        if self.index is not None:
            with contextlib.suppress(OSError):  # it died already: its end of the pipe tells
                self.connection.send(items[self.index])

    def last_words(self) -> str:
        """How the process ended."""
        self._process.join(_STOP_S)
        code = self._process.exitcode or 0
        if code == -signal.SIGKILL:
            return "its process was killed (signal 9; as a rule because memory ran out): give fewer --jobs"
        return f"its process ended with {f'signal {-code}' if code < 0 else f'status {code}'}"

    def stop(self) -> None:
        """Tell the process to end; it tidies up first."""
        if self.index is None:
            self.connection.close()  # it waits for an item, and takes this for the end
        elif self._process.is_alive():
            self._process.terminate()

    def join(self) -> None:
        """Wait for the end, not for ever."""
        self._process.join(_STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: "Connection[Any, Any]", work: Work) -> None:
    """The process: items in, news and results out, until the pipe is closed."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    try:
        while True:
            item = connection.recv()
            connection.send(("end", work(item, lambda news: connection.send(("news", news)))))
    except (EOFError, KeyboardInterrupt):
        pass
    except OSError:  # the parent was killed
        os._exit(1)
