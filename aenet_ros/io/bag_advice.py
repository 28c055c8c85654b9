"""What to change if few of a bag's frames find a partner: clock offset, slop or queue, tried on the bag's own times before it is said."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from aenet_ros.config import SyncConfig
from aenet_ros.core.frames import Frame
from aenet_ros.io.bag_topics import Times, clock_difference_ns, useless_stamps
from aenet_ros.sync.matcher import PairMatcher

ENOUGH = 0.9
"""Share of the possible pairs from which nothing is advised."""
PLAUSIBLE_DELAY_NS = 250_000_000
"""If log times say that stamps differ by less, a slow driver is the more likely reason, not the clocks."""
LONGEST_QUEUE = 100
MOST_FRAMES = 20_000
"""Number of frames, from the beginning of the bag, on which changes are tried."""
_NO_PIXELS = np.zeros((1, 1), np.uint8)

Stamps = npt.NDArray[np.int64]
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
    of_thermal, of_rgb = _stamps(order, "thermal") - sync.clock_offset_ns, _stamps(order, "rgb")
    if not best.pairs and (apart_ns := max(of_thermal[0] - of_rgb[-1], of_rgb[0] - of_thermal[-1])) > 0:
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
    thermal, rgb = _stamps(order, "thermal"), _stamps(order, "rgb")
    period = _period_ns(rgb)
    near = _differences(thermal - about_ns, rgb, period) if period else thermal[:0]
    if not near.size:
        return about_ns
    # The mean direction on a circle of one period: a median fails where the differences are near half a period of either sign.
    turns = np.exp(2j * np.pi * near / period).mean()
    if abs(turns) < 0.3:
        return about_ns
    offset_ns = about_ns + round(float(np.angle(turns)) / (2 * math.pi) * period)
    return offset_ns + round(float(np.median(_differences(thermal - offset_ns, rgb, period))))


def _differences(stamps: Stamps, others: Stamps, most: float = math.inf) -> Stamps:
    """Each stamp minus the nearest of the others, ns, where that is at most ``most``."""
    after = np.searchsorted(others, stamps).clip(1, max(len(others) - 1, 1))
    choices = np.stack([stamps - others[after - 1], stamps - others[after.clip(0, len(others) - 1)]])
    nearest = np.take_along_axis(choices, np.abs(choices).argmin(axis=0)[None], axis=0)[0]
    return np.asarray(nearest[np.abs(nearest) <= most])


def _needed_slop_ms(order: Order, offset_ns: int) -> float:
    """The slop that lets nearly all frames of the sparser stream find their nearest partner, at most half of its period; whole ms."""
    sparse, dense = sorted((_stamps(order, "thermal") - offset_ns, _stamps(order, "rgb")), key=len)
    apart = np.sort(np.abs(_differences(sparse, dense)))
    return float(math.ceil(min(apart[int(0.95 * (len(apart) - 1))], _period_ns(sparse) / 2) * 1e-6))


def _stamps(order: Order, role: str) -> Stamps:
    return np.sort(np.array([stamp for name, stamp in order if name == role], np.int64))


def _period_ns(stamps: Stamps) -> float:
    steps = np.diff(stamps)
    return float(np.median(steps[steps > 0])) if steps.any() else 0.0


def _as_ms(offset_ns: int, sync: SyncConfig) -> float:
    """As ms, rounded where the slop allows it."""
    return round(offset_ns * 1e-6, 1 if sync.slop_ns >= 1_000_000 else 6)
