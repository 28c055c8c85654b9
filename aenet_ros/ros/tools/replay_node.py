"""Plays pairs of pictures (DIR/thermal and DIR/rgb) or a video as two cameras' topics, over and over.

Parameters: ``dir``, or ``thermal`` and ``rgb`` (folders, files or videos); ``rate`` in Hz; ``loop``; ``own_stamps``. Pictures are
decoded ahead of their time, and kept in memory while they fit, so that decoding does not take the cores from the fusing node.
"""

import json
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from aenet_ros.core.errors import AenetError, SourceError
from aenet_ros.core.frames import FramePair
from aenet_ros.io.sources import open_source
from aenet_ros.ros.node_main import running
from aenet_ros.ros.tools.camera_publisher import CameraPublisher, wait_until

AHEAD = 8
KEEP_BYTES = 512 * 1024 * 1024


class Loader(threading.Thread):
    """Decodes pairs into a short queue, round and round; after the first round from memory, where all pairs fit in."""

    def __init__(self, thermal: Path, rgb: Path | None, rate_hz: float, loop: bool) -> None:
        super().__init__(name="loader", daemon=True)
        self.source = open_source(thermal, rgb, sequence_hz=rate_hz)
        self.pairs: queue.Queue[FramePair | None] = queue.Queue(AHEAD)
        self.error = ""
        self._loop = loop
        self._stopped = threading.Event()

    def run(self) -> None:
        """Fill the queue; None ends it."""
        try:
            for pair in self._rounds():
                if not self._put(pair):
                    return
        except AenetError as error:
            self.error = str(error)
        self._put(None)

    def stop(self) -> None:
        """End the thread, if it was started, and wait for it."""
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
        self.rate_hz = float(self._declare("rate", 25.0, "Pairs a second."))
        if not 0.1 <= self.rate_hz <= 1000:
            raise SourceError(f"rate: {self.rate_hz:g} is out of range; give 0.1 to 1000 Hz")
        folder = self._declare("dir", "", "Folder that holds thermal/ and rgb/ with pictures of the same names.")
        thermal = self._declare("thermal", f"{folder}/thermal" if folder else "", "Folder or video of thermal pictures, in place of dir.")
        rgb = self._declare("rgb", f"{folder}/rgb" if folder else "", "Folder or video of rgb pictures, in place of dir.")
        loop = self._declare("loop", True, "False: play once and end.")
        self._own_stamps = bool(
            self._declare("own_stamps", False, "True: stamp with the pairs' own times, which jump back at each round, as a bag's do.")
        )
        if not thermal:
            raise SourceError("nothing to play: give -p dir:=FOLDER with thermal/ and rgb/ in it")
        self.loader = Loader(Path(thermal), Path(rgb) if rgb else None, self.rate_hz, loop)
        self.thermal, self.rgb = CameraPublisher(self, "thermal"), CameraPublisher(self, "rgb")

    def _declare(self, name: str, default: Any, doc: str) -> Any:
        return self.declare_parameter(name, default, ParameterDescriptor(description=doc, read_only=True, dynamic_typing=True)).value

    def play(self, executor: SingleThreadedExecutor) -> None:
        """Publish until the pairs end; raises KeyboardInterrupt or ExternalShutdownException when told to stop."""
        self.loader.start()
        due_ns = time.monotonic_ns()
        while (pair := self._next(executor)) is not None:
            wait_until(executor, due_ns)
            now_ns = time.time_ns()
            for camera, frame in ((self.thermal, pair.thermal), (self.rgb, pair.rgb)):
                camera.publish(frame.data, frame.encoding, frame.stamp_ns if self._own_stamps else now_ns)
            # After a delay the pace goes on from here: nothing is played faster to catch up.
            due_ns = max(due_ns + round(1e9 / self.rate_hz), time.monotonic_ns() - round(5e8 / self.rate_hz))

    def destroy_node(self) -> None:
        """Also end the loader's thread."""
        self.loader.stop()
        super().destroy_node()

    def _next(self, executor: SingleThreadedExecutor) -> FramePair | None:
        while True:
            try:
                return self.loader.pairs.get_nowait()
            except queue.Empty:
                wait_until(executor, time.monotonic_ns() + 2_000_000)


def main(args: Sequence[str] | None = None) -> None:
    """Play until told to stop; what cannot be read ends it with status 1 and a sentence."""
    cv2.setNumThreads(1)
    with running("replay_node", ReplayNode, args) as (node, executor):
        node.play(executor)
    sys.stdout.write(json.dumps({"published": {"thermal": node.thermal.published, "rgb": node.rgb.published}}) + "\n")
    if node.loader.error and not node.rgb.published:
        sys.exit(f"replay_node: {node.loader.error}")


if __name__ == "__main__":
    main()
