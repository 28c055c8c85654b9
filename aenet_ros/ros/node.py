"""The fusing node: subscribes to a thermal and an rgb stream, publishes the fused stream and diagnostics.

A lifecycle node that can start itself (parameter ``autostart``). Callbacks decode and hand over; a worker thread fuses and publishes.
Run it with ``ros2 run aenet_ros fusion_node``, ``ros2 launch aenet_ros fusion.launch.py`` or ``python -m aenet_ros.ros.node``.
"""

import json
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import SetBool

import aenet_ros
from aenet_ros.config import Config, flatten
from aenet_ros.core.errors import AenetError, ConfigError, format_error
from aenet_ros.core.frames import Frame, FramePair, FusedFrame
from aenet_ros.core.process import trim_memory
from aenet_ros.health.judge import OK, NodeFacts, Status, judge
from aenet_ros.health.quality import QualityMonitor, budget_status
from aenet_ros.health.stats import NodeStats
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.ros.alignment import AlignmentMonitor
from aenet_ros.ros.compat import ClockType
from aenet_ros.ros.depth_input import DepthInput
from aenet_ros.ros.diagnostics import ChangeLog, to_message
from aenet_ros.ros.fallback import HOLD_S, FallbackFrame, FallbackPolicy
from aenet_ros.ros.inputs import Inputs
from aenet_ros.ros.lifecycle import LoggedLifecycleNode
from aenet_ros.ros.matchers import Matcher, make_matcher, slop_and_offset_ns
from aenet_ros.ros.node_main import until_stopped
from aenet_ros.ros.offset import OffsetService
from aenet_ros.ros.outputs import Listeners, Outputs
from aenet_ros.ros.params import NodeParameters
from aenet_ros.ros.worker import Finish, LatestWorker
from aenet_ros.sync.matcher import PairCounts

HANG_S = 10.0
YIELD_S = 5e-4  # after a pair was handed over: the worker gets the interpreter now, not when the executor next waits
LATER = 15  # things to look at that wait at most: three frames of each stream
WARM_UP_SIZE = (480, 640)
"""Height and width of the frame fused at configure, which loads the libraries and tries the device."""
MESSAGE_TYPES: dict[str, type[Any]] = {"raw": Image, "compressed": CompressedImage}


