"""Every default and its bounds: the one home of each number that a user may change.

ROS parameters, the command line and ``config/fusion.yaml`` are generated from these dataclasses or checked
against them by a test. A nested dataclass is a group: ``Config().sync.slop_ms`` is the ROS parameter ``sync.slop_ms``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from aenet_ros.config.options import OptionSpec, Value, check, group_specs, option, replace_values
from aenet_ros.core.errors import ConfigError

IDENTITY_3X3 = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class StreamConfig:
    """How one camera stream is subscribed to."""

    transport: str = option("raw", "raw: sensor_msgs/Image; compressed: CompressedImage (png or jpeg).", choices=("raw", "compressed"))
    qos: str = option(
        "best_effort",
        "Reliability asked for: best_effort matches every publisher; reliable has lost frames sent again.",
        choices=("best_effort", "reliable"),
    )
    depth: int = option(5, "Frames that the middleware keeps for us (keep-last).", low=1, high=100)


@dataclass(frozen=True)
class InputConfig:
    """The two camera streams."""

    thermal: StreamConfig = StreamConfig()
    rgb: StreamConfig = StreamConfig()


@dataclass(frozen=True)
class SyncConfig:
    """How frames are paired in time."""

    policy: str = option(
        "nearest",
        "nearest: our matcher; exact: equal stamps only; approximate: message_filters' ApproximateTimeSynchronizer, where installed.",
        choices=("nearest", "exact", "approximate"),
    )
    slop_ms: float = option(
        25.0,
        "Largest difference of two stamps that still makes a pair, after the clock offset.",
        low=0.0,
        high=10_000.0,
        dynamic=True,
        unit="ms",
    )
    queue_size: int = option(
        10, "Frames of each stream that wait for a partner at most; older ones are dropped and counted.", low=1, high=1000
    )
    clock_offset_ms: float = option(
        0.0,
        "Thermal stamp minus rgb stamp of the same instant; taken off the thermal stamp before matching.",
        low=-3_600_000.0,
        high=3_600_000.0,
        dynamic=True,
        unit="ms",
    )
    watch_offset: bool = option(
        True,
        "Estimate the clocks' disagreement from how both pictures move, for diagnostics and ~/estimate_clock_offset.",
        dynamic=True,
    )
    max_latency_ms: float = option(
        0.0,
        "Age (now less rgb stamp) over which a pair is dropped unfused and counted, and a camera is called late; 0 drops none.",
        low=0.0,
        high=1e6,
        dynamic=True,
        unit="ms",
    )


@dataclass(frozen=True)
class DegradedConfig:
    """What happens while one camera is silent, late, frozen, black or saturated."""

    policy: str = option(
        "passthrough",
        "passthrough: the other camera's picture; hold: the last fused frame again, with its own stamp; silence: nothing.",
        choices=("passthrough", "hold", "silence"),
        dynamic=True,
    )
    after_s: float = option(
        0.5, "Time that a fault lasts (or three periods of the camera) before the policy acts.", low=0.05, high=60.0, dynamic=True, unit="s"
    )
    recover_s: float = option(
        0.3, "Time of good frames without a gap before a camera is trusted again.", low=0.0, high=60.0, dynamic=True, unit="s"
    )
    frozen_s: float = option(
        1.5,
        "Time without any change, in a picture whose noise was seen before, that makes it frozen; 0: never. More than a shutter event.",
        low=0.0,
        high=60.0,
        dynamic=True,
        unit="s",
    )
    black_level: float = option(
        4.0, "Grey level, of 255, that the pixels of a black rgb picture do not exceed.", low=0.0, high=255.0, dynamic=True
    )
    share: float = option(
        0.98, "Share of the pixels that must be black, or at full scale, in a black or saturated picture.", low=0.5, high=1.0, dynamic=True
    )


@dataclass(frozen=True)
class ShutterConfig:
    """What is done about the thermal camera's shutter events (FFC, NUC)."""

    bridge_s: float = option(
        1.0,
        "Time for which the last good thermal frame stands in for pictures of the closed shutter; 0: events are only told.",
        low=0.0,
        high=60.0,
        dynamic=True,
        unit="s",
    )


