"""The thread that fuses and publishes."""

import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from aenet_ros.config import Config
from aenet_ros.core.errors import AenetError, format_error
from aenet_ros.core.frames import Frame, FramePair, FusedFrame, ThermalSource
from aenet_ros.core.mailbox import Mailbox
from aenet_ros.health.fallback import FallbackFrame, FallbackPolicy
from aenet_ros.health.status import NodeStats
from aenet_ros.pipeline import FusionPipeline, PendingFusion
from aenet_ros.ros.alignment import AlignmentMonitor
from aenet_ros.ros.analysis import DeferredAnalysis
from aenet_ros.ros.black_box import BlackBox
from aenet_ros.ros.outputs import REGISTERED, Outputs, frame_subscribers
from aenet_ros.ros.thermal_outputs import thermal_wanted

IDLE_S = 0.05  # wait for an item; deferred analysis runs in between
HANG_NS = 10_000_000_000  # of one item, after which diagnostics report a hang
STOP_S = 5.0  # wait for the end of the thread
UNMEASURED = ("disabled", "too_old")  # reasons to skip an item with its thermal frame
MAX_DEFER_NS = 250_000_000
"""Deferred analysis waits so long at most while the next item is waiting already."""


class WorkItem(NamedTuple):
    """A pair to fuse, or one camera's frame to publish, with the configuration that holds for it; ``period_ns``: see ``submit``.

    ``thermal``: a thermal frame that is only to be measured. With it ``content`` may be None: nothing is published.
    """

    content: FramePair | FallbackFrame | None
    config: Config
    period_ns: int = 0
    thermal: Frame | None = None

    @property
    def measured(self) -> Frame | None:
        """The item's thermal frame."""
        if isinstance(self.content, FramePair):
            return self.content.thermal
        alone = self.content.frame if self.content is not None and self.content.role == "thermal" else None
        return alone or self.thermal


class Submitted(NamedTuple):
    """An item in work. ``pending``: a FusedFrame where there is nothing to wait for; a ThermalSource that is only measured.

    ``state``: of the pipeline before, for the black box.
    """

    item: WorkItem
    pending: PendingFusion | FusedFrame | ThermalSource
    wanted: Mapping[str, int]
    state: dict[str, Any] | None = None


