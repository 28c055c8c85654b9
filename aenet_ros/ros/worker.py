"""The thread that fuses and publishes."""

import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from aenet_ros.config import Config
from aenet_ros.core.errors import format_error
from aenet_ros.core.frames import FramePair, FusedFrame
from aenet_ros.health.fallback import FallbackFrame, FallbackPolicy
from aenet_ros.health.status import NodeStats
from aenet_ros.pipeline import FusionPipeline, PendingFusion
from aenet_ros.ros.analysis import DeferredAnalysis
from aenet_ros.ros.mailbox import Mailbox
from aenet_ros.ros.outputs import Outputs, Subscribers

IDLE_S = 0.05  # wait for an item; deferred analysis runs in between
MAX_DEFER_NS = 250_000_000
"""Deferred analysis waits so long at most while the next item is waiting already."""


class WorkItem(NamedTuple):
    """A pair to fuse, or one camera's frame to publish, with the configuration that holds for it."""

    content: FramePair | FallbackFrame
    config: Config


class Submitted(NamedTuple):
    """An item that is being fused; ``pending`` is a FusedFrame where there is nothing to wait for."""

    item: WorkItem
    pending: PendingFusion | FusedFrame
    subscribers: Subscribers


class WorkerContext(Protocol):
    """What the worker needs of the node."""

    def camera_infos(self) -> Mapping[str, Any]:
        """The last CameraInfo of each camera, by role."""

    def age_ns(self, stamp_ns: int) -> int:
        """Time since a stamp of the rgb camera, on the node's clock."""

    def report_failure(self, reason: str, new: bool) -> None:
        """A pair could not be fused; ``new``: not for the same reason as the last one."""


