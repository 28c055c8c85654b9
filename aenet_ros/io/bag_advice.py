"""What to change if few of a bag's frames find a partner: clock offset, slop or queue, tried on the bag's own times before it is said."""

import math
import statistics
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from aenet_ros.config import SyncConfig
from aenet_ros.core.frames import Frame
from aenet_ros.io.bag_times import Times, clock_difference_ns, useless_stamps
from aenet_ros.sync.matcher import PairMatcher

ENOUGH = 0.9
"""Share of the possible pairs from which nothing is advised."""
PLAUSIBLE_DELAY_NS = 250_000_000
"""If log times say that stamps differ by less, a slow driver is the more likely reason, not the clocks."""
LONGEST_QUEUE = 100
MOST_FRAMES = 20_000
"""Number of frames, from the beginning of the bag, on which changes are tried."""
_NO_PIXELS = np.zeros((1, 1), np.uint8)

Order = list[tuple[str, int]]
"""Role (thermal, rgb) and stamp in ns of frames, in the order of recording."""


class Trial(NamedTuple):
    """Pairs that ``PairMatcher`` makes, and the median of their differences without sign, ms."""

    pairs: int
    apart_ms: float


def advise(order: Order, thermal: Times, rgb: Times, sync: SyncConfig, *, by_log: bool) -> str:
    """A sentence with the options that make more pairs, and how many; empty if there are enough pairs.

    ``order``: the times that pair frames, of the frames that can be decoded. ``thermal``, ``rgb``: of all messages. ``by_log``: log times
    pair the frames; then the sentence says what the running node needs, which has no log times.
    """
    order = order[:MOST_FRAMES]
    now = try_pairing(order, sync)
    possible = min(sum(name == role for name, _ in order) for role in ("thermal", "rgb"))
    if now.pairs >= ENOUGH * possible:
        return _advice_for_node(thermal, rgb, sync) if by_log else ""
    clocks_ns = 0 if by_log else clock_difference_ns(thermal, rgb)
    best, options = now, ""
    for change in _changes(order, sync, clocks_ns):
        trial = try_pairing(order, replace(sync, **change))
        if trial.pairs > best.pairs:
            best, options = trial, " ".join(f"sync.{name}={value}" for name, value in change.items())
        if best.pairs >= ENOUGH * possible:
            break
    if not best.pairs and (apart_ns := _gap_ns(order, sync.clock_offset_ns)) > 0:
        return f"no frames belong together: one stream begins {apart_ns * 1e-9:.1f} s after the end of the other"
    if best.pairs - now.pairs < 0.1 * possible:
        return f"only {now.pairs} of {possible} possible pairs: see what was left out, and the gaps of the topics"
    return f"{now.pairs} of {possible} possible pairs; try --set {options}: then {best.pairs} pairs, {best.apart_ms:.1f} ms apart (median)"


def try_pairing(order: Order, sync: SyncConfig) -> Trial:
    """What the matcher makes of these stamps."""
    matcher = PairMatcher(sync.slop_ns, sync.clock_offset_ns, sync.queue_size)
    pairs = []
    for role, stamp_ns in order:
        frame = Frame(stamp_ns, _NO_PIXELS, "mono8")
        pairs += matcher.push_thermal(frame) if role == "thermal" else matcher.push_rgb(frame)
    pairs += matcher.flush()
    return Trial(len(pairs), statistics.median(abs(pair.difference_ns) for pair in pairs) * 1e-6 if pairs else math.inf)


def _advice_for_node(thermal: Times, rgb: Times, sync: SyncConfig) -> str:
    for role, times in (("thermal", thermal), ("rgb", rgb)):
        if fault := useless_stamps(times):
            return f"the running node needs header stamps, and those of the {role} driver {fault}: set them in the driver"
    logged = sorted([(log_ns, "thermal", stamp) for stamp, log_ns in thermal] + [(log_ns, "rgb", stamp) for stamp, log_ns in rgb])
    order = [(role, stamp) for _, role, stamp in logged[:MOST_FRAMES]]
    offset_ms = _as_ms(best_offset(order, clock_difference_ns(thermal, rgb)), sync)
    trial = try_pairing(order, replace(sync, clock_offset_ms=offset_ms))
    remedy = "the running node pairs by header stamps: stamp both cameras by one clock"
    if not trial.pairs:
        return remedy
    return f"{remedy}, or set sync.clock_offset_ms={offset_ms} ({trial.pairs} pairs here, {trial.apart_ms:.1f} ms apart)"


