"""All options with their defaults and bounds: numbers that a user may change stand here and nowhere else.

ROS parameters, the command line and ``config/fusion.yaml`` are generated from these dataclasses or checked
against them by a test. A nested dataclass is a group: ``Config().sync.slop_ms`` is the ROS parameter ``sync.slop_ms``.
"""

from dataclasses import dataclass

from aenet_ros.config.options import dynamic, option

IDENTITY_3X3 = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class StreamConfig:
    """How one camera stream is subscribed to."""

    transport: str = option(
        "raw", "Message type. raw: sensor_msgs/Image; compressed: sensor_msgs/CompressedImage (png or jpeg).", choices=("raw", "compressed")
    )
    qos: str = option(
        "best_effort",
        "QoS reliability of the subscription. best_effort: matches every publisher; reliable: lost frames are sent again.",
        choices=("best_effort", "reliable"),
        advanced=True,
    )
    depth: int = option(
        1,
        "QoS history depth (keep-last): frames that the middleware stores for the node. With more, a busy machine works on older frames; "
        "frames that come in bursts need more.",
        (1, 100),
        advanced=True,
    )
    crop: tuple[float, ...] = option(
        (0.0, 0.0, 0.0, 0.0),
        "Part of the frame that is used: x, y, width, height; a width or height of 0 reaches to the frame's edge; zeros or an empty list: "
        "all of it. It removes rows of telemetry and bars, or picks one camera where a frame shows two.",
        unit="px",
        advanced=True,
    )
    encoding: str = option(
        "",
        "Encoding to read in place of the one that the messages name, for example 16UC1 where a camera sends counts as yuyv.",
        advanced=True,
    )

    @property
    def rectangle(self) -> tuple[int, int, int, int] | None:
        """``crop``; None for the whole frame."""
        x, y, width, height = (int(value) for value in self.crop)
        return (x, y, width, height) if any(self.crop) else None


@dataclass(frozen=True)
class InputConfig:
    """The two camera streams."""

    thermal: StreamConfig = StreamConfig()
    rgb: StreamConfig = StreamConfig()
    find: bool = option(
        True,
        "Find the cameras by names, encodings, sizes and values of the image topics, where thermal/image_raw and rgb/image_raw are not "
        "remapped and have no publisher. What is not certain is asked for in diagnostics.",
    )


@dataclass(frozen=True)
class SyncConfig:
    """How frames are paired in time."""

    policy: str = option(
        "nearest",
        "How pairs are found. nearest: this package's matcher; exact: equal stamps only; approximate: ApproximateTimeSynchronizer of "
        "message_filters, which must be installed.",
        choices=("nearest", "exact", "approximate"),
        advanced=True,
    )
    slop_ms: float = dynamic(25.0, "Largest stamp difference of a pair, after the clock offset is subtracted.", (0.0, 10_000.0), "ms")
    queue_size: int = option(
        10, "Largest number of frames per stream that wait for a partner; older ones are dropped and counted.", (1, 1000), advanced=True
    )
    clock_offset_ms: float = dynamic(
        0.0,
        "Thermal stamp minus rgb stamp of the same instant; subtracted from the thermal stamp before matching.",
        (-4.3e12, 4.3e12),  # no two stamps of ROS differ by more
        "ms",
    )
    watch_offset: bool = dynamic(
        True, "Estimate the clock offset from the motion in both streams, for diagnostics and ~/estimate_clock_offset.", advanced=True
    )
    max_latency_ms: float = dynamic(
        0.0,
        "Largest age (now minus rgb stamp) of a pair. Older pairs are dropped and counted, and the camera counts as late. 0: no limit.",
        (0.0, 1e6),
        "ms",
        advanced=True,
    )

    @property
    def slop_ns(self) -> int:
        """Largest stamp difference of a pair in whole ns: ``slop_ms``, or 0 with the policy exact."""
        return 0 if self.policy == "exact" else round(self.slop_ms * 1e6)

    @property
    def clock_offset_ns(self) -> int:
        """``clock_offset_ms`` in whole ns."""
        return round(self.clock_offset_ms * 1e6)


