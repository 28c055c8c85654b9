"""Measures nodes from outside: sends pairs to one node at a time and measures the time until its pictures come back.

The pairs are the rig's, rendered beforehand. They are sent to ``NAME/thermal/image_raw`` and ``NAME/rgb/image_raw`` of each target in turn.
A paced block sends at a fixed rate, to measure latency. A closed-loop block sends the next pair when a picture has come back, to measure
the highest rate. Only one target works at a time, so that the targets do not share cores.
stdout has lines of JSON for ``aenet bench``: ``ready``, ``active`` (a target has subscribed), ``begin`` and ``end`` of a block, ``report``.
"""

import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from aenet_ros.messages.codec import decode_rgb, decode_thermal, fill_image, serialized_stamp_ns, set_stamp
from aenet_ros.ros.node_main import running
from aenet_ros.ros.tools.camera_publisher import BEST_EFFORT, ENCODINGS, RELIABLE, declare, listen, print_line, wait_until
from aenet_ros.workbench.pair_account import Arrivals, percentiles_ms
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig
from aenet_ros.workbench.speed import spread_ms, time_runs

OUTPUTS = {"fused": "fused/image", "passthrough": "passthrough/image"}
"""Targets (the namespaces that the nodes run in) and the topic that each publishes."""

WINDOWS = (1, 2)  # pairs in flight in a closed loop; with more the fusing node replaces all but the newest
RATE_HZ = 30.0  # of paced blocks
PAIRS = 12  # more than the caches hold
LOST_NS = 500_000_000
WARM_UP_FRAMES = 15
WARM_UP_S = 0.5


