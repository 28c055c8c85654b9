"""Pictures as cameras and programs write them: orientation, depth, pages, colours, broken files. Nothing is lost without a word."""

import io
import struct

import cv2
import numpy as np
import pytest

from aenet_ros.cli import main as cli
from aenet_ros.core.errors import SourceError
from aenet_ros.io.files import PICTURE_SUFFIXES, read_rgb, read_thermal
from aenet_ros.io.picture_checks import GREY, PALETTE, PHOTO, colour_kind

SETTINGS = ("--set", "model.threads=1")
CORNER = np.zeros((48, 64), np.uint8)
CORNER[:16, :16] = 255  # stored at the top left
# By EXIF 2.3, tag 0x0112: where the stored top left corner is to be shown (right, bottom), and whether rows become columns.
SHOWN_AT = {
    1: (0, 0, 0),
    2: (1, 0, 0),
    3: (1, 1, 0),
    4: (0, 1, 0),
    5: (0, 0, 1),
    6: (1, 0, 1),
    7: (1, 1, 1),
    8: (0, 1, 1),
}


def exif_jpeg(picture, orientation, order=">", quality=95):
    content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "IH", 8, 1) + entry + bytes(4)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]


def tiff(picture, number_format=1, order="<", tags=()):
    """A TIFF file of one strip, uncompressed: TIFF 6.0. ``number_format``: 1 unsigned, 2 signed, 3 float."""
    data = picture.astype(picture.dtype.newbyteorder(order)).tobytes()
    height, width = picture.shape
    entries = [(256, 4, width), (257, 4, height), (258, 3, picture.dtype.itemsize * 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    entries += [(277, 3, 1), (278, 4, height), (279, 4, len(data)), (339, 3, number_format), *tags]
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(data))
    body = struct.pack(order + "H", len(entries))
    for tag, kind, value in sorted(entries):
        stored = struct.pack(order + "I", value) if kind == 4 else struct.pack(order + "HH", value, 0)
        body += struct.pack(order + "HHI", tag, kind, 1) + stored
    return head + data + body + bytes(4)


def is_shown_at(picture, orientation):
    right, bottom, turned = SHOWN_AT[orientation]
    shape = (64, 48) if turned else (48, 64)
    return picture.shape[:2] == shape and picture[-5 if bottom else 5, -5 if right else 5] > picture.max() / 2 > np.median(picture)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_both_cameras_are_turned_as_exif_says(tmp_path, orientation, order):
    (tmp_path / "t.jpg").write_bytes(exif_jpeg(CORNER, orientation, order))
    (tmp_path / "c.jpg").write_bytes(exif_jpeg(np.dstack([CORNER] * 3), orientation, order))
    assert is_shown_at(read_thermal(tmp_path / "t.jpg").data, orientation)
    assert is_shown_at(read_rgb(tmp_path / "c.jpg").data[..., 1], orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_is_turned_too(tmp_path, orientation, dtype):
    number_format = 3 if dtype == "float32" else 1
    (tmp_path / "t.tif").write_bytes(tiff(CORNER.astype(dtype), number_format, tags=[(0x0112, 3, orientation)]))
    frame = read_thermal(tmp_path / "t.tif")
    assert frame.data.dtype == dtype
    assert is_shown_at(frame.data, orientation)


@pytest.mark.parametrize(("bits", "suffix"), [(8, "png"), (10, "png"), (12, "tiff"), (14, "png"), (16, "tiff")])
def test_colour_of_few_bits_in_16_keeps_its_brightness(tmp_path, bits, suffix):
    grey = np.linspace(0, 2**bits - 1, 200 * 200).reshape(200, 200)
    path = tmp_path / f"c.{suffix}"
    assert cv2.imwrite(str(path), np.dstack([grey, grey, grey[::-1]]).astype(np.uint16))
    notes = []
    frame = read_rgb(path, notes=notes)
    assert frame.encoding == "bgr8"
    assert np.abs(frame.data[..., 0] - grey / (2**bits - 1) * 255).max() <= 1.0
    assert any(f"{bits} bits" in note for note in notes) == (bits < 16)


def test_a_dark_picture_of_a_folder_keeps_the_depth_of_the_others(tmp_path, capsys):
    rng = np.random.default_rng(4)
    for folder in ("ir", "vis"):
        (tmp_path / folder).mkdir()
    for index, top in enumerate((4095, 500, 4095)):
        cv2.imwrite(str(tmp_path / "ir" / f"{index}.png"), rng.integers(0, 255, (48, 64), np.uint8))
        cv2.imwrite(str(tmp_path / "vis" / f"{index}.png"), rng.integers(0, top + 1, (48, 64, 3)).astype(np.uint16))
    options = ("-o", str(tmp_path / "out"), *SETTINGS, "output.thermal_weight=0")
    assert cli.main(["fuse", str(tmp_path / "ir"), str(tmp_path / "vis"), *options]) == 0
    tops = [int(cv2.imread(str(tmp_path / "out" / f"{index}.png")).max()) for index in range(3)]
    assert (tops[0], tops[2]) == (255, 255)
    assert tops[1] in (30, 31)  # 500 / 4095 of 255
    assert "12 bits" in capsys.readouterr().err


def test_pages_are_said(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="a TIFF of several pages is made with Pillow")
    pages = [image.fromarray(np.full((20, 30), 1000 * page, np.uint16)) for page in (1, 2, 3)]
    pages[0].save(tmp_path / "t.tif", save_all=True, append_images=pages[1:])
    notes = []
    assert read_thermal(tmp_path / "t.tif", notes=notes).data.max() == 1000
    assert any("3 pages" in note for note in notes)


def test_signed_and_float_values(tmp_path):
    degrees = np.linspace(-40, 120, 20 * 30).reshape(20, 30)
    for order in "<>":
        (tmp_path / "i.tif").write_bytes(tiff((degrees * 10).astype(np.int16), 2, order))
        frame = read_thermal(tmp_path / "i.tif")
        assert frame.encoding == "32FC1"
        np.testing.assert_array_equal(frame.data, (degrees * 10).astype(np.int16))
        degrees[0, 0] = np.nan
        (tmp_path / "f.tif").write_bytes(tiff(degrees.astype(np.float32), 3, order))
        frame = read_thermal(tmp_path / "f.tif")
        np.testing.assert_array_equal(frame.data, degrees.astype(np.float32))
        degrees[0, 0] = -40


@pytest.mark.parametrize(("dtype", "number_format", "name"), [("float16", 3, "float16"), ("uint32", 1, "uint32"), ("int64", 2, "int64")])
def test_number_types_that_are_not_read_are_named(tmp_path, dtype, number_format, name):
    (tmp_path / "t.tif").write_bytes(tiff(np.ones((20, 30), dtype), number_format))
    with pytest.raises(SourceError, match=name):
        read_thermal(tmp_path / "t.tif")


def encoded(suffix):
    rng = np.random.default_rng(6)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (60, 80, 3), np.uint8), (0, 0), 2)
    return cv2.imencode(suffix, picture)[1].tobytes()


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_cut_off_files_are_refused(tmp_path, suffix, share):
    content = cv2.imencode(suffix, np.full((60, 80), 9, np.uint8))[1].tobytes() if suffix == ".pgm" else encoded(suffix)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    for read in (read_thermal, read_rgb):
        with pytest.raises(SourceError, match=path.name):
            read(path)


