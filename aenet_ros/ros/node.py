"""The fusion node: subscribes to a thermal and an rgb stream, publishes the fused stream and diagnostics.

A lifecycle node that can start itself (parameter ``autostart``). Callbacks decode, match and hand over; ``FusionWorker`` fuses and
publishes. Run it with ``ros2 launch aenet_ros fusion.launch.py``, ``ros2 run aenet_ros aenet_fusion_node`` or
``python -m aenet_ros.ros.node``.
"""

import time
from collections.abc import Sequence
from typing import Any

from rclpy.clock import Clock
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from aenet_ros.config import Config
from aenet_ros.core.errors import ConfigError, format_error
from aenet_ros.core.frames import Frame
from aenet_ros.core.process import trim_memory
from aenet_ros.health.fallback import TICK_S, FallbackPolicy
from aenet_ros.health.judge import NodeFacts, judge
from aenet_ros.health.quality import QualityMonitor
from aenet_ros.health.status import NodeStats, Status
from aenet_ros.messages.camera_finder import FoundCameras
from aenet_ros.messages.stream_kinds import Stream, frame_facts, profile_of
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.ros.alignment import AlignmentMonitor
from aenet_ros.ros.analysis import ArrivedFrame, DeferredAnalysis
from aenet_ros.ros.black_box import BlackBox
from aenet_ros.ros.camera_search import CameraSearch
from aenet_ros.ros.compat import ClockType
from aenet_ros.ros.diagnostics import DiagnosticsPublisher, node_info
from aenet_ros.ros.inputs import Inputs
from aenet_ros.ros.lifecycle import LoggedLifecycleNode
from aenet_ros.ros.matchers import Matcher, follow_sync, make_matcher
from aenet_ros.ros.node_main import running
from aenet_ros.ros.offset import OffsetService
from aenet_ros.ros.outputs import Outputs, frame_subscribers
from aenet_ros.ros.params import NodeParameters
from aenet_ros.ros.worker import FusionWorker, WorkItem, age_ns
from aenet_ros.sync.matcher import PairCounts
from aenet_ros.thermal.temperature import with_driver_profile

FIRST_FRAMES = 30  # thermal frames that can tell the camera's scale: the first ones of a camera may be blank
SEARCH_NS = 10_000_000_000  # of the search for cameras, in which their silence is no fault
YIELD_S = 5e-4  # after a pair was handed over: releases the GIL to the worker at once
WARM_UP_SIZE = (480, 640)  # height and width of the rgb frames fused at configure