class ProbeNode(Node):
    """Source and receiver in one node, so that one clock gives all times."""

    def __init__(self) -> None:
        super().__init__("probe")
        self.seconds = float(declare(self, "seconds", 3.0, "Duration of a block."))
        self.rounds = int(declare(self, "rounds", 3, "Rounds; each has all blocks of every target."))
        width = int(declare(self, "width", 640, "Width of the rgb frames."))
        height = int(declare(self, "height", 512, "Height of the rgb frames."))
        self._pairs = cycle(rendered(RigConfig(rgb_width=width, rgb_height=height, scenes="night")))
        self._senders: dict[str, Any] = {}
        self._arrived: dict[str, Arrivals] = {}
        self._values: dict[str, str] = {}
        for name, output in OUTPUTS.items():
            self._senders[name] = [self.create_publisher(Image, f"{name}/{role}/image_raw", BEST_EFFORT) for role in ENCODINGS]
            self._arrived[name] = Arrivals()
            listen(self, Image, f"{name}/{output}", partial(self._on_image, name), RELIABLE)
        listen(self, DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_image(self, name: str, data: bytes) -> None:
        self._arrived[name].add(serialized_stamp_ns(data), time.time_ns())

    def _on_diagnostics(self, data: bytes) -> None:
        for status in deserialize_message(data, DiagnosticArray).status:
            if status.name.endswith(": fusion"):
                self._values = {item.key: item.value for item in status.values}

    def play(self, executor: SingleThreadedExecutor) -> None:
        """Wait for all targets, measure each in turn, print the report."""
        print_line({"type": "ready"})
        waiting = list(OUTPUTS)
        while waiting:
            for name in [name for name in waiting if all(sender.get_subscription_count() for sender in self._senders[name])]:
                print_line({"type": "active", "target": name, "at": time.time()})
                waiting.remove(name)
            executor.spin_once(timeout_sec=0.01)
        blocks: list[dict[str, Any]] = []
        for _ in range(self.rounds):
            for name in OUTPUTS:
                blocks += [self._block(executor, name, window) for window in (0, *WINDOWS)]
        print_line({"type": "report", "blocks": blocks})

    def _block(self, executor: SingleThreadedExecutor, name: str, window: int) -> dict[str, Any]:
        block: dict[str, Any] = {"target": name, "kind": "closed loop" if window else "paced", "window": window}
        self._arrived[name] = arrived = Arrivals()
        while len(arrived.times_ns) < WARM_UP_FRAMES:  # after a pause the node waits for stable streams
            self._run(executor, name, WARM_UP_S, 0)
        self._arrived[name] = arrived = Arrivals()
        print_line({"type": "begin", **block})
        begun_ns = time.time_ns()
        sent = self._run(executor, name, self.seconds, window)
        seconds = (time.time_ns() - begun_ns) / 1e9
        print_line({"type": "end", **block})
        times_ns = np.array(arrived.times_ns, np.int64)
        span_ns = int(np.ptp(times_ns)) if len(times_ns) else 0
        block |= {"sent": sent, "came": len(times_ns), "seconds": round(seconds, 3)}
        block["rate_hz"] = round((len(times_ns) - 1) * 1e9 / span_ns, 2) if span_ns else 0.0
        block["cycle_ms"] = percentiles_ms(np.diff(times_ns))
        block["latency_ms"] = percentiles_ms(times_ns - arrived.stamps_ns)
        if name == "fused":
            self._values = {}
            while not self._values:  # its stage times are medians of the last 90 pairs
                executor.spin_once(timeout_sec=0.1)
            medians = {key: value for key, value in self._values.items() if key.startswith("stage ") and key.endswith("p50 [ms]")}
            block["stages_ms"] = {key.split()[1]: float(value) for key, value in medians.items()}
        return block

    def _run(self, executor: SingleThreadedExecutor, name: str, seconds: float, window: int) -> int:
        """Send pairs for ``seconds``, paced where ``window`` is 0, else ``window`` of them in flight; returns the count."""
        arrived, sent = self._arrived[name], 0
        in_flight: deque[int] = deque()  # stamps
        start_ns = last_ns = time.monotonic_ns()
        while time.monotonic_ns() < start_ns + seconds * 1e9:
            if not window:
                wait_until(executor, start_ns + round(sent * 1e9 / RATE_HZ))
            while 0 < window <= len(in_flight):
                executor.spin_once(timeout_sec=0.1)
                # Frames arrive in order: one older than the latest was dropped.
                while in_flight and arrived.stamps_ns and in_flight[0] <= arrived.stamps_ns[-1]:
                    in_flight.popleft()
                if time.monotonic_ns() - last_ns > LOST_NS:
                    in_flight.clear()
            in_flight.append(self._send(name))
            sent, last_ns = sent + 1, time.monotonic_ns()
        wait_until(executor, time.monotonic_ns() + LOST_NS // 4)  # the last pairs are still in flight
        return sent

    def _send(self, name: str) -> int:
        pair, stamp_ns = next(self._pairs), time.time_ns()
        for message, sender in zip(pair, self._senders[name], strict=True):
            set_stamp(message.header, stamp_ns)
            sender.publish(message)
        return stamp_ns


def rendered(config: RigConfig, count: int = PAIRS) -> list[tuple[Image, ...]]:
    """Thermal and rgb messages of the rig's first pairs."""
    messages = []
    for event in islice(Rig(config).events(), 2 * count):  # thermal and rgb frames in turn
        message = Image()
        message.header.frame_id = f"{event.stream}_camera"
        fill_image(message, event.frame.data, ENCODINGS[event.stream])
        messages.append(message)
    return list(zip(messages[::2], messages[1::2], strict=True))


def message_times(size: tuple[int, int], runs: int) -> dict[str, dict[str, float]]:
    """Medians and quartiles in ms of a node's work on messages, for thermal frames of 640x512 and rgb frames of ``size`` (height, width).

    ``receive``: bytes to messages; ``decode``: messages to frames; ``encode``: picture to message; ``publish``: message to bytes. The
    transport between processes is not included.
    """
    (thermal, rgb), *_ = rendered(RigConfig(rgb_height=size[0], rgb_width=size[1]), 1)
    raw, picture, out = [serialize_message(message) for message in (thermal, rgb)], decode_rgb(rgb).data, Image()
    work = {
        "receive": lambda: [deserialize_message(data, Image) for data in raw],
        "decode": lambda: (decode_thermal(thermal), decode_rgb(rgb)),
        "encode": lambda: fill_image(out, picture, "rgb8"),
        "publish": lambda: serialize_message(out),
    }
    return {name: spread_ms(time_runs(run, runs)) for name, run in work.items()}


def main(args: Sequence[str] | None = None) -> None:
    """Measure once and end."""
    cv2.setNumThreads(1)
    with running("probe_node", ProbeNode, args) as (node, executor):
        node.play(executor)


if __name__ == "__main__":
    main()
