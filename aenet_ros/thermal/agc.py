"""Automatic gain control (AGC): the range of thermal counts that becomes brightness 0..1, smoothed over frames.

8-bit frames keep their values. Where a frame leaves the bright end unused, its hottest pixels alone are stretched into it: a stretch of all
values would also stretch the slow gradients of a sky, which then appear in the fused picture though no camera shows them.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from aenet_ros.config import AgcConfig
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Frame, Plane, ThermalInput, render_brightness
from aenet_ros.thermal.temperature import scale_of

SAMPLE_PIXELS = 10_000  # their percentiles are within 0.3 percentage points of the whole frame's
NOMINAL_PERIOD_NS = 33_333_333  # assumed where stamps stand still or jump back
FLOAT_UNIT_COUNTS = 32.0  # counts of AgcConfig.min_range that stand for one unit (usually a degree) of a float frame
ENCODINGS = ("mono8", "mono16", "32FC1")

BODY_PERCENTILES = (5.0, 95.0)  # of an 8-bit frame; what is brighter is its hot end, which is stretched
HOT_PERCENTILE, MIN_HOT_PIXELS = 99.7, 20  # its level, or the one that MIN_HOT_PIXELS exceed, becomes HOT_LEVEL
HOT_LEVEL = 235.0
BEGIN_BELOW, END_ABOVE = 180.0, 215.0  # hysteresis: levels of HOT_PERCENTILE between which a stretch neither begins nor ends
MAX_NOISE = 6.0  # grey levels: standard deviation of the sensor's noise after the stretch
HISTOGRAM_PIXELS = 80_000  # rows are skipped in larger frames
NOISE_ROWS, NOISE_BLOCK = 16, (32, 4)  # rows that noise is measured in, and (width, height) of a block of them
MIN_SLOPE = 1.005  # less changes no grey level


class Range(NamedTuple):
    """The counts that become 0 and 1; ``low > high`` inverts the counts."""

    low: float
    high: float


class Gain(NamedTuple):
    """Brightness is x = ``(counts - black) * factor``, clipped to 0..1, and above ``knee`` (0..1) ``knee + slope * (x - knee)``.

    All have the precision of float32.
    """

    black: float
    factor: float
    knee: float = 1.0
    slope: float = 1.0

    def hot_end_text(self) -> str:
        """The stretch of the hot end in words."""
        return f"x{self.slope:.1f} above brightness {self.knee:.2f}" if self.slope > 1.0 else "not stretched"


class ThermalAgc:
    """Chooses the gain of each frame and smooths it over time; one instance for each camera.

    ``range_in_use``: the counts that became black and white in the latest frame, the hot end's stretch aside; ``gain_in_use``: all of its
    gain. ``resets``: number of restarts of the range, or of the stretch, because the scene changed.
    """

    def __init__(self) -> None:
        self.resets = 0
        self.range_in_use = Range(0.0, 1.0)
        self.gain_in_use = Gain(0.0, 1.0)
        self._hot_end = HotEnd()
        self._range: Range | None = None  # smoothed; None until a frame with values came
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
        elapsed_ns = thermal.stamp_ns - self._stamp_ns
        elapsed_ns, self._stamp_ns = elapsed_ns if elapsed_ns > 0 else NOMINAL_PERIOD_NS, thermal.stamp_ns
        self.range_in_use = self._choose(thermal, config, elapsed_ns)
        self.gain_in_use = gain_of(self.range_in_use, config.invert)
        if config.mode == "auto" and thermal.encoding == "mono8" and config.hot_gain > 1.0:
            self.resets += self._hot_end.update(thermal.data, config, elapsed_ns)
            self.gain_in_use = self.gain_in_use._replace(knee=self._hot_end.knee, slope=self._hot_end.slope)
        else:
            self._hot_end = HotEnd()
        return self.gain_in_use

    def apply(self, thermal: Frame, config: AgcConfig, columns: Plane | None = None) -> Plane:
        """Brightness of a frame, a new float32 [H, W] in 0..1; 0 where a pixel holds no value. Arguments and errors as ``gain``.

        ``columns``, float32 [W]: counts that each column reads too high.
        """
        brightness = render_brightness(ThermalInput(thermal.data, *self.gain(thermal, config), columns))
        if thermal.invalid is not None:
            brightness[thermal.invalid] = 0.0
        return brightness

    def state(self) -> dict[str, Any]:
        """What the next gain depends on, ready for JSON."""
        hot_end = (self._hot_end.slope, self._hot_end.active, self._hot_end.body)
        return {"range": self._range, "stamp_ns": self._stamp_ns, "encoding": self._encoding, "hot_end": hot_end}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state``."""
        slope, active, body = state["hot_end"]
        self._range, self._stamp_ns, self._encoding = (
            Range(*state["range"]) if state["range"] else None,
            state["stamp_ns"],
            state["encoding"],
        )
        self._hot_end.slope, self._hot_end.active, self._hot_end.body = slope, active, Range(*body) if body else None

    def _choose(self, thermal: Frame, config: AgcConfig, elapsed_ns: int) -> Range:
        if config.mode == "fixed" and config.unit == "celsius":
            scale = scale_of(config)  # a camera whose counts fall with the temperature has low above high
            return Range(scale.counts(config.fixed_low), scale.counts(config.fixed_high))
        if config.mode == "fixed":
            return Range(config.fixed_low, config.fixed_high)
        if config.mode == "auto" and thermal.encoding == "mono8":
            return Range(0.0, 255.0)
        if thermal.encoding != self._encoding:  # another camera or another mode: earlier counts have no meaning
            self._range, self._encoding = None, thermal.encoding
        sample = sorted_sample(thermal)
        if sample.size:
            self._range = self._smooth_range(sample, thermal, config, elapsed_ns)
        return self._range or Range(0.0, 1.0)

    def _smooth_range(self, sample: Array, thermal: Frame, config: AgcConfig, elapsed_ns: int) -> Range:
        least = config.min_range / (FLOAT_UNIT_COUNTS if thermal.encoding == "32FC1" else 1.0)
        target = percentile_range(sample, config.low_percentile, config.high_percentile, least)
        if self._range is None:
            return target
        # A hot object that enters the view leaves the rest of the scene inside: no scene cut, though the ranges differ much.
        first, last = np.searchsorted(sample, self._range.low, "left"), np.searchsorted(sample, self._range.high, "right")
        if (last - first) / sample.size < config.scene_cut:
            self.resets += 1
            return target
        smoothed = smooth(self._range, target, elapsed_ns, config.smoothing_s)
        # After a huge jump of scale (float counts of 1, then 1e38) rounding makes both ends equal.
        return smoothed if smoothed.high - smoothed.low > 1e-6 * max(abs(smoothed.low), abs(smoothed.high)) else target


