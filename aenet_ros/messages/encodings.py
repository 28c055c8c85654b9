"""The bytes of image messages as pixels in a canonical encoding: raw layouts by ROS encoding, and JPEG and PNG.

All sizes are checked against the data, or in the header of the compressed file, before anything is allocated.
"""

import math
from typing import Any, NamedTuple, cast

import cv2
import numpy as np

from aenet_ros.core.errors import ImageError, UnsupportedEncodingError, sanitize
from aenet_ros.core.frames import Array


class Layout(NamedTuple):
    """Memory layout of an encoding, and OpenCV's conversion to a canonical encoding of Frame.

    ``conversion`` None: the layout is canonical. ``rows``: stored rows per image row (3/2 for a luma plane above interleaved chroma).
    Height and width must be multiples of ``even``, and at least ``least``.
    """

    output: str
    channels: int = 1
    dtype: str = "u1"
    conversion: int | None = None
    rows: float = 1.0
    even: tuple[int, int] = (1, 1)
    least: int = 1


# ROS names a Bayer pattern by its first row's first two pixels and the two below them; OpenCV's two letters are the second
# row's second and third pixel, so rggb is BG there. YUV is BT.601 of limited range (16..235), as OpenCV and cv_bridge take it.
COUNTS = {
    "mono8": Layout("mono8"),
    "8UC1": Layout("mono8"),
    "mono16": Layout("mono16", dtype="u2"),
    "16UC1": Layout("mono16", dtype="u2"),
    "32FC1": Layout("32FC1", dtype="f4"),
}
COLOURS = {
    "rgb8": Layout("rgb8", 3),
    "bgr8": Layout("bgr8", 3),
    "8UC3": Layout("bgr8", 3),
    "rgba8": Layout("rgb8", 4, conversion=cv2.COLOR_RGBA2RGB),
    "bgra8": Layout("bgr8", 4, conversion=cv2.COLOR_BGRA2BGR),
    "8UC4": Layout("bgr8", 4, conversion=cv2.COLOR_BGRA2BGR),
    "uyvy": Layout("rgb8", 2, conversion=cv2.COLOR_YUV2RGB_UYVY, even=(1, 2)),
    "yuv422": Layout("rgb8", 2, conversion=cv2.COLOR_YUV2RGB_UYVY, even=(1, 2)),
    "yuyv": Layout("rgb8", 2, conversion=cv2.COLOR_YUV2RGB_YUY2, even=(1, 2)),
    "yuv422_yuy2": Layout("rgb8", 2, conversion=cv2.COLOR_YUV2RGB_YUY2, even=(1, 2)),
    "nv12": Layout("rgb8", conversion=cv2.COLOR_YUV2RGB_NV12, rows=1.5, even=(2, 2)),
    "nv21": Layout("rgb8", conversion=cv2.COLOR_YUV2RGB_NV21, rows=1.5, even=(2, 2)),
    "bayer_rggb8": Layout("rgb8", conversion=cv2.COLOR_BayerBG2RGB, least=3),
    "bayer_bggr8": Layout("rgb8", conversion=cv2.COLOR_BayerRG2RGB, least=3),
    "bayer_gbrg8": Layout("rgb8", conversion=cv2.COLOR_BayerGR2RGB, least=3),
    "bayer_grbg8": Layout("rgb8", conversion=cv2.COLOR_BayerGB2RGB, least=3),
}
RGB = {"mono8": COUNTS["mono8"], "8UC1": COUNTS["8UC1"], **COLOURS}
THERMAL = {**COUNTS, **COLOURS}

MAX_COMPRESSED_PIXELS = 32 * 1024 * 1024
"""Largest image that is decompressed; a few kilobytes can claim gigabytes."""

MAX_JPEG_SEGMENTS = 4096


def unsupported(encoding: object, layouts: dict[str, Layout], reason: str = "") -> UnsupportedEncodingError:
    """The error for an encoding outside ``layouts``."""
    because = f": {reason}" if reason else ""
    return UnsupportedEncodingError(f"encoding {sanitize(encoding)} is not supported{because}; use one of {', '.join(layouts)}")


def flat_bytes(data: Any) -> Array:
    """A read-only uint8 [N] view of a contiguous buffer (array.array, bytes, memoryview, ndarray). Raises ImageError for anything else."""
    if hasattr(data, "__len__") and len(data) == 0:
        return np.empty(0, np.uint8)  # numpy refuses to view an empty buffer
    try:
        flat = np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise ImageError(
            f"data is a {type(data).__name__} that cannot be read as bytes ({error}); give bytes or an array of uint8"
        ) from error
    flat.flags.writeable = False
    return flat


