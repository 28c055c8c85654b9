"""A study of architectures and of training tasks at equal cost.

Architectures: each block with each downsampling layer, at nearly equal numbers of parameters. Tasks: a network for each task alone
and one for all tasks, each with and without the positive sample loss. All trainings of a part use the same crops and learning rate,
and are evaluated on held-out pairs. A finished training is a folder with weights, card and scores, so an interrupted study continues.
"""

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from aenet_ros.core.errors import ConfigError
from aenet_ros.core.files import write_atomic
from aenet_ros.fusion.blocks import BLOCKS, DOWNSAMPLINGS
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.network import AENet, AENetConfig, parameter_count
from aenet_ros.workbench.evaluation.metrics import measure
from aenet_ros.workbench.evaluation.ranking import Score, mean_ranks, means_by_dataset
from aenet_ros.workbench.timing import spread_ms, time_runs
from aenet_ros.workbench.training.batches import Augmentation, Batch, version
from aenet_ros.workbench.training.data import KINDS, STUDY_HELD_OUT, PairSet
from aenet_ros.workbench.training.losses import LossWeights, loss_terms, weighted_sum
from aenet_ros.workbench.training.train import RESUME_NAME, WEIGHTS_NAME, TrainConfig, train

Row = dict[str, Any]
Advance = Callable[[int], None]
"""Receives the number of steps done since the last call."""

SCORES_NAME = "scores.json"
FRAME_SIZE = 480, 640  # height and width of the frame for latency and multiply-adds


@dataclass(frozen=True)
class Training:
    """One training on the pairs of ``kinds``. ``balanced`` draws each task equally often, whatever the shares of the sets are."""

    name: str
    config: TrainConfig
    kinds: tuple[str, ...] = KINDS
    balanced: bool = False


def default_name() -> str:
    """Return the name of the default architecture's training."""
    return f"{AENetConfig.block}-{AENetConfig.downsampling}"


