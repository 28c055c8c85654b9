"""FLIR's radiometric files: raw counts and the camera's constants in a JPEG's APP1 segments or an FFF file, and their temperature.

The layout is as ExifTool documents it (exiftool.org/TagNames/FLIR.html).
"""

import math
import struct
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Plane
from aenet_ros.core.picture_formats import jpeg_segments
from aenet_ros.io.picture_header import FLIR

RAW_DATA, CAMERA_INFO = 1, 0x20  # types of records
RAW_HEADER = 32  # bytes before the counts
MAX_RECORDS = 1024


class CameraConstants(NamedTuple):
    """The record CameraInfo. Temperatures in K, distance in m, humidity 0..1; the names are those of ExifTool."""

    emissivity: float
    distance: float
    reflected: float
    atmosphere: float
    window: float
    window_transmission: float
    humidity: float
    planck_r1: float
    planck_b: float
    planck_f: float
    alpha1: float
    alpha2: float
    beta1: float
    beta2: float
    x: float
    planck_o: float
    planck_r2: float


OFFSETS = (0x20, 0x24, 0x28, 0x2C, 0x30, 0x34, 0x3C, 0x58, 0x5C, 0x60, 0x70, 0x74, 0x78, 0x7C, 0x80)
"""Of the fields of CameraConstants up to ``x``, float32. Planck O is an int32 at 0x308, Planck R2 a float32 at 0x30C."""


def read_flir(content: bytes) -> tuple[Array, CameraConstants | None]:
    """Raw counts, uint16 [H, W], of a JPEG with FLIR's segments or of an FFF file; and the constants, None where the file has none.

    Raises ImageError where the counts are missing or damaged.
    """
    block = content if content[:4] in (b"FFF\0", b"AFF\0") else _joined_segments(content)
    try:
        records = _records(block)
        if RAW_DATA not in records:
            raise ImageError("the FLIR data holds no raw counts")
        info = _camera_constants(records[CAMERA_INFO]) if CAMERA_INFO in records else None
        return _raw_counts(records[RAW_DATA]), info
    except struct.error as error:
        raise ImageError("the FLIR data is cut off") from error


def _joined_segments(content: bytes) -> bytes:
    """The data of the APP1 segments in the order of their numbers: FLIR, 0, 1, number, last number."""
    parts = {part[6]: part[8:] for marker, _, part in jpeg_segments(content) if marker == 0xE1 and part.startswith(FLIR) and len(part) > 8}
    return b"".join(parts[number] for number in sorted(parts))


def _records(block: bytes) -> dict[int, bytes]:
    """The records of an FFF block by type; of several of one type the first."""
    if block[:4] not in (b"FFF\0", b"AFF\0"):
        raise ImageError(f"the FLIR data begins with {block[:4]!r} in place of 'FFF'")
    order = ">" if 100 <= struct.unpack_from(">I", block, 0x14)[0] < 200 else "<"  # the version tells the byte order
    directory, count = struct.unpack_from(order + "II", block, 0x18)
    found: dict[int, bytes] = {}
    for index in range(min(count, MAX_RECORDS)):
        kind, _, _, _, offset, length = struct.unpack_from(order + "HHIIII", block, directory + 32 * index)
        if kind == RAW_DATA and offset + length > len(block):
            raise ImageError(f"the FLIR data is cut off: {len(block)} bytes in place of {offset + length}")
        if length:
            found.setdefault(kind, block[offset : offset + length])
    return found


def _byte_order(record: bytes) -> str:
    """A record begins with a 2 in its own byte order."""
    return "<" if struct.unpack_from("<H", record)[0] < 0x100 else ">"


