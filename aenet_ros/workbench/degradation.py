"""Degraded thermal and rgb pictures, by physical models: weather, light, exposure, sensor noise, low contrast, misregistration.

Planes are float32 [H, W] in 0..1, display values as an 8-bit picture has them; models of the rgb camera convert to linear light and back
(sRGB, IEC 61966-2-1). Structures have a size in pixels, so a crop is degraded like a part of the frame. Every function returns a new plane,
which depends on the arguments and the state of ``rng`` only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane

Planes = tuple[Plane, Plane]
"""Thermal and luma."""
Rng = np.random.Generator

FRAME_S = 0.04  # between consecutive frames

_ELECTRONS = 10_000.0  # of a white rgb pixel at full exposure
_READ_NOISE = 2.5  # electrons


# The rgb camera


def fog(luma: Plane, rng: Rng, thickness: float, airlight: float, horizon: float) -> Plane:
    """J t + A (1 - t) with t = exp(-thickness * depth) (Koschmieder 1924), A the airlight relative to the brightest parts of the picture.

    Depth (0..1) is that of a ground plane below ``horizon`` (row as a share of the height), and varies smoothly above it.
    """
    below = (np.arange(luma.shape[0], dtype=np.float32) / luma.shape[0] - horizon)[:, None]
    ground = 0.06 / np.maximum(below, 0.06)  # distance is inverse to the rows below the horizon
    rough = noise_field(luma.shape, rng, cell=128.0, octaves=4)
    above = np.clip((0.06 - below) / 0.12, 0.0, 1.0)
    depth = ground * (1.0 - above * 0.25) * np.exp(0.2 * rough)
    bright = np.float32(np.clip(airlight * np.quantile(luma[::4, ::4], 0.95), 0.2, 0.95))
    passed = np.exp(-np.float32(thickness) * np.minimum(depth, 1.2)).astype(np.float32)
    return _to_display(_to_linear(luma) * passed + _to_linear(bright) * (1.0 - passed))


def smoke(luma: Plane, rng: Rng, thickness: float, brightness: float, cover: float, time_s: float = 0.0) -> Plane:
    """Drifting smoke: as ``fog``, with a turbulent density (fractal noise, warped by other noise) in place of depth.

    ``thickness``: optical depth where the density is 1. ``brightness``: 0..1. ``cover``: -0.5 (wisps) to 0.6 (nearly all). With equal
    ``rng`` state it moves smoothly with ``time_s``.
    """
    heading, speed = rng.uniform(-np.pi, np.pi), rng.uniform(10.0, 60.0)  # pixels/s
    drift = time_s * speed * np.array([np.sin(heading), np.cos(heading)])
    curl = [24.0 * noise_field(luma.shape, rng, cell=80.0, octaves=2, offset=0.5 * drift) for _ in range(2)]
    density = _moved(noise_field(luma.shape, rng, cell=160.0, octaves=5, offset=drift), curl[0], curl[1])
    density = np.maximum(0.6 * density + np.float32(cover), 0.0)
    passed = np.exp(-np.float32(thickness) * density * density / (0.3 + density))  # soft edges
    return _to_display(_to_linear(luma) * passed + _to_linear(np.float32(brightness)) * (1.0 - passed))


def glare(luma: Plane, rng: Rng, lamps: int, power: float, streak: float) -> Plane:
    """Saturated lamps and bloom of the picture's own highlights: scattered light falls about as 1/r^2 (Spencer et al. 1995).

    ``power``: scattered light at a lamp's rim relative to white. ``streak``: share of it in one line through the lamp.
    """
    height, width = luma.shape
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None, :]
    light = _to_linear(luma)
    small = cv2.resize(np.maximum(light - 0.7, 0.0), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    bloom = cv2.GaussianBlur(small, (0, 0), 2.0) + cv2.GaussianBlur(small, (0, 0), 6.0)
    light = light + np.float32(0.4 * power) * cv2.resize(bloom, (width, height), interpolation=cv2.INTER_CUBIC)
    angle = rng.normal(0.0, 0.15) + (np.pi / 2 if rng.random() < 0.3 else 0.0)
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    for _ in range(lamps):
        radius = np.float32(rng.uniform(1.5, 9.0))
        down, across = rows - np.float32(rng.uniform(0, height)), columns - np.float32(rng.uniform(0, width))
        squared = (down * down + across * across) / radius**2
        distance = np.sqrt(squared)
        scattered = np.exp(-0.25 * squared) + 1.0 / (1.0 + 0.7 * distance) ** 2
        along, aside = np.abs(cosine * across + sine * down) / radius, np.abs(cosine * down - sine * across) / radius
        scattered += np.float32(streak) * np.exp(-3.0 * aside) / (1.0 + (along / 8.0) ** 2)
        light = light + np.float32(power) * scattered + np.clip((1.0 - distance) * radius + 0.5, 0.0, 1.0)
    return _to_display(np.maximum(light, 0.0))


def low_light(luma: Plane, rng: Rng, stops: float, regain: float) -> Plane:
    """2^-``stops`` of the light, with shot and read noise (variance: electrons + 2.5^2, Janesick 2007), then gain.

    Demosaicing halves the deviation and correlates neighbours. ``regain``: share of the stops that gain makes good, 0..1.
    """
    electrons = _to_linear(luma) * np.float32(_ELECTRONS * 2.0**-stops)
    noise = cv2.GaussianBlur(rng.standard_normal(luma.shape, np.float32), (3, 3), 0.6)
    electrons += noise * np.sqrt(electrons + np.float32(_READ_NOISE**2))
    return _to_display(np.maximum(electrons * np.float32(2.0 ** (regain * stops) / _ELECTRONS), 0.0))


def over_exposed(luma: Plane, stops: float) -> Plane:
    """2^``stops`` times the light, cut at white."""
    return _to_display(_to_linear(luma) * np.float32(2.0**stops))


def under_exposed(luma: Plane, rng: Rng, stops: float) -> Plane:
    """2^-``stops`` of the light, without gain: few 8-bit levels are left."""
    return _quantised(low_light(luma, rng, stops, 0.0))


def rgb_blur(luma: Plane, rng: Rng, radius: float) -> Plane:
    """Defocus (a disc) or motion (a line of random direction), of ``radius`` or half length in pixels, in linear light."""
    half = int(np.ceil(radius))
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    if rng.random() < 0.5:
        kernel = np.clip(radius + 0.5 - np.hypot(rows, columns), 0.0, 1.0)
    else:
        angle = rng.uniform(0.0, np.pi)
        along, aside = np.cos(angle) * columns + np.sin(angle) * rows, np.cos(angle) * rows - np.sin(angle) * columns
        kernel = np.clip(radius + 0.5 - np.abs(along), 0.0, 1.0) * np.clip(1.0 - np.abs(aside), 0.0, 1.0)
    return _to_display(cv2.filter2D(_to_linear(luma), -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101))


# The thermal camera. Microbolometers differ from pixel to pixel and share an amplifier a column: 3-D noise (D'Agostino and Webb 1991)


def column_noise(thermal: Plane, rng: Rng, sigma: float) -> Plane:
    """Offsets of the column amplifiers: one normal value a column, standard deviation ``sigma``."""
    return clipped(thermal + np.float32(sigma) * rng.standard_normal((1, thermal.shape[1]), np.float32))


def row_noise(thermal: Plane, rng: Rng, sigma: float) -> Plane:
    """Noise of the rows' reset or supply: one normal value a row, standard deviation ``sigma``."""
    return clipped(thermal + np.float32(sigma) * rng.standard_normal((thermal.shape[0], 1), np.float32))


