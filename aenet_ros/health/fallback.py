"""Decides frame by frame whether pairs are fused, or one camera's frame is published while the other one fails."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from aenet_ros.config import Config
from aenet_ros.core.frames import Frame, FusedFrame
from aenet_ros.health.picture_faults import picture_fault
from aenet_ros.health.status import ERROR, OK, WARN, Status
from aenet_ros.health.streams import Mode, StreamStates
from aenet_ros.thermal.ffc import FrozenDetector, sample

TICK_S = 0.1
"""Period of ``tick``: the held frame is published so often while both cameras are silent."""

REMEDIES = {
    "silent": "sends nothing: check camera, cable and driver",
    "late": "sends frames older than sync.max_latency_ms: check the network and the clocks",
    "frozen": "repeats one picture: restart its driver",
    "black": "sends a black picture: check lens cap, exposure and light",
    "saturated": "sends a picture at full scale: check exposure, gain and range",
}
ACTIONS = {
    "passthrough": "the {show} picture is passed through",
    "hold": "the last fused frame is held",
    "silence": "nothing is published",
}


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
    """The state of both cameras and what follows from it (``degraded.policy``). Times are integer ns of one clock that does not jump.

    ``on_frame``, ``tick`` and ``status`` belong to one thread (the executor's), ``analyze``, ``already_published`` and ``record_published``
    to another (the worker's); ``record_unpublished`` may be called by both.
    """

    def __init__(self, started_ns: int) -> None:
        self.held: FusedFrame | None = None
        """The last fused frame, for policy hold."""
        self._states = StreamStates(started_ns)
        self._frozen = {"thermal": FrozenDetector(), "rgb": FrozenDetector()}
        self._picture_faults = {"thermal": "", "rgb": ""}  # of the picture analysed last
        self._streams: dict[str, StreamInfo] = {}
        self._published_ns: int | None = None  # stamp of what was published last
        self._lock = threading.Lock()
        self._published: Counter[str] = Counter()  # by source: rgb, thermal, held
        self._unpublished: Counter[str] = Counter()  # by reason
        self._failure = ""

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
        pixels = sample(frame)
        detector = self._frozen[role]
        detector.update(at_ns, pixels)
        frozen = 0 < config.degraded.frozen_s * 1e9 <= detector.still_ns
        self._picture_faults[role] = picture_fault(role, frame, pixels, config.degraded) or ("frozen" if frozen else "")

    def already_published(self, stamp_ns: int, config: Config) -> bool:
        """Whether a picture of that instant was published: a single frame may precede its pair, or the pair the frame.

        A stamp further back than ``sync.slop_ms``, with any policy, belongs to a clock that was set back, and is new.
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

    def status(self, at_ns: int, config: Config) -> Status:
        """For diagnostics; to be called once a period, since it also notices that both cameras stopped."""
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
        return Status("degraded", *describe(mode, config.degraded.policy), values)


def describe(mode: Mode, policy: str) -> tuple[int, str]:
    """Level and sentence of a mode."""
    faults = [f"the {role} camera {REMEDIES[fault]}" for role, fault in (("thermal", mode.thermal), ("rgb", mode.rgb)) if fault]
    if not faults:
        return OK, "both cameras work"
    if mode.show == "nothing":
        action = "the last fused frame is held" if policy == "hold" else "nothing is published"
        return ERROR, f"{'; '.join(faults)}; {action} until a camera works again"
    if mode.show == "fused":
        return WARN, f"{'; '.join(faults)}; neither camera is better, so pairs are fused as they are"
    return WARN, f"{'; '.join(faults)}; {ACTIONS[policy].format(show=mode.show)}; fusion resumes by itself"
