"""The mailbox before a thread that works on the newest item only."""

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """One slot between two threads."""

    def __init__(self) -> None:
        self.closed = False
        self._slot: list[Item] = []
        self._changed = threading.Condition()

    @property
    def waiting(self) -> bool:
        """Whether an item waits."""
        return bool(self._slot)

    def put(self, item: Item) -> list[Item]:
        """Put an item; returns at once, with the waiting item that it replaced, if any."""
        with self._changed:
            replaced, self._slot = self._slot, [item]
            self._changed.notify()
        return replaced

    def take(self, timeout_s: float | None) -> Item | None:
        """The waiting item; None where none arrives within ``timeout_s`` (None: wait without limit), or after ``close``."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot or self.closed, timeout_s)
            items, self._slot = self._slot, []
        return items[0] if items else None

    def close(self) -> list[Item]:
        """Wake the taker for the last time; returns the item that was waiting, if any."""
        with self._changed:
            self.closed = True
            items, self._slot = self._slot, []
            self._changed.notify_all()
        return items
