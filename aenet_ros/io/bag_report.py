"""What a bag holds: topics with their rates, encodings and stamps, and what the matcher would make of the two cameras."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Frame
from aenet_ros.io.bags import IMAGE_TYPES, choose_topics, image_topics, message_of, open_bag, read_messages
from aenet_ros.messages.codec import stamp_ns
from aenet_ros.sync.matcher import DROP_REASONS, PairMatcher

GAP_PERIODS = 1.8
"""Stamps further apart than so many median periods are a gap: at least one frame is missing."""

_NO_PIXELS = np.zeros((1, 1), np.uint8)


@dataclass
class StampReport:
    """How the header stamps of a picture topic run; times in ms."""

    zero: int = 0
    repeated: int = 0
    backward: int = 0
    gaps: int = 0
    largest_gap_ms: float = 0.0
    period_ms: float = 0.0
    delay_ms: float = 0.0
    """Median of log time minus stamp: what driver and network took, or how far apart the clocks are."""


@dataclass
class TopicReport:
    """One topic of a bag; ``encodings`` are those seen, with their sizes."""

    name: str
    msgtype: str
    messages: int
    rate_hz: float = 0.0
    encodings: list[str] = field(default_factory=list)
    stamps: StampReport | None = None


def report_bag(
    path: Path, sync: SyncConfig, thermal: str = "", rgb: str = "", progress: Callable[[], object] | None = None
) -> dict[str, Any]:
    """The report as plain dictionaries and lists, ready for JSON; ``progress`` is called once for each message of a picture topic.

    ``pairing`` is None where the two topics cannot be told, and ``advice`` then says so. Raises SourceError where the bag cannot be read.
    """
    remarks: list[str] = []
    stamps: dict[str, list[int]] = defaultdict(list)
    delays: dict[str, list[int]] = defaultdict(list)
    encodings: dict[str, dict[str, None]] = defaultdict(dict)
    order: list[tuple[str, int]] = []
    damaged: Counter[str] = Counter()
    with open_bag(path, remarks) as reader:
        seconds = reader.duration * 1e-9 if reader.message_count else 0.0
        topics = [TopicReport(name, info.msgtype or "several types", info.msgcount) for name, info in sorted(reader.topics.items())]
        pictures = [connection for connection in reader.connections if connection.msgtype in IMAGE_TYPES]
        for connection, log_ns, data in read_messages(reader, pictures, remarks):
            try:
                message = message_of(reader, connection, data)
            except ImageError as error:
                damaged[f"{connection.topic}: {error}"] += 1
                continue
            stamp = stamp_ns(message)
            stamps[connection.topic].append(stamp)
            delays[connection.topic].append(log_ns - stamp)
            encodings[connection.topic][_form(message)] = None
            order.append((connection.topic, stamp))
            if progress:
                progress()
        choice, unclear = _choice(lambda: choose_topics(image_topics(reader), thermal, rgb))
    remarks += [f"{count} messages of {words}" for words, count in damaged.items()]
    for topic in topics:
        topic.rate_hz = round((topic.messages - 1) / seconds, 2) if seconds > 0 else 0.0
        topic.encodings = list(encodings[topic.name])
        if stamps[topic.name]:
            topic.stamps = stamp_report(stamps[topic.name], delays[topic.name])
    pairing = pairing_report(order, stamps, *choice, sync) if choice else None
    return {
        "bag": str(path),
        "seconds": round(seconds, 3),
        "topics": [asdict(topic) for topic in topics],
        "pairing": pairing,
        "advice": unclear or (advice(pairing, sync) if pairing else ""),
        "remarks": remarks,
    }


def _choice(choose: Callable[[], tuple[str, str]]) -> tuple[tuple[str, str] | None, str]:
    try:
        return choose(), ""
    except SourceError as error:
        return None, str(error)


def _form(message: Any) -> str:
    if hasattr(message, "format"):
        return f"{message.format} (compressed)"
    return f"{message.encoding} {message.width}x{message.height}"


def stamp_report(stamps: list[int], delays: list[int]) -> StampReport:
    """How a topic's stamps run, in the order of the log; ``delays`` are log time minus stamp. All ns."""
    steps = [later - earlier for earlier, later in pairwise(stamps)]
    forward = [step for step in steps if step > 0]
    period = statistics.median(forward) if forward else 0
    gaps = [step for step in forward if step > GAP_PERIODS * period]
    return StampReport(
        zero=sum(stamp <= 0 for stamp in stamps),
        repeated=sum(step == 0 for step in steps),
        backward=sum(step < 0 for step in steps),
        gaps=len(gaps),
        largest_gap_ms=round(max(gaps, default=0) * 1e-6, 3),
        period_ms=round(period * 1e-6, 3),
        delay_ms=round(statistics.median(delays) * 1e-6, 3),
    )