def stripes(thermal: Plane, rng: Rng, amplitude: float, period: float) -> Plane:
    """A periodic pattern over the columns, or seldom the rows, of random phase: interference, or interleaved read-out."""
    if rng.random() < 0.25:
        return np.ascontiguousarray(_striped(thermal.T, rng, amplitude, period).T)
    return _striped(thermal, rng, amplitude, period)


def _striped(thermal: Plane, rng: Rng, amplitude: float, period: float) -> Plane:
    phase = 2.0 * np.pi * (np.arange(thermal.shape[1]) / period + rng.random())
    return clipped(thermal + (amplitude * np.sin(phase)).astype(np.float32))


def thermal_noise(thermal: Plane, rng: Rng, sigma: float) -> Plane:
    """Temporal noise (NETD after the AGC): normal, independent, standard deviation ``sigma``."""
    return clipped(thermal + np.float32(sigma) * rng.standard_normal(thermal.shape, np.float32))


def low_contrast(thermal: Plane, span: float, level: float) -> Plane:
    """Little contrast in a fixed 8-bit range: 0..1 becomes ``span`` whole counts about ``level`` (0..1), moved inside where it must be."""
    share = np.float32(span / 255.0)
    middle = np.float32(np.clip(level, share / 2, 1 - share / 2))
    return _quantised((thermal - 0.5) * share + middle)