def test_a_cut_off_jpeg_with_a_thumbnail_is_refused(tmp_path):
    thumbnail = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    content = encoded(".jpg")
    segment = b"Exif\0\0" + thumbnail  # its end is no end of the picture
    whole = content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]
    (tmp_path / "x.jpg").write_bytes(whole)
    assert read_rgb(tmp_path / "x.jpg").size == (60, 80)
    (tmp_path / "x.jpg").write_bytes(whole[:-200])
    with pytest.raises(SourceError, match="cut off"):
        read_rgb(tmp_path / "x.jpg")


def test_an_empty_file_and_a_wrong_suffix(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(SourceError, match="empty"):
        read_rgb(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes(encoded(".jpg"))
    assert read_rgb(tmp_path / "x.png").size == (60, 80)


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "RGBA", "CMYK"])
def test_modes_of_other_programs(tmp_path, mode):
    image = pytest.importorskip("PIL.Image", reason="the files are made with Pillow")
    colour = np.zeros((20, 30, 3), np.uint8)
    colour[:, 15:] = 255
    buffer = io.BytesIO()
    image.fromarray(colour).convert(mode).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    path = tmp_path / "x.png"
    path.write_bytes(buffer.getvalue())
    for frame in (read_rgb(path), read_thermal(path)):
        assert frame.size == (20, 30)
        assert frame.data[:, :13].max() <= 5
        assert frame.data[:, 17:].min() >= 250
    assert read_thermal(path).encoding == "mono8"


