"""Pairing of picture files: by names, by stamps in names, in order, by a list. Only names matter here, so the files are empty."""

import pytest

from aenet_ros.config import SyncConfig
from aenet_ros.core.errors import SourceError
from aenet_ros.io.pairing import camera_folders, pair_files
from aenet_ros.io.picture_names import stamps_ns

T0 = 1_650_000_000_000_000_000  # 2022-04-15 05:20:00 UTC
MS = 1_000_000


def fill(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def paired(tmp_path, thermals, rgbs, sync=None, **options):
    """The (thermal, rgb) names of two folders' pairs, and what is said: how they are paired, and what is left out."""
    found = pair_files(fill(tmp_path / "a", thermals), fill(tmp_path / "b", rgbs), sync, **options)
    return [(thermal.name, rgb.name) for thermal, rgb in found.files], [found.shown, *found.remarks]


def refused(tmp_path, thermals, rgbs, **options):
    with pytest.raises(SourceError) as error:
        paired(tmp_path, thermals, rgbs, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("thermal", "rgb"),
    [
        ("FLIR_{:05d}.jpeg", "FLIR_{:05d}.jpg"),
        ("{:04d}_ir.png", "{:04d}_rgb.png"),
        ("{}_lwir.png", "{}_visible.jpg"),
        ("thermal_{:04d}.tiff", "rgb_{:04d}.png"),
        ("thermal{:04d}.png", "rgb{:04d}.png"),
        ("ThermalImage{}.png", "RgbImage{}.png"),
        ("DJI_{:04d}_T.JPG", "DJI_{:04d}_V.jpg"),
        ("DJI_20230101120000_{:04d}_T.JPG", "DJI_20230101120000_{:04d}_W.JPG"),
        ("{:05d}i.jpg", "{:05d}v.jpg"),
        ("set00_V000_lwir_I{:05d}.jpg", "set00_V000_visible_I{:05d}.jpg"),
        ("video_{}_infrared_frame.png", "video_{}_color_frame.png"),
        ("frame_{}.png", "frame_{:04d}.png"),
        ("IMG_{:04d}.PNG", "img_{:04d}.png"),
        ("FLIR_{:05d}_PreviewData.jpeg", "FLIR_{:05d}_RGB.jpg"),
        ("boson-{:03d}.png", "zed_left_{:03d}.png"),
        ("cam0_{:06d}.png", "cam1_{:06d}.png"),
        ("{:04d}_ir_8bit.png", "{:04d}_rgb.png"),
    ],
)
def test_names_of_the_field_are_paired_by_what_they_share(tmp_path, thermal, rgb):
    thermals, rgbs = [thermal.format(k) for k in (1, 2, 10)], [rgb.format(k) for k in (1, 2, 10)]
    pairs, (shown,) = paired(tmp_path, thermals, rgbs)
    assert pairs == list(zip(thermals, rgbs, strict=True))
    assert shown.startswith("3 pairs by ")
    assert f": {thermals[0]} + {rgbs[0]}, {thermals[1]} + {rgbs[1]}, {thermals[2]} + {rgbs[2]}" in shown


def test_a_frame_that_one_camera_misses_shifts_no_other_pair_and_is_named(tmp_path):
    pairs, remarks = paired(tmp_path, [f"{k:04d}_ir.png" for k in (1, 2, 4)], [f"{k:04d}_rgb.png" for k in (1, 3, 4)])
    assert pairs == [("0001_ir.png", "0001_rgb.png"), ("0004_ir.png", "0004_rgb.png")]
    assert "1 of 3 thermal files left out" in remarks[1]
    assert ": 0002_ir" in remarks[1]
    assert "1 of 3 rgb files left out" in remarks[2]
    assert ": 0003_rgb" in remarks[2]


def test_counters_of_two_cameras_that_agree_by_chance_are_no_pairs(tmp_path):
    said = refused(tmp_path, [f"FLIR{k:04d}.jpg" for k in range(100, 120)], [f"IMG_{k:04d}.jpg" for k in range(110, 130)])
    assert "--pairs FILE.csv" in said
    # Equal differences do not contradict the order.
    assert "--in-order" in said


def test_the_wide_picture_is_taken_of_a_wide_and_a_zoomed_one(tmp_path):
    names = [f"DJI_{k:04d}_{letter}.JPG" for k in (1, 2) for letter in "TWZ"]
    folder = fill(tmp_path / "flight", names)
    found = pair_files(folder, folder)
    assert [(a.name, b.name) for a, b in found.files] == [(f"DJI_{k:04d}_T.JPG", f"DJI_{k:04d}_W.JPG") for k in (1, 2)]
    assert "2 of 4 rgb files left out" in found.remarks[0]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["S_0001_T.JPG", "S_0001_V.JPG"], [("S_0001_T.JPG", "S_0001_V.JPG")]),
        (["1_ir.png", "1_vis.png", "2_ir.png", "notes.png"], [("1_ir.png", "1_vis.png")]),
        (["7.jpg", "7_T.jpg", "8.jpg", "8_T.jpg"], [("7_T.jpg", "7.jpg"), ("8_T.jpg", "8.jpg")]),
        (["IR.bmp", "VIS.bmp"], [("IR.bmp", "VIS.bmp")]),
        (["ir_test_1_lwir.png", "ir_test_1_rgb.png"], [("ir_test_1_lwir.png", "ir_test_1_rgb.png")]),
        ([f"thermal_{T0}.png", f"rgb_{T0 + 7 * MS}.png"], [(f"thermal_{T0}.png", f"rgb_{T0 + 7 * MS}.png")]),
        (["1_T.png", "1_V.png", "1_depth.png"], [("1_T.png", "1_V.png")]),
    ],
)
def test_one_folder_for_both_cameras(tmp_path, names, expected):
    folder = fill(tmp_path / "flight", names)
    link = tmp_path / "link"
    link.symlink_to(folder)
    for again in (folder, tmp_path / "flight" / ".." / "flight", link):
        assert [(a.name, b.name) for a, b in pair_files(folder, again).files] == expected


