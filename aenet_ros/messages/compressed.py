"""Compressed pictures in messages: JPEG (MJPEG too), PNG and TIFF, and the compressedDepth of image_transport.

What the data begins with decides how it is read, since drivers write many texts as ``format``. All sizes are taken from the header of the
file before anything is allocated.
"""

import struct
from typing import cast

import cv2
import numpy as np

from aenet_ros.core.errors import ImageError, UnsupportedEncodingError, sanitize
from aenet_ros.core.frames import Array, counts_encoding
from aenet_ros.core.picture_formats import PNG_BEGIN, jpeg_segments, tiff_pages
from aenet_ros.messages.encodings import COLOURS, THERMAL, convert

MAX_COMPRESSED_PIXELS = 32 * 1024 * 1024
"""Largest image that is decompressed; a few kilobytes can claim gigabytes."""

DEPTH_HEADER = struct.Struct("<iff")  # compressedDepth: format and the two parameters of the quantisation, before the picture
TIFF_WIDTH, TIFF_HEIGHT = 256, 257  # tags


def decompress(data: Array, text: object) -> tuple[Array, str, str]:
    """Pixels, canonical encoding and source encoding of a JPEG, PNG or TIFF of 1, 3 or 4 channels.

    ``data`` is uint8 [N]. ``text`` is the message's format: "rgb8; jpeg compressed bgr8" or "16UC1; png compressed " (image_transport's
    plugins), or plain "jpeg", "png". An unknown text is no error, because the data itself shows what it is.
    One channel becomes mono8, mono16 or 32FC1, or is demosaiced if the format names a Bayer pattern; colour becomes bgr8, or rgb8 if it was
    stored with red and blue swapped; alpha is dropped.
    Colour of 16 bits stays uint16: the caller knows the stream's depth.
    compressedDepth: png of 16 bits, 16UC1 as they are, 32FC1 from inverse values, NaN where there is none.
    Raises UnsupportedEncodingError for compressedDepth with rvl, and ImageError if the data is not complete or has more than
    MAX_COMPRESSED_PIXELS.
    """
    words = text if isinstance(text, str) else ""
    source, separator, rest = words.partition(";")
    source = source.strip() if separator else ""
    if "compressedDepth" in words:
        return _decompress_depth(data, words, source)
    pixels = _decode(data, text)
    if pixels.ndim == 2:
        mosaic = COLOURS.get(source) if source.startswith("bayer_") else None
        if mosaic is not None and pixels.dtype in (np.uint8, np.uint16) and min(pixels.shape) >= mosaic.least:
            return convert(pixels, mosaic), mosaic.output, source
        encoding = counts_encoding(pixels)
        if encoding == "32FC1":
            pixels = pixels.astype(np.float32, copy=False)
        return pixels, encoding, source if source in THERMAL and THERMAL[source].output == encoding else encoding
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UnsupportedEncodingError(f"compressed colour image, format {sanitize(text)}, of type {pixels.dtype}; give 8 or 16 bit")
    if pixels.shape[2] == 4:
        pixels = cast(Array, cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR))
    encoding = "rgb8" if "compressed rgb" in rest else "bgr8"
    return pixels, encoding, source if source in COLOURS else encoding


def _decompress_depth(data: Array, words: str, source: str) -> tuple[Array, str, str]:
    """As ``decompress``, of compressed_depth_image_transport's data; some drivers leave its header out."""
    if "rvl" in words.lower():
        raise UnsupportedEncodingError(
            f"format {sanitize(words)} is not supported (rvl); set the publisher's compressedDepth format to png"
        )
    bare = data[: len(PNG_BEGIN)].tobytes() == PNG_BEGIN
    if not bare and data.size < DEPTH_HEADER.size:
        raise ImageError(f"{sanitize(words)} of {data.size} bytes has no header; the message is truncated")
    _, scale, shift = (0, 0.0, 0.0) if bare else DEPTH_HEADER.unpack(data[: DEPTH_HEADER.size].tobytes())
    pixels = _decode(data if bare else data[DEPTH_HEADER.size :], words)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{sanitize(words)} holds {pixels.dtype} {list(pixels.shape)}; give 8 or 16 bit grey")
    if source != "32FC1":
        encoding = "mono8" if pixels.dtype == np.uint8 else "mono16"
        return pixels, encoding, source if source in THERMAL and THERMAL[source].output == encoding else encoding
    if not (np.isfinite([scale, shift]).all() and scale > 0):
        raise ImageError(f"{sanitize(words)} has quantisation parameters {scale:g} and {shift:g}; the header is damaged")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = np.float32(scale) / (pixels.astype(np.float32) - np.float32(shift))
    return np.where(pixels == 0, np.float32(np.nan), values).astype(np.float32), "32FC1", source


def _decode(data: Array, text: object) -> Array:
    width, height = _header_size(data, text)
    if width * height > MAX_COMPRESSED_PIXELS:
        raise ImageError(
            f"compressed image of {width}x{height}; at most {MAX_COMPRESSED_PIXELS} pixels are decompressed, so send a smaller one"
        )
    damaged = f"compressed image, format {sanitize(text)}, of {width}x{height}, {data.size} bytes, is damaged"
    try:
        pixels = cast("Array | None", cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
    except cv2.error as error:
        raise ImageError(f"{damaged} ({error.err}); check the publisher") from error
    if pixels is None:
        raise ImageError(f"{damaged}; check the publisher")
    return pixels


def _header_size(data: Array, text: object) -> tuple[int, int]:
    """Width and height by the header. Raises ImageError if the end is missing, since decoders fill missing data with black or grey."""
    head = data[:32].tobytes()
    if head.startswith(PNG_BEGIN) and len(head) >= 24 and head[12:16] == b"IHDR":
        if b"IEND" not in data[-64:].tobytes():
            raise ImageError(f"png of {data.size} bytes, format {sanitize(text)}, has no end; the message is truncated")
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg_size(data.tobytes())
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _tiff_size(data.tobytes(), text)
    raise ImageError(
        f"compressed image, format {sanitize(text)}, {data.size} bytes, begins with {head[:8].hex(' ')!r}; jpeg, png and tiff are read"
    )


def _tiff_size(data: bytes, text: object) -> tuple[int, int]:
    page = next(tiff_pages(data), None)
    if page is None:
        raise ImageError(f"tiff of {len(data)} bytes, format {sanitize(text)}, ends in its directory; the message is truncated")
    if not (TIFF_WIDTH in page and TIFF_HEIGHT in page):
        raise ImageError(f"tiff of {len(data)} bytes, format {sanitize(text)}, has no width and height; the message is damaged")
    return page[TIFF_WIDTH], page[TIFF_HEIGHT]


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """From the frame header."""
    for marker, place, segment in jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(segment) >= 5:
            if data.rfind(b"\xff\xd9", place) < 0:
                raise ImageError(f"jpeg of {len(data)} bytes has no end; the message is truncated")
            return int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big")
    raise ImageError(f"jpeg of {len(data)} bytes has no frame header; the message is damaged or truncated")
