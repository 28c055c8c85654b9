"""Reading ahead and writing behind: threads decode and encode files while pairs are fused (OpenCV and zstd let go of Python's lock)."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from typing import Any, TypeVar

from aenet_ros.core.process import allowed_cores, delay_signals

T = TypeVar("T")
_MOST_THREADS = 4
_WAITING = 8  # calls behind, at most: memory for so many frames


def file_threads() -> int:
    """Threads for files that do not depend on one another."""
    return min(_MOST_THREADS, allowed_cores())


def ahead(tasks: Iterable[Callable[[], T]], threads: int = 1) -> Iterator[T]:
    """The tasks' results in their order; a few tasks are under way while the caller works at a result.

    With one thread they are also done in their order. What a task raises is raised in its place.
    """
    with ThreadPoolExecutor(threads, "ahead") as pool:
        under_way: deque[Future[T]] = deque()
        try:
            for task in tasks:
                under_way.append(pool.submit(task))
                if len(under_way) > threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def items_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, each made while the caller works at the one before."""
    end: Any = object()
    iterator = iter(items)
    for item in ahead(repeat(lambda: next(iterator, end))):
        if item is end:
            return
        yield item


class Behind:
    """Calls that are made in threads, a few at most waiting; with one thread they are made in their order.

    The first error ends it: later calls are dropped, and ``call`` raises it. ``finish`` waits for those that were taken.
    """

    def __init__(self, threads: int = 1) -> None:
        self._calls: queue.Queue[tuple[Callable[..., object], tuple[Any, ...]] | None] = queue.Queue(_WAITING)
        self._error: Exception | None = None
        self._threads = [threading.Thread(target=self._work, name="behind", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Make this call soon; waits where too many wait already. Raises what an earlier one raised."""
        if self._error is not None:
            raise self._error
        self._calls.put((function, arguments))

    def finish(self) -> Exception | None:
        """Wait for the calls, and end; the first error, or None. A stop waits too, for what was taken is to be written."""
        with delay_signals():
            for _ in self._threads:
                self._calls.put(None)
            for thread in self._threads:
                thread.join()
        return self._error

    def _work(self) -> None:
        while (taken := self._calls.get()) is not None:
            function, arguments = taken
            del taken
            if self._error is None:
                try:
                    function(*arguments)
                except Exception as error:
                    self._error = self._error or error
