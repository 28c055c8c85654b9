"""The parts of JPEG and TIFF files: segments and directories. Damaged parts are taken as absent."""

import struct
from collections.abc import Iterator

PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
MAX_SEGMENTS = 4096
MAX_PAGES = 65_536
TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}


def jpeg_segments(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(marker, place of its content, content) of the segments before the pixels of a JPEG file (ITU-T T.81, B.1.1)."""
    place = 2
    for _ in range(MAX_SEGMENTS):
        if place + 4 > len(content) or content[place] != 0xFF:
            return
        marker = content[place + 1]
        if marker == 0xFF:
            place += 1  # fill byte
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            place += 2  # has no length
            continue
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xDA or length < 2:  # the pixels begin
            return
        yield marker, place + 4, content[place + 4 : place + 2 + length]
        place += 2 + length


def tiff_pages(content: bytes) -> Iterator[dict[int, int]]:
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
