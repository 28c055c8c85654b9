"""A rosbag as output of `aenet fuse`: fused topics beside those of a bag, or beside the frames of pictures and videos."""

import io
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.convert.converter import STATIC_MSGTYPE_RENAMES, generate_message_converter
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.typesys import Stores, get_typestore

from aenet_ros.config import OutputConfig
from aenet_ros.core.crop import crop_camera_info
from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import Array, FramePair, FusedFrame
from aenet_ros.io.bag_files import QOS, Connection
from aenet_ros.io.bag_frames import COMPRESSED_VIDEO
from aenet_ros.io.bag_source import BagSource
from aenet_ros.io.bag_topics import CAMERA_INFO
from aenet_ros.io.bag_writer import BagWriter, ros2_connection
from aenet_ros.io.bags import READ_ENCODINGS, describe, known_types, typestore
from aenet_ros.io.files import is_bag
from aenet_ros.io.sink import StagedSink, staging_path, write_errors
from aenet_ros.io.source import Source
from aenet_ros.io.sources import frame_stamp_ns
from aenet_ros.io.video_encoder import VideoEncoder
from aenet_ros.messages.codec import fused_camera_info
from aenet_ros.messages.stream_kinds import info_topic

IMAGE = "sensor_msgs/msg/Image"
FUSED_IMAGE, FUSED_VIDEO, FUSED_INFO = "/fused/image", "/fused/video", "/fused/camera_info"
INPUTS = {"thermal": "/thermal/image_raw", "rgb": "/rgb/image_raw"}
"""Topics of the frames of pictures and videos."""
STILLS_HZ = 10.0
"""Rate that unrelated pictures, which have no times, get in a bag."""
REPLACED = "replaced"
_UNLIMITED = QosTime(0, 0)
_RELIABLE = Qos(
    *(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.VOLATILE, _UNLIMITED, _UNLIMITED),
    *(QosLiveliness.AUTOMATIC, _UNLIMITED, False),
)  # as the node publishes

Convert = Callable[[bytes], bytes | memoryview]


