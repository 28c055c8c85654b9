"""Decides frame by frame whether pairs are fused, or one camera's frame is published while the other one fails.

``StreamStates`` is the state machine of the two camera streams: which of them works, with hysteresis in both directions. Its inputs are the
arrival of each frame on a monotonic clock and the fault found in it. Times are integer ns of one clock that does not jump.
"""

import statistics
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from aenet_ros.config import Config, DegradedConfig
from aenet_ros.core.frames import Frame, FusedFrame
from aenet_ros.health.quality import picture_fault
from aenet_ros.health.status import ERROR, OK, WARN, Code, Status
from aenet_ros.thermal.ffc import FrozenDetector, sample

ROLES = ("thermal", "rgb")
OTHER = {"thermal": "rgb", "rgb": "thermal"}
# Faults of a stream. 1: frames arrive, but show nothing; from 2 on: there is no picture of the present.
SEVERITY: Mapping[str, int] = {"": 0, "frozen": 1, "black": 1, "saturated": 1, "late": 2, "silent": 3}
START_S = 2.0  # before a camera of unknown period is silent: discovery and drivers need this time
MISSED = 3  # frames of the other stream that must arrive before a stream is silent: this process itself may have been stopped
MIN_GOOD = 3  # good frames in a row before a fault is over
MIN_GAPS = 3  # known frame periods before the median is used
GAPS = 16
TICK_S = 0.1  # period of ``tick``: the held frame is published so often while both cameras are silent

REMEDIES = {
    "silent": "sends nothing: check camera, cable and driver",
    "late": "sends frames older than sync.max_latency_ms: check the network and the clocks",
    "frozen": "repeats one picture: restart its driver",
    "black": "sends a black picture: check lens cap, exposure and light",
    "saturated": "sends a picture at full scale: check exposure, gain and range",
}
CODES = {  # by whether the thermal and the rgb camera have a fault
    (False, False): Code.DEGRADED_NONE,
    (True, False): Code.DEGRADED_THERMAL,
    (False, True): Code.DEGRADED_RGB,
    (True, True): Code.DEGRADED_BOTH,
}
ACTIONS = {
    "passthrough": "the {show} picture is passed through",
    "hold": "the last fused frame is held",
    "silence": "nothing is published",
}


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
    """The faults of both streams, with hysteresis. Not thread-safe.

    A fault counts after ``after_s`` (silence: or three periods of the stream, if longer); ``frozen`` counts at once, because its detection
    takes time already. A fault is over after ``recover_s`` of good frames without a gap, at least MIN_GOOD of them.
    """

    def __init__(self, started_ns: int) -> None:
        self.degradations = 0
        self.changed_ns = started_ns
        self.mode = choose("", "")  # after the last on_frame or tick
        self._streams = {role: _Stream(started_ns) for role in ROLES}
        self._quiet_ticks = 0

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
                stream.set_silent()
        mode = choose(self._streams["thermal"].fault, self._streams["rgb"].fault)
        if mode.show != self.mode.show:
            self.changed_ns = at_ns
            self.degradations += self.mode.show == "fused"
        self.mode = mode
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

    def set_silent(self) -> None:
        self.fault, self._good, self._fault_since_ns = "silent", 0, None

    def _patience_ns(self, config: DegradedConfig) -> int:
        if len(self._gaps) < MIN_GAPS:
            return round(max(config.after_s, START_S) * 1e9)
        return max(round(config.after_s * 1e9), 3 * statistics.median_low(self._gaps))


class StreamInfo(NamedTuple):
    """Size (height, width) and frame_id of a camera's last frame."""

    size: tuple[int, int]
    frame_id: str


class FallbackFrame(NamedTuple):
    """What is published in place of a fused pair. ``streams``: what is known of both cameras, by role; empty for the held frame.

    ``frame``: of the working camera ``role``, published alone. None (policy hold): the last fused frame is published again.
    """

    role: str
    frame: Frame | None
    streams: Mapping[str, StreamInfo]


