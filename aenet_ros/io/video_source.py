"""Pairs from two videos, or from one that shows both cameras side by side."""

import heapq
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.io.picture_checks import PALETTE, PHOTO, colour_kind
from aenet_ros.io.source import Source, SourceItem, dropped_frames, prefetch_items
from aenet_ros.io.video_file import VideoFile
from aenet_ros.sync.matcher import PairMatcher

ZERO_NS = 1_000_000_000
"""Stamp of the time 0 of a video, since a stamp of 0 means that there is none."""
MOST_APART_S = 86_400.0
"""Creation times further apart than a day are of clocks that were not set."""


class VideoSource(Source):
    """Two videos, or one that shows both cameras side by side; frames are paired by the times in the files, through ``PairMatcher``.

    Both files count from the same instant, unless ``sync.clock_offset_ms`` says otherwise. ``remarks`` reports what the files say about
    their beginnings, unequal lengths, and all frames that are left out. See ``Source``.
    """

    def __init__(self, files: list[Path], sync: SyncConfig, thermal_side: str, assumed_hz: float = 0.0, force: bool = False) -> None:
        super().__init__()
        self.files, self._sync, self._thermal_side = files, sync, thermal_side
        self._videos = [VideoFile(path, assumed_hz) for path in files]
        self.rate_hz = self._videos[-1].rate_hz
        self.total = min(video.frames for video in self._videos)
        self.remarks = [text for video in self._videos for text in video.remarks]
        if len(files) == 2:
            if files[0].resolve() == files[1].resolve():
                raise SourceError(
                    f"{files[0]} is given as thermal and as rgb video; give two videos, or it alone if it shows both side by side"
                )
            thermal, rgb = self._videos
            if not force:
                _check_order(thermal, rgb)
            self.remarks += _beginnings(thermal, rgb, sync.clock_offset_ms) + _lengths(thermal, rgb)
        self._zero_ns = ZERO_NS - min(0, *(video.start_ns for video in self._videos))

    def __iter__(self) -> Iterator[SourceItem]:
        for index, pair in enumerate(self._pairs()):
            yield SourceItem(f"{index:06d}", pair)

    def _pairs(self) -> Iterator[FramePair]:
        matcher = PairMatcher(self._sync.slop_ns, self._sync.clock_offset_ns, ordered=True)
        for stream, frame in self._frames() if len(self.files) == 2 else prefetch_items(self._halves()):
            yield from matcher.push_thermal(frame) if stream == "thermal" else matcher.push_rgb(frame)
        yield from matcher.flush()
        self.remarks += dropped_frames(matcher)

    def _halves(self) -> Iterator[tuple[str, Frame]]:
        """("thermal" or "rgb", frame) of a video that shows both."""
        offset_ns = self._sync.clock_offset_ns
        for frame in self._videos[0].decode(False, self._zero_ns, self.remarks):
            width = frame.size[1] // 2
            left, right = frame.data[:, :width], frame.data[:, frame.size[1] - width :]
            thermal, rgb = (left, right) if self._thermal_side == "left" else (right, left)
            # A crop says where in the whole frame a camera is.
            thermal = thermal if self.inputs.thermal.rectangle is None else frame.data
            rgb = rgb if self.inputs.rgb.rectangle is None else frame.data
            if frame.encoding == "rgb8":
                thermal = np.asarray(cv2.cvtColor(np.ascontiguousarray(thermal), cv2.COLOR_RGB2GRAY))
            grey = "mono8" if frame.encoding == "rgb8" else frame.encoding
            yield "thermal", Frame(frame.stamp_ns + offset_ns, thermal, grey)  # one clock for both halves
            yield "rgb", self._checked_rgb(replace(frame, data=rgb))

    def _frames(self) -> Iterator[tuple[str, Frame]]:
        """("thermal" or "rgb", frame) of two videos in order of time, after the clock offset is subtracted."""
        thermal, rgb = self._videos
        offset_ns = self._sync.clock_offset_ns
        warm = (("thermal", frame) for frame in prefetch_items(thermal.decode(True, self._zero_ns, self.remarks)))
        colour = (("rgb", self._checked_rgb(frame)) for frame in prefetch_items(rgb.decode(False, self._zero_ns, self.remarks)))
        return heapq.merge(warm, colour, key=lambda item: item[1].stamp_ns - (offset_ns if item[0] == "thermal" else 0))

    def _checked_rgb(self, frame: Frame) -> Frame:
        if frame.encoding not in ("rgb8", "mono8"):
            raise SourceError(
                f"{self.files[-1]} holds grey values of more than 12 bits, as a thermal camera records, and is given as the rgb video: "
                "swap the two videos, or convert it to 8 bits"
            )
        return frame


