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

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from aenet_ros.config import Config
from aenet_ros.core.errors import AenetError
from aenet_ros.messages.codec import serialized_stamp_ns
from aenet_ros.ros.compat import no_event_callbacks
from aenet_ros.ros.node_main import running, until_stopped
from aenet_ros.ros.tools.camera_publisher import declare, print_line
from aenet_ros.ros.tools.snapshot_sampler import Sampler, best_snapshots
from aenet_ros.workbench.contact_sheet import Cell, write_contact_sheet
from aenet_ros.workbench.pair_account import Arrivals, account

if TYPE_CHECKING:
    from aenet_ros.io.bag_sink import BagRecorder

TICK_S = 0.05
STATUS_NS = 500_000_000
DRAIN_NS = 400_000_000  # after the window: the last pairs are still in flight
RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO, DIAGNOSTICS = "sensor_msgs/msg/CameraInfo", "diagnostic_msgs/msg/DiagnosticArray"


class SinkNode(Node):
    """Waits for the first fused frame and the settling time, then measures for ``seconds``. ``done`` after that, or if no frame came."""

    def __init__(self) -> None:
        super().__init__("sink")
        sync = Config().sync
        self._seconds = float(declare(self, "seconds", 10.0, "Duration of the measurement."))
        self._settle_s = float(declare(self, "settle_s", 1.0, "Time from the first fused frame to the start of measuring."))
        self._wait_s = float(declare(self, "wait_s", 60.0, "Maximum wait for the first fused frame."))
        self._out = Path(str(declare(self, "out", "", "Folder for contact_sheet.png and demo.mcap; empty: write neither.")))
        self._sheet = bool(declare(self, "moments", 6, "Instants on the contact sheet; 0: no sheet.")) and self._out != Path()
        self._snapshots = int(self.get_parameter("moments").value or 0)
        self._floor = bool(declare(self, "floor", False, "Also measure passthrough/image."))
        record = str(declare(self, "record", "compressed", "Content of demo.mcap: compressed, raw, or nothing."))
        self._slop_ns = round(float(declare(self, "slop_ms", sync.slop_ms, "The fusing node's sync.slop_ms.")) * 1e6)
        self._offset_ns = round(float(declare(self, "clock_offset_ms", 0.0, "Thermal minus rgb stamp of one instant.")) * 1e6)
        self.fused, self.passed = Arrivals(), Arrivals()
        self._stamps: dict[str, list[int]] = {"thermal": [], "rgb": []}
        self._statuses: dict[str, dict[str, Any]] = {}
        self._info: dict[str, Any] = {}
        self._scenes: dict[int, str] = {}  # by the stamp of its first frame
        self._started_ns, self._printed_ns = time.time_ns(), 0
        self._begin_ns = 0  # start of the measurement; 0 until a fused frame came
        self._bag: BagRecorder | None = None
        if record != "nothing" and self._out != Path():
            from aenet_ros.io import bag_sink  # needs rosbags

            self._bag = bag_sink.BagRecorder(self._out / "demo.mcap")
        self._sampler = Sampler(self, self._slop_ns, self._offset_ns, self._scene_at)
        self._sampled = 0
        self.done = False
        self._subscribe(record)
        self.create_timer(TICK_S, self._tick)

    def _subscribe(self, record: str) -> None:
        self._listen(Image, "fused/image", partial(self._on_fused, IMAGE if record == "raw" else ""), 5)
        if record == "compressed" and self._bag is not None:
            self._listen(CompressedImage, "fused/image/compressed", partial(self._record, "fused/image/compressed", COMPRESSED), 30)
        self._listen(CameraInfo, "fused/camera_info", partial(self._record, "fused/camera_info", CAMERA_INFO), 30)
        self._listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        for role in self._stamps:
            self._listen(CameraInfo, f"{role}/camera_info", partial(self._on_camera_info, role), 50)
        if self._floor:
            self._listen(Image, "passthrough/image", self._on_passed, 5)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, "fusion/info", self._on_info, latched, event_callbacks=no_event_callbacks())
        self.create_subscription(String, "rig/status", self._on_rig, latched, event_callbacks=no_event_callbacks())

    def _listen(self, message_type: type[Any], topic: str, callback: Any, depth: int) -> None:
        """Subscribe to serialized messages: images are measured by their header only, and recorded unchanged."""
        qos = QoSProfile(depth=depth, reliability=RELIABLE)
        self.create_subscription(message_type, topic, callback, qos, raw=True, event_callbacks=no_event_callbacks())

    def _on_fused(self, record_as: str, data: bytes) -> None:
        now_ns = time.time_ns()
        self.fused.add(serialized_stamp_ns(data), now_ns)
        if not self._begin_ns:
            self._begin_ns = now_ns + round(self._settle_s * 1e9)
        if record_as:
            self._record("fused/image", record_as, data)
        self._sampler.add("fused", data)

    def _on_passed(self, data: bytes) -> None:
        self.passed.add(serialized_stamp_ns(data), time.time_ns())

    def _on_camera_info(self, role: str, data: bytes) -> None:
        self._stamps[role].append(serialized_stamp_ns(data))

    def _on_diagnostics(self, data: bytes) -> None:
        self._record("/diagnostics", DIAGNOSTICS, data)
        for status in deserialize_message(data, DiagnosticArray).status:
            values = {item.key: item.value for item in status.values}
            level = int.from_bytes(status.level, "little")
            self._statuses[status.name.rpartition(": ")[2]] = {"level": level, "message": status.message, "values": values}

    def _on_info(self, message: String) -> None:
        self._info = json.loads(message.data)

    def _on_rig(self, message: String) -> None:
        status = json.loads(message.data)
        self._scenes[status["scene_since_ns"]] = status["scene"]

    def _record(self, topic: str, message_type: str, data: bytes) -> None:
        if self._bag is not None:
            self._bag.write(self.resolve_topic_name(topic), message_type, bytes(data), time.time_ns())

    def _tick(self) -> None:
        now_ns = time.time_ns()
        elapsed_ns = now_ns - self._begin_ns if self._begin_ns else 0
        if now_ns - self._printed_ns > STATUS_NS:
            self._printed_ns = now_ns
            self._print_status(now_ns)
        if not self._sampler.running:
            self._sampler.stop()
            self._sample(elapsed_ns / 1e9)
        if not self._begin_ns:
            self.done = now_ns - self._started_ns > self._wait_s * 1e9
        else:
            self.done = elapsed_ns > self._seconds * 1e9 + DRAIN_NS

    def _sample(self, elapsed_s: float) -> None:
        """Take twice as many samples as the sheet shows, evenly over the duration."""
        if (
            self._sheet
            and self._sampled < 2 * self._snapshots
            and elapsed_s > self._seconds * (self._sampled + 0.5) / (2 * self._snapshots)
        ):
            self._sampled += 1
            self._sampler.start()

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
        self._sampler.stop()
        start_ns = self._begin_ns or time.time_ns()
        end_ns = start_ns + round(self._seconds * 1e9)
        report: dict[str, Any] = {"type": "report", "fused": self.fused.summary(start_ns, end_ns)}
        if self._floor:
            report["passthrough"] = self.passed.summary(start_ns, end_ns)
        stamps = (self._stamps["thermal"], self._stamps["rgb"], self.fused.stamps_ns)
        report["pairs"] = account(*stamps, self._slop_ns, self._offset_ns, start_ns, end_ns)
        report["diagnostics"], report["info"] = self._statuses, self._info
        report["files"] = self._write_files(complete and report["fused"]["frames"] > 0, report)
        print_line(report)

    def abandon(self) -> None:
        """Delete an unfinished bag."""
        if self._bag is not None:
            self._bag.abort()
            self._bag = None

    def _write_files(self, keep: bool, report: dict[str, Any]) -> list[str]:
        files = []
        if self._bag is not None and not keep:
            self.abandon()
        elif self._bag is not None:
            bag, self._bag = self._bag, None
            bag.close()
            report["bag"] = {"messages": bag.written, "lost": bag.lost}
            files += ["demo.mcap", "metadata.yaml"]
        if keep and self._sampler.snapshots:
            cells: list[list[Cell]] = []
            for snapshot in best_snapshots(self._sampler.snapshots, self._snapshots):
                when = f"{snapshot.scene}, " * bool(snapshot.scene) + f"{(snapshot.stamp_ns - self._begin_ns) / 1e9:.1f} s"
                cells.append([(f"rgb: {when}", snapshot.rgb), ("thermal", snapshot.thermal), ("fused", snapshot.fused)])
            latency = report["fused"]["latency_ms"].get("p50", 0.0)
            title = f"aenet_ros: {report['fused']['rate_hz']:.1f} fused frames a second, latency {latency:.1f} ms"
            write_contact_sheet(self._out / "contact_sheet.png", _rows(cells), title=title)
            files.append("contact_sheet.png")
        return files


def _rows(snapshots: list[list[Cell]]) -> list[list[Cell]]:
    """Two instants a row from four on, so that the sheet fits a screen."""
    if len(snapshots) < 4:
        return snapshots
    return [[cell for snapshot in snapshots[index : index + 2] for cell in snapshot] for index in range(0, len(snapshots), 2)]


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
