"""A robot in a test: the fusing node as a real process, and publishers and subscribers of ours beside it, over real DDS."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.srv import SetParameters, SetParametersAtomically  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

from aenet_ros.cli.processes import free_domain  # noqa: E402
from aenet_ros.core.files import process_environment  # noqa: E402

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SIZE = (120, 160)
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def ros_environment(log_dir: Path, domain: int) -> dict[str, str]:
    """A full copy of the environment for a child process: own domain, localhost only, our DDS profile."""
    environment = dict(os.environ)
    environment.update(process_environment(present=environment))
    environment.update(
        ROS_DOMAIN_ID=str(domain),
        ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
        ROS_LOG_DIR=str(log_dir),
        PYTHONUNBUFFERED="1",
        OMP_NUM_THREADS="1",
    )
    return environment


@cache
def own_domain() -> int:
    """A domain id for this test process, on which nobody else on this machine is."""
    return free_domain()


def make_image(data: np.ndarray, encoding: str, stamp_ns: int, frame_id: str = "camera") -> Image:
    """An Image message by hand, not by the codec under test. ``data`` is [H, W] or [H, W, C]."""
    message = Image(height=data.shape[0], width=data.shape[1], encoding=encoding, step=data.strides[0])
    message.data = array("B", np.ascontiguousarray(data).tobytes())
    stamp(message, stamp_ns)
    message.header.frame_id = frame_id
    return message


def stamp(message: Any, stamp_ns: int) -> None:
    """Write an integer stamp."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)


def stamp_of(message: Any) -> int:
    """Read an integer stamp."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def warm_square(at: int = 60, value: int = 9000, shape: tuple[int, int] = SIZE) -> np.ndarray:
    """16-bit counts: a hot square on a cooler gradient."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    counts = (7000 + rows + columns).astype(np.uint16)
    counts[at : at + 20, at : at + 20] = value
    return counts


