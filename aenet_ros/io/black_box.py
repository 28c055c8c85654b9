"""Reads a black box of the node: what the diagnostics said, and whether the same inputs give the same pictures again."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aenet_ros.config import Config, build
from aenet_ros.core.camera import camera_from_info
from aenet_ros.core.crop import crop_camera_info, crop_frame
from aenet_ros.core.errors import AenetError, ConfigError, SourceError
from aenet_ros.core.frames import Frame, FramePair, FusedFrame
from aenet_ros.health.fallback import FallbackFrame, StreamInfo
from aenet_ros.io.bag_files import Connection
from aenet_ros.io.bags import Bag, open_bag
from aenet_ros.messages.codec import decode_rgb, decode_thermal
from aenet_ros.pipeline import FusionPipeline

RECORDS = "/black_box"
KEYS = {"version", "device", "precision", "backend", "model", "configuration", "node", "reason", "roles", "fused"}
MOST_FRAMES = 400  # of a role that wait for their picture
SIZE = (480, 640)


def explain(path: Path, configure: Callable[[Config], Config], progress: Callable[[], object]) -> dict[str, Any]:
    """The report, ready for JSON: ``statuses`` (the worst of each, worst first) and ``cause``; of a black box also what its replay gives.

    ``configure``: changes the recorded configuration. ``progress`` is called for each message. Raises SourceError for a bag that holds
    neither a black box nor diagnostics, and what FusionPipeline raises.
    """
    remarks: list[str] = []
    with open_bag(path, remarks) as bag:
        header = _header(bag)
        topics = {*header["roles"], header["fused"]} if header else set()
        wanted = [item for item in bag.counts if item.topic in topics or item.topic.endswith((RECORDS, "/diagnostics"))]
        statuses = _Statuses(header["node"] if header else "")
        replay = _Replay(header, configure) if header else None
        try:
            for connection, _, data in bag.messages(wanted, remarks):
                if connection.msgtype == "diagnostic_msgs/msg/DiagnosticArray":
                    statuses.add(bag.deserialize(connection, data))
                elif replay is not None:
                    replay.take(connection, bag.deserialize(connection, data))
                progress()
        finally:
            if replay is not None:
                replay.pipeline.close()
    if not header and not statuses.worst:
        raise SourceError(f"{path} is no black box and holds no diagnostics of a fusion node; `aenet inspect {path}` says what it holds")
    cause = statuses.cause() or header.get("reason", "no status was above OK")
    report = {"bag": str(path), "cause": cause, "statuses": statuses.rows(), "remarks": remarks}
    return {**report, **replay.report()} if replay is not None else report


def _header(bag: Bag) -> dict[str, Any]:
    """The first record; empty in another bag."""
    records = [item for item in bag.counts if item.topic.endswith(RECORDS) and item.msgtype == "std_msgs/msg/String"]
    for connection, _, data in bag.messages(records, []):
        header: dict[str, Any] = json.loads(bag.deserialize(connection, data).data)
        if not header.keys() >= KEYS:
            raise SourceError(
                f"{bag.path}: the black box is of another version of aenet_ros; it lacks {', '.join(sorted(KEYS - header.keys()))}"
            )
        return header
    return {}


class _Statuses:
    """The worst of each status of a node; ``node`` "": of any."""

    def __init__(self, node: str) -> None:
        self._node = node
        self.worst: dict[str, dict[str, Any]] = {}

    def add(self, message: Any) -> None:
        for status in message.status:
            node, _, name = status.name.partition(": ")
            values = {item.key: item.value for item in status.values}
            if "code" not in values or node != (self._node or node):
                continue
            if int(status.level) >= self.worst.get(status.name, {"level": 0})["level"]:
                row = {"name": name, "level": int(status.level), "code": values.pop("code"), "message": status.message}
                self.worst[status.name] = {**row, "node": node, "values": values}

    def rows(self) -> list[dict[str, Any]]:
        return sorted(self.worst.values(), key=lambda row: -row["level"])

    def cause(self) -> str:
        """The message of the worst status, "" if all are OK; fusion has the most severe message of all, and comes first."""
        worst = self.rows()[:1]
        return str(worst[0]["message"]) if worst and worst[0]["level"] else ""


class _Replay:
    """Makes the pictures of a black box again, each from the pipeline's state before it, and compares them."""

    def __init__(self, header: dict[str, Any], configure: Callable[[Config], Config]) -> None:
        self._header, self._roles = header, header["roles"]
        placed = {"model.device": header["device"], "model.precision": header["precision"]}
        self._config = configure(build({**header["configuration"], **placed}))
        self.pipeline = FusionPipeline(self._config)
        self.pipeline.fuser.choose_backend(SIZE, header["backend"])
        self._frames: dict[str, dict[int, Frame]] = {"thermal": {}, "rgb": {}, "depth": {}}
        self._received: Counter[str] = Counter()
        self._undecoded: Counter[str] = Counter()
        self._record: dict[str, Any] = {}
        self._picture: Any = None
        self._pictures = self._equal = self._held = self._early = 0
        self._not_made: Counter[str] = Counter()
        self._different: list[dict[str, Any]] = []

    def take(self, connection: Connection, message: Any) -> None:
        """A message of the bag, in order."""
        role = self._roles.get(connection.topic)
        if role in self._frames:
            self._add_frame(role, message)
        elif role == "shutter":  # the state of each picture has it
            self._received[role] += 1
        elif role is not None:
            self._received[role] += 1
            self._set_intrinsics(role.split()[0], message)
        elif connection.topic.endswith(RECORDS):
            self._record = json.loads(message.data)
        else:
            self._picture = message
        if "state" in self._record and self._picture is not None:
            self._compare(self._record, self._picture)
            self._record, self._picture = {}, None

    def _add_frame(self, role: str, message: Any) -> None:
        self._received[role] += 1
        camera = "rgb" if role == "depth" else role  # a depth image is aligned to the whole rgb frame
        stream = getattr(self._config.input, camera)
        try:
            frame = (decode_rgb if role == "rgb" else decode_thermal)(message, "" if role == "depth" else stream.encoding)
            frame = crop_frame(frame, stream.rectangle, f"input.{camera}.crop")
        except Exception as error:  # as in the node
            self._undecoded[f"{role}: {error}"] += 1
            return
        frames = self._frames[role]
        frames[frame.stamp_ns] = frame
        if len(frames) > MOST_FRAMES:
            del frames[next(iter(frames))]

    def _set_intrinsics(self, role: str, message: Any) -> None:
        try:
            info = crop_camera_info(message, getattr(self._config.input, role).rectangle)
            self.pipeline.registration.set_intrinsics(role, camera_from_info(info))
        except ConfigError as error:
            self._undecoded[f"{role} camera_info: {error}"] += 1

    def _compare(self, record: dict[str, Any], picture: Any) -> None:
        self._pictures += 1
        if record["kind"] == "held":
            self._held += 1
            return
        try:
            fused = self._make(record)
        except KeyError:
            self._early += 1
        except AenetError as error:
            self._not_made[str(error)] += 1
        else:
            there = np.frombuffer(bytes(picture.data), np.uint8)
            if fused.image.size != there.size or fused.encoding != picture.encoding:
                self._different.append({"stamp_ns": record["stamp_ns"], "levels": None, "share": 1.0})
            elif (off := np.abs(fused.image.reshape(-1).astype(np.int16) - there)).any():
                self._different.append({"stamp_ns": record["stamp_ns"], "levels": int(off.max()), "share": float((off > 0).mean())})
            else:
                self._equal += 1

    def _make(self, record: dict[str, Any]) -> FusedFrame:
        """The picture of a record. Raises KeyError where a frame is missing, and what the pipeline raises."""
        config = build(record["config"], self._config) if record["config"] else self._config
        kind, frames = record["kind"], self._frames
        if kind != "pair":
            offset_ns = config.sync.clock_offset_ns if kind == "thermal" else 0
            frame = replace(frames[kind][record["frame_ns"] + offset_ns], stamp_ns=record["frame_ns"])
            streams = {role: StreamInfo((size[0], size[1]), frame_id) for role, (size, frame_id) in record["streams"].items()}
            self.pipeline.restore_temporal(record["state"])
            return self.pipeline.fallback(FallbackFrame(kind, frame, streams), config)
        depth = frames["depth"][record["depth_ns"]] if record["depth_ns"] is not None else None
        pair = FramePair(frames["thermal"][record["thermal_ns"]], frames["rgb"][record["rgb_ns"]], record["difference_ns"], depth)
        self.pipeline.restore_temporal(record["state"])
        return self.pipeline.submit(pair, config, period_ns=record["period_ns"]).result()

    def report(self) -> dict[str, Any]:
        header, fuser = self._header, self.pipeline.fuser
        weights = (header["model"].get("sha256"), fuser.card.get("sha256"))
        return {
            "node": header["node"],
            "version": header["version"],
            "reason": header["reason"],
            "configuration": header["configuration"],
            "received": dict(self._received),
            "undecoded": dict(self._undecoded),
            "pictures": self._pictures,
            "equal": self._equal,
            "held": self._held,
            "early": self._early,
            "different": self._different,
            "not_made": dict(self._not_made),
            "there": " ".join(header[name] for name in ("device", "precision", "backend")),
            "here": f"{fuser.device} {fuser.precision} {fuser.backend}",
            "same_weights": weights[0] == weights[1],
        }
