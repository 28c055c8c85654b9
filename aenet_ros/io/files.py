"""Kinds of files, and picture files: reading and atomic writing. Pairing: ``pairing``."""

import re
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.files import write_atomic
from aenet_ros.core.frames import Array, Frame
from aenet_ros.io.flir import celsius_of, read_flir
from aenet_ros.io.picture_header import PictureHeader, read_header
from aenet_ros.messages.encodings import used_bits

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".wmv", ".asf", ".flv", ".ogv", ".gif"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".y4m", ".h264", ".264", ".h265", ".265", ".hevc", ".mjpeg", ".mjpg"),
)
WRITTEN_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif")
BAG_SUFFIXES = (".mcap", ".db3", ".bag", ".active")
"""ROS 1's recorder calls a bag NAME.bag.active until it is complete."""
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".pgm", ".ppm")
UNREAD_SAMPLES = ("float16", "float24", "uint32", "uint64", "int64")
"""Number types of TIFF files that OpenCV does not read."""
FLIR_CELSIUS = "a FLIR radiometric file: degrees Celsius by the constants in it"
DJI_REMEDY = (
    "for temperatures convert it to TIFF, with `dji-thermal-cli process --input-dir IN --output-dir OUT` (PyPI) or DJI's Thermal SDK"
)


def is_bag(path: Path) -> bool:
    """Whether the path looks like a bag: a bag file, a folder with metadata.yaml, or a folder with the files of one bag.

    The files of one bag are called NAME_0, NAME_1 and so on. A folder with other files, or with bags in folders, holds several bags.
    """
    if not path.is_dir():
        return path.suffix.lower() in BAG_SUFFIXES
    if (path / "metadata.yaml").exists():
        return True
    names = {re.sub(r"_\d+$", "", file.stem) for file in storage_files(path)}
    return len(names) == 1 and not any(is_bag(entry) for entry in path.iterdir() if entry.is_dir())


def storage_files(folder: Path) -> list[Path]:
    """The files of a rosbag2 folder that hold its messages."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in (".mcap", ".db3"))


def read_thermal(path: Path, stamp_ns: int = 0, notes: list[str] | None = None) -> Frame:
    """A thermal picture as mono8, mono16 or 32FC1, by the file's own depth, turned as its EXIF orientation says.

    Signed integers become 32FC1. FLIR's radiometric files become degrees Celsius, 32FC1, or raw counts, mono16, where they lack the
    camera's constants. Of a colour picture the luma is taken. ``notes`` gets a sentence on each such matter, without the file's name.
    Raises SourceError if the file is missing, damaged, or of a depth that no thermal camera writes.
    """
    notes = [] if notes is None else notes
    content = read_content(path)
    header = read_header(content)
    data = _flir_values(path, content, header, notes) if header.maker == "FLIR" else _decode(path, content, header, notes)
    if header.maker == "DJI":
        notes.append(f"a DJI radiometric JPEG, of which only the preview is read; {DJI_REMEDY}")
    if data.ndim == 3 and (data[..., :1] == data).all():
        data = np.ascontiguousarray(data[..., 0])
    elif data.ndim == 3:
        data = luma(data)
        if not header.maker:
            notes.append("a colour picture, of which the luma is used: no temperature; export grey or radiometric files")
    if data.dtype in (np.int8, np.int16, np.int32, np.float64):
        data = data.astype(np.float32)
    encoding = {"uint8": "mono8", "uint16": "mono16", "float32": "32FC1"}.get(data.dtype.name)
    if encoding is None:
        raise SourceError(f"{path} holds {data.dtype.name} values; thermal pictures are read as 8 or 16 bit or float: convert it first")
    return Frame(stamp_ns, data, encoding)


def read_rgb(path: Path, stamp_ns: int = 0, notes: list[str] | None = None, bits: int = 0) -> Frame:
    """A colour picture as bgr8, or mono8 for a grey file, turned as its EXIF orientation says, without alpha.

    Values of more than 8 bits are scaled to 8 by the bits that they use, at least ``bits``: see ``used_bits``. ``notes`` and errors as
    ``read_thermal``.
    """
    notes = [] if notes is None else notes
    header, data = read_picture(path, notes)
    if data.dtype == np.uint16:
        bits = max(bits, used_bits(data, header.bits))
        if bits < 16:
            notes.append(f"16-bit values of which {bits} bits are used: {bits} bits are scaled to 8")
        data = np.minimum(data >> (bits - 8), 255).astype(np.uint8)
    if data.dtype != np.uint8:
        raise SourceError(f"{path} holds {data.dtype.name} values; rgb pictures are read as 8 or 16 bit: convert it first")
    return Frame(stamp_ns, data, "bgr8" if data.ndim == 3 else "mono8")


def read_content(path: Path) -> bytes:
    """The bytes of a file. Raises SourceError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    if not content:
        raise SourceError(f"{path} is empty (0 bytes): copy it again")
    return content


