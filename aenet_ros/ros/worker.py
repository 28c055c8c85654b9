"""A worker thread behind a one-slot mailbox: the newest item waits, an older waiting one gives way and is counted."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestWorker(Generic[T]):
    """Calls ``handle(item)`` in a thread of its own for the newest item that was put.

    ``put`` never blocks: an item that still waits when a newer one comes gives way, and is given back to be counted.
    An exception of ``handle`` goes to ``on_error`` and the thread lives on.
    """

    def __init__(self, handle: Callable[[T], None], on_error: Callable[[Exception], None], name: str = "fusion") -> None:
        self._handle = handle
        self._on_error = on_error
        self._slot: list[T] = []
        self._stopping = False
        self._busy_since_ns = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> list[T]:
        """Hand over an item; returns at once, with the waiting item that it replaced, if there was one."""
        with self._changed:
            replaced, self._slot = self._slot, [item]
            self._changed.notify()
        return replaced

    def stop(self, timeout_s: float = 5.0) -> list[T]:
        """Finish the item in work, drop the one that waits, join the thread; returns what was dropped (one item or none)."""
        with self._changed:
            self._stopping = True
            dropped, self._slot = self._slot, []
            self._changed.notify()
        self._thread.join(timeout_s)
        return dropped

    @property
    def alive(self) -> bool:
        """Whether the thread still runs; after ``stop`` True means that ``handle`` hangs."""
        return self._thread.is_alive()

    def busy_s(self) -> float:
        """How long the item in work has been in work, in seconds; 0 when idle."""
        since_ns = self._busy_since_ns
        return (time.monotonic_ns() - since_ns) / 1e9 if since_ns else 0.0

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slot or self._stopping)
                if self._stopping:
                    return
                item = self._slot.pop()
                self._busy_since_ns = time.monotonic_ns()
            try:
                self._handle(item)
            except Exception as error:  # a bad frame, or a fault of the device, must not end the stream
                self._on_error(error)
            finally:
                self._busy_since_ns = 0