class BagSink(StagedSink):
    """Writes ``/fused/image`` (with ``video``: ``/fused/video``) and, if the camera has one, ``/fused/camera_info``. See ``Sink``.

    Of a bag, messages of ROS 1 are converted, and all others are copied byte for byte, except for earlier fused topics. Of pictures
    and videos, the cameras' frames become the topics of INPUTS. ``output`` is the pipeline's. ``keep``: topics to copy, or ("all",) or
    ("none",). A fused frame's log time is that of the message that completed its pair. The bag is written in a hidden
    folder beside ``out`` and renamed at the end. Raises SourceError if ``out`` exists (with ``force`` an existing bag is replaced).
    """

    def __init__(
        self, out: Path, source: Source, output: OutputConfig, *, keep: tuple[str, ...] = ("all",), video: bool = False, force: bool = False
    ) -> None:
        super().__init__(staging_path(out))
        self._out, self._source, self._output, self._keep = out, source, output, keep
        self._video = VideoEncoder(hardware=False) if video else None  # the same bytes on every machine
        self._info_roles: dict[str, str] = {}
        connections: list[Connection] = []
        cameras: list[str] = []
        if isinstance(source, BagSource):
            self._info_roles = {info_topic(topic): role for role, topic in source.cameras.items()}
            connections, cameras = source.connections, list(source.cameras.values())
        elif not source.timed:
            source.remarks.append(f"pictures without times get {STILLS_HZ:g} Hz in the bag; --sequence HZ gives another rate")
        infos = [item for item in connections if item.topic in self._info_roles and item.msgtype == CAMERA_INFO]
        self._has_info = any(item.encoding in READ_ENCODINGS for item in infos)
        self._infos: dict[str, Any] = {}
        self._converters: dict[Connection, Convert] = {}
        self._unconverted: Counter[str] = Counter()
        self._store = known_types(ros1=False)
        self._ros2_types = get_typestore(Stores.LATEST)  # and those of the bag's own types
        self._copies = self._choose_copies(connections)
        self.wanted = {*self._copies, *infos, *(item for item in connections if item.topic in cameras)}
        self._log_ns = self._taken = 0
        self._replaced = self._staging.folder / REPLACED
        self._check_target(force)
        if isinstance(source, BagSource):
            source.listen(self.copy, self.wanted)
        if source.celsius:
            source.remarks.append(f"{INPUTS['thermal']} holds degrees Celsius: fuse it with --set agc.profile=celsius")

    def _check_target(self, force: bool) -> None:
        out = self._out
        sources = [self._source.path] if isinstance(self._source, BagSource) else self._source.files
        if not out.exists() and self._replaced.exists():  # an earlier run was killed while it replaced the bag
            self._replaced.rename(out)
        if out.suffix.lower() in (".db3", ".bag"):
            raise SourceError(f"bags are written as mcap, not as '{out.suffix}'; give a name that ends in .mcap, or a folder's")
        for source in {path.resolve() for path in sources}:
            if out.exists() and out.resolve() in (source, *source.parents):
                raise SourceError(f"'{out}' is, or holds, what is read ({source.name}); give another -o")
            if source.is_dir() and source in out.resolve().parents:
                raise SourceError(f"'{out}' lies in the bag that is read, and would be taken for a part of it; give another -o")
        if out.exists() and not force:
            raise SourceError(f"'{out}' exists already; give --force to overwrite, --resume to keep it, or another -o")
        if out.is_dir() and not (is_bag(out) and all(path.is_file() for path in out.iterdir())):
            raise SourceError(f"'{out}' is a folder that is no bag, so it is not overwritten; give another -o")

    def _choose_copies(self, connections: list[Connection]) -> dict[Connection, Connection]:
        """The source's connections that are kept, each with that of the new bag; says what is left out."""
        names = {connection.topic for connection in connections} or set(INPUTS.values())
        if missing := set(self._keep) - names - {"all", "none"}:
            raise SourceError(f"--keep {' '.join(sorted(missing))}: there is no such topic; there are: {', '.join(sorted(names))}")
        self._kept = (names if "all" in self._keep else set(self._keep)) - {FUSED_IMAGE, FUSED_VIDEO, FUSED_INFO, "none"}
        copies = {}
        for connection in connections:
            if connection.topic in self._kept:
                try:
                    copies[connection] = self._target(connection)
                except Exception as error:  # rosbags raises anything for definitions that it cannot convert
                    reason = str(error) or type(error).__name__
                    self._source.remarks.append(f"{connection.topic} is left out: it cannot be converted from ROS 1 ({reason})")
        foreign = [item for item in copies.values() if item.encoding != "cdr"]
        if foreign:
            listed = ", ".join(f"{item.topic} ({describe(item)})" for item in foreign)
            self._source.remarks.append(
                f"copied as they are, since they are not of ROS 2: {listed}; `ros2 bag play` refuses such a bag, --keep leaves them out"
            )
        return copies

    def _target(self, connection: Connection) -> Connection:
        """The connection of the new bag for one of the source. Raises what rosbags raises where it cannot be converted."""
        known = self._store
        if connection.encoding != "ros1":
            if connection.encoding == "cdr" and not connection.schema and connection.msgtype in known.fielddefs:
                definition = known.generate_msgdef(connection.msgtype, ros_version=2)[0].encode()
                return connection._replace(schema_encoding="ros2msg", schema=definition)
            return connection
        msgtype = STATIC_MSGTYPE_RENAMES.get(connection.msgtype, connection.msgtype)
        source, target = typestore(connection), self._ros2_types
        target.register({name: fields for name, fields in source.fielddefs.items() if name not in target.fielddefs})
        with redirect_stdout(io.StringIO()):  # rosbags prints there
            self._converters[connection] = generate_message_converter(
                source, target, connection.msgtype, msgtype, {}, src_is2=False, dst_is2=True
            )
        text = target.generate_msgdef(msgtype, ros_version=2)[0].encode()
        qos = tuple(item for item in connection.metadata if item[0] == QOS)
        return Connection(connection.topic, msgtype, "cdr", "ros2msg", text, qos)

    def _open(self, stack: ExitStack) -> None:
        stack.callback(self._staging.remove)
        with write_errors(f"'{self._out}'"):
            self._bag = BagWriter(self._staging.folder / (self._out.stem if self._is_file() else self._out.name))
            stack.callback(self._bag.abort)
            fused = (FUSED_VIDEO, COMPRESSED_VIDEO) if self._video else (FUSED_IMAGE, IMAGE)
            self._fused, self._fused_info = (ros2_connection(*topic, (_RELIABLE,)) for topic in (fused, (FUSED_INFO, CAMERA_INFO)))
            self._inputs = {role: ros2_connection(topic, IMAGE, (_RELIABLE,)) for role, topic in INPUTS.items()}
            self._bag.add(self._fused)
            for target in dict.fromkeys(self._copies.values()):
                self._bag.add(target)
            if self._has_info:
                self._bag.add(self._fused_info)

    def _is_file(self) -> bool:
        return self._out.suffix.lower() == ".mcap"

    def copy(self, connection: Connection, log_ns: int, data: bytes) -> None:
        """Take a message of the source bag; the source calls it for every one of ``wanted``, before the fused frames that depend on it."""
        self._log_ns = log_ns
        if convert := self._converters.get(connection):
            try:
                data = bytes(convert(data))
            except Exception:  # rosbags raises anything for damaged bytes
                self._unconverted[connection.topic] += 1
                return
        role = self._info_roles.get(connection.topic)
        if role and connection.msgtype == CAMERA_INFO and connection.encoding in READ_ENCODINGS:
            with suppress(Exception):  # the same; the topic is copied all the same
                info = self._store.deserialize_cdr(data, CAMERA_INFO)
                self._infos[role] = crop_camera_info(info, getattr(self._source.inputs, role).rectangle)
        target = self._copies.get(connection)
        if target is not None:
            self._writer.call(self._write, target, log_ns, data)

    def take(self, pair: FramePair) -> None:
        """Keep the cameras' frames of a pair that comes from pictures or videos."""
        if isinstance(self._source, BagSource):
            return
        self._log_ns = pair.rgb.stamp_ns or frame_stamp_ns(self._taken, STILLS_HZ)
        self._taken += 1
        for role, frame in (("thermal", pair.thermal), ("rgb", pair.rgb)):
            if INPUTS[role] in self._kept:
                stamp_ns = frame.stamp_ns or self._log_ns
                self._write_image(self._inputs[role], stamp_ns, frame.frame_id or role, frame.data, frame.counts_encoding)

    def write(self, name: str, fused: FusedFrame) -> None:
        """Queue one fused frame, and the camera_info of the camera whose pixels it has."""
        stamp_ns = fused.stamp_ns or self._log_ns
        if self._video:
            for packet in self._video.encode(fused.image, fused.encoding, stamp_ns, self._output):
                video = self._store.types[COMPRESSED_VIDEO](
                    self._time(packet.stamp_ns), fused.frame_id, np.frombuffer(packet.data, np.uint8), "h264"
                )
                self._writer.call(self._write, self._fused, self._log_ns, self._store.serialize_cdr(video, COMPRESSED_VIDEO))
        else:
            self._write_image(self._fused, stamp_ns, fused.frame_id, fused.image, fused.encoding)
        info = fused_camera_info(self._infos, fused, scaled=self._output.grid == "size")
        if info is not None:
            self._writer.call(self._write, self._fused_info, self._log_ns, self._store.serialize_cdr(info, CAMERA_INFO))
        self._written += 1

    def _time(self, stamp_ns: int) -> Any:
        return self._store.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 1_000_000_000))

    def _write_image(self, connection: Connection, stamp_ns: int, frame_id: str, pixels: Array, encoding: str) -> None:
        pixels = np.ascontiguousarray(pixels)
        image = self._store.types[IMAGE](
            header=self._store.types["std_msgs/msg/Header"](stamp=self._time(stamp_ns), frame_id=frame_id),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels.strides[0],
            data=pixels.reshape(-1).view(np.uint8),
        )
        self._writer.call(self._write, connection, self._log_ns, self._store.serialize_cdr(image, IMAGE))

    def _write(self, connection: Connection, log_ns: int, data: bytes | memoryview) -> None:
        with write_errors(f"'{self._out}'"):
            self._bag.write(connection, log_ns, data)

    def _finish(self, good: bool) -> None:
        if good and not self._written:
            raise SourceError("no pair was fused, so no bag was written; 'aenet inspect' says what would be paired, and why not")
        if not good:
            return
        self._source.remarks += [f"{count} messages of {topic} are damaged and left out" for topic, count in self._unconverted.items()]
        with write_errors(f"'{self._out}'"):
            self._bag.close()
            finished = self._bag.file if self._is_file() else self._bag.folder
            if self._out.exists():
                self._out.rename(self._replaced)
            try:
                finished.rename(self._out)
            except BaseException:
                if self._replaced.exists():
                    with suppress(OSError):
                        self._replaced.rename(self._out)
                raise