class FusionNode(LoggedLifecycleNode):
    """See the module's text; topics, services and threads are told of in docs/architecture.md."""

    def __init__(self, node_name: str = "fusion", **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self.pipeline: FusionPipeline | None = None
        self.stats = NodeStats()
        self._outputs: Outputs | None = None
        self._matcher: Matcher | None = None
        self._worker: LatestWorker[FramePair | FallbackFrame] | None = None
        self._guard, self._quality = FallbackPolicy(), QualityMonitor()
        self._later: deque[Callable[[], None]] = deque(maxlen=LATER)
        self._inputs: Inputs | None = None
        self._activated_at_ns = 0
        self.parameters = NodeParameters(self, lambda: self.pipeline is not None, self._on_config)
        self._alignment, self._depth = AlignmentMonitor(self, self.parameters), DepthInput(self)
        self._hostname = socket.gethostname()
        self._change_log = ChangeLog(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._info = self.create_publisher(String, "~/info", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self._set_enabled = self.create_service(SetBool, "~/set_enabled", self._on_set_enabled)
        self._offset = OffsetService(self)
        # Steady: diagnostics go on while simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(self.parameters.config.diagnostics.period_s, self._on_diagnostics, clock=steady)
        self._ticks = self.create_timer(HOLD_S, self._on_tick, clock=steady)
        if self.parameters.unknown:
            self.get_logger().warning(f"these parameters do not exist and have no effect: {', '.join(self.parameters.unknown)}")

    # The steps of the lifecycle.

    def start(self) -> bool:
        """Configure and activate, if ``autostart`` says so; True where the node is active."""
        if self.parameters.config.autostart:
            return super().start()
        self.get_logger().info("autostart is false: waiting to be configured and activated")
        return False

    def configure(self) -> None:
        """Load the model and create the fused topics."""
        if self.parameters.problems:
            raise ConfigError("; ".join(self.parameters.problems.values()))
        config = self.parameters.config
        make_matcher(config.sync)  # raises now where the policy needs what is not installed
        self._alignment.configure(config)
        self.pipeline = FusionPipeline(config)
        self.pipeline.warm_up(WARM_UP_SIZE)
        if self.pipeline.fuser.fallback:
            self.get_logger().warning(self.pipeline.fuser.fallback)
        self._outputs = Outputs(self, config.output)
        self._publish_info()

    def activate(self) -> None:
        """Start the worker and subscribe to the cameras."""
        self.stats = NodeStats()
        self._matcher = make_matcher(self.parameters.config.sync)
        self._guard, self._quality = FallbackPolicy(), QualityMonitor()
        self._offset.start()
        self._later.clear()
        self._worker = LatestWorker(self._handle, self._on_fuse_error, afterwards=self._watch)
        self._activated_at_ns = time.monotonic_ns()
        self._inputs = Inputs(self, self.parameters.config.input, self.stats, self._on_frame, self._on_camera_info, self._on_shutter)
        self._depth.start(self.parameters.config)
        self._alignment.start()

    def halt(self) -> None:
        """Drop the subscriptions and stop the worker; the model stays loaded."""
        self._depth.stop()
        self._alignment.stop()
        if self._inputs is not None:
            self._inputs.destroy()
            self._inputs = None
        self._offset.stop()
        if self._worker is not None:
            self.stats.skipped["shut_down"] += sum(isinstance(item, FramePair) for item in self._worker.stop())
            if self._worker.alive:
                raise AenetError("the fusion thread does not end: the device hangs; restart the node")
            self._worker = None
        self._later.clear()
        trim_memory()  # what each thread left behind would add up, activation by activation

    def release(self) -> None:
        """Free the model, device memory included."""
        self.halt()
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        if self.pipeline is not None:
            self.pipeline.close()
            self.pipeline = None
            trim_memory()

    # Callbacks, in the executor's thread.

    def _on_frame(self, role: str, frame: Frame) -> None:
        assert self._matcher is not None
        config = self.parameters.config
        stand_in = self._guard.see(role, frame, self._age_ns(role, frame), config)
        for pair in self._matcher.push_thermal(frame) if role == "thermal" else self._matcher.push_rgb(frame):
            if self._guard.fuses:
                self._hand_over(self._depth.join(pair))
                time.sleep(YIELD_S)
            else:
                self.stats.skipped["degraded"] += 1
            self.stats.count_pair(pair.difference_ns)
            if self.pipeline is not None:
                self._later.append(partial(self._alignment.put, pair, self.pipeline.registration))
        self._later.append(partial(self._guard.look, role, frame, time.monotonic_ns(), config))
        self._later.append(partial(self._offset.put, role, frame, config))
        if stand_in is not None:
            self._hand_over(stand_in)

    def _hand_over(self, item: FramePair | FallbackFrame) -> None:
        assert self._worker is not None
        for replaced in self._worker.put(item):
            if isinstance(replaced, FramePair):
                self.stats.replaced += 1
            else:
                self._guard.unpublished["replaced by a newer one"] += 1

    def _on_tick(self) -> None:
        if self._worker is not None and (held := self._guard.tick(self.parameters.config)) is not None:
            self._hand_over(held)

    def _age_ns(self, role: str, frame: Frame) -> int:
        """Time since the frame's stamp, by the clock that the rgb stamps are of."""
        assert self._matcher is not None
        offset_ns = self._matcher.clock_offset_ns if role == "thermal" else 0
        return int(self.get_clock().now().nanoseconds) - (frame.stamp_ns - offset_ns)

    def _on_camera_info(self, role: str, message: CameraInfo) -> None:
        if self.pipeline is not None:
            self._alignment.set_intrinsics(role, message, self.pipeline.registration)

    def _on_shutter(self, closed: bool) -> None:
        """The driver says whether the thermal camera's shutter is closed."""
        if self.pipeline is not None:
            self.pipeline.shutter.driver_shutter_closed = closed

    def _on_set_enabled(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        result = self.set_parameters([Parameter("enabled", value=request.data)])[0]
        response.success, response.message = result.successful, result.reason or ("enabled" if request.data else "disabled")
        return response

    def _on_config(self, config: Config) -> None:
        """Dynamic options changed; they are checked already."""
        if self._matcher is not None:
            slop_ns, offset_ns = slop_and_offset_ns(config.sync)
            if slop_ns != self._matcher.slop_ns:
                self._matcher.slop_ns = slop_ns
            self._matcher.clock_offset_ns = offset_ns
        if self.pipeline is not None:
            self.pipeline.config = config
            self._publish_info()

    def _publish_info(self) -> None:
        assert self.pipeline is not None
        fuser = self.pipeline.fuser
        info = {
            "version": aenet_ros.__version__,
            "device": str(fuser.device),
            "precision": fuser.precision,
            "model": fuser.card,
            "configuration": flatten(self.pipeline.config),
        }
        self._info.publish(String(data=json.dumps(info)))

    def _on_diagnostics(self) -> None:
        facts = self._facts()
        conditions = self._conditions() if self.reached == "active" else []
        facts.degraded = next((status.message for status in conditions if status.name == "degraded" and status.level != OK), "")
        statuses = judge(facts) + conditions
        self._change_log.report(statuses)
        self._diagnostics.publish(to_message(self, statuses, self._hostname))

    def _conditions(self) -> list[Status]:
        """The statuses that have files of their own."""
        config = self.parameters.config
        fallback = self._depth.problem or (self.pipeline.grid.fallback if self.pipeline is not None else "")
        return [
            self._guard.status(config),
            self._offset.status(config),
            self._quality.status(config, self.stats, self.pipeline),
            budget_status(config, self.pipeline),
            self._alignment.status(config, fallback),
        ]

    def _facts(self) -> NodeFacts:
        pipeline, worker = self.pipeline, self._worker
        facts = NodeFacts(
            state=self.reached,
            config=self.parameters.config,
            stats=self.stats,
            topics=self._inputs.topic_facts() if self._inputs is not None else {},
            match=self._matcher.counts if self._matcher is not None else PairCounts(),
            pending=self._matcher.pending if self._matcher is not None else 0,
            replaced=self.stats.replaced,
            subscribers=self._outputs.listeners().frames if self._outputs is not None else 0,
            activated_at_ns=self._activated_at_ns,
            problem=self.problem,
            unknown_parameters=self.parameters.unknown,
            hangs=worker is not None and worker.busy_s() > HANG_S,
        )
        if pipeline is not None:
            facts.device, facts.precision, facts.fallback = str(pipeline.fuser.device), pipeline.fuser.precision, pipeline.fuser.fallback
            facts.weights = str(pipeline.fuser.card.get("sha256", ""))[:12]
            facts.agc_range = (pipeline.agc.low, pipeline.agc.high)
        return facts

    # In the worker's thread.

    def _watch(self) -> None:
        """What is looked at in frames that came: only now, after the fused frame is on its way."""
        if self.pipeline is not None:
            self.pipeline.update_sensor_model()
        while self._later:
            self._later.popleft()()

    def _handle(self, item: FramePair | FallbackFrame) -> Finish | None:
        pipeline, outputs, config = self.pipeline, self._outputs, self.parameters.config
        assert pipeline is not None
        assert outputs is not None
        listeners = outputs.listeners()
        reason = "disabled" if not config.enabled else "no_subscriber" if not listeners.frames else ""
        overlaps = pipeline.asynchronous  # asked first: a device that is lost now may have a pair under way yet
        if isinstance(item, FallbackFrame):
            finish = partial(self._guard.publish, item, reason, pipeline, outputs, listeners, self._camera_infos())
        else:
            if not reason and 0 < config.sync.max_latency_ms * 1e6 < self._age_ns("rgb", item.rgb):
                reason = "too_old"
            if not reason and self._guard.shown(item.rgb.stamp_ns, config):
                reason = "degraded"
            if reason:
                self.stats.skipped[reason] += 1
                return None
            begun = pipeline.start(item, want_registered=listeners.registered > 0)
            finish = partial(self._publish_fused, begun, item, outputs, listeners)
        if overlaps:
            return finish
        finish()
        return None

    def _publish_fused(self, begun: Callable[[], FusedFrame], pair: FramePair, outputs: Outputs, listeners: Listeners) -> None:
        fused, config = begun(), self.parameters.config
        if self._guard.shown(fused.stamp_ns, config):  # since it was begun
            self.stats.skipped["degraded"] += 1
            return
        outputs.publish(fused, pair, self._camera_infos(), listeners, config.output.jpeg_quality)
        self._guard.keep(fused, pair)
        self.stats.count_fused(fused, self.get_clock().now().nanoseconds - fused.stamp_ns)
        self._quality.look(fused)

    def _camera_infos(self) -> dict[str, CameraInfo]:
        """By role, as last received."""
        inputs = self._inputs  # once, for the executor's thread may take it away
        return inputs.camera_infos if inputs is not None else {}

    def _on_fuse_error(self, error: Exception) -> None:
        if not self.context.ok():
            return  # shut down while the frame was in work
        reason = format_error(error)
        if self.stats.count_failed(reason):
            self.get_logger().error(f"a pair could not be fused: {reason}")


def main(args: Sequence[str] | None = None) -> None:
    """Run the node until it is told to stop; Ctrl-C and SIGTERM end it cleanly."""
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
