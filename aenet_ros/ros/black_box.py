"""The black box: the last seconds of messages in memory, written to a bag when a status becomes ERROR, or by ``~/save_black_box``."""

import fcntl
import json
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String

from aenet_ros.config import BlackBoxConfig, Config, flatten
from aenet_ros.core.errors import ConfigError, format_error
from aenet_ros.core.frames import Array, FramePair, FusedFrame
from aenet_ros.health.fallback import FallbackFrame
from aenet_ros.health.status import ERROR, Status
from aenet_ros.messages.codec import fill_image, set_header

if TYPE_CHECKING:
    from aenet_ros.io.bag_writer import BagWriter

INTERVAL_S = 60.0  # between two files that are written because of the same status
MOST_BOXES = 10
PREFIX = "black_box_"
LARGE = 10_000  # bytes; of each topic with smaller messages the last one before the window is kept too: camera_info, shutter
REST_S = 1e-3  # after each message that is written: serialization holds the interpreter's lock


class Published(NamedTuple):
    """A published picture and what it was made of: ``content`` without its pixels, and the pipeline's state before."""

    picture: Array
    encoding: str
    stamp_ns: int
    frame_id: str
    record: dict[str, Any]
    config: Config


class Entry(NamedTuple):
    """A ROS message or a picture, as it came. ``at_ns``: wall clock; ``size`` in bytes."""

    at_ns: int
    topic: str
    content: Any
    size: int


class BlackBox:
    """``recorder``, ``add_picture`` and ``on_diagnostics`` return at once, and may be called by several threads. A thread writes.

    Raises ConfigError where the folder or the packages that write bags are missing.
    """

    def __init__(self, node: Node, config: BlackBoxConfig) -> None:
        try:
            import aenet_ros.io.bag_writer  # noqa: F401
        except ImportError as error:
            raise ConfigError(f"black_box.enabled needs rosbags and mcap ({error}): pip install 'rosbags>=0.11,<0.12' mcap") from error
        self._node, self._config = node, config
        self.folder = Path(config.folder).expanduser().absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
            keep_cut_off(self.folder)
        except OSError as error:
            raise ConfigError(f"black_box.folder {self.folder} cannot be written ({error.strerror}); give another") from error
        self.roles: dict[str, str] = {}  # of the inputs, by topic
        self._fused_topic, self._diagnostics_topic = (node.resolve_topic_name(name) for name in ("fused/image", "/diagnostics"))
        self._lock = threading.Lock()
        self._ring: deque[Entry] = deque()
        self._before: dict[str, Entry] = {}  # by topic
        self._bytes = 0
        self._errors: set[str] = set()  # names of the statuses at ERROR
        self._waiting: dict[str, str] = {}  # statuses that became ERROR and are in no box yet, with their texts
        self._boxed_s: dict[str, float] = {}  # time of the box of a status
        self._saved_s = -INTERVAL_S
        self._thread: threading.Thread | None = None

    def recorder(self, role: str, topic: str, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        """A callback that keeps each message of an input, and passes it on."""
        self.roles[topic] = role
        return partial(self._record, topic, callback)

    def _record(self, topic: str, callback: Callable[[Any], None], message: Any) -> None:
        self._add(topic, message, len(message.data) if hasattr(message, "data") and hasattr(message.data, "__len__") else 500)
        callback(message)

    def add_picture(self, fused: FusedFrame, content: FramePair | FallbackFrame, config: Config, period_ns: int, state: Any) -> None:
        """Keep a published picture. ``state``: the pipeline's ``temporal_state`` before it was made."""
        record: dict[str, Any] = {"period_ns": period_ns, "state": state}
        if isinstance(content, FramePair):
            stamps = {"thermal_ns": content.thermal.stamp_ns, "rgb_ns": content.rgb.stamp_ns, "difference_ns": content.difference_ns}
            record |= {"kind": "pair", **stamps, "depth_ns": content.depth.stamp_ns if content.depth is not None else None}
        elif content.frame is None:
            record |= {"kind": "held"}
        else:
            record |= {"kind": content.role, "frame_ns": content.frame.stamp_ns, "streams": dict(content.streams)}
        published = Published(fused.image, fused.encoding, fused.stamp_ns, fused.frame_id, record, config)
        self._add(self._fused_topic, published, fused.image.nbytes)

    def on_diagnostics(self, message: DiagnosticArray, statuses: Sequence[Status], about: dict[str, Any]) -> None:
        """Keep the diagnostics; write the box where a status has become ERROR. ``about``: see ``save``."""
        self._add(self._diagnostics_topic, message, 5_000)
        now_s = time.monotonic()
        errors = {status.name: f"{status.name}: {status.code.name}: {status.message}" for status in statuses if status.level == ERROR}
        if any(entry.topic in self.roles for entry in tuple(self._ring)):
            new = [name for name in errors.keys() - self._errors if now_s - self._boxed_s.get(name, -INTERVAL_S) >= INTERVAL_S]
            self._waiting |= {name: errors[name] for name in errors if name in new}
        self._errors = set(errors)
        # A second fault waits until its box no longer repeats the first one's.
        if self._waiting and now_s - self._saved_s >= self._config.seconds and not self._is_writing():
            reason = next(iter(self._waiting.values()))
            self._boxed_s |= dict.fromkeys(self._waiting, now_s)
            self._waiting.clear()
            self._node.get_logger().warning(f"black box: {self.save(reason, about)[1]}")

    def save(self, reason: str, about: dict[str, Any]) -> tuple[bool, str]:
        """Write what is kept; returns at once, with a sentence. ``about``: of ``diagnostics.info``."""
        if self._is_writing():
            return False, "a black box is being written already; call again"
        with self._lock:
            entries = [*(entry._replace(at_ns=self._ring[0].at_ns) for entry in self._before.values()), *self._ring]
        if not entries:
            return False, "nothing has been received yet"
        self._saved_s = time.monotonic()
        size, free = sum(entry.size for entry in entries) / 1e6, shutil.disk_usage(self.folder).free / 1e6
        if free < size:
            return (
                False,
                f"{self.folder} has no room: {size:.0f} MB are needed, {free:.0f} are free; delete files, or give another black_box.folder",
            )
        folder = self.folder / f"{PREFIX}{time.strftime('%Y%m%d_%H%M%S')}_{time.time_ns() // 1_000_000 % 1000:03}"
        header = {**about, "node": self._node.get_fully_qualified_name(), "reason": reason, "roles": self.roles, "fused": self._fused_topic}
        self._thread = threading.Thread(target=self._write, args=(folder, header, entries), name="black box")
        self._thread.start()
        return True, f"writing {size:.0f} MB of the last seconds to {folder}: `aenet why {folder}`"

    def close(self) -> None:
        """Wait until a box that is being written is complete."""
        if self._thread is not None:
            self._thread.join()

    def _is_writing(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _add(self, topic: str, content: Any, size: int) -> None:
        with self._lock:
            entry = Entry(max(time.time_ns(), self._ring[-1].at_ns if self._ring else 0), topic, content, size)
            self._ring.append(entry)
            self._bytes += size
            oldest_ns = entry.at_ns - round(self._config.seconds * 1e9)
            while self._ring[0].at_ns < oldest_ns or (self._bytes > self._config.max_mb * 1e6 and len(self._ring) > 1):
                dropped = self._ring.popleft()
                self._bytes -= dropped.size
                if dropped.size < LARGE and dropped.topic in self.roles:
                    self._before[dropped.topic] = dropped

    def _write(self, folder: Path, header: dict[str, Any], entries: Sequence[Entry]) -> None:
        from aenet_ros.io.bag_writer import BagWriter

        scratch = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=self.folder))
        lock = os.open(scratch, os.O_RDONLY)  # says to other nodes that this one is alive
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            writer = BagWriter(scratch / folder.name, compressed=False)
            records = f"{header['node']}/black_box"
            write_message(writer, records, String(data=json.dumps(header)), entries[0].at_ns)
            for entry in entries:
                if isinstance(entry.content, Published):
                    write_message(writer, records, record_message(entry.content, header["configuration"]), entry.at_ns)
                    write_message(writer, entry.topic, picture_message(entry.content), entry.at_ns)
                else:
                    write_message(writer, entry.topic, entry.content, entry.at_ns)
                time.sleep(REST_S)
            writer.close()
            (scratch / folder.name).chmod(0o700)  # pictures of people are for this user's eyes
            (scratch / folder.name).rename(folder)
            for old in sorted(self.folder.glob(f"{PREFIX}*"))[:-MOST_BOXES]:
                shutil.rmtree(old, ignore_errors=True)
        except Exception as error:  # a full disk, above all, must not end the node
            if self._node.context.ok():
                self._node.get_logger().error(f"the black box cannot be written to {folder}: {format_error(error)}")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            os.close(lock)


