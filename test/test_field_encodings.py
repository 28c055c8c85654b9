"""Encodings and formats that drivers send: values worked out by hand or by the formulas of image_transport and ITU-R BT.601."""

import struct
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from aenet_ros.core.errors import ImageError, UnsupportedEncodingError
from aenet_ros.messages.codec import decode_rgb, decode_thermal

RNG = np.random.default_rng(2)
COUNTS = (29_500 + 600 * RNG.random((24, 32))).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (24, 32, 3), np.uint8)


def header(frame_id="cam"):
    return SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id=frame_id)


def image(encoding, rows, big=0, padding=0, frame_id="cam", size=None):
    """An Image of an array [H, W(, C)], each row followed by ``padding`` bytes."""
    dtype = rows.dtype.newbyteorder(">" if big else "<")
    flat = rows.astype(dtype).view(np.uint8).reshape(rows.shape[0], -1)
    padded = np.pad(flat, ((0, 0), (0, padding)), constant_values=99)
    height, width = size or rows.shape[:2]
    return SimpleNamespace(
        header=header(frame_id),
        encoding=encoding,
        height=height,
        width=width,
        step=padded.shape[1],
        is_bigendian=big,
        data=array("B", padded.tobytes()),
    )


def compressed(text, data):
    return SimpleNamespace(header=header(), format=text, data=array("B", bytes(data)))


def encoded(suffix, data):
    return cv2.imencode(suffix, data)[1].tobytes()


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize(("encoding", "dtype"), [("8SC1", "i1"), ("16SC1", "i2"), ("32SC1", "i4"), ("64FC1", "f8")])
def test_signed_and_double_counts_are_floats(encoding, dtype, big, padding):
    values = np.array([[-100, 0, 1], [7, 100, -9]], dtype)
    frame = decode_thermal(image(encoding, values, big, padding))
    assert (frame.encoding, frame.data.dtype, frame.source_encoding) == ("32FC1", np.float32, encoding)
    assert frame.data.tolist() == values.tolist()
    assert frame.counts_encoding == "32FC1"


def test_the_sentinel_of_16sc1_holds_no_value():
    values = (2_000 + 900 * RNG.random((24, 32))).astype(np.int16)  # hundredths of a degree
    values[3:9, 4:9] = -32_768
    assert decode_thermal(image("16SC1", values)).invalid.sum() == 30


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb16", "rgb8"), ("bgr16", "bgr8"), ("16UC3", "bgr8"), ("rgba16", "rgb8"), ("bgra16", "bgr8")]
)
@pytest.mark.parametrize("big", [0, 1])
def test_16_bit_colour_is_scaled_by_its_depth(encoding, order, bits, big):
    full = (1 << bits) - 1
    values = np.zeros((4, 5, 4 if "a" in encoding else 3), np.uint16)
    values[0, 0, :3], values[1, 1, :3], values[2, 2, 0] = full, full // 2, full // 4
    frame = decode_rgb(image(encoding, values, big, 2, frame_id=f"{encoding}{bits}"))
    assert frame.encoding == order
    assert frame.data[0, 0].tolist() == [255] * 3
    assert np.abs(frame.data[1, 1].astype(int) - 127).max() <= 1
    assert np.abs(frame.data[2, 2].astype(int) - (63, 0, 0)).max() <= 1


def test_a_dark_frame_of_a_deep_camera_stays_dark():
    bright, dark = np.full((4, 4, 3), 4_000, np.uint16), np.full((4, 4, 3), 200, np.uint16)
    decode_rgb(image("rgb16", bright, frame_id="left"))
    assert decode_rgb(image("rgb16", dark, frame_id="left")).data.max() == round(200 * 255 / 4_095)


def test_a_12_bit_png_of_colours_is_not_black():
    frame = decode_rgb(compressed("rgb16; png compressed bgr16", encoded(".png", np.full((8, 8, 3), 3_000, np.uint16))))
    assert (frame.data == round(3_000 * 255 / 4_095)).all()