@pytest.mark.parametrize(
    "names", [["DJI_0001.JPG", "DJI_0002.JPG"], ["ir_1.png", "ir_2.png"], ["1_T.JPG", "1_T.tiff", "1_V.JPG"], ["1.tiff", "1.jpg"]]
)
def test_one_folder_whose_names_leave_it_open_is_refused_with_the_remedy(tmp_path, names):
    folder = fill(tmp_path / "flight", names)
    with pytest.raises(SourceError, match=r"--pairs FILE\.csv"):
        pair_files(folder, folder)


def test_a_picture_is_never_paired_with_itself(tmp_path):
    thermal, rgb = fill(tmp_path / "t", ["1.png", "2.png"]), fill(tmp_path / "v", ["2.png"])
    (rgb / "1.png").symlink_to(thermal / "1.png")
    assert [(a.name, b.name) for a, b in pair_files(thermal, rgb).files] == [("2.png", "2.png")]
    listed = tmp_path / "list.csv"
    listed.write_text("1.png,1.png\n2.png,2.png\n")
    with pytest.raises(SourceError, match=r"line 1: .* as thermal and as rgb"):
        pair_files(thermal, rgb, pairs=listed)


def test_two_folders_that_both_hold_both_cameras_are_refused(tmp_path):
    names = ["1_T.JPG", "1_V.JPG"]
    assert "both hold pictures of both cameras" in refused(tmp_path, names, names)
    # One mixed folder is read for its own camera.
    thermal, rgb = fill(tmp_path / "all", names), fill(tmp_path / "only", ["1_V.png"])
    assert [(a.name, b.name) for a, b in pair_files(thermal, rgb).files] == [("1_T.JPG", "1_V.png")]


def test_swapped_folders_are_refused(tmp_path):
    assert "give the thermal folder first" in refused(tmp_path, ["1_rgb.png"], ["1_ir.png"])
    thermal, rgb = fill(tmp_path / "lwir", ["1.png"]), fill(tmp_path / "visible", ["1.png"])
    with pytest.raises(SourceError, match="the opposite"):
        pair_files(rgb, thermal)
    assert len(pair_files(thermal, rgb).files) == 1


@pytest.mark.parametrize(
    ("name", "stamp_ns"),
    [
        ("1650000000", T0),
        ("img_1650000000123", T0 + 123 * MS),
        ("1650000000123456", T0 + 123_456_000),
        ("thermal-1650000000123456789", T0 + 123_456_789),
        ("1650000000.5", T0 + 500 * MS),
        ("fl_ir_aligned_1650000000_952931126", T0 + 952_931_126),
        ("20220415_052000", T0),
        ("20220415052000", T0),
        ("20220415T052000.25Z", T0 + 250 * MS),
        ("IMG_20220415_052000_123", T0 + 123 * MS),
        ("2022-04-15T05-20-00-123456", T0 + 123_456_000),
        ("2022-04-15 05.20.00", T0),
        ("2022-04-15T05:20:00.123456789", T0 + 123_456_789),
        ("DJI_20220415052000_0001_T", T0),
        ("987654321012", 987_654_321_012),  # ns since boot
        ("12.345678", 12_345_678_000),
        ("frame_000123", None),
        ("0000000123", None),
        ("20220415_0007", None),
        ("20221340_052000", None),
    ],
)
def test_stamps_in_names(name, stamp_ns):
    assert stamps_ns([name]) == [stamp_ns]


