"""The way of a pair: gain control, registration onto the output grid, fusion. The page to read first."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aenet_ros.config import Config, flatten, specs
from aenet_ros.core.camera import Size
from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.core.frames import Array, Frame, FramePair, FusedFrame, Plane, ThermalInput, ThermalSource, convert, render_brightness
from aenet_ros.core.process import keep_large_buffers
from aenet_ros.core.valid import visible_share, without_values
from aenet_ros.fusion.color import ORDERS, prepare_rgb
from aenet_ros.fusion.engine import FusionJob
from aenet_ros.fusion.fuser import Fuser, SubmittedImage
from aenet_ros.fusion.graph_plan import CAPTURE_AFTER
from aenet_ros.fusion.placement import set_threads
from aenet_ros.health.adaptive_resolution import AdaptiveResolution
from aenet_ros.health.fallback import FallbackFrame
from aenet_ros.health.status import PipelineStatus
from aenet_ros.registration.output_grid import GridWarps, OutputGrid
from aenet_ros.registration.registration import Registration
from aenet_ros.thermal.agc import Gain, ThermalAgc
from aenet_ros.thermal.contrast import contrast_share
from aenet_ros.thermal.ffc import FfcHold
from aenet_ros.thermal.sensor_correction import SensorCorrection
from aenet_ros.thermal.styles import StyledView, draw_style
from aenet_ros.thermal.temperature import draw_isotherm, isotherm_counts

FLAT_SHARE = 0.5  # less of a thermal frame in the picture counts as none
NO_PLANE: Plane = np.empty((0, 0), np.float32)


class FusionPipeline:
    """All stages, with their state of earlier frames. For one thread of one process.

    ``config`` at construction sets what is not dynamic. The dynamic options come with each call (``config``; None: those of construction).
    Sets the number of threads of torch and OpenCV (``model.threads``) and glibc's buffer thresholds for the process. Raises ConfigError,
    CheckpointError or DeviceError where the configuration cannot be used.
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = self._checked = config or Config()
        keep_large_buffers()  # allocating the planes for every frame takes as long as the network
        set_threads(self.config.model.threads)
        self.registration = Registration(self.config.registration)
        self.fuser = Fuser(self.config.model)
        self._grid = OutputGrid(self.registration, self.config.output)
        self._resolution = AdaptiveResolution()
        self._driver_shutter_closed = False
        self._flat_frames = 0
        self._brightness = NO_PLANE
        self._ffc = FfcHold()
        self.reset_temporal()

    def process(self, pair: FramePair, config: Config | None = None, want_registered: bool = False) -> FusedFrame:
        """Fuse a pair and update the sensor model. Arguments, result and errors as ``submit`` and ``PendingFusion.result``."""
        fused = self.submit(pair, config, want_registered).result()
        self.update_sensor_model(config)
        return fused

    def submit(self, pair: FramePair, config: Config | None = None, want_registered: bool = False, period_ns: int = 0) -> "PendingFusion":
        """Submit a pair. ``result()`` blocks until it is fused; where ``overlaps``, one more pair may be submitted before.

        ``want_registered``: the result has ``thermal_registered``. ``period_ns``: time between two pairs of live cameras, for which the
        network's size follows ``latency.budget_ms``; 0: full size always, so that the same input gives the same bytes. Raises ImageError
        for frames that cannot be fused, DeviceError when the device fails and the CPU is not allowed; the next pair may succeed.
        """
        config, rgb, timer = self._check(config), pair.rgb, StageTimer()
        output = config.output
        thermal, gain = self._select_thermal(pair.thermal, config)
        share = contrast_share(thermal, config.agc)
        self._flat_frames += share < FLAT_SHARE
        timer.lap("agc")

        warps = self.prepare_grid(thermal.size, rgb.size, config, pair.depth, thermal.invalid)
        image, encoding = prepare_rgb(rgb, output.encoding)
        thermal_input, scale = self._thermal_input(thermal, gain), self._resolution.scale if period_ns else 1.0
        timer.lap("registration")

        placement = warps.placement(rgb.size)
        if self.fuser.takes_counts and (placement is None or output.style == "fusion"):  # other styles need the rgb frame on the grid
            source = replace(thermal_input, sampling=warps.sampling, weight=warps.weight, size=warps.size)
        else:
            brightness = self._render(thermal_input)
            timer.lap("agc")
            source, placement = ThermalInput(warps.thermal(brightness), weight=warps.weight, rendered=True), None
            image = warps.rgb(image, brightness)
        timer.lap("registration")

        weight = output.thermal_weight * share
        pending = self.fuser.submit(FusionJob(source, image, ORDERS[encoding], weight, ORDERS[output.encoding], scale, placement))
        timer.lap("fusion")

        style = StyledView(image, encoding, gain, warps.weight) if output.style != "fusion" else None
        registered = warps.counts(thermal.data) if want_registered or output.isotherm or style else None
        frame_id = thermal.frame_id if warps.role == "thermal" else rgb.frame_id
        counts = thermal.counts_encoding
        measured = ThermalSource(thermal, thermal_input, warps.size, warps.maps)
        result = FusedFrame(
            rgb.stamp_ns, NO_PLANE, output.encoding, frame_id, registered, {}, warps.role, counts, output.style != "side_by_side", measured
        )
        timer.lap("registration")
        return PendingFusion(pending, result, want_registered, timer, config, self._resolution, period_ns, style)

    def fallback(self, item: FallbackFrame, config: Config | None = None, want_registered: bool = False) -> FusedFrame:
        """One camera's frame alone, on the fused picture's grid; on its own grid where the other camera was never seen.

        The rgb frame as it is, without counts; or the thermal frame in grey. Black outside the camera's view.
        Raises ImageError as ``submit``, ValueError where ``item`` has no frame.
        """
        config = self._check(config)
        if item.frame is None:
            raise ValueError("a held frame is published as it is; there is nothing to render")
        if item.role == "rgb":
            return self._rgb_alone(item, item.frame, config)
        return self._thermal_alone(item, item.frame, config, want_registered)

    def thermal_source(self, thermal: Frame, config: Config | None = None) -> ThermalSource:
        """The thermal frame to use and its way to brightness, without fusion. To be called once for each frame, in order."""
        used, gain = self._select_thermal(thermal, self._check(config))
        return ThermalSource(used, self._thermal_input(used, gain), (0, 0))

    def prepare_grid(
        self,
        thermal_size: Size,
        rgb_size: Size,
        config: Config | None = None,
        depth: Frame | None = None,
        invalid: Array | None = None,
    ) -> GridWarps:
        """The warps of frames of these sizes (height, width) onto the output grid; see ``OutputGrid.prepare``."""
        return self._grid.prepare(thermal_size, rgb_size, self._check(config).registration.plane_distance_m, depth, invalid)

    def update_sensor_model(self, config: Config | None = None) -> None:
        """Look for bad pixels and column noise. One call in eight takes some milliseconds, so it belongs after publishing."""
        self._sensor.update(self._check(config).sensor)

    def reset_temporal(self) -> None:
        """Forget earlier frames: gain range, last good thermal frame, bad pixels and column noise. Geometry and counters stay.

        To be called before every pair of unrelated stills. At a jump back of the thermal stamps the pipeline does it by itself.
        """
        self._ffc.reset_temporal()
        self._agc, self._sensor = ThermalAgc(), SensorCorrection()
        self._thermal_ns: int | None = None

    def temporal_state(self) -> dict[str, Any]:
        """All that the next picture depends on besides its frames and the configuration, ready for JSON but for its arrays."""
        return {
            "agc": self._agc.state(),
            "ffc": self._ffc.state(),
            "sensor": self._sensor.state(),
            "thermal_ns": self._thermal_ns,
            "shutter_closed": self._driver_shutter_closed,
            "scale": self._resolution.scale,
            "pose": self.registration.pose,
        }

    def restore_temporal(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``temporal_state`` as JSON has it, so that the same frames give the same picture."""
        self._agc.restore(state["agc"])
        self._ffc.restore(state["ffc"])
        self._sensor.restore(state["sensor"])
        self._thermal_ns, self._driver_shutter_closed = state["thermal_ns"], state["shutter_closed"]
        self._resolution.scale = state["scale"]
        if state["pose"]:
            self.registration.set_extrinsics(*(np.array(part, np.float64) for part in state["pose"]))

    def set_driver_shutter(self, closed: bool) -> None:
        """The thermal camera's driver says whether its shutter is closed."""
        self._driver_shutter_closed = closed

    @property
    def overlaps(self) -> bool:
        """Whether one more pair may be submitted before the last result is asked for, because a device works on it."""
        return self.fuser.takes_counts

    @property
    def registration_fallback(self) -> str:
        """Why the latest pair was registered by the plane instead of by depth; "" where it was not."""
        return self._grid.fallback

    def status(self) -> PipelineStatus:
        """A snapshot for diagnostics; any thread may call it."""
        return PipelineStatus(
            device=str(self.fuser.device),
            precision=self.fuser.precision,
            backend=self.fuser.backend,
            backend_reason=self.fuser.backend_reason,
            fallback=self.fuser.fallback,
            weights_sha256=str(self.fuser.card.get("sha256", ""))[:12],
            agc_range=self._agc.range_in_use,
            agc_gain=self._agc.gain_in_use,
            agc_resets=self._agc.resets,
            shutter_closed=self._ffc.closed,
            ffc=self._ffc.counts,
            sensor=self._sensor.marks,
            registration_fallback=self.registration_fallback,
            resolution=self._resolution.state,
            flat_frames=self._flat_frames,
        )

    def warm_up(self, rgb_size: Size, thermal_size: Size = (512, 640)) -> None:
        """Fuse empty frames of these sizes (height, width), mono16 and rgb8, as live pairs are fused.

        Loads the libraries and tries the device; on CUDA it captures the graph of these sizes, on a CPU it chooses the backend (auto).
        """
        pair = FramePair(Frame(0, np.zeros(thermal_size, np.uint16), "mono16"), Frame(0, np.zeros((*rgb_size, 3), np.uint8), "rgb8"))
        try:
            for _ in range(CAPTURE_AFTER + 1):
                rgb_size = self.submit(pair).result().image.shape[:2]
        except ImageError:  # no registration for these sizes, or the cameras' intrinsics arrive later
            self.fuser.warm_up(rgb_size)
        self.fuser.choose_backend(rgb_size)
        self._ffc, self._resolution, self._flat_frames = FfcHold(), AdaptiveResolution(), 0
        self.reset_temporal()

    def close(self) -> None:
        """Free the device's memory and the maps; the pipeline cannot be used afterwards."""
        self.fuser.close()
        self.registration.clear()

    def _select_thermal(self, thermal: Frame, config: Config) -> tuple[Frame, Gain]:
        if self._thermal_ns is not None and thermal.stamp_ns < self._thermal_ns:
            self.reset_temporal()
        self._thermal_ns = thermal.stamp_ns
        used = self._ffc.apply(thermal, config.shutter, self._driver_shutter_closed)
        self._sensor.observe(thermal, config.sensor, self._ffc.closed)  # the raw frame, not the held one
        return used, self._agc.gain(used, config.agc)

    def _thermal_input(self, thermal: Frame, gain: Gain) -> ThermalInput:
        return ThermalInput(thermal.filled, *gain, self._sensor.columns, self._sensor.bad_pixels)

    def _render(self, thermal_input: ThermalInput) -> Plane:
        # A pair that a device still works on may be fused again on the CPU: it must keep its plane.
        self._brightness = render_brightness(thermal_input, None if self.fuser.takes_counts else self._brightness)
        return self._brightness

    def _check(self, config: Config | None) -> Config:
        """``config``; raises ConfigError where an option differs that is not dynamic."""
        if config is None or config is self._checked:
            return config or self.config
        before, after = flatten(self.config), flatten(config)
        fixed = [name for name, spec in specs().items() if not spec.dynamic and before[name] != after[name]]
        if fixed:
            raise ConfigError(f"{', '.join(fixed)} cannot change in a running pipeline; make a new one (deactivate, cleanup, configure)")
        self._checked = config
        return config

    def _rgb_alone(self, item: FallbackFrame, rgb: Frame, config: Config) -> FusedFrame:
        image, encoding = prepare_rgb(rgb, config.output.encoding)
        role, frame_id = "rgb", rgb.frame_id
        if self._grid.role == "rgb":
            image = self._grid.scale_rgb(image)
        elif "thermal" in item.streams:
            role, (size, frame_id) = "thermal", item.streams["thermal"]
            image = self.prepare_grid(size, rgb.size, config).rgb(image, np.zeros(size, np.float32))
        picture = np.ascontiguousarray(convert(image, encoding, config.output.encoding))
        return FusedFrame(rgb.stamp_ns, picture, config.output.encoding, frame_id, grid=role)

    def _thermal_alone(self, item: FallbackFrame, thermal: Frame, config: Config, want_registered: bool) -> FusedFrame:
        source = self.thermal_source(thermal, config)
        used, brightness = source.frame, self._render(source.brightness)
        source = replace(source, size=used.size)
        registered, role, frame_id = without_values(used.data, used.invalid), "thermal", thermal.frame_id
        weight = visible_share(used.invalid)
        if self._grid.role == "rgb" and "rgb" in item.streams:
            role, (size, frame_id) = "rgb", item.streams["rgb"]
            warps = self.prepare_grid(thermal.size, size, config, invalid=used.invalid)
            brightness, registered, weight = warps.thermal(brightness), warps.counts(used.data), warps.weight
            source = replace(source, size=warps.size, maps=warps.maps)
        if weight is not None:
            brightness = brightness * weight
        grey = (brightness * np.float32(255.0) + np.float32(0.5)).astype(np.uint8)
        picture, counts = convert(grey, "mono8", config.output.encoding), registered if want_registered else None
        return FusedFrame(thermal.stamp_ns, picture, config.output.encoding, frame_id, counts, {}, role, used.counts_encoding, True, source)


@dataclass(frozen=True, slots=True)
class PendingFusion:
    """A submitted pair. ``fused`` is the result, still without its picture."""

    pending_image: SubmittedImage
    fused: FusedFrame
    want_registered: bool
    timer: "StageTimer"
    config: Config
    resolution: AdaptiveResolution
    period_ns: int
    style: StyledView | None = None

    def result(self) -> FusedFrame:
        """Block until the pair is fused. To be called once. Raises as ``FusionPipeline.submit``.

        The picture has the rgb frame's stamp, the size and frame_id of ``output.grid``, and ``output.encoding``.
        """
        timer, output, fused = self.timer, self.config.output, self.fused
        timer.resume()
        image = self.pending_image.result()
        timer.lap("fusion")
        image = convert(image, "mono8" if image.ndim == 2 else output.encoding, output.encoding)
        if self.style is not None and fused.thermal_registered is not None:
            image = draw_style(image, fused.thermal_registered, self.style, self.config)
        if output.isotherm and fused.thermal_registered is not None:
            low, high = isotherm_counts(self.config)
            image = draw_isotherm(image, output.encoding, fused.thermal_registered, low, high, output.isotherm_color)
        timer.lap("output")
        self.resolution.record(timer.stages_ns["total"], timer.stages_ns["fusion"], self.config.latency, self.period_ns)
        registered = fused.thermal_registered if self.want_registered else None
        return replace(fused, image=image, thermal_registered=registered, timings_ns=timer.stages_ns)


class StageTimer:
    """Durations of stages on the monotonic clock. ``stages_ns``: by name, and their ``total``."""

    def __init__(self) -> None:
        self.stages_ns = {"agc": 0, "registration": 0, "fusion": 0, "output": 0, "total": 0}
        self.resume()

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to ``stage``."""
        begun = self._last
        self.resume()
        self.stages_ns[stage] += self._last - begun
        self.stages_ns["total"] += self._last - begun

    def resume(self) -> None:
        """Begin a lap: the time since the last one counts for no stage."""
        self._last = time.perf_counter_ns()