def test_16_bit_bayer():
    mosaic = np.tile(np.array([[4_000, 2_000], [2_000, 1_000]], np.uint16), (4, 4))  # red 4000, green 2000, blue 1000 of 4095
    frame = decode_rgb(image("bayer_rggb16", mosaic))
    assert np.abs(frame.data.astype(int) - (249, 125, 62)).max() <= 1
    png = decode_rgb(compressed("bayer_rggb16; png compressed ", encoded(".png", mosaic)))
    assert (png.data == frame.data).all()


@pytest.mark.parametrize("padding", [0, 4])
def test_nv24_by_bt601(padding):
    """Limited range: red is (81, 90, 240), green (145, 54, 34), blue (41, 240, 110), white (235, 128, 128)."""
    yuv = np.array([[(81, 90, 240), (145, 54, 34)], [(41, 240, 110), (235, 128, 128)]], np.uint8)
    step = 2 + padding
    luma = np.pad(yuv[..., 0], ((0, 0), (0, padding)))
    chroma = np.pad(yuv[..., 1:].reshape(2, 4), ((0, 0), (0, 2 * padding)))
    message = image("nv24", luma, size=(2, 2))
    message.step, message.data = step, array("B", luma.tobytes() + chroma.tobytes())
    frame = decode_rgb(message)
    assert frame.encoding == "rgb8"
    assert np.abs(frame.data.astype(int) - [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]]).max() <= 3
    message.data = message.data[: -3 - 2 * padding]
    with pytest.raises(ImageError, match=r"nv24 image of 2x2.*truncated"):
        decode_rgb(message)


@pytest.mark.parametrize(("encoding", "first"), [("nv12", 0), ("nv21", 1)])
def test_nv12_and_nv21_with_padded_rows(encoding, first):
    """A red picture, (81, 90, 240)."""
    chroma = [90, 240] if first == 0 else [240, 90]
    rows = np.array([[81] * 4] * 4 + [chroma * 2] * 2, np.uint8)
    frame = decode_rgb(image(encoding, rows, padding=4, size=(4, 4)))
    assert np.abs(frame.data.astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("16UC1; png compressed ", ".png"),
        ("mono16; png compressed", ".png"),
        ("mono16; tiff compressed ", ".tiff"),
        ("16UC1; tiff compressed", ".tiff"),
        ("png", ".png"),
        ("tiff", ".tiff"),
        ("jpeg", ".png"),
        ("", ".png"),
        ("", ".tiff"),
    ],
)
def test_compressed_counts_are_whole_whatever_the_format_says(text, suffix):
    frame = decode_thermal(compressed(text, encoded(suffix, COUNTS)))
    assert frame.encoding == "mono16"
    assert (frame.data == COUNTS).all()
    assert frame.counts_encoding == ("16UC1" if text.startswith("16UC1") else "mono16")


@pytest.mark.parametrize(
    ("dtype", "text"), [(np.float32, "32FC1; tiff compressed"), (np.float64, "64FC1; tiff compressed"), (np.float32, "")]
)
def test_compressed_floats(dtype, text):
    values = RNG.random((24, 32)).astype(dtype) * 40 - 10
    frame = decode_thermal(compressed(text, encoded(".tiff", values)))
    assert frame.encoding == "32FC1"
    np.testing.assert_array_equal(frame.data, values.astype(np.float32))


@pytest.mark.parametrize("text", ["rgb8; jpeg compressed bgr8", "jpg", "jpeg", "mjpeg", "bgr8; jpeg compressed ", "", "png", "JPEG"])
def test_jpeg_whatever_the_format_says(text):
    frame = decode_rgb(compressed(text, encoded(".jpg", np.full((24, 32, 3), (40, 30, 200), np.uint8))))
    assert frame.encoding == "bgr8"
    assert np.abs(frame.data.astype(int) - (40, 30, 200)).max() <= 3


def test_mjpeg_without_huffman_tables():
    """UVC cameras leave the standard tables (DHT) out."""
    data = encoded(".jpg", np.full((24, 32, 3), (40, 30, 200), np.uint8))
    while (place := data.find(b"\xff\xc4")) > 0:
        data = data[:place] + data[place + 2 + int.from_bytes(data[place + 2 : place + 4], "big") :]
    frame = decode_rgb(compressed("mjpeg", data + bytes(40)))  # padded to the size of a transfer
    assert np.abs(frame.data.astype(int) - (40, 30, 200)).max() <= 3