def split(sets: Sequence[PairSet], max_pairs: int, every: int = 5) -> tuple[list[PairSet], list[PairSet]]:
    """Return training sets and held-out sets of at most ``max_pairs`` pairs.

    Held out is the last ``1 / every`` of the sorted names of a set, because neighbouring pictures are similar. Clips are only
    trained on, except for STUDY_HELD_OUT, which is only evaluated.
    """
    training, held_out = [], []
    for pairs in sets:
        if pairs.folder.clip and pairs.folder.name != STUDY_HELD_OUT:
            training.append(pairs)
            continue
        count = 0 if pairs.folder.clip else len(pairs.luma) - max(1, len(pairs.luma) // every)
        step = max(1, (len(pairs.luma) - count) // max_pairs)
        if count:
            training.append(PairSet(pairs.folder, pairs.thermal[:count], pairs.luma[:count]))
        held_out.append(PairSet(pairs.folder, pairs.thermal[count::step][:max_pairs], pairs.luma[count::step][:max_pairs]))
    return training, held_out


def equal_budget(block: str, downsampling: str, budget: int) -> AENetConfig:
    """Return the architecture whose number of parameters is closest to ``budget``; widths are multiples of 4."""
    config = AENetConfig(width=4, block=block, downsampling=downsampling)
    count = parameter_count(AENet(config))
    while count < budget:
        wider = replace(config, width=config.width + 4)
        wider_count = parameter_count(AENet(wider))
        if wider_count - budget > budget - count:
            break
        config, count = wider, wider_count
    return config


def architecture_trainings(
    config: TrainConfig,
    budget: int,
    repeats: int,
    blocks: Sequence[str] = tuple(BLOCKS),
    downsamplings: Sequence[str] = tuple(DOWNSAMPLINGS),
) -> list[Training]:
    """Return the trainings of all combinations. The default one comes first, with ``repeats`` seeds to measure the effect of chance."""
    for given, known in ((blocks, BLOCKS), (downsamplings, DOWNSAMPLINGS)):
        if unknown := set(given) - set(known):
            raise ConfigError(f"'{min(unknown)}' is not known; give some of {', '.join(known)}")
    pairs = dict.fromkeys([(AENetConfig.block, AENetConfig.downsampling), *((one, other) for one in blocks for other in downsamplings)])
    default, *others = [
        Training(f"{block}-{downsampling}", replace(config, network=equal_budget(block, downsampling, budget)))
        for block, downsampling in pairs
    ]
    seeds = range(config.seed + 1, config.seed + repeats)
    return [default, *(Training(f"{default.name}-seed{seed}", replace(default.config, seed=seed)) for seed in seeds), *others]


def task_trainings(config: TrainConfig, repeats: int) -> list[Training]:
    """Return a training for each task and joint ones (``repeats`` seeds, steps of all tasks together), with and without positive loss."""
    trainings: list[Training] = []
    for suffix, weights in (("", config.weights), ("-without", replace(config.weights, positive=0.0))):
        chosen = replace(config, weights=weights)
        trainings += [Training(f"only-{kind}{suffix}", chosen, (kind,)) for kind in KINDS]
        for repeat in range(repeats):
            name = f"joint{suffix}{f'-seed{config.seed + repeat}' if repeat else ''}"
            longer = replace(chosen, steps=config.steps * len(KINDS), seed=config.seed + repeat)
            trainings.append(Training(name, longer, balanced=True))
    return trainings


def run_trainings(
    trainings: Sequence[Training], sets: Sequence[PairSet], held_out: Sequence[PairSet], out: Path, advance: Advance, jobs: int = 1
) -> None:
    """Do the trainings that are not finished, each in the subfolder of ``out`` with its name, in ``jobs`` processes."""
    if jobs == 1:
        for training in trainings:
            _run(training, sets, held_out, out, advance)
        return
    spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(jobs, spawn, _start_worker, (sets, held_out, out)) as pool:
        for training, _ in zip(trainings, pool.map(_work, trainings), strict=True):
            advance(training.config.steps)


_shared: tuple[Sequence[PairSet], Sequence[PairSet], Path]
"""Pairs and folder of a worker process, sent once, so that its trainings share the cached positive samples."""


def _start_worker(*shared: Any) -> None:
    global _shared
    _shared = shared
    torch.set_num_threads(1)


def _work(training: Training) -> None:
    _run(training, *_shared, lambda _steps: None)


def _run(training: Training, sets: Sequence[PairSet], held_out: Sequence[PairSet], out: Path, advance: Advance) -> None:
    folder, done = out / training.name, 0
    if (folder / SCORES_NAME).exists():
        advance(training.config.steps)
        return
    own = [pairs for pairs in sets if pairs.folder.kind in training.kinds]
    if not own:
        raise ConfigError(f"{training.name}: there are no pairs of {', '.join(training.kinds)}; the study of tasks needs all four kinds")

    def report(step: int, _terms: dict[str, float]) -> None:
        nonlocal done
        advance(step - done)
        done = step

    network = train(balanced(own) if training.balanced else own, training.config, folder, {}, report)
    scores = [
        {"name": f"{pairs.folder.kind}/{pairs.folder.name.replace('/', '-')}-{index}", **evaluate_pair(network, pairs, index)}
        for pairs in held_out
        for index in range(len(pairs.luma))
    ]
    write_atomic(folder / SCORES_NAME, json.dumps(scores, indent=1) + "\n")
    (folder / RESUME_NAME).unlink(missing_ok=True)


def balanced(sets: Sequence[PairSet]) -> list[PairSet]:
    """Return the sets with shares such that each task is drawn equally often. Shares within a task keep their ratios."""
    total = {kind: sum(pairs.folder.share for pairs in sets if pairs.folder.kind == kind) for kind in KINDS}
    return [replace(pairs, folder=replace(pairs.folder, share=pairs.folder.share / total[pairs.folder.kind])) for pairs in sets]


def evaluate_pair(network: AENet, pairs: PairSet, index: int) -> dict[str, float]:
    """Return all measures of a whole fused pair, and ``loss``: the training loss without its temporal term."""
    planes = [torch.from_numpy(plane)[None, None].float() / 255 for plane in version(pairs, index, 0, Augmentation())]
    with torch.inference_mode():
        fused = (network(planes[0], planes[1])[0, 0] * 255).round().to(torch.uint8).numpy()
        height, width = (side // 8 * 8 for side in fused.shape)  # the positive loss halves the size three times
        thermal, luma, positive = (plane[..., :height, :width] for plane in planes)
        batch = Batch(thermal, luma, thermal, luma, positive, kinds=(pairs.folder.kind,), follow=0)
        loss = weighted_sum(loss_terms(network(thermal, luma), batch), LossWeights())
    return {**measure(np.asarray(fused), pairs.thermal[index], pairs.luma[index]), "loss": float(loss)}


def result_rows(trainings: Sequence[Training], out: Path) -> list[Row]:
    """Return a row for each training, best mean rank first: its mean rank by task among all trainings, its loss and its measures."""
    found = {training.name: json.loads((out / training.name / SCORES_NAME).read_text()) for training in trainings}
    means = means_by_dataset(Score(name, scores.pop("name"), scores) for name, rows in found.items() for scores in rows)
    ranks = {kind: mean_ranks(table) for kind, table in means.items()}
    rows: list[Row] = [
        {
            "training": name,
            "rank": sum(ranks[kind][name] for kind in means) / len(means),
            **{f"rank {kind}": ranks[kind][name] for kind in means},
            "loss": sum(table[name]["loss"] for table in means.values()) / len(means),
            "measures": {kind: means[kind][name] for kind in means},
        }
        for name in found
    ]
    return sorted(rows, key=lambda row: float(row["rank"]))


def add_cost(rows: Sequence[Row], out: Path, rounds: int) -> None:
    """Add width, parameters, multiply-adds and CPU latency of a 640x480 frame to each row. Networks are timed in turns."""
    networks = {row["training"]: load_checkpoint(out / row["training"] / WEIGHTS_NAME)[0] for row in rows}
    thermal, luma = torch.rand(2, 1, 1, *FRAME_SIZE)
    durations: dict[str, list[int]] = {name: [] for name in networks}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, network in networks.items():
                durations[name] += time_runs(lambda network=network: network(thermal, luma), 5)  # type: ignore[misc]
    for row in rows:
        network = networks[row["training"]]
        row |= {
            "width": network.config.width,
            "parameters": parameter_count(network),
            "MMACs": multiply_adds(network, FRAME_SIZE) / 1e6,
            "cpu ms": spread_ms(durations[row["training"]])["median_ms"],
        }


def multiply_adds(network: AENet, size: tuple[int, int]) -> int:
    """Return the number of multiply-adds of the convolutions for a frame of ``size`` (height, width)."""
    with FlopCounterMode(display=False) as counter, torch.enable_grad():  # with gradients the plain operators run, which are counted
        network(*torch.zeros(2, 1, 1, *size))
    return int(counter.get_total_flops()) // 2


def seed_spread(rows: Sequence[Row], name: str) -> Row:
    """Return the range of rank and loss over the seeds of one training: differences below it are chance."""
    seeds = [row for row in rows if row["training"].split("-seed")[0] == name]
    return {column: max(row[column] for row in seeds) - min(row[column] for row in seeds) for column in ("rank", "loss")}
