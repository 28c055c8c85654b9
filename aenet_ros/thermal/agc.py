"""Automatic gain control: a thermal camera's counts to brightness 0..1, steady from frame to frame."""

import math
from typing import NamedTuple

import numpy as np

from aenet_ros.config import AgcConfig
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Frame, Plane
from aenet_ros.thermal.temperature import scale_of

SAMPLE_PIXELS = 10_000  # percentiles of so many pixels are within 0.3 percentage points of the whole frame's, for 20 us of sorting
NOMINAL_PERIOD_NS = 33_333_333  # taken for the time between frames whose stamps stand still or jump back
FLOAT_UNIT_COUNTS = 32.0  # a float frame's own unit (a degree, as a rule) against AgcConfig.min_range, which is in counts
BIT_DEPTH = {"mono8": 8, "mono16": 16, "32FC1": 32}


class Range(NamedTuple):
    """The counts that become 0 and 1; ``low > high`` turns the picture over."""

    low: float
    high: float


class Gain(NamedTuple):
    """Brightness is ``(counts - black) * factor``, clipped to 0..1; both are float32 numbers."""

    black: float
    factor: float


class ThermalAgc:
    """Scales thermal frames to 0..1 and keeps the range steady; one instance for each camera.

    ``config`` may be replaced between frames. ``low`` and ``high`` are the counts that became black and white in
    the latest frame; ``resets`` counts the frames at which the range started anew because the scene changed.
    """

    def __init__(self, config: AgcConfig | None = None) -> None:
        self.config = config or AgcConfig()
        self.resets = 0
        self._range: Range | None = None  # smoothed; None until a frame with finite pixels came
        self._used = Range(0.0, 1.0)
        self._stamp_ns = 0
        self._encoding = ""
        self._out: Plane = np.empty((0, 0), np.float32)

    @property
    def low(self) -> float:
        """Counts that became 0 (black) in the latest frame."""
        return self._used.low

    @property
    def high(self) -> float:
        """Counts that became 1 (white) in the latest frame."""
        return self._used.high

    def apply(self, thermal: Frame, columns: Plane | None = None) -> Plane:
        """Brightness float32 [H, W] in 0..1 of a frame in mono8, mono16 or 32FC1; NaN and infinity become 0.

        ``columns``, float32 [W], are counts that each column reads too high.
        The array belongs to this object and is written anew by the next call: copy it to keep it.
        Raises ImageError for another encoding or an empty frame.
        """
        return self.scale(thermal, self.gain(thermal), columns)

    def scale(self, thermal: Frame, gain: Gain, columns: Plane | None = None) -> Plane:
        """The second half of ``apply``, which a device may do in its place."""
        if self._out.shape != thermal.data.shape:
            self._out = np.empty(thermal.data.shape, np.float32)
        scale_to_unit(thermal.data, gain, self._out, columns)
        return self._out

    def gain(self, thermal: Frame) -> Gain:
        """The first half of ``apply``, to be called once for each frame, in turn: how it is to be scaled."""
        if thermal.encoding not in BIT_DEPTH:
            raise ImageError(f"a thermal frame in {thermal.encoding} has no counts; give one of {', '.join(BIT_DEPTH)}")
        if thermal.data.ndim != 2 or thermal.data.size == 0:
            raise ImageError(f"a thermal frame of shape {thermal.data.shape} has no pixels; it must be [H, W]")
        self._used = self._choose(thermal)
        return gain_of(self._used, self.config.invert)

    def _choose(self, thermal: Frame) -> Range:
        config = self.config
        if config.mode == "fixed":
            return fixed_range(config)
        if config.mode == "auto" and thermal.encoding == "mono8":
            return Range(0.0, 255.0)
        if thermal.encoding != self._encoding:  # another camera or another mode of it: old counts mean nothing
            self._range, self._encoding = None, thermal.encoding
        sample = sorted_sample(thermal.data)
        if sample.size:
            self._range = self._follow(sample, thermal)
        self._stamp_ns = thermal.stamp_ns
        return self._range or Range(0.0, 1.0)

    def _follow(self, sample: Array, thermal: Frame) -> Range:
        config = self.config
        least = config.min_range / (FLOAT_UNIT_COUNTS if thermal.encoding == "32FC1" else 1.0)
        target = percentile_range(sample, config.low_percentile, config.high_percentile, least)
        if self._range is None:
            return target
        if share_inside(sample, self._range) < config.scene_cut:
            self.resets += 1
            return target
        elapsed_ns = thermal.stamp_ns - self._stamp_ns
        between = smooth(self._range, target, elapsed_ns if elapsed_ns > 0 else NOMINAL_PERIOD_NS, config.smoothing_s)
        # Float counts of 1e38 after such of 1 leave a range whose ends are rounded to one number.
        return between if between.high - between.low > 1e-6 * max(abs(between.low), abs(between.high)) else target


