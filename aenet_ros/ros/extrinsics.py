"""The cameras' pose from TF (``/tf`` and ``/tf_static``), by tf2_ros, which is imported only where it is asked for."""

import importlib
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.time import Time

from aenet_ros.config import Config
from aenet_ros.core.errors import ConfigError, sanitize
from aenet_ros.core.frames import Array, FramePair
from aenet_ros.registration.registration import Registration

MISSING = "registration.extrinsics_source tf needs tf2_ros, which is not installed: apt install ros-$ROS_DISTRO-tf2-ros-py"


class TfExtrinsics:
    """Listens to TF while the node is active and ``uses_tf`` says so; else it does nothing."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tf2: Any = None
        self._buffer: Any = None
        self._listener: Any = None
        self._problem = ""
        self.source = "registration.file"

    def check(self, config: Config) -> None:
        """Raise ConfigError where tf2_ros is needed and not installed."""
        if not uses_tf(config):
            return
        try:
            self._tf2 = importlib.import_module("tf2_ros")
        except ImportError as error:
            raise ConfigError(MISSING) from error

    def start(self, config: Config) -> None:
        """Start at activation. Raises ConfigError as ``check``."""
        self._problem, self.source = "", "registration.file"
        if not uses_tf(config):
            return
        self.check(config)
        self._problem = "no pair of frames yet, so the cameras' frame_ids are not known"
        self._buffer = self._tf2.Buffer()
        self._listener = self._tf2.TransformListener(self._buffer, self._node)

    def stop(self) -> None:
        """Stop at deactivation."""
        if self._listener is not None:
            self._listener.unregister()
            self._buffer = self._listener = None

    def follow(self, pair: FramePair, registration: Registration) -> None:
        """Give the registration the pose between a pair's frame_ids at the rgb frame's stamp."""
        buffer = self._buffer
        if buffer is None:
            return
        rgb, thermal = pair.rgb.frame_id, pair.thermal.frame_id
        problem = frame_id_problem(rgb, thermal)
        if problem:
            self._problem = problem
            return
        try:
            try:
                found = buffer.lookup_transform(thermal, rgb, Time(nanoseconds=pair.rgb.stamp_ns))
            except self._tf2.ExtrapolationException:  # TF lags behind the image: the latest pose
                found = buffer.lookup_transform(thermal, rgb, Time())
        except self._tf2.TransformException as error:
            self._problem = (
                f"TF does not connect {sanitize(rgb)} and {sanitize(thermal)} ({sanitize(str(error))}): publish the mount, for example by "
                f"robot_state_publisher or `ros2 run tf2_ros static_transform_publisher ... --frame-id {sanitize(rgb)} "
                f"--child-frame-id {sanitize(thermal)}`"
            )
            return
        shift, turn = found.transform.translation, found.transform.rotation
        registration.set_extrinsics(rotation_matrix(turn.x, turn.y, turn.z, turn.w), np.array([shift.x, shift.y, shift.z]))
        self._problem, self.source = "", "tf"

    def problem(self, registration: Registration | None) -> str:
        """Why the pose is not the latest of TF, with the remedy, and which pose is used instead; empty where it is, or TF is not used."""
        if not self._problem:
            return ""
        if registration is None or not registration.has_pose:
            return f"{self._problem}; nothing is fused until then"
        return f"{self._problem}; meanwhile the pose of {'TF received before' if self.source == 'tf' else 'registration.file'} is used"


def uses_tf(config: Config) -> bool:
    """Whether the pose comes from TF."""
    return config.registration.extrinsics_source == "tf" and config.registration.mode in ("plane", "depth")


def frame_id_problem(rgb: str, thermal: str) -> str:
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
