"""The study's parts: equal budgets, counted work, held-out pairs, ranks and report."""

import json

import numpy as np
import pytest
import torch

from aenet_ros.fusion.network import AENet, AENetConfig, parameter_count
from aenet_ros.training import study
from aenet_ros.training.data import PairFolder, PairSet
from aenet_ros.training.losses import LossWeights
from aenet_ros.training.study_report import markdown_table, pareto_plot, write_report
from aenet_ros.training.train import TrainConfig


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def pair_set(tmp_path, kind="infrared", count=5):
    rng = np.random.default_rng(len(kind))
    planes = [tuple(rng.integers(0, 256, (64, 64), np.uint8) for _ in range(count)) for _ in range(2)]
    return PairSet(PairFolder(kind, tmp_path, tmp_path, kind), *planes)


@pytest.mark.parametrize("block", ["plain", "depthwise", "squeeze"])
def test_equal_budget_is_met_and_used(block):
    config = study.equal_budget(block, "avg", 12_000)
    assert parameter_count(AENet(config)) <= 12_000
    assert parameter_count(AENet(AENetConfig(width=config.width + 4, block=block))) > 12_000


def test_multiply_adds_by_hand():
    """Width 4, one level, 32x32: stem 16x16x4x(2x16), block at 8x8x4x(4x9), smoothing 16x16x4x9, head 16x16x12x4."""
    network = AENet(AENetConfig(width=4, levels=1))
    assert study.multiply_adds(network, (32, 32)) == 32_768 + 9_216 + 9_216 + 12_288


def test_split_keeps_apart(tmp_path):
    training, held = study.split([pair_set(tmp_path, count=10)], every=5, most=4)
    assert len(training[0].luma) == 8
    assert len(held[0].luma) == 2
    assert not any(a is b for a in training[0].luma for b in held[0].luma)


def test_judge_ranks_within_each_task(tmp_path):
    networks = {name: AENet(AENetConfig(width=4, levels=1)).eval() for name in ("one", "other")}
    judged = study.judge(networks, [pair_set(tmp_path, kind, 2) for kind in ("infrared", "focus")])
    assert set(judged) == {"infrared", "focus"}
    for table in judged.values():
        assert table["one"]["rank"] + table["other"]["rank"] == pytest.approx(3.0)


def test_tasks_trains_each_way(tmp_path):
    sets = [pair_set(tmp_path, kind) for kind in ("infrared", "medical", "exposure", "focus")]
    config = TrainConfig(steps=1, batch=1, follow=0, crop=48, network=AENetConfig(width=4, levels=1))
    rows = study.tasks(sets, sets, config, tmp_path / "out", lambda text: None)
    assert [row["training"] for row in rows][:2] == ["infrared only, positive", "sequence up to infrared, positive"]
    assert len(rows) == 18
    assert all(1 <= row["rank"] <= 18 for row in rows)


def test_ablation_keeps_something_that_sets_brightness():
    weights = study.without_positive(LossWeights())
    assert weights.positive == 0.0
    assert weights.intensity > LossWeights().intensity


def test_report(tmp_path):
    rows = [
        {"block": "plain", "ms": 1.0, "rank": 2.0},
        {"block": "group", "ms": 2.0, "rank": 1.0},
        {"block": "worse", "ms": 3.0, "rank": 3.0},
    ]
    assert markdown_table(rows).splitlines()[2] == "| plain | 1 | 2 |"
    write_report(tmp_path / "study", "Title", rows, {"seed": 0})
    assert json.loads((tmp_path / "study.json").read_text())["rows"] == rows
    assert (tmp_path / "study.md").read_text().startswith("# Title")
    plot = pareto_plot(rows, "ms", "rank", ("block",))
    red = (plot == (40, 40, 200)).all(2)
    assert plot.shape[2] == 3
    assert 2 * 60 < red.sum() < 2 * 120, "two unbeaten points"
