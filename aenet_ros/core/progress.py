"""A progress bar for commands that take longer than a second."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
REFRESH_S = 0.5


class ProgressBar:
    """A bar on stderr, if that is a terminal; to be used with ``with``. Needs tqdm.

    It is drawn twice a second, also while nothing is completed. What was done before the first ``step`` returns (loading, opening, the
    first item, which is slower than the others) does not count for the rate and for the remaining time.
    """

    def __init__(self, text: str, unit: str, total: int | None = None) -> None:
        from tqdm import tqdm

        # smoothing 0: the mean rate. miniters 1: tqdm's own guess leaves the bar as it is when items become slower.
        self._bar: Any = tqdm(desc=text, unit=unit, total=total, disable=None, leave=False, smoothing=0, miniters=1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="progress", daemon=True)
        self._warm = False

    def __enter__(self) -> "ProgressBar":
        if not self.hidden:
            self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        if not self.hidden:
            self._thread.join()
        self._bar.close()

    @property
    def hidden(self) -> bool:
        """Whether stderr is no terminal."""
        return bool(self._bar.disable)

    @property
    def total(self) -> int | None:
        """Number of items, None where it is unknown."""
        total: int | None = self._bar.total
        return total

    @total.setter
    def total(self, total: int) -> None:
        self._bar.total = total

    @property
    def done(self) -> int:
        """Number of completed items; 0 where the bar is hidden."""
        return int(self._bar.n)

    def step(self, count: int = 1, *, timed: bool = True) -> None:
        """``count`` items are complete. ``timed``: false for items that were skipped, and say nothing of the others' duration."""
        if self.hidden:
            return
        if not self._warm and timed:
            self._warm = True
            self._bar.start_t = self._bar.last_print_t = self._bar._time()
            timed = False
            self._bar.initial = self._bar.n
        if not timed:
            self._bar.initial += count
        self._bar.update(count)

    def follow(self, items: Iterable[T]) -> Iterator[T]:
        """The items, each one a step when the next is asked for."""
        for item in items:
            yield item
            self.step()

    def describe(self, text: str, **values: str) -> None:
        """Change the text before the bar, and the values after it."""
        self._bar.set_description(text, refresh=False)
        self._bar.set_postfix(values, refresh=False)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is printed within appears above the bar."""
        with self._bar.external_write_mode():
            yield

    def _draw(self) -> None:
        while not self._ended.wait(REFRESH_S):
            self._bar.refresh()
