"""Compressed video with PyAV: the pixels of decoded frames, and a decoder for packets that come one by one (topics of bags)."""

import re
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from aenet_ros.core.errors import ImageError, MissingDependencyError, UnsupportedEncodingError, first_line, sanitize
from aenet_ros.core.frames import Array, Frame
from aenet_ros.io.files import turned

OLDEST_PYAV = 17
"""Older ones ignore the colour matrix and the range that a stream says."""

CODECS = {
    "h264": "h264|avc|x264",
    "hevc": "h265|hevc|x265",
    "vp9": "vp9",
    "vp8": "vp8|vpx",
    "av1": "av1|aom",
    "mjpeg": "mjpe?g|jpeg",
    "mpeg4": "mpeg4",
    "ffv1": "ffv1",
}
"""FFmpeg's name of a decoder, and what the names that messages have for its streams contain (libx264, h264_nvenc, H265)."""

FULL_RANGE = 2  # of FFmpeg's AVColorRange
UNSPECIFIED_MATRIX = 2  # of FFmpeg's AVColorSpace
PICTURE_NONE, PICTURE_I = 0, 1  # of FFmpeg's AVPictureType
EXPANDED = np.clip(np.round((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
"""Luma 16..235 as 0..255."""


def load_av() -> Any:
    """The module av. Raises MissingDependencyError if it is absent or too old."""
    remedy = f"pip install 'av>={OLDEST_PYAV}'"
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError(f"videos need the package PyAV, which is not installed: {remedy}") from error
    if int(av.__version__.split(".")[0]) < OLDEST_PYAV:
        raise MissingDependencyError(f"PyAV {av.__version__} is too old to convert colours as a video says: {remedy}")
    return av


class FrameConverter:
    """Makes a Frame of each decoded frame of one stream. Keep one for each stream.

    Grey video stays as it is: mono8, mono16 for 9 to 16 bits, 32FC1. Colour video becomes rgb8 by the matrix and the range that the
    stream says (BT.601 and 16..235 where it does not). A picture is turned as the stream says.
    ``thermal``: colour becomes its luma, mono8 (0..255), or mono16 with the stored values for more than 8 bits. Otherwise grey of
    9 to 12 bits, which visible cameras have too, becomes mono8.

    turned: whether the last picture was turned.
    """

    def __init__(self, thermal: bool) -> None:
        self._thermal, self.turned = thermal, False
        self._reformatter = load_av().video.reformatter.VideoReformatter()

    def convert(self, frame: Any, stamp_ns: int) -> Frame:
        """The pixels of an av.VideoFrame, copied. Raises ImageError for a pixel format that cannot be converted."""
        data, encoding = self._pixels(frame)
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is not None:
            data, self.turned = _turn(data, np.frombuffer(matrix, "<i4")[:6])
        return Frame(stamp_ns, data, encoding)

    def _pixels(self, frame: Any) -> tuple[Array, str]:
        name, bits = frame.format.name, frame.format.components[0].bits
        if name.startswith("gray"):
            values, encoding = _grey(frame)
            if self._thermal or not 8 < bits <= 12:
                return values, encoding
            return (values >> (bits - 8)).astype(np.uint8), "mono8"
        if not self._thermal:
            return self._as_rgb(frame, "rgb24"), "rgb8"
        if name.startswith("yuv") and frame.format.is_planar:
            values, encoding = _grey(frame)
            full = frame.color_range == FULL_RANGE or name.startswith("yuvj")
            return values if full or encoding == "mono16" else EXPANDED[values], encoding
        rgb = self._as_rgb(frame, "rgb48le" if bits > 8 else "rgb24")
        return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)), "mono16" if bits > 8 else "mono8"

    def _as_rgb(self, frame: Any, pixel_format: str) -> Array:
        """uint8 or uint16 [H, W, 3], red first."""
        error_type = load_av().FFmpegError
        try:
            converted = self._reformatter.reformat(frame, format=pixel_format, threads=1)
        except error_type:  # a matrix that the converter does not know
            frame.colorspace = UNSPECIFIED_MATRIX
            try:
                converted = self._reformatter.reformat(frame, format=pixel_format, threads=1)
            except error_type as error:
                raise ImageError(f"pixel format {frame.format.name} cannot be converted: {first_line(error)}") from error
        return np.asarray(converted.to_ndarray())


def _grey(frame: Any) -> tuple[Array, str]:
    """The first plane as uint8, uint16 or float32 [H, W], without row padding, and its encoding."""
    plane, name, bits = frame.planes[0], frame.format.name, frame.format.components[0].bits
    dtype, encoding = ("u1", "mono8") if bits <= 8 else ("u2", "mono16")
    if name.startswith("grayf32"):
        dtype, encoding = "f4", "32FC1"
    stored = np.dtype(dtype).newbyteorder(">" if name.endswith("be") else "<")
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width * stored.itemsize]
    return np.ascontiguousarray(rows).view(stored).astype(dtype, copy=False), encoding


