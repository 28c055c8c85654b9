"""A mailbox with one slot between two threads."""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """One slot between two threads."""

    def __init__(self) -> None:
        self._slot: list[T] = []
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> list[T]:
        """Put an item; returns at once, with the waiting item that it replaced, if any."""
        with self._changed:
            replaced, self._slot = self._slot, [item]
            self._changed.notify()
        return replaced

    def take(self, timeout_s: float | None) -> T | None:
        """The waiting item; None where none arrives within ``timeout_s`` (None: wait without limit), or after ``close``."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot or self._closed, timeout_s)
            items, self._slot = self._slot, []
        return items[0] if items else None

    def close(self) -> list[T]:
        """Wake the taker for the last time; returns the item that was waiting, if any."""
        with self._changed:
            self._closed = True
            items, self._slot = self._slot, []
            self._changed.notify_all()
        return items

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    @property
    def waiting(self) -> bool:
        """Whether an item waits."""
        return bool(self._slot)
