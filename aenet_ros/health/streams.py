"""State machine of the two camera streams: which of them works, with hysteresis in both directions.

Its inputs are the arrival of each frame on a monotonic clock and the fault found in it. It knows neither pictures nor ROS.
"""

import statistics
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from aenet_ros.config import DegradedConfig

ROLES = ("thermal", "rgb")
OTHER = {"thermal": "rgb", "rgb": "thermal"}

SEVERITY: Mapping[str, int] = {"": 0, "frozen": 1, "black": 1, "saturated": 1, "late": 2, "silent": 3}
"""Faults of a stream. 1: frames arrive, but show nothing; from 2 on: there is no picture of the present."""

START_S = 2.0
"""Time before a camera of unknown period is silent: discovery and drivers need it."""

MISSED = 3
"""Frames of the other stream that must arrive before a stream is silent: otherwise this process itself may have been stopped."""

MIN_GOOD = 3  # good frames in a row before a fault is over
MIN_GAPS = 3  # known frame periods before the median is used
GAPS = 16


class Mode(NamedTuple):
    """What to publish: ``show`` is fused, rgb, thermal or nothing; ``thermal`` and ``rgb`` are the faults (keys of SEVERITY)."""

    show: str
    thermal: str
    rgb: str


def choose(thermal: str, rgb: str) -> Mode:
    """The mode for these faults: the stream with the lesser fault, or both where the faults are equal and frames arrive."""
    thermal_severity, rgb_severity = SEVERITY[thermal], SEVERITY[rgb]
    if min(thermal_severity, rgb_severity) >= SEVERITY["late"]:
        return Mode("nothing", thermal, rgb)
    if thermal_severity == rgb_severity:
        return Mode("fused", thermal, rgb)
    return Mode("rgb" if thermal_severity > rgb_severity else "thermal", thermal, rgb)


class StreamStates:
    """The faults of both streams, with hysteresis. Times are integer ns of one clock that does not jump. Not thread-safe.

    A fault counts after ``after_s`` (silence: or three periods of the stream, if longer); ``frozen`` counts at once, because its detection
    takes time already. A fault is over after ``recover_s`` of good frames without a gap, at least MIN_GOOD of them.
    """

    def __init__(self, started_ns: int) -> None:
        self.degradations = 0
        self.changed_ns = started_ns
        self._streams = {role: _Stream(started_ns) for role in ROLES}
        self._mode = choose("", "")
        self._quiet_ticks = 0

    @property
    def mode(self) -> Mode:
        """After the last ``on_frame`` or ``tick``."""
        return self._mode

    def on_frame(self, role: str, at_ns: int, fault: str, config: DegradedConfig) -> Mode:
        """A frame of ``role`` arrived; ``fault``: a key of SEVERITY."""
        self._quiet_ticks = 0
        self._streams[OTHER[role]].missed += 1
        self._streams[role].on_frame(at_ns, fault, config)
        return self._decide(at_ns, config)

    def tick(self, at_ns: int, config: DegradedConfig) -> Mode:
        """Time passed; to be called periodically, so that the silence of both streams is noticed."""
        self._quiet_ticks += 1
        return self._decide(at_ns, config)

    def _decide(self, at_ns: int, config: DegradedConfig) -> Mode:
        quiet = {role: stream.quiet(at_ns, config) for role, stream in self._streams.items()}
        for role, stream in self._streams.items():
            # A single quiet tick may mean that this thread itself was stopped.
            if quiet[role] and (stream.missed >= MISSED or (quiet[OTHER[role]] and self._quiet_ticks >= 2)):
                stream.set_fault("silent")
        mode = choose(self._streams["thermal"].fault, self._streams["rgb"].fault)
        if mode.show != self._mode.show:
            self.changed_ns = at_ns
            self.degradations += self._mode.show == "fused"
        self._mode = mode
        return mode


class _Stream:
    """One stream: the fault that counts (``fault``), and the last one that has not lasted long enough to count."""

    def __init__(self, started_ns: int) -> None:
        self.fault = ""
        self.missed = 0
        self._last_ns, self._arrived = started_ns, False
        self._gaps: deque[int] = deque(maxlen=GAPS)
        self._fault_since_ns: int | None = None
        self._good_since_ns, self._good = started_ns, 0

    def on_frame(self, at_ns: int, fault: str, config: DegradedConfig) -> None:
        gap_ns = at_ns - self._last_ns
        if not self._arrived or gap_ns > self._patience_ns(config):
            self._good, self._fault_since_ns = 0, None
        if self._arrived:
            self._gaps.append(gap_ns)
        self._last_ns, self._arrived, self.missed = at_ns, True, 0
        if fault:
            self._good = 0
            if self._fault_since_ns is None:
                self._fault_since_ns = at_ns
            if self.fault or fault == "frozen" or at_ns - self._fault_since_ns >= config.after_s * 1e9:
                self.fault = fault
            return
        self._fault_since_ns = None
        if not self._good:
            self._good_since_ns = at_ns
        self._good += 1
        if self._good >= MIN_GOOD and at_ns - self._good_since_ns >= config.recover_s * 1e9:
            self.fault = ""

    def quiet(self, at_ns: int, config: DegradedConfig) -> bool:
        return at_ns - self._last_ns > self._patience_ns(config)

    def set_fault(self, fault: str) -> None:
        self.fault, self._good, self._fault_since_ns = fault, 0, None

    def _patience_ns(self, config: DegradedConfig) -> int:
        if len(self._gaps) < MIN_GAPS:
            return round(max(config.after_s, START_S) * 1e9)
        return max(round(config.after_s * 1e9), 3 * statistics.median_low(self._gaps))
