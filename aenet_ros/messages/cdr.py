"""The little of CDR that is worth reading without deserialising a whole image."""

import struct

_HEADER = {0: ">iI", 1: "<iI"}


def header_stamp_ns(data: bytes) -> int:
    """``header.stamp`` in ns of any serialized message that begins with a std_msgs/Header.

    Four bytes of encapsulation (the second tells the byte order), then seconds and nanoseconds; raises struct.error for less than 12 bytes.
    """
    seconds, nanoseconds = struct.unpack_from(_HEADER[data[1] & 1], data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
