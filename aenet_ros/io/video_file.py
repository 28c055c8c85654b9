"""A video file: what it says of itself, and its frames with their times."""

import math
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Array, Frame
from aenet_ros.io.source import file_threads
from aenet_ros.io.video_decoder import FrameConverter, SoundFrames, load_av

TRANSPORT_STREAMS = ("mpegts", "mpeg")
"""Formats whose clock begins anywhere."""
BACK_NS = 1_000_000_000
"""Times that step back further than this are those of a new recording in the same file."""


class VideoFile:
    """A video file that can be opened. Raises SourceError.

    rate_hz: mean frame rate, 25 where unknown. frames: number of frames that the file promises; 0: unknown. seconds: its length; 0:
    unknown. start_ns: time of its first frame; 0 for transport streams, whose own start is ``clock_ns``. created: when the recording
    began, as the file says; None: it does not. remarks: sentences on what is special about the file.
    """

    def __init__(self, path: Path, assumed_hz: float = 0.0) -> None:
        """``assumed_hz``: frame rate of a raw stream, which has no times; 0: as the stream says, else 25."""
        self.path, self.remarks = path, list[str]()
        with self._open() as container:
            stream = self._video_stream(container)
            first = next((packet for packet in _packets(container, stream, []) if packet.size), None)
            self._timed = container.start_time is not None
            rate = stream.average_rate if self._timed else (assumed_hz or stream.guessed_rate)
            self.rate_hz = min(max(float(rate or 25), 0.1), 10_000.0)
            self._time_base: Fraction = stream.time_base
            self._in_order = container.format.name == "avi"  # it stores no times, only a place for each frame in order of decoding
            self._transport = container.format.name in TRANSPORT_STREAMS
            self.clock_ns = self._ns(stream.start_time or 0)
            self.start_ns = 0 if self._transport or self._in_order else self.clock_ns - self._reordering_ns(first)
            self.frames = stream.frames
            self.seconds = 0.0 if self._transport else (container.duration or 0) / load_av().time_base
            self.frames = self.frames or round(self.seconds * self.rate_hz)
            self.counted = stream.frames > 0
            self.created = _creation_time(container.metadata)
        if not self._timed:
            self.remarks.append(
                f"{path.name} stores no times: its frames are taken as {self.rate_hz:.4g} a second; give --sequence HZ for another rate"
            )

    def _open(self) -> Any:
        av = load_av()
        try:
            # Damaged tags; from PyAV 19 on they need no word.
            return av.open(str(self.path), **({"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}))
        except av.FFmpegError as error:
            raise SourceError(
                f"{self.path} cannot be opened as a video ({error.strerror}): it is damaged, its recording did not end properly, or it is "
                "no video"
            ) from error

    def _video_stream(self, container: Any) -> Any:
        attached = load_av().stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & attached]
        if not streams:
            raise SourceError(f"{self.path} cannot be used as a video: it holds no video stream")
        if streams[0].codec_context is None:
            raise SourceError(f"{self.path} cannot be decoded: this build of FFmpeg lacks its codec; convert it to H.264 in mp4")
        if len(streams) > 1 and not self.remarks:
            self.remarks.append(
                f"{self.path.name} holds {len(streams)} video streams, and the first is used; for another: "
                f"ffmpeg -i {self.path.name} -map 0:v:1 -c copy second.mkv"
            )
        return streams[0]

    def _ns(self, ticks: int) -> int:
        return round(ticks * self._time_base * 1_000_000_000)

    def _reordering_ns(self, first: Any) -> int:
        """How far the writer moved all frames, so that the decoding times of B-frames begin with 0."""
        if first is None or first.pts is None or first.dts != 0:
            return 0
        return self._ns(first.pts)

    def decode(self, thermal: bool, zero_ns: int, remarks: list[str]) -> Generator[Frame]:
        """The frames, once, with rising stamps: ``zero_ns`` plus the time in the file.

        ``thermal`` as in FrameConverter. ``remarks`` gets sentences on what is left out and why. Raises SourceError for no frame.
        """
        converter, clock = FrameConverter(thermal), RisingClock(round(1e9 / self.rate_hz), -BACK_NS)
        given = turned = interlaced = 0
        packets: list[int | None] = []
        with self._open() as container:
            stream = self._video_stream(container)
            stream.thread_type, stream.codec_context.thread_count = "AUTO", file_threads()
            sound = SoundFrames(stream.codec_context)
            for frame in _decoded(container, stream, sound, packets, remarks):
                index = given + sound.left_out
                given += 1
                time_ns = self._time_ns(frame, index, packets)
                try:
                    converted = converter.convert(frame, zero_ns + clock.rise(time_ns))
                except ImageError as error:
                    raise SourceError(f"{self.path}: {error}") from error
                turned, interlaced = turned or converter.turned, interlaced or frame.interlaced_frame
                yield converted
        name = self.path.name
        if not given:
            reason = sound.problem or "its frames are missing"
            raise SourceError(f"{self.path} holds no frame that can be decoded ({reason}); convert it to H.264 in mp4")
        if sound.left_out:
            remarks.append(f"{name}: {sound.left_out} frames are damaged, or build on damaged ones, and are left out")
        if self.counted and len(packets) < self.frames - 1:  # some writers count one frame too many
            remarks.append(f"{name} promises {self.frames} frames and holds {len(packets)}: it is damaged or cut off, and the rest is lost")
        if clock.corrected:
            remarks.append(f"{name}: {clock.corrected} frames have no time or one that does not rise; they follow the frame before")
        if turned:
            remarks.append(f"{name} is turned as its metadata says")
        if interlaced:
            remarks.append(f"{name} is interlaced, so moving edges have combs: ffmpeg -i {name} -vf bwdif deinterlaced.mp4 removes them")

    def first_picture(self) -> Array | None:
        """The first frame as rgb8, uint8 [H, W, 3]; None where there is none, or a grey one."""
        with closing(self.decode(False, 0, [])) as frames, suppress(SourceError):  # is raised again when the frames are read
            frame = next(frames, None)
            return frame.data if frame is not None and frame.encoding == "rgb8" else None
        return None

    def _time_ns(self, frame: Any, index: int, packets: list[int | None]) -> int | None:
        """Time of the frame, the ``index``-th of the file in order of display; None: unknown."""
        if not self._timed:
            return round(index * 1e9 / self.rate_hz)
        ticks = packets[index] if self._in_order and index < len(packets) else frame.pts
        if ticks is None:
            return None
        return self._ns(ticks) - self.clock_ns + self.start_ns


class RisingClock:
    """Makes times that rise. corrected: number of times that were missing, did not rise, or were a jump.

    A jump is a step of less than ``least_ns`` or more than ``most_ns``. It becomes one period, and later times go on from there.
    """

    def __init__(self, period_ns: int, least_ns: float, most_ns: float = math.inf) -> None:
        self._period_ns, self._least_ns, self._most_ns = period_ns, least_ns, most_ns
        self._shift_ns = 0
        self._last_ns: int | None = None
        self.corrected = 0

    def rise(self, time_ns: int | None) -> int:
        """The time itself if it is later than the last one. Missing: a period later; slightly back: at once after the last one."""
        if self._last_ns is None:
            self.corrected += time_ns is None
            self._last_ns = time_ns or 0
            return self._last_ns
        step_ns = self._period_ns if time_ns is None else time_ns + self._shift_ns - self._last_ns
        jumped = not self._least_ns <= step_ns <= self._most_ns
        if jumped:
            self._shift_ns += self._period_ns - step_ns
            step_ns = self._period_ns
        self.corrected += time_ns is None or jumped or step_ns <= 0
        self._last_ns += max(step_ns, 1)
        return self._last_ns


def _packets(container: Any, stream: Any, remarks: list[str]) -> Iterator[Any]:
    """The stream's packets; a file that cannot be read further ends there."""
    try:
        yield from container.demux(stream)
    except load_av().FFmpegError as error:
        remarks.append(f"{Path(container.name).name} cannot be read to its end: {error.strerror}")


def _decoded(container: Any, stream: Any, sound: SoundFrames, packets: list[int | None], remarks: list[str]) -> Iterator[Any]:
    """The stream's sound frames; ``packets`` gets the decoding time of each packet, in ticks."""
    for packet in _packets(container, stream, remarks):
        if packet.size:  # AVI has empty ones in place of frames that the recorder dropped
            packets.append(packet.dts)
            yield from sound.decode(packet)
    yield from sound.decode(None)


def _creation_time(metadata: Any) -> datetime | None:
    text = metadata.get("creation_time") or metadata.get("com.apple.quicktime.creationdate") or ""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo and found.year > 1980 else None  # cameras without a clock write 1904 or 1970
