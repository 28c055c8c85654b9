"""``aenet evaluate`` against the published rows of classical methods that are made here anew, and its refusals."""

import json

import cv2
import numpy as np
import pytest
from conftest import shared_dir

from aenet_ros.cli import main as cli
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.workbench.evaluation.compare import DataSet, common_names, dev_clips, dev_sets, folder_method, load_peers, read_pairs
from aenet_ros.workbench.evaluation.metrics import METRICS
from aenet_ros.workbench.evaluation.report import measures_table, ranks_table


def aenet(*arguments):
    return cli.main([*map(str, arguments)])


def test_dev_pairs_are_those_of_the_peers():
    shared = shared_dir()
    sets = [dataset for group in dev_sets(shared / "data").values() for dataset in group]
    assert [len(dataset.names) for dataset in sets] == [21, 10, 10, 10, 10, 6, 4]
    ours = {f"{dataset.name}/{name}" for dataset in sets for name in dataset.names}
    assert ours == {peer.name for peer in load_peers(shared / "peers_dev.json")}
    assert [len(clip.names) for clip in dev_clips(shared / "data")] == [60, 60]


def grey(path):
    return np.rint(cv2.cvtColor(cv2.imread(str(path)).astype(np.float32), cv2.COLOR_BGR2GRAY))


def fuse_folder(dataset, folder, rule):
    for name in dataset.names:
        fused = rule(grey(dataset.thermal / name), grey(dataset.rgb / name))
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), fused.astype(np.uint8))


def test_classical_methods_reach_their_published_rows(tmp_path, capsys):
    shared = shared_dir()
    dataset = dev_sets(shared / "data")["infrared-visible"][1]
    names = dataset.names[::3]
    for stream in ("thermal", "rgb"):
        (tmp_path / "m3svd_stills" / stream).mkdir(parents=True)
        for name in names:
            (tmp_path / "m3svd_stills" / stream / name).symlink_to(getattr(dataset, stream) / name)
    fuse_folder(dataset._replace(names=names), tmp_path / "average", lambda a, b: np.floor((a + b) / 2 + 0.5))
    fuse_folder(dataset._replace(names=names), tmp_path / "maximum", np.maximum)
    status = aenet(
        "evaluate",
        tmp_path / "m3svd_stills/thermal",
        tmp_path / "m3svd_stills/rgb",
        *("--fused", f"average={tmp_path / 'average'}", "--fused", f"maximum={tmp_path / 'maximum'}"),
        *("--peers", shared / "peers_dev.json", "--json"),
    )
    report = json.loads(capsys.readouterr().out)
    assert status == 0
    means = report["means"]["m3svd_stills"]
    assert len(means) == 17  # fifteen peers and ours
    for ours, published in (("average", "(average)"), ("maximum", "(maximum)")):
        for metric in METRICS:
            # The published ones went through a colour picture and back, which costs a grey level here and there.
            assert means[ours][metric] == pytest.approx(means[published][metric], rel=0.02, abs=1e-3), (ours, metric)
    ranks = report["mean_rank"]["m3svd_stills"]
    assert sum(ranks.values()) == pytest.approx(17 * 18 / 2)
    assert abs(ranks["average"] - ranks["(average)"]) < 2
    assert len(report["scores"]) == 2 * len(names)


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
    for word in ("max", "aenet", "Nabf", "mean rank"):
        assert word in out
    report = json.loads((little / "scores.json").read_text())
    assert set(report["means"]["little"]) == {"aenet", "max"}
    assert {score["name"] for score in report["scores"]} == {"little/0.png", "little/1.png"}
    assert aenet(*arguments) == 1
    assert "--force" in capsys.readouterr().err
    assert aenet(*arguments, "--force") == 0


def test_missing_pictures_are_told(little, capsys):
    (little / "out/1.png").unlink()
    assert aenet("evaluate", little / "little/thermal", little / "little/rgb", "--fused", f"max={little / 'out'}", "--json") == 1
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["scores"]) == 1
    assert "not measured: max:" in captured.err


def test_refusals(little, capsys):
    thermal, rgb, out = little / "little/thermal", little / "little/rgb", little / "out"
    cases = [
        (["evaluate"], "give two folders"),
        (["evaluate", thermal, little / "none"], "No such file"),
        (["evaluate", thermal, rgb, "--fused", "max"], "NAME=DIR"),
        (["evaluate", thermal, rgb, "--fused", f"max={little / 'none'}"], "NAME=DIR"),
        (["evaluate", thermal, rgb, "--fused", f"a={out}", "--fused", f"a={out}"], "different names"),
        (["evaluate", thermal, rgb, "--weights", little / "none.safetensors"], "none"),
        (["evaluate", thermal, rgb, "--fused", f"a={out}", "--peers", little / "none.json"], "none.json"),
        (["evaluate", "--dev-pairs", little], "two folders of pictures"),
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
    assert set(report["mean_rank"]["other"]) == {"x", "max"}
    assert len(report["scores"]) == 2  # both pictures measured, one of them ranked


def test_unequal_sizes_and_deep_thermal(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "v").mkdir()
    cv2.imwrite(str(tmp_path / "t/0.png"), (smooth(1).astype(np.uint16) * 7 + 29_000))
    cv2.imwrite(str(tmp_path / "v/0.png"), cv2.merge([smooth(2)] * 3))
    dataset = DataSet("x", tmp_path / "t", tmp_path / "v", common_names(tmp_path / "t", tmp_path / "v"))
    (pair,) = read_pairs(dataset)
    assert pair.thermal.dtype == np.uint8
    assert pair.thermal.max() == 255
    assert pair.thermal.min() == 0
    with pytest.raises(SourceError, match="no picture"):
        folder_method("m", tmp_path / "v", by_set=True).fuse(pair)
    cv2.imwrite(str(tmp_path / "v/0.png"), cv2.merge([smooth(2, (64, 81))] * 3))
    with pytest.raises(ImageError, match="registered pairs of one size"):
        list(read_pairs(dataset))


def test_tables_sort_from_the_best_and_mark_it():
    means = {name: dict.fromkeys(METRICS, value) for name, value in (("worse", 0.5), ("better", 123.456))}
    header, rows, best = measures_table(means, {"worse": 2.0, "better": 1.0})
    assert header[:3] == ["method", "rank", "EN"]
    assert rows[0][:3] == ["better", "1.000", "123.46"]
    assert rows[1][:3] == ["worse", "2.000", "0.500"]
    lower = header.index("Nabf ↓")
    assert best == {(1 if column == lower else 0, column) for column in range(1, len(header))}
    header, rows, best = ranks_table({"a": {"x": 2.0, "y": 1.0}, "b": {"x": 1.0}})
    assert (header, rows, best) == (["mean rank", "a", "b"], [["y", "1.000", "-"], ["x", "2.000", "1.000"]], {(0, 1)})
