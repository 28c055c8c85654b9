"""The bytes of image messages as pixels in a canonical encoding: raw layouts by ROS encoding. Compressed ones: ``compressed``.

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

    ``conversion`` None: only the number type may change. Values of 16 bits become 8 for colours. ``rows``: stored rows per image row (3/2
    for a luma plane above interleaved chroma). Height and width must be multiples of ``even``, and at least ``least``.
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
NV24 = -1  # a conversion that OpenCV has not
NV24_TO_RGB = np.array([[1.164, 0.0, 1.596, -222.9], [1.164, -0.392, -0.813, 135.6], [1.164, 2.017, 0.0, -276.8]])
COUNTS = {
    "mono8": Layout("mono8"),
    "8UC1": Layout("mono8"),
    "mono16": Layout("mono16", dtype="u2"),
    "16UC1": Layout("mono16", dtype="u2"),
    "32FC1": Layout("32FC1", dtype="f4"),
    "8SC1": Layout("32FC1", dtype="i1"),
    "16SC1": Layout("32FC1", dtype="i2"),
    "32SC1": Layout("32FC1", dtype="i4"),
    "64FC1": Layout("32FC1", dtype="f8"),
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
    "nv24": Layout("rgb8", conversion=NV24, rows=3.0),
    "bayer_rggb8": Layout("rgb8", conversion=cv2.COLOR_BayerBG2RGB, least=3),
    "bayer_bggr8": Layout("rgb8", conversion=cv2.COLOR_BayerRG2RGB, least=3),
    "bayer_gbrg8": Layout("rgb8", conversion=cv2.COLOR_BayerGR2RGB, least=3),
    "bayer_grbg8": Layout("rgb8", conversion=cv2.COLOR_BayerGB2RGB, least=3),
}
_EIGHT_BITS = ("rgb8", "bgr8", "8UC3", "rgba8", "bgra8", "8UC4", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8")
COLOURS |= {(f"16{name[1:]}" if name[0] == "8" else f"{name[:-1]}16"): COLOURS[name]._replace(dtype="u2") for name in _EIGHT_BITS}
RGB = {"mono8": COUNTS["mono8"], "8UC1": COUNTS["8UC1"], **COLOURS}
THERMAL = {**COUNTS, **COLOURS}

DEPTHS = (8, 10, 12, 14, 16)
"""Bits of cameras' values."""


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
    if layout.conversion == NV24:
        return _nv24_planes(data, height, width, step)
    pixel = (layout.channels,) if layout.channels > 1 else ()
    strides = (step, layout.channels * dtype.itemsize, dtype.itemsize)[: 2 + len(pixel)]
    pixels: Array = np.ndarray((rows, width, *pixel), dtype, data, strides=strides)
    if not pixels.dtype.isnative or not pixels.flags.aligned:
        pixels = pixels.astype(dtype.newbyteorder("="))
    pixels.flags.writeable = False
    return pixels


def _nv24_planes(data: Array, height: int, width: int, step: int) -> Array:
    """Luma and both chromas of each pixel, uint8 [H, W, 3]; a row of chroma is twice as long as one of luma."""
    luma: Array = np.ndarray((height, width), np.uint8, data, strides=(step, 1))
    chroma: Array = np.ndarray((height, width, 2), np.uint8, data, height * step, (2 * step, 2, 1))
    return np.dstack([luma, chroma])


def convert(pixels: Array, layout: Layout, bits: int = 0) -> Array:
    """Pixels of ``layout`` in its canonical encoding; the same array if it is canonical already.

    Colours of 16 bits are scaled to 8 by ``bits``; 0: by those that the values use (``used_bits``).
    """
    if layout.output == "32FC1":
        with np.errstate(over="ignore"):
            return pixels.astype(np.float32, copy=False)
    if pixels.dtype == np.uint16 and layout.output != "mono16":
        pixels = to_8_bits(pixels, bits or used_bits(pixels))
    if layout.conversion == NV24:
        return np.asarray(cv2.transform(pixels, NV24_TO_RGB))
    # For rgba8 this copy takes 0.04 ms at 640x512; a view pixels[..., :3] would be copied by every later step at 1.1 ms.
    return pixels if layout.conversion is None else cast(Array, cv2.cvtColor(pixels, layout.conversion))


def used_bits(data: Array, stated: int = 0) -> int:
    """The depth of a camera whose values, uint16, have come into 16 bits: 8, 10, 12, 14 or 16, the least that holds all of them.

    ``stated``: what the file says; it counts where the values fit into it.
    """
    needed = max(int(data.max()).bit_length(), 8)
    return min(depth for depth in DEPTHS if depth >= max(needed, stated if needed <= stated <= DEPTHS[-1] else 0))


def to_8_bits(data: Array, bits: int) -> Array:
    """Values of ``bits`` bits in uint16, scaled to uint8."""
    return np.asarray(cv2.convertScaleAbs(data, alpha=255.0 / ((1 << bits) - 1)))


def _whole(message: Any, name: str) -> int:
    value = getattr(message, name)
    if not isinstance(value, (int, np.integer)) or value < 0:
        raise ImageError(f"{name} is {sanitize(value)}; give a whole number of at least 0")
    return int(value)
