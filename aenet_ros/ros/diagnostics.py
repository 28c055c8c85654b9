"""Statuses to ``diagnostic_msgs/DiagnosticArray``, by diagnostic_updater's conventions, and to the log when they change."""

from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from aenet_ros.health.judge import ERROR, OK, WARN, Status


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


class ChangeLog:
    """Logs a status when its level changes, so that a person who only reads the terminal is told too."""

    def __init__(self, node: Node) -> None:
        self._logger = node.get_logger()
        self._levels: dict[str, int] = {}

    def report(self, statuses: Sequence[Status]) -> None:
        """Log what changed since the last call."""
        for status in statuses:
            before = self._levels.get(status.name, OK)
            self._levels[status.name] = status.level
            if status.level == before:
                continue
            # Separate call sites: rclpy remembers the severity of each and refuses a change.
            if status.level == ERROR:
                self._logger.error(f"{status.name}: {status.message}")
            elif status.level == WARN:
                self._logger.warning(f"{status.name}: {status.message}")
            else:
                self._logger.info(f"{status.name} is well again: {status.message}")