def scene(seed=3):
    """A photo of dull colours: smooth noise in three channels with what they have in common."""
    rng = np.random.default_rng(seed)
    common = cv2.GaussianBlur(rng.normal(128, 900, (120, 160)), (0, 0), 5)
    colours = cv2.GaussianBlur(rng.normal(0, 700, (120, 160, 3)), (0, 0), 6)
    return np.clip(common[..., None] + colours, 0, 255).astype(np.uint8)


def test_kinds_of_colour():
    photo = scene()
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    assert colour_kind(photo) == PHOTO
    assert colour_kind(grey) == colour_kind(np.dstack([grey] * 3)) == GREY
    for palette in (cv2.COLORMAP_INFERNO, cv2.COLORMAP_JET, cv2.COLORMAP_RAINBOW, cv2.COLORMAP_TURBO, cv2.COLORMAP_PLASMA):
        mapped = cv2.applyColorMap(cv2.normalize(grey, None, 60, 255, cv2.NORM_MINMAX), palette)
        assert colour_kind(mapped) == PALETTE
        assert colour_kind(cv2.imdecode(cv2.imencode(".jpg", mapped)[1], cv2.IMREAD_COLOR)) == PALETTE


@pytest.mark.parametrize("swapped", ["counts", "palette", "photo"])
def test_swapped_pictures_are_refused_unless_forced(tmp_path, capsys, swapped):
    photo = scene()
    grey = cv2.cvtColor(scene(8), cv2.COLOR_BGR2GRAY)
    thermal, rgb, word = {
        "counts": (grey, grey.astype(np.uint16) * 40 + 28_000, "uint16"),
        "palette": (grey, cv2.applyColorMap(cv2.normalize(grey, None, 60, 255, cv2.NORM_MINMAX), cv2.COLORMAP_JET), "colour-mapped"),
        "photo": (photo, grey, "colour photo"),
    }[swapped]
    cv2.imwrite(str(tmp_path / "a.png"), thermal)
    cv2.imwrite(str(tmp_path / "b.png"), rgb)
    command = ["fuse", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-o", str(tmp_path / "o.png"), *SETTINGS]
    assert cli.main(command) == 1
    error = capsys.readouterr().err
    assert word in error
    assert "--force" in error
    assert not (tmp_path / "o.png").exists()
    assert cli.main([*command, "--force"]) == 0
    assert word in capsys.readouterr().err
    assert (tmp_path / "o.png").exists()


@pytest.mark.parametrize(
    ("thermal_size", "rgb_size", "status", "word"),
    [
        ((128, 160), (160, 120), 1, "portrait"),
        ((160, 120), (120, 160), 1, "portrait"),
        ((60, 160), (120, 160), 1, "--force"),
        ((128, 160), (90, 160), 0, "42 %"),
        ((60, 80), (120, 160), 0, ""),
    ],
)
def test_shapes_that_do_not_fit(tmp_path, capsys, thermal_size, rgb_size, status, word):
    rng = np.random.default_rng(30)
    cv2.imwrite(str(tmp_path / "t.png"), rng.integers(0, 255, thermal_size, np.uint8))
    cv2.imwrite(str(tmp_path / "c.png"), cv2.resize(scene(), rgb_size[::-1]))
    command = ["fuse", str(tmp_path / "t.png"), str(tmp_path / "c.png"), "-o", str(tmp_path / "o.png"), *SETTINGS]
    assert cli.main(command) == status
    error = capsys.readouterr().err
    assert word in error
    assert ("stretches" in error) == bool(word)
    if status:
        assert cli.main([*command, "--force"]) == 0
        assert "stretches" in capsys.readouterr().err
    # with a registration nothing is stretched
    command[command.index("-o") + 1] = str(tmp_path / "h.png")
    assert cli.main([*command, "registration.mode=homography"]) == 0
    assert "stretches" not in capsys.readouterr().err
