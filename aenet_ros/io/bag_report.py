"""What `aenet inspect` says of a bag: topics, rates, encodings and stamps, and the pairs that `aenet fuse` makes of it."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from aenet_ros.config import AgcConfig, Config
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Frame
from aenet_ros.io.bag_advice import advise
from aenet_ros.io.bag_files import Connection
from aenet_ros.io.bag_frames import PICTURE_TYPES, picture_format, with_header
from aenet_ros.io.bag_source import BagSource, undecoded_text
from aenet_ros.io.bag_topics import Times
from aenet_ros.io.bags import Bag, open_bag
from aenet_ros.io.picture_checks import three_values
from aenet_ros.io.source import cropped
from aenet_ros.messages.codec import stamp_ns
from aenet_ros.sync.matcher import DROP_REASONS
from aenet_ros.thermal.temperature import temperature

GAP_PERIODS = 1.8
"""A difference of stamps of more than this number of median periods is a gap: at least one frame is missing."""


def report_bag(
    path: Path, config: Config, thermal: str = "", rgb: str = "", time: str = "", progress: Callable[[], object] | None = None
) -> dict[str, Any]:
    """The report as dictionaries and lists, ready for JSON. ``progress`` is called for each message of a picture topic.

    The pairs are those of ``BagSource``, which `aenet fuse` reads, cropped as there. ``time``: as there. ``pairing`` is None if the two
    topics are not clear; ``advice`` then says so. Raises SourceError if the bag cannot be read.
    """
    remarks: list[str] = []
    pairing, advice = None, ""
    with open_bag(path, remarks) as bag:
        seconds, topics = bag.duration_ns * 1e-9, bag.topics
        pictures = [connection for connection in bag.counts if connection.msgtype in PICTURE_TYPES]
        messages = _Messages(bag, progress)
        try:
            source = BagSource(path, config.sync, thermal, rgb, time=time)
        except SourceError as error:
            advice = str(error)
            for record in bag.messages(pictures, remarks):
                messages.add(*record)
        else:
            source.inputs = config.input
            source.listen(messages.add, pictures)
            pairing, advice = _pairing(source, messages, source.configured(config))
            remarks += [text for text in source.remarks[1:] if text not in remarks]  # the first one names the topics
    return {
        "bag": str(path),
        "seconds": round(seconds, 3),
        "topics": [
            {
                "name": name,
                "msgtype": topic.msgtype or "several types",
                "messages": topic.messages,
                "rate_hz": round((topic.messages - 1) / seconds, 2) if seconds > 0 else 0.0,
                "encodings": list(messages.formats[name]),
                "stamps": stamp_report(messages.times[name]) if messages.times[name] else None,
            }
            for name, topic in topics.items()
        ],
        "pairing": pairing,
        "advice": advice,
        "remarks": remarks,
    }


class _Messages:
    """Times and formats of the messages of picture topics."""

    def __init__(self, bag: Bag, progress: Callable[[], object] | None) -> None:
        self._bag, self._progress = bag, progress
        self.times: dict[str, Times] = defaultdict(list)
        self.formats: dict[str, dict[str, None]] = defaultdict(dict)

    def add(self, connection: Connection, log_ns: int, data: bytes) -> None:
        try:
            message = with_header(self._bag.deserialize(connection, data))
        except ImageError:  # the source counts it
            return
        self.times[connection.topic].append((stamp_ns(message), log_ns))
        self.formats[connection.topic][picture_format(connection, message)] = None
        if self._progress:
            self._progress()


def _pairing(source: BagSource, messages: _Messages, config: Config) -> tuple[dict[str, Any], str]:
    """What `aenet fuse` pairs of the source, and what to do if few frames find a partner."""
    order: list[tuple[str, int]] = []
    source.on_frame = lambda role, time_ns: order.append((role, time_ns))
    differences: list[int] = []
    uncropped: Counter[str] = Counter()
    thermal_values: dict[str, Any] = {}
    for item in cropped(source):
        if item.pair is None:
            uncropped[item.error] += 1
            continue
        differences.append(item.pair.difference_ns)
        thermal_values = thermal_values or _thermal_values(item.pair.thermal, config.agc)
    thermal, rgb = source.cameras["thermal"], source.cameras["rgb"]
    undecoded = {
        role: {reason: count for (name, reason), count in source.undecoded.items() if name == topic}
        for role, topic in source.cameras.items()
    }
    texts = [undecoded_text(topic, reason, count) for (topic, reason), count in source.undecoded.items()]
    source.remarks += [text for text in texts if text not in source.remarks]
    counts = source.counts
    pairing = {
        "thermal": thermal,
        "rgb": rgb,
        "time": "log" if source.by_log else "header",
        "pairs": len(differences),
        "of_thermal": counts.thermal_in,
        "of_rgb": counts.rgb_in,
        "undecoded": {role: sum(reasons.values()) for role, reasons in undecoded.items()},
        "left_out": {**{DROP_REASONS[reason]: count for reason, count in counts.dropped.items() if count}, **uncropped},
        **(thermal_values or {"values": [], "celsius": [], "scale": ""}),
        "paired_difference_ms": round(statistics.median(differences) * 1e-6, 3) if differences else None,
    }
    for role, topic in source.cameras.items():
        if not pairing[f"of_{role}"]:
            reason = next(iter(undecoded[role]), "the topic holds no frames")
            return pairing, f"no frame of {topic} can be decoded: {reason}"
    return pairing, advise(order, messages.times[thermal], messages.times[rgb], config.sync, by_log=source.by_log)


def _thermal_values(frame: Frame, agc: AgcConfig) -> dict[str, Any]:
    """``values`` and ``celsius``: lowest, median and highest one of a thermal frame; ``scale``: what says the degrees, or why none."""
    values, scale = three_values(frame.data), f"agc.profile {agc.profile}"
    try:
        return {"values": values, "celsius": three_values(temperature(frame, agc)), "scale": scale}
    except ImageError as error:
        return {"values": values, "celsius": [], "scale": str(error)}


def stamp_report(times: Times) -> dict[str, float]:
    """How a topic's header stamps run, in the order of recording.

    Counts of ``zero``, ``repeated`` and ``backward`` stamps and of ``gaps``; ``largest_gap_ms``, the median ``period_ms``, and the
    median ``delay_ms``: the time that driver and network take, or the difference of the clocks.
    """
    stamps = [stamp for stamp, _ in times]
    steps = [later - earlier for earlier, later in pairwise(stamps)]
    forward = [step for step in steps if step > 0]
    period = statistics.median(forward) if forward else 0
    gaps = [step for step in forward if step > GAP_PERIODS * period]
    return {
        "zero": sum(stamp <= 0 for stamp in stamps),
        "repeated": sum(step == 0 for step in steps),
        "backward": sum(step < 0 for step in steps),
        "gaps": len(gaps),
        "largest_gap_ms": round(max(gaps, default=0) * 1e-6, 3),
        "period_ms": round(period * 1e-6, 3),
        "delay_ms": round(statistics.median(log_ns - stamp for stamp, log_ns in times) * 1e-6, 3),
    }
