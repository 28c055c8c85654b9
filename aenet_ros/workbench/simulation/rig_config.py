"""Options of the synthetic rig: sizes, rates, clocks, faults and geometry."""

from dataclasses import dataclass

from aenet_ros.config.options import check_group, option
from aenet_ros.core.errors import ConfigError

SCENES = ("day", "night", "smoke")


@dataclass(frozen=True)
class RigConfig:
    """A thermal and an rgb camera side by side; each field is a parameter of ``aenet_rig_node``.

    Raises ConfigError for a value out of range. View pixels are pixels of a picture 640 pixels wide.
    """

    thermal_width: int = option(640, "Width of the thermal frames.", bounds=(16, 4096), unit="px")
    thermal_height: int = option(512, "Height of the thermal frames.", bounds=(16, 4096), unit="px")
    rgb_width: int = option(640, "Width of the rgb frames.", bounds=(16, 4096), unit="px")
    rgb_height: int = option(512, "Height of the rgb frames.", bounds=(16, 4096), unit="px")
    thermal_hz: float = option(30.0, "Rate of the thermal camera.", bounds=(0.1, 1000.0), unit="Hz")
    rgb_hz: float = option(30.0, "Rate of the rgb camera.", bounds=(0.1, 1000.0), unit="Hz")
    phase_ms: float = option(0.0, "Delay of the thermal capture after the rgb capture.", bounds=(0.0, 1000.0), unit="ms")
    offset_ms: float = option(0.0, "Clock offset: thermal stamp minus rgb stamp of the same instant.", bounds=(-1e7, 1e7), unit="ms")
    jitter_ms: float = option(0.0, "Standard deviation of the stamps' error, clipped at three times that.", bounds=(0.0, 1000.0), unit="ms")
    thermal_drop: float = option(0.0, "Share of the thermal frames that are lost.", bounds=(0.0, 1.0))
    rgb_drop: float = option(0.0, "Share of the rgb frames that are lost.", bounds=(0.0, 1.0))
    shutter_period_s: float = option(0.0, "Time between two shutter events of the thermal camera; 0: none.", bounds=(0.0, 3600.0), unit="s")
    shutter_s: float = option(0.3, "Duration of a shutter event; the thermal picture is frozen meanwhile.", bounds=(0.0, 60.0), unit="s")
    scenes: str = option("day,night,smoke", "Scenes in turn, separated by commas: any of day, night, smoke.")
    scene_s: float = option(3.5, "Duration of each scene.", bounds=(0.1, 86400.0), unit="s")
    motion: float = option(1.0, "Amplitude of the cameras' motion; 0: they stand still.", bounds=(0.0, 1.5))
    walking: bool = option(True, "False: the people stand still.")
    zoom: float = option(0.95, "Scale of the thermal picture relative to rgb; above 1 it sees less.", bounds=(0.5, 3.0))
    rotation_deg: float = option(0.8, "Rotation of the thermal camera about its optical axis.", bounds=(-180.0, 180.0), unit="deg")
    shift_x: float = option(6.0, "Shift of the thermal picture to the right.", bounds=(-320.0, 320.0), unit="view px")
    shift_y: float = option(-3.0, "Shift of the thermal picture downwards.", bounds=(-320.0, 320.0), unit="view px")
    keystone: float = option(0.0, "Perspective term of the homography along x, in 1 / view px.", bounds=(-5e-4, 5e-4))
    lens_k1: float = option(
        0.0, "Radial distortion of the thermal lens (r = 1 at half the width); negative is a barrel.", bounds=(-0.3, 0.3)
    )
    parallax_px: float = option(
        1.5, "Shift of the nearest person against the backdrop in the thermal picture.", bounds=(-64.0, 64.0), unit="view px"
    )
    noise_celsius: float = option(0.06, "Standard deviation of the thermal camera's noise.", bounds=(0.0, 10.0), unit="degC")
    column_celsius: float = option(
        0.12, "Standard deviation of the column pattern; new after each shutter event.", bounds=(0.0, 10.0), unit="degC"
    )
    dead_pixels: int = option(0, "Thermal pixels that stick at 0 or at 65535 counts.", bounds=(0, 100_000))
    weak_pixels: int = option(0, "Thermal pixels that read 5 degrees too high or too low.", bounds=(0, 100_000))
    rgb_noise: float = option(1.0, "Factor on the rgb camera's noise.", bounds=(0.0, 10.0))
    seed: int = option(1, "Seed of everything random; the same seed gives the same frames.", bounds=(0, 2**31 - 1))

    def __post_init__(self) -> None:
        check_group(self)
        unknown = [name for name in self.scene_names if name not in SCENES]
        if unknown or not self.scene_names:
            raise ConfigError(f"scenes: '{self.scenes}' is not known; give any of {', '.join(SCENES)}, separated by commas")
        if self.shutter_period_s and self.shutter_s >= self.shutter_period_s:
            raise ConfigError(f"shutter_s ({self.shutter_s:g}) must be less than shutter_period_s ({self.shutter_period_s:g})")

    @property
    def scene_names(self) -> tuple[str, ...]:
        """The scenes in turn."""
        return tuple(name.strip() for name in self.scenes.split(",") if name.strip())

    @property
    def thermal_size(self) -> tuple[int, int]:
        """Height and width of the thermal frames."""
        return self.thermal_height, self.thermal_width

    @property
    def rgb_size(self) -> tuple[int, int]:
        """Height and width of the rgb frames."""
        return self.rgb_height, self.rgb_width
