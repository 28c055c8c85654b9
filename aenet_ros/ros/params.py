"""ROS parameters made from the configuration dataclasses: declared with description and range, checked before they are taken."""

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from aenet_ros.config import Config, build, flatten, specs
from aenet_ros.config.options import OptionSpec, Value, check
from aenet_ros.core.errors import ConfigError

# Parameters that rclpy itself declares or reads.
FOREIGN_PREFIXES = ("qos_overrides.", "use_sim_time", "start_type_description_service", "diagnostic_updater.")


class NodeParameters:
    """Keeps the node's ``Config`` in step with its ROS parameters.

    A value given at start that is out of bounds does not kill the node: the default is declared in its place and the
    problem is kept in ``problems`` until the parameter is set to something valid; a node with problems refuses to configure.
    ``is_configured`` tells whether options that are not dynamic are in use, so that a change to them must be refused.
    """

    def __init__(self, node: Node, is_configured: Callable[[], bool], on_change: Callable[[Config], None]) -> None:
        self.config = Config()
        self.problems: dict[str, str] = {}
        self._values: dict[str, Value] = {}
        self._is_configured = is_configured
        self._on_change = on_change
        for spec in specs().values():
            self._declare(node, spec)
        try:
            self.config = build(self._values)
        except ConfigError as error:
            self.problems["together"] = str(error)
        # Most likely misspelt, in params files or after ``-p``; rclpy ignores them silently.
        names = (name for name in getattr(node, "_parameter_overrides", {}) if not node.has_parameter(name))
        self.unknown = sorted(name for name in names if not name.startswith(FOREIGN_PREFIXES))
        if self.unknown:
            node.get_logger().warning(f"these parameters do not exist and have no effect: {', '.join(self.unknown)}")
        node.add_on_set_parameters_callback(self._on_set)

    def _declare(self, node: Node, spec: OptionSpec) -> None:
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        try:
            self._values[spec.name] = check(spec, node.declare_parameter(spec.name, default, _descriptor(spec)).value)
        except (InvalidParameterValueException, InvalidParameterTypeException, ConfigError) as error:
            self.problems[spec.name] = str(error)
            if not node.has_parameter(spec.name):
                node.declare_parameter(spec.name, default, _descriptor(spec), ignore_override=True)

    def _on_set(self, parameters: "list[Parameter[Any]]") -> SetParametersResult:
        known = specs()
        changes = {parameter.name: parameter.value for parameter in parameters if parameter.name in known}
        frozen = [name for name in changes if not known[name].dynamic]
        if frozen and self._is_configured():
            return SetParametersResult(
                successful=False,
                reason=f"{', '.join(frozen)} cannot change while the node is configured: "
                "deactivate and clean up first, then set, configure and activate",
            )
        try:
            changed = build({**self._values, **changes})
            self._on_change(changed)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.config, self._values = changed, flatten(changed)
        for name in (*changes, "together"):
            self.problems.pop(name, None)
        return SetParametersResult(successful=True)


def _descriptor(spec: OptionSpec) -> ParameterDescriptor:
    """Ranges and choices for ``ros2 param describe`` and rqt; a float may be given as an integer (5 for 5.0)."""
    described = ParameterDescriptor(name=spec.name, description=f"{spec.doc}{f' [{spec.unit}]' if spec.unit else ''}")
    constraints = ["one of: " + ", ".join(spec.choices)] if spec.choices else []
    constraints += [f"{len(spec.default)} finite numbers"] if isinstance(spec.default, tuple) else []  # ROS has no ranges for arrays
    constraints += [] if spec.dynamic else ["only while the node is unconfigured"]
    described.additional_constraints = "; ".join(constraints)
    if spec.low is not None and spec.high is not None:
        if isinstance(spec.default, float):
            described.floating_point_range = [FloatingPointRange(from_value=spec.low, to_value=spec.high, step=0.0)]
        else:
            described.integer_range = [IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=1)]
    described.dynamic_typing = isinstance(spec.default, (float, tuple))
    return described
