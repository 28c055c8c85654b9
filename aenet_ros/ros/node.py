"""The fusion node: subscribes to a thermal and an rgb stream, publishes the fused stream and diagnostics.

A lifecycle node that can start itself (parameter ``autostart``). Callbacks decode, match and hand over; ``FusionWorker`` fuses and
publishes. Run it with ``ros2 launch aenet_ros fusion.launch.py``, ``ros2 run aenet_ros fusion_node`` or ``python -m aenet_ros.ros.node``.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import rclpy
from rclpy.clock import Clock
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String
from std_srvs.srv import SetBool

import aenet_ros
from aenet_ros.config import Config, flatten
from aenet_ros.core.errors import AenetError, ConfigError, format_error
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.core.process import trim_memory
from aenet_ros.health.adaptive_resolution import resolution_status
from aenet_ros.health.fallback import TICK_S, FallbackFrame, FallbackPolicy
from aenet_ros.health.judge import NodeFacts, judge
from aenet_ros.health.quality import QualityMonitor
from aenet_ros.health.stats import NodeStats
from aenet_ros.health.status import OK, Status
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.ros.alignment import AlignmentMonitor
from aenet_ros.ros.analysis import ArrivedFrame, DeferredAnalysis
from aenet_ros.ros.compat import ClockType
from aenet_ros.ros.diagnostics import DiagnosticsPublisher
from aenet_ros.ros.inputs import Inputs
from aenet_ros.ros.lifecycle import LoggedLifecycleNode
from aenet_ros.ros.matchers import Matcher, follow_sync, make_matcher
from aenet_ros.ros.node_main import until_stopped
from aenet_ros.ros.offset import OffsetService
from aenet_ros.ros.outputs import Outputs
from aenet_ros.ros.params import NodeParameters
from aenet_ros.ros.worker import FusionWorker, WorkItem
from aenet_ros.sync.matcher import PairCounts

HANG_S = 10.0  # of one item in the worker, after which diagnostics report a hang
YIELD_S = 5e-4  # after a pair was handed over: releases the GIL to the worker at once
WARM_UP_SIZE = (480, 640)
"""Height and width of the rgb frames fused at configure."""


class FusionNode(LoggedLifecycleNode):
    """Topics, services and threads: docs/architecture.md."""

    def __init__(self, node_name: str = "fusion", **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self.pipeline: FusionPipeline | None = None
        self._outputs: Outputs | None = None
        self._inputs: Inputs | None = None
        self._matcher: Matcher | None = None
        self._worker: FusionWorker | None = None
        self._activated_at_ns = 0
        self.parameters = NodeParameters(self, lambda: self.pipeline is not None, self._publish_info)
        self._alignment, self._offset = AlignmentMonitor(self, self.parameters), OffsetService(self)
        self._reset_counters()
        self._diagnostics = DiagnosticsPublisher(self)
        self._info = self.create_publisher(String, "~/info", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self._set_enabled = self.create_service(SetBool, "~/set_enabled", self._on_set_enabled)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # timers run on while simulated time stands still
        self._timer = self.create_timer(self.parameters.config.diagnostics.period_s, self._on_diagnostics, clock=steady)
        self._ticks = self.create_timer(TICK_S, self._on_tick, clock=steady)
        if self.parameters.unknown:
            self.get_logger().warning(f"these parameters do not exist and have no effect: {', '.join(self.parameters.unknown)}")

    def _reset_counters(self) -> None:
        self.stats, self._quality = NodeStats(), QualityMonitor()
        self._policy = FallbackPolicy(time.monotonic_ns())
        self._analysis = DeferredAnalysis(self._policy, self._quality, self._offset, self._alignment)

    # Lifecycle.

    def start(self) -> bool:
        """Configure and activate if ``autostart`` says so; True where the node is active."""
        if self.parameters.config.autostart:
            return super().start()
        self.get_logger().info("autostart is false: waiting to be configured and activated")
        return False

    def configure(self) -> None:
        """Load the model and create the fused topics."""
        if self.parameters.problems:
            raise ConfigError("; ".join(self.parameters.problems.values()))
        config = self.parameters.config
        make_matcher(config.sync)  # raises here where the policy needs a package that is not installed
        self._alignment.configure(config)
        self._timer.timer_period_ns = round(config.diagnostics.period_s * 1e9)
        self._timer.reset()
        self.pipeline = FusionPipeline(config)
        self.pipeline.warm_up(WARM_UP_SIZE)
        if self.pipeline.fuser.fallback:
            self.get_logger().warning(self.pipeline.fuser.fallback)
        self._outputs = Outputs(self, config.output)
        self._publish_info(config)

    def activate(self) -> None:
        """Start the worker and subscribe to the cameras."""
        assert self.pipeline is not None
        assert self._outputs is not None
        config = self.parameters.config
        self._reset_counters()
        self._matcher = make_matcher(config.sync)
        self._activated_at_ns = time.monotonic_ns()
        self._offset.start()
        self._worker = FusionWorker(self, self.pipeline, self._outputs, self._policy, self.stats, self._analysis)
        self._inputs = Inputs(self, config, self.stats, self._on_frame, self._on_camera_info, self._on_shutter)
        self._alignment.start()

    def stop_streams(self) -> None:
        """Destroy the subscriptions and stop the worker; the model stays loaded."""
        self._alignment.stop()
        if self._inputs is not None:
            self._inputs.destroy()
            self._inputs = None
        self._offset.stop()
        if self._worker is not None:
            if not self._worker.stop():
                raise AenetError("the fusion thread does not end: the device hangs; restart the node")
            self._worker = None
        trim_memory()  # otherwise each activation's threads leave free memory behind

    def release(self) -> None:
        """Free the model, device memory included."""
        self.stop_streams()
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        if self.pipeline is not None:
            self.pipeline.close()
            self.pipeline = None

    # Callbacks, in the executor's thread.

    def _on_frame(self, role: str, frame: Frame) -> None:
        if self._matcher is None or self._worker is None:
            return
        config, now_ns = self.parameters.config, time.monotonic_ns()
        follow_sync(self._matcher, config.sync)
        offset_ns = self._matcher.clock_offset_ns if role == "thermal" else 0
        alone = self._policy.on_frame(role, frame, now_ns, self.age_ns(frame.stamp_ns - offset_ns), config)
        for pair in self._matcher.push_thermal(frame) if role == "thermal" else self._matcher.push_rgb(frame):
            self._on_pair(pair, config)
        self._analysis.add(ArrivedFrame(role, frame, now_ns, config))
        if alone is not None:
            self._worker.put(WorkItem(alone, config))

    def _on_pair(self, pair: FramePair, config: Config) -> None:
        assert self._worker is not None
        assert self._inputs is not None
        if self._policy.fuses:
            self._worker.put(WorkItem(self._inputs.join_depth(pair), config))
            time.sleep(YIELD_S)
        else:
            self.stats.count_skipped("degraded")
        self.stats.count_pair(pair.difference_ns)
        self._analysis.add(pair)

    def _on_tick(self) -> None:
        config = self.parameters.config
        held: FallbackFrame | None = self._policy.tick(time.monotonic_ns(), config) if self._worker is not None else None
        if self._worker is not None and held is not None:
            self._worker.put(WorkItem(held, config))

    def _on_camera_info(self, role: str, message: CameraInfo) -> None:
        if self.pipeline is not None:
            self._alignment.set_intrinsics(role, message, self.pipeline.registration)

    def _on_shutter(self, closed: bool) -> None:
        if self.pipeline is not None:
            self.pipeline.set_driver_shutter(closed)

    def _on_set_enabled(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        result = self.set_parameters([Parameter("enabled", value=request.data)])[0]
        response.success, response.message = result.successful, result.reason or ("enabled" if request.data else "disabled")
        return response

    def _publish_info(self, config: Config) -> None:
        if self.pipeline is None:
            return
        fuser = self.pipeline.fuser
        info = {
            "version": aenet_ros.__version__,
            "device": str(fuser.device),
            "precision": fuser.precision,
            "model": fuser.card,
            "configuration": flatten(config),
        }
        self._info.publish(String(data=json.dumps(info)))

    def _on_diagnostics(self) -> None:
        try:
            self._diagnostics.publish(self._statuses())
        except Exception as error:  # diagnostics must not end the node
            self.get_logger().error(f"diagnostics fail: {format_error(error)}", throttle_duration_sec=10.0)

    def _statuses(self) -> list[Status]:
        config, pipeline, worker, matcher, inputs = self.parameters.config, self.pipeline, self._worker, self._matcher, self._inputs
        facts = NodeFacts(
            state=self.state_label,
            config=config,
            stats=self.stats,
            topics=inputs.topic_facts() if inputs is not None else {},
            match=matcher.counts if matcher is not None else PairCounts(),
            pending=matcher.pending if matcher is not None else 0,
            subscribers=self._outputs.subscribers().frames if self._outputs is not None else 0,
            activated_at_ns=self._activated_at_ns,
            problem=self.problem,
            unknown_parameters=self.parameters.unknown,
            pipeline=pipeline.status() if pipeline is not None else None,
            hangs=worker is not None and worker.busy_s() > HANG_S,
        )
        if self.state_label != "active" or facts.pipeline is None or inputs is None:
            return judge(facts)
        degraded = self._policy.status(time.monotonic_ns(), config)
        facts.degraded = degraded.message if degraded.level != OK else ""
        return [
            *judge(facts),
            degraded,
            self._offset.status(config),
            self._quality.status(config, self.stats, facts.pipeline),
            resolution_status(config.latency, facts.pipeline.resolution),
            self._alignment.status(
                config, (self._inputs.depth_problem if self._inputs is not None else "") or facts.pipeline.registration_fallback
            ),
            self._analysis.status(),
        ]

    # For the worker's thread (WorkerContext).

    def camera_infos(self) -> Mapping[str, CameraInfo]:
        """The last CameraInfo of each camera, by role."""
        inputs = self._inputs  # read once: the executor's thread may remove it
        return inputs.camera_infos if inputs is not None else {}

    def age_ns(self, stamp_ns: int) -> int:
        """Time since a stamp of the rgb camera, on the node's clock."""
        return int(self.get_clock().now().nanoseconds) - stamp_ns

    def report_failure(self, reason: str, new: bool) -> None:
        """A pair could not be fused; a new reason is logged."""
        if new and self.context.ok():
            self.get_logger().error(f"a pair could not be fused: {reason}")


def main(args: Sequence[str] | None = None) -> None:
    """Run the node until it is stopped; Ctrl-C and SIGTERM end it cleanly."""
    rclpy.init(args=list(args) if args is not None else None)
    node = FusionNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        with until_stopped():
            node.start()
            executor.spin()
    finally:
        executor.shutdown()
        node.stop()
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