def _raw_counts(record: bytes) -> Array:
    data, order = record[RAW_HEADER:], _byte_order(record)
    if data.startswith(b"\x89PNG"):
        try:
            counts = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            counts = None
        if counts is None or counts.ndim != 2 or counts.dtype != np.uint16:
            raise ImageError("the FLIR data's picture of counts is damaged, or does not have 16 bit")
        # Most cameras write the bytes of PNG's values in the wrong order, some in the right one. Wrong ones look like noise.
        swapped = counts.byteswap()
        return swapped if _roughness(swapped) <= _roughness(counts) else np.asarray(counts)
    width, height = struct.unpack_from(order + "HH", record, 2)
    if not width or not height or len(data) < 2 * width * height:
        raise ImageError(f"the FLIR data holds {len(data)} bytes of counts; {width}x{height} counts need {2 * width * height}")
    return np.frombuffer(data, order + "u2", width * height).reshape(height, width).astype(np.uint16)


def _roughness(counts: Array) -> float:
    """Mean absolute difference of neighbours in a row."""
    return float(np.abs(np.diff(counts.astype(np.int32), axis=1)).mean()) if counts.shape[1] > 1 else 0.0


def _camera_constants(record: bytes) -> CameraConstants | None:
    """None where the record lacks usable constants."""
    order = _byte_order(record)
    values = [struct.unpack_from(order + "f", record, offset)[0] for offset in OFFSETS]
    planck_o, planck_r2 = struct.unpack_from(order + "if", record, 0x308)
    found = CameraConstants._make([*values, planck_o, planck_r2])
    if found.humidity > 2.0:  # some cameras write per cent
        found = found._replace(humidity=found.humidity / 100.0)
    if found.window_transmission <= 0.0:  # no window
        found = found._replace(window_transmission=1.0)
    positive = (found.planck_r1, found.planck_r2, found.planck_b, found.reflected, found.atmosphere, found.window)
    good = all(math.isfinite(value) for value in found) and min(positive) > 0.0 and 0.0 < found.emissivity <= 1.0
    return found if good and found.distance >= 0.0 else None


def celsius_of(counts: Array, camera: CameraConstants) -> Plane:
    """Temperature in degrees Celsius, float32 [H, W], of raw counts, uint16 [H, W]; NaN below what the constants can express.

    The radiation is corrected for emissivity, reflection, air and window. Minkina and Dudzik, "Infrared Thermography: Errors and
    Uncertainties" (2009); the same formula as raw2temp in Thermimage (R).
    """
    air = camera.atmosphere - 273.15
    water = camera.humidity * math.exp(1.5587 + 0.06939 * air - 0.00027816 * air**2 + 0.00000068455 * air**3)
    # The window is taken to stand half-way.
    path, root = -math.sqrt(camera.distance / 2.0), math.sqrt(max(water, 0.0))
    tau = camera.x * math.exp(path * (camera.alpha1 + camera.beta1 * root))
    tau += (1.0 - camera.x) * math.exp(path * (camera.alpha2 + camera.beta2 * root))
    emissivity, window = camera.emissivity, camera.window_transmission
    signal = counts.astype(np.float64) / (emissivity * tau * window * tau)
    signal -= (1.0 - emissivity) / emissivity * _radiation(camera.reflected, camera)
    signal -= (1.0 - tau) / (emissivity * tau) * _radiation(camera.atmosphere, camera)
    signal -= (1.0 - window) / (emissivity * tau * window) * _radiation(camera.window, camera)
    signal -= (1.0 - tau) / (emissivity * tau * window * tau) * _radiation(camera.atmosphere, camera)
    with np.errstate(all="ignore"):
        kelvin = camera.planck_b / np.log(camera.planck_r1 / (camera.planck_r2 * (signal + camera.planck_o)) + camera.planck_f)
    return np.asarray(np.where(np.isfinite(kelvin) & (kelvin > 0.0), kelvin - 273.15, np.nan), np.float32)


def _radiation(kelvin: float, camera: CameraConstants) -> float:
    """Raw counts of a black body by the camera's Planck constants."""
    return camera.planck_r1 / (camera.planck_r2 * (math.exp(camera.planck_b / kelvin) - camera.planck_f)) - camera.planck_o
