"""Fused topics into a rosbag2, beside the original ones; the bag gets its name when it is complete."""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rosbags.convert.converter import create_connections_converters, generate_message_converter
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import FusedFrame
from aenet_ros.io.background import Behind
from aenet_ros.io.bag_source import BagSource
from aenet_ros.io.bags import info_topic, open_bag
from aenet_ros.io.sources import is_bag
from aenet_ros.io.staging import Workplace, beside
from aenet_ros.messages.camera_info import fused_camera_info

IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
FUSED_IMAGE, FUSED_INFO = "/fused/image", "/fused/camera_info"
REPLACED = "replaced"
NOT_LIMITED = QosTime(0, 0)
RELIABLE = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    NOT_LIMITED,
    NOT_LIMITED,
    QosLiveliness.AUTOMATIC,
    NOT_LIMITED,
    False,
)
"""As the node publishes."""


class BagSink:
    """Writes ``fused/image`` and, where the camera has one, ``fused/camera_info``, and copies other topics untouched.

    ``keep``: "all", "none", or names of topics to copy. A fused frame's log time is that of the message that completed
    its pair. Everything is written to an mcap in a folder beside ``out``, which takes its place at the end.
    Raises SourceError where ``out`` is there already (unless ``force``, and then only a bag is replaced).
    """

    done: frozenset[str] = frozenset()

    def __init__(
        self, out: Path, source: BagSource, *, keep: tuple[str, ...] = ("all",), scaled: bool = False, force: bool = False
    ) -> None:
        self._out, self._source, self._keep = out, source, keep
        self._scaled = scaled
        self._store = get_typestore(Stores.ROS2_HUMBLE)
        self._stack = ExitStack()
        self._infos: dict[str, Any] = {}
        self._log_ns = 0
        self._count = 0
        self._workplace = Workplace(beside(out))
        self._part = self._workplace.folder
        self._check_place(force)

    def remember(self, settings: Mapping[str, Any]) -> None:
        """Nothing: a bag is made anew."""

    def _check_place(self, force: bool) -> None:
        out = self._out
        if not out.exists() and (self._part / REPLACED).exists():  # an earlier run was killed in the very moment of replacing
            (self._part / REPLACED).rename(out)
        if out.suffix in (".db3", ".bag"):
            raise SourceError(f"bags are written as mcap, not as '{out.suffix}'; give a name that ends in .mcap, or a folder's")
        if out.exists() and out.resolve() in (self._source.path.resolve(), *self._source.path.resolve().parents):
            raise SourceError(f"'{out}' is, or holds, the bag that is read; give another -o")
        if self._source.path.is_dir() and self._source.path.resolve() in out.resolve().parents:
            raise SourceError(f"'{out}' lies in the bag that is read, and would be taken for a part of it; give another -o")
        if out.exists() and not force:
            raise SourceError(f"'{out}' exists already; give --force to overwrite, --resume to keep it, or another -o")
        if out.is_dir() and not (is_bag(out) and all(path.is_file() for path in out.iterdir())):
            raise SourceError(f"'{out}' is a folder that is no bag, so it is not overwritten; give another -o")

    def __enter__(self) -> "BagSink":
        try:
            self._start()
        except BaseException as error:
            self._stack.close()
            if isinstance(error, OSError):
                raise SourceError(f"'{self._out}' cannot be written: {error.strerror or error}") from error
            raise
        return self

    def _start(self) -> None:
        self._stack.enter_context(self._workplace)
        self._stack.callback(self._workplace.remove)
        self._bag = self._part / (self._out.stem if self._out.suffix == ".mcap" else self._out.name)
        self._writer = Writer(self._bag, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._image = self._add(FUSED_IMAGE, IMAGE)
        self._reader = self._stack.enter_context(open_bag(self._source.path, []))
        types = None if self._reader.is2 else self._types_of_ros1(self._reader)
        copies, self._converters = create_connections_converters(self._kept(self._reader), types, self._reader, self._writer)
        self._copies = {(number, target.topic): target for (number, _), target in copies.items()}
        roles = {"rgb": self._source.rgb_topic, "thermal": self._source.thermal_topic}
        self._info_topics = {info_topic(topic): role for role, topic in roles.items()}
        has_info = any(connection.topic in self._info_topics for connection in self._reader.connections)
        self._fused_info = self._add(FUSED_INFO, CAMERA_INFO) if has_info else None
        if has_info:
            self._convert_info = generate_message_converter(
                self._reader.typestore, self._store, CAMERA_INFO, CAMERA_INFO, {}, src_is2=self._reader.is2, dst_is2=True
            )
        self._source.listeners.append(self._copy)
        self._behind = Behind()

    def _add(self, topic: str, msgtype: str) -> Connection:
        return self._writer.add_connection(topic, msgtype, typestore=self._store, offered_qos_profiles=[RELIABLE])

    def _types_of_ros1(self, reader: AnyReader) -> Typestore:
        """ROS 2's definitions of the common messages, which differ here and there, and the bag's own of the others."""
        own = {name: fields for name, fields in reader.typestore.fielddefs.items() if name not in self._store.fielddefs}
        types = get_typestore(Stores.ROS2_HUMBLE)
        types.register(own)
        return types

    def _kept(self, reader: AnyReader) -> list[Connection]:
        if self._keep == ("none",):
            return []
        names = {connection.topic for connection in reader.connections}
        if missing := set(self._keep) - names - {"all"}:
            raise SourceError(f"--keep {' '.join(sorted(missing))}: the bag has no such topic; it has: {', '.join(sorted(names))}")
        own = {FUSED_IMAGE, FUSED_INFO}
        return [item for item in reader.connections if item.topic not in own and ("all" in self._keep or item.topic in self._keep)]

    def _copy(self, connection: Connection, log_ns: int, data: bytes) -> None:
        """Called by the source for each message that it reads."""
        self._log_ns = log_ns
        role = self._info_topics.get(connection.topic)
        if role and connection.msgtype == CAMERA_INFO:
            self._infos[role] = self._store.deserialize_cdr(self._convert_info(data), CAMERA_INFO)
        target = self._copies.get((connection.id, connection.topic))
        if target is not None:
            self._write(target, log_ns, self._converters[connection.msgtype](data))

    def write(self, name: str, fused: FusedFrame) -> None:
        """Add one fused frame, and the camera_info of the camera whose pixels it has."""
        height, width = fused.image.shape[:2]
        header = self._header(fused)
        image = self._store.types[IMAGE](
            header=header,
            height=height,
            width=width,
            encoding=fused.encoding,
            is_bigendian=0,
            step=fused.image.strides[0],
            data=np.ascontiguousarray(fused.image).reshape(-1),
        )
        self._write(self._image, self._log_ns, self._store.serialize_cdr(image, IMAGE))
        info = fused_camera_info(self._infos, fused, scaled=self._scaled)
        if self._fused_info is not None and info is not None:
            self._write(self._fused_info, self._log_ns, self._store.serialize_cdr(info, CAMERA_INFO))
        self._count += 1

    def _header(self, fused: FusedFrame) -> Any:
        seconds, nanoseconds = divmod(fused.stamp_ns, 1_000_000_000)
        types = self._store.types
        stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=fused.frame_id)

    def _write(self, connection: Connection, log_ns: int, data: bytes | memoryview) -> None:
        self._behind.call(self._write_now, connection, log_ns, data)

    def _write_now(self, connection: Connection, log_ns: int, data: bytes | memoryview) -> None:
        try:
            self._writer.write(connection, log_ns, data)
        except OSError as error:
            raise SourceError(f"'{self._out}' cannot be written: {error.strerror or error}") from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._source.listeners.remove(self._copy)
        with self._stack:
            late = self._behind.finish()
            if kind is not None or late is not None:
                self._abort()
                if kind is None and late is not None:
                    raise late
                return
            if not self._count:
                self._abort()
                raise SourceError("no pair was fused, so no bag was written; 'aenet inspect' says what would be paired, and why not")
            try:
                self._writer.close()
                self._take_place()
            except OSError as failure:
                self._abort()
                raise SourceError(f"'{self._out}' cannot be written: {failure.strerror or failure}") from failure

    def _abort(self) -> None:
        with suppress(OSError):  # a full disk takes no last words either
            self._writer.abort()

    def _take_place(self) -> None:
        """Rename the finished bag, or for an ``out`` that ends in .mcap its only file, onto ``out``."""
        finished = self._bag / f"{self._bag.name}.mcap" if self._out.suffix == ".mcap" else self._bag
        if not self._out.exists():
            finished.rename(self._out)
            return
        replaced = self._part / REPLACED
        self._out.rename(replaced)
        try:
            finished.rename(self._out)
        except BaseException:
            replaced.rename(self._out)
            raise
