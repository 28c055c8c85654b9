"""Decodes and encodes JPEG and PNG; sizes are checked in the header before anything is decoded."""

from typing import NamedTuple, cast

import cv2
import numpy as np

from aenet_ros.core.errors import ImageError, UnsupportedEncodingError, sanitize
from aenet_ros.core.frames import Array
from aenet_ros.messages.encodings import COLOURS, THERMAL, convert

MAX_COMPRESSED_PIXELS = 32 * 1024 * 1024
"""Largest image that is decompressed; a few kilobytes can claim gigabytes."""

MAX_JPEG_SEGMENTS = 4096

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"


class CompressedFormat(NamedTuple):
    """CompressedImage.format: the ``source`` encoding ('' if unknown), and whether red and blue are ``swapped`` in the file."""

    source: str
    swapped: bool


def parse_format(text: object) -> CompressedFormat:
    """Parse ``format``: "rgb8; jpeg compressed bgr8" or "16UC1; png compressed " (image_transport's plugin), or plain "jpeg", "png".

    An unknown text is no error, because the data itself shows JPEG or PNG. Raises UnsupportedEncodingError for compressedDepth.
    """
    words = text if isinstance(text, str) else ""
    if "compressedDepth" in words:
        raise UnsupportedEncodingError(
            f"format {sanitize(words)} is not supported (quantised depth); republish with image_transport as raw or compressed"
        )
    source, separator, rest = words.partition(";")
    return CompressedFormat(source.strip() if separator else "", "compressed rgb" in rest)


def decompress(data: Array, text: object) -> tuple[Array, str, str]:
    """Pixels, canonical encoding and source encoding of a JPEG or PNG of 1, 3 or 4 channels, 8 or 16 bit.

    ``data`` is uint8 [N]; ``text`` the message's format. One channel becomes mono8 or mono16, or is demosaiced if the format names a
    Bayer pattern; colour becomes bgr8, or rgb8 if it was stored swapped; 16-bit colour is scaled to 8 bit; alpha is dropped.
    Raises ImageError if the data is no complete JPEG or PNG, or has more than MAX_COMPRESSED_PIXELS.
    """
    compressed = parse_format(text)
    width, height = _header_size(data, text)
    if width * height > MAX_COMPRESSED_PIXELS:
        raise ImageError(
            f"compressed image of {width}x{height}; at most {MAX_COMPRESSED_PIXELS} pixels are decompressed, so send a smaller one"
        )
    try:
        pixels = cast("Array | None", cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
    except cv2.error as error:
        raise ImageError(
            f"compressed image of {width}x{height}, {data.size} bytes, is damaged ({error.err}); check the publisher"
        ) from error
    if pixels is None:
        raise ImageError(f"compressed image of {width}x{height}, {data.size} bytes, is damaged; check the publisher")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"compressed image of type {pixels.dtype}; give 8 or 16 bit")
    if pixels.ndim == 2:
        return _one_channel(pixels, compressed)
    if pixels.dtype == np.uint16:
        pixels = cast(Array, cv2.convertScaleAbs(pixels, alpha=1 / 257))
    if pixels.shape[2] == 4:
        pixels = cast(Array, cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR))
    encoding = "rgb8" if compressed.swapped else "bgr8"
    return pixels, encoding, compressed.source if compressed.source in COLOURS else encoding


def _one_channel(pixels: Array, compressed: CompressedFormat) -> tuple[Array, str, str]:
    if compressed.source.startswith("bayer_") and compressed.source in COLOURS and pixels.dtype == np.uint8 and min(pixels.shape) >= 3:
        layout = COLOURS[compressed.source]
        return convert(pixels, layout), layout.output, compressed.source
    encoding = "mono8" if pixels.dtype == np.uint8 else "mono16"
    return pixels, encoding, compressed.source if compressed.source in THERMAL else encoding


def _header_size(data: Array, text: object) -> tuple[int, int]:
    """Width and height by the header; raises ImageError if the data is neither a complete PNG nor a complete JPEG."""
    head = data[:32].tobytes()
    if head.startswith(PNG_SIGNATURE) and len(head) >= 24 and head[12:16] == b"IHDR":
        # Decoders fill missing data with black or grey.
        if b"IEND" not in data[-64:].tobytes():
            raise ImageError(f"png of {data.size} bytes has no end; the message is truncated")
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head.startswith(JPEG_SIGNATURE):
        return _jpeg_size(data)
    raise ImageError(
        f"compressed image, format {sanitize(text)}, {data.size} bytes, begins with {head[:8].hex(' ')!r}; jpeg and png are read"
    )


def _jpeg_size(data: Array) -> tuple[int, int]:
    """Walks the marker segments (ITU-T T.81, B.1.1) up to the frame header, which holds height and width."""
    place = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        if place + 9 >= data.size or data[place] != 0xFF:
            break
        marker = int(data[place + 1])
        if marker == 0xFF:
            place += 1  # fill byte
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            place += 2  # has no length
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if data[place:].tobytes().rfind(b"\xff\xd9") < 0:
                raise ImageError(f"jpeg of {data.size} bytes has no end; the message is truncated")
            height, width = (int.from_bytes(data[place + at : place + at + 2].tobytes(), "big") for at in (5, 7))
            return width, height
        else:
            place += 2 + max(2, int.from_bytes(data[place + 2 : place + 4].tobytes(), "big"))
    raise ImageError(f"jpeg of {data.size} bytes has no frame header; the message is damaged or truncated")


def compress(image: Array, encoding: str, suffix: str, options: list[int]) -> bytes:
    """The image, in any canonical encoding but 32FC1, as a ".jpg" or ".png" file."""
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if encoding == "rgb8" else np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    done, data = cv2.imencode(suffix, pixels, options)
    if not done:
        raise ImageError(f"{encoding} image of {image.shape[1]}x{image.shape[0]} could not be written as {suffix[1:]}")
    return data.tobytes()
