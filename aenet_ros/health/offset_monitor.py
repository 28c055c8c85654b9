"""Estimates the clock offset of the two streams in a background thread, verifies an offset that was applied, and reports both."""

import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace

from aenet_ros.config import Config
from aenet_ros.core.frames import Frame
from aenet_ros.core.mailbox import Mailbox
from aenet_ros.health.status import OK, WARN, Code, Status
from aenet_ros.sync.clock_offset import MAX_DRIFT_PPM, TOLERANCE_NS, TRUSTED, ClockOffset, ClockOffsetEstimator, small_grey

FRAME_STEP = 2  # one of FRAME_STEP frames is used: half the cost, and at 15 Hz still well within 5 ms
QUEUE_SIZE = 6
ESTIMATE_PERIOD_S = 3.0
FULL_RATE_HZ = 12.0  # of a stream that is slower than this after FRAME_STEP all frames are used


@dataclass(frozen=True)
class AppliedOffset:
    """An offset that was applied, to be verified by windows after the rgb stamp ``since_ns``; ``verified`` None: not decided yet."""

    offset_ns: int
    previous_ms: float
    since_ns: int
    verified: bool | None = None
    found_ns: int = 0


class OffsetMonitor:
    """Feeds a ``ClockOffsetEstimator`` from both streams. ``put`` returns at once; a daemon thread estimates every ``period_s``.

    ``found``: the latest estimate. ``applied``: see ``verify``.
    ``failures``: exceptions in the thread; after each of them the estimate starts from the beginning.
    """

    def __init__(self, period_s: float = ESTIMATE_PERIOD_S) -> None:
        self.found: ClockOffset | None = None
        self.applied: AppliedOffset | None = None
        self.failures, self._period_s = 0, period_s
        self._first_ns, self._latest_ns = {"thermal": 0, "rgb": 0}, {"thermal": 0, "rgb": 0}
        self._received: Counter[str] = Counter()
        self._mailbox: Mailbox[tuple[str, Frame]] = Mailbox(QUEUE_SIZE)
        self._lock = threading.Lock()  # of ``applied``
        self._thread = threading.Thread(target=self._run, name="clock offset", daemon=True)
        self._thread.start()

    def put(self, role: str, frame: Frame) -> None:
        """Take a received frame of the stream ``thermal`` or ``rgb``."""
        gap_ns = frame.stamp_ns - self._latest_ns[role]
        self._latest_ns[role] = frame.stamp_ns
        self._received[role] += 1
        if self._received[role] % FRAME_STEP and 0 < gap_ns < 1e9 / FULL_RATE_HZ:
            return
        self._mailbox.put((role, frame))

    def seconds(self) -> float:
        """Time that both streams have covered, in seconds."""
        return max(0.0, min((self._latest_ns[role] - first) / 1e9 if first else 0.0 for role, first in self._first_ns.items()))

    def verify(self, offset_ns: int, previous_ms: float) -> None:
        """Verify an applied offset by frames to come: ``applied.verified`` becomes True or, where they give another offset, False."""
        with self._lock:
            self.applied = AppliedOffset(offset_ns, previous_ms, self._latest_ns["rgb"])

    def stop(self) -> None:
        """End the thread."""
        self._mailbox.close()
        self._thread.join(5)

    def _run(self) -> None:
        estimator, estimated_at = ClockOffsetEstimator(), time.monotonic()
        while (taken := self._mailbox.take(None)) is not None:
            role, frame = taken
            try:
                (estimator.push_thermal if role == "thermal" else estimator.push_rgb)(frame.stamp_ns, small_grey(frame))
                if time.monotonic() - estimated_at > self._period_s:
                    self.found = estimator.estimate()
                    self._check_applied(estimator)
                    estimated_at = time.monotonic()
            except Exception:  # a frame must not end the thread; the motions gathered so far are dropped
                estimator, self.found, self.failures = ClockOffsetEstimator(), None, self.failures + 1
                continue
            if not self._first_ns[role] or frame.stamp_ns < self._first_ns[role]:
                self._first_ns[role] = frame.stamp_ns

    def _check_applied(self, estimator: ClockOffsetEstimator) -> None:
        applied = self.applied
        if applied is None or applied.verified is not None:
            return
        since_ns = min(applied.since_ns, self._latest_ns["rgb"])  # stamps may jump back
        found = estimator.estimate(since_ns)
        if found is None or not found.trusted:
            return
        allowed_ns = TOLERANCE_NS + MAX_DRIFT_PPM * 1e-6 * (self._latest_ns["rgb"] - since_ns)
        verified = abs(found.offset_ns - applied.offset_ns) <= allowed_ns
        with self._lock:
            if self.applied is applied:
                self.applied = replace(applied, since_ns=since_ns, verified=verified, found_ns=found.offset_ns)