def test_a_fraction_without_leading_zeros_is_a_number_of_ns(tmp_path):
    assert stamps_ns(["1650000000_952931126", "1650000001_52931126"]) == [T0 + 952_931_126, T0 + 1_052_931_126]


FORMATS = {
    "s": lambda ns: f"{ns // 10**9}.{ns % 10**9:09d}",
    "s_ns": lambda ns: f"fl_rgb_{ns // 10**9}_{ns % 10**9}",
    "ms": lambda ns: f"{ns // 10**6}",
    "us": lambda ns: f"rgb_{ns // 10**3}",
    "ns": lambda ns: f"{ns}",
    "iso": lambda ns: f"20220415_0520{(ns - T0) // 10**9:02d}_{(ns - T0) % 10**9 // 1000:06d}",
}


@pytest.mark.parametrize("kind", FORMATS)
def test_stamps_are_paired_to_the_nearest_each_file_once(tmp_path, kind):
    thermal_ns = [T0 + k * 111_111_111 for k in range(9)]
    rgb_ns = [T0 + 4 * MS + k * 33_333_333 for k in range(30)]
    nearest = [min(range(30), key=lambda k: abs(rgb_ns[k] - stamp)) for stamp in thermal_ns]
    pairs, remarks = paired(tmp_path, [f"{stamp}.png" for stamp in thermal_ns], [f"{FORMATS[kind](stamp)}.png" for stamp in rgb_ns])
    assert pairs == [(f"{stamp}.png", f"{FORMATS[kind](rgb_ns[k])}.png") for stamp, k in zip(thermal_ns, nearest, strict=True)]
    assert "9 pairs by the nearest stamps" in remarks[0]
    assert "21 of 30 rgb files left out" in remarks[1]


def test_a_frame_too_far_from_any_other_stays_alone(tmp_path):
    thermals = [f"{T0 + k * 100 * MS}.png" for k in range(10)]
    rgbs = [f"{T0 + 3 * MS + k * 100 * MS}.png" for k in range(10) if k not in (4, 5)]
    pairs, remarks = paired(tmp_path, thermals, rgbs)
    assert [thermals.index(thermal) for thermal, _ in pairs] == [0, 1, 2, 3, 6, 7, 8, 9]
    assert "2 of 10 thermal files left out" in remarks[1]


def test_stamps_of_clocks_that_differ_are_refused_with_the_offset_that_pairs_them(tmp_path):
    thermals, rgbs = [f"{T0 + k * 100 * MS}.png" for k in range(5)], [f"{T0 + 7_000 * MS + k * 100 * MS}.png" for k in range(5)]
    said = refused(tmp_path, thermals, rgbs)
    offset_ms = float(said.rpartition("sync.clock_offset_ms=")[2])
    pairs, _ = paired(tmp_path, thermals, rgbs, SyncConfig(clock_offset_ms=offset_ms))
    assert pairs == list(zip(thermals, rgbs, strict=True))


def test_photos_of_one_minute_apart_are_other_scenes(tmp_path):
    thermals = [f"20220415_05{minute:02d}00.jpg" for minute in (0, 2, 4)]
    rgbs = [f"20220415_05{minute:02d}30.jpg" for minute in (0, 2, 4)]
    assert "30.000 s apart" in refused(tmp_path, thermals, rgbs)


def test_exact_pairs_equal_stamps_only(tmp_path):
    thermals, rgbs = [f"a{T0 + k * MS}.png" for k in (0, 100, 200)], [f"b{T0 + k * MS}.png" for k in (0, 101, 200)]
    pairs, _ = paired(tmp_path, thermals, rgbs, SyncConfig(policy="exact"))
    assert pairs == [(thermals[0], rgbs[0]), (thermals[2], rgbs[2])]


def test_decimal_stamps_are_in_order_of_time(tmp_path):
    names = ["1650000000.25.png", "1650000000.5.png", "1650000000.75.png", "1650000001.125.png"]
    assert [pair[0] for pair in paired(tmp_path, names, names)[0]] == names


