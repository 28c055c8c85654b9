"""What `aenet fuse` writes beside the fused pictures: hot spots and temperatures, of scenes drawn here."""

import csv
import json

import cv2
import numpy as np
import pytest

from aenet_ros.cli import main as cli
from aenet_ros.io.fuse_job import FuseOptions, plan_jobs

SPOTS = ("agc.profile=centikelvin", "hot_spots.relative=false", "hot_spots.level=60")


def aenet(*arguments):
    return cli.main([*map(str, arguments)])


def fuse(folder, *more, options=SPOTS):
    return aenet("fuse", folder / "t", folder / "v", "-o", folder / "out", *more, "--set", *options)


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def load(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def pairs(tmp_path):
    """Three frames of 48x64 centikelvin, half as large as rgb: 20 degC, and a 5x5 body of 80 degC that moves by 4 pixels a frame."""
    for name in ("t", "v"):
        (tmp_path / name).mkdir()
    for index in range(3):
        counts = np.full((48, 64), 29_315, np.uint16)
        counts[20:25, 10 + 4 * index : 15 + 4 * index] = 35_315
        counts[:, 60:] = 0  # no value
        cv2.imwrite(str(tmp_path / "t" / f"{index}.png"), counts)
        cv2.imwrite(str(tmp_path / "v" / f"{index}.png"), np.full((96, 128, 3), 90, np.uint8))
    return tmp_path


def test_the_table_of_a_sequence_has_ids_places_and_temperatures(pairs):
    assert fuse(pairs, "--sequence", 10, "--hot-spots", pairs / "spots.csv") == 0
    found = rows(pairs / "spots.csv")
    assert [(row["name"], row["id"], row["kind"], row["unit"], row["area_px"]) for row in found] == [
        (str(index), "1", "hot", "degC", "25") for index in range(3)
    ]
    assert [float(row["value"]) for row in found] == pytest.approx([80.0] * 3, abs=0.02)
    assert [(row["left"], row["top"], row["width"], row["height"]) for row in found] == [
        (str(10 + 4 * n), "20", "5", "5") for n in range(3)
    ]
    assert [float(row["fused_x"]) for row in found] == [2 * int(row["peak_x"]) + 0.5 for row in found]
    assert [float(row["age_s"]) for row in found] == pytest.approx([0.0, 0.1, 0.2], abs=0.001)
    assert int(found[1]["stamp_ns"]) - int(found[0]["stamp_ns"]) == 100_000_000


def test_unrelated_pictures_know_nothing_of_each_other_and_json_has_the_regions(pairs):
    regions = ("alarms.regions=body 8,18 24,26 high=70", "alarms.hold_s=0")
    assert fuse(pairs, "--hot-spots", pairs / "spots.json", options=(*SPOTS, *regions)) == 0
    frames = json.loads((pairs / "spots.json").read_text())
    assert [(frame["name"], [(spot["id"], spot["age_s"]) for spot in frame["spots"]]) for frame in frames] == [
        (str(index), [(1, 0.0)]) for index in range(3)
    ]
    assert frames[0]["regions"][0]["level"] == 2
    assert frames[0]["regions"][0]["maximum"] == pytest.approx(80.0, abs=0.02)


def test_temperature_pictures_lie_on_the_fused_grid(pairs):
    assert fuse(pairs, "--temperature", pairs / "degrees") == 0
    assert fuse(pairs, "--force", "--temperature", pairs / "counts", "--temperature-bits", 16) == 0
    degrees, counts = load(pairs / "degrees/0.tiff"), load(pairs / "counts/0.tiff")
    assert (degrees.dtype, degrees.shape) == (np.float32, load(pairs / "out/0.png").shape[:2])
    assert (counts.dtype, counts.shape) == (np.uint16, degrees.shape)
    assert degrees[44, 24] == pytest.approx(80.0, abs=0.01)
    assert degrees[5, 5] == pytest.approx(20.0, abs=0.01)
    assert np.isnan(degrees[:, 124:]).all()
    assert (counts[44, 24], counts[5, 5], counts[5, 127]) == (35_315, 29_315, 0)


def test_a_camera_without_degrees_has_spots_in_grey_levels_and_no_temperatures(pairs, capsys):
    grey = ("hot_spots.relative=false", "hot_spots.level=200")
    assert fuse(pairs, "--hot-spots", pairs / "spots.csv", options=grey) == 0
    assert {(row["unit"], round(float(row["value"]))) for row in rows(pairs / "spots.csv")} == {("grey level", 255)}
    assert "hot spots are in grey levels: no degrees: agc.profile auto" in capsys.readouterr().err
    assert fuse(pairs, "--force", "--temperature", pairs / "degrees", options=grey) == 1
    assert "docs/cameras.md" in capsys.readouterr().err
    assert not (pairs / "degrees").exists()
    assert fuse(pairs, "--force", "--temperature", pairs / "degrees", options=("agc.profile=celsius",)) == 1
    assert "means 29315.0 degrees" in capsys.readouterr().err


def test_resume_makes_what_is_missing_and_gives_the_same_table(pairs):
    extra = ("--hot-spots", pairs / "spots.csv", "--temperature", pairs / "degrees")
    assert fuse(pairs, *extra) == 0
    whole = (pairs / "spots.csv").read_text()
    (pairs / "out/1.png").unlink()
    (pairs / "degrees/2.tiff").unlink()
    (pairs / "spots.csv").unlink()
    before = (pairs / "degrees/0.tiff").stat().st_mtime_ns
    assert fuse(pairs, *extra, "--resume") == 0
    assert (pairs / "spots.csv").read_text() == whole
    assert (pairs / "out/1.png").exists()
    assert (pairs / "degrees/2.tiff").exists()
    assert (pairs / "degrees/0.tiff").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (("--hot-spots", "spots.txt"), "ends in .csv or .json"),
        (("--hot-spots", "list.csv", "--pairs", "list.csv", "--force"), "one of the inputs"),
        (("--hot-spots", "old.csv"), "exists already"),
        (("--temperature", "degrees.tiff"), "give a folder"),
        (("--temperature", "t"), "a folder that is read"),
        (("--temperature", "out"), "that of the fused pictures"),
    ],
)
def test_what_is_in_the_way_is_named_and_nothing_is_lost(pairs, capsys, monkeypatch, extra, sentence):
    monkeypatch.chdir(pairs)
    (pairs / "list.csv").write_text("t/0.png,v/0.png\n")
    (pairs / "old.csv").write_text("old")
    sources = () if "--pairs" in extra else ("t", "v")
    assert aenet("fuse", *sources, "-o", "out", *extra, "--set", *SPOTS) == 1
    assert sentence in capsys.readouterr().err
    assert not (pairs / "out").exists()
    assert (pairs / "old.csv").read_text() == "old"


def test_each_of_several_sources_has_its_own_files(tmp_path):
    for day in ("monday", "tuesday"):
        (tmp_path / day / "thermal").mkdir(parents=True)
        (tmp_path / day / "rgb").mkdir()
    options = FuseOptions(hot_spots=tmp_path / "spots.csv", temperature=tmp_path / "degrees")
    jobs = plan_jobs([tmp_path / "monday", tmp_path / "tuesday"], tmp_path / "out", options)
    assert [(job.options.hot_spots, job.options.temperature) for job in jobs] == [
        (tmp_path / f"spots_{day}.csv", tmp_path / "degrees" / day) for day in ("monday", "tuesday")
    ]
