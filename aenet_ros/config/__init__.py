"""The configuration: dataclasses with all defaults and bounds. See ``schema``."""

from aenet_ros.config.schema import (
    PALETTES,
    STYLES,
    AgcConfig,
    Config,
    DegradedConfig,
    DiagnosticsConfig,
    InputConfig,
    LatencyConfig,
    ModelConfig,
    OutputConfig,
    RegistrationConfig,
    SensorConfig,
    ShutterConfig,
    StreamConfig,
    SyncConfig,
    build,
    flatten,
    specs,
)

__all__ = [
    "PALETTES", "STYLES",
    "AgcConfig", "Config", "DegradedConfig", "DiagnosticsConfig", "InputConfig", "LatencyConfig", "ModelConfig", "OutputConfig",
    "RegistrationConfig", "SensorConfig", "ShutterConfig", "StreamConfig", "SyncConfig", "build", "flatten", "specs",
]  # fmt: skip
