"""The way of a pair: brightness of the counts, registration onto the rgb grid, fusion. The page to read first."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from aenet_ros.config import Config, OutputConfig
from aenet_ros.core.camera import Size
from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.core.frames import Array, Frame, FramePair, FusedFrame, Plane, ThermalInput
from aenet_ros.core.process import keep_large_buffers
from aenet_ros.fusion import color
from aenet_ros.fusion.downscaled import fuse_downscaled
from aenet_ros.fusion.fuser import Fuser, set_threads
from aenet_ros.health.adaptive_resolution import AdaptiveResolution
from aenet_ros.registration.output_grid import GridWarps, OutputGrid
from aenet_ros.registration.registration import Registration
from aenet_ros.thermal.agc import Gain, ThermalAgc
from aenet_ros.thermal.ffc import FfcHold
from aenet_ros.thermal.render import render
from aenet_ros.thermal.sensor_correction import SensorCorrection
from aenet_ros.thermal.temperature import draw_isotherm, scale_of

NO_PLANE: Plane = np.empty((0, 0), np.float32)
ORDER = {"rgb8": "rgb", "bgr8": "bgr", "mono8": "rgb"}  # mono8 has no order; any will do
CONVERSIONS = {
    ("rgb8", "bgr8"): cv2.COLOR_RGB2BGR,
    ("bgr8", "rgb8"): cv2.COLOR_BGR2RGB,
    ("mono8", "rgb8"): cv2.COLOR_GRAY2RGB,
    ("mono8", "bgr8"): cv2.COLOR_GRAY2BGR,
}


class FusionPipeline:
    """All stages with what they remember from frame to frame. Made and used by one process's one fusing thread.

    Sets, for the process, torch's number of threads (``model.threads``) and that large buffers are kept. Raises
    ConfigError, CheckpointError or DeviceError for what is wrong with the configuration.
    """

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()
        keep_large_buffers()  # a network's planes, mapped anew for every frame, cost as much time as the network
        set_threads(self._config.model.threads)
        self.sensor = SensorCorrection(self._config.sensor)
        self.reset_temporal()
        self.registration = Registration(self._config.registration)
        self.grid = OutputGrid(self.registration, self._config.output)
        self.fuser = Fuser(self._config.model)
        self.budget = AdaptiveResolution(self._config.latency)

    def process(self, pair: FramePair, want_registered: bool = False) -> FusedFrame:
        """Fuse one pair; the result has the rgb frame's stamp, the size and frame_id that ``output.grid`` says, and ``output.encoding``.

        Raises ImageError for frames that cannot be fused, DeviceError when the device fails; the next pair may succeed.
        """
        fused = self.start(pair, want_registered)()
        self.update_sensor_model()
        return fused

    def start(self, pair: FramePair, want_registered: bool = False) -> Callable[[], FusedFrame]:
        """``process`` in steps: what is returned gives the result, and is to be called once; then ``update_sensor_model``, when the result is on its way.

        Where ``asynchronous`` the device works in between, and one more pair may be started before that call; else all is done by now.
        """
        rgb, config, role = pair.rgb, self._config, self.grid.role
        output = config.output
        clock = Stopwatch()

        thermal = self._look(pair.thermal)
        gain = self.agc.gain(thermal)
        clock.lap("agc")
        warps = self.prepare_grid(thermal.size, rgb.size, pair.depth)
        clock.lap("registration")
        on_device = self.asynchronous and self.budget.scale == 1.0 and warps.samples
        brightness = NO_PLANE if on_device else self._brightness(thermal, gain)
        clock.lap("agc")

        image, encoding = canvas(rgb.data, rgb.encoding, output.encoding)
        image = warps.rgb(image, brightness)
        want_counts = want_registered or output.isotherm
        if on_device:
            view = ThermalInput(thermal.data, *gain, self.sensor.columns, self.sensor.bad_pixels, warps.sampling, warps.weight)
            clock.lap("registration")
            picture = self._start_on_device(view, image, encoding, output)
            registered = warps.counts(thermal.data) if want_counts else None  # the device is at work meanwhile
        else:
            aligned = warps.thermal(brightness)
            registered = warps.counts(thermal.data) if want_counts else None
            clock.lap("registration")
            scale, strength = self.budget.scale, output.thermal_weight
            fused = fuse_downscaled(scale, self.fuser, aligned, image, order=ORDER[encoding], weight=warps.weight, strength=strength)
            clock.lap("fusion")
            picture = partial(convert, fused, encoding, output.encoding)

        def finish() -> FusedFrame:
            drawn = picture()
            if on_device:
                clock.lap("fusion")
            drawn = draw(drawn, registered, config)
            clock.lap("output")
            timings = clock.timings_ns()
            self.budget.spent(timings["total"], timings["fusion"])
            frame_id = thermal.frame_id if role == "thermal" else rgb.frame_id
            return FusedFrame(rgb.stamp_ns, drawn, output.encoding, frame_id, registered if want_registered else None, timings, role)

        return finish

    def _start_on_device(self, view: ThermalInput, image: Array, encoding: str, output: OutputConfig) -> Callable[[], Array]:
        """Set the device to work; what is returned waits for the picture, in ``output.encoding``."""
        order, strength = ORDER[encoding], output.thermal_weight
        reverse = {encoding, output.encoding} == {"rgb8", "bgr8"}
        started = self.fuser.start(view, image, order=order, strength=strength, reverse=reverse)

        def picture() -> Array:
            fused = None if started is None else self.fuser.finish(started)
            if fused is not None:
                return fused if reverse else convert(fused, encoding, output.encoding)
            fused = self.fuser.fuse(render(view), image, order=order, weight=view.weight, strength=strength)  # the device failed
            return convert(fused, encoding, output.encoding)

        return picture

    @property
    def asynchronous(self) -> bool:
        """Whether the next pair may be started before the last one's result is asked for, because a device is at work."""
        return self.fuser.asynchronous

    def prepare_thermal(self, thermal: Frame) -> tuple[Frame, Plane]:
        """The thermal frame to use (the last good one while the shutter is seen), and its brightness, float32 [H, W] 0..1.

        To be called once for each frame, in turn, and ``update_sensor_model`` after it. The brightness is written anew by the next call.
        """
        used = self._look(thermal)
        return used, self._brightness(used, self.agc.gain(used))

    def prepare_grid(self, thermal_size: Size, rgb_size: Size, depth: Frame | None = None) -> GridWarps:
        """The warps of one pair's frames onto the picture's grid; see ``OutputGrid.prepare``."""
        return self.grid.prepare(thermal_size, rgb_size, self._config.registration.plane_distance_m, depth)

    def update_sensor_model(self) -> None:
        """Learn of the sensor what the next frames need, from those that came; one in eight takes some milliseconds."""
        self.sensor.learn()

    def _look(self, thermal: Frame) -> Frame:
        used = self.shutter.apply(thermal)
        self.sensor.look(thermal, self.shutter.closed)
        return used

    def _brightness(self, thermal: Frame, gain: Gain) -> Plane:
        return self.sensor.mend(self.agc.scale(thermal, gain, self.sensor.columns))

    def reset_temporal(self) -> None:
        """Drop what was learnt of the scene, as after a jump in time: the gain's range, the last good thermal frame.

        What is known of the cameras, dead pixels and geometry, stays.
        """
        self.shutter = FfcHold(self._config.shutter)
        self.agc = ThermalAgc(self._config.agc)

    @property
    def config(self) -> Config:
        """The configuration in force. A new one may differ in dynamic options; what else needs a new pipeline is a ConfigError."""
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        if config.model != self._config.model:
            raise ConfigError("model cannot change in a running pipeline; make a new one (deactivate, cleanup, configure)")
        old, new = self._config.registration, config.registration
        if replace(new, plane_distance_m=old.plane_distance_m, save_to=old.save_to) != old:
            raise ConfigError("of registration only plane_distance_m can change in a running pipeline; make a new one for the rest")
        self._config = config
        self.shutter.config = config.shutter
        self.sensor.config = config.sensor
        self.agc.config = config.agc
        self.budget.config = config.latency

    def warm_up(self, size: Size) -> None:
        """Fuse nothing at ``size`` (height, width) of the rgb frame, so that the first pair takes no longer than the rest."""
        self.fuser.warm_up(size)

    def close(self) -> None:
        """Give back the device's memory; the pipeline cannot be used afterwards."""
        self.fuser.close()


