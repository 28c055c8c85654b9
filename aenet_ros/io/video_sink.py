"""Fused frames into a video that browsers, phones and editors play, written completely or not at all."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from aenet_ros.core.errors import SourceError
from aenet_ros.core.files import write_error
from aenet_ros.core.frames import FusedFrame
from aenet_ros.io.sink import StagedSink, staging_path, write_errors
from aenet_ros.io.video_decoder import load_av
from aenet_ros.io.video_encoder import COLOUR_TAGS, picture_frame, to_yuv
from aenet_ros.io.video_file import RisingClock

MOST_GAP_NS = 3_600_000_000_000
"""A longer gap between two stamps is a clock that was set."""
GIF_TICKS = 2
"""Least time from picture to picture in 1/100 s: viewers show faster ones slowly."""


class Format(NamedTuple):
    """How a suffix is encoded. ticks: steps of time a second; 0: one for each frame of the source's rate. even: sizes must be."""

    codec: str
    pixel_format: str
    ticks: int
    even: bool
    options: dict[str, str]


COMMON = {"threads": "4", **COLOUR_TAGS}  # a fixed number of threads, since the bytes depend on it
X264 = {**COMMON, "color_range": "tv", "preset": "veryfast", "crf": "18"}
VP9 = {**COMMON, "color_range": "tv", "deadline": "realtime", "cpu-used": "6", "row-mt": "1", "crf": "24", "b": "0"}
MJPEG = {**COMMON, "color_range": "pc", "flags": "+qscale", "global_quality": str(3 * 118)}  # 118: FF_QP2LAMBDA
H264 = Format("libx264", "yuv420p", 90_000, True, X264)
FORMATS = {
    ".mp4": H264,
    ".m4v": H264,
    ".mov": H264,
    ".mkv": H264._replace(ticks=1000),
    ".webm": Format("libvpx-vp9", "yuv420p", 1000, True, VP9),
    ".avi": Format("mjpeg", "yuvj420p", 0, False, MJPEG),
    ".gif": Format("gif", "pal8", 100, False, {}),
}


class VideoSink(StagedSink):
    """A video in the format of the path's suffix (``FORMATS``), renamed to its name when it is complete. See ``Sink``.

    Frames are shown at the times of their stamps, from the first one's on. ``rate_hz``: the mean rate. ``remarks`` gets sentences on
    frames that are padded, left out or moved. Raises MissingDependencyError without PyAV, SourceError without the encoder.
    """

    def __init__(self, path: Path, rate_hz: float, remarks: list[str]) -> None:
        super().__init__(staging_path(path))
        self._path, self._remarks = path, remarks
        self._format = FORMATS[path.suffix.lower()]
        self._part = self._staging.folder / f"part{path.suffix.lower()}"
        self._rate = Fraction(rate_hz).limit_denominator(1001)
        self._clock = RisingClock(round(1e9 / rate_hz), 1, MOST_GAP_NS)
        self._begin_ns = 0
        self._last_tick = -GIF_TICKS
        self._size = (0, 0)
        self._too_fast = 0
        self._container: Any = None
        self._stream: Any = None
        self._palette: Any = None
        self._av = load_av()
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        try:
            self._av.codec.Codec(self._format.codec, "w")
        except ValueError as error:
            raise SourceError(
                f"'{path}': this build of FFmpeg has no encoder {self._format.codec}; give one of {', '.join(FORMATS)}, or a folder"
            ) from error

    def write(self, name: str, fused: FusedFrame) -> None:
        """Queue one frame. All must have the first one's size."""
        self._writer.call(self._write, name, fused)

    def _write(self, name: str, fused: FusedFrame) -> None:
        height, width = fused.image.shape[:2]
        with self._words():
            if self._container is None:
                self._begin(width, height)
                self._begin_ns = fused.stamp_ns
            if (width, height) != self._size:
                text = f"frame {name} is {width}x{height}, the video {self._size[0]}x{self._size[1]}; write to a folder instead"
                raise SourceError(text)
            ticks = self._format.ticks or self._rate
            tick = round(self._clock.rise(fused.stamp_ns - self._begin_ns) * ticks / 1_000_000_000)
            if self._palette is not None and tick < self._last_tick + GIF_TICKS:
                self._too_fast += 1
                return
            self._last_tick = max(tick, self._last_tick + 1)
            frame = self._encodable(fused)
            frame.pts, frame.time_base = self._last_tick, 1 / Fraction(ticks)
            self._container.mux(self._stream.encode(frame))
        self._written += 1

    def _begin(self, width: int, height: int) -> None:
        self._size = (width, height)
        muxer = {"movflags": "faststart"} if self._path.suffix.lower() in (".mp4", ".m4v", ".mov") else {}
        self._container = self._av.open(str(self._part), "w", options=muxer)
        stream = self._stream = self._container.add_stream(self._format.codec, rate=self._rate, options=self._format.options)
        stream.width, stream.height = width, height
        if self._format.even:
            stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = self._format.pixel_format
        stream.codec_context.time_base = stream.time_base = 1 / Fraction(self._format.ticks or self._rate)
        if self._format.codec == "gif":
            self._palette = self._palette_filter(width, height)
        if (stream.width, stream.height) != (width, height):
            self._remarks.append(
                f"{self._path.name}: the frames have {width}x{height} pixels, and the video {stream.width}x{stream.height}, since players "
                "need even numbers: the last column or row is repeated"
            )

    def _palette_filter(self, width: int, height: int) -> Any:
        """A filter that gives each picture the 256 colours that fit it best."""
        graph = self._av.filter.Graph()
        source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=Fraction(1, self._format.ticks))
        split, best, use = graph.add("split"), graph.add("palettegen", "stats_mode=single"), graph.add("paletteuse", "new=1")
        source.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(best, 1, 0)
        best.link_to(use, 0, 1)
        use.link_to(graph.add("buffersink"))
        graph.configure()
        return graph

    def _encodable(self, fused: FusedFrame) -> Any:
        """The av.VideoFrame of the picture, in the format's pixels."""
        frame = picture_frame(self._av, fused.image, fused.encoding, (self._stream.width, self._stream.height))
        if self._palette is not None:
            frame.pts, frame.time_base = self._written, Fraction(1, self._format.ticks)
            self._palette.push(frame)
            return self._palette.pull()
        return to_yuv(self._reformatter, frame, self._format.pixel_format)

    def _open(self, stack: ExitStack) -> None:
        stack.callback(self._staging.remove)

    def _finish(self, good: bool) -> None:
        try:
            if not good:
                return
            if self._container is None:
                raise SourceError("no frame was fused, so no video was written")
            with self._words():
                self._container.mux(self._stream.encode(None))
                self._container.close()
        finally:
            self._release()
        with write_errors(f"'{self._path}'"):
            self._part.replace(self._path)
        if self._too_fast:
            self._remarks.append(f"{self._path.name}: {self._too_fast} frames are left out, since a GIF shows at most 50 a second")
        if self._clock.corrected:
            self._remarks.append(
                f"{self._path.name}: {self._clock.corrected} frames have stamps that do not rise or jump by more than an hour; they are "
                "shown one period after the frame before"
            )

    def _release(self) -> None:
        """Close the file, also after an error, which a full disk raises here once more."""
        if self._container is not None:
            with suppress(self._av.FFmpegError, OSError):
                self._container.close()
        self._container = self._stream = self._palette = None

    @contextmanager
    def _words(self) -> Iterator[None]:
        try:
            yield
        except (self._av.FFmpegError, OSError) as error:
            raise write_error(f"'{self._path}'", error) from error
