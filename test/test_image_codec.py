"""The image codec against bytes laid by hand and arithmetic done by hand."""

import array
import contextlib
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aenet_ros.core.errors import ImageError, UnsupportedEncodingError
from aenet_ros.messages import codec as image_codec
from aenet_ros.messages import encodings as image_encodings


def header(ns=0, frame_id=""):
    return SimpleNamespace(stamp=SimpleNamespace(sec=ns // 10**9, nanosec=ns % 10**9), frame_id=frame_id)


def plain(encoding, height, width, step, data, big=0):
    """An Image without ROS."""
    return SimpleNamespace(
        header=header(1_500_000_002, "camera"), encoding=encoding, height=height, width=width, step=step, data=data, is_bigendian=big
    )


def ros(encoding, height, width, step, data, big=0):
    """The same as a real sensor_msgs/Image."""
    messages = pytest.importorskip("sensor_msgs.msg", reason="sensor_msgs is not installed")
    message = messages.Image(height=height, width=width, encoding=encoding, step=step, is_bigendian=big, data=array.array("B", data))
    message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id = 1, 500_000_002, "camera"
    return message


def compressed(text, data):
    return SimpleNamespace(header=header(7), format=text, data=array.array("B", data))


@pytest.fixture(params=[plain, ros], ids=["duck", "ros"])
def make(request):
    return request.param


# (encoding, step, bytes, big endian, canonical encoding, values) of images 2 high and 2 wide, one byte of padding or more a row.
COUNTS = [
    ("mono8", 3, bytes([1, 2, 99, 3, 4, 99]), 0, "mono8", [[1, 2], [3, 4]]),
    ("8UC1", 2, bytes([1, 2, 3, 4]), 1, "mono8", [[1, 2], [3, 4]]),
    ("mono16", 4, bytes([0x34, 0x12, 1, 0, 0, 1, 0xFF, 0xFF]), 0, "mono16", [[0x1234, 1], [256, 65535]]),
    ("mono16", 4, bytes([0x12, 0x34, 0, 1, 1, 0, 0xFF, 0xFF]), 1, "mono16", [[0x1234, 1], [256, 65535]]),
    ("16UC1", 6, bytes([2, 0, 3, 0, 9, 9, 4, 0, 5, 0, 9, 9]), 0, "mono16", [[2, 3], [4, 5]]),
    ("16UC1", 7, bytes([0, 2, 0, 3, 9, 9, 9, 0, 4, 0, 5, 9, 9, 9]), 1, "mono16", [[2, 3], [4, 5]]),
    ("32FC1", 8, struct.pack("<4f", 1.5, -2.0, 300.25, 0.0), 0, "32FC1", [[1.5, -2.0], [300.25, 0.0]]),
    ("32FC1", 8, struct.pack(">4f", 1.5, -2.0, 300.25, 0.0), 1, "32FC1", [[1.5, -2.0], [300.25, 0.0]]),
]


@pytest.mark.parametrize(("encoding", "step", "data", "big", "canonical", "values"), COUNTS)
def test_counts_of_either_byte_order_and_any_step(make, encoding, step, data, big, canonical, values):
    frame = image_codec.decode_thermal(make(encoding, 2, 2, step, data, big))
    assert frame.encoding == canonical
    assert frame.source_encoding == encoding
    assert frame.data.dtype == {"mono8": np.uint8, "mono16": np.uint16, "32FC1": np.float32}[canonical]
    assert frame.data.dtype.isnative
    assert frame.data.tolist() == values
    assert (frame.stamp_ns, frame.frame_id) == (1_500_000_002, "camera")


RGB_1X2 = [
    ("rgb8", [1, 2, 3, 4, 5, 6], "rgb8", [[1, 2, 3], [4, 5, 6]]),
    ("bgr8", [1, 2, 3, 4, 5, 6], "bgr8", [[1, 2, 3], [4, 5, 6]]),
    ("8UC3", [1, 2, 3, 4, 5, 6], "bgr8", [[1, 2, 3], [4, 5, 6]]),
    ("rgba8", [1, 2, 3, 77, 4, 5, 6, 88], "rgb8", [[1, 2, 3], [4, 5, 6]]),
    ("bgra8", [1, 2, 3, 77, 4, 5, 6, 88], "bgr8", [[1, 2, 3], [4, 5, 6]]),
    ("8UC4", [1, 2, 3, 77, 4, 5, 6, 88], "bgr8", [[1, 2, 3], [4, 5, 6]]),
    ("mono8", [7, 8], "mono8", [7, 8]),
    ("8UC1", [7, 8], "mono8", [7, 8]),
]


@pytest.mark.parametrize(("encoding", "row", "canonical", "values"), RGB_1X2)
@pytest.mark.parametrize("padding", [0, 5])
def test_rgb_by_channel_order(make, encoding, row, canonical, values, padding):
    data = bytes(row + [200] * padding) * 2
    frame = image_codec.decode_rgb(make(encoding, 2, 2, len(row) + padding, data))
    assert (frame.encoding, frame.source_encoding) == (canonical, encoding)
    assert frame.data.tolist() == [values, values]


# BT.601, limited range (ITU-R BT.601-7, 2.5.3): pure red, green, blue, white and black as (Y, Cb, Cr).
YUV = {
    (255, 0, 0): (81, 90, 240),
    (0, 255, 0): (145, 54, 34),
    (0, 0, 255): (41, 240, 110),
    (255, 255, 255): (235, 128, 128),
    (0, 0, 0): (16, 128, 128),
}


@pytest.mark.parametrize(("rgb", "yuv"), YUV.items(), ids=str)
@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv21"])
def test_yuv_colours(make, encoding, rgb, yuv):
    y, cb, cr = yuv
    height, width, padding = 2, 4, 3
    if encoding in ("uyvy", "yuv422"):
        row, rows = [cb, y, cr, y] * 2, 2
    elif encoding in ("yuyv", "yuv422_yuy2"):
        row, rows = [y, cb, y, cr] * 2, 2
    else:
        row, rows = [y] * 4, 2
    data = bytes(row + [99] * padding) * rows
    if encoding in ("nv12", "nv21"):
        data += bytes(([cb, cr] if encoding == "nv12" else [cr, cb]) * 2 + [99] * padding)
    frame = image_codec.decode_rgb(make(encoding, height, width, len(row) + padding, data))
    assert frame.encoding == "rgb8"
    assert frame.data.shape == (2, 4, 3)
    assert np.abs(frame.data.astype(int) - rgb).max() <= 2  # the Y, Cb, Cr above are rounded


def test_yuv_luma_lies_where_it_belongs():
    # Y of the four pixels 16, 235, 81, 126 without colour: grey (Y - 16) * 255 / 219 = 0, 255, 75.7, 128.1.
    for encoding, data in [("uyvy", [128, 16, 128, 235, 128, 81, 128, 126]), ("yuyv", [16, 128, 235, 128, 81, 128, 126, 128])]:
        grey = image_codec.decode_rgb(plain(encoding, 1, 4, 8, bytes(data))).data[..., 0]
        assert grey.tolist() == [[0, 255, 76, 128]]
    packed = bytes([16, 235, 81, 126, 16, 16, 235, 235] + [128] * 4)
    for step in (4, 8):  # 8: the step of two bytes a pixel that some drivers write over packed data
        grey = image_codec.decode_rgb(plain("nv12", 2, 4, step, packed)).data[..., 0]
        assert grey.tolist() == [[0, 255, 76, 128], [0, 0, 255, 255]]


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_pattern_names(make, pattern):
    # A scene of one colour: each site of the mosaic holds its own letter's value.
    value = {"r": 200, "g": 120, "b": 40}
    first, second = [value[letter] for letter in pattern[:2]], [value[letter] for letter in pattern[2:]]
    data = (bytes(first * 4 + [0, 0]) + bytes(second * 4 + [0, 0])) * 4
    frame = image_codec.decode_rgb(make(f"bayer_{pattern}8", 8, 8, 10, data))
    assert frame.encoding == "rgb8"
    assert (frame.data == [200, 120, 40]).all()


def test_pseudo_colour_thermal_is_luma():
    # BT.601: 0.299 R + 0.587 G + 0.114 B = 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
    for encoding, pixel in [("rgb8", [200, 100, 50]), ("bgr8", [50, 100, 200]), ("rgba8", [200, 100, 50, 1])]:
        frame = image_codec.decode_thermal(plain(encoding, 1, 2, 2 * len(pixel), bytes(pixel * 2)))
        assert (frame.encoding, frame.source_encoding) == ("mono8", encoding)
        assert frame.data.tolist() == [[124, 124]]


@pytest.mark.parametrize(
    ("encoding", "pixel_bytes", "decode"),
    [("mono8", 1, image_codec.decode_thermal), ("mono16", 2, image_codec.decode_thermal), ("32FC1", 4, image_codec.decode_thermal)]
    + [(encoding, 3, image_codec.decode_rgb) for encoding in ("rgb8", "bgr8", "8UC3")],
)
@pytest.mark.parametrize("padding", [0, 8])
def test_views_share_the_messages_memory(make, encoding, pixel_bytes, decode, padding):
    step = 4 * pixel_bytes + padding
    message = make(encoding, 3, 4, step, array.array("B", bytes(3 * step)))
    frame = decode(message)
    assert np.shares_memory(frame.data, np.frombuffer(message.data, np.uint8))
    assert not frame.data.flags.writeable
    message.data[0] = 1  # seen through the view
    assert frame.data.tobytes()[0] == 1


def test_misaligned_counts_are_copied_not_misread():
    raw = bytes([0]) + struct.pack("<4H", 1, 2, 3, 4)
    frame = image_codec.decode_thermal(plain("mono16", 2, 2, 4, memoryview(raw)[1:]))
    assert frame.data.tolist() == [[1, 2], [3, 4]]
    assert frame.data.flags.aligned


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8), lambda b: array.array("B", b)])
def test_any_buffer_is_read(kind):
    assert image_codec.decode_thermal(plain("mono8", 1, 2, 2, kind(b"\x05\x06"))).data.tolist() == [[5, 6]]


