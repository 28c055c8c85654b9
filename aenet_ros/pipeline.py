"""The way of a pair: brightness of the counts, registration onto the rgb grid, fusion. The page to read first."""

import time

import cv2

from aenet_ros.allocator import keep_large_buffers
from aenet_ros.budget import LatencyBudget
from aenet_ros.config import Config
from aenet_ros.errors import ConfigError, ImageError
from aenet_ros.frames import Array, Frame, FramePair, FusedFrame, Plane
from aenet_ros.fusion import color
from aenet_ros.fusion.fuser import Fuser, set_threads
from aenet_ros.fusion.reduced import fuse_at
from aenet_ros.imaging.agc import ThermalAgc
from aenet_ros.imaging.calibration_file import Size
from aenet_ros.imaging.output_grid import OutputGrid
from aenet_ros.imaging.registration import Registration
from aenet_ros.imaging.sensor import SensorRepair
from aenet_ros.imaging.shutter import ShutterBridge
from aenet_ros.imaging.thermometer import draw_isotherm, scale_of

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
        self.sensor = SensorRepair(self._config.sensor)
        self.forget()
        self.registration = Registration(self._config.registration)
        self.grid = OutputGrid(self.registration, self._config.output)
        self.fuser = Fuser(self._config.model)
        self.budget = LatencyBudget(self._config.latency)

    def process(self, pair: FramePair, want_registered: bool = False) -> FusedFrame:
        """Fuse one pair; the result has the rgb frame's stamp, the size and frame_id that ``output.grid`` says, and ``output.encoding``.

        Raises ImageError for frames that cannot be fused, DeviceError when the device fails; the next pair may succeed.
        """
        rgb, output = pair.rgb, self._config.output
        clock = Stopwatch()

        thermal, brightness = self.see(pair.thermal)
        clock.lap("agc")

        image, encoding = canvas(rgb.data, rgb.encoding, output.encoding)
        self.grid.take_depth(pair.depth, thermal.size, rgb.size)
        image = self.grid.rgb(image, brightness)
        aligned = self.grid.thermal(brightness, rgb.size)
        weight = self.grid.weight(thermal.size, rgb.size)
        want_counts = want_registered or output.isotherm
        registered = self.grid.counts(thermal.data, rgb.size) if want_counts else None
        clock.lap("registration")

        scale, strength = self.budget.scale, output.thermal_weight
        fused = fuse_at(scale, self.fuser, aligned, image, order=ORDER[encoding], weight=weight, strength=strength)
        clock.lap("fusion")

        picture = self._draw(convert(fused, encoding, output.encoding), registered)
        clock.lap("output")
        timings = clock.timings_ns()
        self.budget.spent(timings["total"], timings["fusion"])

        frame_id = thermal.frame_id if self.grid.role == "thermal" else rgb.frame_id
        counts = registered if want_registered else None
        return FusedFrame(rgb.stamp_ns, picture, output.encoding, frame_id, counts, timings, self.grid.role)

    def see(self, thermal: Frame) -> tuple[Frame, Plane]:
        """The thermal frame to use (the last good one while the shutter is seen), and its brightness, float32 [H, W] 0..1.

        To be called once for each frame, in turn. The brightness is written anew by the next call.
        """
        used = self.shutter.apply(thermal)
        self.sensor.look(thermal, self.shutter.closed)
        return used, self.sensor.mend(self.agc.apply(used, self.sensor.columns))

    def forget(self) -> None:
        """Drop what was learnt of the scene, as after a jump in time: the gain's range, the last good thermal frame.

        What is known of the cameras, dead pixels and geometry, stays.
        """
        self.shutter = ShutterBridge(self._config.shutter)
        self.agc = ThermalAgc(self._config.agc)

    def _draw(self, picture: Array, registered: Array | None) -> Array:
        """The isotherm over the picture, where it is on."""
        output = self._config.output
        if not output.isotherm or registered is None:
            return picture
        scale = scale_of(self._config.agc)
        low, high = sorted((scale.counts(output.isotherm_low), scale.counts(output.isotherm_high)))
        return draw_isotherm(picture, output.encoding, registered, low, high, output.isotherm_color)

    @property
    def config(self) -> Config:
        """The configuration in force. A new one may differ in dynamic options; what else needs a new pipeline is a ConfigError."""
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        if config.model != self._config.model:
            raise ConfigError("model cannot change in a running pipeline; make a new one (deactivate, cleanup, configure)")
        self.registration.config = config.registration
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


class Stopwatch:
    """Durations of consecutive stages on the monotonic clock."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter_ns()
        self._laps: dict[str, int] = {}

    def lap(self, stage: str) -> None:
        """End the stage that began with the previous lap."""
        now = time.perf_counter_ns()
        self._laps[stage] = now - self._last
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