@pytest.mark.parametrize("text", ["8UC1; jpeg compressed ", "16UC1; jpeg compressed "])
def test_8_bit_data_is_not_called_16_bit(text):
    frame = decode_thermal(compressed(text, encoded(".jpg", np.full((24, 32), 77, np.uint8))))
    assert frame.encoding == "mono8"
    assert frame.counts_encoding in ("mono8", "8UC1")


def depth_header(scale=0.0, shift=0.0):
    return struct.pack("<iff", 0, scale, shift)


@pytest.mark.parametrize("text", ["16UC1; compressedDepth png", "16UC1; compressedDepth", "mono16; compressedDepth png"])
@pytest.mark.parametrize("head", [depth_header(), b""])
def test_compressed_depth_of_counts(text, head):
    frame = decode_thermal(compressed(text, head + encoded(".png", COUNTS)))
    assert frame.encoding == "mono16"
    assert (frame.data == COUNTS).all()


def test_compressed_depth_of_floats():
    """Quantised as compressed_depth_image_transport does it: round(scale / depth + shift), 0 where there is none."""
    depth, scale, shift = np.array([[0.5, 1.0], [2.0, 9.0]], np.float32), 100.0 * 101.0, 1.0 - 101.0 + 1010.0
    values = np.round(scale / depth + shift).astype(np.uint16)
    values[0, 0] = 0
    frame = decode_thermal(compressed("32FC1; compressedDepth png", depth_header(scale, shift) + encoded(".png", values)))
    assert frame.encoding == "32FC1"
    assert np.isnan(frame.data[0, 0])
    np.testing.assert_allclose(frame.data.ravel()[1:], depth.ravel()[1:], rtol=1e-3)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("16UC1; compressedDepth png", depth_header()[:7]),
        ("16UC1; compressedDepth png", depth_header() + encoded(".png", COUNTS)[:200]),
        ("16UC1; compressedDepth rvl", depth_header() + bytes(40)),
        ("32FC1; compressedDepth png", depth_header(float("nan")) + encoded(".png", COUNTS)),
        ("mono16; tiff compressed", encoded(".tiff", COUNTS)[:100]),
        ("mono16; tiff compressed", encoded(".tiff", COUNTS)[:9]),
        ("16UC1; png compressed ", encoded(".png", COUNTS)[:300]),
        ("h264", bytes([0, 0, 0, 1, 9]) + bytes(40)),
        ("rgb8; webp", b"RIFF" + bytes(40)),
    ],
)
def test_what_cannot_be_read_names_the_format(text, data):
    with pytest.raises(ImageError) as caught:
        decode_thermal(compressed(text, data))
    assert text in str(caught.value)


def test_a_tiff_bomb_is_refused_by_its_header():
    data = bytearray(encoded(".tiff", np.zeros((8, 8), np.uint8)))
    order = "<" if data[:2] == b"II" else ">"
    (place,) = struct.unpack_from(f"{order}I", data, 4)
    for entry in range(place + 2, place + 2 + 12 * struct.unpack_from(f"{order}H", data, place)[0], 12):
        if struct.unpack_from(f"{order}H", data, entry)[0] in (256, 257):
            struct.pack_into(f"{order}HHII", data, entry, struct.unpack_from(f"{order}H", data, entry)[0], 4, 1, 60_000)
    with pytest.raises(ImageError, match="60000x60000"):
        decode_rgb(compressed("tiff", data))


@pytest.mark.parametrize("encoding", ["mono16", "16SC1", "64FC1", "rgb16", "nv24", "bayer_rggb16"])
def test_truncated_data_names_the_encoding(encoding):
    message = image(encoding, np.zeros((8, 80), np.uint8), size=(8, 8))
    message.data = message.data[:40]
    with pytest.raises(ImageError, match=f"{encoding} image of 8x8.*truncated"):
        decode_thermal(message)


def test_float_colour_is_refused():
    with pytest.raises(UnsupportedEncodingError, match="float32"):
        decode_rgb(compressed("tiff", encoded(".tiff", RNG.random((8, 8, 3)).astype(np.float32))))
    with pytest.raises(UnsupportedEncodingError, match="float"):
        decode_rgb(compressed("tiff", encoded(".tiff", RNG.random((8, 8)).astype(np.float32))))
