"""FLIR's and DJI's radiometric files, and TIFF in degrees or hundredths of a kelvin."""

import io
import json
import math
import struct

import cv2
import numpy as np
import pytest

from aenet_ros.cli import main as cli
from aenet_ros.core.errors import SourceError
from aenet_ros.io.files import read_thermal
from aenet_ros.io.flir import read_flir

SETTINGS = ("--set", "model.threads=1")
# The defaults of raw2temp in Thermimage (R)
R1, R2, B, F, OFFSET = 21106.77, 0.012545258, 1501.0, 1.0, -7340
DEGREES = np.linspace(-10.0, 120.0, 60 * 80).reshape(60, 80)


def planck_counts(celsius):
    """Raw counts of a black body (FLIR's form of Planck's law)."""
    return R1 / (R2 * (np.exp(B / (celsius + 273.15)) - F)) - OFFSET


def camera_info(order="<", emissivity=1.0, distance=0.0, humidity=0.5, window=1.0):
    record = bytearray(0x390)
    struct.pack_into(order + "H", record, 0, 2)
    kelvin = (293.15, 295.15, 297.15)  # reflected, air, window
    struct.pack_into(order + "6f", record, 0x20, emissivity, distance, *kelvin, window)
    struct.pack_into(order + "f", record, 0x3C, humidity)
    struct.pack_into(order + "3f", record, 0x58, R1, B, F)
    struct.pack_into(order + "5f", record, 0x70, 0.006569, 0.01262, -0.002276, -0.00667, 1.9)
    struct.pack_into(order + "if", record, 0x308, OFFSET, R2)
    return bytes(record)


def raw_record(counts, kind, order="<"):
    height, width = counts.shape
    head = struct.pack(order + "HHH", 2, width, height).ljust(32, b"\0")
    if kind == "plain":
        return head + counts.astype(order + "u2").tobytes()
    stored = counts.byteswap() if kind == "swapped png" else counts
    return head + cv2.imencode(".png", stored)[1].tobytes()


def fff(counts, kind="swapped png", info=b"", order="<", directory=64):
    records = [(1, raw_record(counts, kind, order))] + ([(0x20, info)] if info else [])
    offset, entries, content = directory + 32 * len(records), b"", b""
    for number, record in records:
        entries += struct.pack(">HHIIIIIII", number, 1, 100, 1, offset + len(content), len(record), 0, 0, 0).ljust(32, b"\0")
        content += record
    head = b"FFF\0" + b"MADE HERE".ljust(16, b"\0") + struct.pack(">III", 101, directory, len(records))
    return head.ljust(directory, b"\0") + entries + content


def flir_jpeg(block, preview=None, part=20_000):
    preview = cv2.applyColorMap(np.full((240, 320), 90, np.uint8), cv2.COLORMAP_INFERNO) if preview is None else preview
    content = cv2.imencode(".jpg", preview)[1].tobytes()
    parts = [block[place : place + part] for place in range(0, len(block), part)]
    segments = b""
    for number, data in enumerate(parts):
        body = b"FLIR\0\x01" + bytes([number, len(parts) - 1]) + data
        segments += b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    return content[:2] + segments + content[2:]


@pytest.mark.parametrize("kind", ["swapped png", "png", "plain"])
@pytest.mark.parametrize("order", "<>")
def test_counts_of_a_black_body_become_its_temperature(tmp_path, kind, order):
    counts = np.round(planck_counts(DEGREES)).astype(np.uint16)
    (tmp_path / "x.jpg").write_bytes(flir_jpeg(fff(counts, kind, camera_info(order), order)))
    notes = []
    frame = read_thermal(tmp_path / "x.jpg", 5, notes)
    assert (frame.encoding, frame.size, frame.stamp_ns) == ("32FC1", (60, 80), 5)
    assert np.abs(frame.data - DEGREES).max() < 0.05  # a count is up to 0.03 degrees
    assert "degrees Celsius" in notes[0]


def test_emissivity_air_and_window_as_in_flyr(tmp_path):
    flyr = pytest.importorskip("flyr", reason="flyr reads the same files: its temperatures are the expected ones")
    counts = np.round(planck_counts(DEGREES)).astype(np.uint16)
    info = camera_info(emissivity=0.92, distance=12.0, humidity=0.6, window=0.9)
    # flyr reads the directory from the file's beginning, so that the last two entries are not seen: two empty ones are added.
    block = fff(counts, "swapped png", info)
    (tmp_path / "x.jpg").write_bytes(flir_jpeg(block))
    count = struct.unpack_from(">I", block, 0x1C)[0]
    padded = block[:0x1C] + struct.pack(">I", count + 2) + block[0x20:]
    theirs = flyr.unpack(io.BytesIO(flir_jpeg(padded))).celsius
    np.testing.assert_allclose(read_thermal(tmp_path / "x.jpg").data, theirs, atol=0.02)  # it rounds temperatures to 0.01 K


