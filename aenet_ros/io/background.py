"""Threads that read ahead and write behind while pairs are fused, and processes that fuse several sources at a time."""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from aenet_ros.core.process import allowed_cores

T = TypeVar("T")
Progress = Callable[[Any], None]
Work = Callable[[Any, Progress], Any]
"""A module's function: takes an item and a progress callback, returns the result. Items, progress and result are pickled."""

_MOST_FILE_THREADS = 4
_QUEUE_LENGTH = 8  # calls that wait for a BackgroundWriter; each may hold a frame
_STOP_S = 20.0


def file_threads() -> int:
    """Number of threads for files that do not depend on one another."""
    return min(_MOST_FILE_THREADS, allowed_cores())


def prefetch(tasks: Iterable[Callable[[], T]], threads: int = 1) -> Iterator[T]:
    """The tasks' results in their order; up to ``threads`` tasks run while the caller uses a result.

    With one thread the tasks also run in their order. A task's exception is raised in its place.
    """
    with ThreadPoolExecutor(threads, "prefetch") as pool:
        running: deque[Future[T]] = deque()
        try:
            for task in tasks:
                running.append(pool.submit(task))
                if len(running) > threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def prefetch_items(items: Iterable[T]) -> Iterator[T]:
    """The items; a thread makes the next one while the caller uses one."""
    end: Any = object()
    iterator = iter(items)
    for item in prefetch(repeat(lambda: next(iterator, end))):
        if item is end:
            return
        yield item


class BackgroundWriter:
    """Makes calls in threads; with one thread in their order. A full queue blocks ``call``.

    After the first error later calls are dropped, and ``call`` raises that error.
    """

    def __init__(self, threads: int = 1, queue_length: int = _QUEUE_LENGTH) -> None:
        self._calls: queue.Queue[tuple[Callable[..., object], tuple[Any, ...]] | None] = queue.Queue(queue_length)
        self._error: Exception | None = None
        self._threads = [threading.Thread(target=self._run, name="background writer", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Queue a call. Raises the error of an earlier one."""
        if self._error is not None:
            raise self._error
        self._calls.put((function, arguments))

    def try_call(self, function: Callable[..., object], *arguments: object) -> bool:
        """Queue a call without waiting; False if the queue is full, and the call is not made."""
        with contextlib.suppress(queue.Full):
            self._calls.put_nowait((function, arguments))
            return True
        return False

    def finish(self) -> Exception | None:
        """Wait for the queued calls and end the threads; the first error, or None."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()
        return self._error

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, arguments = call
            del call
            if self._error is None:
                try:
                    function(*arguments)
                except Exception as error:
                    self._error = self._error or error


class WorkerDied(Exception):
    """A process ended without a result; the text says how."""


def run_jobs(
    items: Sequence[Any], work: Work, jobs: int, on_progress: Callable[[int, Any], None], on_result: Callable[[int, Any], None]
) -> None:
    """Do ``work`` on every item in at most ``jobs`` processes; a process that dies loses only its own item.

    ``on_progress`` and ``on_result`` are called in this process with the item's index, and with what the worker reported or
    returned (WorkerDied if it was killed). An exception here (Ctrl-C) stops the workers, which clean up first.
    """
    waiting = deque(range(len(items)))
    workers = [_Worker(work) for _ in range(max(1, min(jobs, len(items))))]
    try:
        for worker in workers:
            worker.assign(waiting, items)
        while busy := [worker for worker in workers if worker.index is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in busy:
                index = worker.index
                if index is None or worker.connection not in ready:
                    continue
                try:
                    kind, value = worker.connection.recv()
                except (EOFError, OSError):
                    on_result(index, WorkerDied(worker.exit_reason()))
                    worker.start(work)
                    worker.assign(waiting, items)
                    continue
                if kind == "progress":
                    on_progress(index, value)
                else:
                    on_result(index, value)
                    worker.assign(waiting, items)
    finally:
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.join()


class _Worker:
    """A process that does one item after the other."""

    def __init__(self, work: Work) -> None:
        self.start(work)

    def start(self, work: Work) -> None:
        self.index: int | None = None
        # spawn: the threads of torch and OpenCV do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.connection, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, work), daemon=True)
        # Ctrl-C during the child's imports would print a traceback; the parent stops the child instead.
        # The resource tracker is started first, because its start unblocks the signal.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        child.close()

    def assign(self, waiting: "deque[int]", items: Sequence[Any]) -> None:
        self.index = waiting.popleft() if waiting else None
        if self.index is not None:
            with contextlib.suppress(OSError):  # it died already; recv will tell
                self.connection.send(items[self.index])

    def exit_reason(self) -> str:
        self._process.join(_STOP_S)
        code = self._process.exitcode or 0
        if code == -signal.SIGKILL:
            return "its process was killed (signal 9; usually because memory ran out): give fewer --jobs"
        return f"its process ended with {f'signal {-code}' if code < 0 else f'status {code}'}"

    def stop(self) -> None:
        if self.index is None:
            self.connection.close()  # ends a worker that waits for an item
        elif self._process.is_alive():
            self._process.terminate()

    def join(self) -> None:
        self._process.join(_STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: "Connection[Any, Any]", work: Work) -> None:
    """The worker process: receives items, sends progress and results, until the pipe is closed."""

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    try:
        while True:
            item = connection.recv()
            connection.send(("result", work(item, lambda progress: connection.send(("progress", progress)))))
    except (EOFError, KeyboardInterrupt):
        pass
    except OSError:  # the parent was killed
        os._exit(1)