BROKEN = [
    (("mono8", 0, 0, 0, b""), "0x0"),
    (("mono8", 0, 4, 4, b""), "4x0"),
    (("rgb8", 2, 2, 6, bytes(11)), "needs 12 bytes but has 11"),
    (("rgb8", 2, 2, 5, bytes(100)), "step 5"),
    (("mono16", 2, 2, 2, bytes(100)), "step 2"),
    (("rgb8", 2, 2, 0, bytes(12)), "step 0"),
    (("rgb8", 10_000, 10_000, 30_000, bytes(100)), "needs 300000000 bytes but has 100"),
    (("mono16", 2**32 - 1, 2**32 - 1, 2**32 - 1, bytes(64)), "step 4294967295"),
    (("mono8", 2**32 - 1, 1, 2**32 - 1, bytes(64)), "truncated"),
    (("uyvy", 2, 3, 6, bytes(100)), "3x2"),
    (("nv12", 3, 4, 4, bytes(100)), "4x3"),
    (("nv21", 4, 3, 3, bytes(100)), "3x4"),
    (("nv12", 4, 4, 4, bytes(23)), "needs 24 bytes but has 23"),
    (("bayer_rggb8", 2, 2, 2, bytes(4)), "2x2"),
    (("mono8", 2, 2, 2, b""), "has 0"),
]


