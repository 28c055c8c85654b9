"""Samples of the rgb, thermal and fused pictures of one instant, for the demo's contact sheet."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

from aenet_ros.config import AgcConfig
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array
from aenet_ros.messages.codec import decode_rgb, decode_thermal, serialized_stamp_ns
from aenet_ros.ros.compat import no_event_callbacks
from aenet_ros.thermal.agc import ThermalAgc

KEEP = 12


class Snapshot(NamedTuple):
    """Three pictures, each uint8, rgb8 [H, W, 3] or grey [H, W], of the scene ``scene`` at ``stamp_ns``."""

    scene: str
    stamp_ns: int
    rgb: Array
    thermal: Array
    fused: Array


class Sampler:
    """Subscribes to both cameras from ``start`` until a fused frame is complete with its rgb and thermal frames.

    ``scene``: from a stamp to the name of its scene.
    """

    def __init__(self, node: Node, slop_ns: int, offset_ns: int, scene: Callable[[int], str]) -> None:
        self.snapshots: list[Snapshot] = []
        self._node, self._slop_ns, self._offset_ns = node, slop_ns, offset_ns
        self._scene, self._complete = scene, False
        self._kept: dict[str, OrderedDict[int, bytes]] = {}
        self._subscriptions: list[Subscription[Any]] = []

    @property
    def running(self) -> bool:
        """True from ``start`` until a sample is complete."""
        return bool(self._subscriptions) and not self._complete

    def start(self) -> None:
        """Sample the next instant that all three streams have."""
        self.stop()
        self._complete = False
        self._kept = {"thermal": OrderedDict(), "rgb": OrderedDict(), "fused": OrderedDict()}
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        for role in ("thermal", "rgb"):

            def on_image(data: Any, role: str = role) -> None:
                self.add(role, data)

            topic = f"{role}/image_raw"
            self._subscriptions.append(
                self._node.create_subscription(Image, topic, on_image, qos, raw=True, event_callbacks=no_event_callbacks())
            )

    def add(self, role: str, data: bytes) -> None:
        """A serialized Image of a camera or, role ``fused``, of the node."""
        if not self.running:
            return
        kept = self._kept[role]
        kept[serialized_stamp_ns(data)] = data
        if len(kept) > KEEP:
            kept.popitem(last=False)
        self._match()

    def stop(self) -> None:
        """Remove the subscriptions. Not to be called by one of their callbacks."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _match(self) -> None:
        thermals = self._kept["thermal"]
        for stamp in self._kept["fused"].keys() & self._kept["rgb"].keys():
            nearest = min(thermals, key=lambda other: abs(other - self._offset_ns - stamp), default=None)
            if nearest is None or abs(nearest - self._offset_ns - stamp) > self._slop_ns:
                continue
            try:
                self.snapshots.append(self._picture(stamp, nearest))
            except ImageError as error:
                self._node.get_logger().warning(f"no picture for the contact sheet: {error}")
            self._complete = True
            return

    def _picture(self, stamp: int, thermal_stamp: int) -> Snapshot:
        rgb, fused = (_as_rgb(deserialize_message(self._kept[role][stamp], Image)) for role in ("rgb", "fused"))
        thermal = decode_thermal(deserialize_message(self._kept["thermal"][thermal_stamp], Image))
        grey = (ThermalAgc().apply(thermal, AgcConfig()) * np.float32(255)).astype(np.uint8)
        return Snapshot(self._scene(stamp), stamp, rgb, grey, fused)


def best_snapshots(snapshots: Sequence[Snapshot], count: int) -> list[Snapshot]:
    """About ``count`` samples: equally many of each scene, in order of appearance, those with the most thermal contrast."""
    scenes = list(dict.fromkeys(snapshot.scene for snapshot in snapshots))
    chosen: list[Snapshot] = []
    for scene in scenes:
        of_scene = [snapshot for snapshot in snapshots if snapshot.scene == scene]
        runs = np.array_split(np.arange(len(of_scene)), min(len(of_scene), max(1, round(count / len(scenes)))))
        chosen += [max((of_scene[index] for index in run), key=lambda snapshot: float(snapshot.thermal.std())) for run in runs]
    return chosen


def _as_rgb(message: Image) -> Array:
    frame = decode_rgb(message)
    return np.ascontiguousarray(frame.data[:, :, ::-1]) if frame.encoding == "bgr8" else frame.data
