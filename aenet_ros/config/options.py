"""Options: dataclass fields with a documentation and bounds, by which given values are checked.

A nested dataclass is a group: its fields' dotted names begin with the group's name.
"""

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, fields, is_dataclass, replace
from typing import Any, NamedTuple, cast

from aenet_ros.core.errors import ConfigError

Scalar = bool | int | float | str
Value = Scalar | tuple[float, ...]


def option(
    default: Value,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    dynamic: bool = False,
    unit: str = "",
) -> Any:
    """A dataclass field with its documentation and bounds (inclusive).

    ``dynamic`` says that a running node takes a new value; the others need deactivate, cleanup, configure.
    """
    metadata = {"doc": doc, "low": low, "high": high, "choices": choices, "dynamic": dynamic, "unit": unit}
    return field(default=default, metadata=metadata)


class OptionSpec(NamedTuple):
    """One configurable value: its dotted name, default, and what its ``option`` said."""

    name: str
    default: Value
    doc: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    dynamic: bool
    unit: str


def group_specs(group: Any) -> dict[str, OptionSpec]:
    """The options of any dataclass made with ``option``, by dotted name; the group's values stand as defaults."""
    return {spec.name: spec for spec in _walk(group, "")}


def check_group(group: Any) -> None:
    """Raise ConfigError unless every value of such a dataclass (without groups in it) is of its default's type and within its bounds."""
    for item in fields(group):
        check(OptionSpec(name=item.name, default=cast(Value, item.default), **item.metadata), getattr(group, item.name))


def _walk(group: Any, prefix: str) -> Iterator[OptionSpec]:
    for item in fields(group):
        value = getattr(group, item.name)
        if is_dataclass(value):
            yield from _walk(value, f"{prefix}{item.name}.")
        else:
            yield OptionSpec(name=prefix + item.name, default=value, **item.metadata)


def replace_values(group: Any, values: Mapping[str, Value], prefix: str = "") -> Any:
    """The group with the values whose dotted names, after ``prefix``, are given."""
    changes: dict[str, Any] = {}
    for item in fields(group):
        current, name = getattr(group, item.name), prefix + item.name
        if is_dataclass(current):
            changes[item.name] = replace_values(current, values, name + ".")
        elif name in values:
            changes[item.name] = values[name]
    return replace(group, **changes)


def check(spec: OptionSpec, value: Any) -> Value:
    """The value in the type of the option's default; raises ConfigError for a wrong type or one that is out of bounds."""
    if isinstance(spec.default, tuple):
        return _check_list(spec, value)
    kind = type(spec.default)
    if not _is_number(value) if kind is float else type(value) is not kind:
        raise ConfigError(f"{spec.name}: {value!r} is a {type(value).__name__}; give a {kind.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{spec.name}: {value} is not a finite number")
    if spec.low is not None and spec.high is not None and not spec.low <= value <= spec.high:
        raise ConfigError(f"{spec.name}: {value} is out of range; give {spec.low:g} to {spec.high:g} {spec.unit}".rstrip())
    if spec.choices and value not in spec.choices:
        raise ConfigError(f"{spec.name}: '{value}' is not known; give one of {', '.join(spec.choices)}")
    return cast(Value, kind(value))


def _is_number(value: Any) -> bool:
    """A float, or an integer that will do for one."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_list(spec: OptionSpec, value: Any) -> tuple[float, ...]:
    default = cast(tuple[float, ...], spec.default)
    numbers = list(value) if isinstance(value, Iterable) else []
    if len(numbers) != len(default) or not all(_is_number(item) and abs(item) <= sys.float_info.max for item in numbers):
        raise ConfigError(f"{spec.name}: give {len(default)} finite numbers, not {value!r}")
    return tuple(float(item) for item in numbers)
