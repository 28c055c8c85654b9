"""Rosbags as outputs: fused topics beside the original ones for `aenet fuse`, and a recorder of serialized messages for the demo."""

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.convert.converter import create_connections_converters, generate_message_converter
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import FusedFrame
from aenet_ros.io.bag_topics import CAMERA_INFO, info_topic
from aenet_ros.io.bags import METADATA, open_bag
from aenet_ros.io.files import is_bag
from aenet_ros.io.sinks import StagedSink
from aenet_ros.io.staging import BackgroundWriter, staging_path, write_errors
from aenet_ros.messages.codec import fused_camera_info

IMAGE = "sensor_msgs/msg/Image"
FUSED_IMAGE, FUSED_INFO = "/fused/image", "/fused/camera_info"
REPLACED = "replaced"
_UNLIMITED = QosTime(0, 0)
_RELIABLE = Qos(
    *(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.VOLATILE, _UNLIMITED, _UNLIMITED),
    *(QosLiveliness.AUTOMATIC, _UNLIMITED, False),
)  # as the node publishes


class BagSink(StagedSink):
    """Writes ``/fused/image`` and, if the camera has one, ``/fused/camera_info``, and copies other topics unchanged. See ``Sink``.

    ``source``: the bag whose messages are passed to ``copy``, in its order. ``cameras``: picture topic by role (``thermal``, ``rgb``).
    ``keep``: topics to copy, or ("all",) or ("none",). ``scaled``: the picture has another size than its camera's frames.
    A fused frame's log time is that of the message that completed its pair. The bag is written in a hidden folder beside ``out`` and
    renamed at the end. Raises SourceError if ``out`` exists (with ``force`` an existing bag is replaced).
    """

    def __init__(
        self,
        out: Path,
        source: Path,
        cameras: Mapping[str, str],
        *,
        keep: tuple[str, ...] = ("all",),
        scaled: bool = False,
        force: bool = False,
    ) -> None:
        super().__init__(staging_path(out))
        self._out, self._source, self._keep, self._scaled = out, source, keep, scaled
        self._info_roles = {info_topic(topic): role for role, topic in cameras.items()}
        self._infos: dict[str, Any] = {}
        self._types = get_typestore(Stores.ROS2_HUMBLE)
        self._log_ns = 0
        self._replaced = self._staging.folder / REPLACED
        self._check_target(force)

    def _check_target(self, force: bool) -> None:
        out, source = self._out, self._source.resolve()
        if not out.exists() and self._replaced.exists():  # an earlier run was killed while it replaced the bag
            self._replaced.rename(out)
        if out.suffix in (".db3", ".bag"):
            raise SourceError(f"bags are written as mcap, not as '{out.suffix}'; give a name that ends in .mcap, or a folder's")
        if out.exists() and out.resolve() in (source, *source.parents):
            raise SourceError(f"'{out}' is, or holds, the bag that is read; give another -o")
        if source.is_dir() and source in out.resolve().parents:
            raise SourceError(f"'{out}' lies in the bag that is read, and would be taken for a part of it; give another -o")
        if out.exists() and not force:
            raise SourceError(f"'{out}' exists already; give --force to overwrite, --resume to keep it, or another -o")
        if out.is_dir() and not (is_bag(out) and all(path.is_file() for path in out.iterdir())):
            raise SourceError(f"'{out}' is a folder that is no bag, so it is not overwritten; give another -o")

    def _open(self, stack: ExitStack) -> None:
        stack.callback(self._staging.remove)
        reader = stack.enter_context(open_bag(self._source, []))
        with write_errors(f"'{self._out}'"):
            self._bag = self._staging.folder / (self._out.stem if self._out.suffix == ".mcap" else self._out.name)
            self._bag_writer = Writer(self._bag, version=9, storage_plugin=StoragePlugin.MCAP)
            self._bag_writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._bag_writer.open()
            self._image = self._add(FUSED_IMAGE, IMAGE)
            types = None
            if not reader.is2:  # ROS 2's definitions of the common messages, which differ a little, and the bag's own of the others
                types = get_typestore(Stores.ROS2_HUMBLE)
                types.register({name: fields for name, fields in reader.typestore.fielddefs.items() if name not in types.fielddefs})
            copies, self._converters = create_connections_converters(self._topics_to_copy(reader), types, reader, self._bag_writer)
            self._copies = {(number, target.topic): target for (number, _), target in copies.items()}
            self._fused_info: Connection | None = None
            if any(connection.topic in self._info_roles for connection in reader.connections):
                self._fused_info = self._add(FUSED_INFO, CAMERA_INFO)
                self._convert_info = generate_message_converter(
                    reader.typestore, self._types, CAMERA_INFO, CAMERA_INFO, {}, src_is2=reader.is2, dst_is2=True
                )

    def _add(self, topic: str, msgtype: str) -> Connection:
        return self._bag_writer.add_connection(topic, msgtype, typestore=self._types, offered_qos_profiles=[_RELIABLE])

    def _topics_to_copy(self, reader: AnyReader) -> list[Connection]:
        if self._keep == ("none",):
            return []
        names = {connection.topic for connection in reader.connections}
        if missing := set(self._keep) - names - {"all"}:
            raise SourceError(f"--keep {' '.join(sorted(missing))}: the bag has no such topic; it has: {', '.join(sorted(names))}")
        kept = (names if "all" in self._keep else set(self._keep)) - {FUSED_IMAGE, FUSED_INFO}
        return [item for item in reader.connections if item.topic in kept]

    def copy(self, connection: Connection, log_ns: int, data: bytes) -> None:
        """Take a message of the source bag. Call it for every one, in order, before the fused frames that depend on it."""
        self._log_ns = log_ns
        role = self._info_roles.get(connection.topic)
        if role and connection.msgtype == CAMERA_INFO:
            self._infos[role] = self._types.deserialize_cdr(self._convert_info(data), CAMERA_INFO)
        target = self._copies.get((connection.id, connection.topic))
        if target is not None:
            self._writer.call(self._write, target, log_ns, self._converters[connection.msgtype](data))

    def write(self, name: str, fused: FusedFrame) -> None:
        """Queue one fused frame, and the camera_info of the camera whose pixels it has."""
        seconds, nanoseconds = divmod(fused.stamp_ns, 1_000_000_000)
        types = self._types.types
        stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
        image = types[IMAGE](
            header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=fused.frame_id),
            height=fused.image.shape[0],
            width=fused.image.shape[1],
            encoding=fused.encoding,
            is_bigendian=0,
            step=fused.image.strides[0],
            data=np.ascontiguousarray(fused.image).reshape(-1),
        )
        self._writer.call(self._write, self._image, self._log_ns, self._types.serialize_cdr(image, IMAGE))
        info = fused_camera_info(self._infos, fused, scaled=self._scaled)
        if self._fused_info is not None and info is not None:
            self._writer.call(self._write, self._fused_info, self._log_ns, self._types.serialize_cdr(info, CAMERA_INFO))
        self._written += 1

    def _write(self, connection: Connection, log_ns: int, data: bytes | memoryview) -> None:
        with write_errors(f"'{self._out}'"):
            self._bag_writer.write(connection, log_ns, data)

    def _finish(self, good: bool) -> None:
        if not (good and self._written):
            with suppress(OSError):  # a full disk fails here too
                self._bag_writer.abort()
            if good:
                raise SourceError("no pair was fused, so no bag was written; 'aenet inspect' says what would be paired, and why not")
            return
        with write_errors(f"'{self._out}'"):
            self._bag_writer.close()
            # For an ``out`` that ends in .mcap, the bag's only file.
            finished = self._bag / f"{self._bag.name}.mcap" if self._out.suffix == ".mcap" else self._bag
            if self._out.exists():
                self._out.rename(self._replaced)
            try:
                finished.rename(self._out)
            except BaseException:
                if self._replaced.exists():
                    self._replaced.rename(self._out)
                raise


