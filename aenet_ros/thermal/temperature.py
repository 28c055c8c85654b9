"""What counts mean in degrees: cameras' scales by name, the temperature at a pixel, and a band of temperatures drawn in colour."""

from typing import NamedTuple

import numpy as np

from aenet_ros.config import AgcConfig, Config, build
from aenet_ros.core.errors import ConfigError, ImageError, similar
from aenet_ros.core.frames import Array, Frame, Plane
from aenet_ros.core.valid import ABSOLUTE_ZERO

KELVIN = -273.15  # degrees Celsius at 0 K
PLAUSIBLE = (-150.0, 3000.0)  # degrees Celsius in the middle of a frame


class Scale(NamedTuple):
    """``celsius = counts * per_count + at_zero``."""

    per_count: float
    at_zero: float

    def counts(self, celsius: float) -> float:
        """The counts of a temperature."""
        return (celsius - self.at_zero) / self.per_count


class Profile(NamedTuple):
    """A camera's scale, None where its counts are no temperatures by themselves; where that was read. docs/cameras.md says more."""

    scale: Scale | None
    source: str


PROFILES: dict[str, Profile] = {
    "auto": Profile(None, ""),
    "generic": Profile(None, ""),
    "celsius": Profile(Scale(1.0, 0.0), "the unit"),
    "kelvin": Profile(Scale(1.0, KELVIN), "the unit"),
    "centikelvin": Profile(Scale(0.01, KELVIN), "the unit"),
    "boson": Profile(None, "https://github.com/FLIR/BosonUSB/issues/14"),
    "adk": Profile(None, "https://github.com/VegaVK/flir_adk_multi, which drives ADKs with astuff/flir_boson_usb"),
    # TLinear on, at resolution 0.01 K (telemetry row C, word 49: 1)
    "lepton": Profile(Scale(0.01, KELVIN), "FLIR Lepton engineering datasheet 500-0659-00-09 rev. 203, page 27"),
    # 14-bit temperature-linear output at high resolution (-25 to +135 degC), as read for the Duo Pro R; at low, 0.4 K a count
    "tau2": Profile(Scale(0.04, KELVIN), "FLIR Duo Pro R user guide rev. 1.0, page 39"),
    # 32FC1 of the frame format THERMOGRAPHY_FLOAT
    "seek": Profile(Scale(1.0, 0.0), "https://github.com/seekthermal/seekcamera-python, seekcamera/camera.py, class SeekCameraFrameFormat"),
    # thermal_image of optris_drivers: (counts - 1000) / 10
    "optris": Profile(Scale(0.1, -100.0), "https://github.com/evocortex/optris_drivers/issues/21"),
    # 16-bit temperature frame of the P2 Pro: counts / 64 K
    "infiray": Profile(Scale(1.0 / 64.0, KELVIN), "https://github.com/ks00x/p2proviewer, p2profile.py"),
    # L8 at the default linear resolution of 3 K; 16-bit frames are centikelvin
    "gazebo8": Profile(Scale(3.0, KELVIN), "https://github.com/gazebosim/gz-sensors, tutorials/thermal_camera.md"),
}


def scale_of(config: AgcConfig) -> Scale:
    """The scale of ``config.profile``; where that has none, ``celsius_per_count`` and ``celsius_at_zero``."""
    return PROFILES[config.profile].scale or Scale(config.celsius_per_count, config.celsius_at_zero)


def is_radiometric(config: AgcConfig) -> bool:
    """Whether the configuration says what the counts mean in degrees: a profile with a scale, or a scale other than the default one."""
    return PROFILES[config.profile].scale is not None or scale_of(config) != scale_of(AgcConfig())


def with_driver_profile(config: Config, profile: str) -> tuple[Config, str]:
    """``config`` with the ``agc.profile`` that the camera's driver makes certain (empty: none), and a sentence on it.

    A profile or a scale that the user has set is kept.
    """
    if not profile or config.agc.profile == profile:
        return config, ""
    found = f"agc.profile {profile} by the conventions of the camera's driver"
    if config.agc.profile == "auto" and not is_radiometric(config.agc):
        return build({"agc.profile": profile}, config), f"{found}; set agc.profile to override it"
    kept = "the scale" if config.agc.profile == "auto" else f"agc.profile {config.agc.profile}"
    return config, f"{kept} is kept as set; without it: {found}"


