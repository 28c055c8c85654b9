"""Which topics of a bag are the cameras', what their camera_info says, and which times of their messages pair the frames."""

import re
import statistics
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice, pairwise
from types import SimpleNamespace

from aenet_ros.core.camera import Camera, camera_from_info
from aenet_ros.core.errors import ConfigError, ImageError, SourceError
from aenet_ros.io.bag_frames import PICTURE_TYPES, video_codec, with_header
from aenet_ros.io.bags import READ_ENCODINGS, Bag, describe
from aenet_ros.messages.camera_finder import FoundCameras, find_cameras
from aenet_ros.messages.codec import stamp_ns
from aenet_ros.messages.stream_kinds import Stream, base_topic, info_topic, stream_of

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

PEEK_NS = 10_000_000_000
"""Time from a bag's start in which a frame of each topic is looked at to tell the cameras."""
MOST_LOOKS = 30
"""Frames of a topic that are looked at while they are blank, as the first ones of a camera can be."""
_PICTURES = re.compile("image|video|camera", re.IGNORECASE)
SAMPLE = 50
"""Number of messages of each topic that are looked at."""
MOST_DELAY_NS = 3_000_000_000
"""No driver takes as long to deliver a frame: if log times say that stamps are further apart, the clocks differ."""
SUSPICIOUS_NS = 500_000_000

Times = list[tuple[int, int]]
"""Header stamp and log time of messages, ns."""


def image_topics(bag: Bag) -> dict[str, int]:
    """The numbers of messages of the bag's picture topics, by name; only topics with messages."""
    return {name: topic.messages for name, topic in bag.topics.items() if topic.msgtype in PICTURE_TYPES and topic.messages}


def camera_topics(bag: Bag, thermal: str = "", rgb: str = "") -> FoundCameras:
    """The bag's thermal and rgb topic, each given or found by ``find_cameras``. Raises SourceError where one is not certain.

    The error lists the picture topics, also those in an encoding that is not read.
    """
    for given in (thermal, rgb):
        if given and given not in image_topics(bag):
            raise SourceError(f"the bag has no picture topic '{given}'; it has: {_listing(image_topics(bag))}")
    found = find_cameras(bag_streams(bag), thermal, rgb)
    if not found.question:
        return found
    foreign = [item for item in bag.counts if item.encoding not in READ_ENCODINGS and _PICTURES.search(f"{item.topic} {item.msgtype}")]
    listed = ", ".join(f"{item.topic} ({describe(item)}, {bag.counts[item]})" for item in foreign)
    unread = f"; not read, since they are not messages of ROS: {listed}: convert them to sensor_msgs/Image or CompressedImage"
    raise SourceError(f"{found.question}. Give {found.choice('--{role}-topic {topic}')}{unread if foreign else ''}")


def bag_streams(bag: Bag) -> list[Stream]:
    """The facts of the bag's picture topics, from a frame of each where one comes within ``PEEK_NS``."""
    seconds, topics = bag.duration_ns * 1e-9, image_topics(bag)
    streams = {
        topic: Stream(topic, rate_hz=(count - 1) / seconds if seconds > 0 else 0.0, has_info=info_topic(topic) in bag.topics)
        for topic, count in topics.items()
    }
    unseen, looks = set(streams), Counter[str]()
    for connection, log_ns, data in bag.messages([item for item in bag.counts if item.topic in streams], []):
        if not unseen or log_ns - bag.start_ns > PEEK_NS:
            break
        if connection.topic in unseen:
            known = streams[connection.topic]
            with suppress(ImageError):  # it is reported where the frames are read
                message = with_header(bag.deserialize(connection, data))
                if not video_codec(connection, message):
                    streams[connection.topic] = stream_of(connection.topic, message, known.rate_hz, known.has_info)
            looks[connection.topic] += 1
            if streams[connection.topic].median != 0 or looks[connection.topic] == MOST_LOOKS:
                unseen.remove(connection.topic)
    return list(streams.values())


def choose_depth(topics: Mapping[str, int], given: str = "") -> str:
    """The depth topic: as given, else the only one with depth in its name, aligned ones first. Raises SourceError."""
    raw = [name for name in topics if name == base_topic(name) or base_topic(name) not in topics]
    found = [name for name in topics if name == given] if given else [name for name in raw if "depth" in base_topic(name).lower()]
    found = [name for name in found if "aligned" in name] or found
    if len(found) != 1:
        raise SourceError(
            f"registration.mode depth needs the depth camera's topic, aligned to the rgb frame: give --depth-topic; "
            f"the bag has: {_listing(topics)}"
        )
    return found[0]


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


def clock_difference_ns(thermal: Times, rgb: Times) -> int:
    """Thermal clock minus rgb clock, as the messages say: the difference of the median delays from header stamp to log time."""
    delays = [statistics.median(log_ns - stamp_ns for stamp_ns, log_ns in times) for times in (thermal, rgb)]
    return round(delays[1] - delays[0])


def useless_stamps(times: Times) -> str:
    """What is wrong with header stamps that cannot pair frames, else empty."""
    if sum(stamp_ns <= 0 for stamp_ns, _ in times) > len(times) / 2:
        return "are zero"
    steps = [later - earlier for (earlier, _), (later, _) in pairwise(times)]
    return "do not advance" if sum(step == 0 for step in steps) > len(steps) / 2 else ""


def choose_time(bag: Bag, cameras: Mapping[str, str], offset_ns: int, asked: str = "") -> tuple[bool, str]:
    """Whether log times pair the frames of ``cameras`` (topic by role), and a sentence for the user, "" for none.

    ``asked``: header, log, or empty for a choice by the first messages. Log times are chosen where header stamps are zero
    or stand still, and where the cameras' clocks are too far apart for pairs (``offset_ns``: clock offset that the user gave).
    """
    samples = {role: _sample(bag, topic) for role, topic in cameras.items()}
    if asked or not all(samples.values()):
        return asked == "log", ""
    advancing = all(later > earlier for times in samples.values() for (_, earlier), (_, later) in [(times[0], times[-1])] if len(times) > 1)
    for role, times in samples.items():
        if (fault := useless_stamps(times)) and advancing:
            return True, f"paired by log times, since the header stamps of {cameras[role]} {fault} (--time header uses them)"
    apart_ns = clock_difference_ns(samples["thermal"], samples["rgb"])
    rest_ns = abs(apart_ns - offset_ns)
    said = f"the header stamps of {cameras['thermal']} are {apart_ns * 1e-9:+.3f} s from those of {cameras['rgb']}"
    if rest_ns > min(MOST_DELAY_NS, max(bag.duration_ns, SUSPICIOUS_NS)) and abs(offset_ns) < MOST_DELAY_NS and advancing:
        return True, f"paired by log times, since {said} (--time header pairs by stamps)"
    if rest_ns > SUSPICIOUS_NS:
        return False, f"by their log times {said}: a slow driver, or other clocks; if the pairs are wrong, give --time log"
    return False, ""


def _sample(bag: Bag, topic: str) -> Times:
    wanted = [connection for connection in bag.counts if connection.topic == topic]
    times = []
    for connection, log_ns, data in islice(bag.messages(wanted, []), SAMPLE):
        with suppress(ImageError):  # counted where the frames are read
            times.append((stamp_ns(with_header(bag.deserialize(connection, data))), log_ns))
    return times
