"""Faults of a camera's picture (black, saturated), and quality of the fused ones: entropy, saturation, agreement of the pairs' stamps."""

import math
import threading
from collections import deque
from typing import NamedTuple

import numpy as np

from aenet_ros.config import Config, DegradedConfig
from aenet_ros.core.frames import Array, Frame, FusedFrame, Plane
from aenet_ros.health.status import OK, WARN, Code, NodeStats, PipelineStatus, Status

EVERY = 5  # each fifth fused frame is measured
SAMPLE_PIXELS = 10_000
KEPT = 18  # measured frames in the median: three seconds at 30 Hz
ENDS = (2, 253)  # grey levels at or beyond which a pixel is saturated
NEARLY_FULL = 250.0  # of 255, in a colour picture: white balance may keep one channel a little below 255
FULL_SCALES = {"mono8": (255.0,), "mono16": (16_383.0, 65_535.0), "32FC1": ()}  # 14-bit cameras fill the lower bits


def picture_fault(role: str, frame: Frame, picked: Plane, config: DegradedConfig) -> str:
    """``black``, ``saturated`` or "", from a sample of the frame's pixels (``thermal.ffc.sample``).

    A black rgb picture has ``share`` of its pixels at ``black_level`` or under. A black thermal one has them at 0 (or NaN), or no two
    values that differ. Saturated ones have them at full scale: nearly 255, or 255, 16383 or 65535 counts.
    """
    if role == "rgb":
        if _share(picked <= config.black_level) >= config.share:
            return "black"
        return "saturated" if _share(picked >= NEARLY_FULL) >= config.share else ""
    if any(_share(picked == full) >= config.share for full in FULL_SCALES.get(frame.encoding, ())):
        return "saturated"
    return "black" if (_share(picked <= 0.0) >= config.share and frame.encoding != "32FC1") or picked.min() == picked.max() else ""


def _share(which: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> float:
    return float(np.count_nonzero(which)) / which.size


class Quality(NamedTuple):
    """``entropy`` in bits, 0..8; ``saturated``: share of the pixels at either end of the range, 0..1."""

    entropy: float
    saturated: float


def measure(picture: Array) -> Quality:
    """The quality of a picture, uint8 [H, W] or [H, W, 3], on a regular grid of about SAMPLE_PIXELS pixels (mean of the channels)."""
    stride = max(1, math.isqrt(picture.shape[0] * picture.shape[1] // SAMPLE_PIXELS))
    part = picture[min(stride // 2, picture.shape[0] - 1) :: stride, min(stride // 2, picture.shape[1] - 1) :: stride]
    grey = part if part.ndim == 2 else np.round(part.mean(axis=2)).astype(np.uint8)
    return Quality(entropy(grey), float(np.mean((grey <= ENDS[0]) | (grey >= ENDS[1]))))


def entropy(grey: Array) -> float:
    """Shannon entropy of the histogram of a uint8 array of any shape, in bits (0..8)."""
    share = np.bincount(grey.ravel(), minlength=256) / grey.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


class QualityMonitor:
    """Measures fused frames in the worker's thread; the status is made in the executor's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._kept: deque[Quality] = deque(maxlen=KEPT)

    def add(self, fused: FusedFrame) -> None:
        """Take a published frame; one in EVERY is measured."""
        self._count += 1
        if self._count % EVERY == 1:
            found = measure(fused.image)
            with self._lock:
                self._kept.append(found)

    def status(self, config: Config, stats: NodeStats, pipeline: PipelineStatus) -> Status:
        """For diagnostics: the values, and the remedy where one exceeds its limit in ``diagnostics``."""
        with self._lock:
            kept = np.array(self._kept)
        found = Quality(*np.median(kept, axis=0).tolist()) if len(kept) else None
        sync_ms = stats.difference_ms(95)
        values = {
            "stamp difference p50 [ms]": f"{stats.difference_ms(50):.2f}",
            "stamp difference p95 [ms]": f"{sync_ms:.2f}",
            "AGC range [counts]": f"{pipeline.agc_range[0]:.1f} .. {pipeline.agc_range[1]:.1f}",
            "AGC hot end": pipeline.agc_gain.hot_end_text(),
            "AGC resets": str(pipeline.agc_resets),
            "shutter": "closed" if pipeline.shutter_closed else "open",
            "shutter events": str(pipeline.ffc.events),
            "thermal frames repeated": str(pipeline.ffc.repeated),
            "thermal frames held": str(pipeline.ffc.bridged),
            "thermal frames without contrast": str(pipeline.flat_frames),
            "bad pixels": str(pipeline.sensor.dead_pixels),
            "column noise removed [counts]": f"{pipeline.sensor.column_counts:.1f}",
        }
        if found is not None:
            values |= {"entropy [bit]": f"{found.entropy:.2f}", "saturated [%]": f"{100 * found.saturated:.1f}"}
        if problem := find_problem(found, sync_ms, config):
            return Status("quality", WARN, *problem, values)
        if pipeline.shutter_closed:
            text = "the thermal camera's shutter is closed: its last good frame is used"
            return Status("quality", OK, Code.QUALITY_SHUTTER, text, values)
        return Status("quality", OK, Code.QUALITY_OK, "good", values)


def find_problem(found: Quality | None, sync_ms: float, config: Config) -> tuple[Code, str] | None:
    """What exceeds a limit of ``diagnostics``, and the remedy; None where nothing does."""
    limits = config.diagnostics
    if limits.max_sync_error_ms and sync_ms > limits.max_sync_error_ms:
        return Code.QUALITY_STAMPS_APART, (
            f"paired stamps differ by {sync_ms:.1f} ms at p95 (diagnostics.max_sync_error_ms {limits.max_sync_error_ms:g}), so what moves "
            "appears twice: trigger the cameras together, raise the slower one's rate, or set sync.clock_offset_ms"
        )
    if found is None:
        return None
    if found.saturated > limits.max_saturated:
        return Code.QUALITY_SATURATED, (
            f"{100 * found.saturated:.0f} % of the fused picture is saturated "
            f"(diagnostics.max_saturated {limits.max_saturated:g}): check the rgb camera's exposure, and agc.mode and its range"
        )
    if found.entropy < limits.min_entropy:
        return Code.QUALITY_LITTLE_CONTENT, (
            f"the fused picture has little content (entropy {found.entropy:.1f} bit, diagnostics.min_entropy {limits.min_entropy:g}): "
            "check exposure, lens and focus of both cameras, and agc.mode"
        )
    return None