def test_humidity_in_per_cent_is_understood(tmp_path):
    counts = np.round(planck_counts(DEGREES)).astype(np.uint16)
    found = []
    for humidity in (0.45, 45.0):
        (tmp_path / "x.jpg").write_bytes(flir_jpeg(fff(counts, info=camera_info(distance=30.0, humidity=humidity))))
        found.append(read_thermal(tmp_path / "x.jpg").data)
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    assert math.isfinite(float(found[0].mean()))


def test_without_constants_the_counts_are_kept(tmp_path):
    counts = np.round(planck_counts(DEGREES)).astype(np.uint16)
    for name, info in (("none", b""), ("zero", bytes(0x390))):
        (tmp_path / f"{name}.jpg").write_bytes(flir_jpeg(fff(counts, info=info)))
        notes = []
        frame = read_thermal(tmp_path / f"{name}.jpg", notes=notes)
        assert frame.encoding == "mono16"
        np.testing.assert_array_equal(frame.data, counts)
        assert "radiometric" in notes[0]
        assert "no temperatures" in notes[0]


def test_an_fff_file_and_a_directory_elsewhere():
    counts = np.round(planck_counts(DEGREES)).astype(np.uint16)
    np.testing.assert_array_equal(read_flir(fff(counts, "plain", directory=512))[0], counts)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_damaged_flir_data_is_said(tmp_path, share):
    block = fff(np.round(planck_counts(DEGREES)).astype(np.uint16), "plain", camera_info())
    (tmp_path / "x.jpg").write_bytes(flir_jpeg(block[: int(len(block) * share * 0.85)]))
    with pytest.raises(SourceError, match="FLIR radiometric"):
        read_thermal(tmp_path / "x.jpg")


def photo():
    rng = np.random.default_rng(2)
    return cv2.GaussianBlur(rng.integers(60, 200, (240, 320, 3), np.uint8), (0, 0), 3)


def test_fuse_uses_the_degrees_of_the_file(tmp_path, capsys):
    """With a fixed range of 20 to 40 degrees, half the file's range of 0 to 60 degrees is neither black nor white."""
    counts = np.round(planck_counts(np.tile(np.linspace(0.0, 60.0, 80), (60, 1)))).astype(np.uint16)
    (tmp_path / "t.jpg").write_bytes(flir_jpeg(fff(counts, info=camera_info())))
    cv2.imwrite(str(tmp_path / "c.png"), photo())
    options = ["agc.mode=fixed", "agc.unit=celsius", "agc.fixed_low=20", "agc.fixed_high=40", "sensor.column_noise=off"]
    command = ["fuse", str(tmp_path / "t.jpg"), str(tmp_path / "c.png"), "-o", str(tmp_path / "o.png"), "--panels", "thermal"]
    assert cli.main([*command, *SETTINGS, *options]) == 0
    assert "degrees Celsius" in capsys.readouterr().err
    row = cv2.imread(str(tmp_path / "o.png"), cv2.IMREAD_GRAYSCALE)[120].astype(float)
    centres = (np.arange(320) + 0.5) / 4 - 0.5  # of the rgb pixels, in thermal pixels
    expected = np.clip((np.rint(centres) / 79 * 60 - 20) / 20, 0, 1) * 255
    assert np.abs(row - expected).max() < 8


@pytest.mark.parametrize(
    ("profile", "values"), [("celsius", "float32"), ("kelvin", "float32"), ("centikelvin", "uint16"), ("seek", "float32")]
)
def test_tiff_in_degrees(tmp_path, capsys, profile, values):
    degrees = np.tile(np.linspace(0.0, 60.0, 80), (60, 1))
    stored = {"celsius": degrees, "seek": degrees, "kelvin": degrees + 273.15, "centikelvin": (degrees + 273.15) * 100}[profile]
    cv2.imwrite(str(tmp_path / "t.tif"), stored.astype(values))
    cv2.imwrite(str(tmp_path / "c.png"), photo())
    options = ["agc.mode=fixed", "agc.unit=celsius", "agc.fixed_low=20", "agc.fixed_high=40", "sensor.column_noise=off"]
    command = ["fuse", str(tmp_path / "t.tif"), str(tmp_path / "c.png"), "-o", str(tmp_path / "o.png"), "--panels", "thermal", *SETTINGS]
    assert cli.main([*command, *options, f"agc.profile={profile}"]) == 0
    row = cv2.imread(str(tmp_path / "o.png"), cv2.IMREAD_GRAYSCALE)[120].astype(float)
    assert abs(row[160] - 255 * 0.5) < 8  # 30 degrees
    assert (row[:100].max(), row[220:].min()) == (0, 255)
    # by another scale the values would be no temperatures: that is an error, not a black picture
    wrong = {"celsius": "centikelvin", "seek": "centikelvin", "kelvin": "centikelvin", "centikelvin": "celsius"}[profile]
    assert cli.main(["fuse", "--force", *command[1:], *options, f"agc.profile={wrong}"]) == 1
    assert "agc.profile" in capsys.readouterr().err


