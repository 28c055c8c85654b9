"""H.264 with PyAV for topics, one packet a picture; and the pixels and colour tags that all written videos share."""

import re
import statistics
from collections import deque
from fractions import Fraction
from typing import Any, NamedTuple

import cv2
import numpy as np

from aenet_ros.config import OutputConfig
from aenet_ros.core.errors import ImageError, MissingDependencyError, first_line
from aenet_ros.core.frames import Array, convert
from aenet_ros.io.video_decoder import OLDEST_PYAV, PICTURE_I, load_av

# Readers that ignore the tags take BT.601 too.
COLOUR_TAGS = {"colorspace": "smpte170m", "color_primaries": "bt709", "color_trc": "bt709"}
ENCODERS: dict[str, dict[str, str]] = {
    "h264_nvenc": {"preset": "p3", "tune": "ull", "rc": "cbr", "zerolatency": "1", "delay": "0", "forced-idr": "1"},
    "h264_v4l2m2m": {},
    "libx264": {"preset": "superfast", "tune": "zerolatency", "threads": "1", "forced-idr": "1"},
}
"""FFmpeg's encoders of H.264 with their options, in the order in which they are tried. Only the last one needs no hardware."""
SOFTWARE = "libx264"
FIRST_RATE_HZ = 30.0
"""Assumed until the stamps tell the rate."""
RATE_CHANGE = 1.5
"""The stream is restarted if the frame rate differs by this factor: an encoder spends bitrate / configured frame rate on a frame."""
MIN_PERIODS = 5
BUFFER_S = 0.5  # a keyframe takes at most so much of the bitrate
MOST_HELD = 30
"""Pictures that a hardware encoder may hold; one with more counts as broken."""
_START_CODE = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)
_SLICE, _IDR, _SPS = 1, 5, 7  # types of NAL units


class VideoPacket(NamedTuple):
    """One picture of an H.264 stream in Annex B. A keyframe has SPS and PPS, so that decoding can begin there.

    ``width`` and ``height`` are even: those of the picture, or one more. ``number`` counts pictures over all restarts of the stream.
    """

    data: bytes
    keyframe: bool
    stamp_ns: int
    width: int
    height: int
    number: int


