"""Receives what the fusing node publishes: measures it, records it, and keeps pictures for a contact sheet.

stdout has a line of JSON twice a second (``type`` status) and one at the end (``type`` report), for ``aenet demo``.
Run by hand: ``python -m aenet_ros.ros.tools.sink_node --ros-args -p seconds:=10.0 -p out:=folder``.
"""

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from aenet_ros.config import AgcConfig, Config
from aenet_ros.core.errors import AenetError, ImageError
from aenet_ros.core.frames import Array
from aenet_ros.messages.codec import decode_rgb, decode_thermal, serialized_stamp_ns
from aenet_ros.ros.node_main import running, until_stopped
from aenet_ros.ros.tools.camera_publisher import BEST_EFFORT, LATCHED, RELIABLE, declare, listen, print_line
from aenet_ros.thermal.agc import ThermalAgc
from aenet_ros.view.snapshot import StampGrouper
from aenet_ros.workbench.contact_sheet import Cell, write_contact_sheet
from aenet_ros.workbench.pair_account import Arrivals, account

if TYPE_CHECKING:
    from aenet_ros.io.bag_writer import BagRecorder

IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
TICK_S = 0.05
STATUS_NS = 500_000_000
WAIT_NS = 60_000_000_000  # for the first fused frame
SETTLE_NS = 1_000_000_000  # from the first fused frame to the start of the measurement
DRAIN_NS = 400_000_000  # after the window: the last pairs are still in flight
INSTANTS = 6  # on the contact sheet


