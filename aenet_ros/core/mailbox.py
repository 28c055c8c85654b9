"""The mailbox before a thread that works on the newest items only."""

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """``depth`` slots between two threads; the newest items stay."""

    def __init__(self, depth: int = 1) -> None:
        self.closed, self._depth = False, depth
        self._slots: list[Item] = []
        self._changed = threading.Condition()

    @property
    def waiting(self) -> bool:
        """Whether an item waits."""
        return bool(self._slots)

    def put(self, item: Item) -> list[Item]:
        """Put an item; returns at once, with the oldest waiting item, if there was no slot left for it."""
        with self._changed:
            slots = [*self._slots, item]
            replaced, self._slots = slots[: -self._depth], slots[-self._depth :]
            self._changed.notify()
        return replaced

    def take(self, timeout_s: float | None) -> Item | None:
        """The oldest waiting item; None where none arrives within ``timeout_s`` (None: wait without limit), or after ``close``."""
        with self._changed:
            self._changed.wait_for(lambda: self._slots or self.closed, timeout_s)
            item, self._slots = next(iter(self._slots), None), self._slots[1:]
        return item

    def close(self) -> list[Item]:
        """Wake the taker for the last time; returns the items that were waiting."""
        with self._changed:
            self.closed = True
            items, self._slots = self._slots, []
            self._changed.notify_all()
        return items