class VideoEncoder:
    """Encodes the pictures of one topic as H.264 without B-frames: each picture's packet is complete before the next picture.

    The stream restarts with a keyframe where the size or the bitrate of ``config`` changes. Hardware encoders are tried first if
    ``hardware``; one that fails is not tried again. libx264 uses one thread, so its bytes depend on the pictures alone.
    name: the encoder in use, or ""; rejected: by encoder, why it is not used. Raises MissingDependencyError without PyAV.
    """

    def __init__(self, *, hardware: bool) -> None:
        self._av = load_av()
        self._names = list(ENCODERS) if hardware else [SOFTWARE]
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._context: Any = None
        self._opened_for: tuple[int, ...] = ()
        self._rate_hz = FIRST_RATE_HZ
        self._periods_ns: deque[int] = deque(maxlen=30)
        self._number = self._keyframe_ns = self._last_ns = 0
        self._stamps_ns: dict[int, int] = {}
        self._headers = b""
        self.name = ""
        self.rejected: dict[str, str] = {}

    def encode(self, image: Array, encoding: str, stamp_ns: int, config: OutputConfig, keyframe: bool = False) -> list[VideoPacket]:
        """The packets that are ready: with libx264 that of ``image``; hardware may hold one back.

        ``image``: uint8 [H, W, 3] (rgb8, bgr8) or [H, W] (mono8); the last column or row is repeated where the size is odd.
        A keyframe comes every ``config.video_keyframe_s`` of the stamps, where stamps go back, and if ``keyframe``.
        Raises MissingDependencyError if no encoder opens, ImageError if the picture cannot be encoded; a new stream then begins.
        """
        height, width = image.shape[:2]
        size = (width + width % 2, height + height % 2)
        due = stamp_ns < self._last_ns or stamp_ns - self._keyframe_ns >= config.video_keyframe_s * 1e9
        self._periods_ns.append(stamp_ns - self._last_ns)
        self._last_ns = stamp_ns
        reopen = self._opened_for != (*size, config.video_bitrate_kbps) or (due and self._rate_changed())
        if reopen:
            self._open(size, config)
        keyframe = keyframe or due or reopen
        if keyframe:
            self._keyframe_ns = stamp_ns
        try:
            frame = to_yuv(self._reformatter, picture_frame(self._av, image, encoding, size), "yuv420p")
            frame.pts, frame.time_base = self._number, self._context.time_base
            if keyframe:
                frame.pict_type = PICTURE_I
            self._stamps_ns[self._number] = stamp_ns
            self._number += 1
            if len(self._stamps_ns) > MOST_HELD:
                raise ValueError(f"it holds {MOST_HELD} pictures back")
            return [packet for raw in self._context.encode(frame) for packet in self._packets(raw)]
        except (self._av.FFmpegError, ValueError, KeyError, OSError) as error:
            name = self.name
            if name != SOFTWARE:
                self.rejected[name] = _reason(error)
            self.close()
            raise ImageError(f"{encoding} picture of {width}x{height} cannot be encoded by {name}: {_reason(error)}") from error

    def close(self) -> None:
        """Free the encoder; the next picture begins a new stream."""
        self._context, self._opened_for, self.name = None, (), ""
        self._stamps_ns.clear()
        self._periods_ns.clear()

    def _rate_changed(self) -> bool:
        """Whether the last pictures came at another rate than the encoder was told; stores the rate."""
        period_ns = statistics.median(self._periods_ns)
        rate_hz = min(max(1e9 / period_ns, 1.0), 1000.0) if period_ns > 0 else self._rate_hz
        if len(self._periods_ns) < MIN_PERIODS or 1 / RATE_CHANGE < rate_hz / self._rate_hz < RATE_CHANGE:
            return False
        self._rate_hz = rate_hz
        return True

    def _open(self, size: tuple[int, int], config: OutputConfig) -> None:
        self.close()
        bits = config.video_bitrate_kbps * 1000
        rate = Fraction(self._rate_hz).limit_denominator(1001)
        options = {"bf": "0", "g": str(round(2 * config.video_keyframe_s * self._rate_hz) + 1), "maxrate": str(bits)}
        options |= {"bufsize": str(round(bits * BUFFER_S)), "color_range": "tv", **COLOUR_TAGS}
        for name in self._names:
            if name in self.rejected:
                continue
            try:
                context = self._av.CodecContext.create(name, "w")
                context.width, context.height, context.pix_fmt = *size, "yuv420p"
                context.time_base, context.framerate, context.bit_rate = 1 / rate, rate, bits
                context.options = {**options, **ENCODERS[name]}
                context.open()
            except (self._av.FFmpegError, ValueError, OSError) as error:
                self.rejected[name] = _reason(error)
                continue
            self._context, self._opened_for, self.name = context, (*size, config.video_bitrate_kbps), name
            self._headers = bytes(context.extradata or b"")
            return
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.rejected.items())
        raise MissingDependencyError(
            f"no H.264 encoder of this PyAV can be opened for {size[0]}x{size[1]} ({reasons}): pip install 'av>={OLDEST_PYAV}'"
        )

    def _packets(self, raw: Any) -> list[VideoPacket]:
        """The packet with SPS and PPS before a keyframe; none for the packet of only these that V4L2 drivers send first."""
        data = bytes(raw)
        types = {match[1][0] & 31 for match in _START_CODE.finditer(data)}
        if not types:
            raise ValueError("it does not write Annex B")
        if not types & {_SLICE, _IDR}:
            self._headers = data
            return []
        if _IDR in types and _SPS not in types:
            data = self._headers + data
        stamp_ns = self._stamps_ns[raw.pts]
        for number in [number for number in self._stamps_ns if number <= raw.pts]:
            del self._stamps_ns[number]
        width, height = self._opened_for[:2]
        return [VideoPacket(data, _IDR in types, stamp_ns, width, height, raw.pts)]


def _reason(error: Exception) -> str:
    """The error in words, without FFmpeg's call and its arguments."""
    return getattr(error, "strerror", None) or first_line(error)


def picture_frame(av: Any, image: Array, encoding: str, size: tuple[int, int]) -> Any:
    """An av.VideoFrame, rgb24, of ``image`` (rgb8, bgr8 or mono8); the last column and row are repeated up to (width, height)."""
    pixels = convert(image, encoding, "rgb8")
    bottom, right = size[1] - pixels.shape[0], size[0] - pixels.shape[1]
    if bottom or right:
        pixels = cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")


def to_yuv(reformatter: Any, frame: Any, pixel_format: str) -> Any:
    """The frame by BT.601, full range (0..255) in the formats yuvj..., else 16..235. Keep one ``reformatter`` for each stream."""
    colour_range = "JPEG" if pixel_format.startswith("yuvj") else "MPEG"
    return reformatter.reformat(frame, format=pixel_format, dst_colorspace="ITU601", dst_color_range=colour_range, threads=1)
