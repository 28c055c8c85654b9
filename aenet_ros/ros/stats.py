"""What the node counts: frames of each stream, fused frames, latencies. Written by two threads, read by diagnostics."""

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from aenet_ros.frames import Frame, FusedFrame

WINDOW = 90
"""Frames over which rates and percentiles are taken: three seconds at 30 Hz."""


@dataclass
class StreamStats:
    """One input stream. Arrival times are of the monotonic clock, stamps are the messages' own."""

    received: int = 0
    rejected: int = 0
    last_error: str = ""
    last_error_at_ns: int = 0
    size: tuple[int, int] = (0, 0)
    encoding: str = ""
    size_changes: int = 0
    arrivals_ns: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))
    stamps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def accept(self, frame: Frame) -> bool:
        """Count a decoded frame; True where its size or encoding differs from the last one's."""
        self.received += 1
        self.arrivals_ns.append(time.monotonic_ns())
        self.stamps_ns.append(frame.stamp_ns)
        now = (frame.size, frame.source_encoding)
        changed = self.encoding != "" and now != (self.size, self.encoding)
        self.size_changes += changed
        self.size, self.encoding = now
        return changed

    def reject(self, reason: str) -> bool:
        """Count a frame that could not be decoded; True where the reason is a new one."""
        self.received += 1
        self.rejected += 1
        new = reason != self.last_error
        self.last_error, self.last_error_at_ns = reason, time.monotonic_ns()
        return new

    def rate_hz(self, now_ns: int, stale_ns: int) -> float:
        """Arrivals a second over the window; 0 where nothing came for ``stale_ns``."""
        arrivals = [arrival for arrival in tuple(self.arrivals_ns) if now_ns - arrival < stale_ns + 3_000_000_000]
        if len(arrivals) < 2 or now_ns - arrivals[-1] > stale_ns:
            return 0.0
        return (len(arrivals) - 1) * 1e9 / max(arrivals[-1] - arrivals[0], 1)

    def lost_share(self) -> float:
        """Share of frames that never arrived: stamp gaps that are multiples of the publisher's period (their lower quartile)."""
        gaps = np.diff(np.array(self.stamps_ns, np.int64))
        gaps = gaps[gaps > 0]
        if len(gaps) < 10:
            return 0.0
        period = float(np.percentile(gaps, 25))
        expected = np.maximum(np.rint(gaps / period), 1).sum()
        return float(1.0 - len(gaps) / expected)


class NodeStats:
    """All counters of one active period and before; ``lock`` guards what both threads write."""

    def __init__(self) -> None:
        self.thermal = StreamStats()
        self.rgb = StreamStats()
        self.fused = 0
        self.skipped: Counter[str] = Counter()  # pairs that were not fused on purpose: disabled, no subscriber, shut down
        self.failed = 0
        self.replaced_before = 0  # of workers that were stopped
        self.last_failure = ""
        self.last_failure_at_ns = 0
        self.last_pair_at_ns = 0
        self.last_fused_at_ns = 0
        self.lock = threading.Lock()
        self._fused_at_ns: deque[int] = deque(maxlen=WINDOW)
        self._latencies_ns: deque[int] = deque(maxlen=WINDOW)
        self._differences_ns: deque[int] = deque(maxlen=WINDOW)
        self._stages_ns: dict[str, deque[int]] = {}

    def stream(self, role: str) -> StreamStats:
        """The statistics of ``thermal`` or ``rgb``."""
        return self.thermal if role == "thermal" else self.rgb

    def count_pair(self, difference_ns: int) -> None:
        """A pair was matched; the thermal stamp minus the rgb stamp, offset taken off."""
        self.last_pair_at_ns = time.monotonic_ns()
        with self.lock:
            self._differences_ns.append(difference_ns)

    def count_fused(self, fused: FusedFrame, latency_ns: int) -> None:
        """A fused frame was published ``latency_ns`` after its rgb stamp."""
        with self.lock:
            self.fused += 1
            self.last_fused_at_ns = time.monotonic_ns()
            self._fused_at_ns.append(self.last_fused_at_ns)
            self._latencies_ns.append(latency_ns)
            for stage, duration in fused.timings_ns.items():
                self._stages_ns.setdefault(stage, deque(maxlen=WINDOW)).append(duration)

    def count_failed(self, reason: str) -> bool:
        """A pair could not be fused; True where the reason is a new one."""
        with self.lock:
            self.failed += 1
            new = reason != self.last_failure
            self.last_failure, self.last_failure_at_ns = reason, time.monotonic_ns()
            return new

    def fused_rate_hz(self, now_ns: int, stale_ns: int) -> float:
        """Fused frames a second over the window; 0 where none came for ``stale_ns``."""
        with self.lock:
            times = tuple(self._fused_at_ns)
        if len(times) < 2 or now_ns - times[-1] > stale_ns:
            return 0.0
        return (len(times) - 1) * 1e9 / max(times[-1] - times[0], 1)

    def latency_ms(self, percentile: float) -> float:
        """Percentile of the time from rgb stamp to publishing, in milliseconds; NaN before the first."""
        with self.lock:
            return _percentile_ms(self._latencies_ns, percentile)

    def difference_ms(self, percentile: float) -> float:
        """Percentile of the pairs' absolute stamp difference, in milliseconds; NaN before the first."""
        with self.lock:
            return _percentile_ms([abs(value) for value in self._differences_ns], percentile)

    def stages_ms(self) -> dict[str, float]:
        """Median duration of each stage of the pipeline, in milliseconds."""
        with self.lock:
            return {stage: _percentile_ms(values, 50.0) for stage, values in self._stages_ns.items()}

    def clock_offset_ms(self) -> float:
        """Thermal minus rgb clock, guessed from how late each stream's stamps are at arrival; NaN before both streams came.

        It is as good as the two drivers' delays are equal: enough to tell seconds apart, not to align frames.
        """
        lags = []
        for stream in (self.thermal, self.rgb):
            stamps, arrivals = tuple(stream.stamps_ns), tuple(stream.arrivals_ns)
            count = min(len(stamps), len(arrivals))
            if not count:
                return float("nan")
            lags.append(float(np.median(np.array(stamps[-count:], np.int64) - np.array(arrivals[-count:], np.int64))))
        return (lags[0] - lags[1]) / 1e6


def _percentile_ms(values_ns: "deque[int] | list[int]", percentile: float) -> float:
    return float(np.percentile(np.array(values_ns, np.int64), percentile)) / 1e6 if values_ns else float("nan")
