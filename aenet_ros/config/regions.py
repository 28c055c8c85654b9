"""The text of ``alarms.regions``: named regions of the picture with their alarm levels."""

import math
import re
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import NamedTuple

from aenet_ros.core.errors import ConfigError, similar

FARTHEST = 100_000  # pixels of a corner from the picture's origin


@dataclass(frozen=True)
class Levels:
    """When a region is in alarm. A level of NaN is not checked. Temperatures in degrees Celsius, rate in degrees Celsius a minute."""

    high: float = math.nan
    pre: float = math.nan
    low: float = math.nan
    rise: float = math.nan


class Region(NamedTuple):
    """A named polygon; ``points``: x and y in whole pixels; none: the whole picture."""

    name: str
    points: tuple[tuple[int, int], ...]
    levels: Levels = Levels()


def parse_regions(text: str) -> list[Region]:
    """The regions of ``alarms.regions``. Raises ConfigError, which says what is wrong."""
    regions = [parse_region(part) for part in re.split(r"[;\n]", text) if part.strip()]
    names = [region.name for region in regions]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"there are two regions '{name}'; give each a name of its own")
    return regions


def parse_region(text: str) -> Region:
    """The region written as ``name x,y x,y`` (two opposite corners), ``name x,y x,y x,y ...`` (a polygon) or ``name all``, with levels.

    Raises ConfigError, which says what is wrong.
    """
    name, *words = text.split()
    levels = _parse_levels(name, [word for word in words if "=" in word])
    corners = [word for word in words if "=" not in word]
    if corners == ["all"]:
        return Region(name, (), levels)
    found = [re.fullmatch(r"(-?\d{1,6}),(-?\d{1,6})", corner) for corner in corners]
    points = tuple((int(match[1]), int(match[2])) for match in found if match)
    if len(points) < max(2, len(corners)) or max(abs(value) for point in points for value in point) > FARTHEST:
        raise ConfigError(f"region '{text.strip()}' cannot be read; give a name and corners, such as 'boiler 100,80 220,160 high=80'")
    if len(points) == 2:
        (left, top), (right, bottom) = points
        points = ((left, top), (right, top), (right, bottom), (left, bottom))
    if not sum(x * y_next - x_next * y for (x, y), (x_next, y_next) in pairwise((*points, points[0]))):
        raise ConfigError(f"region '{name}' has no area; give at least three corners that are not on one line")
    return Region(name, points, levels)


def _parse_levels(name: str, words: list[str]) -> Levels:
    known = [field.name for field in fields(Levels)]
    given: dict[str, float] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            raise ConfigError(f"region '{name}': '{key}' is no level{similar(key, known)}; give {', '.join(known)}")
        try:
            given[key] = float(value)
        except ValueError:
            given[key] = math.nan
        if not math.isfinite(given[key]):
            raise ConfigError(f"region '{name}': {key}={value} is no number")
    ordered = [(key, given[key]) for key in ("low", "pre", "high") if key in given]
    for (below, lower), (above, upper) in pairwise(ordered):
        if lower >= upper:
            raise ConfigError(f"region '{name}': {below}={lower:g} must be less than {above}={upper:g}")
    if given.get("rise", 1.0) <= 0.0:
        raise ConfigError(f"region '{name}': rise={given['rise']:g}; give more than 0 degrees a minute")
    return Levels(**given)