def test_dji_files_say_how_to_get_temperatures(tmp_path):
    grey = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (128, 160), np.uint8), (0, 0), 3)
    content = cv2.imencode(".jpg", cv2.applyColorMap(grey, cv2.COLORMAP_HOT))[1].tobytes()
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x xmlns:drone-dji='http://www.dji.com/drone-dji/1.0/'/>"
    segments = b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + b"\xff\xe3" + struct.pack(">H", 60_002) + bytes(60_000)
    (tmp_path / "DJI_0001_T.JPG").write_bytes(content[:2] + segments + content[2:])
    notes = []
    assert read_thermal(tmp_path / "DJI_0001_T.JPG", notes=notes).encoding == "mono8"
    assert "DJI" in notes[0]
    assert "dji-thermal-cli" in notes[0]
    # a DJI camera's photo is no thermal file
    (tmp_path / "photo.jpg").write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + content[2:])
    notes.clear()
    read_thermal(tmp_path / "photo.jpg", notes=notes)
    assert not any("DJI" in note for note in notes)


def test_a_radiometric_file_as_rgb_is_refused(tmp_path, capsys):
    counts = np.round(planck_counts(DEGREES)).astype(np.uint16)
    (tmp_path / "t.jpg").write_bytes(flir_jpeg(fff(counts, info=camera_info())))
    cv2.imwrite(str(tmp_path / "c.png"), photo())
    assert cli.main(["fuse", str(tmp_path / "c.png"), str(tmp_path / "t.jpg"), "-o", str(tmp_path / "o.png"), *SETTINGS]) == 1
    assert "FLIR" in capsys.readouterr().err


def inspect(path, capsys, *options):
    assert cli.main(["inspect", str(path), *options]) == 0
    return capsys.readouterr().out


def test_inspect_says_what_a_file_is(tmp_path, capsys):
    counts = np.round(planck_counts(DEGREES)).astype(np.uint16)
    (tmp_path / "flir.jpg").write_bytes(flir_jpeg(fff(counts, info=camera_info())))
    text = inspect(tmp_path / "flir.jpg", capsys)
    for word in ("jpeg, 320x240, uint8, 3 channels", "FLIR radiometric", "32FC1 80x60", "-10.0 .. 120.0 degrees Celsius"):
        assert word in text
    cv2.imwrite(str(tmp_path / "ck.tif"), ((DEGREES + 273.15) * 100).astype(np.uint16))
    text = inspect(tmp_path / "ck.tif", capsys)
    for word in ("tiff, 80x60, uint16", "mono16 80x60", "agc.profile=centikelvin", "-10.0 .. 120.0 degrees Celsius"):
        assert word in text
    assert "-10.0 .. 120.0 degrees Celsius, median 55.0" in inspect(tmp_path / "ck.tif", capsys, "--set", "agc.profile=centikelvin")
    cv2.imwrite(str(tmp_path / "deg.tif"), DEGREES.astype(np.float32))
    assert "agc.profile=celsius" in inspect(tmp_path / "deg.tif", capsys)
    report = json.loads(inspect(tmp_path / "deg.tif", capsys, "--json"))
    assert report["thermal"]["encoding"] == "32FC1"
    assert report["thermal"]["values"][2] == pytest.approx(120.0)


def test_inspect_names_depth_and_orientation_of_a_colour_file(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "c.png"), (photo().astype(np.uint16) * 16))
    text = inspect(tmp_path / "c.png", capsys)
    assert "uint16 that use 12 bits, 3 channels" in text
    assert "as rgb: bgr8" in text
    (tmp_path / "x.png").write_bytes(b"")
    assert cli.main(["inspect", str(tmp_path / "x.png")]) == 1
    assert "empty" in capsys.readouterr().err
