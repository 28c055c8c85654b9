"""The study: its trainings, continuing an interrupted study, cost counted by hand, tables and the command."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from aenet_ros.cli.main import main
from aenet_ros.fusion.blocks import BLOCKS, DOWNSAMPLINGS
from aenet_ros.fusion.checkpoint import save_checkpoint
from aenet_ros.fusion.network import AENet, AENetConfig, parameter_count
from aenet_ros.workbench import study
from aenet_ros.workbench.evaluation.metrics import METRICS
from aenet_ros.workbench.training.data import KINDS, PairFolder, PairSet
from aenet_ros.workbench.training.train import TrainConfig

TINY = TrainConfig(steps=2, batch=1, follow=0, crop=48, warmup=1, network=AENetConfig(width=4, levels=1), report_every=1)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def pair_set(tmp_path, kind="infrared", count=5, clip=False, share=1.0):
    rng = np.random.default_rng(len(kind))
    planes = [tuple(rng.integers(0, 256, (64, 64), np.uint8) for _ in range(count)) for _ in range(2)]
    return PairSet(PairFolder(kind, tmp_path, tmp_path, kind, clip=clip, share=share), *planes)


@pytest.fixture
def four_tasks(tmp_path):
    return [pair_set(tmp_path, kind, 2) for kind in KINDS]


def test_split_keeps_apart_and_holds_out_no_clip(tmp_path):
    training, held_out = study.split([pair_set(tmp_path, count=25), pair_set(tmp_path, count=7, clip=True)])
    assert [len(pairs.luma) for pairs in training] == [20, 7]
    assert [len(pairs.luma) for pairs in held_out] == [4]
    assert not any(a is b for pairs in training for a in pairs.luma for b in held_out[0].luma)


@pytest.mark.parametrize("block", ["plain", "depthwise", "squeeze"])
def test_equal_budget_is_the_nearest(block):
    config = study.equal_budget(block, "avg", 12_000)
    distance = abs(parameter_count(AENet(config)) - 12_000)
    for width in (config.width - 4, config.width + 4):
        assert abs(parameter_count(AENet(replace(config, width=width))) - 12_000) >= distance


def test_every_architecture_is_trained_alike_and_the_default_with_more_seeds():
    trainings = study.architecture_trainings(TINY, parameter_count(AENet()), 3)
    assert len(trainings) == len(BLOCKS) * len(DOWNSAMPLINGS) + 2 == len({training.name for training in trainings})
    assert [training.config.seed for training in trainings[:4]] == [0, 1, 2, 0]
    assert trainings[0].config.network == AENetConfig()
    assert all(replace(training.config, network=TINY.network, seed=0) == TINY for training in trainings)


def test_tasks_are_trained_alone_and_together():
    trainings = study.task_trainings(TINY, 1)
    assert len(trainings) == 10
    assert [training.kinds for training in trainings[:4]] == [(kind,) for kind in KINDS]
    joint = [training for training in trainings if training.name.startswith("joint")]
    assert [(one.kinds, one.config.steps, one.config.weights.positive > 0) for one in joint] == [(KINDS, 8, True), (KINDS, 8, False)]
    without = [training for training in trainings if training.config.weights.positive == 0]
    assert len(without) == 5
    assert all(training.name.endswith("-without") for training in without)


def test_seeds_of_joint_training_are_not_mixed_with_those_without_positive_loss():
    names = [training.name for training in study.task_trainings(TINY, 2) if training.name.startswith("joint")]
    assert len(names) == 4
    rows = [{"training": name, "rank": 10.0 * ("without" in name) + ("seed" in name), "loss": 0.0} for name in names]
    assert study.seed_spread(rows, "joint") == {"rank": 1.0, "loss": 0.0}


def test_balanced_shares(tmp_path):
    sets = [pair_set(tmp_path, share=3.0), pair_set(tmp_path, share=1.0), pair_set(tmp_path, "focus", share=7.0)]
    assert [pairs.folder.share for pairs in study.balanced(sets)] == [0.75, 0.25, 1.0]


def test_finished_trainings_are_kept(four_tasks, tmp_path):
    first, second = study.Training("first", TINY, ("infrared",)), study.Training("second", TINY, ("focus",))
    study.run_training(first, four_tasks, four_tasks, tmp_path / "first")
    weights = (tmp_path / "first/aenet.safetensors").stat().st_mtime_ns
    for training in (first, second):
        study.run_training(training, four_tasks, four_tasks, tmp_path / training.name)
    assert (tmp_path / "first/aenet.safetensors").stat().st_mtime_ns == weights, "not trained again"
    scores = json.loads((tmp_path / "second/scores.json").read_text())
    assert [score["name"] for score in scores] == [f"{kind}/{kind}-{index}" for kind in KINDS for index in range(2)]
    assert all(set(score) == {"name", "loss", *METRICS} for score in scores)


def test_multiply_adds_by_hand():
    """Width 4, one level, 8x8 tiles: stem 32x(2x36), enter 4x32, blocks 4x(4x9), two at 4x4 and one at 8x8, head 5x4, smoothing 3x9."""
    network = AENet(AENetConfig(width=4, levels=1, downsampling="avg", block="plain"))
    assert study.multiply_adds(network, (32, 32)) == 147_456 + 8_192 + 2 * 2_304 + 9_216 + 1_280 + 1_728


def test_rows_are_ranked_and_have_their_cost(tmp_path):
    """All measures of a training are equal, so the larger value has the better rank (Nabf is not ranked)."""
    values = {"plain-avg": 1, "plain-avg-seed1": 3, "group-max": 2}
    for name, value in values.items():
        save_checkpoint(AENet(AENetConfig(width=4, levels=1)).eval(), tmp_path / name / "aenet.safetensors", {})
        scores = [{"name": f"{kind}/0", **dict.fromkeys((*METRICS, "loss"), float(value))} for kind in KINDS]
        (tmp_path / name / "scores.json").write_text(json.dumps(scores))
    rows = study.result_rows([study.Training(name, TINY) for name in values], tmp_path)
    assert [(row["training"], row["rank"], row["rank focus"], row["loss"]) for row in rows] == [
        ("plain-avg-seed1", 1.0, 1.0, 3.0),
        ("group-max", 2.0, 2.0, 2.0),
        ("plain-avg", 3.0, 3.0, 1.0),
    ]
    assert study.seed_spread(rows, "plain-avg") == {"rank": 2.0, "loss": 2.0}
    study.add_cost(rows, tmp_path)
    assert all(row["cpu ms"] > 0 and row["parameters"] == parameter_count(AENet(AENetConfig(width=4, levels=1))) for row in rows)


def test_markdown_table():
    table = study.markdown_table([{"a": "x", "b": 1.234, "measures": {"EN": 1.0}, "c": 127.3}])
    assert table.splitlines() == ["| a | b | c |", "|---|---|---|", "| x | 1.23 | 127 |"]


@pytest.fixture
def data(tmp_path):
    """The sets of docs/training.md in small: noise."""
    root, rng = tmp_path / "data", np.random.default_rng(0)
    pairs = ("roadscene/thermal", "roadscene/rgb", "m3svd_stills/thermal", "m3svd_stills/rgb")
    clip = ("m3svd_video/0117_1605/thermal", "m3svd_video/0117_1605/rgb")
    medical = [f"medical/{name}-mri/{side}" for name in ("ct", "pet", "spect") for side in ("mri", name)]
    varied = ("varied/tno/thermal", "varied/tno/rgb")
    for folder in (*pairs, *clip, *varied, *medical, *(f"{name}/{side}" for name in ("multi_exposure", "multi_focus") for side in "ab")):
        (root / folder).mkdir(parents=True)
        stills = [f"{name}_{index:04}" for name in ("0111_1716", "0111_1753", "0114_1551", "0115_1831") for index in (0, 2)]
        for name in stills if "stills" in folder else map(str, range(4)):
            cv2.imwrite(str(root / folder / f"{name}.png"), rng.integers(0, 256, (64, 64), np.uint8))
    (root / "varied/split.json").write_text(json.dumps({"train": ["tno/0", "tno/1", "tno/2"], "dev": ["tno/3"]}))
    return root


@pytest.mark.slow
def test_the_command_writes_both_parts_and_does_not_mix_settings(data, tmp_path, capsys):
    words = ["study", str(data), "--out", str(tmp_path / "out"), "--steps", "1", "--crop", "48", "--batch", "2"]
    words += ["--repeats", "1", "--threads", "1", "--blocks", "plain", "--downsamplings", "max"]
    assert main([*words, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results == {part: json.loads((tmp_path / "out" / f"{part}.json").read_text()) for part in ("architectures", "tasks")}
    about = results["tasks"]["about"]
    assert (about["steps"], about["seed"]) == (1, 0)
    assert about["commit"]
    assert [row["training"] for row in results["architectures"]["rows"]].count("plain-avg") == 1
    table = (tmp_path / "out/tasks.md").read_text()
    assert table.count("\n| only-") == 8
    (kept,) = (tmp_path / "out/networks").iterdir()
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.safetensors")}
    assert main([*words[:5], "2", *words[6:], "--only", "tasks"]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*.safetensors")} == before
    assert json.loads((tmp_path / "out/tasks.json").read_text())["about"]["steps"] == 2
    assert len(list((tmp_path / "out/networks").iterdir())) == 2, "not mixed with the trainings of one step"
    assert main([*words, "--repeats", "0"]) == 1
    assert main([*words, "--blocks", "brick"]) == 1
    assert "'brick' is not known" in capsys.readouterr().err