def thermal_blur(thermal: Plane, sigma: float) -> Plane:
    """Defocus, or a low-resolution sensor enlarged to the rgb frame: Gaussian of ``sigma`` pixels."""
    return as_plane(cv2.GaussianBlur(thermal, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


def misregister(thermal: Plane, rng: Rng, pixels: float) -> Plane:
    """Parallax and calibration error: each pixel moves by less than ``pixels``, by a common shift and a smooth field."""
    shift = rng.normal(0.0, 0.8, 2)
    right, down = (part + 0.4 * noise_field(thermal.shape, rng, cell=128.0, octaves=2) for part in shift.astype(np.float32))
    factor = np.float32(pixels) / np.sqrt(1.0 + right * right + down * down)
    return clipped(_moved(thermal, right * factor, down * factor))


# The table


class Degradation(NamedTuple):
    """``plane``: which one it changes. ``ranges``: of its uniform parameters, inclusive where both ends are int.

    ``draws``: whether it takes a generator. ``temporal``: whether each frame has its own random pattern; else the pattern stays.
    """

    plane: str
    function: Callable[..., Plane]
    ranges: Mapping[str, tuple[float, float]]
    draws: bool = True
    temporal: bool = False


DEGRADATIONS: dict[str, Degradation] = {
    "fog": Degradation("luma", fog, {"thickness": (0.7, 5.0), "airlight": (0.8, 1.1), "horizon": (-0.2, 0.6)}),
    "smoke": Degradation("luma", smoke, {"thickness": (0.8, 4.0), "brightness": (0.25, 0.9), "cover": (-0.5, 0.6)}),
    "glare": Degradation("luma", glare, {"lamps": (1, 3), "power": (0.5, 6.0), "streak": (0.0, 0.5)}),
    "low_light": Degradation("luma", low_light, {"stops": (3.0, 8.0), "regain": (0.5, 0.9)}, temporal=True),
    "over_exposed": Degradation("luma", over_exposed, {"stops": (0.7, 2.5)}, draws=False),
    "under_exposed": Degradation("luma", under_exposed, {"stops": (1.5, 4.5)}, temporal=True),
    "rgb_blur": Degradation("luma", rgb_blur, {"radius": (1.0, 5.0)}),
    "column_noise": Degradation("thermal", column_noise, {"sigma": (0.004, 0.035)}, temporal=True),
    "row_noise": Degradation("thermal", row_noise, {"sigma": (0.004, 0.025)}, temporal=True),
    "stripes": Degradation("thermal", stripes, {"amplitude": (0.006, 0.04), "period": (2.0, 24.0)}),
    "thermal_noise": Degradation("thermal", thermal_noise, {"sigma": (0.004, 0.04)}, temporal=True),
    "low_contrast": Degradation("thermal", low_contrast, {"span": (10.0, 70.0), "level": (0.2, 0.8)}, draws=False),
    "thermal_blur": Degradation("thermal", thermal_blur, {"sigma": (0.7, 3.5)}, draws=False),
    "misregister": Degradation("thermal", misregister, {"pixels": (1.0, 6.0)}),
}


def degrade_clip(name: str, frames: Sequence[Planes], rng: Rng) -> list[Planes]:
    """Return consecutive frames, degraded with one random strength: noise differs from frame to frame, smoke drifts, the rest stays."""
    plane, function, ranges, draws, temporal = DEGRADATIONS[name]
    strength: dict[str, Any] = {
        name: int(rng.integers(low, high + 1)) if isinstance(low, int) and isinstance(high, int) else float(rng.uniform(low, high))
        for name, (low, high) in ranges.items()
    }
    seed = int(rng.integers(2**63))
    degraded = []
    for index, (thermal, luma) in enumerate(frames):
        if name == "smoke":
            strength["time_s"] = index * FRAME_S
        given = (rng if temporal else np.random.default_rng(seed),) if draws else ()
        after = function(thermal if plane == "thermal" else luma, *given, **strength)
        degraded.append((after, luma) if plane == "thermal" else (thermal, after))
    return degraded


# Shared parts


def noise_field(shape: tuple[int, ...], rng: Rng, cell: float, octaves: int, offset: Sequence[float] | Array = (0.0, 0.0)) -> Plane:
    """Return smooth fractal noise, float32 [H, W], about normal with mean 0 and standard deviation 1 over many draws.

    Each octave interpolates a periodic lattice of random values by cubic B-splines: ``cell`` pixels apart, then half of that with half of
    the amplitude. ``offset`` (down, right) moves it by pixels, fine octaves further.
    """
    field = np.zeros(shape[:2], np.float32)
    for octave in range(octaves):
        spacing = cell / 2**octave
        moved = rng.uniform(0.0, spacing, 2) - np.asarray(offset) * (1.0 + 0.2 * octave)
        down, across = (_spline_weights(length, spacing, float(first)) for length, first in zip(shape[:2], moved, strict=True))
        lattice = rng.standard_normal((down.shape[1], across.shape[1]), np.float32)
        field += np.float32(0.5**octave) * (down @ lattice @ across.T)
    # Interpolation leaves 151/315 of the standard deviation: the mean sum of the squared weights.
    return field / np.float32(151 / 315 * np.sqrt(sum(0.25**octave for octave in range(octaves))))


def _spline_weights(length: int, spacing: float, first: float) -> Plane:
    """Return the weights of the lattice values at each pixel, float32 [length, values]."""
    count = int(np.ceil(length / spacing)) + 4
    position = (np.arange(length) + first) / spacing
    index = np.floor(position).astype(int)
    t = position - index
    square, cube = t * t, t * t * t
    cubic = np.array([1 - 3 * t + 3 * square - cube, 4 - 6 * square + 3 * cube, 1 + 3 * (t + square - cube), cube]) / 6
    weights = np.zeros((length, count), np.float32)
    weights[np.arange(length), (index + np.arange(4)[:, None]) % count] = cubic
    return weights


def _moved(plane: Plane, right: Plane, down: Plane) -> Plane:
    """Return the plane sampled at each pixel's place plus (right, down), in pixels."""
    rows, columns = np.indices(plane.shape, np.float32)
    return as_plane(cv2.remap(plane, columns + right, rows + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def _to_linear(display: Any) -> Any:
    return np.where(display <= 0.04045, display / np.float32(12.92), ((display + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4))


def _to_display(linear: Plane) -> Plane:
    """Return display values of linear ones of at least 0; above 1 is white."""
    linear = np.minimum(linear, np.float32(1))
    power = as_plane(cv2.pow(linear, 1 / 2.4))
    return clipped(np.where(linear <= 0.0031308, linear * np.float32(12.92), np.float32(1.055) * power - np.float32(0.055)))


def _quantised(plane: Plane) -> Plane:
    return as_plane(np.rint(clipped(plane) * np.float32(255)) / np.float32(255))


def clipped(plane: Array) -> Plane:
    """Return values cut to 0..1 as a plane."""
    return as_plane(np.clip(plane, 0.0, 1.0))


def as_plane(values: Any) -> Plane:
    """Return values as contiguous float32."""
    return np.ascontiguousarray(values, np.float32)
