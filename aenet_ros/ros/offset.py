"""The service ``~/estimate_clock_offset``: applies the estimated clock offset, and sets it back where later frames contradict it."""

from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from aenet_ros.config import Config
from aenet_ros.core.frames import Frame
from aenet_ros.health.offset_monitor import OffsetMonitor, offset_refusal, offset_status, offset_text, rollback_text
from aenet_ros.health.status import Status


class OffsetService:
    """An ``OffsetMonitor`` while the node is active, and the service."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._monitor: OffsetMonitor | None = None
        self._service = node.create_service(Trigger, "~/estimate_clock_offset", self._on_call)

    def start(self) -> None:
        """Start at activation, without memory."""
        self._monitor = OffsetMonitor()

    def stop(self) -> None:
        """Stop at deactivation."""
        if self._monitor is not None:
            self._monitor.stop()
            self._monitor = None

    def put(self, role: str, frame: Frame, config: Config) -> None:
        """Take a received frame."""
        monitor = self._monitor  # once, for the executor's thread may stop it
        if monitor is not None and config.sync.watch_offset:
            monitor.put(role, frame)

    def status(self, config: Config) -> Status:
        """The estimate for diagnostics. Sets an offset back that was applied and that later frames contradict."""
        monitor = self._monitor
        applied = monitor.applied if monitor is not None else None
        if applied is not None and applied.verified is False and config.sync.clock_offset_ms == applied.offset_ns / 1e6:
            self._node.set_parameters([Parameter("sync.clock_offset_ms", value=applied.previous_ms)])
            self._node.get_logger().warning(rollback_text(applied))
        return offset_status(monitor, config)

    def _on_call(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._answer()
        return response

    def _answer(self) -> tuple[bool, str]:
        monitor = self._monitor
        if monitor is None:
            return False, "the node is not active: activate it, and call again after 10 s of both cameras"
        if not self._node.get_parameter("sync.watch_offset").value:
            self._node.set_parameters([Parameter("sync.watch_offset", value=True)])
            return False, "sync.watch_offset was off and is on now: call again after 10 s of both cameras in motion"
        refusal = offset_refusal(monitor)
        found = monitor.found
        if refusal or found is None:
            return False, refusal
        previous_ms = float(self._node.get_parameter("sync.clock_offset_ms").value)
        result = self._node.set_parameters([Parameter("sync.clock_offset_ms", value=found.offset_ns / 1e6)])[0]
        if not result.successful:
            return False, f"{offset_text(found)}, but it cannot be set: {result.reason}"
        monitor.verify(found.offset_ns, previous_ms)
        return True, f"{offset_text(found)}; sync.clock_offset_ms is set to it, and set back if later frames contradict it"
