"""The node's registration at run time: cameras and pose from topics, the drift, and the service ``~/estimate_registration``."""

import importlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger

from aenet_ros.config import Config
from aenet_ros.core.camera import camera_from_info
from aenet_ros.core.errors import ConfigError, format_error, sanitize
from aenet_ros.core.frames import Array, FramePair
from aenet_ros.health.drift_analysis import DriftAnalysis
from aenet_ros.health.status import OK, Code, Status
from aenet_ros.registration.calibration_file import Homography, homography_content, read_homography, write_calibration
from aenet_ros.registration.output_grid import MOST_STRETCH, stretch_text
from aenet_ros.registration.registration import Registration
from aenet_ros.ros.params import NodeParameters

if TYPE_CHECKING:
    from aenet_ros.registration.estimate import Estimate

TF_MEMORY_NS = 10_000_000_000  # tf2 takes no transform that is older than its latest one by more
MOST_AGE_NS = 500_000_000  # age of the pose at the rgb frame's stamp above which the status warns
MOST_DISTANCE_M = 1000.0  # between the cameras, by TF
PAIRS, PERIOD_S, TIMEOUT_S = 24, 0.5, 40.0  # of the service: pairs wanted, time between two, time after which it uses those it has


class AlignmentMonitor:
    """Active from ``start`` to ``stop``. ``put`` and ``follow_tf`` may come from another thread: what they share is behind ``_changed``."""

    def __init__(self, node: Node, parameters: NodeParameters) -> None:
        self._node, self._parameters = node, parameters
        self._tf: TfExtrinsics | None = None  # where the pose comes from TF
        self._changed = threading.Condition()
        self._drift: DriftAnalysis | None = None  # while active
        self._registration: Registration | None = None  # while active
        self._collected: list[FramePair] | None = None  # while the service runs
        self._next_ns = 0
        self._problems: dict[str, str] = {}  # by role: why its camera_info is refused
        self._stretched = ""  # what mode identity does to frames of very different shapes
        # A group of its own: while a callback of the node's own group waits, rclpy runs no other of that group.
        self._service = node.create_service(Trigger, "~/estimate_registration", self._on_estimate, callback_group=ReentrantCallbackGroup())

    def configure(self, config: Config) -> None:
        """Raise ConfigError where the configuration needs what is not installed."""
        uses_tf = config.registration.extrinsics_source == "tf" and config.registration.mode in ("plane", "depth")
        self._tf = TfExtrinsics(self._node) if uses_tf else None

    def start(self, registration: Registration) -> None:
        """Start at activation, without memory."""
        if self._tf is not None:
            self._tf.start()
        with self._changed:
            self._drift, self._registration, self._next_ns, self._problems = DriftAnalysis(), registration, 0, {}

    def stop(self) -> None:
        """Stop at deactivation; a running estimate uses the pairs it has."""
        with self._changed:
            drift, self._drift, self._registration = self._drift, None, None
            self._changed.notify_all()
        if self._tf is not None:
            self._tf.stop()
        if drift is not None:
            drift.stop()

    def follow_tf(self, pair: FramePair) -> None:
        """Register the pair with the pose that TF has for it; to be called right before it is fused."""
        with self._changed:
            if self._tf is not None and self._registration is not None:
                self._tf.follow(pair, self._registration)

    def put(self, pair: FramePair) -> None:
        """Take a matched pair; returns at once."""
        with self._changed:
            if self._drift is None or self._registration is None:
                return
            identity = self._registration.mode == "identity"
            self._stretched = stretch_text(pair.thermal.size, pair.rgb.size, MOST_STRETCH) if identity else ""
            self._drift.put(pair, self._registration, self._parameters.config.registration.plane_distance_m)
            now_ns = time.monotonic_ns()
            if self._collected is not None and now_ns >= self._next_ns:
                self._next_ns = now_ns + round(PERIOD_S * 1e9)
                self._collected.append(pair)
                self._changed.notify_all()

    def set_intrinsics(self, role: str, message: CameraInfo) -> None:
        """Use a camera_info where the registration needs it."""
        if self._registration is None or not self._registration.needs_intrinsics(role):
            return
        try:
            self._registration.set_intrinsics(role, camera_from_info(message))
            self._problems.pop(role, None)
        except ConfigError as error:
            self._problems[role] = str(error)

    def status(self, config: Config, fallback: str) -> Status:
        """The registration for diagnostics; ``fallback``: why the plane is used in place of the depth image, else empty."""
        problem = "; ".join(self._problems.values()) or self._stretched
        if self._tf is not None and self._registration is not None:
            problem = self._tf.problem(self._registration) or problem
        if fallback and not problem:
            problem = (
                f"{fallback} (the depth camera's topic is depth/image_raw, its image aligned to the rgb frame, stamps within "
                "registration.depth_slop_ms)"
            )
        drift = self._drift
        inactive = Status("registration", OK, Code.REGISTRATION_OK, "the node is not active", {})
        status = drift.status(config, problem) if drift is not None else inactive
        if config.registration.mode in ("plane", "depth"):
            status.values["extrinsics"] = self._tf.source if self._tf is not None else "registration.file"
            if self._tf is not None:
                status.values["extrinsics older than the rgb frame (ms)"] = str(round(self._tf.age_ns / 1e6))
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


