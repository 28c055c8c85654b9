"""Publishes statuses as ``diagnostic_msgs/DiagnosticArray`` by diagnostic_updater's conventions, and logs changes of their level."""

import socket
from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from aenet_ros.health.status import ERROR, OK, WARN, Status


def to_message(node: Node, statuses: Sequence[Status], hardware_id: str) -> DiagnosticArray:
    """One array stamped now; each status is named ``<full node name>: <name>``, so that two robots' do not mix."""
    array = DiagnosticArray()
    array.header.stamp = node.get_clock().now().to_msg()
    for status in statuses:
        array.status.append(
            DiagnosticStatus(
                level=bytes([status.level]),
                name=f"{node.get_fully_qualified_name()}: {status.name}",
                message=status.message,
                hardware_id=hardware_id,
                values=[KeyValue(key=key, value=value) for key, value in status.values.items()],
            )
        )
    return array


class DiagnosticsPublisher:
    """Publishes on ``/diagnostics``. A status whose level changes is logged too, for users who only read the terminal."""

    def __init__(self, node: Node) -> None:
        self._node, self._logger = node, node.get_logger()
        self._hostname = socket.gethostname()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._levels: dict[str, int] = {}

    def publish(self, statuses: Sequence[Status]) -> None:
        """Publish and log."""
        self._log_changes(statuses)
        self._publisher.publish(to_message(self._node, statuses, self._hostname))

    def _log_changes(self, statuses: Sequence[Status]) -> None:
        for status in statuses:
            before = self._levels.get(status.name, OK)
            self._levels[status.name] = status.level
            if status.level == before:
                continue
            # Separate call sites: rclpy remembers the severity of each call site and refuses a change.
            if status.level == ERROR:
                self._logger.error(f"{status.name}: {status.message}")
            elif status.level == WARN:
                self._logger.warning(f"{status.name}: {status.message}")
            else:
                self._logger.info(f"{status.name} is OK again: {status.message}")
