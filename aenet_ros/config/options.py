"""Options: dataclass fields with documentation and bounds, and the check of values against them.

A nested dataclass is a group: the dotted names of its fields begin with the name of the group.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import field, fields, is_dataclass, replace
from functools import partial
from typing import Any, NamedTuple, cast

from aenet_ros.core.errors import ConfigError

Value = bool | int | float | str | tuple[float, ...]


class OptionSpec(NamedTuple):
    """One configurable value: its dotted name, its default, and the arguments of its ``option``."""

    name: str
    default: Value
    doc: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    dynamic: bool
    unit: str
    advanced: bool


def option(
    default: Value,
    doc: str,
    bounds: tuple[float | None, float | None] = (None, None),
    unit: str = "",
    *,
    choices: tuple[str, ...] = (),
    dynamic: bool = False,
    advanced: bool = False,
) -> Any:
    """A dataclass field with its documentation and bounds (lowest and highest value, inclusive).

    ``dynamic``: a running node accepts a new value; other options take effect at the next configure.
    ``advanced``: few users need it, so that it is not in the README's table.
    """
    low, high = bounds
    metadata = {"doc": doc, "low": low, "high": high, "choices": choices, "dynamic": dynamic, "unit": unit, "advanced": advanced}
    return field(default=default, metadata=metadata)


dynamic = partial(option, dynamic=True)


def group_specs(group: Any, prefix: str = "") -> dict[str, OptionSpec]:
    """The options of a dataclass by ``prefix`` and dotted name; their defaults are the values of ``group``."""
    found: dict[str, OptionSpec] = {}
    for item in fields(group):
        name, value = prefix + item.name, getattr(group, item.name)
        if is_dataclass(value):
            found |= group_specs(value, name + ".")
        else:
            found[name] = OptionSpec(name, value, **item.metadata)
    return found


def check_group(group: Any) -> None:
    """Raise ConfigError unless each value of a dataclass without groups has the type of its default and is within its bounds."""
    for item in fields(group):
        check(OptionSpec(item.name, cast(Value, item.default), **item.metadata), getattr(group, item.name))


def replace_values(group: Any, values: Mapping[str, Value], prefix: str = "") -> Any:
    """A copy of the group with ``values`` set; their names are ``prefix`` and the dotted name in the group."""
    changes: dict[str, Any] = {}
    for item in fields(group):
        current, name = getattr(group, item.name), prefix + item.name
        if is_dataclass(current):
            changes[item.name] = replace_values(current, values, name + ".")
        elif name in values:
            changes[item.name] = values[name]
    return replace(group, **changes)


def check(spec: OptionSpec, value: Any) -> Value:
    """The value, converted to the type of the default. Raises ConfigError for a wrong type or a value out of bounds."""
    if isinstance(spec.default, tuple):
        numbers = list(value) if isinstance(value, Iterable) else []
        if not numbers and isinstance(value, Iterable) and not any(spec.default):
            return spec.default  # zeros that mean none may be given as an empty list
        if len(numbers) != len(spec.default) or not all(_is_number(item) and abs(item) <= sys.float_info.max for item in numbers):
            raise ConfigError(f"{spec.name}: give {len(spec.default)} finite numbers, not {value!r}")
        return tuple(float(item) for item in numbers)
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
    """True for a float or an integer, which is accepted as a float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
