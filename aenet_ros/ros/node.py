"""The fusing node: subscribes to a thermal and an rgb stream, publishes the fused stream and diagnostics.

A lifecycle node that can start itself (parameter ``autostart``). Callbacks decode and hand over; a worker thread fuses and publishes.
Run it with ``ros2 run aenet_ros fusion_node``, ``ros2 launch aenet_ros fusion.launch.py`` or ``python -m aenet_ros.ros.node``.
"""

import json
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool

import aenet_ros
from aenet_ros.allocator import keep_large_buffers
from aenet_ros.config import Config, StreamConfig, flatten
from aenet_ros.errors import AenetError, ConfigError, ImageError
from aenet_ros.frames import Frame, FramePair
from aenet_ros.image_codec import decode_rgb, decode_thermal, stamp_ns
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.ros.compat import no_event_callbacks
from aenet_ros.ros.degraded import StandIn, StreamGuard
from aenet_ros.ros.diagnostics import ChangeLog, to_message
from aenet_ros.ros.graph import topic_facts
from aenet_ros.ros.health import OK, NodeFacts, Status, TopicFacts, judge
from aenet_ros.ros.offset import OffsetService
from aenet_ros.ros.outputs import RELIABILITY, Listeners, Outputs
from aenet_ros.ros.params import NodeParameters
from aenet_ros.ros.policies import Matcher, make_matcher, slop_and_offset_ns
from aenet_ros.ros.quality import QualityWatch
from aenet_ros.ros.running import until_stopped
from aenet_ros.ros.stats import NodeStats
from aenet_ros.ros.worker import LatestWorker
from aenet_ros.sync import PairCounts

ROLES = ("thermal", "rgb")
HANG_S = 10.0
WARM_UP_SIZE = (480, 640)
"""Height and width of the frame fused at configure, which loads and tunes the libraries; other sizes then cost little more."""
MESSAGE_TYPES: dict[str, type[Any]] = {"raw": Image, "compressed": CompressedImage}


