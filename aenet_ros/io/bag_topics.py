"""A bag's topics: which are the cameras', their rates, encodings and stamps, and what the matcher would pair."""

import re
import statistics
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from aenet_ros.config import SyncConfig
from aenet_ros.core.camera import Camera, camera_from_info
from aenet_ros.core.errors import ConfigError, ImageError, SourceError
from aenet_ros.core.frames import Frame
from aenet_ros.io.bags import READ_ENCODINGS, Bag, describe, open_bag
from aenet_ros.messages.codec import IMAGE_TYPES, stamp_ns
from aenet_ros.sync.matcher import DROP_REASONS, PairMatcher

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

# Words in topic names. Fused and registered pictures of an earlier run are neither camera.
_THERMAL = re.compile(r"therm|infra|lwir|mwir|flir|boson|lepton|seek|optris|(^|[/_])(ir|tau)\d?([/_]|$)")
_RGB = re.compile(r"rgb|colou?r|visible|(^|[/_])(vis|eo|cam(era)?|left|usb_cam)\d?([/_]|$)")
_PICTURES = re.compile("image|video|camera", re.IGNORECASE)
_NEITHER = re.compile(r"fused|registered|depth|disparity|mask|debug")

GAP_PERIODS = 1.8
"""A difference of stamps of more than this number of median periods is a gap: at least one frame is missing."""

_NO_PIXELS = np.zeros((1, 1), np.uint8)


def image_topics(bag: Bag) -> dict[str, int]:
    """The numbers of messages of the bag's picture topics, by name; only topics with messages."""
    return {name: topic.messages for name, topic in bag.topics.items() if topic.msgtype in IMAGE_TYPES and topic.messages}


def camera_topics(bag: Bag, thermal: str = "", rgb: str = "") -> tuple[str, str]:
    """``choose_topics`` of the bag; the error also names pictures in an encoding that is not read."""
    try:
        return choose_topics(image_topics(bag), thermal, rgb)
    except SourceError as error:
        foreign = [item for item in bag.counts if item.encoding not in READ_ENCODINGS and _PICTURES.search(f"{item.topic} {item.msgtype}")]
        if not foreign:
            raise
        listed = ", ".join(f"{item.topic} ({describe(item)}, {bag.counts[item]})" for item in foreign)
        raise SourceError(
            f"{error}; not read, since they are not messages of ROS: {listed}: convert them to sensor_msgs/Image or CompressedImage"
        ) from error


def choose_topics(topics: Mapping[str, int], thermal: str = "", rgb: str = "") -> tuple[str, str]:
    """The names of the thermal and the rgb topic: as given, else guessed by words in the names.

    Raises SourceError, which lists the picture topics, if the choice is not clear.
    """
    listing = _listing(topics)
    for given in (thermal, rgb):
        if given and given not in topics:
            raise SourceError(f"the bag has no picture topic '{given}'; it has: {listing}")
    plain = [name for name in topics if not _NEITHER.search(name)]
    thermals = [thermal] if thermal else _prefer_raw([name for name in plain if _THERMAL.search(name.lower()) and name != rgb])
    others = [name for name in plain if name not in thermals and not _THERMAL.search(name.lower())]
    rgbs = [rgb] if rgb else _prefer_raw([name for name in others if _RGB.search(name.lower())] or others)
    found = {"thermal": thermals, "rgb": rgbs}
    unclear = [f"{role} ({', '.join(names) or 'none found'})" for role, names in found.items() if len(names) != 1]
    if unclear:
        raise SourceError(f"which topic is {' and which is '.join(unclear)}? Give --thermal-topic and --rgb-topic; the bag has: {listing}")
    return thermals[0], rgbs[0]


def choose_depth(topics: Mapping[str, int], given: str = "") -> str:
    """The depth topic: as given, else the only one with depth in its name, aligned ones first. Raises SourceError."""
    found = [name for name in topics if name == given] if given else _prefer_raw([name for name in topics if "depth" in name.lower()])
    found = [name for name in found if "aligned" in name] or found
    if len(found) != 1:
        raise SourceError(
            f"registration.mode depth needs the depth camera's topic, aligned to the rgb frame: give --depth-topic; "
            f"the bag has: {_listing(topics)}"
        )
    return found[0]


def info_topic(image_topic: str) -> str:
    """The camera_info topic beside a picture topic, as image_transport names it."""
    return f"{image_topic.removesuffix('/compressed').rsplit('/', 1)[0]}/camera_info"


def read_intrinsics(bag: Bag, topics: dict[str, str]) -> dict[str, Camera]:
    """The cameras by role, from the first camera_info beside each one's picture topic."""
    found = {}
    for role, topic in topics.items():
        wanted = [item for item in bag.counts if item.topic == info_topic(topic) and item.msgtype == CAMERA_INFO]
        for connection, _, data in bag.messages(wanted, []):
            with suppress(ImageError, ConfigError):  # reported where the camera is needed
                fields = vars(bag.deserialize(connection, data))
                # ROS 1 writes the matrices in capitals.
                camera = camera_from_info(SimpleNamespace(**{name.lower(): value for name, value in fields.items()}))
                if camera is not None:
                    found[role] = camera
            break
    return found


