"""Training end to end, tiny: data checks, determinism, resuming, what the command refuses, two processes."""

import json
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch

from aenet_ros.cli.main import main
from aenet_ros.core.errors import CheckpointError, ConfigError, SourceError
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.network import AENetConfig
from aenet_ros.workbench.training.batches import Augmentation, draw_batch, version
from aenet_ros.workbench.training.data import KINDS, PairFolder, read_pairs, shipped_sets
from aenet_ros.workbench.training.losses import LossWeights
from aenet_ros.workbench.training.train import TrainConfig, TrainingError, schedule, train

TINY = TrainConfig(steps=4, batch=2, follow=1, crop=48, warmup=1, network=AENetConfig(width=8, levels=2), report_every=1)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def write_pairs(root, count=3, size=(64, 80)):
    rng = np.random.default_rng(0)
    for name in ("thermal", "rgb"):
        (root / name).mkdir(parents=True)
        for index in range(count):
            coarse = rng.integers(0, 256, (8, 10), np.uint8)
            cv2.imwrite(str(root / name / f"{index}.png"), cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))
    return PairFolder("made", root / "thermal", root / "rgb", clip=True)


@pytest.fixture
def folder(tmp_path):
    return write_pairs(tmp_path / "made")


def weights_of(path):
    return load_checkpoint(path / "aenet.safetensors")[0].state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def run_steps(folder, config, out, log=None):
    return train([read_pairs(folder, 48)], config, out, {}, lambda step, terms: log.append((step, terms)) if log is not None else None)


def test_every_step_is_told_from_the_first(folder, tmp_path):
    steps, reports = [], []
    config = replace(TINY, report_every=100)
    train([read_pairs(folder, 48)], config, tmp_path, {}, lambda step, terms: reports.append(step), on_step=steps.append)
    assert (steps, reports) == ([1, 2, 3, 4], [4])


def test_training_lowers_the_loss(folder, tmp_path):
    log = []
    run_steps(folder, replace(TINY, steps=40, report_every=10), tmp_path / "out", log)
    assert [step for step, _ in log] == [10, 20, 30, 40]
    assert log[-1][1]["loss"] < log[0][1]["loss"]


def test_same_seed_same_weights_and_another_seed_others(folder, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_steps(folder, replace(TINY, seed=seed), tmp_path / name)
    assert same(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"))
    assert not same(weights_of(tmp_path / "a"), weights_of(tmp_path / "c"))


class Interrupted(Exception):
    pass


def test_resumed_run_equals_the_uninterrupted(folder, tmp_path):
    run_steps(folder, TINY, tmp_path / "whole")

    def stop(step, terms):
        if step == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train([read_pairs(folder, 48)], replace(TINY, save_every_s=0.0), tmp_path / "parts", {}, stop)
    run_steps(folder, TINY, tmp_path / "parts")
    assert same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts"))


def test_resume_refuses_another_run_or_a_damaged_file(folder, tmp_path):
    run_steps(folder, TINY, tmp_path / "out")
    with pytest.raises(ConfigError, match="seed"):
        run_steps(folder, replace(TINY, seed=5), tmp_path / "out")
    with pytest.raises(CheckpointError, match="resumed"):
        run_steps(folder, replace(TINY, network=AENetConfig(width=16, levels=2)), tmp_path / "out")
    (tmp_path / "out/training.pt").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="resumed"):
        run_steps(folder, TINY, tmp_path / "out")


def test_a_loss_that_is_no_number_stops_and_keeps_the_files(folder, tmp_path):
    run_steps(folder, replace(TINY, steps=2), tmp_path / "out")
    before = (tmp_path / "out/aenet.safetensors").read_bytes()
    sets = [read_pairs(folder, 48)]
    broken = load_checkpoint(tmp_path / "out/aenet.safetensors")[0]
    with torch.no_grad():
        broken.head.bias[0] = float("nan")
    with pytest.raises(TrainingError, match="nan at step 0"):
        train(sets, TINY, tmp_path / "new", {}, lambda step, terms: None, broken)
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "out/aenet.safetensors").read_bytes() == before