@dataclass(frozen=True)
class DegradedConfig:
    """What is published while one camera is silent, late, frozen, black or saturated."""

    policy: str = dynamic(
        "passthrough",
        "What is published. passthrough: the other camera's image; hold: the last fused frame with its own stamp; silence: nothing.",
        choices=("passthrough", "hold", "silence"),
    )
    after_s: float = dynamic(
        0.5, "Duration of a fault (at least three frame periods) before the policy acts.", (0.05, 60.0), "s", advanced=True
    )
    recover_s: float = dynamic(0.3, "Time of good frames without a gap before a camera is used again.", (0.0, 60.0), "s", advanced=True)
    frozen_s: float = dynamic(
        1.5,
        "Time without any change after which a stream that had noise before counts as frozen. Choose more than the duration of a "
        "shutter event. 0: never.",
        (0.0, 60.0),
        "s",
        advanced=True,
    )
    black_level: float = dynamic(
        4.0, "Largest grey level (0..255) of a pixel that counts as black in an rgb frame.", (0.0, 255.0), advanced=True
    )
    share: float = dynamic(0.98, "Share of black or full-scale pixels in a black or saturated frame.", (0.5, 1.0), advanced=True)


@dataclass(frozen=True)
class ShutterConfig:
    """How shutter events (FFC, NUC) of the thermal camera are handled."""

    bridge_s: float = dynamic(
        1.0,
        "Longest time for which the last good thermal frame replaces frames of the closed shutter; 0: events are only reported.",
        (0.0, 60.0),
        "s",
        advanced=True,
    )


@dataclass(frozen=True)
class SensorConfig:
    """How bad pixels and fixed-pattern noise of the thermal sensor are corrected; fused/thermal_registered keeps the raw counts."""

    dead_pixels: str = dynamic(
        "auto",
        "auto: pixels that differ from their neighbours while the scene changes are detected and interpolated; off: no correction.",
        choices=("auto", "off"),
        advanced=True,
    )
    column_noise: str = dynamic(
        "auto",
        "auto: the offset of each column is estimated from what all heights of the first frames have in common, better once the camera "
        "has moved, and subtracted; off: no correction.",
        choices=("auto", "off"),
        advanced=True,
    )


@dataclass(frozen=True)
class AgcConfig:
    """Automatic gain control: maps thermal counts to 0..1."""

    mode: str = dynamic(
        "auto",
        "auto: 8-bit frames as they are, except for agc.hot_gain, deeper ones by percentiles; percentile: always by percentiles; fixed: "
        "fixed_low to fixed_high.",
        choices=("auto", "percentile", "fixed"),
    )
    low_percentile: float = dynamic(1.0, "Percentile of the counts that is mapped to black.", (0.0, 50.0), "%", advanced=True)
    high_percentile: float = dynamic(99.5, "Percentile of the counts that is mapped to white.", (50.0, 100.0), "%", advanced=True)
    smoothing_s: float = dynamic(
        1.0, "Time constant of the exponential smoothing of the count range; 0: no smoothing.", (0.0, 60.0), "s", advanced=True
    )
    scene_cut: float = dynamic(
        0.35, "Share of pixels inside the smoothed range below which the range restarts; 0: never.", (0.0, 1.0), advanced=True
    )
    hot_gain: float = dynamic(
        6.0,
        "Mode auto, 8-bit frames: largest contrast gain of the hottest 5 % of the pixels where the frame leaves the bright end unused; "
        "the others keep their values. 1: no stretch.",
        (1.0, 16.0),
        advanced=True,
    )
    min_range: float = dynamic(
        32.0,
        "Minimum count span that is mapped to black..white, so that noise of a uniform scene is not amplified. For float frames 32 counts "
        "mean 1.0 (1 degree).",
        (0.0, 65535.0),
        "counts",
        advanced=True,
    )
    fixed_low: float = dynamic(0.0, "Value that mode fixed maps to black, in agc.unit.", (-1e6, 1e6))
    fixed_high: float = dynamic(255.0, "Value that mode fixed maps to white, in agc.unit.", (-1e6, 1e6))
    unit: str = dynamic("counts", "Unit of fixed_low and fixed_high.", choices=("counts", "celsius"))
    profile: str = dynamic(
        "auto",
        "Camera model, or unit of the values, that defines the scale to degrees. auto: that of a camera that is found, where its driver "
        "makes it certain, else as generic; generic: the two parameters below; celsius, kelvin, centikelvin: the values are these; the "
        "others: see docs/cameras.md.",
        choices=(
            *("auto", "generic", "celsius", "kelvin", "centikelvin", "boson", "adk", "lepton", "tau2", "seek", "optris", "infiray"),
            "gazebo8",
        ),
    )
    celsius_per_count: float = dynamic(
        0.01, "Temperature difference of one count (radiometric cameras).", (-1e3, 1e3), "degC", advanced=True
    )
    celsius_at_zero: float = dynamic(-273.15, "Temperature at zero counts.", (-1e6, 1e6), "degC", advanced=True)
    invert: bool = dynamic(False, "True: invert the counts, for a black-hot camera.")