class FusionWorker:
    """Submits each item, waits for its result and publishes it, in the order of the items; then runs the deferred analysis.

    On a device one item may be submitted before the result of the last one is published. An error is counted and the thread goes on.
    """

    def __init__(
        self,
        context: WorkerContext,
        pipeline: FusionPipeline,
        outputs: Outputs,
        policy: FallbackPolicy,
        stats: NodeStats,
        analysis: DeferredAnalysis,
    ) -> None:
        self._context, self._pipeline, self._outputs = context, pipeline, outputs
        self._policy, self._stats, self._analysis = policy, stats, analysis
        self._config: Config | None = None  # of the last item
        self._mailbox: Mailbox[WorkItem] = Mailbox()
        self._busy_since_ns = 0
        self._analyzed_ns = time.monotonic_ns()
        self._thread = threading.Thread(target=self._run, name="fusion", daemon=True)
        self._thread.start()

    def put(self, item: WorkItem) -> None:
        """Hand over an item; returns at once. A waiting item is replaced and counted."""
        for replaced in self._mailbox.put(item):
            if isinstance(replaced.content, FramePair):
                self._stats.replaced += 1
            else:
                self._policy.record_unpublished("replaced by a newer one")

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Finish the item in work, drop the waiting one, join the thread; False where the thread does not end."""
        dropped = self._mailbox.close()
        self._thread.join(timeout_s)
        self._stats.count_skipped("shut_down", sum(isinstance(item.content, FramePair) for item in dropped))
        return not self._thread.is_alive()

    def busy_s(self) -> float:
        """Time that the item in work has taken so far, in seconds; 0 when idle."""
        since_ns = self._busy_since_ns
        return (time.monotonic_ns() - since_ns) / 1e9 if since_ns else 0.0

    def _run(self) -> None:
        in_flight: Submitted | None = None
        while not self._mailbox.closed:
            item = self._mailbox.take(0.0 if in_flight is not None else IDLE_S)
            self._busy_since_ns = time.monotonic_ns()
            had_in_flight = in_flight is not None
            if in_flight is not None and (item is None or not self._pipeline.overlaps):
                self._finish(in_flight)
                in_flight = None
            submitted = self._submit(item) if item is not None else None
            if in_flight is not None:
                self._finish(in_flight)
            in_flight = submitted
            if in_flight is not None and not self._pipeline.overlaps:
                self._finish(in_flight)
                in_flight = None
            if had_in_flight or in_flight is None:
                self._analyze()
            self._busy_since_ns = 0
        if in_flight is not None:
            self._finish(in_flight)

    def _submit(self, item: WorkItem) -> Submitted | None:
        self._config = item.config
        try:
            subscribers = self._outputs.subscribers()
            reason = self._reason_to_skip(item, subscribers)
            if reason:
                self._count_skipped(item, reason)
                return None
            return Submitted(item, self._start(item, subscribers), subscribers)
        except Exception as error:  # one bad frame, a fault of the device, or rclpy's shutdown must not end the thread
            self._count_failed(item, error)
            return None

    def _start(self, item: WorkItem, subscribers: Subscribers) -> PendingFusion | FusedFrame:
        content, wants_counts = item.content, subscribers.registered > 0
        if isinstance(content, FramePair):
            return self._pipeline.submit(content, item.config, wants_counts)
        if content.frame is not None:
            return self._pipeline.fallback(content, item.config, wants_counts)
        assert self._policy.held is not None  # see _reason_to_skip
        return self._policy.held

    def _finish(self, submitted: Submitted) -> None:
        item, pending, subscribers = submitted
        try:
            fused = pending if isinstance(pending, FusedFrame) else pending.result()
            reason = self._reason_if_published(item)  # meanwhile
            if reason:
                self._count_skipped(item, reason)
                return
            self._publish(fused, item, subscribers)
        except Exception as error:  # as above
            self._count_failed(item, error)

    def _publish(self, fused: FusedFrame, item: WorkItem, subscribers: Subscribers) -> None:
        """Publish a picture, fused or fallback: the only caller of ``Outputs.publish``."""
        self._outputs.publish(fused, self._context.camera_infos(), subscribers, item.config.output.jpeg_quality)
        if isinstance(item.content, FallbackFrame):
            self._policy.record_published(fused, item.content)
            return
        self._policy.record_published(fused)
        self._stats.count_fused(fused, self._context.age_ns(fused.stamp_ns))
        self._analysis.add(fused)

    def _reason_to_skip(self, item: WorkItem, subscribers: Subscribers) -> str:
        content, config = item.content, item.config
        if not config.enabled:
            return "disabled"
        if not subscribers.frames:
            return "no_subscriber"
        if isinstance(content, FramePair):
            if 0 < config.sync.max_latency_ms * 1e6 < self._context.age_ns(content.rgb.stamp_ns):
                return "too_old"
        elif content.frame is None and self._policy.held is None:
            return "nothing to hold yet"
        return self._reason_if_published(item)

    def _reason_if_published(self, item: WorkItem) -> str:
        """Why the item is skipped where a picture of its instant was published; else "". The held frame is published again on purpose."""
        content = item.content
        frame = content.rgb if isinstance(content, FramePair) else content.frame
        if frame is None or not self._policy.already_published(frame.stamp_ns, item.config):
            return ""
        return "degraded" if isinstance(content, FramePair) else "fused already"

    def _count_skipped(self, item: WorkItem, reason: str) -> None:
        if isinstance(item.content, FramePair):
            self._stats.count_skipped(reason)
        else:
            self._policy.record_unpublished(reason)

    def _count_failed(self, item: WorkItem, error: Exception) -> None:
        reason = format_error(error)
        if isinstance(item.content, FramePair):
            self._context.report_failure(reason, self._stats.count_failed(reason))
        else:
            self._policy.record_unpublished("failed", reason)

    def _analyze(self) -> None:
        now = time.monotonic_ns()
        if self._mailbox.waiting and now - self._analyzed_ns < MAX_DEFER_NS:
            return
        self._analysis.run(self._pipeline, self._config)
        self._analyzed_ns = time.monotonic_ns()