@dataclass(frozen=True)
class SensorConfig:
    """What is done about the thermal sensor's own marks on the picture; counts in fused/thermal_registered stay as they came."""

    dead_pixels: str = option(
        "auto",
        "auto: pixels that stay unlike their neighbours while the scene changes are found and painted over; off: left as they are.",
        choices=("auto", "off"),
        dynamic=True,
    )
    column_noise: str = option(
        "auto",
        "auto: the pattern of columns that read too high or low is found while the camera turns, and taken off; off: it stays.",
        choices=("auto", "off"),
        dynamic=True,
    )


@dataclass(frozen=True)
class AgcConfig:
    """Thermal counts to 0..1."""

    mode: str = option(
        "auto",
        "auto: 8-bit frames as they are, deeper ones by percentile; percentile: always stretch; fixed: from fixed_low to fixed_high.",
        choices=("auto", "percentile", "fixed"),
        dynamic=True,
    )
    low_percentile: float = option(1.0, "Percentile of the counts that becomes black.", low=0.0, high=50.0, dynamic=True, unit="%")
    high_percentile: float = option(99.5, "Percentile of the counts that becomes white.", low=50.0, high=100.0, dynamic=True, unit="%")
    smoothing_s: float = option(
        1.0, "Time constant of the range's exponential smoothing; 0 follows every frame.", low=0.0, high=60.0, dynamic=True, unit="s"
    )
    scene_cut: float = option(
        0.35,
        "Share of a frame's pixels inside the smoothed range under which the range starts anew; 0 never does.",
        low=0.0,
        high=1.0,
        dynamic=True,
    )
    min_range: float = option(
        32.0,
        "Least width of the range, so that an empty scene's noise is not blown up; 32 counts stand for 1.0 of a float frame (1 degree).",
        low=0.0,
        high=65535.0,
        dynamic=True,
        unit="counts",
    )
    fixed_low: float = option(0.0, "Black point of mode fixed, in agc.unit.", low=-1e6, high=1e6, dynamic=True)
    fixed_high: float = option(255.0, "White point of mode fixed, in agc.unit.", low=-1e6, high=1e6, dynamic=True)
    unit: str = option("counts", "Unit of fixed_low and fixed_high.", choices=("counts", "celsius"), dynamic=True)
    profile: str = option(
        "generic",
        "Camera whose scale turns counts to degrees: generic by the two parameters below; the others as docs/cameras.md lists them.",
        choices=("generic", "boson", "adk", "lepton", "tau2", "seek", "optris", "infiray"),
        dynamic=True,
    )
    celsius_per_count: float = option(
        0.01, "Degrees Celsius that one count is worth (radiometric cameras).", low=-1e3, high=1e3, dynamic=True, unit="degC"
    )
    celsius_at_zero: float = option(-273.15, "Degrees Celsius at zero counts.", low=-1e6, high=1e6, dynamic=True, unit="degC")
    invert: bool = option(False, "True for a black-hot camera: hot becomes bright again.", dynamic=True)


@dataclass(frozen=True)
class RegistrationConfig:
    """How the thermal frame is laid onto the rgb grid."""

    mode: str = option(
        "identity",
        "identity: the thermal frame is scaled to the rgb grid; homography: a 3x3 matrix; plane: both lenses and the cameras' pose, for "
        "what is plane_distance_m away; depth: the same at each pixel's own distance, by depth/image_raw (aligned to the rgb frame).",
        choices=("identity", "homography", "plane", "depth"),
    )
    homography: tuple[float, ...] = option(IDENTITY_3X3, "Row-major 3x3 that maps rgb pixels to thermal pixels, both at full size.")
    file: str = option(
        "",
        "YAML file as `aenet calibrate` writes it: homography (3x3, rgb pixels to thermal pixels), which wins over "
        "registration.homography; or, for modes plane and depth, thermal_from_rgb and the two cameras.",
    )
    extrinsics_source: str = option(
        "config",
        "Modes plane and depth: where the cameras' pose comes from. config: registration.file; tf: /tf_static, between the frame_ids of "
        "the two cameras' images, and registration.file until then.",
        choices=("config", "tf"),
    )
    depth_slop_ms: float = option(
        100.0, "Mode depth: largest difference of a depth image's stamp from the rgb frame's.", low=0.0, high=10_000.0, unit="ms"
    )
    save_to: str = option("", "YAML file that ~/estimate_registration writes; empty: it only answers.", dynamic=True)
    plane_distance_m: float = option(
        10.0,
        "Mode plane (and depth, where it is missing): what lies so far ahead of the rgb camera is laid exactly.",
        low=0.05,
        high=1e6,
        dynamic=True,
        unit="m",
    )


