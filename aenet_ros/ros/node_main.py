"""Start and end of each program: how a launch file starts it; a stop signal is no fault, and the clean-up is not interrupted."""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from aenet_ros.core.errors import AenetError

MODULES = {
    "aenet_fusion_node": "aenet_ros.ros.node",
    "aenet_rig_node": "aenet_ros.ros.tools.rig_node",
    "aenet_replay_node": "aenet_ros.ros.tools.replay_node",
}
PATIENCE_S = 1.0
N = TypeVar("N", bound=Node)


def program(name: str, arguments: list[str] | None = None) -> dict[str, Any]:
    """Keyword arguments of ``launch_ros.actions.Node`` that start ``name``, a key of ``MODULES``, with ``arguments``.

    Uses the executable of the workspace, as `ros2 run` does. If pip installed the package there is none in ``lib/aenet_ros``, and this
    Python interpreter runs the module.
    """
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        installed = (Path(get_package_prefix("aenet_ros")) / "lib" / "aenet_ros" / name).is_file()
    except (PackageNotFoundError, OSError):  # OSError: AMENT_PREFIX_PATH is not set
        installed = False
    if installed:
        return {"package": "aenet_ros", "executable": name, "arguments": arguments or []}
    return {"executable": sys.executable, "arguments": ["-m", MODULES[name], *(arguments or [])], "exec_name": name}


def full_namespace(context: Any, namespace: str) -> str:
    """A node's namespace in a launch file, without the last slash: "" or "/robot1"; relative ones are in those of enclosing groups."""
    base = "" if namespace.startswith("/") else context.launch_configurations.get("ros_namespace") or ""
    return "".join(f"/{part}" for part in f"{base}/{namespace}".split("/") if part)


@contextmanager
def running(name: str, make: Callable[[], N], args: Sequence[str] | None) -> Iterator[tuple[N, SingleThreadedExecutor]]:
    """Context of the program ``name``: rclpy, the node and its executor, all shut down at the end.

    The block ends early when the program is stopped. An AenetError of ``make`` ends the process with status 1 and a sentence.
    """
    rclpy.init(args=list(args) if args is not None else None)
    try:
        node = make()
    except AenetError as error:
        rclpy.try_shutdown()
        sys.exit(f"{name}: {error}")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        with until_stopped():
            yield node, executor
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


@contextmanager
def until_stopped() -> Iterator[None]:
    """Run the body until Ctrl-C, SIGTERM or a shutdown of the context; further Ctrl-Cs are ignored."""
    try:
        yield
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:
        # A signal may shut the context down between two steps of spin (an RCLError), or interrupt the conversion of a
        # message (pybind's RuntimeError, shortly before the context is shut down): a regular end.
        if not _shut_down_soon():
            raise
    finally:
        # launch and systemd send a second SIGINT, or one to the whole group.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _shut_down_soon() -> bool:
    """Whether the context is shut down now or within ``PATIENCE_S``; rclpy does that in a thread of its own."""
    deadline = time.monotonic() + PATIENCE_S
    while rclpy.ok() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not rclpy.ok()
