"""Automatic gain control (AGC): the range of thermal counts that becomes brightness 0..1, smoothed over frames."""

import math
from typing import NamedTuple

import numpy as np

from aenet_ros.config import AgcConfig
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Frame, Plane, ThermalInput, render_brightness
from aenet_ros.thermal.temperature import scale_of

SAMPLE_PIXELS = 10_000  # their percentiles are within 0.3 percentage points of the whole frame's
NOMINAL_PERIOD_NS = 33_333_333  # assumed where stamps stand still or jump back
FLOAT_UNIT_COUNTS = 32.0  # counts of AgcConfig.min_range that stand for one unit (usually a degree) of a float frame
ENCODINGS = ("mono8", "mono16", "32FC1")


class Range(NamedTuple):
    """The counts that become 0 and 1; ``low > high`` inverts the counts."""

    low: float
    high: float


class Gain(NamedTuple):
    """Brightness is ``(counts - black) * factor``, clipped to 0..1. Both have the precision of float32."""

    black: float
    factor: float


class ThermalAgc:
    """Chooses the gain of each frame and smooths it over time; one instance for each camera.

    ``range_in_use``: the counts that became black and white in the latest frame. ``resets``: number of times that the range started anew
    because the scene changed.
    """

    def __init__(self) -> None:
        self.resets = 0
        self.range_in_use = Range(0.0, 1.0)
        self._range: Range | None = None  # smoothed; None until a frame with finite pixels came
        self._stamp_ns = 0
        self._encoding = ""

    def gain(self, thermal: Frame, config: AgcConfig) -> Gain:
        """The gain of a frame in mono8, mono16 or 32FC1, [H, W]; to be called once for each frame, in order of time.

        Raises ImageError for another encoding or an empty frame.
        """
        if thermal.encoding not in ENCODINGS:
            raise ImageError(f"a thermal frame in {thermal.encoding} has no counts; give one of {', '.join(ENCODINGS)}")
        if thermal.data.ndim != 2 or thermal.data.size == 0:
            raise ImageError(f"a thermal frame of shape {thermal.data.shape} has no pixels; it must be [H, W]")
        self.range_in_use = self._choose(thermal, config)
        return gain_of(self.range_in_use, config.invert)

    def apply(self, thermal: Frame, config: AgcConfig, columns: Plane | None = None) -> Plane:
        """Brightness of a frame, a new float32 [H, W] in 0..1; NaN and infinity become 0. Arguments and errors as ``gain``.

        ``columns``, float32 [W]: counts that each column reads too high.
        """
        return render_brightness(ThermalInput(thermal.data, *self.gain(thermal, config), columns))

    def _choose(self, thermal: Frame, config: AgcConfig) -> Range:
        if config.mode == "fixed" and config.unit == "celsius":
            scale = scale_of(config)  # a camera whose counts fall with the temperature has low above high
            return Range(scale.counts(config.fixed_low), scale.counts(config.fixed_high))
        if config.mode == "fixed":
            return Range(config.fixed_low, config.fixed_high)
        if config.mode == "auto" and thermal.encoding == "mono8":
            return Range(0.0, 255.0)
        if thermal.encoding != self._encoding:  # another camera or another mode: earlier counts have no meaning
            self._range, self._encoding = None, thermal.encoding
        sample = sorted_sample(thermal.data)
        if sample.size:
            self._range = self._smooth_range(sample, thermal, config)
        self._stamp_ns = thermal.stamp_ns
        return self._range or Range(0.0, 1.0)

    def _smooth_range(self, sample: Array, thermal: Frame, config: AgcConfig) -> Range:
        least = config.min_range / (FLOAT_UNIT_COUNTS if thermal.encoding == "32FC1" else 1.0)
        target = percentile_range(sample, config.low_percentile, config.high_percentile, least)
        if self._range is None:
            return target
        # A hot object that enters the view leaves the rest of the scene inside: no scene cut, though the ranges differ much.
        first, last = np.searchsorted(sample, self._range.low, "left"), np.searchsorted(sample, self._range.high, "right")
        if (last - first) / sample.size < config.scene_cut:
            self.resets += 1
            return target
        elapsed_ns = thermal.stamp_ns - self._stamp_ns
        smoothed = smooth(self._range, target, elapsed_ns if elapsed_ns > 0 else NOMINAL_PERIOD_NS, config.smoothing_s)
        # After a huge jump of scale (float counts of 1, then 1e38) rounding makes both ends equal.
        return smoothed if smoothed.high - smoothed.low > 1e-6 * max(abs(smoothed.low), abs(smoothed.high)) else target


def sorted_sample(counts: Array) -> Array:
    """About SAMPLE_PIXELS finite values of a frame [H, W] on a regular grid, ascending; empty if none is finite."""
    stride = max(1, math.isqrt(counts.size // SAMPLE_PIXELS))
    sample = np.sort(counts[stride // 2 :: stride, stride // 2 :: stride], axis=None)
    return sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample


def percentile_range(sample: Array, low_percentile: float, high_percentile: float, least: float) -> Range:
    """The percentiles (nearest rank) of an ascending sample, widened about their centre to at least ``least`` counts."""
    last = sample.size - 1
    low, high = (float(sample[round(last * percentile / 100.0)]) for percentile in (low_percentile, high_percentile))
    least = max(least, 1e-6 * max(abs(low), abs(high)), 1e-9)  # float32 resolves no less; and the width is a divisor
    if high - low >= least:
        return Range(low, high)
    middle = (low + high) / 2.0
    return Range(middle - least / 2.0, middle + least / 2.0)


def smooth(current: Range, target: Range, elapsed_ns: int, time_constant_s: float) -> Range:
    """The range between ``current`` and ``target`` after ``elapsed_ns``.

    The logarithm of the width follows exponentially, and both ends move in proportion: contrast changes by the same factor a frame in both
    directions. Smoothing the counts themselves would let a hot object that widens the range a hundred times darken the scene in one frame,
    and keep it dark long after the object has left.
    """
    alpha = 1.0 - math.exp(-elapsed_ns * 1e-9 / time_constant_s) if time_constant_s > 0 else 1.0
    ratio = (target.high - target.low) / (current.high - current.low)
    step = alpha if abs(ratio - 1.0) < 1e-6 else (ratio**alpha - 1.0) / (ratio - 1.0)
    return Range(current.low + step * (target.low - current.low), current.high + step * (target.high - current.high))


def gain_of(ends: Range, invert: bool) -> Gain:
    """The gain that makes the low end black and the high end white; ``invert`` swaps them."""
    black, white = (ends.high, ends.low) if invert else (ends.low, ends.high)
    width = white - black
    return Gain(float(np.float32(black)), float(np.float32(1.0 / width)) if width else 0.0)
