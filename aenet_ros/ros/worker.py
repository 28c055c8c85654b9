"""A worker thread behind a one-slot mailbox: the newest item waits, an older waiting one gives way and is counted.

An item may be done in two steps, so that a device works at the next one while the last one's result is published. What has time is done
after an item, in the same thread.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")
Finish = Callable[[], None]
IDLE_S = 0.05
PUT_OFF_NS = 250_000_000
"""Time for which what has time is put off while the next item waits already."""


class LatestWorker(Generic[T]):
    """Calls ``handle(item)`` in a thread of its own for the newest item that was put.

    ``put`` never blocks: an item that still waits when a newer one comes gives way, and is given back to be counted.
    What ``handle`` returns, where it returns something, is called to finish the item: at once, or where the next item waits already, after
    that one was handled; always in the order of the items.
    ``afterwards``, where given, is called in the same thread after each item, and now and then while none comes; where the next item waits
    already, after that one, but PUT_OFF_NS later at most.
    An exception of either goes to ``on_error`` and the thread lives on.
    """

    def __init__(
        self,
        handle: Callable[[T], Finish | None],
        on_error: Callable[[Exception], None],
        name: str = "fusion",
        afterwards: Callable[[], None] | None = None,
    ) -> None:
        self._handle = handle
        self._on_error = on_error
        self._afterwards = afterwards
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
        under_way: Finish | None = None
        done_ns = time.monotonic_ns()  # what has time was done then
        while True:
            with self._changed:
                if under_way is None:
                    self._changed.wait_for(lambda: self._slot or self._stopping, IDLE_S if self._afterwards else None)
                stopping, item = self._stopping, [] if self._stopping else self._slot
                self._slot = []
                self._busy_since_ns = time.monotonic_ns()
            last, under_way = under_way, None
            for one in item:
                under_way = self._try(partial(self._handle, one))
            if last is not None:
                self._try(last)
            if stopping:
                return
            pressed = self._slot and time.monotonic_ns() - done_ns < PUT_OFF_NS
            if self._afterwards is not None and not pressed and (last is not None or under_way is None):
                self._try(self._afterwards)
                done_ns = time.monotonic_ns()
            if under_way is None:
                self._busy_since_ns = 0

    def _try(self, work: Callable[[], Finish | None]) -> Finish | None:
        try:
            return work()
        except Exception as error:  # a bad frame, or a fault of the device, must not end the stream
            self._on_error(error)
            return None
