"""Image messages to frames and back, and the CameraInfo of the fused image. Duck-typed: messages of rclpy and of rosbags.

Pixels are not copied if the bytes are already right. Encodings that ``encodings`` does not know are decoded by cv_bridge if it is
installed.
"""

import array
import copy
import importlib.util
import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import cv2
import numpy as np

from aenet_ros.core.camera import delivered_camera_info, moved_camera_info, scaling
from aenet_ros.core.errors import ImageError, sanitize
from aenet_ros.core.frames import Array, Frame, FusedFrame
from aenet_ros.messages.compressed import decompress
from aenet_ros.messages.encodings import RGB, THERMAL, Layout, convert, flat_bytes, to_8_bits, unsupported, used_bits, view

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

MOST_PACKED_BITS = 12  # of colours in compressed files; what needs more fills all 16
MOST_STREAMS = 64
_stream_bits: dict[tuple[Any, ...], int] = {}  # bits that colours of 16 bits used so far, by stream

OUTPUTS = {name: THERMAL[name] for name in ("mono8", "8UC1", "mono16", "16UC1", "32FC1", "rgb8", "bgr8")}
"""The encodings that ``fill_image`` writes."""

# The other names of sensor_msgs/hpp. Nothing else of what a message says ever reaches cv_bridge's parser.
_CV_BRIDGE = re.compile(r"(rgb|bgr|rgba|bgra|bayer_(rggb|bggr|gbrg|grbg))(8|16)|mono(8|16)|(8U|8S|16U|16S|32S|32F|64F)(C[1-4])?")


def decode_thermal(message: Any, encoding: str = "") -> Frame:
    """A thermal Frame (mono8, mono16 or 32FC1) of a sensor_msgs Image, or a CompressedImage (which has ``format``).

    Signed integers and 64FC1 become 32FC1. ``encoding``: of an Image, in place of its own.
    Pseudo-colour, in any encoding that ``decode_rgb`` reads, becomes its BT.601 luma, mono8. ``data`` is a read-only view of
    ``message.data`` if layout, byte order and alignment allow it.

    Raises ImageError for wrong sizes and damaged data, UnsupportedEncodingError for an encoding that is not read.
    """
    pixels, encoding, source = _decode(message, THERMAL, encoding)
    if encoding in ("rgb8", "bgr8"):
        pixels = cast(Array, cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY if encoding == "rgb8" else cv2.COLOR_BGR2GRAY))
        encoding = "mono8"
    return Frame(stamp_ns(message), pixels, encoding, message.header.frame_id, source)


def decode_rgb(message: Any, encoding: str = "") -> Frame:
    """An rgb Frame (rgb8, bgr8 or mono8) of a sensor_msgs Image, or a CompressedImage (which has ``format``).

    8UC3 and 8UC4 do not say their colour order and are read as bgr8 and bgra8, OpenCV's order. ``data`` is a read-only view of
    ``message.data`` for rgb8, bgr8, 8UC3, mono8 and 8UC1, else a new array. ``encoding``: of an Image, in place of its own.

    Raises ImageError for wrong sizes and damaged data, UnsupportedEncodingError for an encoding that is not read.
    """
    pixels, encoding, source = _decode(message, RGB, encoding)
    if encoding in ("mono16", "32FC1"):
        raise unsupported(f"{source} ({'16 bit' if encoding == 'mono16' else 'float'})", RGB)
    return Frame(stamp_ns(message), pixels, encoding, message.header.frame_id, source)


def _decode(message: Any, layouts: dict[str, Layout], given: str) -> tuple[Array, str, str]:
    """Pixels, canonical encoding and the message's own encoding."""
    if hasattr(message, "format"):
        pixels, encoding, source = decompress(flat_bytes(message.data), message.format)
        if pixels.dtype == np.uint16 and encoding != "mono16":
            bits = _bits_of(message.header.frame_id, source, pixels)
            pixels = to_8_bits(pixels, bits if bits <= MOST_PACKED_BITS else 16)
        return pixels, encoding, source
    encoding = given or message.encoding
    layout = layouts.get(encoding) if isinstance(encoding, str) else None
    if layout is None and given:
        raise unsupported(given, layouts, "it is given as input.*.encoding")
    if layout is None:
        return _decode_by_cv_bridge(message, layouts)
    pixels = view(message, layout, encoding)
    bits = _bits_of(message.header.frame_id, encoding, pixels) if pixels.dtype == np.uint16 and layout.output != "mono16" else 0
    return convert(pixels, layout, bits), layout.output, encoding