@dataclass(frozen=True)
class RegistrationConfig:
    """How the thermal frame is registered onto the rgb frame."""

    mode: str = option(
        "identity",
        "identity: the thermal frame is scaled to the size of the rgb frame; homography: a 3x3 matrix; plane: both camera models and their "
        "relative pose, exact at plane_distance_m; depth: like plane, with the distance of each pixel from depth/image_raw (aligned to the "
        "rgb frame).",
        choices=("identity", "homography", "plane", "depth"),
    )
    homography: tuple[float, ...] = option(
        IDENTITY_3X3, "Row-major 3x3 matrix that maps rgb pixels to thermal pixels, both at full resolution.", advanced=True
    )
    file: str = option(
        "",
        "YAML file of `aenet calibrate`. It holds a homography (3x3, rgb pixels to thermal pixels), which overrides "
        "registration.homography, or thermal_from_rgb and both cameras for modes plane and depth.",
    )
    extrinsics_source: str = option(
        "config",
        "Source of the relative pose for modes plane and depth. config: registration.file; tf: /tf and /tf_static, between the frame_ids "
        "of both image streams; registration.file is used until the transform arrives.",
        choices=("config", "tf"),
    )
    depth_slop_ms: float = option(
        100.0, "Mode depth: largest stamp difference of the depth image and the rgb frame.", (0.0, 10_000.0), "ms", advanced=True
    )
    save_to: str = dynamic("", "YAML file that ~/estimate_registration writes; empty: the service only answers.", advanced=True)
    plane_distance_m: float = dynamic(
        10.0, "Distance from the rgb camera at which mode plane is exact; mode depth uses it where depth is missing.", (0.05, 1e6), "m"
    )


@dataclass(frozen=True)
class ModelConfig:
    """The network and where it runs."""

    backend: str = option(
        "auto",
        "auto: torch; a node on a CPU also measures ONNX Runtime, where onnxruntime and onnx are installed, and takes the faster one. "
        "torch: PyTorch runs the weights; onnx: ONNX Runtime runs the .onnx file of `aenet export`.",
        choices=("auto", "torch", "onnx"),
        advanced=True,
    )
    weights: str = option(
        "", "Path of a .safetensors file (backend onnx: .onnx) with its .json card in the same folder; empty: the packaged weights."
    )
    device: str = option("auto", "auto (cuda if available, else cpu), cpu, cuda or cuda:N; backend onnx also takes tensorrt.")
    precision: str = option("auto", "auto: fp16 on cuda, fp32 on cpu.", choices=("auto", "fp32", "fp16"), advanced=True)
    allow_cpu: bool = option(True, "False: fail instead of falling back from cuda to cpu.")
    threads: int = option(0, "CPU threads of the network; 0: all cores but one, at most 4.", (0, 256))


@dataclass(frozen=True)
class LatencyConfig:
    """How the pipeline adapts to a slow machine."""

    budget_ms: float = dynamic(
        -1.0,
        "Time budget of a pair in the node's pipeline. If pairs take longer, the network runs at 3/4, 1/2 or 1/4 of the resolution; the "
        "detail of the rgb frame is kept. -1: automatic, 3/4 of the time between two pairs; 0: always at full resolution. Offline tools "
        "ignore it and use full resolution.",
        (-1.0, 10_000.0),
        "ms",
    )