class FusionWorker:
    """Submits each item, waits for its result and publishes it, in the order of the items; then runs the deferred analysis.

    On a device one item may be submitted before the result of the last one is published. An error is counted and the thread goes on.
    ``camera_infos``: the last one of each camera, by role.
    """

    def __init__(
        self,
        node: Node,
        pipeline: FusionPipeline,
        outputs: Outputs,
        camera_infos: Mapping[str, CameraInfo],
        policy: FallbackPolicy,
        stats: NodeStats,
        analysis: DeferredAnalysis,
        alignment: AlignmentMonitor,
        black_box: BlackBox | None = None,
    ) -> None:
        self._node, self._pipeline, self._outputs, self._camera_infos = node, pipeline, outputs, camera_infos
        self._policy, self._stats, self._analysis, self._alignment = policy, stats, analysis, alignment
        self._black_box = black_box
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
            elif replaced.content is not None:
                self._policy.record_unpublished("replaced by a newer one")

    def stop(self) -> None:
        """Finish the item in work, drop the waiting one, join the thread. Raises AenetError where the thread does not end."""
        dropped = self._mailbox.close()
        self._thread.join(STOP_S)
        self._stats.count_skipped("shut_down", sum(isinstance(item.content, FramePair) for item in dropped))
        if self._thread.is_alive():
            raise AenetError("the fusion thread does not end: the device hangs; restart the node")

    @property
    def hangs(self) -> bool:
        """Whether the item in work takes longer than HANG_NS."""
        since_ns = self._busy_since_ns
        return since_ns > 0 and time.monotonic_ns() - since_ns > HANG_NS

    def _run(self) -> None:
        in_flight: Submitted | None = None
        while not self._mailbox.closed:
            item = self._mailbox.take(0.0 if in_flight is not None else IDLE_S)
            self._busy_since_ns = time.monotonic_ns()
            submitted = self._submit(item) if item is not None else None
            finished = in_flight is not None
            if in_flight is not None:
                self._finish(in_flight)
            in_flight = submitted
            if in_flight is not None and not self._pipeline.overlaps:
                self._finish(in_flight)
                in_flight = None
            if finished or in_flight is None:
                self._analyze()
            self._busy_since_ns = 0
        if in_flight is not None:
            self._finish(in_flight)

    def _submit(self, item: WorkItem) -> Submitted | None:
        self._config = item.config
        try:
            wanted = self._outputs.wanted(item.config)
            reason = self._reason_to_skip(item, wanted)
            if not reason:
                state = self._pipeline.temporal_state() if self._black_box is not None else None
                return Submitted(item, self._start(item, wanted), wanted, state)
            self._count_dropped(item, reason)
            if thermal_wanted(wanted) and item.measured is not None and reason not in UNMEASURED:
                return Submitted(item, self._pipeline.thermal_source(item.measured, item.config), wanted)
        except Exception as error:  # one bad frame, a fault of the device, or rclpy's shutdown must not end the thread
            self._count_dropped(item, "failed", format_error(error))
        return None

    def _start(self, item: WorkItem, wanted: Mapping[str, int]) -> PendingFusion | FusedFrame:
        content, wants_counts = item.content, REGISTERED in wanted or "fused/temperature" in wanted
        if isinstance(content, FramePair):
            self._alignment.follow_tf(content)
            return self._pipeline.submit(content, item.config, wants_counts, item.period_ns)
        if content is not None and content.frame is not None:
            return self._pipeline.fallback(content, item.config, wants_counts)
        assert self._policy.held is not None  # see _reason_to_skip
        return self._policy.held

    def _finish(self, submitted: Submitted) -> None:
        item, pending, wanted, state = submitted
        try:
            if isinstance(pending, ThermalSource):
                self._outputs.thermal.publish(pending, None, wanted, item.config)
                return
            fused = pending if isinstance(pending, FusedFrame) else pending.result()
            reason = self._reason_if_published(item)  # meanwhile
            if reason:
                self._count_dropped(item, reason)
            else:
                self._publish(fused, item, wanted)
                if self._black_box is not None and item.content is not None:
                    self._black_box.add_picture(fused, item.content, item.config, item.period_ns, state)
            if thermal_wanted(wanted) and item.measured is not None:
                self._measure(item, fused, wanted)
        except Exception as error:  # as above
            self._count_dropped(item, "failed", format_error(error))

    def _measure(self, item: WorkItem, fused: FusedFrame, wanted: Mapping[str, int]) -> None:
        """Publish what the item's thermal frame says. The held picture is an old one, so its item brings a frame of its own."""
        if item.thermal is not None:
            self._outputs.thermal.publish(self._pipeline.thermal_source(item.thermal, item.config), None, wanted, item.config)
        elif fused.thermal is not None:
            depth = item.content.depth if isinstance(item.content, FramePair) else None
            self._outputs.thermal.publish(fused.thermal, fused, wanted, item.config, depth)

    def _publish(self, fused: FusedFrame, item: WorkItem, wanted: Mapping[str, int]) -> None:
        """Publish a picture, fused or fallback: the only caller of ``Outputs.publish``."""
        self._outputs.publish(fused, self._camera_infos, wanted, item.config.output)
        if isinstance(item.content, FallbackFrame):
            self._policy.record_published(fused, item.content)
        else:
            self._policy.record_published(fused)
            self._stats.count_fused(fused, age_ns(self._node, fused.stamp_ns))
            self._analysis.add(fused)

    def _reason_to_skip(self, item: WorkItem, wanted: Mapping[str, int]) -> str:
        content, config = item.content, item.config
        if not config.enabled:
            return "disabled"
        if content is None:
            return "only measured"
        if not frame_subscribers(wanted):
            return "no_subscriber"
        if isinstance(content, FramePair):
            if 0 < config.sync.max_latency_ms * 1e6 < age_ns(self._node, content.rgb.stamp_ns):
                return "too_old"
        elif content.frame is None and self._policy.held is None:
            return "nothing to hold yet"
        return self._reason_if_published(item)

    def _reason_if_published(self, item: WorkItem) -> str:
        """Why the item is skipped where a picture of its instant was published; else "". The held frame is published again on purpose."""
        content = item.content
        frame = content.rgb if isinstance(content, FramePair) else content and content.frame
        if frame is None or not self._policy.already_published(frame.stamp_ns, item.config):
            return ""
        return "degraded" if isinstance(content, FramePair) else "fused already"

    def _count_dropped(self, item: WorkItem, reason: str, failure: str = "") -> None:
        if item.content is None and not failure:
            return
        if not isinstance(item.content, FramePair):
            self._policy.record_unpublished(reason, failure)
        elif not failure:
            self._stats.count_skipped(reason)
        elif self._stats.failed.count(failure) and self._node.context.ok():  # another failure than the last one
            self._node.get_logger().error(f"a pair could not be fused: {failure}")

    def _analyze(self) -> None:
        if self._mailbox.waiting and time.monotonic_ns() - self._analyzed_ns < MAX_DEFER_NS:
            return
        self._analysis.run(self._pipeline, self._config)
        self._analyzed_ns = time.monotonic_ns()


def age_ns(node: Node, stamp_ns: int) -> int:
    """Time since a stamp, on the node's clock."""
    return int(node.get_clock().now().nanoseconds) - stamp_ns
