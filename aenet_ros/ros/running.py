"""How each of our programs ends: told to stop is no fault, and its clean-up is not cut short."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation


@contextmanager
def until_stopped() -> Iterator[None]:
    """Run the body until Ctrl-C, SIGTERM or a shutdown of the context ends it; then ignore further Ctrl-Cs."""
    try:
        yield
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except rclpy_implementation.RCLError:
        # A signal may shut the context down between two steps of spin; that is an end, not a fault.
        if rclpy.ok():
            raise
    finally:
        # launch and systemd send a second SIGINT, or one to the whole group.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
