"""Measures against values of independent code (metrics_reference.json) and against values worked out by hand."""

import json
import math

import cv2
import numpy as np
import pytest
from conftest import shared_dir

from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.workbench.evaluation.compare import Score, load_peers, mean_ranks, means_by_dataset, scoreboard
from aenet_ros.workbench.evaluation.metrics import METRICS, RANKED, measure

REFERENCE_DECIMALS = 6


def reference_planes(pair, recipe):
    folder, name = pair.rsplit("/", 1)
    base = shared_dir() / "data" / folder
    thermal = cv2.imread(str(base / "thermal" / name), cv2.IMREAD_GRAYSCALE).astype(np.float32)
    rgb = np.rint(cv2.cvtColor(cv2.imread(str(base / "rgb" / name)).astype(np.float32), cv2.COLOR_BGR2GRAY))
    mean = (thermal + rgb) / 2
    fused = {
        "mean": lambda: np.floor(mean + 0.5),
        "maximum": lambda: np.maximum(thermal, rgb),
        "blurred_mean": lambda: np.rint(cv2.blur(mean, (5, 5), borderType=cv2.BORDER_REFLECT_101)),
    }[recipe]()
    return fused, thermal, rgb


def test_agrees_with_independent_code():
    rows = json.loads((shared_dir() / "metrics_reference.json").read_text())["rows"]
    assert len(rows) == 18
    for row in rows:
        values = measure(*reference_planes(row["pair"], row["fused"]))
        for name, expected in row["metrics"].items():
            rounding = 0.5 * 10**-REFERENCE_DECIMALS
            assert values[name] == pytest.approx(expected, rel=1e-3, abs=rounding * 1.01), (row["pair"], row["fused"], name)


def test_values_worked_out_by_hand():
    thermal = np.full((64, 64), 100)
    rgb = np.tile([0, 200], (64, 32))  # columns of 0 and 200
    values = measure(rgb, thermal, rgb)
    assert values["EN"] == pytest.approx(1.0)  # two values, half each
    assert values["SD"] == pytest.approx(100.0)
    assert values["SF"] == pytest.approx(200.0)  # every step across is 200, none down
    assert values["AG"] == pytest.approx(2 / 64 * 200 / math.sqrt(2))  # central differences vanish but in the two outer columns
    assert values["MI"] == pytest.approx(math.log(2))  # of rgb with itself; the constant thermal plane tells nothing
    assert values["CC"] == pytest.approx(0.5)  # 1 with rgb, 0 with a constant
    assert set(values) == set(METRICS)


def test_a_copy_of_both_sources_is_perfect():
    plane = np.random.default_rng(1).integers(0, 256, (48, 60))
    values = measure(plane, plane, plane)
    assert values["SSIM"] == pytest.approx(2.0)
    assert values["SSIM255"] == pytest.approx(2.0)
    assert values["VIF"] == pytest.approx(2.0, rel=1e-3)
    assert values["CC"] == pytest.approx(1.0)
    assert values["Nabf"] == 0.0


@pytest.mark.parametrize("fill", [0, 255])
def test_constant_planes_give_finite_numbers(fill):
    plane = np.full((50, 50), fill, np.uint8)
    assert all(math.isfinite(value) for value in measure(plane, plane, plane).values())


def test_noise_on_top_is_artefact():
    rng = np.random.default_rng(2)
    plane = cv2.GaussianBlur(rng.uniform(0, 255, (80, 80)), (0, 0), 4)
    noisy = np.clip(plane + rng.normal(0, 20, plane.shape), 0, 255)
    assert measure(noisy, plane, plane)["Nabf"] > 0.1 > measure(plane, plane, plane)["Nabf"]


@pytest.mark.parametrize("shapes", [((50, 50), (50, 51), (50, 50)), ((50, 50, 3),) * 3, ((20, 300),) * 3])
def test_wrong_shapes_are_refused(shapes):
    with pytest.raises(ImageError):
        measure(*(np.zeros(shape) for shape in shapes))


def score(method, name, **values):
    return Score(method, *name.split("/"), {metric: values.get(metric, 0.0) for metric in METRICS})


def test_mean_rank_with_ties():
    table = {"x": dict.fromkeys(RANKED, 3.0), "y": dict.fromkeys(RANKED, 1.0), "z": dict.fromkeys(RANKED, 1.0)}
    assert mean_ranks(table) == {"x": 1.0, "y": 2.5, "z": 2.5}


def test_only_pictures_of_all_methods_count():
    scores = [score("x", "set/1", EN=1), score("x", "set/2", EN=100), score("y", "set/1", EN=2)]
    means = means_by_dataset(scores)["set"]
    assert (means["x"]["EN"], means["y"]["EN"]) == (1, 2)
    with pytest.raises(SourceError, match="no picture"):
        means_by_dataset([score("x", "set/1"), score("y", "set/2")])


def test_scoreboard_averages_over_sets():
    scores = [score("x", "p/1", EN=1), score("y", "p/1"), score("x", "q/1"), score("y", "q/1", EN=1), score("z", "q/1")]
    board = scoreboard(means_by_dataset(scores))
    # In p, EN ranks x 1 and y 2, the other eight tie at 1.5; in q, EN ranks y 1, x and z 2.5, the other eight tie at 2.
    assert board["p"] == pytest.approx({"x": (1 + 8 * 1.5) / 9, "y": (2 + 8 * 1.5) / 9})
    assert board["q"] == pytest.approx({"y": (1 + 16) / 9, "x": (2.5 + 16) / 9, "z": (2.5 + 16) / 9})
    assert "r" not in scoreboard(means_by_dataset([*scores, score("x", "r/1")])), "a single method has no rank"
    assert board["overall"] == pytest.approx({"x": (13 + 18.5) / 18, "y": (14 + 17) / 18})  # z was not measured on p


def test_peers_of_the_dev_pairs():
    peers = load_peers(shared_dir() / "peers_dev.json")
    infrared = [row for row in peers if row.dataset in ("roadscene", "m3svd_stills")]
    board = scoreboard(means_by_dataset(infrared))
    assert {name: len({row.name for row in infrared if row.dataset == name}) for name in board if name != "overall"} == {
        "roadscene": 21,
        "m3svd_stills": 10,
    }
    assert len(board["overall"]) == 15
    # n methods share the ranks 1..n on each measure, whatever the values are
    assert sum(board["overall"].values()) == pytest.approx(15 * 16 / 2)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": [{"peer": "x"}]}', '{"rows": [{"peer": "x", "name": "a/1", "EN": "high"}]}'])
def test_a_peers_file_that_is_none(tmp_path, content):
    path = tmp_path / "peers.json"
    path.write_text(content)
    with pytest.raises(SourceError, match=r"peers\.json"):
        load_peers(path)