def _changes(order: Order, sync: SyncConfig, clocks_ns: int) -> Iterator[dict[str, Any]]:
    """Changes of the configuration to try, the likely ones first. ``clocks_ns``: thermal minus rgb clock, as log times say."""
    now_ns = sync.clock_offset_ns
    about = [clocks_ns, now_ns]
    if _period_ns(_stamps(order, "rgb")) / 2 < abs(clocks_ns - now_ns) <= PLAUSIBLE_DELAY_NS:
        about.reverse()
    offsets = [best_offset(order, offset_ns) for offset_ns in about]
    if abs(clocks_ns - offsets[0]) < abs(clocks_ns - now_ns):  # else the cameras rather take their pictures at different times
        yield from ({"clock_offset_ms": _as_ms(offset_ns, sync)} for offset_ns in offsets)
    queue = {"queue_size": LONGEST_QUEUE}
    yield queue
    for offset_ns in (now_ns, *offsets):
        change: dict[str, Any] = {} if offset_ns == now_ns else {"clock_offset_ms": _as_ms(offset_ns, sync)}
        yield change
        slop_ms = _needed_slop_ms(order, offset_ns)
        if slop_ms > sync.slop_ms and sync.slop_ns:
            yield {**change, "slop_ms": slop_ms}
            yield {**change, "slop_ms": slop_ms, **queue}
        yield {**change, **queue}


def best_offset(order: Order, about_ns: int) -> int:
    """The clock offset within half an rgb period of ``about_ns`` with which the thermal stamps are nearest to rgb ones, ns.

    ``about_ns`` itself where the streams do not overlap with it, or their rates are too different for a best one.
    """
    period = _period_ns(_stamps(order, "rgb"))
    near = _near(order, about_ns, period)
    if not near:
        return about_ns
    # The mean direction on a circle of one period: a median fails where the differences are near half a period of either sign.
    turns = np.exp(2j * np.pi * np.array(near) / period).mean()
    if abs(turns) < 0.3:
        return about_ns
    offset_ns = about_ns + round(float(np.angle(turns)) / (2 * math.pi) * period)
    return offset_ns + round(statistics.median(_near(order, offset_ns, period)))


def _near(order: Order, offset_ns: int, period: float) -> list[int]:
    """``nearest_differences`` with a clock offset, of at most a period."""
    return [apart for apart in nearest_differences(*_on_one_clock(order, offset_ns)) if abs(apart) <= period]


def nearest_differences(thermal: list[int], rgb: list[int]) -> list[int]:
    """Each thermal stamp minus the nearest rgb stamp, ns; empty if either list is."""
    ordered, differences = sorted(rgb), []
    for stamp in thermal if rgb else ():
        place = bisect_left(ordered, stamp)
        differences.append(min((stamp - other for other in ordered[max(place - 1, 0) : place + 1]), key=abs))
    return differences


def _needed_slop_ms(order: Order, offset_ns: int) -> float:
    """The slop that lets nearly all frames of the sparser stream find their nearest partner, at most half of its period; whole ms."""
    thermal, rgb = _on_one_clock(order, offset_ns)
    sparse, dense = sorted((thermal, rgb), key=len)
    apart = sorted(abs(difference) for difference in nearest_differences(sparse, dense))
    most = _period_ns(sparse) / 2
    return float(math.ceil(min(apart[int(0.95 * (len(apart) - 1))], most) * 1e-6)) if apart and most else 0.0


def _gap_ns(order: Order, offset_ns: int) -> int:
    """Time from the end of one stream to the beginning of the other; negative if they overlap."""
    thermal, rgb = _on_one_clock(order, offset_ns)
    return max(min(thermal) - max(rgb), min(rgb) - max(thermal))


def _on_one_clock(order: Order, offset_ns: int) -> tuple[list[int], list[int]]:
    """Thermal stamps, ``offset_ns`` taken off, and rgb stamps."""
    return [stamp - offset_ns for stamp in _stamps(order, "thermal")], _stamps(order, "rgb")


def _stamps(order: Order, role: str) -> list[int]:
    return [stamp for name, stamp in order if name == role]


def _period_ns(stamps: list[int]) -> float:
    steps = [later - earlier for earlier, later in pairwise(sorted(stamps)) if later > earlier]
    return statistics.median(steps) if steps else 0.0


def _as_ms(offset_ns: int, sync: SyncConfig) -> float:
    """As ms, rounded where the slop allows it."""
    return round(offset_ns * 1e-6, 1 if sync.slop_ns >= 1_000_000 else 6)
