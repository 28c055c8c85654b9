"""The configuration: dataclasses with all defaults and bounds (``schema``), made from values by name (``building``)."""

from aenet_ros.config.building import build, flatten, specs
from aenet_ros.config.schema import (
    PALETTES,
    STYLES,
    AgcConfig,
    AlarmConfig,
    BlackBoxConfig,
    Config,
    DegradedConfig,
    DiagnosticsConfig,
    HotSpotConfig,
    InputConfig,
    LatencyConfig,
    ModelConfig,
    OutputConfig,
    RegistrationConfig,
    SensorConfig,
    ShutterConfig,
    StreamConfig,
    SyncConfig,
)

__all__ = [
    "PALETTES", "STYLES",
    "AgcConfig", "AlarmConfig", "BlackBoxConfig", "Config", "DegradedConfig", "DiagnosticsConfig", "HotSpotConfig", "InputConfig",
    "LatencyConfig", "ModelConfig", "OutputConfig",
    "RegistrationConfig", "SensorConfig", "ShutterConfig", "StreamConfig", "SyncConfig", "build", "flatten", "specs",
]  # fmt: skip
