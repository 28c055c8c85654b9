"""A line of diagnostics, and the state of the pipeline that diagnostics are made of."""

from dataclasses import dataclass, field
from typing import NamedTuple

from aenet_ros.thermal.ffc import FfcCounts
from aenet_ros.thermal.sensor_correction import SensorMarks

OK, WARN, ERROR = 0, 1, 2


class Status(NamedTuple):
    """One line of diagnostics: ``level`` is OK, WARN or ERROR; ``values`` are keys and values as shown."""

    name: str
    level: int
    message: str
    values: dict[str, str]


@dataclass(frozen=True)
class ResolutionStatus:
    """Size of the network's picture. ``pair_ms``: median time of a pair; ``exceeded``: the smallest size is too slow as well."""

    scale: float = 1.0
    pair_ms: float = 0.0
    exceeded: bool = False
    steps_down: int = 0
    steps_up: int = 0


@dataclass(frozen=True)
class PipelineStatus:
    """A snapshot of the pipeline's state. ``fallback``: why the device or precision is not the one asked for, or ""."""

    device: str
    precision: str
    fallback: str
    weights_sha256: str
    agc_range: tuple[float, float]
    agc_resets: int
    shutter_closed: bool
    ffc: FfcCounts = field(default_factory=FfcCounts)
    sensor: SensorMarks = field(default_factory=lambda: SensorMarks(0, 0.0))
    registration_fallback: str = ""
    resolution: ResolutionStatus = ResolutionStatus()