def test_schedule_warms_up_and_ends_low():
    config = TrainConfig(steps=1000, warmup=100)
    assert schedule(0, config) == pytest.approx(0.01)
    assert schedule(100, config) == pytest.approx(1.0)
    assert schedule(550, config) == pytest.approx(0.505)
    assert schedule(1000, config) == pytest.approx(0.01)


def test_batches_have_the_promised_shape_and_follow_each_other(folder):
    quiet = Augmentation(versions=1, scene=0.0, targets=0.0, sensor=0.0)
    batch = draw_batch([read_pairs(folder, 48)], 48, 3, 2, quiet, (0, 1, 0))
    for planes in (batch.thermal, batch.luma, batch.thermal_reference, batch.luma_reference, batch.positive):
        assert planes.shape == (5, 1, 48, 48)
        assert planes.dtype == torch.float32
        assert float(planes.min()) >= 0.0
        assert float(planes.max()) <= 1.0
    assert batch.kinds == ("infrared",) * 5
    assert batch.follow == 2
    again = draw_batch([read_pairs(folder, 48)], 48, 3, 2, quiet, (0, 1, 0))
    assert torch.equal(batch.thermal, again.thermal)
    assert not torch.equal(batch.thermal, draw_batch([read_pairs(folder, 48)], 48, 3, 2, quiet, (0, 2, 0)).thermal)


def test_one_crop_a_step_is_enough(folder, tmp_path):
    run_steps(folder, replace(TINY, steps=2, batch=1, follow=2), tmp_path / "one")
    assert load_checkpoint(tmp_path / "one" / "aenet.safetensors")[1]["steps"] == 2


def test_all_tasks_are_trained_together(folder, tmp_path):
    sets = [read_pairs(replace(folder, kind=kind, clip=False), 48) for kind in KINDS]
    assert set(draw_batch(sets, 48, 24, 0, Augmentation(), (1,)).kinds) == set(KINDS)
    losses = []
    train(sets, replace(TINY, steps=3, batch=8), tmp_path / "all", {}, lambda step, terms: losses.append(terms["loss"]))
    assert np.isfinite(losses).all()


def test_noise_is_in_the_input_but_not_in_the_references(folder):
    noisy = Augmentation(versions=1, scene=0.0, targets=0.0, sensor=1.0)
    sets = [read_pairs(folder, 48)]
    batch = draw_batch(sets, 48, 8, 0, noisy, (3,))
    clean = draw_batch(sets, 48, 8, 0, replace(noisy, sensor=0.0), (3,))
    assert float((batch.thermal - batch.thermal_reference).abs().max()) > 0.02
    assert torch.equal(batch.thermal_reference[0], clean.thermal_reference[0])


def test_focus_stacks_are_made_of_one_sharp_picture(folder):
    sharp = read_pairs(replace(folder, thermal=folder.rgb, kind="focus", clip=False), 48)
    near, far, wanted = (plane.astype(int) for plane in version(sharp, 0, 0, Augmentation()))
    np.testing.assert_array_equal(wanted, sharp.luma[0])
    everywhere = np.minimum(np.abs(near - wanted), np.abs(far - wanted))
    assert np.percentile(everywhere, 90) <= np.abs(near - far).max() / 4, "nearly every place is sharp in one of the two"
    edges = [np.abs(np.diff(plane)).sum() for plane in (near, far, wanted)]
    assert max(edges[:2]) < edges[2]
    assert not np.array_equal(near, version(sharp, 0, 1, Augmentation())[0]), "another stack"


def test_held_out_pairs_are_not_read(tmp_path):
    folder = write_pairs(tmp_path / "made", count=7)
    assert len(read_pairs(replace(folder, skip_every=3), 48).luma) == 4, "not 0, 3 and 6"
    assert len(read_pairs(replace(folder, skip=("0*", "5*")), 48).luma) == 5
    assert len(read_pairs(replace(folder, only="[0-2]*", skip=("0*",)), 48).luma) == 2