class FallbackPolicy:
    """The state of both cameras and what follows from it (``degraded.policy``).

    ``on_frame``, ``tick`` and ``status`` belong to one thread (the executor's), ``analyze``, ``already_published`` and ``record_published``
    to another (the worker's); ``record_unpublished`` may be called by both.
    """

    def __init__(self, started_ns: int) -> None:
        self.held: FusedFrame | None = None  # the last fused frame, for policy hold
        self._states = StreamStates(started_ns)
        self._frozen = {role: FrozenDetector() for role in ROLES}
        self._picture_faults = dict.fromkeys(ROLES, "")  # of the picture analysed last
        self._streams: dict[str, StreamInfo] = {}
        self._published_ns: int | None = None  # stamp of what was published last
        self._lock = threading.Lock()  # of what follows
        self._published: Counter[str] = Counter()  # by source: rgb, thermal, held
        self._unpublished: Counter[str] = Counter()  # by reason
        self._failure = ""

    def restart(self, at_ns: int) -> None:
        """The streams begin at ``at_ns``: the cameras were not known before."""
        self._states = StreamStates(at_ns)

    @property
    def fuses(self) -> bool:
        """Whether pairs are to be fused."""
        return self._states.mode.show == "fused"

    def on_frame(self, role: str, frame: Frame, at_ns: int, age_ns: int, config: Config) -> FallbackFrame | None:
        """Update the stream's state with a frame that arrived at ``at_ns``, ``age_ns`` after its stamp.

        Returns the frame to publish alone, or None. Uses the faults found by ``analyze`` in earlier frames, so it causes no delay.
        """
        late = 0 < config.sync.max_latency_ms * 1e6 < age_ns
        mode = self._states.on_frame(role, at_ns, "late" if late else self._picture_faults[role], config.degraded)
        self._streams[role] = StreamInfo(frame.size, frame.frame_id)
        if mode.show != role or config.degraded.policy == "silence":
            return None
        if config.degraded.policy == "hold":
            return FallbackFrame(role, None, {})
        if role == "thermal" and config.sync.clock_offset_ms:
            frame = replace(frame, stamp_ns=frame.stamp_ns - config.sync.clock_offset_ns)
        return FallbackFrame(role, frame, dict(self._streams))

    def tick(self, at_ns: int, config: Config) -> FallbackFrame | None:
        """To be called every TICK_S: the held frame while neither camera sends, where the policy is hold."""
        mode = self._states.tick(at_ns, config.degraded)
        holds = mode.show == "nothing" and config.degraded.policy == "hold" and self.held is not None
        return FallbackFrame("", None, {}) if holds else None

    def analyze(self, role: str, frame: Frame, at_ns: int, config: Config) -> None:
        """Look for faults of the picture (frozen, black, saturated); frames of a stream in order of arrival."""
        pixels, detector = sample(frame), self._frozen[role]
        detector.update(at_ns, pixels)
        frozen = 0 < config.degraded.frozen_s * 1e9 <= detector.still_ns
        self._picture_faults[role] = picture_fault(role, frame, pixels, config.degraded) or ("frozen" if frozen else "")

    def already_published(self, stamp_ns: int, config: Config) -> bool:
        """Whether a picture of that instant was published: a single frame may precede its pair, or the pair the frame.

        A stamp further back than ``sync.slop_ms`` (also with ``sync.policy`` exact, so not ``slop_ns``) belongs to a clock that was set
        back, and is new.
        """
        back_ns = -1 if self._published_ns is None else self._published_ns - stamp_ns
        return 0 <= back_ns <= round(config.sync.slop_ms * 1e6)

    def record_published(self, fused: FusedFrame, fallback: FallbackFrame | None = None) -> None:
        """``fused`` was published; ``fallback``: what it was made of, unless it was a pair."""
        self._published_ns = fused.stamp_ns
        if fallback is None:
            self.held = fused
            return
        with self._lock:
            self._published["held" if fallback.frame is None else fallback.role] += 1

    def record_unpublished(self, reason: str, failure: str = "") -> None:
        """A fallback frame was not published; ``failure``: the error, where there was one."""
        with self._lock:
            self._unpublished[reason] += 1
            self._failure = failure or self._failure

    def status(self, at_ns: int, config: Config, problems: Mapping[str, str] = MappingProxyType({})) -> Status:
        """For diagnostics; to be called once a period, since it also notices that both cameras stopped.

        ``problems``: by role, why no frame of a stream can be used, where that is known.
        """
        mode = self._states.tick(at_ns, config.degraded)
        with self._lock:
            published, unpublished, failure = dict(self._published), dict(self._unpublished), self._failure
        values = {
            "policy": config.degraded.policy,
            "shows": mode.show,
            "thermal": mode.thermal or "ok",
            "rgb": mode.rgb or "ok",
            "for [s]": f"{(at_ns - self._states.changed_ns) / 1e9:.1f}",
            "times degraded": str(self._states.degradations),
            **{f"published: {what}": str(count) for what, count in sorted(published.items())},
            **{f"not published: {why}": str(count) for why, count in sorted(unpublished.items())},
        }
        if failure:
            values["last failure"] = failure
        level, faults, action = _describe(mode, config.degraded.policy, problems)
        if action:
            values["does"] = action
        return Status("degraded", level, CODES[mode.thermal != "", mode.rgb != ""], f"{faults}; {action}" if action else faults, values)


def _describe(mode: Mode, policy: str, problems: Mapping[str, str]) -> tuple[int, str, str]:
    """Level, what is wrong, and what is done meanwhile."""
    faults = []
    for role, fault in zip(ROLES, mode[1:], strict=True):
        if fault == "silent" and problems.get(role):
            faults.append(problems[role])
        elif fault:
            faults.append(f"the {role} camera {REMEDIES[fault]}")
    if not faults:
        return OK, "both cameras work", ""
    text = "; ".join(faults)
    if mode.show == "nothing":
        return ERROR, text, f"{ACTIONS['hold' if policy == 'hold' else 'silence']} until a camera works again"
    if mode.show == "fused":
        return WARN, text, "neither camera is better, so pairs are fused as they are"
    return WARN, text, f"{ACTIONS[policy].format(show=mode.show)}; fusion resumes by itself"
