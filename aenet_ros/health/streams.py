"""Which of two camera streams can be trusted by now: a state machine that waits before it changes its mind, in both directions.

It is told of each frame's arrival and of what is wrong with it, on the monotonic clock, and knows neither pictures nor ROS.
"""

import statistics
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from aenet_ros.config import DegradedConfig

ROLES = ("thermal", "rgb")
OTHER = {"thermal": "rgb", "rgb": "thermal"}

SEVERITY: Mapping[str, int] = {"": 0, "frozen": 1, "black": 1, "saturated": 1, "late": 2, "silent": 3}
"""Faults of a stream. At 1 its picture is worth nothing, but it comes; from 2 on there is no picture of now."""

START_S = 2.0
"""A camera whose pace is not known yet is given so long: discovery and drivers take their time."""

MISSED = 3
"""Frames of the other stream that must have come since, before a stream is silent: else we ourselves may have been held up."""

FEWEST_GOOD = 3
FEWEST_GAPS = 3
GAPS = 16


class Mode(NamedTuple):
    """What is to be shown: ``show`` is ``fused``, ``rgb``, ``thermal`` or ``nothing``; the faults (keys of SEVERITY) say why."""

    show: str
    thermal: str
    rgb: str


def choose(thermal: str, rgb: str) -> Mode:
    """What two streams with these faults can still give: the better one; both where neither is worse and both come."""
    ours, theirs = SEVERITY[thermal], SEVERITY[rgb]
    if min(ours, theirs) >= SEVERITY["late"]:
        return Mode("nothing", thermal, rgb)
    if ours == theirs:
        return Mode("fused", thermal, rgb)
    return Mode("rgb" if ours > theirs else "thermal", thermal, rgb)


class StreamStates:
    """The two streams' faults, with hysteresis. Times are integer ns of one clock that does not jump. Not thread-safe.

    A fault must last ``after_s`` (silence: or three of the stream's own periods, whichever is longer) before it counts; ``frozen``
    counts at once, since what finds it has waited. It is forgotten after ``recover_s`` of good frames, at least three, without a gap.
    """

    def __init__(self, started_ns: int) -> None:
        self.degradations = 0
        self.changed_ns = started_ns
        self._streams = {role: _Stream(started_ns) for role in ROLES}
        self._mode = choose("", "")
        self._quiet_ticks = 0

    @property
    def mode(self) -> Mode:
        """As of the last ``see`` or ``tick``."""
        return self._mode

    def see(self, role: str, at_ns: int, fault: str, config: DegradedConfig) -> Mode:
        """A frame of ``role`` came, with a fault of SEVERITY or none."""
        self._quiet_ticks = 0
        self._streams[OTHER[role]].missed += 1
        self._streams[role].see(at_ns, fault, config)
        return self._decide(at_ns, config)

    def tick(self, at_ns: int, config: DegradedConfig) -> Mode:
        """Nothing came; to be called now and then, so that the death of both is noticed too."""
        self._quiet_ticks += 1
        return self._decide(at_ns, config)

    def _decide(self, at_ns: int, config: DegradedConfig) -> Mode:
        quiet = {role: stream.quiet(at_ns, config) for role, stream in self._streams.items()}
        for role, stream in self._streams.items():
            # One quiet look alone may only mean that our own thread was held up.
            if quiet[role] and (stream.missed >= MISSED or (quiet[OTHER[role]] and self._quiet_ticks >= 2)):
                stream.lose("silent")
        mode = choose(self._streams["thermal"].lost, self._streams["rgb"].lost)
        if mode.show != self._mode.show:
            self.changed_ns = at_ns
            self.degradations += self._mode.show == "fused"
        self._mode = mode
        return mode


class _Stream:
    """One stream: the fault that counts (``lost``), and those that come and go."""

    def __init__(self, started_ns: int) -> None:
        self.lost = ""
        self.missed = 0
        self._last_ns, self._come = started_ns, False
        self._gaps: deque[int] = deque(maxlen=GAPS)
        self._fault_since_ns: int | None = None
        self._good_since_ns, self._good = started_ns, 0

    def see(self, at_ns: int, fault: str, config: DegradedConfig) -> None:
        gap_ns = at_ns - self._last_ns
        if not self._come or gap_ns > self._patience_ns(config):
            self._good, self._fault_since_ns = 0, None
        if self._come:
            self._gaps.append(gap_ns)
        self._last_ns, self._come, self.missed = at_ns, True, 0
        if fault:
            self._good = 0
            if self._fault_since_ns is None:
                self._fault_since_ns = at_ns
            if self.lost or fault == "frozen" or at_ns - self._fault_since_ns >= config.after_s * 1e9:
                self.lost = fault
            return
        self._fault_since_ns = None
        if not self._good:
            self._good_since_ns = at_ns
        self._good += 1
        if self._good >= FEWEST_GOOD and at_ns - self._good_since_ns >= config.recover_s * 1e9:
            self.lost = ""

    def quiet(self, at_ns: int, config: DegradedConfig) -> bool:
        return at_ns - self._last_ns > self._patience_ns(config)

    def lose(self, fault: str) -> None:
        self.lost, self._good, self._fault_since_ns = fault, 0, None

    def _patience_ns(self, config: DegradedConfig) -> int:
        if len(self._gaps) < FEWEST_GAPS:
            return round(max(config.after_s, START_S) * 1e9)
        return max(round(config.after_s * 1e9), 3 * statistics.median_low(self._gaps))
