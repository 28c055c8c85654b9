"""Publishes pairs of pictures (DIR/thermal and DIR/rgb) or videos on two cameras' topics, in a loop.

Parameters: ``dir``, or ``thermal`` and ``rgb`` (folders, files or videos); ``rate`` in Hz; ``loop``; ``own_stamps``. The first
round is decoded one pair ahead and kept in memory if it fits; the later ones then need no decoding.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from aenet_ros.core.errors import AenetError, SourceError
from aenet_ros.core.frames import FramePair
from aenet_ros.io.source import prefetch_items
from aenet_ros.io.sources import open_source
from aenet_ros.ros.node_main import running
from aenet_ros.ros.tools.camera_publisher import CameraPublisher, Pace, declare, print_line

KEEP_BYTES = 512 * 1024 * 1024


class ReplayNode(Node):
    """Publishes pairs at ``rate``, both frames of a pair under one stamp (the clock's, unless ``own_stamps``)."""

    def __init__(self) -> None:
        super().__init__("replay")
        rate_hz = float(declare(self, "rate", 25.0, "Pairs a second."))
        if not 0.1 <= rate_hz <= 1000:
            raise SourceError(f"rate: {rate_hz:g} is out of range; give 0.1 to 1000 Hz")
        folder = declare(self, "dir", "", "Folder that holds thermal/ and rgb/ with pictures of the same names.")
        thermal = declare(self, "thermal", f"{folder}/thermal" if folder else "", "Folder or video of thermal pictures, in place of dir.")
        rgb = declare(self, "rgb", f"{folder}/rgb" if folder else "", "Folder or video of rgb pictures, in place of dir.")
        self._loop = declare(self, "loop", True, "False: play once, then exit.")
        self._own_stamps = bool(
            declare(self, "own_stamps", False, "True: use the pairs' own stamps, which jump back at each round as in a looped bag.")
        )
        if not thermal:
            raise SourceError("no input: give -p dir:=FOLDER with thermal/ and rgb/ in it")
        self._source = open_source(Path(thermal), Path(rgb) if rgb else None, sequence_hz=rate_hz)
        self._period_ns = round(1e9 / rate_hz)
        self.thermal, self.rgb = CameraPublisher(self, "thermal"), CameraPublisher(self, "rgb")

    def play(self, executor: SingleThreadedExecutor) -> None:
        """Publish until the pairs end. Raises AenetError, and KeyboardInterrupt or ExternalShutdownException on a stop signal."""
        due_ns, pace = time.monotonic_ns(), Pace(executor)
        for pair in prefetch_items(self._pairs()):
            pace.wait_until(due_ns)
            now_ns = time.time_ns()
            for camera, frame in ((self.thermal, pair.thermal), (self.rgb, pair.rgb)):
                camera.publish(frame.data, frame.encoding, frame.stamp_ns if self._own_stamps else now_ns)
            # After a delay the schedule restarts here: no pair is played faster to catch up.
            due_ns = max(due_ns + self._period_ns, time.monotonic_ns() - self._period_ns // 2)

    def _pairs(self) -> Iterator[FramePair]:
        kept: list[FramePair] | None = []
        size = 0
        while True:
            good, problem = 0, "there is no pair to play"
            for item in self._source:
                if item.pair is None:
                    problem = item.error
                    continue
                good += 1
                size += item.pair.thermal.data.nbytes + item.pair.rgb.data.nbytes
                if kept is not None and size <= KEEP_BYTES:
                    kept.append(item.pair)
                else:
                    kept = None
                yield item.pair
            if not good:
                raise SourceError(problem)
            if not self._loop:
                return
            while kept:
                yield from kept


def main(args: Sequence[str] | None = None) -> None:
    """Play until stopped; exit status 1 with a message if the input cannot be read."""
    cv2.setNumThreads(1)
    problem = ""
    with running("aenet_replay_node", ReplayNode, args) as (node, executor):
        try:
            node.play(executor)
        except AenetError as error:
            problem = str(error)
    print_line({"published": {"thermal": node.thermal.published, "rgb": node.rgb.published}})
    if problem and not node.rgb.published:
        sys.exit(f"aenet_replay_node: {problem}")


if __name__ == "__main__":
    main()