def draw(picture: Array, registered: Array | None, config: Config) -> Array:
    """The isotherm over the picture, in ``output.encoding``, where it is on; ``registered``: counts on the picture's grid."""
    output = config.output
    if not output.isotherm or registered is None:
        return picture
    scale = scale_of(config.agc)
    low, high = sorted((scale.counts(output.isotherm_low), scale.counts(output.isotherm_high)))
    return draw_isotherm(picture, output.encoding, registered, low, high, output.isotherm_color)


class Stopwatch:
    """Durations of consecutive stages on the monotonic clock."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter_ns()
        self._laps: dict[str, int] = {}

    def lap(self, stage: str) -> None:
        """Add the time since the previous lap to a stage."""
        now = time.perf_counter_ns()
        self._laps[stage] = self._laps.get(stage, 0) + now - self._last
        self._last = now

    def timings_ns(self) -> dict[str, int]:
        """All stages and their ``total``, in nanoseconds."""
        return {**self._laps, "total": self._last - self._start}


def canvas(image: Array, encoding: str, wanted: str) -> tuple[Array, str]:
    """The rgb frame as it goes into fusion, and its encoding: only its luma where the output has no colour anyway."""
    if encoding not in ORDER:
        raise ImageError(f"an rgb frame in {encoding} cannot be fused; give one of {', '.join(ORDER)}")
    if wanted == "mono8":
        return color.luma(image, ORDER[encoding]), "mono8"
    return image, encoding


def convert(image: Array, encoding: str, wanted: str) -> Array:
    """``image`` in the encoding ``wanted``; the same array where it has it already."""
    if encoding == wanted:
        return image
    return cv2.cvtColor(image, CONVERSIONS[encoding, wanted])