@pytest.mark.parametrize(
    ("thermals", "rgbs", "match"),
    [
        (["0001_ir", "0002_ir", "0004_ir"], ["0001_rgb", "0003_rgb", "0004_rgb"], "0002_ir.png has no partner|0002_ir.png would be paired"),
        (["1", "2", "3"], ["0", "1", "2"], "belongs to 1.png|1.png would be paired with 0.png"),
        (["a", "b", "d"], ["a", "c", "d"], "b.png would be paired with c.png"),
        (["x101", "x102", "x104"], ["y1", "y2", "y3"], "x104.png would be paired with y3.png"),
        (["x1", "x2"], ["y1", "y2", "y3"], "2 thermal and 3 rgb"),
        ([f"t{T0 + k * 10**9}" for k in (0, 1, 3)], [f"r{T0 + 90 * 10**9 + k * 10**9}" for k in (0, 1, 2)], "stamps are"),
    ],
)
def test_in_order_is_refused_where_names_contradict_it(tmp_path, thermals, rgbs, match):
    with pytest.raises(SourceError, match=match) as error:
        paired(tmp_path, [f"{name}.png" for name in thermals], [f"{name}.png" for name in rgbs], in_order=True)
    assert "--pairs FILE.csv" in str(error.value)


@pytest.mark.parametrize(
    ("thermals", "rgbs"),
    [
        (["x101", "x102", "x104"], ["y1", "y2", "y4"]),
        (["car", "tree"], ["auto", "baum"]),
        (["001_ir", "002_ir"], ["001_rgb", "002_rgb"]),
        ([f"t{T0 + k * 10**9}" for k in (0, 1, 3)], [f"r{T0 + 90 * 10**9 + k * 10**9}" for k in (0, 1, 3)]),
    ],
)
def test_in_order_pairs_what_does_not_contradict_it(tmp_path, thermals, rgbs):
    thermals, rgbs = [f"{name}.png" for name in thermals], [f"{name}.png" for name in rgbs]
    pairs, (shown,) = paired(tmp_path, thermals, rgbs, in_order=True)
    assert pairs == list(zip(thermals, rgbs, strict=True))
    assert "in their order" in shown


@pytest.mark.parametrize(
    "text",
    [
        "x1.png,y7.png\nx2.png,y9.png\n",
        "thermal;rgb\nx1.png;y7.png\n\nx2.png;y9.png",
        "\ufeff# made by hand\nrgb,thermal,note\ny7.png,x1.png,a\n'y9.png',x2.png,b\n".replace("'", '"'),
        "t/x1.png\tv/y7.png\nt/x2.png\tv/y9.png\n",
    ],
)
def test_a_list_of_pairs(tmp_path, text):
    fill(tmp_path / "t", ["x1.png", "x2.png"])
    fill(tmp_path / "v", ["y7.png", "y9.png"])
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    found = pair_files(tmp_path / "t", tmp_path / "v", pairs=tmp_path / "list.csv")
    assert [(a.name, b.name) for a, b in found.files] == [("x1.png", "y7.png"), ("x2.png", "y9.png")]
    assert all(path.is_file() for pair in found.files for path in pair)
    assert "2 pairs as listed in" in found.shown


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "lists no pair"),
        ("x1.png\n", "line 1: 'x1.png' is no pair"),
        ("x1.png,y1.png\nx2.png,\n", "line 2"),
        ("x1.png,y1.png\nx2.png,y1.png\n", "lines 1 and 2"),
        ("no.png,none.png\n", "no listed file exists"),
    ],
)
def test_a_list_that_is_wrong_is_refused_with_its_line(tmp_path, text, match):
    fill(tmp_path, ["x1.png", "x2.png", "y1.png"])
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(SourceError, match=match):
        pair_files(None, None, pairs=tmp_path / "list.csv")
    with pytest.raises(SourceError, match="No such file"):
        pair_files(None, None, pairs=tmp_path / "other.csv")


def test_folders_of_both_cameras_in_a_folder(tmp_path):
    for thermal, rgb in (("thermal", "rgb"), ("lwir", "visible"), ("IR", "VIS"), ("infrared_images", "color")):
        folder = tmp_path / thermal / "set"
        expected = fill(folder / thermal, ["1.png"]), fill(folder / rgb, ["1.png"])
        fill(folder / "labels", ["1.txt"])
        assert camera_folders(folder) == expected
    fill(tmp_path / "more" / "ir", ["1.png"])
    assert camera_folders(tmp_path / "more") is None