@pytest.mark.parametrize(("sizes", "words"), BROKEN, ids=lambda value: str(value)[:40])
def test_wrong_sizes_name_the_value(make, sizes, words):
    decode = image_codec.decode_thermal if sizes[0] == "mono16" else image_codec.decode_rgb
    with pytest.raises(ImageError, match=words):
        decode(make(*sizes))


@pytest.mark.parametrize(
    "changes", [{"height": -1}, {"width": 2.5}, {"step": None}, {"data": [1, 2, 3, 4]}, {"data": None}, {"data": "abcd"}]
)
def test_values_no_ros_message_would_hold(changes):
    message = plain("mono8", 2, 2, 2, bytes(4))
    vars(message).update(changes)
    with pytest.raises(ImageError, match="give"):
        image_codec.decode_rgb(message)


@pytest.mark.parametrize("encoding", ["", "RGB8", "rgb8 ", "jpeg", "\x00\xff", "🔥", "8UC99999999", "x" * 10_000_000, None, 8, b"rgb8"])
def test_unknown_encodings_are_named_briefly_with_what_is_read(encoding):
    with pytest.raises(UnsupportedEncodingError, match=r"use one of mono8.*bayer_grbg8") as caught:
        image_codec.decode_rgb(plain(encoding, 2, 2, 12, bytes(24)))
    assert len(str(caught.value)) < 600
    assert repr(encoding if isinstance(encoding, str) else repr(encoding))[:50] in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(
    encoding=st.sampled_from(sorted(image_encodings.THERMAL)) | st.text(max_size=12),
    height=st.integers(0, 2**32 - 1) | st.integers(0, 9),
    width=st.integers(0, 2**32 - 1) | st.integers(0, 9),
    step=st.integers(0, 2**32 - 1) | st.integers(0, 40),
    data=st.binary(max_size=300),
    big=st.integers(0, 255),
    decode=st.sampled_from([image_codec.decode_thermal, image_codec.decode_rgb]),
)
def test_hostile_messages_decode_or_say_why(encoding, height, width, step, data, big, decode):
    with contextlib.suppress(ImageError):
        frame = decode(plain(encoding, height, width, step, data, big))
        assert frame.size == (height, width)
        assert frame.encoding in ("mono8", "mono16", "32FC1", "rgb8", "bgr8")


