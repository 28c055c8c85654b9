"""The node's eye on its registration: a drift score in diagnostics, and the service ``~/estimate_registration``."""

import threading
import time
from pathlib import Path
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger

from aenet_ros.config import Config
from aenet_ros.core.camera import camera_from_info, scaling
from aenet_ros.core.errors import AenetError, ConfigError
from aenet_ros.core.frames import Array, FramePair
from aenet_ros.health.judge import OK, WARN, Status
from aenet_ros.registration.calibration_file import Homography, homography_content, read_homography, write_calibration
from aenet_ros.registration.drift import Drift, DriftMonitor
from aenet_ros.registration.estimate import MIN_CONFIDENCE, Estimate, corner_distance, estimate
from aenet_ros.registration.registration import Registration
from aenet_ros.ros.extrinsics import TfExtrinsics
from aenet_ros.ros.params import NodeParameters
from aenet_ros.ros.worker import LatestWorker

WATCH_S = 3.0  # between two pairs that the drift is told from
PAIRS, EVERY_S, PATIENCE_S = 24, 0.5, 40.0  # of the service: pairs wanted, time between two, time after which it takes what there is


class AlignmentMonitor:
    """Pairs come by ``put`` from the executor's thread; what takes time is done in threads of its own."""

    def __init__(self, node: LifecycleNode, parameters: NodeParameters) -> None:
        self._node, self._parameters = node, parameters
        self._tf = TfExtrinsics(node)
        self._registration: Registration | None = None
        self._monitor = DriftMonitor()
        self._told: Drift | None = None
        self._plane_distance_m = 0.0
        self._worker: LatestWorker[tuple[FramePair, Registration, float]] | None = None
        self._next_ns = self._next_wanted_ns = 0
        self._changed = threading.Condition()
        self._wanted: list[FramePair] | None = None
        self._problems: dict[str, str] = {}  # of either camera's info, and of telling the drift
        # A group of its own: while a callback of the node's own group waits, rclpy runs no other of that group.
        self._service = node.create_service(Trigger, "~/estimate_registration", self._on_estimate, callback_group=ReentrantCallbackGroup())

    def start(self) -> None:
        """The node is active: begin anew."""
        self._monitor, self._told, self._next_ns = DriftMonitor(), None, 0
        self._tf.start(self._parameters.config)
        self._worker = LatestWorker(self._watch, self._on_error, name="alignment")

    def stop(self) -> None:
        """The node is not active any more; an estimate in work takes what it has."""
        self._tf.stop()
        self._registration = None
        if self._worker is not None:
            self._worker.stop(timeout_s=0.0)  # a look in work ends by itself; it holds nothing that is released
            self._worker = None
        with self._changed:
            self._changed.notify_all()

    def put(self, pair: FramePair, registration: Registration) -> None:
        """A matched pair; returns at once, and takes only one every few seconds."""
        now = time.monotonic_ns()
        self._registration = registration
        self._tf.follow(pair, registration)
        # By a depth image no two pairs have one map.
        if self._worker is not None and now >= self._next_ns and registration.mode != "depth":
            self._next_ns = now + round(WATCH_S * 1e9)
            self._worker.put((pair, registration, self._parameters.config.registration.plane_distance_m))
        if self._wanted is not None and now >= self._next_wanted_ns:
            self._next_wanted_ns = now + round(EVERY_S * 1e9)
            with self._changed:
                self._wanted.append(pair)
                self._changed.notify_all()

    def set_intrinsics(self, role: str, message: CameraInfo, registration: Registration) -> None:
        """A camera_info, which registration by lenses may need."""
        if registration.needs_intrinsics(role):
            try:
                registration.set_intrinsics(role, camera_from_info(message))
                self._problems.pop(role, None)
            except ConfigError as error:
                self._problems[role] = str(error)

    def status(self, config: Config, fallback: str) -> Status:
        """How well the registration holds, for diagnostics; ``fallback``: why a plane stands in for the depth image, else empty."""
        told, limit = self._told, config.diagnostics.max_drift_px
        values = {"mode": config.registration.mode}
        if config.registration.mode in ("plane", "depth"):
            values["extrinsics"] = self._tf.source
        untold = self._tf.problem(self._registration)
        if untold:
            return Status("registration", WARN, untold, values)
        if fallback:
            remedy = (
                "the depth camera's topic is depth/image_raw, its image aligned to the rgb frame, stamps within registration.depth_slop_ms"
            )
            return Status("registration", WARN, f"{fallback} ({remedy})", values)
        problem = "; ".join(list(self._problems.values()))  # a copy, for the other thread may add one
        if told is None or problem:
            waiting = "by each pair's depth image" if config.registration.mode == "depth" else "not told yet"
            return Status("registration", WARN if problem else OK, problem or waiting, values)
        values["edges that coincide [%]"] = f"{100 * told.coincide:.0f}"
        values["pairs looked at"] = str(told.pairs)
        if told.off_px is None:
            return Status("registration", OK, "too little is in view of both cameras to tell how well it holds", values)
        values["drift [px]"] = f"{told.off_px:.1f}"
        if limit and told.off_px > limit:
            cause = ", or is registration.plane_distance_m not where things are" if config.registration.mode == "plane" else ""
            return Status(
                "registration",
                WARN,
                f"thermal edges lie {told.off_px:.0f} px beside the rgb edges (diagnostics.max_drift_px {limit:g}): were the cameras "
                f"knocked, or never calibrated{cause}? Call ~/estimate_registration or `aenet calibrate`, and set what it says",
                values,
            )
        return Status("registration", OK, f"holds: thermal edges lie within {told.off_px:.1f} px of the rgb edges", values)

    # In the worker's thread.

    def _watch(self, item: tuple[FramePair, Registration, float]) -> None:
        pair, registration, plane_distance_m = item
        if plane_distance_m != self._plane_distance_m:
            self._plane_distance_m, self._monitor = plane_distance_m, DriftMonitor()
        self._monitor.push(pair, registration.map(pair.thermal.size, pair.rgb.size, plane_distance_m))
        self._told = self._monitor.drift()
        self._problems.pop("drift", None)

    def _on_error(self, error: Exception) -> None:
        self._problems["drift"] = f"the drift cannot be told: {error}"

    # The service. Its callback waits without holding the executor; a thread of its own collects and estimates.

    async def _on_estimate(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._worker is None or self._wanted is not None:
            response.message = "the node is not active" if self._worker is None else "an estimate is in work already"
            return response
        done: Future[tuple[bool, str]] = Future()
        self._wanted, self._next_wanted_ns = [], 0
        threading.Thread(target=self._estimate, args=(done,), name="estimate_registration", daemon=True).start()
        answer: Any = await done
        response.success, response.message = answer
        self._node.get_logger().info(f"estimate_registration: {response.message}")
        return response

    def _estimate(self, done: "Future[tuple[bool, str]]") -> None:
        assert self._wanted is not None
        pairs = self._wanted
        with self._changed:
            self._changed.wait_for(lambda: len(pairs) >= PAIRS or self._worker is None, PATIENCE_S)
        try:
            answer = self._answer(estimate(list(pairs)))
        except AenetError as error:
            answer = False, str(error)
        except Exception as error:  # a service that never answers would be worse
            answer = False, f"{type(error).__name__}: {error}"
        self._wanted = None
        done.set_result(answer)
        if self._node.executor is not None:
            self._node.executor.wake()

    def _answer(self, found: Estimate) -> tuple[bool, str]:
        said = f"confidence {found.confidence:.2f} from {found.pairs} pairs"
        if found.confidence < MIN_CONFIDENCE:
            return False, f"{said}, which is too low to use: {found.reason}; drive past other scenes with edges and call again"
        config = self._parameters.config
        said += f", corners uncertain by {found.spread_px:.1f} rgb px"
        if config.registration.mode == "homography":
            moved = corner_distance(found.matrix, _in_force(config, found), found.rgb_size)
            said += f", {moved:.1f} thermal px from the homography in force"
        content = homography_content(Homography(found.matrix, found.thermal_size, found.rgb_size))
        rows = ", ".join(f"{value:.9g}" for value in found.matrix.ravel())
        if not config.registration.save_to:
            return True, f"{said}; set registration.mode: homography, registration.homography: [{rows}] (and registration.file empty)"
        path = Path(config.registration.save_to).expanduser().absolute()
        write_calibration(path, content, [f"Written by ~/estimate_registration: {said}."])
        return True, f"{said}; written to {path}: set registration.mode: homography and registration.file to it"


def _in_force(config: Config, found: Estimate) -> Array:
    """The homography in force at the sizes of an estimate."""
    now = read_homography(config.registration)
    matrix = now.matrix @ scaling(found.rgb_size, now.rgb_size) if now.rgb_size else now.matrix
    return scaling(now.thermal_size, found.thermal_size) @ matrix if now.thermal_size else matrix
