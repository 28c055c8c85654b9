"""Rates, latencies and the account of pairs, from lists of stamps and times."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aenet_ros.sync.matcher import nearest_pairs


@dataclass
class Arrivals:
    """One received stream: header stamps and times of arrival, both in ns of the system clock."""

    stamps_ns: list[int] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)

    def add(self, stamp_ns: int, time_ns: int) -> None:
        """Add a frame."""
        self.stamps_ns.append(stamp_ns)
        self.times_ns.append(time_ns)

    def summary(self, start_ns: int, end_ns: int) -> dict[str, Any]:
        """Frames, rate, latency and gaps of what arrived from ``start_ns`` to before ``end_ns``."""
        times, stamps = np.array(self.times_ns, np.int64), np.array(self.stamps_ns, np.int64)
        inside = (times >= start_ns) & (times < end_ns)
        times, stamps = times[inside], stamps[inside]
        return {
            "frames": len(times),
            "rate_hz": round(len(times) * 1e9 / max(end_ns - start_ns, 1), 2),
            "latency_ms": percentiles_ms(times - stamps),
            "gap_ms": percentiles_ms(np.diff(times)),
        }


def percentiles_ms(values_ns: Any) -> dict[str, float]:
    """Median, 95th percentile and maximum in ms of durations in ns; empty without values."""
    if len(values_ns) == 0:
        return {}
    p50, p95, most = (float(value) / 1e6 for value in (*np.percentile(values_ns, (50, 95)), np.max(values_ns)))
    return {"p50": round(p50, 3), "p95": round(p95, 3), "max": round(most, 3)}


def account(
    thermal_ns: Sequence[int], rgb_ns: Sequence[int], fused_ns: Sequence[int], slop_ns: int, offset_ns: int, start_ns: int, end_ns: int
) -> dict[str, Any]:
    """Count what happened to the pairs that were published from ``start_ns`` to before ``end_ns`` (rgb stamps).

    Each list holds stamps. ``stamp_error_ms``: distance of the fused stamps to the nearest published rgb stamp (0 by design).
    """
    rgb = sorted({stamp for stamp in rgb_ns if start_ns <= stamp < end_ns})
    reach = slop_ns + abs(offset_ns)
    thermal = sorted({stamp - offset_ns for stamp in thermal_ns if start_ns - reach <= stamp - offset_ns < end_ns + reach})
    pairs = {rgb[j] for _, j in nearest_pairs(thermal, rgb, slop_ns)}
    fused = {stamp for stamp in fused_ns if start_ns <= stamp < end_ns}
    published = np.array(sorted(set(rgb_ns)), np.int64)
    errors = [int(np.abs(published - stamp).min()) for stamp in fused] if len(published) else []
    return {
        "rgb_published": len(rgb),
        "thermal_published": sum(start_ns <= stamp < end_ns for stamp in thermal),
        "pairs_published": len(pairs),
        "pairs_fused": len(pairs & fused),
        "pairs_not_fused": len(pairs - fused),
        "fused_without_pair": len(fused - pairs),
        "fused_twice": sum(start_ns <= stamp < end_ns for stamp in fused_ns) - len(fused),
        "stamp_error_ms": percentiles_ms(errors),
    }