# --- compressed ---------------------------------------------------------------------------------------------------------


def png(width, height, depth, kind, rows):
    """A PNG file written by hand (ISO/IEC 15948): ``kind`` 0 grey, 2 rgb, 6 rgba."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("text", "source"),
    [("png", "mono16"), ("mono16; png compressed ", "mono16"), ("16UC1; png compressed ", "16UC1"), ("", "mono16"), ("?;", "mono16")],
)
def test_16_bit_png_keeps_its_counts(text, source):
    data = png(2, 2, 16, 0, [struct.pack(">2H", 0, 65535), struct.pack(">2H", 30_000, 1)])
    frame = image_codec.decode_thermal(compressed(text, data))
    assert frame.data.dtype == np.uint16
    assert frame.data.tolist() == [[0, 65535], [30_000, 1]]
    assert (frame.encoding, frame.source_encoding, frame.stamp_ns) == ("mono16", source, 7)
    with pytest.raises(UnsupportedEncodingError, match="16 bit"):
        image_codec.decode_rgb(compressed(text, data))


@pytest.mark.parametrize(
    ("text", "encoding", "source", "pixel"),
    [
        ("png", "bgr8", "bgr8", [30, 20, 10]),
        ("rgb8; png compressed bgr8", "bgr8", "rgb8", [30, 20, 10]),
        ("rgb8; png compressed rgb8", "rgb8", "rgb8", [30, 20, 10]),  # stored as if it were bgr: the file's "blue" is red
    ],
)
@pytest.mark.parametrize("kind", ["rgb", "rgba", "rgb16"])
def test_colour_png(text, encoding, source, pixel, kind):
    body = {
        "rgb": bytes([10, 20, 30] * 2),
        "rgba": bytes([10, 20, 30, 255] * 2),
        "rgb16": struct.pack(">6H", *[10 * 257, 20 * 257, 30 * 257] * 2),
    }
    data = png(2, 1, 16 if kind == "rgb16" else 8, 6 if kind == "rgba" else 2, [body[kind]])
    frame = image_codec.decode_rgb(compressed(text, data))
    assert (frame.encoding, frame.source_encoding) == (encoding, source)
    assert frame.data.tolist() == [[pixel, pixel]]


@pytest.mark.parametrize("text", ["jpeg", "rgb8; jpeg compressed bgr8", "yuv422_yuy2; jpeg compressed bgr8"])
def test_jpeg_of_plain_colours(text):
    red = np.full((16, 24, 3), (200, 30, 40), np.uint8)
    data = image_codec.encode_jpeg(red, "rgb8", 95)
    assert data[:2] == b"\xff\xd8"
    frame = image_codec.decode_rgb(compressed(text, data))
    assert frame.encoding == "bgr8"
    assert frame.size == (16, 24)
    assert np.abs(frame.data.astype(int) - (40, 30, 200)).max() <= 3
    grey = image_codec.decode_thermal(compressed(text, data))
    assert abs(int(grey.data[0, 0]) - (0.299 * 200 + 0.587 * 30 + 0.114 * 40)) <= 2


def test_jpeg_quality_and_mono():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    assert len(image_codec.encode_jpeg(noise, "mono8", 30)) < len(image_codec.encode_jpeg(noise, "mono8", 90)) / 1.5
    frame = image_codec.decode_thermal(
        compressed("mono8; jpeg compressed mono8", image_codec.encode_jpeg(np.full((8, 8), 77, np.uint8), "mono8", 90))
    )
    assert (frame.encoding, frame.data.tolist()) == ("mono8", [[77] * 8] * 8)


def test_compressed_bayer_mosaic_is_demosaiced():
    data = png(4, 4, 8, 0, [bytes([200, 120] * 2), bytes([120, 40] * 2)] * 2)
    frame = image_codec.decode_rgb(compressed("bayer_rggb8; png compressed ", data))
    assert (frame.data == [200, 120, 40]).all()


def test_compressed_depth_by_rvl_is_refused_with_a_remedy():
    with pytest.raises(UnsupportedEncodingError, match=r"16UC1; compressedDepth rvl.*png"):
        image_codec.decode_thermal(compressed("16UC1; compressedDepth rvl", bytes(40)))


def test_bombs_are_refused_by_their_header():
    data = bytearray(png(8, 8, 8, 0, [bytes(8)] * 8))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(ImageError, match="60000x60000"):
        image_codec.decode_rgb(compressed("png", data))
    jpeg = bytearray(image_codec.encode_jpeg(np.zeros((8, 8), np.uint8), "mono8", 90))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", 65_000, 65_001)
    with pytest.raises(ImageError, match="65001x65000"):
        image_codec.decode_rgb(compressed("jpeg", jpeg))


def test_truncated_or_foreign_compressed_data_says_so():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    for data in (cv2.imencode(".png", noise)[1].tobytes(), image_codec.encode_jpeg(noise, "mono8", 90)):
        for size in (0, 1, 8, 20, 40, len(data) // 2, len(data) - 12):
            with pytest.raises(ImageError, match=r"truncated|begins with|damaged"):
                image_codec.decode_thermal(compressed("jpeg", data[:size]))
    for data in (b"GIF89a" + bytes(40), b"\xff\xd8" + b"\xff" * 100_000, b"\xff\xd8\xff\xe0" + bytes(100_000), b"\0\0\0\1\x67" * 9):
        with pytest.raises(ImageError):
            image_codec.decode_rgb(compressed("h264", data))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]), st.text(max_size=20), st.integers(0, 2000))
def test_hostile_compressed_data(data, start, text, place):
    whole = bytearray(image_codec.encode_jpeg(np.zeros((16, 16), np.uint8), "mono8", 90))
    whole[place % len(whole)] ^= data[0] if data else 1
    for body in (start + data, whole):
        with contextlib.suppress(ImageError):
            assert image_codec.decode_thermal(compressed(text, body)).encoding in ("mono8", "mono16")


# --- out ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "values", "dtype", "data"),
    [
        ("mono8", [[1, 2, 3]], "u1", bytes([1, 2, 3])),
        ("8UC1", [[1, 2, 3]], "u1", bytes([1, 2, 3])),
        ("mono16", [[1, 258, 3]], "u2", struct.pack("=3H", 1, 258, 3)),
        ("16UC1", [[1, 258, 3]], ">u2", struct.pack("=3H", 1, 258, 3)),
        ("32FC1", [[1.5, -2, 3]], "f4", struct.pack("=3f", 1.5, -2, 3)),
        ("rgb8", [[[1, 2, 3], [4, 5, 6]]], "u1", bytes([1, 2, 3, 4, 5, 6])),
        ("bgr8", [[[1, 2, 3], [4, 5, 6]]], "u1", bytes([1, 2, 3, 4, 5, 6])),
    ],
)
def test_fill_image_writes_every_field(make, encoding, values, dtype, data):
    message = make("", 0, 0, 0, b"")
    image_codec.fill_image(message, np.array(values, dtype), encoding)
    assert bytes(message.data) == data
    assert (message.height, message.width, message.encoding, message.step) == (1, len(values[0]), encoding, len(data))
    kept = message.data
    image_codec.fill_image(message, np.array(values, dtype)[:, ::-1], encoding)
    assert message.data is kept
    assert bytes(message.data) != data
    image_codec.fill_image(message, np.array(values * 2, dtype), encoding)
    assert bytes(message.data) == data * 2
    assert message.height == 2


@pytest.mark.parametrize("frame_data", [np.arange(12, dtype=np.uint16).reshape(3, 4), np.full((2, 3), np.nan, np.float32)])
def test_what_is_filled_is_read_back(make, frame_data):
    encoding = "16UC1" if frame_data.dtype == np.uint16 else "32FC1"
    message = make("", 0, 0, 0, b"")
    image_codec.fill_image(message, frame_data, encoding)
    frame = image_codec.decode_thermal(message)
    np.testing.assert_array_equal(frame.data, frame_data)
    assert frame.source_encoding == encoding


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (np.zeros((2, 2), np.uint8), "rgb8"),
        (np.zeros((2, 2, 4), np.uint8), "rgb8"),
        (np.zeros((2, 2, 3), np.uint8), "mono8"),
        (np.zeros((2, 2), np.uint8), "mono16"),
        (np.zeros((2, 2), np.float64), "32FC1"),
        (np.zeros((0, 2), np.uint8), "mono8"),
        (np.zeros(4, np.uint8), "mono8"),
        (np.zeros((2, 2), np.uint8), "nv12"),
    ],
)
def test_arrays_that_are_not_what_they_are_called(data, encoding):
    message = plain("mono8", 1, 1, 1, b"x")
    with pytest.raises(ImageError, match=encoding):
        image_codec.fill_image(message, data, encoding)
    assert message.data == b"x"
    with pytest.raises(ImageError, match=encoding):
        image_codec.encode_jpeg(data, encoding, 90)


@pytest.mark.parametrize("ns", [0, 1, 1_999_999_999, 1_750_000_000_123_456_789, -1])
def test_stamps(make, ns):
    message = make("mono8", 1, 1, 1, b"x")
    image_codec.set_stamp(message.header, ns)
    assert image_codec.stamp_ns(message) == ns
    assert message.header.stamp.nanosec == ns % 1_000_000_000


def test_stamps_that_no_message_holds():
    with pytest.raises(ImageError, match="2038"):
        image_codec.set_stamp(header(), 2**31 * 10**9)
