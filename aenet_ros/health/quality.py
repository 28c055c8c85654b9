"""How good the fused pictures are by themselves: what they show, what is lost at the ends of the range, how well their times agree."""

import math
import threading
from collections import deque
from typing import NamedTuple

import numpy as np

from aenet_ros.config import Config
from aenet_ros.core.frames import Array, FusedFrame
from aenet_ros.health.judge import OK, WARN, Status
from aenet_ros.health.stats import NodeStats
from aenet_ros.pipeline import FusionPipeline

EVERY = 5
"""Of the fused frames one in so many is measured."""

SAMPLE_PIXELS = 10_000
KEPT = 18  # measured frames that count: three seconds at 30 Hz
ENDS = (2, 253)  # grey levels at or beyond which a pixel is at an end of the range


class Quality(NamedTuple):
    """``entropy`` in bits, 0..8; ``saturated``: share of the pixels at either end of the range."""

    entropy: float
    saturated: float


def measure(picture: Array) -> Quality:
    """Of a picture uint8 [H, W] or [H, W, 3], from a regular grid of about SAMPLE_PIXELS pixels; of colours the mean is looked at."""
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
    """Measures fused frames in the worker's thread; judged in the executor's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._kept: deque[Quality] = deque(maxlen=KEPT)

    def look(self, fused: FusedFrame) -> None:
        """A fused frame was published."""
        self._count += 1
        if self._count % EVERY == 1:
            found = measure(fused.image)
            with self._lock:
                self._kept.append(found)

    def median(self) -> Quality | None:
        """Of the last seconds; None before the first frame."""
        with self._lock:
            kept = np.array(self._kept)
        return Quality(*(float(value) for value in np.median(kept, axis=0))) if len(kept) else None

    def status(self, config: Config, stats: NodeStats, pipeline: FusionPipeline | None) -> Status:
        """Values and, where one is past its limit, what to do."""
        found, sync_ms = self.median(), stats.difference_ms(95)
        values = {"stamp difference p50 [ms]": f"{stats.difference_ms(50):.2f}", "stamp difference p95 [ms]": f"{sync_ms:.2f}"}
        if found is not None:
            values |= {"entropy [bit]": f"{found.entropy:.2f}", "saturated [%]": f"{100 * found.saturated:.1f}"}
        closed = False
        if pipeline is not None:
            shutter, agc = pipeline.shutter, pipeline.agc
            closed = shutter.closed
            values |= {
                "AGC range [counts]": f"{agc.low:.1f} .. {agc.high:.1f}",
                "AGC started anew": str(agc.resets),
                "shutter": "closed" if closed else "open",
                "shutter events": str(shutter.counts.events),
                "thermal frames repeated": str(shutter.counts.repeated),
                "thermal frames bridged": str(shutter.counts.bridged),
                "dead pixels": str(pipeline.sensor.marks.dead_pixels),
                "column noise taken off [counts]": f"{pipeline.sensor.marks.column_counts:.1f}",
            }
        problem = verdict(found, sync_ms, config)
        if problem:
            return Status("quality", WARN, problem, values)
        return Status("quality", OK, "the thermal camera's shutter is closed: its last good frame is used" if closed else "good", values)


def budget_status(config: Config, pipeline: FusionPipeline | None) -> Status:
    """At what size the network works by now, and why."""
    budget, wanted_ms = pipeline.budget if pipeline is not None else None, config.latency.budget_ms
    if budget is None or not wanted_ms:
        return Status("latency budget", OK, "none: the network works at full size (latency.budget_ms)", {})
    values = {
        "budget [ms]": f"{wanted_ms:g}",
        "a pair takes [ms]": f"{budget.took_ms:.1f}",
        "size of the network's picture": f"{budget.scale:g}",
        "steps down": str(budget.downs),
        "steps back": str(budget.ups),
    }
    if budget.scale == 1.0:
        return Status("latency budget", OK, f"kept at full size: a pair takes {budget.took_ms:.1f} ms", values)
    said = (
        f"the network works at {budget.scale:g} of the size, for at the next larger a pair takes more than latency.budget_ms {wanted_ms:g}"
    )
    if budget.exceeded:
        said += f"; even so it takes {budget.took_ms:.1f} ms: end other programs, check the machine's temperature, or use a GPU"
    return Status("latency budget", WARN, said, values)


def verdict(found: Quality | None, sync_ms: float, config: Config) -> str:
    """What is wrong and what to do; nothing where all is within ``diagnostics``' limits."""
    limits = config.diagnostics
    if limits.max_sync_error_ms and sync_ms > limits.max_sync_error_ms:
        return (
            f"paired stamps differ by {sync_ms:.1f} ms at p95 (diagnostics.max_sync_error_ms {limits.max_sync_error_ms:g}), so what "
            "moves is seen twice: trigger the cameras together, raise the slower one's rate, or set sync.clock_offset_ms"
        )
    if found is None:
        return ""
    if found.saturated > limits.max_saturated:
        return (
            f"{100 * found.saturated:.0f} % of the fused picture is at an end of its range "
            f"(diagnostics.max_saturated {limits.max_saturated:g}): check the rgb camera's exposure, and agc.mode and its range"
        )
    if found.entropy < limits.min_entropy:
        return (
            f"the fused picture shows little (entropy {found.entropy:.1f} bit, diagnostics.min_entropy {limits.min_entropy:g}): "
            "check exposure, lens and focus of both cameras, and agc.mode"
        )
    return ""
