"""Pictures on disk: thermal ones of any depth, rgb ones, and writing that never leaves half a file."""

from pathlib import Path

import cv2
import numpy as np

from aenet_ros.core.atomic_io import write_atomic
from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import Array, Frame

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".pgm", ".ppm")


def read_thermal(path: Path, stamp_ns: int = 0) -> Frame:
    """A thermal picture as mono8, mono16 or 32FC1, by the file's own depth; a colour picture is taken as its luma.

    Raises SourceError where the file is missing, damaged, or of a depth that no thermal camera writes.
    """
    data = _decode(path, cv2.IMREAD_UNCHANGED)
    if data.ndim == 3:
        data = luma(data[:, :, :3])
    if data.dtype == np.float64:
        data = data.astype(np.float32)
    encoding = {"uint8": "mono8", "uint16": "mono16", "float32": "32FC1"}.get(data.dtype.name)
    if encoding is None:
        raise SourceError(f"{path} holds {data.dtype.name} values; thermal pictures are read as uint8, uint16 or float32: convert it first")
    return Frame(stamp_ns, data, encoding)


def read_rgb(path: Path, stamp_ns: int = 0) -> Frame:
    """A colour picture as bgr8, or mono8 for a grey file; 16-bit files are brought to 8. Raises SourceError as read_thermal does."""
    data = _decode(path, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)  # drops alpha, turns the picture as its EXIF orientation says
    if data.dtype == np.uint16:
        data = (data >> 8).astype(np.uint8)
    if data.dtype != np.uint8:
        raise SourceError(f"{path} holds {data.dtype.name} values; rgb pictures are read as 8 or 16 bit: convert it first")
    return Frame(stamp_ns, data, "bgr8" if data.ndim == 3 else "mono8")


def luma(bgr: Array) -> Array:
    """BT.601 luma of uint8, uint16 or float32 [H, W, 3] in the order blue, green, red; same dtype, rounded where that is integer."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(bgr), cv2.COLOR_BGR2GRAY))


def _decode(path: Path, flags: int) -> Array:
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        data = cv2.imdecode(content, flags) if content.size else None
    except cv2.error as error:
        raise SourceError(f"{path} cannot be decoded: {error.err}") from error
    if data is None or data.size == 0:
        raise SourceError(f"{path} is damaged or not a picture ({content.size} bytes); readable are {', '.join(SUFFIXES)}")
    return np.asarray(data)


def write_picture(path: Path, image: Array, encoding: str) -> None:
    """Write uint8 (or uint16 grey) ``image``, rgb8, bgr8, mono8 or mono16, in the format of the path's suffix, whole or not at all.

    Raises SourceError where the format is unknown, the folder forbids it or the disk is full.
    """
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if encoding == "rgb8" else image
    try:
        good, content = cv2.imencode(path.suffix, picture)
    except cv2.error as error:
        raise SourceError(
            f"{path.name}: no picture can be written with suffix '{path.suffix}'; give one of {', '.join(SUFFIXES)}"
        ) from error
    if not good:
        raise SourceError(f"{path.name}: a picture of shape {image.shape}, {image.dtype}, does not fit the format {path.suffix}")
    write_atomic(path, content.tobytes())