def view(message: Any, layout: Layout, encoding: str) -> Array:
    """The message's pixels as an array of ``layout``, without the row padding. Raises ImageError, which names the wrong size.

    Only 16- and 32-bit rows that are misaligned in memory, or of the other byte order, are copied.
    """
    height, width, step = (_whole(message, name) for name in ("height", "width", "step"))
    if height < layout.least or width < layout.least:
        raise ImageError(f"{encoding} image of {width}x{height}; give at least {layout.least}x{layout.least} pixels")
    if height % layout.even[0] or width % layout.even[1]:
        raise ImageError(
            f"{encoding} image of {width}x{height}; width and height must be multiples of {layout.even[1]} and {layout.even[0]}"
        )
    data = flat_bytes(message.data)
    dtype = np.dtype(layout.dtype).newbyteorder(">" if message.is_bigendian else "<")
    rows, row_bytes = math.floor(height * layout.rows), width * layout.channels * dtype.itemsize
    if layout.rows > 1 and data.size == rows * row_bytes:
        step = row_bytes  # some drivers give the step of an average pixel, but this size allows no padding
    if step < row_bytes:
        raise ImageError(
            f"{encoding} image of {width}x{height} has step {step}; a row needs {row_bytes} bytes, so the driver must set step"
        )
    needed = (rows - 1) * step + row_bytes
    if data.size < needed:
        raise ImageError(
            f"{encoding} image of {width}x{height}, step {step} needs {needed} bytes but has {data.size}; the message is truncated"
        )
    pixel = (layout.channels,) if layout.channels > 1 else ()
    strides = (step, layout.channels * dtype.itemsize, dtype.itemsize)[: 2 + len(pixel)]
    pixels: Array = np.ndarray((rows, width, *pixel), dtype, data, strides=strides)
    if not pixels.dtype.isnative or not pixels.flags.aligned:
        pixels = pixels.astype(dtype.newbyteorder("="))
    pixels.flags.writeable = False
    return pixels


def convert(pixels: Array, layout: Layout) -> Array:
    """Pixels of ``layout`` in its canonical encoding; the same array if it is canonical already."""
    # For rgba8 this copy takes 0.04 ms at 640x512; a view pixels[..., :3] would be copied by every later step at 1.1 ms.
    return pixels if layout.conversion is None else cast(Array, cv2.cvtColor(pixels, layout.conversion))


def _whole(message: Any, name: str) -> int:
    value = getattr(message, name)
    if not isinstance(value, (int, np.integer)) or value < 0:
        raise ImageError(f"{name} is {sanitize(value)}; give a whole number of at least 0")
    return int(value)


def decompress(data: Array, text: object) -> tuple[Array, str, str]:
    """Pixels, canonical encoding and source encoding of a JPEG or PNG of 1, 3 or 4 channels, 8 or 16 bit.

    ``data`` is uint8 [N]. ``text`` is the message's format: "rgb8; jpeg compressed bgr8" or "16UC1; png compressed " (image_transport's
    plugin), or plain "jpeg", "png". An unknown text is no error, because the data itself shows JPEG or PNG.
    One channel becomes mono8 or mono16, or is demosaiced if the format names a Bayer pattern; colour becomes bgr8, or rgb8 if it was
    stored with red and blue swapped; 16-bit colour is scaled to 8 bit; alpha is dropped.
    Raises UnsupportedEncodingError for compressedDepth, and ImageError if the data is no complete JPEG or PNG, or has more than
    MAX_COMPRESSED_PIXELS.
    """
    words = text if isinstance(text, str) else ""
    if "compressedDepth" in words:
        raise UnsupportedEncodingError(
            f"format {sanitize(words)} is not supported (quantised depth); republish with image_transport as raw or compressed"
        )
    source, separator, rest = words.partition(";")
    source = source.strip() if separator else ""
    width, height = _header_size(data, text)
    if width * height > MAX_COMPRESSED_PIXELS:
        raise ImageError(
            f"compressed image of {width}x{height}; at most {MAX_COMPRESSED_PIXELS} pixels are decompressed, so send a smaller one"
        )
    damaged = f"compressed image of {width}x{height}, {data.size} bytes, is damaged"
    try:
        pixels = cast("Array | None", cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
    except cv2.error as error:
        raise ImageError(f"{damaged} ({error.err}); check the publisher") from error
    if pixels is None:
        raise ImageError(f"{damaged}; check the publisher")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"compressed image of type {pixels.dtype}; give 8 or 16 bit")
    if pixels.ndim == 2:
        if source.startswith("bayer_") and source in COLOURS and pixels.dtype == np.uint8 and min(pixels.shape) >= 3:
            return convert(pixels, COLOURS[source]), COLOURS[source].output, source
        encoding = "mono8" if pixels.dtype == np.uint8 else "mono16"
        return pixels, encoding, source if source in THERMAL else encoding
    if pixels.dtype == np.uint16:
        pixels = cast(Array, cv2.convertScaleAbs(pixels, alpha=1 / 257))
    if pixels.shape[2] == 4:
        pixels = cast(Array, cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR))
    encoding = "rgb8" if "compressed rgb" in rest else "bgr8"
    return pixels, encoding, source if source in COLOURS else encoding


def _header_size(data: Array, text: object) -> tuple[int, int]:
    """Width and height by the header. Raises ImageError if the end is missing, since decoders fill missing data with black or grey."""
    head = data[:32].tobytes()
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24 and head[12:16] == b"IHDR":
        if b"IEND" not in data[-64:].tobytes():
            raise ImageError(f"png of {data.size} bytes has no end; the message is truncated")
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg_size(data.tobytes())
    raise ImageError(
        f"compressed image, format {sanitize(text)}, {data.size} bytes, begins with {head[:8].hex(' ')!r}; jpeg and png are read"
    )


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walks the marker segments (ITU-T T.81, B.1.1) up to the frame header, which holds height and width."""
    place = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        if place + 9 >= len(data) or data[place] != 0xFF:
            break
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1  # fill byte
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            place += 2  # has no length
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if data.rfind(b"\xff\xd9", place) < 0:
                raise ImageError(f"jpeg of {len(data)} bytes has no end; the message is truncated")
            return int.from_bytes(data[place + 7 : place + 9], "big"), int.from_bytes(data[place + 5 : place + 7], "big")
        else:
            place += 2 + max(2, int.from_bytes(data[place + 2 : place + 4], "big"))
    raise ImageError(f"jpeg of {len(data)} bytes has no frame header; the message is damaged or truncated")
