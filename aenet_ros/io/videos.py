"""Pairs of two videos, or of one that shows both cameras side by side."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.config import SyncConfig
from aenet_ros.core.camera import Camera
from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import Frame
from aenet_ros.io.background import items_ahead
from aenet_ros.io.picture_files import luma
from aenet_ros.io.sources import Lost, Named, at_ns, dropped, matched
from aenet_ros.sync.matcher import PairMatcher


class VideoSource:
    """Two videos, or one that shows both cameras side by side (thermal on ``thermal_side``); frames are paired by their times, through
    ``PairMatcher``. ``remarks`` tells of unequal durations, and of frames that a file promises and does not hold."""

    timed = True

    def __init__(self, thermal: Path, rgb: Path | None, sync: SyncConfig, thermal_side: str = "left") -> None:
        self.files = [path for path in (thermal, rgb) if path is not None]
        self.remarks: list[str] = []
        self.done: frozenset[str] = frozenset()
        self.intrinsics: dict[str, Camera] = {}
        self._sync, self._thermal_side = sync, thermal_side
        properties = [_probe(path) for path in self.files]
        self.rate_hz = properties[-1].rate_hz
        self.total = min(item.frames for item in properties)
        if len(properties) == 2 and abs(properties[0].seconds - properties[1].seconds) > 1.5 / min(item.rate_hz for item in properties):
            both = " and ".join(f"{path.name} lasts {item}" for path, item in zip(self.files, properties, strict=True))
            self.remarks.append(f"{both}: what one has more is left out")

    def __iter__(self) -> Iterator[Named | Lost]:
        matcher = PairMatcher(round(self._sync.slop_ms * 1e6), round(self._sync.clock_offset_ms * 1e6), self._sync.queue_size)
        first, last = self.files[0], self.files[-1]
        one = len(self.files) == 1
        frames = _split(first, self._thermal_side, self.remarks) if one else _merge(first, last, self.remarks)
        for index, pair in enumerate(matched(items_ahead(frames), matcher)):
            yield Named(f"{index:06d}", pair)
        self.remarks += dropped(matcher)


class _Video(NamedTuple):
    rate_hz: float
    frames: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.frames / self.rate_hz

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s ({self.frames} frames at {self.rate_hz:.4g} Hz)"


def _probe(path: Path) -> _Video:
    capture = _capture(path)
    rate_hz, frames = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if not 0.1 <= rate_hz <= 10_000:
        raise SourceError(f"{path} does not say its frame rate ({rate_hz:g}); convert it to mp4, or to pictures and use --sequence")
    return _Video(rate_hz, max(frames, 0))


def _capture(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SourceError(f"{path} cannot be opened as a video; it is damaged, or its codec is not in this OpenCV build")
    return capture


def _frames(path: Path, remarks: list[str]) -> Iterator[Frame]:
    capture = _capture(path)
    rate_hz, promised = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    index = 0
    try:
        while (read := capture.read())[0]:
            yield Frame(at_ns(index, rate_hz), np.asarray(read[1]), "bgr8")
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise SourceError(f"{path} holds no frame that can be decoded")
    if index < promised - 1:  # some containers know their number of frames only roughly
        remarks.append(f"{path} promises {promised} frames, and {index} can be decoded: it is damaged or cut off, and the rest is lost")


def _split(path: Path, thermal_side: str, remarks: list[str]) -> Iterator[tuple[str, Frame]]:
    for frame in _frames(path, remarks):
        width = frame.size[1] // 2
        left, right = frame.data[:, :width], frame.data[:, frame.size[1] - width :]
        thermal, rgb = (left, right) if thermal_side == "left" else (right, left)
        yield "thermal", Frame(frame.stamp_ns, luma(thermal), "mono8")
        yield "rgb", Frame(frame.stamp_ns, rgb, "bgr8")


def _merge(thermal: Path, rgb: Path, remarks: list[str]) -> Iterator[tuple[str, Frame]]:
    """Both videos' frames in order of time."""
    streams = {"thermal": _frames(thermal, remarks), "rgb": _frames(rgb, remarks)}
    heads = {name: next(stream, None) for name, stream in streams.items()}
    while waiting := {name: frame for name, frame in heads.items() if frame is not None}:
        name, frame = min(waiting.items(), key=lambda item: item[1].stamp_ns)
        yield name, frame if name == "rgb" else Frame(frame.stamp_ns, luma(frame.data), "mono8")
        heads[name] = next(streams[name], None)