class HotEnd:
    """The stretch of an 8-bit frame's hottest pixels, smoothed over frames. ``knee`` and ``slope`` are those of ``Gain``."""

    def __init__(self) -> None:
        self.slope = 1.0
        self.active = False
        self.body: Range | None = None  # levels of BODY_PERCENTILES, smoothed

    @property
    def knee(self) -> float:
        """Brightness from which the latest frame is stretched."""
        return 1.0 if self.body is None or self.slope == 1.0 else float(np.float32(self.body.high / 255.0))

    def update(self, grey: Array, config: AgcConfig, elapsed_ns: int) -> bool:
        """Update knee and slope for a frame, uint8 [H, W]. True if the stretch restarted because the scene changed."""
        counts = histogram(grey)[:: -1 if config.invert else 1]
        ranks = np.cumsum(counts)
        pixels = int(ranks[-1])
        highest = min(HOT_PERCENTILE, 100.0 - 100.0 * MIN_HOT_PIXELS / grey.size)
        low, knee, above = (int(np.searchsorted(ranks, percentile / 100.0 * pixels)) for percentile in (*BODY_PERCENTILES, highest))
        hot = max(above, knee)
        body = self.body or Range(low, knee)
        cut = float(counts[math.floor(body.low) : math.ceil(body.high) + 1].sum()) < config.scene_cut * pixels
        restart = cut or self.body is None
        self.active = hot <= END_ABOVE if self.active and not restart else hot < BEGIN_BELOW
        slope = 1.0
        if self.active:
            slope = max(1.0, min((HOT_LEVEL - knee) / max(hot - knee, 1), config.hot_gain, MAX_NOISE / max(noise_of(grey), 1e-3)))
        share = 1.0 if restart else smoothing_share(elapsed_ns, config.smoothing_s)
        self.body = Range(body.low + share * (low - body.low), body.high + share * (knee - body.high))
        slope = self.slope * (slope / self.slope) ** share  # its logarithm is smoothed, as the width of a range
        self.slope = float(np.float32(slope)) if slope > MIN_SLOPE else 1.0
        return cut


