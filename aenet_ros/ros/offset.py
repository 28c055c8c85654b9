"""The disagreement of the cameras' clocks, estimated beside the fusion in a thread of its own, reported, and set when asked."""

import math
import threading
import time
from collections import Counter, deque

from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from aenet_ros.config import Config
from aenet_ros.core.frames import Frame
from aenet_ros.health.judge import OK, WARN, Status
from aenet_ros.sync.clock_offset import ClockOffset, ClockOffsetEstimator, small_grey

EVERY = 2
"""Of a stream's frames one in so many is looked at: half the cost, and at 15 Hz still well within 5 ms."""

BACKLOG = 6
ESTIMATE_S = 3.0
TRUSTED = 0.5
"""Confidence from which an estimate may be applied (see ``ClockOffset``)."""

RATED_HZ = 12.0  # frames that come slower than this, after taking one in EVERY, are all looked at


class OffsetEstimation:
    """Feeds a ``ClockOffsetEstimator`` from both streams. ``put`` costs a queue's append; all else is done in a daemon thread."""

    def __init__(self) -> None:
        self.found: ClockOffset | None = None
        self.failures = 0
        self._since_ns = {"thermal": 0, "rgb": 0}
        self._latest_ns = {"thermal": 0, "rgb": 0}
        self._seen: Counter[str] = Counter()
        self._queue: deque[tuple[str, Frame]] = deque(maxlen=BACKLOG)
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="clock offset", daemon=True)
        self._thread.start()

    def put(self, role: str, frame: Frame) -> None:
        """A frame as it came; most are only counted."""
        gap_ns = frame.stamp_ns - self._latest_ns[role]
        self._latest_ns[role] = frame.stamp_ns
        self._seen[role] += 1
        if self._seen[role] % EVERY and 0 < gap_ns < 1e9 / RATED_HZ:
            return
        with self._changed:
            self._queue.append((role, frame))
            self._changed.notify()

    def seconds(self) -> float:
        """Time that both streams cover by now."""
        return max(0.0, min((self._latest_ns[role] - since) / 1e9 if since else 0.0 for role, since in self._since_ns.items()))

    def stop(self) -> None:
        """End the thread; it holds no resources of the node."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(5)

    def _run(self) -> None:
        estimator, estimated_at = ClockOffsetEstimator(), time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._stopping)
                if self._stopping:
                    return
                role, frame = self._queue.popleft()
            try:
                (estimator.push_thermal if role == "thermal" else estimator.push_rgb)(frame.stamp_ns, small_grey(frame))
                if time.monotonic() - estimated_at > ESTIMATE_S:
                    self.found, estimated_at = estimator.estimate(), time.monotonic()
            except Exception:  # an odd frame must not end the watch; what was gathered by then is not to be trusted
                estimator, self.found, self.failures = ClockOffsetEstimator(), None, self.failures + 1
                continue
            if not self._since_ns[role] or frame.stamp_ns < self._since_ns[role]:
                self._since_ns[role] = frame.stamp_ns


class OffsetService:
    """``~/estimate_clock_offset``: says what the watch found, and sets ``sync.clock_offset_ms`` where that can be trusted."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._watch: OffsetEstimation | None = None
        self._service = node.create_service(Trigger, "~/estimate_clock_offset", self._on_call)

    def start(self) -> None:
        """Begin with no memory; at activation."""
        self._watch = OffsetEstimation()

    def stop(self) -> None:
        """End the watch; at deactivation."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def put(self, role: str, frame: Frame, config: Config) -> None:
        """A frame as it came."""
        if self._watch is not None and config.sync.watch_offset:
            self._watch.put(role, frame)

    def status(self, config: Config) -> Status:
        """The estimate in words; a warning where it is trusted and far from what is applied."""
        applied_ms = config.sync.clock_offset_ms
        if not config.sync.watch_offset or self._watch is None:
            return Status("clock offset", OK, "not watched: set sync.watch_offset", {"applied [ms]": f"{applied_ms:g}"})
        found, values = self._watch.found, {"applied [ms]": f"{applied_ms:g}", "watched [s]": f"{self._watch.seconds():.0f}"}
        if self._watch.failures:
            values["started anew after odd frames"] = str(self._watch.failures)
        if found is None:
            return Status("clock offset", OK, "watching: an estimate needs 10 s of both cameras", values)
        values |= {
            "estimate [ms]": f"{found.offset_ns / 1e6:.1f}",
            "drift [ppm]": "-" if math.isnan(found.drift_ppm) else f"{found.drift_ppm:.0f}",
            "confidence": f"{found.confidence:.2f}",
        }
        if found.confidence < TRUSTED:
            return Status("clock offset", OK, "no estimate: the cameras must move for one, and look at the same scene", values)
        error_ms, limit_ms = found.offset_ns / 1e6 - applied_ms, config.diagnostics.max_offset_error_ms
        if limit_ms and abs(error_ms) > limit_ms:
            advice = "call ~/estimate_clock_offset to apply it, or synchronise the clocks"
            return Status("clock offset", WARN, f"{sentence(found)}, {abs(error_ms):.0f} ms from what is applied: {advice}", values)
        return Status("clock offset", OK, sentence(found), values)

    def _on_call(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._answer()
        return response

    def _answer(self) -> tuple[bool, str]:
        watch = self._watch
        if watch is None:
            return False, "the node is not active: activate it, and call again after 10 s of both cameras"
        if not self._node.get_parameter("sync.watch_offset").value:
            self._node.set_parameters([Parameter("sync.watch_offset", value=True)])
            return False, "sync.watch_offset was off and is on now: call again after 10 s of both cameras in motion"
        found = watch.found
        if found is None:
            return False, f"{watch.seconds():.0f} s of both cameras by now, 10 s are needed: call again in a while"
        if found.confidence < TRUSTED:
            return (
                False,
                f"{sentence(found)}: that is too little to apply ({TRUSTED:g} is needed); move the cameras together, and call again",
            )
        result = self._node.set_parameters([Parameter("sync.clock_offset_ms", value=found.offset_ns / 1e6)])[0]
        if not result.successful:
            return False, f"{sentence(found)}, but it could not be set: {result.reason}"
        return True, f"{sentence(found)}; sync.clock_offset_ms is set to it"


def sentence(found: ClockOffset) -> str:
    """Offset, drift and confidence in words."""
    offset_ms = found.offset_ns / 1e6
    drift = "" if math.isnan(found.drift_ppm) else f", drifting by {found.drift_ppm:.0f} ppm"
    way = "ahead of" if offset_ms >= 0 else "behind"
    return f"thermal stamps are {abs(offset_ms):.1f} ms {way} rgb stamps{drift} (confidence {found.confidence:.2f})"
