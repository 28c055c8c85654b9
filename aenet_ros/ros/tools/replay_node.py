"""Publishes pairs of pictures (DIR/thermal and DIR/rgb) or videos on two cameras' topics, in a loop.

Parameters: ``dir``, or ``thermal`` and ``rgb`` (folders, files or videos); ``rate`` in Hz; ``loop``; ``own_stamps``. Pictures are
decoded in advance and kept in memory if they fit, so that decoding does not compete with the fusing node.
"""

import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from aenet_ros.core.errors import AenetError, SourceError
from aenet_ros.core.frames import FramePair
from aenet_ros.io.sources import open_source
from aenet_ros.ros.node_main import running
from aenet_ros.ros.tools.camera_publisher import CameraPublisher, declare, print_line, wait_until

AHEAD = 8
KEEP_BYTES = 512 * 1024 * 1024


class Loader(threading.Thread):
    """Decodes pairs into a short queue, in a loop; from memory after the first round, if all pairs fit."""

    def __init__(self, thermal: Path, rgb: Path | None, rate_hz: float, loop: bool) -> None:
        super().__init__(name="loader", daemon=True)
        self.source = open_source(thermal, rgb, sequence_hz=rate_hz)
        self.pairs: queue.Queue[FramePair | None] = queue.Queue(AHEAD)
        self.error = ""
        self._loop = loop
        self._stopped = threading.Event()

    def run(self) -> None:
        """Fill the queue; None marks the end."""
        try:
            for pair in self._rounds():
                if not self._put(pair):
                    return
        except AenetError as error:
            self.error = str(error)
        self._put(None)

    def stop(self) -> None:
        """Stop the thread, if it was started, and join it."""
        self._stopped.set()
        if self.is_alive():
            self.join()

    def _put(self, pair: FramePair | None) -> bool:
        while not self._stopped.is_set():
            try:
                self.pairs.put(pair, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _rounds(self) -> Iterator[FramePair]:
        kept: list[FramePair] | None = []
        size = 0
        while True:
            good = 0
            for item in self.source if not kept else ():
                if item.pair is None:
                    self.error = item.error
                    continue
                good += 1
                size += item.pair.thermal.data.nbytes + item.pair.rgb.data.nbytes
                if kept is not None and size <= KEEP_BYTES:
                    kept.append(item.pair)
                else:
                    kept = None
                yield item.pair
            if not good:
                raise SourceError(self.error or "there is no pair to play")
            while kept and self._loop:
                yield from kept
            if not self._loop:
                return


class ReplayNode(Node):
    """Publishes the loader's pairs at ``rate``, both frames of a pair under one stamp (the clock's, unless ``own_stamps``)."""

    def __init__(self) -> None:
        super().__init__("replay")
        self.rate_hz = float(declare(self, "rate", 25.0, "Pairs a second."))
        if not 0.1 <= self.rate_hz <= 1000:
            raise SourceError(f"rate: {self.rate_hz:g} is out of range; give 0.1 to 1000 Hz")
        folder = declare(self, "dir", "", "Folder that holds thermal/ and rgb/ with pictures of the same names.")
        thermal = declare(self, "thermal", f"{folder}/thermal" if folder else "", "Folder or video of thermal pictures, in place of dir.")
        rgb = declare(self, "rgb", f"{folder}/rgb" if folder else "", "Folder or video of rgb pictures, in place of dir.")
        loop = declare(self, "loop", True, "False: play once, then exit.")
        self._own_stamps = bool(
            declare(self, "own_stamps", False, "True: use the pairs' own stamps, which jump back at each round as in a looped bag.")
        )
        if not thermal:
            raise SourceError("no input: give -p dir:=FOLDER with thermal/ and rgb/ in it")
        self.loader = Loader(Path(thermal), Path(rgb) if rgb else None, self.rate_hz, loop)
        self.thermal, self.rgb = CameraPublisher(self, "thermal"), CameraPublisher(self, "rgb")

    def play(self, executor: SingleThreadedExecutor) -> None:
        """Publish until the pairs end. Raises KeyboardInterrupt or ExternalShutdownException on a stop signal."""
        self.loader.start()
        due_ns = time.monotonic_ns()
        while (pair := self._next(executor)) is not None:
            wait_until(executor, due_ns)
            now_ns = time.time_ns()
            for camera, frame in ((self.thermal, pair.thermal), (self.rgb, pair.rgb)):
                camera.publish(frame.data, frame.encoding, frame.stamp_ns if self._own_stamps else now_ns)
            # After a delay the schedule restarts here: no pair is played faster to catch up.
            due_ns = max(due_ns + round(1e9 / self.rate_hz), time.monotonic_ns() - round(5e8 / self.rate_hz))

    def destroy_node(self) -> None:
        """Also stop the loader's thread."""
        self.loader.stop()
        super().destroy_node()

    def _next(self, executor: SingleThreadedExecutor) -> FramePair | None:
        while True:
            try:
                return self.loader.pairs.get_nowait()
            except queue.Empty:
                wait_until(executor, time.monotonic_ns() + 2_000_000)


def main(args: Sequence[str] | None = None) -> None:
    """Play until stopped; exit status 1 with a message if the input cannot be read."""
    cv2.setNumThreads(1)
    with running("replay_node", ReplayNode, args) as (node, executor):
        node.play(executor)
    print_line({"published": {"thermal": node.thermal.published, "rgb": node.rgb.published}})
    if node.loader.error and not node.rgb.published:
        sys.exit(f"replay_node: {node.loader.error}")


if __name__ == "__main__":
    main()