STYLES = ("fusion", "tint", "edges", "pip", "side_by_side")
PALETTES = ("white_hot", "black_hot", "ironbow", "inferno", "rainbow", "arctic")


@dataclass(frozen=True)
class OutputConfig:
    """What is published."""

    encoding: str = dynamic("rgb8", "Encoding of fused/image.", choices=("rgb8", "bgr8", "mono8"))
    grid: str = option(
        "rgb",
        "Pixel grid of the fused topics. rgb: that of the rgb camera; thermal: that of the thermal camera, with its frame_id and "
        "camera_info; size: that of the rgb camera, scaled to output.width x output.height.",
        choices=("rgb", "thermal", "size"),
    )
    width: int = option(
        0, "Width for grid size; 0: from the height, with the aspect ratio of the rgb frame.", (0, 16384), "px", advanced=True
    )
    height: int = option(
        0, "Height for grid size; 0: from the width, with the aspect ratio of the rgb frame.", (0, 16384), "px", advanced=True
    )
    thermal_weight: float = dynamic(
        1.0, "Weight of the thermal camera in the fused image: 1: output of the network; 0: the rgb frame.", (0.0, 1.0)
    )
    style: str = dynamic(
        "fusion",
        "fusion: the network's picture; tint: the same, in the colours of the palette between isotherm_low and isotherm_high; edges: the "
        "thermal picture in the colours of the palette, with the edges of the rgb picture; pip: the rgb picture with the thermal one in "
        "its corner; side_by_side: both pictures, each at half of the width, without fused/camera_info.",
        choices=STYLES,
    )
    palette: str = dynamic("ironbow", "Colours of thermal/view and of the styles other than fusion.", choices=PALETTES)
    color_bar: bool = dynamic(
        True, "Draw the palette with its limits in degrees into thermal/view, where the camera is radiometric.", advanced=True
    )
    isotherm: bool = dynamic(False, "Tint pixels between isotherm_low and isotherm_high (temperature scale: agc.profile).")
    isotherm_low: float = dynamic(30.0, "Lower limit of the isotherm band.", (-300.0, 10_000.0), "degC")
    isotherm_high: float = dynamic(45.0, "Upper limit of the isotherm band.", (-300.0, 10_000.0), "degC")
    isotherm_color: str = dynamic(
        "orange", "Colour of the isotherm band.", choices=("red", "orange", "yellow", "green", "cyan", "magenta"), advanced=True
    )
    jpeg_quality: int = dynamic(90, "JPEG quality of fused/image/compressed.", (1, 100), advanced=True)
    video_bitrate_kbps: int = dynamic(
        2000, "Bitrate of fused/video and fused/image/ffmpeg (H.264).", (50, 100_000), "kbit/s", advanced=True
    )
    video_keyframe_s: float = dynamic(2.0, "Time between two keyframes of the video topics.", (0.1, 10.0), "s", advanced=True)
    reliability: str = option(
        "reliable",
        "QoS reliability of the image publishers; reliable matches every subscriber.",
        choices=("reliable", "best_effort"),
        advanced=True,
    )

    @property
    def banded(self) -> bool:
        """Whether the pixels between ``isotherm_low`` and ``isotherm_high`` are drawn in another way."""
        return self.isotherm or self.style == "tint"


@dataclass(frozen=True)
class HotSpotConfig:
    """What counts as a hot or cold spot. Temperatures in degrees Celsius; in grey levels (0..255) where the camera is not radiometric."""

    find: str = dynamic("hot", "Which spots are looked for.", choices=("hot", "cold", "both"))
    relative: bool = dynamic(
        True,
        "True: the levels are differences to the surroundings (a quarter of the picture around each pixel); false: temperatures.",
        advanced=True,
    )
    level: float = dynamic(
        10.0, "Hot spots have a pixel that is so hot, or so much hotter than its surroundings.", (-300.0, 1e4), "degC", advanced=True
    )
    cold_level: float = dynamic(
        10.0, "Cold spots have a pixel that is so cold, or so much colder than its surroundings.", (-300.0, 1e4), "degC", advanced=True
    )
    hysteresis: float = dynamic(
        2.0, "A spot reaches as far as its pixels stay within this of the level.", (0.0, 1e3), "degC", advanced=True
    )
    min_area_px: int = dynamic(9, "Smallest area of a spot.", (1, 1_000_000), "px", advanced=True)
    max_count: int = dynamic(16, "Most spots of a kind that are reported: the most extreme ones.", (1, 256), advanced=True)