@dataclass(frozen=True)
class ModelConfig:
    """The network and where it runs."""

    backend: str = option(
        "torch", "torch: runs the weights; onnx: ONNX Runtime runs the .onnx file of `aenet export`.", choices=("torch", "onnx")
    )
    weights: str = option(
        "", "Path of a .safetensors file (backend onnx: .onnx) with its .json card beside it; empty: the packaged weights."
    )
    device: str = option("auto", "auto: cuda where there is one, else cpu; or cpu, cuda, cuda:N; backend onnx: tensorrt too.")
    precision: str = option("auto", "auto: fp16 on cuda, fp32 on cpu.", choices=("auto", "fp32", "fp16"))
    allow_cpu: bool = option(True, "False: refuse to run rather than fall back from cuda to cpu.")
    threads: int = option(0, "CPU threads of the network; 0: all cores but one, at most four.", low=0, high=256)


@dataclass(frozen=True)
class LatencyConfig:
    """What is done where the machine is too slow."""

    budget_ms: float = option(
        0.0,
        "Time that a pair may take in the pipeline. While it takes longer, the network works at 3/4 or 1/2 of the size; the rgb frame's "
        "detail stays. 0: always at full size.",
        low=0.0,
        high=10_000.0,
        dynamic=True,
        unit="ms",
    )


@dataclass(frozen=True)
class OutputConfig:
    """What is published."""

    encoding: str = option("rgb8", "Encoding of fused/image.", choices=("rgb8", "bgr8", "mono8"), dynamic=True)
    grid: str = option(
        "rgb",
        "Whose pixels the fused topics have. rgb: the rgb camera's; thermal: the thermal camera's, with its frame_id and camera_info; "
        "size: the rgb camera's, scaled to width and height.",
        choices=("rgb", "thermal", "size"),
    )
    width: int = option(0, "Of grid size; 0: by the height, as the rgb frame is.", low=0, high=16384, unit="px")
    height: int = option(0, "Of grid size; 0: by the width, as the rgb frame is.", low=0, high=16384, unit="px")
    thermal_weight: float = option(
        1.0, "Share of the fusion in the picture: 1 is the network's own, 0 the plain rgb frame.", low=0.0, high=1.0, dynamic=True
    )
    isotherm: bool = option(False, "Tint what is as warm as isotherm_low to isotherm_high (scale: agc.profile).", dynamic=True)
    isotherm_low: float = option(30.0, "Lower end of the isotherm's band.", low=-300.0, high=10_000.0, dynamic=True, unit="degC")
    isotherm_high: float = option(45.0, "Upper end of the isotherm's band.", low=-300.0, high=10_000.0, dynamic=True, unit="degC")
    isotherm_color: str = option(
        "orange", "Colour of the isotherm.", choices=("red", "orange", "yellow", "green", "cyan", "magenta"), dynamic=True
    )
    jpeg_quality: int = option(90, "Quality of fused/image/compressed.", low=1, high=100, dynamic=True)
    reliability: str = option(
        "reliable", "Reliability of the image publishers; reliable matches every subscriber.", choices=("reliable", "best_effort")
    )