def _flir_values(path: Path, content: bytes, header: PictureHeader, notes: list[str]) -> Array:
    try:
        counts, camera = read_flir(content)
    except ImageError as error:
        raise SourceError(f"{path} is a FLIR radiometric file that cannot be read: {error}; export it again, or as a TIFF") from error
    values = celsius_of(counts, camera) if camera else counts
    if camera:
        notes.append(FLIR_CELSIUS)
    else:
        notes.append("a FLIR radiometric file without the camera's constants: its raw counts are used, which are no temperatures")
    turns = header.orientation  # EXIF: 1 to 8
    return turned(values, turns >= 5, turns in (3, 4, 7, 8), turns in (2, 3, 6, 7))


def turned(data: Array, swapped: bool, upside_down: bool, mirrored: bool) -> Array:
    """The picture with rows and columns swapped, then the order of its rows and of its columns reversed; contiguous."""
    data = data.swapaxes(0, 1) if swapped else data
    return np.ascontiguousarray(data[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def luma(bgr: Array) -> Array:
    """BT.601 luma of uint8, uint16 or float32 [H, W, 3] in the order blue, green, red; same dtype, rounded where that is integer."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(bgr), cv2.COLOR_BGR2GRAY))


def read_picture(path: Path, notes: list[str] | None = None) -> tuple[PictureHeader, Array]:
    """The header, and the pixels of the first page, [H, W] or [H, W, 3] in the order blue, green, red.

    They are turned as EXIF says and have no alpha. ``notes`` and errors as ``read_thermal``.
    """
    content = read_content(path)
    header = read_header(content)
    return header, _decode(path, content, header, notes)


def _decode(path: Path, content: bytes, header: PictureHeader, notes: list[str] | None) -> Array:
    """The pixels of ``content``, the file's bytes; see ``read_picture``."""
    if header.cut_off:  # decoders fill what is missing with grey
        raise SourceError(f"{path} is cut off: the end of the {header.format} data is missing ({len(content)} bytes); copy it again")
    if header.samples in UNREAD_SAMPLES or header.samples.startswith("complex"):
        raise SourceError(f"{path} holds {header.samples} values, which are not read: convert it to uint16 or float32")
    if header.pages > 1 and notes is not None:
        notes.append(f"{header.pages} pages, of which the first is used; split the others into files of their own")
    try:
        data = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise SourceError(f"{path} cannot be decoded: {error.err}") from error
    if data is None or data.size == 0:
        raise SourceError(f"{path} is damaged or not a picture ({len(content)} bytes); readable are {', '.join(PICTURE_SUFFIXES)}")
    return np.asarray(data)


def write_picture(path: Path, image: Array, encoding: str) -> None:
    """Write ``image``, rgb8, bgr8, mono8, mono16 or (TIFF) 32FC1, in the format of the path's suffix, completely or not at all.

    Raises SourceError if the format is unknown or the file cannot be written.
    """
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if encoding == "rgb8" else image
    try:
        good, content = cv2.imencode(path.suffix, picture)
    except cv2.error as error:
        raise SourceError(
            f"{path.name}: no picture can be written with suffix '{path.suffix}'; give one of {', '.join(PICTURE_SUFFIXES)}"
        ) from error
    if not good:
        raise SourceError(f"{path.name}: a picture of shape {image.shape}, {image.dtype}, does not fit the format {path.suffix}")
    write_atomic(path, content.tobytes())


def first_names(names: Iterable[str], most: int = 3) -> str:
    """The first names, for messages, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