class FusionNode(LoggedLifecycleNode):
    """Topics, services and threads: docs/architecture.md."""

    def __init__(self, node_name: str = "fusion", **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self.pipeline: FusionPipeline | None = None
        self._outputs: Outputs | None = None
        self._inputs: Inputs | None = None
        self._search: CameraSearch | None = None
        self._cameras: dict[str, str] = {}  # what the search found
        self._first_frames = 0  # thermal frames that are still looked at for the camera's scale
        self._matcher: Matcher | None = None
        self._worker: FusionWorker | None = None
        self._black_box: BlackBox | None = None
        self._activated_at_ns = 0
        self._clock_ns = 0  # at the last diagnostics
        self._diagnostics = DiagnosticsPublisher(self)
        self.parameters = NodeParameters(self, lambda: self.pipeline is not None, self._publish_info)
        self._alignment, self._offset = AlignmentMonitor(self, self.parameters), OffsetService(self)
        self._reset_counters()
        self._set_enabled = self.create_service(SetBool, "~/set_enabled", self._on_set_enabled)
        self._save_black_box = self.create_service(Trigger, "~/save_black_box", self._on_save_black_box)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # timers run on while simulated time stands still
        self._timer = self.create_timer(self.parameters.config.diagnostics.period_s, self._on_diagnostics, clock=steady)
        self._ticks = self.create_timer(TICK_S, self._on_tick, clock=steady)

    def _reset_counters(self) -> None:
        self.stats, self._policy = NodeStats(), FallbackPolicy(time.monotonic_ns())
        self._analysis = DeferredAnalysis(self._policy, QualityMonitor(), self._offset, self._alignment)

    # Lifecycle.

    def start(self) -> bool:
        """Configure and activate if ``autostart`` says so; True where the node is active."""
        if self.parameters.config.autostart:
            done = TransitionCallbackReturn.SUCCESS
            return bool(self.trigger_configure() == done and self.trigger_activate() == done)
        self.get_logger().info("autostart is false: waiting to be configured and activated")
        return False

    def configure(self) -> None:
        """Load the model and create the fused topics."""
        if self.parameters.problems:
            raise ConfigError("; ".join(self.parameters.problems.values()))
        config = self.parameters.config
        make_matcher(config.sync)  # raises here where the policy needs a package that is not installed
        self._alignment.configure(config)
        self._black_box = BlackBox(self, config.black_box) if config.black_box.enabled else None
        self._timer.timer_period_ns = round(config.diagnostics.period_s * 1e9)
        self._timer.reset()
        self.pipeline = FusionPipeline(config)
        self.pipeline.warm_up(WARM_UP_SIZE)
        if self.pipeline.fuser.fallback:
            self.get_logger().warning(self.pipeline.fuser.fallback)
        self._outputs = Outputs(self, config, self.pipeline.registration)
        self._publish_info(config)

    def activate(self) -> None:
        """Start the worker and subscribe to the cameras."""
        pipeline, outputs, config = self.pipeline, self._outputs, self.parameters.config
        assert pipeline is not None
        assert outputs is not None
        self._reset_counters()
        self._matcher = make_matcher(config.sync)
        self._activated_at_ns = time.monotonic_ns()
        self._offset.start()
        self._alignment.start(pipeline.registration)
        set_intrinsics, set_shutter = self._alignment.set_intrinsics, pipeline.set_driver_shutter
        self._inputs = Inputs(self, config, self.stats, self._on_frame, set_intrinsics, set_shutter, self._black_box)
        camera_infos, policy, analysis, box = self._inputs.camera_infos, self._policy, self._analysis, self._black_box
        self._worker = FusionWorker(self, pipeline, outputs, camera_infos, policy, self.stats, analysis, self._alignment, box)
        self._cameras, self._first_frames = {}, FIRST_FRAMES if config.input.find else 0
        self._search = CameraSearch(self, self._on_cameras) if config.input.find else None

    def stop_streams(self) -> None:
        """Destroy the subscriptions and stop the worker; the model stays loaded."""
        self._alignment.stop()
        for part in (self._search, self._inputs):
            if part is not None:
                part.destroy()
        self._search = self._inputs = None
        self._offset.stop()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        trim_memory()  # otherwise each activation's threads leave free memory behind

    def release(self) -> None:
        """Free the model, device memory included."""
        self.stop_streams()
        for part in (self._outputs, self._black_box, self.pipeline):
            if part is not None:
                part.close()
        self._outputs = self._black_box = self.pipeline = None

    # Callbacks, in the executor's thread.

    def _on_frame(self, role: str, frame: Frame) -> None:
        matcher, inputs, worker = self._matcher, self._inputs, self._worker
        if matcher is None or inputs is None or worker is None:
            return
        if role == "thermal" and self._first_frames:
            self._set_profile(inputs.topic("thermal"), frame)
        config, now_ns = self.parameters.config, time.monotonic_ns()
        follow_sync(matcher, config.sync)
        offset_ns = matcher.clock_offset_ns if role == "thermal" else 0
        alone = self._policy.on_frame(role, frame, now_ns, age_ns(self, frame.stamp_ns - offset_ns), config)
        for pair in matcher.push_thermal(frame) if role == "thermal" else matcher.push_rgb(frame):
            self.stats.count_pair(pair.rgb.stamp_ns, pair.difference_ns)
            if self._policy.fuses:
                worker.put(WorkItem(inputs.join_depth(pair), config, self.stats.pair_period_ns()))
                time.sleep(YIELD_S)
            else:
                self.stats.count_skipped("degraded")
            self._analysis.add(pair)
        self._analysis.add(ArrivedFrame(role, frame, now_ns, config))
        measured = frame if role == "thermal" and not self._policy.fuses and (alone is None or alone.frame is None) else None
        if alone is not None or measured is not None:
            worker.put(WorkItem(alone, config, thermal=measured))

    def _set_profile(self, topic: str, frame: Frame) -> None:
        """Set the profile that the driver of the thermal camera makes certain, where the user has set no scale."""
        self._first_frames -= 1
        config, text = with_driver_profile(self.parameters.config, profile_of(frame_facts(Stream(topic, frame_id=frame.frame_id), frame)))
        if text:
            self._first_frames = 0
            self.get_logger().info(text)
            self.set_parameters([Parameter("agc.profile", value=config.agc.profile)])

    def _on_cameras(self, found: FoundCameras) -> None:
        """The search knows the cameras: read their topics."""
        assert self._inputs is not None
        topics = {"thermal": found.thermal, "rgb": found.rgb}
        transports = {f"{role} transport": "compressed" if topic.endswith("/compressed") else "raw" for role, topic in topics.items()}
        self._cameras = {**topics, **transports, "profile": found.profile or "not known", "why": found.why}
        self.get_logger().info(f"cameras found: {found.why}")
        self._inputs.subscribe(topics)
        self._activated_at_ns = time.monotonic_ns()  # the frames come from now on
        self._policy.restart(self._activated_at_ns)
        self._publish_info(self.parameters.config)

    def _on_tick(self) -> None:
        config, now_ns = self.parameters.config, time.monotonic_ns()
        if self._search is not None and self._search.running and now_ns - self._activated_at_ns < SEARCH_NS:
            self._policy.restart(now_ns)
        elif self._worker is not None and (held := self._policy.tick(now_ns, config)) is not None:
            self._worker.put(WorkItem(held, config))

    def _on_set_enabled(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        result = self.set_parameters([Parameter("enabled", value=request.data)])[0]
        response.success, response.message = result.successful, result.reason or ("enabled" if request.data else "disabled")
        return response

    def _on_save_black_box(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._black_box is None or self.pipeline is None:
            response.message = "there is no black box: set black_box.enabled to true and configure the node again"
        else:
            about = node_info(self.parameters.config, self.pipeline.fuser)
            response.success, response.message = self._black_box.save("~/save_black_box was called", about)
        return response

    def _publish_info(self, config: Config) -> None:
        if self.pipeline is not None:
            self._diagnostics.publish_info(config, self.pipeline.fuser, self._cameras)

    def _on_diagnostics(self) -> None:
        try:
            statuses = self._statuses()
            message = self._diagnostics.publish(statuses)
            if self._black_box is not None and self.pipeline is not None:
                self._black_box.on_diagnostics(message, statuses, node_info(self.parameters.config, self.pipeline.fuser))
        except Exception as error:  # diagnostics must not end the node
            if not self.context.ok():
                return  # the node is being stopped
            self.get_logger().error(f"diagnostics fail: {format_error(error)}", throttle_duration_sec=10.0)

    def _statuses(self) -> list[Status]:
        matcher, inputs, pipeline, outputs, config = self._matcher, self._inputs, self.pipeline, self._outputs, self.parameters.config
        wanted = outputs.wanted(config) if outputs is not None else {}
        before_ns, self._clock_ns = self._clock_ns, int(self.get_clock().now().nanoseconds)
        facts = NodeFacts(
            state=self.state_label,
            config=config,
            stats=self.stats,
            topics=inputs.topic_facts() if inputs is not None else {},
            match=matcher.counts if matcher is not None else PairCounts(),
            pending=matcher.pending if matcher is not None else 0,
            subscribers=frame_subscribers(wanted),
            activated_at_ns=self._activated_at_ns,
            problem=self.problem,
            unknown_parameters=self.parameters.unknown,
            cameras=self._cameras,
            camera_choice=self._search.question if self._search is not None else "",
            pipeline=pipeline.status() if pipeline is not None else None,
            hangs=self._worker is not None and self._worker.hangs,
            clock_stands=before_ns == self._clock_ns,
        )
        if self.state_label != "active" or facts.pipeline is None or inputs is None or outputs is None:
            return judge(facts)
        others = [*outputs.thermal.statuses(wanted, config), outputs.video.status()]
        return [*self._analysis.statuses(facts, inputs.depth_problem), *others]


def main(args: Sequence[str] | None = None) -> None:
    """Run the node until it is stopped; Ctrl-C and SIGTERM end it cleanly."""
    with running("aenet_fusion_node", FusionNode, args) as (node, executor):
        node.start()
        executor.spin()


if __name__ == "__main__":
    main()