def dim_street(shape: tuple[int, int] = SIZE) -> np.ndarray:
    """An rgb frame, coloured and not bright, uint8 [H, W, 3]."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.stack([100 + rows % 32, 90 + columns % 24, np.full(shape, 110)], axis=-1).astype(np.uint8)


class Robot:
    """The node under test in a process of its own, and our ends of its topics and services."""

    def __init__(
        self,
        tmp_path: Path,
        parameters: dict[str, Any] | None = None,
        arguments: tuple[str, ...] = (),
        name: str = "/fusion",
        domain: int | None = None,
    ) -> None:
        self.tmp_path, self.name = tmp_path, name
        self.environment = ros_environment(tmp_path, own_domain() if domain is None else domain)
        os.environ.update({key: self.environment[key] for key in self.environment if key.startswith(("ROS_", "FAST"))})
        # Full size on a slow machine too, so that pictures depend on the input alone.
        # Five frames wait: tests send in bursts.
        given = {"latency.budget_ms": 0.0, "input.thermal.depth": 5, "input.rgb.depth": 5, **(parameters or {})}
        self.arguments = [part for key, value in given.items() for part in ("-p", f"{key}:={value}")] + list(arguments)
        self.process: subprocess.Popen[bytes] | None = None
        self.command = [sys.executable, "-m", "aenet_ros.ros.node"]
        self.log_path = tmp_path / "node.log"
        self.fused: list[Image] = []
        self.registered: list[Image] = []
        self.compressed: list[CompressedImage] = []
        self.camera_infos: list[CameraInfo] = []
        self.diagnostics: list[DiagnosticArray] = []
        self.infos: list[String] = []
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("tester", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thermal_publisher = self.node.create_publisher(Image, "/thermal/image_raw", RELIABLE)
        self.rgb_publisher = self.node.create_publisher(Image, "/rgb/image_raw", RELIABLE)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, 10)
        self.node.create_subscription(String, f"{name}/info", self.infos.append, LATCHED)
        self.image_subscription = self.node.create_subscription(Image, "/fused/image", self.fused.append, RELIABLE)
        self.stamp_ns = time.time_ns()
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(rclpy.executors.ExternalShutdownException):
            self.executor.spin()

    def start_node(self) -> None:
        """Start the node's process."""
        with self.log_path.open("ab") as log:
            command = [*self.command, "--ros-args", *self.arguments]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=subprocess.STDOUT)

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
        """Wait until ``condition()`` is true; fails the test with ``what`` and the node's log."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            result = condition()
            if result:
                return result
            time.sleep(0.02)
        pytest.fail(f"waited {timeout_s} s for: {what}\n--- diagnostics\n{self.last_words()}\n--- node's log\n{self.log()}")

    def log(self) -> str:
        """What the node printed."""
        return self.log_path.read_text(errors="replace")[-4000:] if self.log_path.exists() else ""

    def last_words(self) -> str:
        """The newest diagnostics, a line a status."""
        statuses = self.diagnostics[-1].status if self.diagnostics else []
        return "\n".join(f"{int.from_bytes(status.level, 'little')} {status.name}: {status.message}" for status in statuses)

    def status(self, name: str) -> DiagnosticStatus | None:
        """The newest status of that name."""
        statuses = self.diagnostics[-1].status if self.diagnostics else []
        return next((status for status in statuses if status.name == f"{self.name}: {name}"), None)

    def wait_status(self, name: str, level: bytes, words: str, timeout_s: float = 20.0) -> DiagnosticStatus:
        """Wait for a status of that level whose message contains ``words``."""

        def matches() -> DiagnosticStatus | None:
            status = self.status(name)
            return status if status and status.level == level and words in status.message else None

        found: DiagnosticStatus = self.wait(matches, f"status '{name}' at level {level!r} with '{words}'", timeout_s)
        return found

    def value(self, name: str, key: str) -> str:
        """A value of the newest status."""
        status = self.status(name)
        return next((item.value for item in status.values if item.key == key), "") if status else ""

    def publish(self, thermal: Image | None = None, rgb: Image | None = None, step_ns: int = 33_333_333) -> int:
        """Publish one pair (made here where not given) with the same, next stamp; returns the stamp."""
        self.stamp_ns = max(self.stamp_ns + step_ns, time.time_ns())
        thermal = thermal or make_image(warm_square(), "mono16", self.stamp_ns, "thermal_optical")
        rgb = rgb or make_image(dim_street(), "rgb8", self.stamp_ns, "rgb_optical")
        for message, publisher in ((thermal, self.thermal_publisher), (rgb, self.rgb_publisher)):
            stamp(message, self.stamp_ns)
            publisher.publish(message)
        return self.stamp_ns

    def publish_thermal(self, thermal: Image) -> int:
        """Publish a thermal frame alone, with the next stamp, which is returned."""
        self.stamp_ns = max(self.stamp_ns + 33_333_333, time.time_ns())
        stamp(thermal, self.stamp_ns)
        self.thermal_publisher.publish(thermal)
        return self.stamp_ns

    def publish_until_fused(self, timeout_s: float = 60.0, **frames: Image) -> Image:
        """Publish pairs at 20 Hz until one of these comes back fused; returns the fused message."""
        sent: set[int] = set()
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            sent.add(self.publish(**frames))
            time.sleep(0.05)
            for message in reversed(self.fused):
                if stamp_of(message) in sent:
                    return message
        pytest.fail(f"nothing fused in {timeout_s} s\n--- diagnostics\n{self.last_words()}\n--- node's log\n{self.log()}")

    def call(self, service_type: Any, service: str, request: Any, timeout_s: float = 60.0) -> Any:
        """Call one of the node's services and wait for the answer."""
        client = self.node.create_client(service_type, f"{self.name}/{service}")
        assert client.wait_for_service(timeout_s), f"no service {service}\n{self.log()}"
        future = client.call_async(request)
        answer = self.wait(lambda: future.result() if future.done() else None, f"an answer of {service}", timeout_s)
        self.node.destroy_client(client)
        return answer

    def transition(self, name: str) -> bool:
        """Ask for ``configure``, ``activate``, ``deactivate`` or ``cleanup``."""
        request = ChangeState.Request(transition=Transition(id=getattr(Transition, f"TRANSITION_{name.upper()}")))
        return bool(self.call(ChangeState, "change_state", request).success)

    def state(self) -> str:
        """The lifecycle state's label."""
        client = self.node.create_client(GetState, f"{self.name}/get_state")
        futures: list[Any] = []

        def answer() -> Any:
            # Asked again every few seconds: an answer is lost where the node has not matched this client yet.
            if not futures or time.monotonic() - asked[-1] > 5.0:
                asked.append(time.monotonic())
                futures.append(client.call_async(GetState.Request()))
            return next((future.result() for future in futures if future.done()), None)

        asked: list[float] = []
        assert client.wait_for_service(60.0), f"no service get_state\n{self.log()}"
        found = self.wait(answer, "an answer of get_state", 60.0)
        self.node.destroy_client(client)
        return str(found.current_state.label)

    def wait_state(self, label: str, timeout_s: float = 60.0) -> None:
        """Wait for a lifecycle state."""
        self.wait(lambda: self.state() == label, f"state {label}", timeout_s)

    def set_parameters(self, atomically: bool = False, **values: Any) -> list[Any]:
        """Set parameters (double underscore for the dot); returns the results."""
        messages = [Parameter(name.replace("__", "."), value=value).to_parameter_msg() for name, value in values.items()]
        if atomically:
            request = SetParametersAtomically.Request(parameters=messages)
            return [self.call(SetParametersAtomically, "set_parameters_atomically", request).result]
        return list(self.call(SetParameters, "set_parameters", SetParameters.Request(parameters=messages)).results)

    def set_enabled(self, enabled: bool) -> Any:
        """Call ~/set_enabled."""
        return self.call(SetBool, "set_enabled", SetBool.Request(data=enabled))

    def stop_node(self, with_signal: int = signal.SIGINT, timeout_s: float = 10.0) -> tuple[int, float]:
        """Send a signal; returns exit status and how many seconds it took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(with_signal)
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the node did not end within {timeout_s} s of signal {with_signal}\n{self.log()}")
        return status, time.monotonic() - begun

    def close(self) -> None:
        """End the process and our own context."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # a killed process leaves its segment in /dev/shm
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.executor.shutdown()
        self.thread.join(60)  # a node destroyed under a spinning executor takes the process with it
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


