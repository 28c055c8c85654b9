"""What the header of a picture file says: format, orientation, bits, pages, a missing end, and whether it holds a maker's thermal data."""

import struct
from typing import NamedTuple

from aenet_ros.core.picture_formats import PNG_BEGIN, jpeg_segments, tiff_pages

EXIF, FLIR, XMP = b"Exif\0\0", b"FLIR\0", b"http://ns.adobe.com/xap/1.0/"
ORIENTATION = 0x0112  # a tag of EXIF and TIFF: 1 to 8
NEW_SUBFILE_TYPE, BITS_PER_SAMPLE, SAMPLE_FORMAT = 0x00FE, 0x0102, 0x0153
REDUCED_OR_MASK = 0b101  # bits of NEW_SUBFILE_TYPE: a smaller copy of a page, or its mask
SAMPLE_NAMES = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex float"}


class PictureHeader(NamedTuple):
    """``format``: jpeg, png, tiff, fff (FLIR's own files), or "" for another one.

    orientation: EXIF's 1 to 8; of JPEG and TIFF, else 1. bits: significant bits of a sample as the file states them; 0: not stated.
    samples: number type of a TIFF file, for example uint16. pages: pictures in a TIFF file, without thumbnails and masks.
    cut_off: the end of the file is missing.
    maker: "FLIR" or "DJI", where a JPEG holds the counts of that maker's thermal camera.
    """

    format: str = ""
    orientation: int = 1
    bits: int = 0
    pages: int = 1
    cut_off: bool = False
    samples: str = ""
    maker: str = ""


def read_header(content: bytes) -> PictureHeader:
    """The header of a picture file. Damaged parts are taken as absent: the decoder reports them."""
    if content.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(content)
    if content.startswith(PNG_BEGIN):
        return PictureHeader("png", bits=_png_bits(content), cut_off=b"IEND" not in content[-64:])
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _read_tiff(content)
    if content[:4] in (b"FFF\0", b"AFF\0"):
        return PictureHeader("fff", maker="FLIR")
    return PictureHeader()


def _read_jpeg(content: bytes) -> PictureHeader:
    orientation, maker, app3, dji, pixels = 1, "", 0, False, 2
    for marker, place, segment in jpeg_segments(content):
        pixels = place + len(segment)  # before them lies the end of a thumbnail
        if marker == 0xE1 and segment.startswith(EXIF):
            tags = next(tiff_pages(segment[len(EXIF) :]), {})
            orientation = tags.get(ORIENTATION, 1)
            dji |= b"DJI" in segment[:512]
        elif marker == 0xE1 and segment.startswith(FLIR):
            maker = "FLIR"
        elif marker == 0xE1 and segment.startswith(XMP):
            dji |= b"drone-dji" in segment
        elif marker == 0xE3:  # DJI's counts, see github.com/uav4geo/Thermal-Tools
            app3 += len(segment)
    if not maker and dji and app3 > 4096:
        maker = "DJI"
    orientation = orientation if 1 <= orientation <= 8 else 1
    return PictureHeader("jpeg", orientation, cut_off=content.rfind(b"\xff\xd9", pixels) < 0, maker=maker)


def _png_bits(content: bytes) -> int:
    """The largest number of the chunk sBIT, which lies before the pixels; 0 without it."""
    place = 8
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        if name == b"sBIT":
            return max(content[place + 8 : place + 8 + length], default=0)
        if name in (b"IDAT", b"IEND"):
            break
        place += 12 + length
    return 0


def _read_tiff(content: bytes) -> PictureHeader:
    pages = list(tiff_pages(content))
    if not pages:
        return PictureHeader("tiff", cut_off=True)
    orientation = pages[0].get(ORIENTATION, 1)
    samples = f"{SAMPLE_NAMES.get(pages[0].get(SAMPLE_FORMAT, 1), 'uint')}{pages[0].get(BITS_PER_SAMPLE, 1)}"
    count = sum(not page.get(NEW_SUBFILE_TYPE, 0) & REDUCED_OR_MASK for page in pages)
    return PictureHeader("tiff", orientation if 1 <= orientation <= 8 else 1, pages=max(count, 1), samples=samples)
