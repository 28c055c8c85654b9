"""The configuration: dataclasses that are the one home of each default and bound. See ``schema``."""

from aenet_ros.config.schema import (
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
    "AgcConfig",
    "Config",
    "DegradedConfig",
    "DiagnosticsConfig",
    "InputConfig",
    "LatencyConfig",
    "ModelConfig",
    "OutputConfig",
    "RegistrationConfig",
    "SensorConfig",
    "ShutterConfig",
    "StreamConfig",
    "SyncConfig",
    "build",
    "flatten",
    "specs",
]