class BagRecorder:
    """Records serialized messages into ``DIR/NAME.mcap`` with a ``DIR/metadata.yaml``, so that both file and folder can be played.

    A thread writes, so that ``write`` never waits for the disk. The bag appears completely in ``close``, or not at all; it replaces
    what has these names. Raises SourceError if the folder or disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = self.lost = 0
        self._types = get_typestore(Stores.LATEST)
        self._connections: dict[str, Connection] = {}
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._scratch = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
        # rosbags names the file after its folder. Every rosbag2 from Humble on reads version 8; 9 needs Jazzy.
        self._writer = Writer(self._scratch / path.stem, version=8, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._background = BackgroundWriter(queue_length=256)

    def write(self, topic: str, message_type: str, data: bytes, time_ns: int) -> None:
        """Record one message: ``message_type`` as ``sensor_msgs/msg/Image``, ``data`` CDR bytes, ``time_ns`` when it was received.

        If the disk is too slow the message is dropped and counted in ``lost``.
        """
        self.lost += not self._background.try_call(self._write, topic, message_type, data, time_ns)

    def _write(self, topic: str, message_type: str, data: bytes, time_ns: int) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, message_type, typestore=self._types)
        self._writer.write(self._connections[topic], time_ns, data)
        self.written += 1

    def close(self) -> None:
        """Write what waits, finish the bag and rename it; raises SourceError if that failed."""
        error = self._background.finish()  # the disk, or a type that rosbags does not know
        try:
            if error is not None:
                raise SourceError(f"{self.path} cannot be written: {error}") from error
            with write_errors(self.path):
                self._writer.close()
                folder = self._scratch / self.path.stem
                (folder / f"{self.path.stem}.mcap").replace(self.path)
                (folder / METADATA).replace(self.path.parent / METADATA)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def abort(self) -> None:
        """Discard what was recorded."""
        self._background.finish()
        self._writer.abort()
        shutil.rmtree(self._scratch, ignore_errors=True)