class SinkNode(Node):
    """Waits for the first fused frame and the settling time, then measures for ``seconds``. ``done`` after that, or if no frame came."""

    def __init__(self) -> None:
        super().__init__("sink")
        self._seconds = float(declare(self, "seconds", 10.0, "Duration of the measurement."))
        self._out = Path(str(declare(self, "out", ".", "Folder for contact_sheet.png and demo.mcap.")))
        record = str(declare(self, "record", "compressed", "Content of demo.mcap: compressed, raw, inputs, or nothing."))
        slop_ms = float(declare(self, "slop_ms", Config().sync.slop_ms, "The fusing node's sync.slop_ms."))
        offset_ms = float(declare(self, "clock_offset_ms", 0.0, "Thermal minus rgb stamp of one instant."))
        self._slop_ns, self._offset_ns = round(slop_ms * 1e6), round(offset_ms * 1e6)
        self.done = False
        self.fused = Arrivals()
        self._stamps: dict[str, list[int]] = {"thermal": [], "rgb": []}
        self._statuses: dict[str, dict[str, Any]] = {}
        self._info: dict[str, Any] = {}
        self._scenes: dict[int, str] = {}  # by the stamp of its first frame
        self._started_ns, self._printed_ns = time.time_ns(), 0
        self._begin_ns = 0  # start of the measurement; 0 until a fused frame came
        self._cells: list[Cell] = []  # of the contact sheet, three for each instant
        self._sampled = 0
        self._cameras: list[Subscription[Any]] = []  # while an instant is sampled
        self._grouper: StampGrouper[tuple[int, bytes]] = StampGrouper()
        self._sampling = False
        self._bag: BagRecorder | None = None
        if record != "nothing":
            from aenet_ros.io import bag_writer  # needs rosbags

            self._bag = bag_writer.BagRecorder(self._out / "demo.mcap")
        listen(self, Image, "fused/image", partial(self._on_fused, record == "raw"), RELIABLE)
        if record in ("compressed", "inputs"):
            record_jpeg = partial(self._record, "fused/image/compressed", "sensor_msgs/msg/CompressedImage")
            listen(self, CompressedImage, "fused/image/compressed", record_jpeg, 30)
        listen(self, CameraInfo, "fused/camera_info", partial(self._record, "fused/camera_info", CAMERA_INFO), 30)
        listen(self, DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._records_inputs = record == "inputs"
        for role in self._stamps:
            listen(self, CameraInfo, f"{role}/camera_info", partial(self._on_camera_info, role), 50)
            if self._records_inputs:
                listen(self, Image, f"{role}/image_raw", partial(self._record_input, f"{role}/image_raw", IMAGE), BEST_EFFORT)
        listen(self, String, "fusion/info", self._on_info, LATCHED)
        listen(self, String, "rig/status", self._on_rig, LATCHED)
        self.create_timer(TICK_S, self._tick)

    def _on_fused(self, record: bool, data: bytes) -> None:
        now_ns = time.time_ns()
        self.fused.add(serialized_stamp_ns(data), now_ns)
        if not self._begin_ns:
            self._begin_ns = now_ns + SETTLE_NS
        if record:
            self._record("fused/image", IMAGE, data)
        self._on_sample("fused", data)

    def _on_camera_info(self, role: str, data: bytes) -> None:
        self._stamps[role].append(serialized_stamp_ns(data))
        if self._records_inputs:
            self._record_input(f"{role}/camera_info", CAMERA_INFO, data)

    def _on_diagnostics(self, data: bytes) -> None:
        self._record("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", data)
        for status in deserialize_message(data, DiagnosticArray).status:
            values = {item.key: item.value for item in status.values}
            level = int.from_bytes(status.level, "little")
            self._statuses[status.name.rpartition(": ")[2]] = {"level": level, "message": status.message, "values": values}

    def _on_info(self, data: bytes) -> None:
        self._info = json.loads(deserialize_message(data, String).data)

    def _on_rig(self, data: bytes) -> None:
        status = json.loads(deserialize_message(data, String).data)
        self._scenes[status["scene_since_ns"]] = status["scene"]

    def _record_input(self, topic: str, message_type: str, data: bytes) -> None:
        if self._begin_ns:  # the cameras may send for long before the node is ready
            self._record(topic, message_type, data)

    def _record(self, topic: str, message_type: str, data: bytes) -> None:
        if self._bag is not None:
            self._bag.write(self.resolve_topic_name(topic), message_type, bytes(data), time.time_ns())

    def _tick(self) -> None:
        now_ns = time.time_ns()
        if now_ns - self._printed_ns > STATUS_NS:
            self._printed_ns = now_ns
            self._print_status(now_ns)
        if not self._begin_ns:
            self.done = now_ns - self._started_ns > WAIT_NS
            return
        elapsed_s = (now_ns - self._begin_ns) / 1e9
        self.done = elapsed_s > self._seconds + DRAIN_NS / 1e9
        if not self._sampling:
            self._leave_cameras()
            if self._sampled < INSTANTS and elapsed_s > self._seconds * (self._sampled + 0.5) / INSTANTS:
                self._sample()

    def _sample(self) -> None:
        """Subscribe to the cameras until a fused frame is complete with its rgb and thermal frames."""
        self._sampled += 1
        self._sampling = True
        self._grouper.reset()
        self._cameras = [listen(self, Image, f"{role}/image_raw", partial(self._on_sample, role), BEST_EFFORT) for role in self._stamps]

    def _leave_cameras(self) -> None:
        """Not to be called by a callback of these subscriptions."""
        for subscription in self._cameras:
            self.destroy_subscription(subscription)
        self._cameras = []

    def _on_sample(self, role: str, data: bytes) -> None:
        if not self._sampling:
            return
        stamp_ns = serialized_stamp_ns(data) - (self._offset_ns if role == "thermal" else 0)
        group = self._grouper.add(role, stamp_ns, (stamp_ns, data), time.monotonic_ns())
        if role != "fused" or len(group) < 3 or group["rgb"][0] != stamp_ns or abs(group["thermal"][0] - stamp_ns) > self._slop_ns:
            return
        self._sampling = False
        scene = self._scene_at(stamp_ns)
        when = f"{scene}, " * bool(scene) + f"{(stamp_ns - self._begin_ns) / 1e9:.1f} s"
        rgb, thermal, fused = (deserialize_message(group[name][1], Image) for name in ("rgb", "thermal", "fused"))
        try:
            grey = (ThermalAgc().apply(decode_thermal(thermal), AgcConfig()) * np.float32(255)).astype(np.uint8)
            self._cells += [(f"rgb: {when}", _as_rgb(rgb)), ("thermal", grey), ("fused", _as_rgb(fused))]
        except ImageError as error:
            self.get_logger().warning(f"no picture for the contact sheet: {error}")

    def _scene_at(self, stamp_ns: int) -> str:
        begun = [since for since in self._scenes if since <= stamp_ns]
        return self._scenes[max(begun)] if begun else ""

    def _print_status(self, now_ns: int) -> None:
        recent = self.fused.summary(now_ns - 2_000_000_000, now_ns)
        since_s = (now_ns - self.fused.times_ns[0]) / 1e9 if self.fused.times_ns else 2.0
        print_line(
            {
                "type": "status",
                "elapsed_s": round(max(now_ns - self._begin_ns, 0) / 1e9, 1) if self._begin_ns else 0.0,
                "frames": len(self.fused.times_ns),
                "rate_hz": round(recent["frames"] / min(2.0, max(since_s, 0.1)), 1),
                "latency_ms": recent["latency_ms"],
                "scene": self._scene_at(now_ns),
                "level": self._statuses.get("fusion", {}).get("level", 0),
                "message": self._statuses.get("fusion", {}).get("message", ""),
            }
        )

    def finish(self, complete: bool) -> None:
        """Close the bag, write the sheet and print the report. ``complete`` is False after Ctrl-C: then no file is written."""
        start_ns = self._begin_ns or time.time_ns()
        end_ns = start_ns + round(self._seconds * 1e9)
        report: dict[str, Any] = {"type": "report", "fused": self.fused.summary(start_ns, end_ns)}
        stamps = (self._stamps["thermal"], self._stamps["rgb"], self.fused.stamps_ns)
        report["pairs"] = account(*stamps, self._slop_ns, self._offset_ns, start_ns, end_ns)
        report |= {"diagnostics": self._statuses, "info": self._info, "files": []}
        if complete and report["fused"]["frames"]:
            self._write_files(report)
        print_line(report)

    def abandon(self) -> None:
        """Delete an unfinished bag."""
        if self._bag is not None:
            self._bag.abort()

    def _write_files(self, report: dict[str, Any]) -> None:
        if self._bag is not None:
            bag, self._bag = self._bag, None
            bag.close()
            report["bag"] = {"messages": bag.written, "lost": bag.lost}
            report["files"] += ["demo.mcap", "metadata.yaml"]
        if self._cells:
            latency = report["fused"]["latency_ms"].get("p50", 0.0)
            title = f"aenet_ros: {report['fused']['rate_hz']:.1f} fused frames a second, latency {latency:.1f} ms"
            width = 3 if len(self._cells) < 12 else 6  # two instants a row from four on, so that the sheet fits a screen
            rows = [self._cells[index : index + width] for index in range(0, len(self._cells), width)]
            write_contact_sheet(self._out / "contact_sheet.png", rows, title=title)
            report["files"].append("contact_sheet.png")


def _as_rgb(message: Image) -> Array:
    frame = decode_rgb(message)
    return np.ascontiguousarray(frame.data[:, :, ::-1]) if frame.encoding == "bgr8" else frame.data


def main(args: Sequence[str] | None = None) -> None:
    """Measure until done; exit status 0 if at least one fused frame came, else 1."""
    status, complete = 1, False
    with running("sink_node", SinkNode, args) as (node, executor):
        with until_stopped():
            while not node.done:
                executor.spin_once(timeout_sec=0.5)
            complete = True
        try:
            node.finish(complete)
            status = 0 if complete and node.fused.times_ns else 1
        except AenetError as error:
            print_line({"type": "error", "message": str(error)})
        finally:
            node.abandon()
    sys.exit(status)


if __name__ == "__main__":
    main()