@pytest.mark.slow
def test_shipped_recipe_leaves_the_development_pairs_out(shared_data):
    counts = {folder.name: len(read_pairs(folder, 64).luma) for folder in shipped_sets(shared_data)}
    assert counts["roadscene"] == 181 - 21
    sequences = [name for name in counts if name.startswith("m3svd_stills/0")]
    assert [counts[name] for name in sequences] == [10] * 4
    assert not {"m3svd_stills/0114_1609", "m3svd_stills/0115_1847"} & set(sequences)
    assert counts["m3svd_video/0117_1605"] == 60
    assert counts["medical/ct-mri"] == counts["medical/pet-mri"] == counts["medical/spect-mri"] == 30
    assert counts["multi_exposure"] == 12
    assert counts["multi_focus"] == 8
    varied = {name: count for name, count in counts.items() if name.startswith("varied/")}
    assert (len(varied), sum(varied.values())) == (12, 91), "those under train in split.json"
    assert counts["m3svd_stills/rgb defocused"] == 40, "of the same pairs, none of the left out sequences"
    assert all(folder.terms for folder in shipped_sets(shared_data))


@pytest.mark.parametrize("content", [None, "no json", '{"dev": []}', '{"train": ["no_folder"]}'])
def test_a_bad_list_of_training_pairs_says_so(tmp_path, content):
    (tmp_path / "varied").mkdir()
    if content is not None:
        (tmp_path / "varied/split.json").write_text(content)
    with pytest.raises(SourceError, match=r"split\.json"):
        shipped_sets(tmp_path)


def test_bad_folders_say_what_is_wrong(tmp_path, folder):
    with pytest.raises(SourceError, match="No such file or directory"):
        read_pairs(replace(folder, rgb=tmp_path / "none"), 48)
    with pytest.raises(SourceError, match="smaller than a crop"):
        read_pairs(folder, 65)
    with pytest.raises(SourceError, match="no training pairs are left"):
        read_pairs(replace(folder, skip=("*",)), 48)
    with pytest.raises(ConfigError, match="kind"):
        read_pairs(replace(folder, kind="thermal"), 48)
    (folder.rgb / "1.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(SourceError, match=r"1\.png.*cannot be read"):
        read_pairs(folder, 48)
    cv2.imwrite(str(folder.rgb / "1.png"), np.zeros((64, 81), np.uint8))
    with pytest.raises(SourceError, match="differ"):
        read_pairs(folder, 48)
    (folder.rgb / "1.png").unlink()
    with pytest.raises(SourceError, match="1 of 3 thermal files left out"):
        read_pairs(folder, 48)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no pictures"):
        read_pairs(PairFolder("e", tmp_path / "empty", tmp_path / "empty"), 48)


def arguments(folder, out, *more):
    return ["train", str(folder.thermal), str(folder.rgb), "--out", str(out), "--crop", "48", "--batch", "2", "--threads", "1", *more]


def test_command_trains_resumes_and_refuses_to_overwrite(folder, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(arguments(folder, out, "--steps", "2", "--clip", "--init", "packaged")) == 0
    card = json.loads((out / "aenet.json").read_text())
    assert card["steps"] == 2
    assert card["data"] == [{"name": "made", "kind": "infrared", "pairs": 3, "terms": "the user's own"}]
    assert main(arguments(folder, out, "--steps", "3")) == 1
    assert "--resume" in capsys.readouterr().err
    assert main(arguments(folder, out, "--steps", "3", "--resume", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"weights": str(out / "aenet.safetensors"), "card": json.loads((out / "aenet.json").read_text())}
    assert told["card"]["steps"] == 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--crop", "50"], "multiple of 16"),
        (["--steps", "0"], "--steps 0"),
        (["--resume"], "no run"),
        (["--init", "nowhere.safetensors"], "nowhere"),
    ],
)
def test_command_refuses(folder, tmp_path, capsys, more, message):
    assert main([*arguments(folder, tmp_path / "run"), *more]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_curves_of_every_term_are_written(folder, tmp_path):
    """Read back by TensorBoard's own reader."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra train)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    assert main([*arguments(folder, out, "--steps", "3"), "--tensorboard"]) == 0
    curves = EventAccumulator(str(out))
    curves.Reload()
    assert set(curves.Tags()["scalars"]) == {item.name for item in fields(LossWeights)} | {"loss"}
    (last,) = curves.Scalars("loss")
    assert last.step == 3
    assert 0 < last.value < 100
