"""What the synthetic rig can be told: sizes, rates, clocks, faults and geometry."""

from dataclasses import dataclass

from aenet_ros.config.options import check_group, option
from aenet_ros.core.errors import ConfigError
from aenet_ros.workbench.simulation.scenes import SCENES


@dataclass(frozen=True)
class RigConfig:
    """A thermal and an rgb camera side by side; ``rig_node`` offers each field as a parameter.

    Raises ConfigError for a value out of bounds. Lengths called view pixels are pixels of a picture 640 wide.
    """

    thermal_width: int = option(640, "Width of the thermal frames.", bounds=(16, 4096), unit="px")
    thermal_height: int = option(512, "Height of the thermal frames.", bounds=(16, 4096), unit="px")
    rgb_width: int = option(640, "Width of the rgb frames.", bounds=(16, 4096), unit="px")
    rgb_height: int = option(512, "Height of the rgb frames.", bounds=(16, 4096), unit="px")
    thermal_hz: float = option(30.0, "Rate of the thermal camera.", bounds=(0.1, 1000.0), unit="Hz")
    rgb_hz: float = option(30.0, "Rate of the rgb camera.", bounds=(0.1, 1000.0), unit="Hz")
    phase_ms: float = option(
        0.0, "Time by which the thermal camera's capture comes after the rgb camera's.", bounds=(0.0, 1000.0), unit="ms"
    )
    offset_ms: float = option(
        0.0, "Thermal stamp minus rgb stamp of the same instant: the clocks' disagreement.", bounds=(-1e7, 1e7), unit="ms"
    )
    jitter_ms: float = option(0.0, "Standard deviation of each stamp's error, cut at three of them.", bounds=(0.0, 1000.0), unit="ms")
    thermal_drop: float = option(0.0, "Share of the thermal frames that are lost.", bounds=(0.0, 1.0))
    rgb_drop: float = option(0.0, "Share of the rgb frames that are lost.", bounds=(0.0, 1.0))
    shutter_period_s: float = option(0.0, "Time between two shutter events of the thermal camera; 0: none.", bounds=(0.0, 3600.0), unit="s")
    shutter_s: float = option(0.3, "Length of a shutter event, in which the thermal picture is frozen.", bounds=(0.0, 60.0), unit="s")
    scenes: str = option("day,night,smoke", "Scenes to walk through, in turn: any of day, night, smoke, with commas between.")
    scene_s: float = option(3.5, "Time that each scene lasts.", bounds=(0.1, 86400.0), unit="s")
    motion: float = option(1.0, "Size of the cameras' own motion; 0 stands still.", bounds=(0.0, 1.5))
    walking: bool = option(True, "False: the people stand still.")
    zoom: float = option(0.95, "The thermal picture's scale against the rgb one's; over 1 it sees less.", bounds=(0.5, 3.0))
    rotation_deg: float = option(0.8, "Turn of the thermal camera about its axis.", bounds=(-180.0, 180.0), unit="deg")
    shift_x: float = option(6.0, "Shift of the thermal picture to the right.", bounds=(-320.0, 320.0), unit="view px")
    shift_y: float = option(-3.0, "Shift of the thermal picture downwards.", bounds=(-320.0, 320.0), unit="view px")
    keystone: float = option(0.0, "Perspective term of the homography along x, in 1 / view px.", bounds=(-5e-4, 5e-4))
    lens_k1: float = option(
        0.0, "Radial distortion of the thermal lens (r = 1 at half the width); negative is a barrel.", bounds=(-0.3, 0.3)
    )
    parallax_px: float = option(
        1.5, "Shift of the nearest body in the thermal picture against the backdrop.", bounds=(-64.0, 64.0), unit="view px"
    )
    noise_celsius: float = option(0.06, "Standard deviation of the thermal camera's noise.", bounds=(0.0, 10.0), unit="degC")
    column_celsius: float = option(
        0.12, "Standard deviation of the fixed pattern from column to column; new after each shutter.", bounds=(0.0, 10.0), unit="degC"
    )
    dead_pixels: int = option(0, "Thermal pixels that stick at 0 or at 65535 counts.", bounds=(0, 100_000))
    weak_pixels: int = option(0, "Thermal pixels that read 5 degrees too high or too low.", bounds=(0, 100_000))
    rgb_noise: float = option(1.0, "Factor on the rgb camera's noise.", bounds=(0.0, 10.0))
    seed: int = option(1, "Seed of everything random; the same seed gives the same frames.", bounds=(0, 2**31 - 1))

    def __post_init__(self) -> None:
        check_group(self)
        unknown = [name for name in self.scene_names if name not in SCENES]
        if unknown or not self.scene_names:
            raise ConfigError(f"scenes: '{self.scenes}' is not known; give names out of {', '.join(SCENES)} with commas between")
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
