"""The cameras' pose from TF: ``/tf_static`` is read as it is, since both cameras are fixed to one robot.

That needs the message package tf2_msgs alone, which every apt ROS 2 has; tf2_ros, with its buffer and its own thread, is for frames that
move.
"""

import importlib
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from aenet_ros.config import Config
from aenet_ros.core.errors import sanitize
from aenet_ros.core.frames import FramePair
from aenet_ros.registration.frame_tree import FrameTree
from aenet_ros.registration.registration import Registration
from aenet_ros.ros.compat import no_event_callbacks

MISSING = "registration.extrinsics_source tf needs tf2_msgs, which is not installed: apt install ros-$ROS_DISTRO-tf2-msgs"
SHOWN = 12  # names of frames in a message


class TfExtrinsics:
    """Listens while the node is active, registration is by lenses and ``registration.extrinsics_source`` is tf; else it does nothing."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._subscription: Any = None
        self._tree = FrameTree()
        self._wanted = self._changed = False
        self._names = ("", "")
        self._problem = ""
        self.source = "registration.file"

    def start(self, config: Config) -> None:
        """At activation."""
        chosen = config.registration
        self._wanted = chosen.extrinsics_source == "tf" and chosen.mode in ("plane", "depth")
        self._tree, self._names, self._changed, self._problem, self.source = FrameTree(), ("", ""), False, "", "registration.file"
        if not self._wanted:
            return
        self._problem = "no frames of both cameras yet, so their frame_ids are not known"
        try:
            message_type = importlib.import_module("tf2_msgs.msg").TFMessage
        except ImportError:
            self._wanted, self._problem = False, MISSING
            return
        # As tf2's own listeners: publishers of static transforms latch, and each tells only its own.
        qos = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)
        self._subscription = self._node.create_subscription(
            message_type, "/tf_static", self._on_static, qos, event_callbacks=no_event_callbacks()
        )

    def stop(self) -> None:
        """At deactivation."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def follow(self, pair: FramePair, registration: Registration) -> None:
        """A matched pair: give the registration the pose between its frames, where that is new."""
        names = (pair.rgb.frame_id, pair.thermal.frame_id)
        if not self._wanted or (names == self._names and not self._changed):
            return
        self._names, self._changed = names, False
        pose = self._tree.between(*names) if all(names) and names[0] != names[1] else None
        self._problem = "" if pose is not None else self._no_way(names)
        if pose is not None:
            registration.set_extrinsics(*pose)
            self.source = "tf"

    def problem(self, registration: Registration | None) -> str:
        """Why the pose is not TF's, with what to do, and what holds meanwhile; nothing where it is, or is not asked of TF."""
        if not self._problem:
            return ""
        if registration is None or not registration.has_pose:
            return f"{self._problem}; nothing is fused until then"
        return f"{self._problem}; meanwhile the pose of {'TF, as told before,' if self.source == 'tf' else 'registration.file'} holds"

    def _no_way(self, names: tuple[str, str]) -> str:
        if not all(names):
            role = "thermal" if names[0] else "rgb"
            return f"{role} frames have no frame_id, so TF cannot tell their pose: set frame_id in the {role} camera's driver"
        rgb, thermal = (sanitize(name) for name in names)
        if names[0] == names[1]:
            return f"both cameras' frames say frame_id {rgb}, so TF cannot tell them apart: give each driver its own frame_id"
        heard = self._tree.names
        seen = (
            f"frames heard of: {', '.join(sanitize(name) for name in heard[:SHOWN])}{' ...' if len(heard) > SHOWN else ''}"
            if heard
            else "no frame was heard of"
        )
        return (
            f"/tf_static does not join {rgb} and {thermal} ({seen}): publish the mount, for example by robot_state_publisher or "
            f"`ros2 run tf2_ros static_transform_publisher ... --frame-id {rgb} --child-frame-id {thermal}`"
        )

    def _on_static(self, message: Any) -> None:
        for stamped in message.transforms:
            way, turn = stamped.transform.translation, stamped.transform.rotation
            self._tree.add(stamped.header.frame_id, stamped.child_frame_id, (way.x, way.y, way.z), (turn.x, turn.y, turn.z, turn.w))
        self._changed = True