@dataclass(frozen=True)
class DiagnosticsConfig:
    """When diagnostics are sent and when they complain."""

    period_s: float = option(1.0, "Time between two messages on /diagnostics.", low=0.1, high=60.0, unit="s")
    stale_s: float = option(
        2.0,
        "Time without a frame, or without a pair, after which diagnostics turn to an error.",
        low=0.1,
        high=3600.0,
        dynamic=True,
        unit="s",
    )
    min_rate_hz: float = option(5.0, "Fused rate under which diagnostics warn.", low=0.0, high=1000.0, dynamic=True, unit="Hz")
    max_latency_ms: float = option(
        200.0,
        "Time from the rgb stamp to publishing over which diagnostics warn; 0 never does.",
        low=0.0,
        high=1e6,
        dynamic=True,
        unit="ms",
    )
    max_sync_error_ms: float = option(
        20.0, "p95 of the paired stamps' differences over which diagnostics warn; 0 never does.", low=0.0, high=1e6, dynamic=True, unit="ms"
    )
    min_entropy: float = option(
        2.0, "Entropy of the fused picture under which diagnostics warn; 0 never does.", low=0.0, high=8.0, dynamic=True, unit="bit"
    )
    max_saturated: float = option(
        0.4,
        "Share of the fused pixels at an end of their range over which diagnostics warn; 1 never does.",
        low=0.0,
        high=1.0,
        dynamic=True,
    )
    max_offset_error_ms: float = option(
        15.0,
        "Difference of the estimated and the applied clock offset over which diagnostics warn; 0 never does.",
        low=0.0,
        high=1e6,
        dynamic=True,
        unit="ms",
    )
    max_drift_px: float = option(
        8.0,
        "Distance, in rgb pixels, of thermal edges beside rgb edges over which diagnostics warn; 0 never does.",
        low=0.0,
        high=1e4,
        dynamic=True,
        unit="px",
    )


@dataclass(frozen=True)
class Config:
    """All of a fusing node's or an offline run's configuration; see the groups."""

    autostart: bool = option(True, "Configure and activate by itself; false waits for a lifecycle manager.")
    enabled: bool = option(True, "False: frames are received and counted but not fused (also ~/set_enabled).", dynamic=True)
    input: InputConfig = InputConfig()
    sync: SyncConfig = SyncConfig()
    degraded: DegradedConfig = DegradedConfig()
    shutter: ShutterConfig = ShutterConfig()
    sensor: SensorConfig = SensorConfig()
    agc: AgcConfig = AgcConfig()
    registration: RegistrationConfig = RegistrationConfig()
    model: ModelConfig = ModelConfig()
    latency: LatencyConfig = LatencyConfig()
    output: OutputConfig = OutputConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()


def specs() -> dict[str, OptionSpec]:
    """All options by dotted name, in the order of declaration."""
    return group_specs(Config())


def flatten(config: Config) -> dict[str, Value]:
    """The configuration's values by dotted name."""
    return {name: spec.default for name, spec in group_specs(config).items()}


def build(values: Mapping[str, Any], base: Config | None = None) -> Config:
    """``base`` (default: all defaults) with ``values``, given by dotted name, put in and everything validated.

    Raises ConfigError, which names the option, the value and what is allowed.
    """
    known = specs()
    checked: dict[str, Value] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"unknown option '{name}'; known are: {', '.join(known)}")
        checked[name] = check(known[name], value)
    config = cast(Config, replace_values(base or Config(), checked))
    _check_together(config)
    return config


def _check_together(config: Config) -> None:
    """Bounds that hold between options."""
    agc = config.agc
    if agc.low_percentile >= agc.high_percentile:
        raise ConfigError(f"agc.low_percentile ({agc.low_percentile:g}) must be less than agc.high_percentile ({agc.high_percentile:g})")
    if agc.fixed_low >= agc.fixed_high:
        raise ConfigError(
            f"agc.fixed_low ({agc.fixed_low:g}) must be less than agc.fixed_high ({agc.fixed_high:g}); black-hot is agc.invert"
        )
    output = config.output
    if output.grid == "size" and not (output.width or output.height):
        raise ConfigError("output.grid is size, and neither output.width nor output.height is given; set one of them, or both")
    if output.isotherm and output.isotherm_low >= output.isotherm_high:
        raise ConfigError(
            f"output.isotherm_low ({output.isotherm_low:g}) must be less than output.isotherm_high ({output.isotherm_high:g})"
        )
    if (agc.unit == "celsius" or output.isotherm) and agc.celsius_per_count == 0.0:
        raise ConfigError(
            "agc.celsius_per_count is 0, so no temperature maps to a count; give the camera's scale (0.01 for Lepton TLinear)"
        )