def fixed_range(config: AgcConfig) -> Range:
    """``fixed_low`` and ``fixed_high`` in counts; a camera whose counts fall with the temperature has low above high."""
    if config.unit == "counts":
        return Range(config.fixed_low, config.fixed_high)
    scale = scale_of(config)
    return Range(scale.counts(config.fixed_low), scale.counts(config.fixed_high))


def sorted_sample(counts: Array) -> Array:
    """About SAMPLE_PIXELS finite values of a frame [H, W] on a regular grid, ascending; empty if none is finite."""
    stride = max(1, math.isqrt(counts.size // SAMPLE_PIXELS))
    sample = np.sort(counts[stride // 2 :: stride, stride // 2 :: stride], axis=None)
    if sample.dtype.kind == "f":
        sample = sample[np.isfinite(sample)]
    return sample


def percentile_range(sample: Array, low_percentile: float, high_percentile: float, least: float) -> Range:
    """The percentiles (nearest rank) of an ascending sample, widened about their middle to ``least`` counts."""
    last = sample.size - 1
    low = float(sample[round(last * low_percentile / 100.0)])
    high = float(sample[round(last * high_percentile / 100.0)])
    least = max(least, 1e-6 * max(abs(low), abs(high)), 1e-9)  # float32 tells apart no less, and the width divides
    if high - low >= least:
        return Range(low, high)
    middle = (low + high) / 2.0
    return Range(middle - least / 2.0, middle + least / 2.0)


def share_inside(sample: Array, counts: Range) -> float:
    """Share of an ascending sample that lies in the range, ends included.

    Something hot that enters leaves the rest of the scene inside, so it is no scene cut however hot it is;
    comparing the ranges themselves would call it one.
    """
    first, last = np.searchsorted(sample, counts.low, "left"), np.searchsorted(sample, counts.high, "right")
    return float(last - first) / sample.size


def smooth(current: Range, target: Range, elapsed_ns: int, time_constant_s: float) -> Range:
    """The range on its way from ``current`` to ``target`` after ``elapsed_ns``.

    The logarithm of the width follows exponentially, and both ends go in step. In the counts themselves a hot
    object that widens the range a hundred times would darken the scene in one frame, and keep it dark for long
    after it left; this way the contrast changes by the same factor a frame in both directions.
    """
    alpha = 1.0 - math.exp(-elapsed_ns * 1e-9 / time_constant_s) if time_constant_s > 0 else 1.0
    ratio = (target.high - target.low) / (current.high - current.low)
    step = alpha if abs(ratio - 1.0) < 1e-6 else (ratio**alpha - 1.0) / (ratio - 1.0)
    return Range(current.low + step * (target.low - current.low), current.high + step * (target.high - current.high))


def gain_of(ends: Range, invert: bool) -> Gain:
    """The gain that makes the low end black and the high end white, or the other way round."""
    black, white = (ends.high, ends.low) if invert else (ends.low, ends.high)
    width = white - black
    return Gain(float(np.float32(black)), float(np.float32(1.0 / width)) if width else 0.0)


def scale_to_unit(counts: Array, gain: Gain, out: Plane, columns: Plane | None = None) -> None:
    """Write ``(counts - columns - black) * factor``, clipped to 0..1, into ``out``; NaN and infinity become 0."""
    black, factor = np.float32(gain.black), np.float32(gain.factor)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite and huge values are dealt with below
        np.subtract(counts, black if columns is None else columns + black, out=out, dtype=np.float32)
        np.multiply(out, factor, out=out)
    np.clip(out, 0.0, 1.0, out=out)
    if counts.dtype.kind == "f":
        finite = np.isfinite(counts)
        if not finite.all():
            out[~finite] = 0.0