def keep_cut_off(folder: Path) -> None:
    """Make boxes of what killed nodes have left: `aenet why` reads them up to their end."""
    for scratch in folder.glob(f".{PREFIX}*"):
        with suppress(OSError):  # another node is writing it, or has just completed it
            lock = os.open(scratch, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for box in scratch.iterdir():
                    box.chmod(0o700)
                    box.rename(folder / box.name)
                scratch.rmdir()
            finally:
                os.close(lock)


def write_message(writer: "BagWriter", topic: str, message: Any, at_ns: int) -> None:
    """Write a message of rclpy to a bag."""
    from aenet_ros.io.bag_writer import ros2_connection

    kind = f"{type(message).__module__.partition('.')[0]}/msg/{type(message).__name__}"
    writer.write(ros2_connection(topic, kind), at_ns, serialize_message(message))


def record_message(published: Published, configuration: dict[str, Any]) -> String:
    """What a picture was made of, as JSON; ``configuration``: the box's, of which only differences are written."""
    config = flatten(published.config)
    changed = {name: value for name, value in config.items() if value != configuration[name]}
    record = {"stamp_ns": published.stamp_ns, **published.record, "config": changed}
    return String(data=json.dumps(record, default=lambda array: array.tolist()))


def picture_message(published: Published) -> Image:
    """The picture as it was published."""
    message = Image()
    fill_image(message, published.picture, published.encoding)
    set_header(message.header, published.stamp_ns, published.frame_id)
    return message