def _bits_of(frame_id: str, encoding: str, pixels: Array) -> int:
    """``used_bits``, and at least as many as an earlier frame of the stream used: a dark frame must not become bright."""
    stream = (frame_id, encoding, pixels.shape)
    if len(_stream_bits) >= MOST_STREAMS and stream not in _stream_bits:
        _stream_bits.clear()
    _stream_bits[stream] = max(_stream_bits.get(stream, 0), used_bits(pixels))
    return _stream_bits[stream]


def _decode_by_cv_bridge(message: Any, layouts: dict[str, Layout]) -> tuple[Array, str, str]:
    """As _decode: rgb8 for an rgb camera; mono8, mono16 or, from any other number type, 32FC1 for a thermal camera."""
    encoding = message.encoding
    if not isinstance(encoding, str) or not _CV_BRIDGE.fullmatch(encoding):
        raise unsupported(encoding, layouts)
    if _why_no_cv_bridge():
        raise unsupported(encoding, layouts, _why_no_cv_bridge())
    from cv_bridge import CvBridge

    colour = encoding.startswith(("rgb", "bgr", "bayer"))
    wanted = "rgb8" if layouts is RGB else "mono16" if colour else "passthrough"
    try:
        pixels = CvBridge().imgmsg_to_cv2(message, wanted)
    except Exception as error:  # its C++ part may raise anything
        raise unsupported(encoding, layouts, f"cv_bridge said {sanitize(str(error))}") from error
    if pixels.shape[:2] != (message.height, message.width) or pixels.size == 0:
        raise ImageError(
            f"{encoding} image of {message.width}x{message.height} was decoded as {list(pixels.shape)}; check width, height and step"
        )
    if wanted == "rgb8":
        return pixels, "rgb8", encoding
    if pixels.ndim != 2:
        raise unsupported(encoding, layouts)
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels, "mono8" if pixels.dtype == np.uint8 else "mono16", encoding
    return pixels.astype(np.float32), "32FC1", encoding


