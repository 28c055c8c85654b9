"""How each of our programs ends: told to stop is no fault, and its clean-up is not cut short."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.executors import ExternalShutdownException

PATIENCE_S = 1.0


@contextmanager
def until_stopped() -> Iterator[None]:
    """Run the body until Ctrl-C, SIGTERM or a shutdown of the context ends it; then ignore further Ctrl-Cs."""
    try:
        yield
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:
        # A signal may shut the context down between two steps of spin (an RCLError), or interrupt the conversion of a
        # message (pybind's RuntimeError, a moment before the context goes): that is an end, not a fault.
        if not _shut_down_soon():
            raise
    finally:
        # launch and systemd send a second SIGINT, or one to the whole group.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _shut_down_soon() -> bool:
    """Whether the context is shut down by now or within ``PATIENCE_S``; rclpy does that in a thread of its own."""
    deadline = time.monotonic() + PATIENCE_S
    while rclpy.ok() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not rclpy.ok()