def pairing_report(order: list[tuple[str, int]], stamps: dict[str, list[int]], thermal: str, rgb: str, sync: SyncConfig) -> dict[str, Any]:
    """What ``PairMatcher`` pairs of the two topics' stamps, in the order in which they were logged; and how far apart the stamps are.

    ``nearest_ms`` is the median of thermal minus nearest rgb stamp (whole periods of offset cannot be told from stamps alone).
    """
    matcher = PairMatcher(round(sync.slop_ms * 1e6), round(sync.clock_offset_ms * 1e6), sync.queue_size)
    differences = []
    for topic, stamp in order:
        frame = Frame(stamp, _NO_PIXELS, "mono8")
        pairs = matcher.push_thermal(frame) if topic == thermal else matcher.push_rgb(frame) if topic == rgb else []
        differences += [pair.difference_ns for pair in pairs]
    differences += [pair.difference_ns for pair in matcher.flush()]
    nearest = nearest_differences(stamps[thermal], stamps[rgb])
    return {
        "thermal": thermal,
        "rgb": rgb,
        "pairs": matcher.counts.pairs,
        "of_thermal": matcher.counts.thermal_in,
        "of_rgb": matcher.counts.rgb_in,
        "left_out": {DROP_REASONS[reason]: count for reason, count in matcher.counts.dropped.items() if count},
        "paired_difference_ms": round(statistics.median(differences) * 1e-6, 3) if differences else None,
        "nearest_ms": round(statistics.median(nearest) * 1e-6, 3) if nearest else None,
        "offset_of_begin_ms": round((min(stamps[thermal]) - min(stamps[rgb])) * 1e-6, 3) if nearest else None,
    }


def nearest_differences(thermal: list[int], rgb: list[int]) -> list[int]:
    """Each thermal stamp minus the rgb stamp nearest to it, ns; empty where either has none."""
    if not thermal or not rgb:
        return []
    sorted_rgb = np.sort(np.asarray(rgb, np.int64))
    stamps = np.asarray(thermal, np.int64)
    place = np.clip(np.searchsorted(sorted_rgb, stamps), 1, max(len(sorted_rgb) - 1, 1))
    before, after = sorted_rgb[place - 1], sorted_rgb[np.minimum(place, len(sorted_rgb) - 1)]
    nearest = np.where(stamps - before <= after - stamps, before, after)
    return [int(difference) for difference in stamps - nearest]


def advice(pairing: dict[str, Any], sync: SyncConfig) -> str:
    """What to do where fewer than nine tenths of the sparser stream's frames find a partner; else empty."""
    possible = min(pairing["of_thermal"], pairing["of_rgb"])
    if possible == 0:
        return "one of the two topics holds no frames"
    if pairing["pairs"] >= 0.9 * possible:
        return ""
    nearest, begin = pairing["nearest_ms"], pairing["offset_of_begin_ms"]
    if abs(begin) > 1000.0:
        return (
            f"the thermal stamps begin {begin / 1000:.3f} s from the rgb ones: the cameras' clocks differ; "
            f"try --set sync.clock_offset_ms={begin:.0f}, or stamp both by one clock"
        )
    if abs(nearest - sync.clock_offset_ms) > sync.slop_ms:
        apart = f"the nearest stamps are {nearest:.1f} ms apart and the slop is {sync.slop_ms:g} ms"
        return f"{apart}; try --set sync.clock_offset_ms={nearest:.1f}"
    return f"only {pairing['pairs']} of {possible} possible pairs: see what was left out, and the gaps of the topics"
