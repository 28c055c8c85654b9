"""Configurations from values by dotted name, and the checks of values and of their combinations."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from aenet_ros.config.options import OptionSpec, Value, check, group_specs, replace_values
from aenet_ros.config.regions import parse_regions
from aenet_ros.config.schema import Config
from aenet_ros.core.errors import ConfigError, similar

MIN_SPAN = 0.001
"""Smallest difference of agc.fixed_low and agc.fixed_high: closer values may become the same count."""


def specs() -> dict[str, OptionSpec]:
    """All options by dotted name, in the order of declaration."""
    return group_specs(Config())


def flatten(config: Config) -> dict[str, Value]:
    """The configuration's values by dotted name."""
    return {name: spec.default for name, spec in group_specs(config).items()}


def build(values: Mapping[str, Any], base: Config | None = None) -> Config:
    """A copy of ``base`` (default: all defaults) with ``values``, by dotted name, set and validated.

    Raises ConfigError, which names the option, the value and what is allowed.
    """
    known = specs()
    checked: dict[str, Value] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"unknown option '{name}'{similar(name, known) or _members(name, known)}; docs/parameters.md lists all")
        checked[name] = check(known[name], value)
    config = cast(Config, replace_values(base or Config(), checked))
    _check_together(config)
    return config


def _members(name: str, known: Iterable[str]) -> str:
    """For messages on an unknown option: those of its group, or the groups."""
    group = name.rpartition(".")[0] + "."
    own = [each for each in known if each.startswith(group)]
    groups = dict.fromkeys(f"{each.partition('.')[0]}.*" for each in known if "." in each)
    return f"; {group}* has {', '.join(each[len(group) :] for each in own)}" if own else f"; options are {', '.join(groups)}"


def _check_together(config: Config) -> None:
    """Check bounds between options."""
    for role, stream in (("thermal", config.input.thermal), ("rgb", config.input.rgb)):
        if any(value < 0 or value != int(value) for value in stream.crop):
            raise ConfigError(f"input.{role}.crop: {list(stream.crop)}; give x, y, width and height as whole numbers of pixels, 0 or more")
    agc = config.agc
    if agc.low_percentile >= agc.high_percentile:
        raise ConfigError(f"agc.low_percentile ({agc.low_percentile:g}) must be less than agc.high_percentile ({agc.high_percentile:g})")
    if agc.fixed_high - agc.fixed_low < MIN_SPAN:
        raise ConfigError(
            f"agc.fixed_low ({agc.fixed_low:g}) must be less than agc.fixed_high ({agc.fixed_high:g}), by {MIN_SPAN:g} at least; "
            "for a black-hot camera set agc.invert"
        )
    try:
        parse_regions(config.alarms.regions)
    except ConfigError as error:
        raise ConfigError(f"alarms.regions: {error}") from error
    output = config.output
    if output.grid == "size" and not (output.width or output.height):
        raise ConfigError("output.grid is size, and neither output.width nor output.height is given; set one of them, or both")
    if output.banded and output.isotherm_low >= output.isotherm_high:
        raise ConfigError(
            f"output.isotherm_low ({output.isotherm_low:g}) must be less than output.isotherm_high ({output.isotherm_high:g})"
        )
    if (agc.unit == "celsius" or output.banded) and agc.celsius_per_count == 0.0:
        raise ConfigError(
            "agc.celsius_per_count is 0, so no temperature maps to a count; give the camera's scale (0.01 for Lepton TLinear)"
        )
