"""The records of a ROS 1 bag (format 2.0) one after the other, without its index: that is what an interrupted recording lacks.

Format: wiki.ros.org/Bags/Format/2.0.
"""

import bz2
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import lz4.frame

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, CHUNK, CONNECTION = 2, 5, 7
LARGEST = 1 << 31


class FormatError(ValueError):
    """The bytes are no records; the text says where."""


class Definition(NamedTuple):
    """A topic of the bag, under the number that its messages bear."""

    number: int
    topic: str
    msgtype: str
    text: str
    md5sum: str


class Recorded(NamedTuple):
    """A message."""

    number: int
    log_ns: int
    data: bytes


def records_of_ros1(file: Path) -> Iterator[Definition | Recorded]:
    """Definitions and messages in the order of the file. Raises FormatError where it is cut off or damaged, after all before that."""
    with file.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise FormatError("it does not begin as a ROS 1 bag of format 2.0 does")
        for header, data in _records(stream):
            if header.get("op") == bytes([CHUNK]):
                yield from _of_chunk(header, data, stream)
            else:
                # A recorder that was killed leaves the messages of its last chunk under an empty chunk header.
                yield from _known(header, data)


def _of_chunk(header: dict[str, bytes], data: bytes, stream: BinaryIO) -> Iterator[Definition | Recorded]:
    compression = header.get("compression", b"none").decode(errors="replace")
    for inner, content in _records(BytesIO(_unpacked(data, compression))):
        yield from _known(inner, content)
    if not data and compression != "none":
        raise FormatError(f"it ends in a {compression} chunk that was not finished, at byte {stream.tell()}")


def _unpacked(data: bytes, compression: str) -> bytes:
    """As much of the chunk as there is."""
    if compression == "none" or not data:
        return data
    try:
        if compression == "bz2":
            return bz2.BZ2Decompressor().decompress(data)
        if compression == "lz4":
            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data))
    except (OSError, RuntimeError, EOFError) as error:
        raise FormatError(f"a {compression} chunk is damaged ({error})") from error
    raise FormatError(f"a chunk is compressed as '{compression}', which is not known")


def _known(header: dict[str, bytes], data: bytes) -> Iterator[Definition | Recorded]:
    try:
        if header.get("op") == bytes([CONNECTION]):
            about = _fields(data)
            topic = "/" + header["topic"].decode().strip("/")
            kind = about["type"].decode()
            package, _, name = kind.partition("/")
            msgtype = kind if "/msg/" in kind else f"{package}/msg/{name}"
            yield Definition(_number(header["conn"]), topic, msgtype, about["message_definition"].decode(), about["md5sum"].decode())
        elif header.get("op") == bytes([MESSAGE]):
            seconds, nanoseconds = struct.unpack("<II", header["time"])
            yield Recorded(_number(header["conn"]), seconds * 1_000_000_000 + nanoseconds, data)
    except (KeyError, UnicodeDecodeError, struct.error) as error:
        raise FormatError(f"a record lacks what belongs to it ({error})") from error


def _records(stream: BinaryIO) -> Iterator[tuple[dict[str, bytes], bytes]]:
    """(header's fields, data) of each; the data of a chunk that is cut off come as far as they are there, before the error."""
    while True:
        begin = stream.tell()
        if not (size := stream.read(4)):
            return
        header = _fields(_take(stream, size, begin))
        length = stream.read(4)
        if len(length) == 4 and header.get("op") == bytes([CHUNK]) and _number(length) < LARGEST:
            data = stream.read(_number(length))
            yield header, data
            if len(data) < _number(length):
                raise FormatError(f"it ends in the middle, in the chunk at byte {begin}")
        else:
            yield header, _take(stream, length, begin)


def _take(stream: BinaryIO, size: bytes, begin: int) -> bytes:
    if len(size) < 4:
        raise FormatError(f"it ends in the middle, in the record at byte {begin}")
    if (length := _number(size)) >= LARGEST:
        raise FormatError(f"the record at byte {begin} is damaged")
    data = stream.read(length)
    if len(data) < length:
        raise FormatError(f"it ends in the middle, in the record at byte {begin}")
    return data


def _fields(header: bytes) -> dict[str, bytes]:
    fields, at = {}, 0
    while at + 4 <= len(header):
        length = _number(header[at : at + 4])
        name, equals, value = header[at + 4 : at + 4 + length].partition(b"=")
        if not equals or at + 4 + length > len(header):
            raise FormatError("a record's header is damaged")
        fields[name.decode(errors="replace")] = value
        at += 4 + length
    return fields


def _number(data: bytes) -> int:
    return int(struct.unpack("<I", data)[0])
