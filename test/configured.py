"""Stages of the pipeline together with the configuration that a test gives them, which else comes with each call."""

from aenet_ros.config import AgcConfig, LatencyConfig, SensorConfig, ShutterConfig
from aenet_ros.core.frames import replace_bad_pixels
from aenet_ros.health.adaptive_resolution import AdaptiveResolution
from aenet_ros.thermal.agc import ThermalAgc
from aenet_ros.thermal.ffc import FfcHold
from aenet_ros.thermal.sensor_correction import SensorCorrection


class Agc(ThermalAgc):
    def __init__(self, config=None):
        super().__init__()
        self.config = config or AgcConfig()

    def apply(self, frame, columns=None):
        return super().apply(frame, self.config, columns)

    low = property(lambda self: self.range_in_use.low)
    high = property(lambda self: self.range_in_use.high)


class Hold(FfcHold):
    def __init__(self, config=None):
        super().__init__()
        self.config, self.driver_closed = config or ShutterConfig(), False

    def apply(self, frame):
        return super().apply(frame, self.config, self.driver_closed)


class Correction(SensorCorrection):
    def __init__(self, config=None):
        super().__init__()
        self.config = config or SensorConfig()

    def observe(self, frame, shutter_closed=False):
        super().observe(frame, self.config, shutter_closed)

    def update(self):
        super().update(self.config)

    def replace(self, plane):
        if self.bad_pixels is not None:
            replace_bad_pixels(plane, self.bad_pixels)
        return plane


class Resolution(AdaptiveResolution):
    def __init__(self, config=None, period_ns=33_333_333):
        super().__init__()
        self.config, self.period_ns = config or LatencyConfig(), period_ns

    def record(self, total_ns, fusion_ns):
        super().record(total_ns, fusion_ns, self.config, self.period_ns)