def _check_order(thermal: VideoFile, rgb: VideoFile) -> None:
    """Raise SourceError where the first frames look like those of the other camera."""
    remedy = "give the thermal video first, or --force if this is right"
    picture = rgb.first_picture()
    if picture is not None and colour_kind(picture[:, :, ::-1]) == PALETTE:
        raise SourceError(f"{rgb.path} is given as the rgb video and seems colour-mapped, as thermal videos are: {remedy}")
    picture = thermal.first_picture()
    if picture is not None and colour_kind(picture[:, :, ::-1]) == PHOTO:
        raise SourceError(f"{thermal.path} is given as the thermal video and seems to show colours as a colour camera does: {remedy}")


def _beginnings(thermal: VideoFile, rgb: VideoFile, clock_offset_ms: float) -> list[str]:
    """Sentences on when the two recordings began, where the files say something; the user decides whether their clocks are right."""
    found = []
    period_s = 1 / min(thermal.rate_hz, rgb.rate_hz)
    if abs(thermal.start_ns - rgb.start_ns) * 1e-9 > period_s:
        times = " and ".join(f"{video.path.name} at {video.start_ns * 1e-9:.3f} s" for video in (thermal, rgb))
        found.append(f"{times} of its own time begins; the frames are paired by these times")
    if clock_offset_ms:
        return found
    if thermal.clock_ns != rgb.clock_ns and thermal.clock_ns - thermal.start_ns and rgb.clock_ns - rgb.start_ns:
        apart_ms = (rgb.clock_ns - thermal.clock_ns) * 1e-6
        if period_s * 1e3 < abs(apart_ms) < MOST_APART_S * 1e3:
            found.append(
                f"the clocks of both transport streams begin {abs(apart_ms) / 1e3:.2f} s apart, and the first frames are taken as of one "
                f"instant; if one recorder wrote both: --set sync.clock_offset_ms={apart_ms:.1f}"
            )
    if thermal.created and rgb.created:
        apart_s = (rgb.created - thermal.created).total_seconds()
        if max(1.0, period_s) < abs(apart_s) < MOST_APART_S:  # most files store whole seconds
            found.append(
                f"the recordings began {abs(apart_s):.0f} s apart, as their creation times say ({thermal.created:%H:%M:%S} thermal, "
                f"{rgb.created:%H:%M:%S} rgb), and are paired as if they began together; if both clocks were right: "
                f"--set sync.clock_offset_ms={apart_s * 1e3:.0f}, and refine it"
            )
    return found


def _lengths(thermal: VideoFile, rgb: VideoFile) -> list[str]:
    if not (thermal.seconds and rgb.seconds) or abs(thermal.seconds - rgb.seconds) <= 1.5 / min(thermal.rate_hz, rgb.rate_hz):
        return []
    both = " and ".join(
        f"{video.path.name} lasts {video.seconds:.2f} s ({video.frames} frames at {video.rate_hz:.4g} Hz)" for video in (thermal, rgb)
    )
    return [f"{both}: frames that only one of them has are left out"]