def temperature(frame: Frame, profile: str | AgcConfig) -> Plane:
    """Degrees Celsius of a thermal frame, float32 [H, W]; NaN where a pixel has no value.

    ``profile``: a name of PROFILES, or the configuration with its scale. Raises ConfigError for a name that is not known, ImageError where
    the profile gives no degrees or the frame's values cannot be temperatures of its scale.
    """
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise ConfigError(f"agc.profile '{profile}' is not known{similar(profile, PROFILES)}; give one of {', '.join(PROFILES)}")
        profile = AgcConfig(profile=profile)
    check_radiometric(profile)
    check_scale(frame.data, profile)
    degrees = celsius(frame.data, scale_of(profile))
    if frame.invalid is not None:
        degrees[frame.invalid] = np.nan
    return degrees


def check_radiometric(config: AgcConfig) -> None:
    """Raise ImageError where the configuration does not say what counts mean."""
    if not is_radiometric(config):
        raise ImageError(
            f"no degrees: agc.profile {config.profile} does not say what counts mean. Set the camera's profile (docs/cameras.md), or "
            "celsius, kelvin or centikelvin where the values are these"
        )


def check_scale(thermal: Array, config: AgcConfig) -> None:
    """Raise ImageError where a frame's values, uint8, uint16 or float32 [H, W], cannot be temperatures of the configured scale."""
    sample = thermal[thermal.shape[0] // 8 :: 8, thermal.shape[1] // 8 :: 8]
    sample = sample[np.isfinite(sample) & (sample != 0)]
    if not sample.size:
        return
    middle = float(np.median(sample))
    scale = scale_of(config)
    degrees = middle * scale.per_count + scale.at_zero
    if not PLAUSIBLE[0] <= degrees <= PLAUSIBLE[1]:
        raise ImageError(
            f"by agc.profile {config.profile} the thermal value {middle:g} means {degrees:.1f} degrees Celsius: set the profile of the "
            "camera, or celsius, kelvin or centikelvin where the values are these"
        )


def celsius(registered: Array, scale: Scale) -> Plane:
    """Degrees Celsius, float32 [H, W], of ``fused/thermal_registered`` (uint8, uint16 or float32 [H, W]).

    NaN where it has no counts, or they mean absolute zero or less.
    """
    degrees: Plane = np.multiply(registered, np.float32(scale.per_count), dtype=np.float32)
    degrees += np.float32(scale.at_zero)
    if registered.dtype.kind == "u":
        degrees[registered == 0] = np.nan
    elif scale.per_count > 0:
        with np.errstate(invalid="ignore"):
            degrees[degrees <= ABSOLUTE_ZERO] = np.nan
    return degrees


def celsius_at(registered: Array, x: float, y: float, scale: Scale) -> float:
    """Degrees Celsius at pixel (x, y) of the fused picture, the nearest one's; NaN outside the picture and outside the thermal view."""
    column, row = round(x), round(y)
    if not (0 <= row < registered.shape[0] and 0 <= column < registered.shape[1]):
        return float("nan")
    return float(celsius(registered[row : row + 1, column : column + 1], scale)[0, 0])


COLORS = {
    "red": (255, 40, 30),
    "orange": (255, 140, 0),
    "yellow": (255, 235, 0),
    "green": (40, 220, 60),
    "cyan": (0, 220, 255),
    "magenta": (255, 40, 220),
}
"""Red, green, blue of ``output.isotherm_color``."""


def isotherm_counts(config: Config) -> tuple[float, float]:
    """The lowest and the highest count of ``output.isotherm_low`` to ``isotherm_high``, by the scale of ``agc.profile``."""
    scale, output = scale_of(config.agc), config.output
    low, high = sorted((scale.counts(output.isotherm_low), scale.counts(output.isotherm_high)))
    return low, high


def counts_within(registered: Array, low: float, high: float) -> Array:
    """Where counts, 0 or NaN where there are none, lie in ``low`` to ``high``: bool [H, W]."""
    inside: Array = (registered >= low) & (registered <= high)
    if registered.dtype.kind == "u":
        inside &= registered != 0
    return inside


def draw_isotherm(image: Array, encoding: str, registered: Array, low: float, high: float, color: str) -> Array:
    """``image`` (uint8 in ``encoding`` rgb8, bgr8 or mono8) tinted half with the colour where counts lie in ``low`` to ``high``.

    ``registered``: counts on the picture's grid, 0 or NaN where there are none.
    """
    inside = counts_within(registered, low, high)
    if not inside.any():
        return image
    tint = np.array({"rgb8": COLORS[color], "bgr8": COLORS[color][::-1], "mono8": (255,)}[encoding], np.uint8) >> 1
    drawn = image.copy()
    drawn[inside] = (image[inside] >> 1) + (tint if image.ndim == 3 else tint[0])
    return drawn
