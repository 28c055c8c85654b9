"""Publishes statuses as ``diagnostic_msgs/DiagnosticArray`` by diagnostic_updater's conventions, and ``~/info``."""

import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

import aenet_ros
from aenet_ros.config import Config, flatten
from aenet_ros.fusion.fuser import Fuser
from aenet_ros.health.status import ERROR, OK, WARN, Status


class DiagnosticsPublisher:
    """Publishes on ``/diagnostics`` and ``~/info``. The first value of each status is its ``code``.

    A status whose level changes is logged too, for users who only read the terminal.
    """

    def __init__(self, node: Node) -> None:
        self._node, self._logger = node, node.get_logger()
        self._hostname = socket.gethostname()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._info = node.create_publisher(String, "~/info", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self._levels: dict[str, int] = {}

    def publish(self, statuses: Sequence[Status]) -> DiagnosticArray:
        """Publish one array stamped now, return it, and log. Each status has the node's full name, so that two robots' do not mix."""
        array = DiagnosticArray()
        array.header.stamp = self._node.get_clock().now().to_msg()
        for status in statuses:
            self._log_change(status)
            array.status.append(
                DiagnosticStatus(
                    level=bytes([status.level]),
                    name=f"{self._node.get_fully_qualified_name()}: {status.name}",
                    message=status.message,
                    hardware_id=self._hostname,
                    values=[KeyValue(key=key, value=value) for key, value in {"code": status.code.name, **status.values}.items()],
                )
            )
        self._publisher.publish(array)
        return array

    def publish_info(self, config: Config, fuser: Fuser, cameras: Mapping[str, str]) -> None:
        """Publish ``node_info`` and the cameras that were found."""
        self._info.publish(String(data=json.dumps({**node_info(config, fuser), "cameras": dict(cameras)})))

    def _log_change(self, status: Status) -> None:
        before = self._levels.get(status.name, OK)
        self._levels[status.name] = status.level
        if status.level == before:
            return
        # Separate call sites: rclpy remembers the severity of each call site and refuses a change.
        if status.level == ERROR:
            self._logger.error(f"{status.name}: {status.message}")
        elif status.level == WARN:
            self._logger.warning(f"{status.name}: {status.message}")
        else:
            self._logger.info(f"{status.name} is OK again: {status.message}")


def node_info(config: Config, fuser: Fuser) -> dict[str, Any]:
    """The version, the model and the configuration, ready for JSON."""
    return {
        "version": aenet_ros.__version__,
        "device": str(fuser.device),
        "precision": fuser.precision,
        "backend": fuser.backend,
        "model": fuser.card,
        "configuration": flatten(config),
    }
