"""``aenet evaluate`` against the published rows of classical methods that are made here anew, and its refusals."""

import json

import cv2
import numpy as np
import pytest
from conftest import shared_dir

from aenet_ros.cli import main as cli
from aenet_ros.config import build
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.io.pairing import pair_files
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.workbench.evaluation.compare import load_peers
from aenet_ros.workbench.evaluation.methods import folder_method, in_colours, pipeline_method
from aenet_ros.workbench.evaluation.metrics import METRICS
from aenet_ros.workbench.evaluation.pairs import DataSet, by_name, dev_clips, dev_sets, read_pairs
from aenet_ros.workbench.evaluation.report import measures_table, ranks_table

FREE = ["rgb alone", "thermal alone", "maximum", "average", "Laplacian pyramid"]


def aenet(*arguments):
    return cli.main([*map(str, arguments)])


def test_dev_pairs_are_those_of_the_peers():
    shared = shared_dir()
    groups = dev_sets(shared / "data")
    varied = groups.pop("varied", [])
    sets = [dataset for group in groups.values() for dataset in group]
    assert [len(dataset.files) for dataset in sets] == [21, 10, 10, 10, 10, 6, 4]
    ours = {f"{dataset.name}/{name}" for dataset in sets for name in dataset.files}
    assert ours == {peer.name for peer in load_peers(shared / "peers_dev.json")}
    assert [len(clip.files) for clip in dev_clips(shared / "data")] == [60, 60]
    assert [dataset.trusted for dataset in sets] == [True, True, *[False] * 5]
    for dataset in varied:
        assert len(dataset.files) == 32
        assert all(thermal.is_file() and rgb.is_file() for thermal, rgb in dataset.files.values())


def test_the_rows_of_every_evaluation_reach_their_published_values(tmp_path, capsys):
    shared = shared_dir()
    dataset = dev_sets(shared / "data")["infrared-visible"][1]
    names = list(dataset.files)[::3]
    for index, stream in enumerate(("thermal", "rgb")):
        (tmp_path / "m3svd_stills" / stream).mkdir(parents=True)
        for name in names:
            (tmp_path / "m3svd_stills" / stream / name).symlink_to(dataset.files[name][index])
    folders = [tmp_path / "m3svd_stills" / stream for stream in ("thermal", "rgb")]
    status = aenet("evaluate", *folders, "--fused", f"copy={folders[1]}", "--peers", shared / "peers_dev.json", "--json")
    report = json.loads(capsys.readouterr().out)
    assert status == 0
    means = report["means"]["m3svd_stills"]
    assert len(means) == 12 + 5 + 1  # networks, rows of every evaluation (three of them are published too), and the given one
    published = [peer for peer in load_peers(shared / "peers_dev.json") if peer.dataset == "m3svd_stills" and peer.picture in names]
    for ours, theirs in (("average", "(average)"), ("maximum", "(maximum)"), ("Laplacian pyramid", "(Laplacian pyramid)")):
        assert theirs not in means
        rows = [peer.values for peer in published if peer.method == theirs]
        assert len(rows) == len(names)
        for metric in METRICS:
            # The published ones went through a colour picture and back, which costs a grey level here and there.
            tolerance = {"rel": 0.06, "abs": 0.02} if ours == "Laplacian pyramid" else {"rel": 0.02, "abs": 1e-3}
            assert means[ours][metric] == pytest.approx(np.mean([row[metric] for row in rows]), **tolerance), (ours, metric)
    ranks = report["mean_rank"]["m3svd_stills"]
    assert sum(ranks.values()) == pytest.approx(18 * 19 / 2)
    assert ranks["copy"] == ranks["rgb alone"]
    assert means["copy"] == means["rgb alone"]
    assert set(report["trust"]["m3svd_stills"]) == {"copy", *FREE}
    assert len(report["scores"]) == 6 * len(names)


def smooth(seed, size=(64, 80)):
    noise = np.random.default_rng(seed).uniform(0, 255, size).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.fixture
def little(tmp_path):
    """Two pairs in little/thermal and little/rgb, and a method's pictures in out/."""
    for index in range(2):
        thermal, rgb = smooth(index), smooth(index + 10)
        for folder, data in (("little/thermal", thermal), ("little/rgb", cv2.merge([rgb] * 3)), ("out", np.maximum(thermal, rgb))):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"{index}.png"), data)
    return tmp_path


