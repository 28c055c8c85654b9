"""Which times of a bag's messages pair the cameras' frames: header stamps, or log times where those cannot."""

import statistics
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice, pairwise
from typing import NamedTuple

from aenet_ros.core.errors import ImageError
from aenet_ros.io.bag_frames import with_header
from aenet_ros.io.bags import Bag
from aenet_ros.messages.codec import stamp_ns

SAMPLE = 50
"""Number of messages of each topic that are looked at."""
MOST_DELAY_NS = 3_000_000_000
"""No driver takes as long to deliver a frame: if log times say that stamps are further apart, the clocks differ."""
SUSPICIOUS_NS = 500_000_000

Times = list[tuple[int, int]]
"""Header stamp and log time of messages, ns."""


class TimeChoice(NamedTuple):
    """``remark``: a sentence for the user, empty if there is nothing to say."""

    by_log: bool
    remark: str = ""


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


def choose_time(bag: Bag, cameras: Mapping[str, str], offset_ns: int, asked: str = "") -> TimeChoice:
    """The times that pair the frames of ``cameras`` (topic by role). ``asked``: header, log, or empty for a choice by the first messages.

    Log times are chosen where header stamps are zero or stand still, and where the cameras' clocks are too far apart for pairs
    (``offset_ns``: clock offset that the user gave).
    """
    samples = {role: _sample(bag, topic) for role, topic in cameras.items()}
    if asked or not all(samples.values()):
        return TimeChoice(asked == "log")
    advancing = all(later > earlier for times in samples.values() for (_, earlier), (_, later) in [(times[0], times[-1])] if len(times) > 1)
    for role, times in samples.items():
        if (fault := useless_stamps(times)) and advancing:
            return TimeChoice(True, f"paired by log times, since the header stamps of {cameras[role]} {fault} (--time header uses them)")
    apart_ns = clock_difference_ns(samples["thermal"], samples["rgb"])
    rest_ns = abs(apart_ns - offset_ns)
    said = f"the header stamps of {cameras['thermal']} are {apart_ns * 1e-9:+.3f} s from those of {cameras['rgb']}"
    if rest_ns > min(MOST_DELAY_NS, max(bag.duration_ns, SUSPICIOUS_NS)) and abs(offset_ns) < MOST_DELAY_NS and advancing:
        return TimeChoice(True, f"paired by log times, since {said} (--time header pairs by stamps)")
    if rest_ns > SUSPICIOUS_NS:
        return TimeChoice(False, f"by their log times {said}: a slow driver, or other clocks; if the pairs are wrong, give --time log")
    return TimeChoice(False)


def _sample(bag: Bag, topic: str) -> Times:
    wanted = [connection for connection in bag.counts if connection.topic == topic]
    times = []
    for connection, log_ns, data in islice(bag.messages(wanted, []), SAMPLE):
        with suppress(ImageError):  # counted where the frames are read
            times.append((stamp_ns(with_header(bag.deserialize(connection, data))), log_ns))
    return times
