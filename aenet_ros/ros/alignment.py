"""The node's registration at run time: cameras and pose from topics, the drift, and the service ``~/estimate_registration``."""

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger

from aenet_ros.config import Config
from aenet_ros.core.camera import camera_from_info
from aenet_ros.core.errors import ConfigError, format_error
from aenet_ros.core.frames import FramePair
from aenet_ros.health.drift_analysis import DriftAnalysis
from aenet_ros.health.status import OK, Status
from aenet_ros.registration.calibration_file import Homography, homography_content, read_homography, write_calibration
from aenet_ros.registration.registration import Registration
from aenet_ros.ros.params import NodeParameters

if TYPE_CHECKING:
    from aenet_ros.registration.estimate import Estimate
    from aenet_ros.ros.extrinsics import TfExtrinsics

PAIRS, PERIOD_S, TIMEOUT_S = 24, 0.5, 40.0  # of the service: pairs wanted, time between two, time after which it uses those it has


class AlignmentMonitor:
    """Active between ``start`` and ``stop``; all shared state is behind ``_changed``. ``put`` may come from another thread."""

    def __init__(self, node: LifecycleNode, parameters: NodeParameters) -> None:
        self._node, self._parameters = node, parameters
        self._tf: TfExtrinsics | None = None  # where the pose comes from TF
        self._changed = threading.Condition()
        self._drift: DriftAnalysis | None = None  # while active
        self._registration: Registration | None = None
        self._collected: list[FramePair] | None = None  # while the service runs
        self._next_ns = 0
        self._problems: dict[str, str] = {}  # by role: why a camera_info is refused; background: the last error of ``put``
        self._errors = 0
        # A group of its own: while a callback of the node's own group waits, rclpy runs no other of that group.
        self._service = node.create_service(Trigger, "~/estimate_registration", self._on_estimate, callback_group=ReentrantCallbackGroup())

    def configure(self, config: Config) -> None:
        """Raise ConfigError where the configuration needs what is not installed."""
        self._tf = None
        if config.registration.extrinsics_source == "tf" and config.registration.mode in ("plane", "depth"):
            from aenet_ros.ros.extrinsics import TfExtrinsics

            self._tf = TfExtrinsics(self._node)
            self._tf.check(config)

    def start(self) -> None:
        """Start at activation, without memory."""
        if self._tf is not None:
            self._tf.start(self._parameters.config)
        with self._changed:
            self._drift, self._registration, self._next_ns = DriftAnalysis(), None, 0
            self._problems, self._errors = {}, 0

    def stop(self) -> None:
        """Stop at deactivation; a running estimate uses the pairs it has."""
        if self._tf is not None:
            self._tf.stop()
        with self._changed:
            drift, self._drift, self._registration = self._drift, None, None
            self._changed.notify_all()
        if drift is not None:
            drift.stop()

    def put(self, pair: FramePair, registration: Registration) -> None:
        """Take a matched pair; returns at once. An exception is counted here and reported in the status."""
        try:
            with self._changed:
                if self._drift is None:
                    return
                self._registration = registration
                if self._tf is not None:
                    self._tf.follow(pair, registration)
                self._drift.put(pair, registration, self._parameters.config.registration.plane_distance_m)
                now_ns = time.monotonic_ns()
                if self._collected is not None and now_ns >= self._next_ns:
                    self._next_ns = now_ns + round(PERIOD_S * 1e9)
                    self._collected.append(pair)
                    self._changed.notify_all()
        except Exception as error:  # background work must not count as a failed pair
            with self._changed:
                self._errors += 1
                self._problems["background"] = format_error(error)

    def set_intrinsics(self, role: str, message: CameraInfo, registration: Registration) -> None:
        """Use a camera_info where the registration needs it."""
        if not registration.needs_intrinsics(role):
            return
        problem = ""
        try:
            registration.set_intrinsics(role, camera_from_info(message))
        except ConfigError as error:
            problem = str(error)
        with self._changed:
            self._problems.pop(role, None)
            if problem:
                self._problems[role] = problem

    def status(self, config: Config, fallback: str) -> Status:
        """The registration for diagnostics; ``fallback``: why the plane is used in place of the depth image, else empty."""
        with self._changed:
            drift, registration, problem, errors = self._drift, self._registration, "; ".join(self._problems.values()), self._errors
        problem = (self._tf.problem(registration) if self._tf is not None else "") or problem
        if fallback and not problem:
            problem = (
                f"{fallback} (the depth camera's topic is depth/image_raw, its image aligned to the rgb frame, stamps within "
                "registration.depth_slop_ms)"
            )
        status = drift.status(config, problem) if drift is not None else Status("registration", OK, "the node is not active", {})
        if config.registration.mode in ("plane", "depth"):
            status.values["extrinsics"] = self._tf.source if self._tf is not None else "registration.file"
        if errors:
            status.values["background errors"] = str(errors)
        return status

    # The service's callback waits without holding the executor; a thread of its own collects pairs and estimates.

    async def _on_estimate(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._changed:
            if self._drift is None or self._collected is not None:
                response.message = "the node is not active" if self._drift is None else "an estimate is in work already"
                return response
            self._collected, self._next_ns = [], 0
        done: Future[tuple[bool, str]] = Future()
        threading.Thread(target=self._estimate, args=(done,), name="estimate_registration", daemon=True).start()
        answer: Any = await done
        response.success, response.message = answer
        self._node.get_logger().info(f"estimate_registration: {response.message}")
        return response

    def _estimate(self, done: "Future[tuple[bool, str]]") -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._drift is None or len(self._collected or []) >= PAIRS, TIMEOUT_S)
            pairs, self._collected = list(self._collected or []), None
        from aenet_ros.registration.estimate import estimate  # for this service only

        try:
            answer = self._answer(estimate(pairs))
        except Exception as error:  # the service must answer
            answer = False, format_error(error)
        done.set_result(answer)
        if self._node.executor is not None:
            self._node.executor.wake()

    def _answer(self, found: "Estimate") -> tuple[bool, str]:
        from aenet_ros.registration.estimate import MIN_CONFIDENCE, corner_distance

        summary = f"confidence {found.confidence:.2f} from {found.pairs} pairs"
        if found.confidence < MIN_CONFIDENCE:
            return False, f"{summary}, which is too low to use: {found.reason}; drive past other scenes with edges and call again"
        config = self._parameters.config.registration
        summary += f", corners uncertain by {found.spread_px:.1f} rgb px"
        if config.mode == "homography":
            in_force = read_homography(config).scaled_to(found.thermal_size, found.rgb_size)
            summary += f", {corner_distance(found.matrix, in_force, found.rgb_size):.1f} thermal px from the homography in force"
        if not config.save_to:
            rows = ", ".join(f"{value:.9g}" for value in found.matrix.ravel())
            return True, f"{summary}; set registration.mode: homography, registration.homography: [{rows}] (and registration.file empty)"
        path = Path(config.save_to).expanduser().absolute()
        content = homography_content(Homography(found.matrix, found.thermal_size, found.rgb_size))
        write_calibration(path, content, [f"Written by ~/estimate_registration: {summary}."])
        return True, f"{summary}; written to {path}: set registration.mode: homography and registration.file to it"