class TfExtrinsics:
    """The cameras' pose from ``/tf`` and ``/tf_static`` while the node is active. Raises ConfigError where tf2_ros is not installed.

    ``source``: where the pose in use comes from. ``age_ns``: how much older than the rgb frame it is; 0 where TF has it for that instant.
    """

    def __init__(self, node: Node) -> None:
        try:
            self._tf2: Any = importlib.import_module("tf2_ros")
        except ImportError as error:
            raise ConfigError(
                "registration.extrinsics_source tf needs tf2_ros, which is not installed: apt install ros-$ROS_DISTRO-tf2-ros-py"
            ) from error
        self._node = node
        self._buffer: Any = None
        self._listener: Any = None
        self._problem, self.source, self.age_ns = "", "registration.file", 0

    def start(self) -> None:
        """Start at activation."""
        self.age_ns = 0
        self._problem = "no pair of frames yet, so the cameras' frame_ids are not known"
        self._buffer = self._tf2.Buffer()
        self._listener = self._tf2.TransformListener(self._buffer, self._node)

    def stop(self) -> None:
        """Stop at deactivation."""
        if self._listener is not None:
            self._listener.unregister()
            self._buffer = self._listener = None

    def follow(self, pair: FramePair, registration: Registration) -> None:
        """Give the registration the pose between a pair's frame_ids at the rgb frame's stamp. To be called between start and stop."""
        rgb, thermal = pair.rgb.frame_id, pair.thermal.frame_id
        problem = _frame_id_problem(rgb, thermal)
        if problem:
            self._problem = problem
            return
        try:
            found = self._lookup(thermal, rgb, pair.rgb.stamp_ns)
        except self._tf2.TransformException as error:
            self._problem = (
                f"TF does not connect {sanitize(rgb)} and {sanitize(thermal)} ({sanitize(str(error))}): publish the mount, for example by "
                f"robot_state_publisher or `ros2 run tf2_ros static_transform_publisher ... --frame-id {sanitize(rgb)} "
                f"--child-frame-id {sanitize(thermal)}`"
            )
            return
        shift, turn = found.transform.translation, found.transform.rotation
        place = np.array([shift.x, shift.y, shift.z])
        if not float(np.abs(place).max()) < MOST_DISTANCE_M:  # also NaN
            self._problem = f"TF has {sanitize(rgb)} and {sanitize(thermal)} {np.abs(place).max():.3g} m apart: correct the mount"
            return
        registration.set_extrinsics(rotation_matrix(turn.x, turn.y, turn.z, turn.w), place)
        self._problem, self.source = "", "tf"
        if abs(self.age_ns) > MOST_AGE_NS:
            self._problem = (
                f"the latest pose that TF has between {sanitize(rgb)} and {sanitize(thermal)} is {abs(self.age_ns) / 1e9:.1f} s "
                f"{'older' if self.age_ns > 0 else 'newer'} than the rgb frame: the publisher of /tf has stopped, or its clock is another "
                "one than the camera's (use_sim_time)"
            )

    def _lookup(self, target: str, source: str, stamp_ns: int) -> Any:
        try:
            found, self.age_ns = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns)), 0
        except self._tf2.ExtrapolationException:  # TF lags behind the image: the latest pose
            found = self._buffer.lookup_transform(target, source, Time())
            self.age_ns = stamp_ns - Time.from_msg(found.header.stamp).nanoseconds
            if self.age_ns < -TF_MEMORY_NS:  # time started over: tf2 would refuse all that comes now; static transforms stay
                self._buffer.clear()
        return found

    def problem(self, registration: Registration) -> str:
        """Why the pose is not the latest of TF, with the remedy, and which pose is used instead; empty where it is."""
        problem = self._problem
        if not problem:
            return ""
        if not registration.has_pose:
            return f"{problem}; nothing is fused until then"
        return f"{problem}; meanwhile the pose of {'TF received before' if self.source == 'tf' else 'registration.file'} is used"


def _frame_id_problem(rgb: str, thermal: str) -> str:
    """Why TF cannot be asked for the pose between these frame_ids; empty where it can."""
    if not rgb or not thermal:
        role = "thermal" if rgb else "rgb"
        return f"{role} frames have no frame_id, so TF cannot tell their pose: set frame_id in the {role} camera's driver"
    if rgb == thermal:
        return f"both cameras' frames have frame_id {sanitize(rgb)}, so TF cannot tell them apart: give each driver its own frame_id"
    return ""


def rotation_matrix(x: float, y: float, z: float, w: float) -> Array:
    """The rotation matrix, float64 [3, 3], of a unit quaternion."""
    axis = np.array([x, y, z], np.float64)
    length = float(np.linalg.norm(axis))
    angle = 2.0 * np.arctan2(length, w)
    return np.asarray(cv2.Rodrigues(axis * (angle / length if length > 1e-12 else 2.0))[0])
