"""Records serialized messages into an mcap bag that ``ros2 bag``, Foxglove and rosbags read. Needs rosbags, not ROS."""

import queue
import shutil
import tempfile
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from aenet_ros.core.errors import MissingDependencyError, SourceError

METADATA = "metadata.yaml"
_QUEUE = 256
# 8 is read by every rosbag2 from Humble on; 9 needs Jazzy.
_VERSION = 8


class BagWriter:
    """Writes ``DIR/NAME.mcap`` and ``DIR/metadata.yaml``, so that both the file and the folder can be played.

    A thread writes, so that ``write`` never waits for the disk. The bag appears whole in ``close``, or not at all; what was
    there under these names is replaced. Raises MissingDependencyError without rosbags, SourceError where the folder or disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        self.lost = 0
        self._rosbag2, self._types = _rosbags()
        self._connections: dict[str, Any] = {}
        self._error = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._scratch = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
        except OSError as error:
            raise SourceError(f"{path} cannot be written: {error.strerror or error}") from error
        # rosbags names the file after its folder.
        plugin = self._rosbag2.StoragePlugin.MCAP
        self._writer = self._rosbag2.Writer(self._scratch / path.stem, version=_VERSION, storage_plugin=plugin)
        self._writer.open()
        self._queue: queue.Queue[tuple[str, str, bytes, int] | None] = queue.Queue(_QUEUE)
        self._thread = threading.Thread(target=self._run, name="bag writer", daemon=True)
        self._thread.start()

    def write(self, topic: str, message_type: str, data: bytes, time_ns: int) -> None:
        """Record one message: ``message_type`` as ``sensor_msgs/msg/Image``, ``data`` CDR bytes, ``time_ns`` when it was received.

        Where the disk is too slow the message is left out and counted in ``lost``.
        """
        try:
            self._queue.put_nowait((topic, message_type, data, time_ns))
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Write what waits, finish the bag and put it in its place; raises SourceError where that failed."""
        self._stop()
        try:
            if self._error:
                raise SourceError(f"{self.path} cannot be written: {self._error}")
            self._writer.close()
            folder = self._scratch / self.path.stem
            (folder / f"{self.path.stem}.mcap").replace(self.path)
            (folder / METADATA).replace(self.path.parent / METADATA)
        except OSError as error:
            raise SourceError(f"{self.path} cannot be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def abort(self) -> None:
        """Throw away what was recorded."""
        self._stop()
        self._writer.abort()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _stop(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error:
                continue  # keep emptying the queue, so that nobody blocks
            try:
                topic, message_type, data, time_ns = item
                if topic not in self._connections:
                    self._connections[topic] = self._writer.add_connection(topic, message_type, typestore=self._types)
                self._writer.write(self._connections[topic], time_ns, data)
                self.written += 1
            except Exception as error:  # the disk, or a type that rosbags does not know: told in close
                self._error = str(error) or type(error).__name__


def _rosbags() -> tuple[ModuleType, Any]:
    try:
        from rosbags import rosbag2
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise MissingDependencyError("recording a bag needs rosbags: pip install rosbags") from error
    return rosbag2, get_typestore(Stores.LATEST)