class FusionNode(LifecycleNode):
    """See the module's text; topics, services and parameters are listed in docs/parameters.md and the README."""

    def __init__(self, node_name: str = "fusion", **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self.pipeline: FusionPipeline | None = None
        self.stats = NodeStats()
        self._outputs: Outputs | None = None
        self._matcher: Matcher | None = None
        self._worker: LatestWorker[FramePair | StandIn] | None = None
        self._guard, self._quality = StreamGuard(), QualityWatch()
        self._subscriptions_active: list[Subscription[Any]] = []
        self._topics: dict[str, tuple[str, str, QoSProfile]] = {}
        self._camera_infos: dict[str, CameraInfo] = {}
        self._activated_at_ns = 0
        self._problem = ""
        self._state = "unconfigured"
        self.parameters = NodeParameters(self, lambda: self.pipeline is not None, self._on_config)
        self._hostname = socket.gethostname()
        self._change_log = ChangeLog(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._info = self.create_publisher(String, "~/info", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self._set_enabled = self.create_service(SetBool, "~/set_enabled", self._on_set_enabled)
        self._offset = OffsetService(self)
        # Steady: diagnostics go on while simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(self.parameters.config.diagnostics.period_s, self._on_diagnostics, clock=steady)
        if self.parameters.unknown:
            self.get_logger().warning(f"these parameters do not exist and have no effect: {', '.join(self.parameters.unknown)}")

    # Lifecycle. rclpy swallows what a transition raises, so each goes through _transition, which logs the reason.

    def start(self) -> bool:
        """Configure and activate, if ``autostart`` says so; True where the node is active."""
        if not self.parameters.config.autostart:
            self.get_logger().info("autostart is false: waiting to be configured and activated")
            return False
        if self.trigger_configure() != TransitionCallbackReturn.SUCCESS:
            return False
        return bool(self.trigger_activate() == TransitionCallbackReturn.SUCCESS)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and create the fused topics."""
        return self._transition("configure", self._configure, "inactive", undo=self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras and start the worker."""
        done = self._transition("activate", self._activate, "active", undo=self._halt)
        return super().on_activate(state) if done == TransitionCallbackReturn.SUCCESS else done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the subscriptions and stop the worker; the model stays loaded."""
        done = self._transition("deactivate", self._halt, "inactive")
        return super().on_deactivate(state) if done == TransitionCallbackReturn.SUCCESS else done

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model, device memory included."""
        return self._transition("cleanup", self._release, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        return self._transition("shutdown", self._release, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything and go back to unconfigured."""
        return self._transition("error processing", self._release, "unconfigured")

    def _transition(
        self, name: str, action: Callable[[], None], reached: str, undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        try:
            action()
        except AenetError as error:
            self._fail(f"cannot {name}: {error}")
        except Exception as error:
            self._fail(f"cannot {name}: {type(error).__name__}: {error}")
            self.get_logger().error(traceback.format_exc())
        else:
            self._state, self._problem = reached, ""
            return TransitionCallbackReturn.SUCCESS
        if undo is None:
            return TransitionCallbackReturn.ERROR
        undo()
        return TransitionCallbackReturn.FAILURE

    def _fail(self, reason: str) -> None:
        self._problem = reason
        self.get_logger().error(reason)

    def _configure(self) -> None:
        if self.parameters.problems:
            raise ConfigError("; ".join(self.parameters.problems.values()))
        config = self.parameters.config
        self._matcher = make_matcher(config.sync)
        self.pipeline = FusionPipeline(config)
        self.pipeline.warm_up(WARM_UP_SIZE)
        if self.pipeline.fuser.fallback:
            self.get_logger().warning(self.pipeline.fuser.fallback)
        self._outputs = Outputs(self, config.output)
        self._publish_info()

    def _activate(self) -> None:
        self.stats = NodeStats()
        self._matcher = make_matcher(self.parameters.config.sync)
        self._guard, self._quality = StreamGuard(), QualityWatch()
        self._offset.start()
        self._worker = LatestWorker(self._handle, self._on_fuse_error)
        self._activated_at_ns = time.monotonic_ns()
        self._subscribe("thermal", self.parameters.config.input.thermal)
        self._subscribe("rgb", self.parameters.config.input.rgb)

    def _subscribe(self, role: str, config: StreamConfig) -> None:
        topic = self.resolve_topic_name(f"{role}/image_raw") + ("/compressed" if config.transport == "compressed" else "")
        qos = QoSProfile(depth=config.depth, reliability=RELIABILITY[config.qos])
        kind = MESSAGE_TYPES[config.transport]
        image = self.create_subscription(
            kind,
            topic,
            partial(self._on_image, role),
            qos,
            event_callbacks=no_event_callbacks(),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        info_qos = QoSProfile(depth=1, reliability=RELIABILITY["best_effort"])
        info = self.create_subscription(
            CameraInfo, f"{role}/camera_info", partial(self._on_camera_info, role), info_qos, event_callbacks=no_event_callbacks()
        )
        self._subscriptions_active += [image, info]
        if role == "thermal":
            closed = self.create_subscription(Bool, "thermal/shutter", self._on_shutter, info_qos, event_callbacks=no_event_callbacks())
            self._subscriptions_active.append(closed)
        self._topics[role] = (topic, f"sensor_msgs/msg/{kind.__name__}", image.qos_profile)

    def _halt(self) -> None:
        for subscription in self._subscriptions_active:
            self.destroy_subscription(subscription)
        self._subscriptions_active = []
        self._offset.stop()
        if self._worker is not None:
            self.stats.skipped["shut_down"] += sum(isinstance(item, FramePair) for item in self._worker.stop())
            if self._worker.alive:
                raise AenetError("the fusion thread does not end: the device hangs; restart the node")
            self._worker = None

    def _release(self) -> None:
        self._halt()
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        if self.pipeline is not None:
            self.pipeline.close()
            self.pipeline = None

    def stop(self) -> None:
        """Release everything before the node is destroyed, whatever state it is in."""
        self._transition("stop", self._release, "finalized")

    # Callbacks, in the executor's thread.

    def _on_image(self, role: str, message: Any) -> None:
        stream = self.stats.stream(role)
        stream.receive(stamp_ns(message))
        try:
            frame = decode_thermal(message) if role == "thermal" else decode_rgb(message)
            self._take(role, frame)
        except Exception as error:  # whatever a message holds, it must not end the node
            reason = str(error) if isinstance(error, ImageError) else f"{type(error).__name__}: {error}"
            if stream.reject(reason):
                self.get_logger().error(f"{role} frame cannot be read: {reason}", throttle_duration_sec=1.0)

    def _take(self, role: str, frame: Frame) -> None:
        if self.stats.stream(role).accept(frame):
            change = f"{role} stream changed to {frame.size[1]}x{frame.size[0]} {frame.source_encoding}"
            self.get_logger().warning(change, throttle_duration_sec=1.0)
        self._offset.put(role, frame, self.parameters.config)
        assert self._matcher is not None
        stand_in = self._guard.see(role, frame, self._age_ns(role, frame), self.parameters.config)
        for pair in self._matcher.push_thermal(frame) if role == "thermal" else self._matcher.push_rgb(frame):
            self.stats.count_pair(pair.difference_ns)
            if self._guard.fuses:
                self._hand_over(pair)
            else:
                self.stats.skipped["degraded"] += 1
        if stand_in is not None:
            self._hand_over(stand_in)

    def _hand_over(self, item: FramePair | StandIn) -> None:
        assert self._worker is not None
        for replaced in self._worker.put(item):
            if isinstance(replaced, FramePair):
                self.stats.replaced += 1
            else:
                self._guard.unpublished["replaced by a newer one"] += 1

    def _age_ns(self, role: str, frame: Frame) -> int:
        """Time since the frame's stamp, by the clock that the rgb stamps are of."""
        assert self._matcher is not None
        offset_ns = self._matcher.clock_offset_ns if role == "thermal" else 0
        return int(self.get_clock().now().nanoseconds) - (frame.stamp_ns - offset_ns)

    def _on_camera_info(self, role: str, message: CameraInfo) -> None:
        self._camera_infos[role] = message

    def _on_shutter(self, message: Bool) -> None:
        """The driver says whether the thermal camera's shutter is closed."""
        if self.pipeline is not None:
            self.pipeline.shutter.told_closed = message.data

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
        conditions = self._conditions() if self._state == "active" else []
        facts.degraded = next((status.message for status in conditions if status.name == "degraded" and status.level != OK), "")
        statuses = judge(facts) + conditions
        self._change_log.report(statuses)
        self._diagnostics.publish(to_message(self, statuses, self._hostname))

    def _conditions(self) -> list[Status]:
        """The statuses that have files of their own."""
        config = self.parameters.config
        return [self._guard.status(config), self._offset.status(config), self._quality.status(config, self.stats, self.pipeline)]

    def _facts(self) -> NodeFacts:
        active = self._state == "active"
        topics: dict[str, TopicFacts] = {role: topic_facts(self, *self._topics[role]) for role in ROLES} if active else {}
        pipeline, worker = self.pipeline, self._worker
        facts = NodeFacts(
            state=self._state,
            config=self.parameters.config,
            stats=self.stats,
            topics=topics,
            match=self._matcher.counts if self._matcher is not None else PairCounts(),
            pending=self._matcher.pending if self._matcher is not None else 0,
            replaced=self.stats.replaced,
            subscribers=self._outputs.listeners().frames if self._outputs is not None else 0,
            activated_at_ns=self._activated_at_ns,
            problem=self._problem,
            unknown_parameters=self.parameters.unknown,
            hangs=worker is not None and worker.busy_s() > HANG_S,
        )
        if pipeline is not None:
            facts.device, facts.precision, facts.fallback = str(pipeline.fuser.device), pipeline.fuser.precision, pipeline.fuser.fallback
            facts.weights = str(pipeline.fuser.card.get("sha256", ""))[:12]
            facts.agc_range = (pipeline.agc.low, pipeline.agc.high)
        return facts

    # In the worker's thread.

    def _handle(self, item: FramePair | StandIn) -> None:
        pipeline, outputs, config = self.pipeline, self._outputs, self.parameters.config
        assert pipeline is not None
        assert outputs is not None
        listeners = outputs.listeners()
        reason = "disabled" if not config.enabled else "no_subscriber" if not listeners.frames else ""
        if isinstance(item, StandIn):
            self._guard.publish(item, reason, pipeline, outputs, listeners, self._camera_infos.get("rgb"))
            return
        if not reason and 0 < config.sync.max_latency_ms * 1e6 < self._age_ns("rgb", item.rgb):
            reason = "too_old"
        if reason:
            self.stats.skipped[reason] += 1
            return
        self._fuse(item, pipeline, outputs, listeners)

    def _fuse(self, pair: FramePair, pipeline: FusionPipeline, outputs: Outputs, listeners: Listeners) -> None:
        fused = pipeline.process(pair, want_registered=listeners.registered > 0)
        outputs.publish(fused, pair, self._camera_infos.get("rgb"), listeners, self.parameters.config.output.jpeg_quality)
        self._guard.keep(fused, pair)
        self.stats.count_fused(fused, self.get_clock().now().nanoseconds - fused.stamp_ns)
        self._quality.look(fused)

    def _on_fuse_error(self, error: Exception) -> None:
        if not self.context.ok():
            return  # shut down while the frame was in work
        reason = str(error) if isinstance(error, AenetError) else f"{type(error).__name__}: {error}"
        if self.stats.count_failed(reason):
            self.get_logger().error(f"a pair could not be fused: {reason}")


def main(args: Sequence[str] | None = None) -> None:
    """Run the node until it is told to stop; Ctrl-C and SIGTERM end it cleanly."""
    keep_large_buffers()
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
