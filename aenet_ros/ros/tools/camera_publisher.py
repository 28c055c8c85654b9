"""What the tools share: a camera's publishers, subscriptions, the clock that paces them, read-only parameters, JSON lines on stdout."""

import json
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image

from aenet_ros.core.frames import Array
from aenet_ros.messages.codec import OUTPUTS, fill_image, set_stamp
from aenet_ros.ros.compat import no_event_callbacks

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SPIN_PERIOD_NS = 500_000_000
ENCODINGS = {"thermal": "mono16", "rgb": "rgb8"}  # of the rig's frames


class CameraPublisher:
    """Publishes ``ROLE/image_raw`` (best effort, as camera drivers do) and ``ROLE/camera_info`` (reliable)."""

    def __init__(self, node: Node, role: str, distortion: float = 0.0, field_of_view: float = 1.0) -> None:
        """``field_of_view``: half the width over the focal length; ``distortion``: k1 of the plumb_bob model."""
        self.published = 0
        self._field_of_view, self._distortion = field_of_view, distortion
        self._image, self._info = Image(), CameraInfo()
        self._pixels: Array | None = None
        self._serialized_info = bytearray()  # rclpy needs five times as long for the message itself
        for message in (self._image, self._info):
            message.header.frame_id = f"{role}_camera"
        self._images = node.create_publisher(Image, f"{role}/image_raw", BEST_EFFORT)
        self._infos = node.create_publisher(CameraInfo, f"{role}/camera_info", 20)

    def buffer(self, shape: tuple[int, ...], encoding: str) -> Array:
        """The pixels of the message itself. What is written there is published without a copy."""
        dtype = OUTPUTS[encoding].dtype
        if self._pixels is None or self._pixels.shape != shape or self._image.encoding != encoding:
            fill_image(self._image, np.zeros(shape, dtype), encoding)
            self._pixels = np.frombuffer(self._image.data, dtype).reshape(shape)
        return self._pixels

    def publish(self, image: Array, encoding: str, stamp_ns: int) -> None:
        """Publish a frame in any of the codec's output encodings. The message's buffer is reused for the next frame."""
        set_stamp(self._image.header, stamp_ns)
        if image is not self._pixels:
            fill_image(self._image, image, encoding)
        self._images.publish(self._image)
        if (self._info.height, self._info.width) != image.shape[:2]:
            self._calibrate(*image.shape[:2])
        struct.pack_into("=iI", self._serialized_info, 4, *divmod(stamp_ns, 1_000_000_000))  # the stamp follows 4 bytes of encapsulation
        self._infos.publish(bytes(self._serialized_info))
        self.published += 1

    def _calibrate(self, height: int, width: int) -> None:
        focal = width / 2 / self._field_of_view
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        self._info.height, self._info.width = height, width
        self._info.distortion_model = "plumb_bob"
        self._info.d = [self._distortion, 0.0, 0.0, 0.0, 0.0]
        self._info.k = [focal, 0.0, centre_x, 0.0, focal, centre_y, 0.0, 0.0, 1.0]
        self._info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        self._info.p = [focal, 0.0, centre_x, 0.0, 0.0, focal, centre_y, 0.0, 0.0, 0.0, 1.0, 0.0]
        self._serialized_info = bytearray(serialize_message(self._info))


def listen(node: Node, message_type: type[Any], topic: str, callback: Callable[[Any], None], qos: QoSProfile | int) -> "Subscription[Any]":
    """Subscribe to serialized messages: an image that is not shown is measured by its header only, or recorded unchanged."""
    return node.create_subscription(message_type, topic, callback, qos, raw=True, event_callbacks=no_event_callbacks())


def declare(node: Node, name: str, default: Any, doc: str) -> Any:
    """Declare a read-only parameter and return its value; dynamic typing takes 30 for 30.0."""
    return node.declare_parameter(name, default, ParameterDescriptor(description=doc, read_only=True, dynamic_typing=True)).value


def print_line(message: dict[str, Any]) -> None:
    """Print one line of JSON, for the program that started this one."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def wait_until(executor: SingleThreadedExecutor, due_ns: int) -> None:
    """Spin the executor until ``due_ns`` of the monotonic clock. Raises ExternalShutdownException."""
    while executor.context.ok():
        left_ns = due_ns - time.monotonic_ns()
        if left_ns <= 0:
            return
        executor.spin_once(timeout_sec=left_ns / 1e9)
    raise ExternalShutdownException


class Pace:
    """Waits for instants of a node that only publishes: it sleeps, and answers services only now and then, because spinning costs 1 ms."""

    def __init__(self, executor: SingleThreadedExecutor) -> None:
        self._executor, self._spun_ns = executor, 0

    def wait_until(self, due_ns: int) -> None:
        """Sleep until ``due_ns`` of the monotonic clock. Raises ExternalShutdownException."""
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            if time.monotonic_ns() - self._spun_ns > SPIN_PERIOD_NS:
                self._executor.spin_once(timeout_sec=0.0)
                self._spun_ns = time.monotonic_ns()
            else:
                time.sleep(min(left_ns, SPIN_PERIOD_NS) / 1e9)
            if not self._executor.context.ok():
                raise ExternalShutdownException