def _listing(topics: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in topics.items()) or "none"


def _prefer_raw(names: list[str]) -> list[str]:
    """Without the compressed topics whose raw ones are there too, and without processed ones of a raw one."""
    kept = [name for name in names if not (name.endswith("/compressed") and name.removesuffix("/compressed") in names)]
    return [name for name in kept if name.endswith(("/image_raw", "/image_raw/compressed"))] or kept


def report_bag(
    path: Path, sync: SyncConfig, thermal: str = "", rgb: str = "", progress: Callable[[], object] | None = None
) -> dict[str, Any]:
    """The report as dictionaries and lists, ready for JSON. ``progress`` is called for each message of a picture topic.

    ``pairing`` is None if the two topics are not clear; ``advice`` then says so. Raises SourceError if the bag cannot be read.
    """
    remarks: list[str] = []
    stamps: dict[str, list[int]] = defaultdict(list)
    delays: dict[str, list[int]] = defaultdict(list)
    encodings: dict[str, dict[str, None]] = defaultdict(dict)
    order: list[tuple[str, int]] = []
    damaged: Counter[str] = Counter()
    with open_bag(path, remarks) as bag:
        seconds = bag.duration_ns * 1e-9
        topics = sorted(bag.topics.items())
        pictures = [connection for connection in bag.counts if connection.msgtype in IMAGE_TYPES]
        for connection, log_ns, data in bag.messages(pictures, remarks):
            try:
                message = bag.deserialize(connection, data)
            except ImageError as error:
                damaged[str(error)] += 1
                continue
            stamp = stamp_ns(message)
            stamps[connection.topic].append(stamp)
            delays[connection.topic].append(log_ns - stamp)
            compressed = hasattr(message, "format")
            kind = f"{message.format} (compressed)" if compressed else f"{message.encoding} {message.width}x{message.height}"
            encodings[connection.topic][kind] = None
            order.append((connection.topic, stamp))
            if progress:
                progress()
        pairing, advice = None, ""
        try:
            thermal, rgb = camera_topics(bag, thermal, rgb)
        except SourceError as error:
            advice = str(error)
        else:
            pairing = pairing_report(order, stamps, thermal, rgb, sync)
            advice = _advice(pairing, sync)
    remarks += [f"{count} times: {text}" for text, count in damaged.items()]
    return {
        "bag": str(path),
        "seconds": round(seconds, 3),
        "topics": [
            {
                "name": name,
                "msgtype": info.msgtype or "several types",
                "messages": info.messages,
                "rate_hz": round((info.messages - 1) / seconds, 2) if seconds > 0 else 0.0,
                "encodings": list(encodings[name]),
                "stamps": stamp_report(stamps[name], delays[name]) if stamps[name] else None,
            }
            for name, info in topics
        ],
        "pairing": pairing,
        "advice": advice,
        "remarks": remarks,
    }


def stamp_report(stamps: list[int], delays: list[int]) -> dict[str, float]:
    """How a topic's header stamps run, in the order of recording. ``stamps`` and ``delays`` (log time minus stamp) in ns.

    Counts of ``zero``, ``repeated`` and ``backward`` stamps and of ``gaps``; ``largest_gap_ms``, the median ``period_ms``, and the
    median ``delay_ms``: the time that driver and network take, or the difference of the clocks.
    """
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
        "delay_ms": round(statistics.median(delays) * 1e-6, 3),
    }


def pairing_report(order: list[tuple[str, int]], stamps: dict[str, list[int]], thermal: str, rgb: str, sync: SyncConfig) -> dict[str, Any]:
    """What ``PairMatcher`` pairs of the two topics. ``order``: (topic, stamp in ns) as recorded.

    ``nearest_ms`` is the median of thermal minus nearest rgb stamp; an offset of whole periods cannot be seen from stamps alone.
    """
    matcher = PairMatcher(sync.slop_ns, sync.clock_offset_ns, sync.queue_size)
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
    """Each thermal stamp minus the nearest rgb stamp, ns; empty if either list is."""
    ordered, differences = sorted(rgb), []
    for stamp in thermal if rgb else ():
        place = bisect_left(ordered, stamp)
        differences.append(min((stamp - other for other in ordered[max(place - 1, 0) : place + 1]), key=abs))
    return differences


def _advice(pairing: dict[str, Any], sync: SyncConfig) -> str:
    """What to do if fewer than nine tenths of the sparser stream's frames find a partner; else empty."""
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
    slop_ms = sync.slop_ns * 1e-6
    if abs(nearest - sync.clock_offset_ms) > slop_ms:
        apart = f"the nearest stamps are {nearest:.1f} ms apart and the slop is {slop_ms:g} ms"
        return f"{apart}; try --set sync.clock_offset_ms={nearest:.1f}"
    return f"only {pairing['pairs']} of {possible} possible pairs: see what was left out, and the gaps of the topics"