def assert_counts(robot: Robot) -> int:
    """Pairs in = fused + counted drops, exactly, once no count changes any more; returns how many were replaced by newer ones."""
    before: dict[str, str] = {}
    heard = len(robot.diagnostics)

    def is_quiet() -> bool:
        nonlocal before, heard
        if len(robot.diagnostics) < heard + 2:  # a whole period lies between two that are compared
            return False
        last, before, heard = before, {**counts(robot, "fusion"), **counts(robot, "pairing")}, len(robot.diagnostics)
        return bool(last) and last == before

    robot.wait(is_quiet, "counts that stand still", 60)
    fusion, pairing = counts(robot, "fusion"), counts(robot, "pairing")
    replaced = int(fusion["replaced by a newer pair"])
    drops = sum(int(value) for key, value in fusion.items() if key.startswith("not fused"))
    assert int(pairing["pairs"]) == int(fusion["fused"]) + replaced + int(fusion["failed"]) + drops
    unpaired = sum(int(value) for key, value in pairing.items() if key.startswith("unpaired"))
    frames = int(pairing["thermal frames in"]) + int(pairing["rgb frames in"])
    assert 2 * int(pairing["pairs"]) + unpaired + int(pairing["waiting"]) == frames
    return replaced


def counts(robot: Robot, name: str) -> dict[str, str]:
    """The values of a status that are whole numbers."""
    status = robot.status(name)
    return {item.key: item.value for item in status.values if item.value.isdigit()} if status else {}
