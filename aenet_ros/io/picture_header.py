"""What the header of a picture file says: format, orientation, bits, pages, a missing end, and whether it holds a maker's thermal data."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

EXIF, FLIR, XMP = b"Exif\0\0", b"FLIR\0", b"http://ns.adobe.com/xap/1.0/"
ORIENTATION = 0x0112  # a tag of EXIF and TIFF: 1 to 8
NEW_SUBFILE_TYPE, BITS_PER_SAMPLE, SAMPLE_FORMAT = 0x00FE, 0x0102, 0x0153
REDUCED_OR_MASK = 0b101  # bits of NEW_SUBFILE_TYPE: a smaller copy of a page, or its mask
SAMPLE_NAMES = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex float"}
MAX_PAGES = 65_536
TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}


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
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return PictureHeader("png", bits=_png_bits(content), cut_off=b"IEND" not in content[-64:])
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _read_tiff(content)
    if content[:4] in (b"FFF\0", b"AFF\0"):
        return PictureHeader("fff", maker="FLIR")
    return PictureHeader()


def jpeg_segments(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(marker, place of its content, content) of the segments before the pixels of a JPEG file (ITU-T T.81, B.1.1)."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xDA or length < 2:  # the pixels begin
            return
        yield marker, place + 4, content[place + 4 : place + 2 + length]
        place += 2 + length


def _read_jpeg(content: bytes) -> PictureHeader:
    orientation, maker, app3, dji, pixels = 1, "", 0, False, 2
    for marker, place, segment in jpeg_segments(content):
        pixels = place + len(segment)  # before them lies the end of a thumbnail
        if marker == 0xE1 and segment.startswith(EXIF):
            tags = next(_tiff_pages(segment[len(EXIF) :]), {})
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
    pages = list(_tiff_pages(content))
    if not pages:
        return PictureHeader("tiff", cut_off=True)
    orientation = pages[0].get(ORIENTATION, 1)
    samples = f"{SAMPLE_NAMES.get(pages[0].get(SAMPLE_FORMAT, 1), 'uint')}{pages[0].get(BITS_PER_SAMPLE, 1)}"
    count = sum(not page.get(NEW_SUBFILE_TYPE, 0) & REDUCED_OR_MASK for page in pages)
    return PictureHeader("tiff", orientation if 1 <= orientation <= 8 else 1, pages=max(count, 1), samples=samples)


def _tiff_pages(content: bytes) -> Iterator[dict[int, int]]:
    """The first integer of each tag by number, of each directory in the chain of a TIFF or BigTIFF file (TIFF 6.0, section 2)."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None or len(content) < 8:
        return
    big = struct.unpack_from(order + "H", content, 2)[0] == 43
    size, offset_code, count_code, entry_size = (8, "Q", "Q", 20) if big else (4, "I", "H", 12)
    seen: set[int] = set()
    try:
        offset = struct.unpack_from(order + offset_code, content, 8 if big else 4)[0]
        while offset and offset not in seen and len(seen) < MAX_PAGES:
            seen.add(offset)
            count = struct.unpack_from(order + count_code, content, offset)[0]
            first = offset + struct.calcsize(order + count_code)
            tags: dict[int, int] = {}
            for entry in range(first, first + count * entry_size, entry_size):
                tag, kind, values = struct.unpack_from(order + "HH" + offset_code, content, entry)
                place = entry + 4 + size
                if TYPE_SIZES.get(kind, 1) * values > size:
                    place = struct.unpack_from(order + offset_code, content, place)[0]
                if kind in INTEGERS and values:
                    tags[tag] = struct.unpack_from(order + INTEGERS[kind], content, place)[0]
            yield tags
            offset = struct.unpack_from(order + offset_code, content, first + count * entry_size)[0]
    except struct.error:  # cut off
        return
