"""Ctrl-C and SIGTERM where they do no harm: after a step that is to be whole, and never as another error."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held() -> Iterator[None]:
    """A short step that is done whole: the first stop waits for its end, a second one does not.

    Only for what the main thread does, and for signals that have a handler in Python; elsewhere nothing is changed.
    """
    handlers = {number: signal.getsignal(number) for number in _STOPS}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    if threading.current_thread() is not threading.main_thread() or not handlers:
        yield
        return
    waiting: list[Callable[[], object]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        handler = handlers[signal.Signals(number)]
        assert callable(handler)
        if waiting:
            waiting.clear()
            handler(number, frame)
        else:
            waiting.append(lambda: handler(number, frame))

    for number in handlers:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if waiting:
            waiting.pop()()


@contextmanager
def as_themselves() -> Iterator[None]:
    """A stop that a library in C turned into a SystemError is the stop again.

    CPython raises that error where such a function goes on although a signal's handler has raised: numpy 2 does so in
    ``np.fromfile(path)``, where isinstance fails and -1 is taken for true.
    """
    try:
        yield
    except SystemError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None
        raise
