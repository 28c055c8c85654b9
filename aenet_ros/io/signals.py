"""Stop signals that wait until a result is complete."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def delay_signals() -> Iterator[None]:
    """Complete a short step before SIGINT or SIGTERM is handled; a second signal is handled at once.

    Works in the main thread and for signals with a Python handler; otherwise it changes nothing.
    """
    handlers = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    if threading.current_thread() is not threading.main_thread() or not handlers:
        yield
        return
    pending: list[Callable[[], object]] = []

    def delay(number: int, frame: FrameType | None) -> None:
        handler = handlers[signal.Signals(number)]
        assert callable(handler)
        if pending:
            pending.clear()
            handler(number, frame)
        else:
            pending.append(lambda: handler(number, frame))

    for number in handlers:
        signal.signal(number, delay)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if pending:
            pending.pop()()