def histogram(grey: Array) -> Array:
    """Pixels at each level, float32 [256], of a frame, uint8 [H, W], or of some of its rows if it is large."""
    rows = grey[:: max(1, grey.size // HISTOGRAM_PIXELS)]
    return np.asarray(cv2.calcHist([rows], [0], None, [256], [0, 256])).ravel()


def noise_of(grey: Array) -> float:
    """Standard deviation of the noise of a frame, uint8 [H, W], in grey levels; 0 for a frame of less than three columns.

    From second differences along rows, whose variance is six times the noise's. The median over blocks leaves edges and texture out.
    """
    rows = np.ascontiguousarray(grey[:: max(1, grey.shape[0] // NOISE_ROWS)])
    bend = np.abs(cv2.Sobel(rows, cv2.CV_32F, 2, 0, ksize=1)[:, 1:-1])  # (1, -2, 1)
    if not bend.size:
        return 0.0
    blocks = tuple(max(1, length // block) for length, block in zip(bend.shape[::-1], NOISE_BLOCK, strict=True))
    return float(np.median(cv2.resize(bend, blocks, interpolation=cv2.INTER_AREA))) * math.sqrt(math.pi / 2.0 / 6.0)


def sorted_sample(thermal: Frame, pixels: int = SAMPLE_PIXELS) -> Array:
    """About that many counts of a frame on a regular grid, ascending; those of pixels without a value are left out."""
    stride = max(1, math.isqrt(thermal.data.size // pixels))
    grid = (slice(stride // 2, None, stride),) * 2
    sample: Array = thermal.data[grid] if thermal.invalid is None else thermal.data[grid][~thermal.invalid[grid]]
    # For 8 and 16 bits numpy's stable sort is a radix sort, five times as fast as its default one.
    kind: Literal["stable"] | None = "stable" if sample.dtype.itemsize <= 2 else None
    return np.sort(sample, axis=None, kind=kind)


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
    alpha = smoothing_share(elapsed_ns, time_constant_s)
    ratio = (target.high - target.low) / (current.high - current.low)
    step = alpha if abs(ratio - 1.0) < 1e-6 else (ratio**alpha - 1.0) / (ratio - 1.0)
    return Range(current.low + step * (target.low - current.low), current.high + step * (target.high - current.high))


def smoothing_share(elapsed_ns: int, time_constant_s: float) -> float:
    """Share of the way to its target, over 0 to 1, that a value smoothed exponentially goes in ``elapsed_ns``; 1 without smoothing."""
    return 1.0 - math.exp(-elapsed_ns * 1e-9 / time_constant_s) if time_constant_s > 0 else 1.0


def gain_of(ends: Range, invert: bool) -> Gain:
    """The gain that makes the low end black and the high end white; ``invert`` swaps them."""
    black, white = (ends.high, ends.low) if invert else (ends.low, ends.high)
    width = white - black
    return Gain(float(np.float32(black)), float(np.float32(1.0 / width)) if width else 0.0)
