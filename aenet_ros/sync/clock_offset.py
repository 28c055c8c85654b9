"""Estimates the offset of two cameras' clocks from the motion in both streams.

The motion from frame to frame is the shift along x and y (Lucas and Kanade, IJCAI 1981, for the whole picture, with weights that leave
out independently moving objects) and the size of the change. The offset is the lag at which the motions of both streams agree best.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from aenet_ros.core.frames import Frame, Plane

Series = NDArray[np.float64]

SMALL_SIZE = (80, 64)
"""Width and height of the pictures in which motion is measured."""

HISTORY_S = 60.0  # motion that is kept, for the drift
SEARCH_S = 2.0  # offsets are searched within this around the difference of the latest stamps
STEP_S = 0.005  # grid on which motions are compared; the peak is then interpolated to a fraction of it
SLOW_S = 1.0  # high-pass for the sharp comparison: slower motion has no sharp peak
LOBE_S = 0.15  # half the width of a peak: lags nearer than this to the best are no rivals to it
MIN_MARGIN = 0.3  # log-likelihood per sample by which the best lag must exceed any other peak for a confidence of 0.5
COMPARABLE = 0.99  # correlations above this differ by when frames were sampled, not by motion; they decide between no two lags
TRUSTED = 0.5  # confidence from which an estimate may be used
MAX_DRIFT_PPM = 200.0  # two crystal oscillators differ by less; a larger drift means wrong peaks
TOLERANCE_NS = 15_000_000  # by which offsets of separate windows may differ, besides a drift of MAX_DRIFT_PPM
HALF_TOLERANCE_NS = 40_000_000  # the same for halves of one window, which are less precise
DRIFT_SPAN_S = 20.0  # windows must span so much time for a drift to be judged
GAP_S = 1.0  # frames further apart than this show no motion


@dataclass(frozen=True)
class ClockOffset:
    """``offset_ns``: thermal stamp minus rgb stamp of the same instant, at the middle of the latest window.

    ``drift_ppm``: growth of the offset, in millionths; NaN if the history is shorter than two windows. ``confidence`` 0..1: the share of
    the motion that both cameras agree on, times the certainty that no other lag explains it as well; 0 if separate windows disagree or
    the drift is implausible. Below TRUSTED the offset must not be used, and ``problem`` says why. ``confirmed``: windows that have no
    frame in common give this offset; one window alone can be wrong by chance.
    """

    offset_ns: int
    drift_ppm: float
    confidence: float
    problem: str = ""
    confirmed: bool = False

    @property
    def trusted(self) -> bool:
        """Whether the offset may be used."""
        return self.confidence >= TRUSTED


class _Motion(NamedTuple):
    stamp_ns: int  # between two frames
    right: float  # small pixels per second
    down: float
    change: float  # contrasts per second


def small_grey(frame: Frame) -> Plane:
    """The frame as a small blurred picture for motion: float32 [64, 80], in the frame's own counts."""
    data = frame.filled
    if data.dtype == np.float32:
        data = np.clip(data, -1e6, 1e6)  # so that the squares of what is left are finite
    small = cv2.resize(data, SMALL_SIZE, interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY if frame.encoding == "rgb8" else cv2.COLOR_BGR2GRAY)
    return cast(Plane, cv2.GaussianBlur(small.astype(np.float32), (0, 0), 1.5))


def global_shift(before: Plane, after: Plane) -> tuple[float, float]:
    """Pixels by which the picture moved right and down from ``before`` to ``after``, both float32 [H, W], by robust least squares.

    Solves brightness constancy, I_t + u I_x + v I_y + c = 0, over all pixels, weighted three times by Cauchy's function of what
    remains. For shifts of about a pixel or less; larger ones come out too small.
    """
    middle = (before + after) / 2
    sample = (slice(2, -2, 2), slice(2, -2, 2))  # a blurred picture's neighbours say the same
    slope_x = cv2.Sobel(middle, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)[sample].ravel()
    slope_y = cv2.Sobel(middle, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)[sample].ravel()
    change = (after - before)[sample].ravel()
    slopes = np.stack([slope_x, slope_y, np.ones_like(slope_x)])
    weights = np.ones_like(change)
    for _ in range(4):
        weighted = slopes * weights
        normal = (weighted @ slopes.T).astype(np.float64) + 1e-6 * np.eye(3)
        shift = np.linalg.solve(normal, -(weighted @ change).astype(np.float64))
        rest = change + shift.astype(np.float32) @ slopes
        weights = 1 / (1 + (rest / (2 * 1.4826 * np.median(np.abs(rest)) + 1e-6)) ** 2)
    return float(shift[0]), float(shift[1])