def _turn(data: Array, matrix: Array) -> tuple[Array, bool]:
    """The picture as its display matrix says, in steps of 90 degrees, and whether that turns or mirrors it.

    ``matrix``: int32 a, b, u, c, d, v, which mean x' = a x + c y and y' = b x + d y.
    """
    a, b, _, c, d, _ = matrix.tolist()
    swap = abs(b) + abs(c) > abs(a) + abs(d)
    upside_down, mirrored = (b < 0, c < 0) if swap else (d < 0, a < 0)
    return turned(data, swap, upside_down, mirrored), swap or upside_down or mirrored


class SoundFrames:
    """Decodes a stream's packets and leaves out what is damaged: those frames, and all up to the next keyframe, which build on them.

    It begins by waiting for a keyframe, too. ``context`` is an av.CodecContext that is not yet open. left_out: frames, so far.
    Damage in H.265 and VP9 often stays unnoticed: their decoders do not report it.
    """

    def __init__(self, context: Any) -> None:
        self._context, self._error_type = context, load_av().FFmpegError
        if context.name == "mjpeg":
            context.options = {"err_detect": "explode"}  # other decoders mark damaged frames, and take sound ones for damaged with it
        self._waiting = True
        self.left_out = 0
        self.problem = ""  # the last error's words

    def decode(self, packet: Any) -> Iterator[Any]:
        """The sound av.VideoFrames that an av.Packet completes, in order of display; None: those that the decoder still holds."""
        try:
            frames = self._context.decode(packet)
        except self._error_type as error:
            self._leave_out(str(error.strerror))
            return
        for frame in frames:
            if frame.is_corrupt:
                self._leave_out("parts of the picture are missing")
                continue
            if self._waiting and not (frame.key_frame or frame.pict_type in (PICTURE_NONE, PICTURE_I)):
                self.left_out += 1
                continue
            self._waiting = False
            yield frame

    def _leave_out(self, problem: str) -> None:
        self.left_out += 1
        self.problem = problem
        self._waiting = True


class PacketDecoder:
    """Decodes the packets of one stream: H.264, H.265, VP8, VP9, AV1 or MJPEG, each packet a whole picture (Annex B for H.264/5).

    ``codec`` is the name in the message (``FFMPEGPacket.encoding``, ``CompressedVideo.format``): h264, hevc, libx264, hevc_nvenc,
    ``h264;yuv420p;bgr8;bgr8`` and others. ``thermal``: as in FrameConverter. The decoder keeps state: give every packet, in order.
    Raises UnsupportedEncodingError for another codec, MissingDependencyError without PyAV.
    """

    def __init__(self, codec: str, thermal: bool = False) -> None:
        av = load_av()
        stream = codec.partition(";")[0].lower()
        self.codec = next((name for name, names in CODECS.items() if re.search(names, stream)), "")
        if not self.codec:
            raise UnsupportedEncodingError(f"video codec {sanitize(codec)} is not supported; use one of {', '.join(CODECS)}")
        try:
            context = av.CodecContext.create(self.codec, "r")
        except av.FFmpegError as error:
            raise UnsupportedEncodingError(f"this build of FFmpeg does not decode {self.codec}: {first_line(error)}") from error
        context.thread_count = 1  # more threads hold frames back
        self._av, self._sound, self._converter = av, SoundFrames(context), FrameConverter(thermal)
        self._begun = False

    @property
    def left_out(self) -> int:
        """Frames that were damaged or came before a keyframe."""
        return self._sound.left_out

    def decode(self, data: bytes, stamp_ns: int) -> list[Frame]:
        """The frames that the packet completes, in order of display, each with its packet's stamp.

        Usually one; none before the first keyframe, and with B-frames some later. Raises ImageError for a damaged packet: the next
        frame is then that of the next keyframe.
        """
        packet = self._av.Packet(data)
        packet.pts = packet.dts = stamp_ns
        left_out = self.left_out
        frames = [self._converter.convert(frame, stamp_ns if frame.pts is None else frame.pts) for frame in self._sound.decode(packet)]
        self._begun = self._begun or bool(frames)
        if self._begun and self.left_out > left_out and not frames:
            problem = self._sound.problem or "a picture before it is missing"
            raise ImageError(f"a {self.codec} packet of {len(data)} bytes gives no picture: {problem}")
        return frames

    def flush(self) -> list[Frame]:
        """The frames that the decoder still holds at the end of the stream (B-frames)."""
        return [self._converter.convert(frame, frame.pts or 0) for frame in self._sound.decode(None)]