def test_tables_and_json(little, capsys):
    arguments = ["evaluate", little / "little/thermal", little / "little/rgb", "--weights", "--fused", f"max={little / 'out'}"]
    arguments += ["--json", little / "scores.json"]
    assert aenet(*arguments) == 0
    out = capsys.readouterr().out
    assert "little" in out
    for word in ("max", "aenet", "Nabf", "mean rank", "hot regions", "halo share", *FREE):
        assert word in out
    assert out.index("lost") < out.index("Nabf"), "what an operator needs comes first"
    assert "nan" not in out
    report = json.loads((little / "scores.json").read_text())
    assert set(report["means"]["little"]) == set(report["trust"]["little"]) == {"aenet", "max", *FREE}
    assert report["means"]["little"]["max"] == report["means"]["little"]["maximum"], "the same pictures by another program"
    assert report["trust"]["little"]["max"] == report["trust"]["little"]["maximum"]
    assert report["trust"]["little"]["thermal alone"]["lost"] == 0.0
    assert {"retentions", "halo", "halo_share", "worst_vif", "mesh"} < set(report["scores"][0])
    assert {score["name"] for score in report["scores"]} == {"little/0.png", "little/1.png"}
    assert aenet(*arguments) == 1
    assert "--force" in capsys.readouterr().err
    assert aenet(*arguments, "--force") == 0


def test_missing_pictures_are_told(little, capsys):
    (little / "out/1.png").unlink()
    assert aenet("evaluate", little / "little/thermal", little / "little/rgb", "--fused", f"max={little / 'out'}", "--json") == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert [score["name"] for score in report["scores"] if score["method"] == "max"] == ["little/0.png"]
    assert len(report["scores"]) == 1 + 2 * 5
    assert "not measured: max:" in captured.err


def test_refusals(little, capsys):
    thermal, rgb, out = little / "little/thermal", little / "little/rgb", little / "out"
    (little / "taken.html").touch()
    cases = [
        (["evaluate", thermal, rgb, "--fused", f"a={out}", "--html", little / "taken.html"], "--force"),
        (["evaluate"], "give two folders"),
        (["evaluate", thermal, little / "none"], "No such file"),
        (["evaluate", thermal, rgb, "--fused", "max"], "NAME=DIR"),
        (["evaluate", thermal, rgb, "--fused", f"max={little / 'none'}"], "NAME=DIR"),
        (["evaluate", thermal, rgb, "--fused", f"a={out}", "--fused", f"a={out}"], "different names"),
        (["evaluate", thermal, rgb, "--fused", f"maximum={out}"], "different names"),
        (["evaluate", thermal, rgb, "--weights", little / "none.safetensors"], "none"),
        (["evaluate", thermal, rgb, "--fused", f"a={out}", "--peers", little / "none.json"], "none.json"),
        (["evaluate", "--dev-pairs", little], "cannot be read: No such file"),
    ]
    for arguments, words in cases:
        assert aenet(*arguments) == 1, arguments
        assert words in capsys.readouterr().err


def test_peers_of_other_pictures(little, capsys):
    peers = little / "peers.json"
    peers.write_text(json.dumps({"rows": [{"peer": "x", "name": "other/0.png", **dict.fromkeys(METRICS, 1.0)}]}))
    arguments = ["evaluate", little / "little/thermal", little / "little/rgb", "--fused", f"max={little / 'out'}", "--peers", peers]
    assert aenet(*arguments) == 1
    assert "--dataset" in capsys.readouterr().err
    assert aenet(*arguments, "--dataset", "other", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["mean_rank"]["other"]) == {"x", "max", *FREE}
    assert len(report["scores"]) == 2 * 6  # both pictures measured, one of them ranked
    assert "x" not in report["trust"]["other"], "published scores have no measures of trust"


def pair_folders(thermal, rgb):
    return by_name(pair_files(thermal, rgb).files)


def test_unequal_sizes_and_deep_thermal(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "v").mkdir()
    counts = np.tile(np.arange(29_000, 30_000, dtype=np.uint16), (50, 1))
    counts[0, :5] = 60_000  # a hundredth of a percent: above the 99.8th percentile
    cv2.imwrite(str(tmp_path / "t/0.png"), counts)
    cv2.imwrite(str(tmp_path / "v/0.png"), cv2.merge([smooth(2, (50, 1000))] * 3))
    dataset = DataSet("x", pair_folders(tmp_path / "t", tmp_path / "v"))
    (pair,) = read_pairs(dataset)
    assert pair.thermal.dtype == np.uint8
    # Of 1000 equally frequent counts the 0.5th percentile is 29005 and the 99.8th 29997.
    for count in (29_010, 29_500, 29_900):
        assert pair.thermal[10, count - 29_000] == pytest.approx((count - 29_005) / 992 * 255, abs=1.0)
    assert (pair.thermal[10, 0], pair.thermal[10, -1], pair.thermal[0, 0]) == (0, 255, 255)
    assert (pair.frame.data == counts).all(), "the pipeline gets the counts"
    with pytest.raises(SourceError, match="no picture"):
        folder_method("m", tmp_path / "v", by_set=True).fuse(pair)
    cv2.imwrite(str(tmp_path / "v/0.png"), cv2.merge([smooth(2, (64, 81))] * 3))
    with pytest.raises(ImageError, match="registered pairs of one size"):
        list(read_pairs(dataset))