@dataclass(frozen=True)
class AlarmConfig:
    """Regions whose temperatures are watched."""

    regions: str = dynamic(
        "",
        "Regions and their levels, with ; or a line break in between. Each is 'name corners levels'. Corners are x,y pairs in pixels (two "
        "opposite ones, or three and more of a polygon), or the word all. Levels in degrees Celsius: high=, pre= (pre-alarm), low=, and "
        "rise= in degrees a minute. Example: 'boiler 100,80 220,160 pre=70 high=80; picture all high=200'.",
    )
    pixels: str = dynamic(
        "thermal",
        "Whose pixels the corners are: the thermal camera's, or those of the fused picture.",
        choices=("thermal", "fused"),
        advanced=True,
    )
    hysteresis: float = dynamic(1.0, "An alarm ends when its value is so far inside the level.", (0.0, 1e3), "degC", advanced=True)
    hold_s: float = dynamic(
        0.2, "Time for which a value must be beyond its level, or inside again, before the alarm changes.", (0.0, 60.0), "s", advanced=True
    )


@dataclass(frozen=True)
class DiagnosticsConfig:
    """When diagnostics are published, and the limits of their warnings."""

    period_s: float = option(1.0, "Period of /diagnostics.", (0.1, 60.0), "s", advanced=True)
    stale_s: float = dynamic(
        2.0, "Time without a frame or pair after which diagnostics report an error.", (0.1, 3600.0), "s", advanced=True
    )
    min_rate_hz: float = dynamic(5.0, "Fused rate below which diagnostics warn.", (0.0, 1000.0), "Hz", advanced=True)
    max_latency_ms: float = dynamic(
        200.0, "Latency (rgb stamp to publishing) above which diagnostics warn; 0: never.", (0.0, 1e6), "ms", advanced=True
    )
    max_sync_error_ms: float = dynamic(
        20.0, "p95 of the stamp differences above which diagnostics warn; 0: never.", (0.0, 1e6), "ms", advanced=True
    )
    min_entropy: float = dynamic(
        2.0, "Entropy of the fused image below which diagnostics warn; 0: never.", (0.0, 8.0), "bit", advanced=True
    )
    max_saturated: float = dynamic(
        0.4, "Share of fused pixels at 0 or 255 above which diagnostics warn; 1: never.", (0.0, 1.0), advanced=True
    )
    max_offset_error_ms: float = dynamic(
        15.0, "Error of the clock offset above which diagnostics warn; 0: never.", (0.0, 1e6), "ms", advanced=True
    )
    max_drift_px: float = dynamic(
        8.0, "Distance of thermal from rgb edges above which diagnostics warn; 0: never.", (0.0, 1e4), "px", advanced=True
    )


@dataclass(frozen=True)
class BlackBoxConfig:
    """What the node keeps in memory, to write it when something fails (docs/black_box.md)."""

    enabled: bool = option(
        False,
        "True: the last seconds of inputs, outputs, configuration and counters are kept in memory, and written at any error status.",
        advanced=True,
    )
    seconds: float = option(5.0, "Time that is kept.", (1.0, 60.0), "s", advanced=True)
    max_mb: int = option(
        400, "Largest size of what is kept, and of a file; the oldest is dropped first.", (10, 10_000), "MB", advanced=True
    )
    folder: str = option("~/.ros/black_box", "Folder of the files; the ten newest stay.", advanced=True)


@dataclass(frozen=True)
class Config:
    """The configuration of the node and of the offline tools; see the groups."""

    autostart: bool = option(True, "True: the node configures and activates itself; false: it waits for a lifecycle manager.")
    enabled: bool = dynamic(True, "False: frames are received and counted but not fused; also set by ~/set_enabled.")
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
    hot_spots: HotSpotConfig = HotSpotConfig()
    alarms: AlarmConfig = AlarmConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    black_box: BlackBoxConfig = BlackBoxConfig()