class ClockOffsetEstimator:
    """Takes both streams' frames as they arrive and estimates the offset of their clocks.

    ``window_s`` of motion give one estimate. Offsets are searched around the difference of the latest stamps of the two streams, so
    clocks may disagree by any amount if frames are pushed as they arrive. The cameras must move, other than at a steady pace or in a
    rhythm that repeats itself exactly. Not thread-safe.
    """

    def __init__(self, window_s: float = 10.0) -> None:
        self.window_s = window_s
        self._thermal, self._rgb = _MotionSeries(), _MotionSeries()

    def push_thermal(self, stamp_ns: int, grey: Plane) -> None:
        """Takes a thermal frame's stamp and ``small_grey``. A stamp that went back clears the stream's history."""
        self._thermal.push(stamp_ns, grey)

    def push_rgb(self, stamp_ns: int, grey: Plane) -> None:
        """Takes an rgb frame's stamp and ``small_grey``. A stamp that went back clears the stream's history."""
        self._rgb.push(stamp_ns, grey)

    def estimate(self, since_ns: int = 0) -> ClockOffset | None:
        """The offset by now; None before both streams have given ``window_s`` of frames.

        ``since_ns``: only windows that begin at or after this rgb stamp are used; None where there is none yet.
        """
        thermal, rgb = self._thermal.motions, self._rgb.motions
        if len(thermal) < 3 or len(rgb) < 3:
            return None
        begin_ns, end_ns = max(rgb[0].stamp_ns, since_ns), rgb[-1].stamp_ns
        seconds = min(thermal[-1].stamp_ns - thermal[0].stamp_ns, end_ns - begin_ns) / 1e9
        if seconds < self.window_s * 0.95:
            return None
        about_ns = thermal[-1].stamp_ns - rgb[-1].stamp_ns
        hop_s = self.window_s / 2
        ends = [end_ns - round(hop * hop_s * 1e9) for hop in range(int((seconds - self.window_s) / hop_s) + 1)]
        windows = [(end, *self._checked_window(end, about_ns)) for end in ends]
        _, offset_ns, confidence, problem = windows[0]
        trusted = [(end - end_ns, found_ns) for end, found_ns, trust, _ in windows if trust >= TRUSTED]
        drift_ppm = math.nan
        if len(trusted) >= 3:
            times, offsets = np.array(trusted, np.float64).T
            drift_ppm = float(np.polyfit(times, offsets, 1)[0]) * 1e6
        if confidence >= TRUSTED:
            differences = [abs(found_ns - offset_ns) - MAX_DRIFT_PPM * 1e-6 * -age_ns for age_ns, found_ns in trusted]
            if max(differences) > TOLERANCE_NS:
                problem = f"windows of the last {seconds:.0f} s give offsets that differ by up to {max(differences) / 1e6:.0f} ms"
            elif trusted[0][0] - trusted[-1][0] >= DRIFT_SPAN_S * 1e9 and abs(drift_ppm) > MAX_DRIFT_PPM:
                problem = f"a drift of {drift_ppm:.0f} ppm is more than clocks have ({MAX_DRIFT_PPM:g} ppm)"
            if problem:
                confidence = 0.0
        confirmed = confidence >= TRUSTED and trusted[0][0] - trusted[-1][0] >= self.window_s * 1e9
        return ClockOffset(offset_ns, drift_ppm, confidence, problem, confirmed)

    def _checked_window(self, end_ns: int, about_ns: int) -> tuple[int, float, str]:
        """Offset in ns, confidence and problem of the window that ends at ``end_ns``; its halves must agree with it."""
        offset_ns, confidence = self._window(end_ns, about_ns, self.window_s)
        if confidence < TRUSTED:
            return offset_ns, confidence, "the motion does not show one offset: the cameras stand still, or move in a rhythm that repeats"
        half_s = self.window_s / 2
        halves = [self._window(end, about_ns, half_s)[0] for end in (end_ns, end_ns - round(half_s * 1e9))]
        if max(abs(half - offset_ns) for half in halves) > HALF_TOLERANCE_NS:
            return offset_ns, 0.0, "two halves of the window give different offsets: the motion repeats itself"
        return offset_ns, confidence, ""

    def _window(self, end_ns: int, about_ns: int, window_s: float) -> tuple[int, float]:
        """Offset in ns and confidence from the ``window_s`` that end at ``end_ns`` of the rgb clock."""
        count = round(window_s / STEP_S)
        start_ns = end_ns - round(window_s * 1e9)
        thermal, thermal_valid = self._thermal.on_grid(start_ns + about_ns, count)
        rgb, rgb_valid = self._rgb.on_grid(start_ns, count)
        most = round(SEARCH_S / STEP_S)
        plain = agreement(thermal, thermal_valid, rgb, rgb_valid, most)
        sharp = agreement(_high_pass(thermal), thermal_valid, _high_pass(rgb), rgb_valid, most)
        # The log-likelihood of a lag is -n/2 log(1 - r^2) for each kind of motion: one that agrees fully outweighs the vague ones.
        # Slow motion tells apart the periods of a quick, regular one; quick motion places the peak.
        sharp_score = _likelihood(sharp)
        score = _likelihood(plain) + sharp_score
        best = int(np.argmax(score))
        lobe = round(LOBE_S / STEP_S)
        limited = _likelihood(plain, COMPARABLE) + _likelihood(sharp, COMPARABLE)
        rivals = np.concatenate([limited[: max(0, best - lobe)], limited[best + lobe + 1 :]])
        margin = max(float(limited[best] - rivals.max()), 0.0)
        certainty = 1 - 0.5 ** ((margin / MIN_MARGIN) ** 2)
        near = slice(max(0, best - lobe // 2), best + lobe // 2 + 1)
        peak = near.start + _peak(sharp_score[near])
        agreed = max(float(sharp[:, best].max()), 0.0) ** 2
        return about_ns + round((peak - most) * STEP_S * 1e9), agreed * certainty


class _MotionSeries:
    """One stream's motions of the last HISTORY_S."""

    def __init__(self) -> None:
        self.motions: deque[_Motion] = deque()
        self._last: tuple[int, Plane] | None = None

    def push(self, stamp_ns: int, grey: Plane) -> None:
        before_ns, before = self._last or (stamp_ns, grey)
        if stamp_ns < before_ns:
            self.motions.clear()
        elif 0 < stamp_ns - before_ns <= GAP_S * 1e9:
            seconds = (stamp_ns - before_ns) / 1e9
            right, down = global_shift(before, grey)
            change = float(np.abs(grey - before).mean() / (grey.std() + 1e-6))
            self.motions.append(_Motion((before_ns + stamp_ns) // 2, right / seconds, down / seconds, change / seconds))
            while self.motions[0].stamp_ns < self.motions[-1].stamp_ns - HISTORY_S * 1e9:
                self.motions.popleft()
        if self._last is None or stamp_ns != before_ns:
            self._last = (stamp_ns, grey)

    def on_grid(self, start_ns: int, count: int) -> tuple[Series, Series]:
        """Motions float64 [3, count] every STEP_S from ``start_ns``, and float64 [count], 1 where they are to be trusted."""
        times = np.array([motion.stamp_ns - start_ns for motion in self.motions], np.float64) / 1e9
        values = np.array([motion[1:] for motion in self.motions], np.float64)
        # A cut, a flash or the end of a shutter event is a change far out of the ordinary, and says nothing of motion.
        calm = values[:, 2] <= 4 * np.median(values[:, 2])
        calm &= np.append(True, calm[:-1]) & np.append(calm[1:], True)
        calm[[0, -1]] = True
        grid = np.arange(count) * STEP_S
        valid = (np.interp(grid, times, calm.astype(np.float64)) > 0.99) & (grid >= times[0]) & (grid <= times[-1])
        return np.stack([np.interp(grid, times[calm], _clipped(kind[calm])) for kind in values.T]), valid.astype(np.float64)


def agreement(first: Series, first_valid: Series, second: Series, second_valid: Series, most: int) -> Series:
    """Pearson's correlation of two [K, N] series, over what is valid (1, else 0) in both, by lag of the first: float64 [K, 2 most + 1].

    Index ``most`` is lag 0; above it the first series is later than the second. Lags with less than a third of N in common get 0.
    """
    count = first.shape[1]
    size = 1 << (2 * count - 1).bit_length()

    def cross(a: Series, b: Series) -> Series:
        whole = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
        return np.concatenate([whole[..., -most:], whole[..., : most + 1]], axis=-1)

    first = first - first.mean(1, keepdims=True)
    second = second - second.mean(1, keepdims=True)
    a, b = first * first_valid, second * second_valid
    common = cross(first_valid, second_valid)
    enough = common > count / 3
    shared = np.where(enough, common, 1.0)
    sum_a, sum_b = cross(a, second_valid), cross(first_valid, b)
    spread_a = cross(a * a, second_valid) - sum_a**2 / shared
    spread_b = cross(first_valid, b * b) - sum_b**2 / shared
    together = cross(a, b) - sum_a * sum_b / shared
    return np.where(enough, together / np.sqrt(np.maximum(spread_a * spread_b, 1e-12)), 0.0)


def _likelihood(correlations: Series, limit: float = 0.999) -> Series:
    return cast(Series, -0.5 * np.log(1 - np.clip(correlations, 0.0, limit) ** 2).sum(0))


def _high_pass(series: Series) -> Series:
    """The series minus its running mean over SLOW_S."""
    return series - cv2.blur(series, (round(SLOW_S / STEP_S) | 1, 1), borderType=cv2.BORDER_REPLICATE)


def _clipped(values: Series) -> Series:
    """Values cut at four standard deviations, the deviation taken from the median so that outliers do not widen it."""
    middle = np.median(values)
    width = 4 * 1.4826 * np.median(np.abs(values - middle))
    return np.clip(values, middle - width, middle + width)


def _peak(score: Series) -> float:
    """The index of the maximum, to a fraction by the parabola through it and its neighbours."""
    best = int(np.argmax(score))
    if not 0 < best < len(score) - 1:
        return float(best)
    left, middle, right = score[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return best + (float((left - right) / (2 * bend)) if bend < 0 else 0.0)