def offset_status(monitor: OffsetMonitor | None, config: Config) -> Status:
    """The estimate for diagnostics; a warning where it is confirmed and differs from the applied offset."""
    applied_ms = config.sync.clock_offset_ms
    values = {"applied [ms]": f"{applied_ms:g}"}
    if not config.sync.watch_offset or monitor is None:
        return Status("clock offset", OK, Code.OFFSET_UNKNOWN, "not estimated: set sync.watch_offset", values)
    found, applied = monitor.found, monitor.applied
    values["observed [s]"] = f"{monitor.seconds():.0f}"
    if monitor.failures:
        values["restarts after errors"] = str(monitor.failures)
    if found is not None:
        values |= {
            "estimate [ms]": f"{found.offset_ns / 1e6:.1f}",
            "drift [ppm]": "-" if math.isnan(found.drift_ppm) else f"{found.drift_ppm:.0f}",
            "confidence": f"{found.confidence:.2f}",
        }
    if applied is not None and applied.verified is False:
        return Status("clock offset", WARN, Code.OFFSET_REVERTED, rollback_text(applied), values)
    if found is None:
        return Status("clock offset", OK, Code.OFFSET_UNKNOWN, "no estimate yet: it needs 10 s of both cameras", values)
    if not found.trusted:
        return Status("clock offset", OK, Code.OFFSET_UNKNOWN, f"no estimate: {found.problem}", values)
    error_ms, limit_ms = found.offset_ns / 1e6 - applied_ms, config.diagnostics.max_offset_error_ms
    if limit_ms and abs(error_ms) > limit_ms:
        if not found.confirmed:
            text = f"one window of 10 s says that {offset_text(found)}: not confirmed yet, that needs 20 s of motion"
            return Status("clock offset", OK, Code.OFFSET_UNKNOWN, text, values)
        remedy = "call ~/estimate_clock_offset to apply it, or synchronise the clocks"
        text = f"{offset_text(found)}, {abs(error_ms):.0f} ms from the applied offset: {remedy}"
        return Status("clock offset", WARN, Code.OFFSET_WRONG, text, values)
    verification = ""
    if applied is not None and applied.offset_ns == round(applied_ms * 1e6):
        verification = "; applied and verified" if applied.verified else "; applied, not verified yet: that needs 10 s of motion"
    return Status("clock offset", OK, Code.OFFSET_OK, offset_text(found) + verification, values)


def offset_refusal(monitor: OffsetMonitor) -> str:
    """Why the estimate cannot be applied; empty where it can."""
    found = monitor.found
    if found is None:
        return f"{monitor.seconds():.0f} s of both cameras so far, 10 s are needed: call again later"
    if not found.trusted:
        return f"{offset_text(found)}: {found.problem} (confidence {TRUSTED:g} is needed); move the cameras together and call again"
    return ""


def offset_text(found: ClockOffset) -> str:
    """Offset, drift and confidence in words."""
    offset_ms = found.offset_ns / 1e6
    drift = "" if math.isnan(found.drift_ppm) else f", drift {found.drift_ppm:.0f} ppm"
    side = "ahead of" if offset_ms >= 0 else "behind"
    return f"thermal stamps are {abs(offset_ms):.1f} ms {side} rgb stamps{drift} (confidence {found.confidence:.2f})"


def rollback_text(applied: AppliedOffset) -> str:
    """What was rolled back, and why."""
    return (
        f"the offset {applied.offset_ns / 1e6:.1f} ms was applied but frames after it give {applied.found_ns / 1e6:.1f} ms: "
        f"sync.clock_offset_ms is set back to {applied.previous_ms:g}; move the cameras irregularly and call ~/estimate_clock_offset again"
    )
