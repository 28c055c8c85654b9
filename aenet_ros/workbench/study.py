"""A study of architectures and of training tasks at equal cost.

Architectures: each block with each downsampling layer, at nearly equal numbers of parameters. Tasks: a network for each task alone
and one for all tasks, each with and without the positive sample loss. All trainings of a part use the same crops and learning rate,
and are evaluated on held-out pairs. A finished training is a folder with weights, card and scores, so an interrupted study continues.
"""

import json
from collections.abc import Mapping, Sequence
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
from aenet_ros.workbench.evaluation.compare import Score, mean_ranks, means_by_dataset
from aenet_ros.workbench.evaluation.metrics import measure
from aenet_ros.workbench.speed import spread_ms, time_runs
from aenet_ros.workbench.training.batches import Augmentation, Batch, version
from aenet_ros.workbench.training.data import KINDS, STUDY_HELD_OUT, PairSet
from aenet_ros.workbench.training.losses import LossWeights, loss_terms, weighted_sum
from aenet_ros.workbench.training.train import RESUME_NAME, WEIGHTS_NAME, TrainConfig, train

Row = dict[str, Any]

SCORES_NAME = "scores.json"
WIDTHS = range(4, 101, 4)
FRAME_SIZE = 480, 640  # height and width of the frame for latency and multiply-adds
HELD_OUT = 5  # each fifth pair is held out: not trained on
MAX_EVALUATED = 4  # pairs of each set
ROUNDS = 10  # turns in which each network is timed, five frames each


@dataclass(frozen=True)
class Training:
    """One training on the pairs of ``kinds``. ``balanced`` draws each task equally often, whatever the shares of the sets are."""

    name: str
    config: TrainConfig
    kinds: tuple[str, ...] = KINDS
    balanced: bool = False


def split(sets: Sequence[PairSet]) -> tuple[list[PairSet], list[PairSet]]:
    """Return training sets and held-out sets of at most MAX_EVALUATED pairs.

    Held out is the last fifth of the sorted names of a set, because neighbouring pictures are similar. Clips are only trained on,
    except for STUDY_HELD_OUT, which is only evaluated.
    """
    training, held_out = [], []
    for pairs in sets:
        if pairs.folder.clip and pairs.folder.name != STUDY_HELD_OUT:
            training.append(pairs)
            continue
        count = 0 if pairs.folder.clip else len(pairs.luma) - max(1, len(pairs.luma) // HELD_OUT)
        step = max(1, (len(pairs.luma) - count) // MAX_EVALUATED)
        if count:
            training.append(PairSet(pairs.folder, pairs.thermal[:count], pairs.luma[:count]))
        held_out.append(PairSet(pairs.folder, pairs.thermal[count::step][:MAX_EVALUATED], pairs.luma[count::step][:MAX_EVALUATED]))
    return training, held_out


def equal_budget(block: str, downsampling: str, budget: int) -> AENetConfig:
    """Return the architecture whose number of parameters is closest to ``budget``; widths are those of WIDTHS."""
    configs = [AENetConfig(width=width, block=block, downsampling=downsampling) for width in WIDTHS]
    return min(configs, key=lambda config: abs(parameter_count(AENet(config)) - budget))


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


def run_training(training: Training, sets: Sequence[PairSet], held_out: Sequence[PairSet], folder: Path) -> None:
    """Train and evaluate in ``folder``, unless it holds the scores. An interrupted training continues."""
    if (folder / SCORES_NAME).exists():
        return
    own = [pairs for pairs in sets if pairs.folder.kind in training.kinds]
    if not own:
        raise ConfigError(f"{training.name}: there are no pairs of {', '.join(training.kinds)}; the study of tasks needs all four kinds")
    network = train(balanced(own) if training.balanced else own, training.config, folder, {}, lambda _step, _terms: None)
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
    means = means_by_dataset(
        Score(name, kind, picture, scores)
        for name, rows in found.items()
        for scores in rows
        for kind, picture in [scores.pop("name").split("/", 1)]
    )
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


def add_cost(rows: Sequence[Row], out: Path) -> None:
    """Add width, parameters, multiply-adds and CPU latency of a 640x480 frame to each row. Networks are timed in turns."""
    networks = [load_checkpoint(out / row["training"] / WEIGHTS_NAME)[0] for row in rows]
    durations: list[list[int]] = [[] for _ in rows]
    thermal, luma = torch.rand(2, 1, 1, *FRAME_SIZE)
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for network, found in zip(networks, durations, strict=True):
                found += time_runs(lambda network=network: network(thermal, luma), 5)  # type: ignore[misc]
    for row, network, found in zip(rows, networks, durations, strict=True):
        row |= {
            "width": network.config.width,
            "parameters": parameter_count(network),
            "MMACs": multiply_adds(network, FRAME_SIZE) / 1e6,
            "cpu ms": spread_ms(found)["median_ms"],
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


def write_study(path: Path, title: str, rows: Sequence[Row], about: Row) -> None:
    """Write ``path`` with the suffixes .md and .json. ``about``: settings and machine."""
    facts = "\n".join(f"- {name}: {_text(value)}" for name, value in about.items())
    write_atomic(path.with_suffix(".md"), f"# {title}\n\n{facts}\n\n{markdown_table(rows)}\n")
    write_atomic(path.with_suffix(".json"), json.dumps({"about": about, "rows": list(rows)}, indent=1) + "\n")


def markdown_table(rows: Sequence[Row]) -> str:
    """Return a table with the columns of the first row, without nested values, with three significant digits."""
    columns = [name for name, value in rows[0].items() if not isinstance(value, Mapping)]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(_text(row[column]) for column in columns) + " |" for row in rows)])


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    return str(value)