@cache
def _why_no_cv_bridge() -> str:
    """Why cv_bridge cannot be used, or ''. A child process tries it: a build for another NumPy loads, and then crashes on use."""
    if importlib.util.find_spec("cv_bridge") is None:
        return "cv_bridge, which may know it, is not installed"
    trial = "import numpy, cv_bridge.boost.cv_bridge_boost as b; b.cvtColor2(numpy.zeros((2, 2, 3), numpy.uint16), 'rgb16', 'rgb8')"
    try:
        done = subprocess.run([sys.executable, "-c", trial], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cv_bridge, which may know it, could not be tried ({error})"
    return "cv_bridge, which may know it, does not work with this NumPy or OpenCV" if done.returncode else ""


def fill_image(message: Any, data: Array, encoding: str) -> None:
    """Write an image into a sensor_msgs Image: height, width, encoding, step, is_bigendian and data; the header is not changed.

    ``data`` is [H, W] or [H, W, 3] of the dtype of ``encoding``, one of OUTPUTS, with any strides and byte order. It is copied once,
    into the message's own array.array if that has the right size. Raises ImageError if data and encoding do not match.
    """
    layout = _checked(data, encoding, OUTPUTS)
    target = message.data
    size = data.size * np.dtype(layout.dtype).itemsize
    if not isinstance(target, array.array) or target.typecode != "B" or len(target) != size:
        # rclpy checks each value of any other type (55 ms against 0.05 ms for a 640x512 rgb8 image).
        message.data = array.array("B", bytes(size))
        target = message.data  # rclpy keeps a copy if its field checks are off
    np.copyto(np.frombuffer(target, layout.dtype).reshape(data.shape), data)
    message.height, message.width = int(data.shape[0]), int(data.shape[1])
    message.encoding = encoding
    message.step = size // int(data.shape[0])
    message.is_bigendian = int(sys.byteorder == "big")


def encode_jpeg(image: Array, encoding: str, quality: int = 90) -> bytes:
    """JPEG of a uint8 image [H, W, 3] (rgb8, bgr8) or [H, W] (mono8); ``quality`` 1 to 100. Raises ImageError for anything else."""
    _checked(image, encoding, {name: OUTPUTS[name] for name in ("rgb8", "bgr8", "mono8")})
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if encoding == "rgb8" else np.ascontiguousarray(image)
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError(f"{encoding} image of {image.shape[1]}x{image.shape[0]} could not be written as jpg")
    return data.tobytes()


def _checked(data: Array, encoding: str, outputs: dict[str, Layout]) -> Layout:
    """The layout of ``encoding``; raises ImageError if ``data`` has another dtype or shape."""
    layout = outputs.get(encoding)
    if layout is None:
        raise unsupported(encoding, outputs)
    colours = (3,) if layout.channels == 3 else ()
    if data.ndim < 2 or data.shape[2:] != colours or data.size == 0 or data.dtype.newbyteorder("=") != np.dtype(layout.dtype):
        shape = "[H, W, 3]" if colours else "[H, W]"
        raise ImageError(f"array {data.dtype} {list(data.shape)} is no {encoding} image; give {np.dtype(layout.dtype).name} {shape}")
    return layout


def stamp_ns(message: Any) -> int:
    """``header.stamp`` in ns since the epoch of the publisher's clock."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def serialized_stamp_ns(data: bytes) -> int:
    """``header.stamp`` in ns of a CDR-serialized message that begins with a std_msgs/Header, without deserializing the rest.

    Four bytes of encapsulation (the second tells the byte order), then seconds and nanoseconds. Raises struct.error for less than
    12 bytes.
    """
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def set_stamp(header: Any, ns: int) -> None:
    """Write ``ns`` into ``header.stamp``; raises ImageError outside a stamp's 32-bit seconds."""
    seconds, nanoseconds = divmod(int(ns), 1_000_000_000)
    if not -(2**31) <= seconds < 2**31:
        raise ImageError(f"stamp of {ns} ns does not fit a ROS time; give nanoseconds since 1970 before 2038")
    header.stamp.sec, header.stamp.nanosec = seconds, nanoseconds


def set_header(header: Any, ns: int, frame_id: str) -> None:
    """Write stamp and frame_id; raises ImageError as ``set_stamp``."""
    set_stamp(header, ns)
    header.frame_id = frame_id


def fused_camera_info(infos: Mapping[str, Any], fused: FusedFrame, *, scaled: bool) -> Any | None:
    """A new CameraInfo with the stamp and frame_id of ``fused``; None where the camera of ``fused.grid`` has sent none.

    ``infos``: the last CameraInfo by role (``rgb``, ``thermal``). ``scaled``: whether the picture has another size than that camera's
    frames (``output.grid: size``); K and P are then scaled to it.
    """
    info = infos.get(fused.grid)
    if info is None:
        return None
    result = copy.copy(scaled_camera_info(info, *fused.image.shape[:2]) if scaled else info)
    result.header = copy.deepcopy(info.header)
    set_header(result.header, fused.stamp_ns, fused.frame_id)
    return result


def scaled_camera_info(info: Any, height: int, width: int) -> Any:
    """A copy of the CameraInfo for the camera's picture scaled, edge to edge, to ``height`` x ``width`` pixels.

    Binning and region of interest are applied and reset. A CameraInfo without a size (0) cannot be scaled and is returned itself.
    """
    info = delivered_camera_info(info)
    if not (info.width and info.height):
        return info
    return moved_camera_info(info, (height, width), scaling((info.height, info.width), (height, width)))
