"""The synthetic rig as a ROS node: the topics of two cameras in real time, stamped by the system clock.

Publishes ``thermal/image_raw`` (mono16), ``rgb/image_raw`` (rgb8), their ``camera_info``, and ``~/status`` (std_msgs/String, json).
Every field of RigConfig is a parameter; the node exits after ``seconds``. Run it with ``ros2 run aenet_ros aenet_rig_node`` or
``python -m aenet_ros.ros.tools.rig_node``; its last line on stdout is the status as JSON.
"""

import json
import time
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import cv2
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String

from aenet_ros.config.options import check, group_specs
from aenet_ros.ros.node_main import running
from aenet_ros.ros.tools.camera_publisher import ENCODINGS, LATCHED, CameraPublisher, Pace, declare, print_line
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

STATUS_PERIOD_NS = 1_000_000_000


class RigNode(Node):
    """Renders each frame in advance, waits for its instant, stamps it and publishes."""

    def __init__(self) -> None:
        super().__init__("rig")
        values: dict[str, Any] = {
            name: check(spec, declare(self, name, spec.default, spec.doc)) for name, spec in group_specs(RigConfig()).items()
        }
        self._seconds = float(declare(self, "seconds", 0.0, "Time after which the node exits; 0: never."))
        config = RigConfig(**values)
        self.rig = Rig(config)
        self.rig.prepare()
        # Half the field of view's tangent: the scene is 640 view units wide and stands 560 of them away.
        opening = 320 / 560
        self._cameras = {
            "thermal": CameraPublisher(self, "thermal", config.lens_k1 / opening**2, opening / config.zoom),
            "rgb": CameraPublisher(self, "rgb", 0.0, opening),
        }
        self._buffers = {
            "thermal": self._cameras["thermal"].buffer(config.thermal_size, ENCODINGS["thermal"]),
            "rgb": self._cameras["rgb"].buffer((*config.rgb_size, 3), ENCODINGS["rgb"]),
        }
        self._status = self.create_publisher(String, "~/status", LATCHED)
        self._scene = ("", 0)
        self._late = self._pairs = 0

    def play(self, executor: SingleThreadedExecutor) -> None:
        """Publish until ``seconds`` are over. Raises KeyboardInterrupt or ExternalShutdownException on a stop signal."""
        start_ns = time.monotonic_ns()
        told_ns, pace = 0, Pace(executor)
        shots = self.rig.schedule(seconds=self._seconds or float("inf"))
        for at_ns, group in groupby(shots, key=lambda shot: shot.at_ns):
            instant = list(group)
            now_ns = time.monotonic_ns()
            if now_ns - start_ns > at_ns + 1e9 / self.rig.config.rgb_hz:
                self._late += len(instant)  # like a camera, which does not queue frames that its host is too busy to read
                continue
            for shot in instant:
                self.rig.render(shot, self._buffers[shot.stream])
            pace.wait_until(start_ns + at_ns)
            # Frames of one instant share its time: their stamps differ only by the rig's clock offset and jitter.
            captured_ns = time.time_ns()
            for shot in instant:
                error_ns = shot.offset_ns + shot.jitter_ns
                self._cameras[shot.stream].publish(self._buffers[shot.stream], ENCODINGS[shot.stream], captured_ns + error_ns)
            self._pairs += len(instant) == 2
            if instant[-1].scene != self._scene[0]:
                self._scene, told_ns = (instant[-1].scene, captured_ns), 0
            if now_ns - told_ns > STATUS_PERIOD_NS:
                told_ns = now_ns
                self._status.publish(String(data=json.dumps(self.status())))

    def status(self) -> dict[str, Any]:
        """The scene and the stamp of its first frame, the counts so far, and the constant ground truth."""
        return {
            "scene": self._scene[0],
            "scene_since_ns": self._scene[1],
            "published": {role: camera.published for role, camera in self._cameras.items()},
            "same_instant": self._pairs,
            "dropped": dict(self.rig.dropped),
            "too_late_to_render": self._late,
            "offset_ms": self.rig.config.offset_ms,
            "homography": [round(float(value), 9) for value in self.rig.homography.ravel()],
        }


def main(args: Sequence[str] | None = None) -> None:
    """Run the rig until stopped; exit status 1 with a message for an invalid parameter."""
    cv2.setNumThreads(1)  # threads do not pay for small pictures, and the fusing node needs the cores
    with running("aenet_rig_node", RigNode, args) as (node, executor):
        node.play(executor)
    print_line(node.status())


if __name__ == "__main__":
    main()