def test_an_eight_bit_picture_is_measured_as_it_is(tmp_path):
    for folder in ("t", "v"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "0.png"), 100 + smooth(3) // 4)
    (pair,) = read_pairs(DataSet("x", pair_folders(tmp_path / "t", tmp_path / "v")))
    assert (pair.thermal == 100 + smooth(3) // 4).all()


def test_gain_control_follows_a_clip_and_no_set_of_stills(tmp_path):
    for folder in ("t", "v"):
        (tmp_path / folder).mkdir()
        for index in range(2):
            picture = (smooth(4).astype(np.uint16) * (4 + 4 * index) + 20_000) if folder == "t" else smooth(5)
            cv2.imwrite(str(tmp_path / folder / f"{index}.png"), picture)
    config = build({"model.device": "cpu", "output.encoding": "bgr8", "sensor.column_noise": "off"})
    method = pipeline_method("x", FusionPipeline(config))
    stills = DataSet("x", pair_folders(tmp_path / "t", tmp_path / "v"))
    first, second = (method.fuse(pair).astype(float) for pair in read_pairs(stills))
    assert np.abs(first - second).max() <= 2, "each picture has its own range"
    first, second = (method.fuse(pair).astype(float) for pair in read_pairs(stills._replace(consecutive=True)))
    assert second.mean() > first.mean() + 10, "the range lags behind"


def test_settings_reach_the_pipeline(little, capsys):
    arguments = ["evaluate", little / "little/thermal", little / "little/rgb", "--json"]
    assert aenet(*arguments, "--set", "output.thermal_weight=0") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["means"]["little"]["aenet"] == report["means"]["little"]["rgb alone"]
    assert aenet(*arguments, "--fused", f"max={little / 'out'}", "--set", "output.thermal_weight=0") == 1
    assert "give --weights too" in capsys.readouterr().err


def varied(tmp_path, split):
    """Data folder with one pair of 16 bits as varied/flir/{thermal,rgb}/door.png."""
    for stream, picture in (("thermal", smooth(6).astype(np.uint16) * 7 + 29_000), ("rgb", cv2.merge([smooth(7)] * 3))):
        folder = tmp_path / "varied/flir" / stream
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "door.png"), picture)
    (tmp_path / "varied/split.json").write_text(split)
    for name in ("roadscene/thermal", "roadscene/rgb", "m3svd_stills/thermal", "m3svd_stills/rgb", "multi_exposure/a", "multi_exposure/b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "0114_1609.png").touch()
    for name in (
        "multi_focus/a",
        "multi_focus/b",
        *(f"medical/{kind}-mri/{part}" for kind in ("ct", "pet", "spect") for part in (kind, "mri")),
    ):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "0.png").touch()
    return tmp_path


def test_the_varied_set_is_read_by_its_split(tmp_path):
    (dataset,) = dev_sets(varied(tmp_path, '{"train": ["flir/other"], "dev": ["flir/door"]}'))["varied"]
    (pair,) = read_pairs(dataset)
    assert (pair.dataset, pair.name) == ("varied", "flir/door")
    assert np.corrcoef(pair.thermal.ravel(), smooth(6).ravel())[0, 1] > 0.999


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("", "not a list of pairs"),
        ("[]", "not a list of pairs"),
        ('{"train": []}', "'dev'"),
        ('{"dev": [1]}', "not a list of pairs"),
        ('{"dev": ["flir/window"]}', "flir/thermal/window.png"),
        ('{"dev": []}', "names 0 pairs"),
    ],
)
def test_a_wrong_split_is_refused(tmp_path, split, words):
    with pytest.raises(SourceError, match=r"split\.json") as caught:
        dev_sets(varied(tmp_path, split))
    assert words in str(caught.value)


def test_a_grey_picture_gets_the_colours_of_rgb():
    rgb = np.random.default_rng(8).integers(60, 190, (50, 60, 3)).astype(np.uint8)
    old = cv2.cvtColor(rgb, cv2.COLOR_BGR2GRAY)
    fused = in_colours(np.clip(old.astype(int) + 20, 0, 255).astype(np.uint8), rgb)
    assert (fused == rgb + 20).all()
    assert in_colours(rgb, rgb) is rgb
    assert in_colours(old, old) is old


def test_tables_sort_from_the_best_and_mark_it():
    means = {name: dict.fromkeys(METRICS, value) for name, value in (("worse", 0.5), ("better", 123.456))}
    header, rows, best = measures_table(means, {"worse": 2.0, "better": 1.0})
    assert header[:3] == ["method", "rank", "EN"]
    assert rows[0][:3] == ["better", "1.000", "123.46"]
    assert rows[1][:3] == ["worse", "2.000", "0.500"]
    lower = header.index("Nabf ↓")
    assert best == {(1 if column == lower else 0, column) for column in range(1, len(header))}
    assert measures_table(means, {})[0][:2] == ["method", "EN"], "without ranks"
    header, rows, best = ranks_table({"a": {"x": 2.0, "y": 1.0}, "b": {"x": 1.0}})
    assert (header, rows, best) == (["mean rank", "a", "b"], [["y", "1.000", "-"], ["x", "2.000", "1.000"]], {(0, 1)})
