"""A study of what matters: building blocks and downsamplings at equal budget, and tasks alone, in sequence and together.

A study is a list of chains of trainings; every training of a part has the same steps, crops and rate, and is judged on pairs
that none of them has seen. A finished training is a folder with weights, card and scores, so a stopped study goes on.
study_tables.py makes rows of the scores, study_report.py writes them down.
"""

import json
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aenet_ros.core.atomic_io import write_atomic
from aenet_ros.core.errors import ConfigError
from aenet_ros.core.frames import Array
from aenet_ros.fusion.blocks import BLOCKS, DOWNSAMPLINGS
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.network import AENet, AENetConfig, parameter_count
from aenet_ros.workbench.evaluation.metrics import measure
from aenet_ros.workbench.evaluation.ranking import Score
from aenet_ros.workbench.training.augment import Augmentation
from aenet_ros.workbench.training.data import KINDS, Batch, PairSet
from aenet_ros.workbench.training.losses import LossWeights, loss_terms, weighted_sum
from aenet_ros.workbench.training.recipe import STUDY_HELD_OUT
from aenet_ros.workbench.training.train import RESUME_NAME, WEIGHTS_NAME, TrainConfig, train

Row = dict[str, Any]
Advance = Callable[[int], None]
"""Told of so many steps done since it was last called."""

WITHOUT = "-without"
"""Ends the name of a training without the positive sample loss."""
_SCORES = "scores.json"


@dataclass(frozen=True)
class Training:
    """One training. ``kinds``: the tasks whose pairs it sees; ``start``: the training whose weights it begins with ("": random).

    ``balanced`` gives every task the same share of the crops, in place of the shares of the sets.
    """

    name: str
    config: TrainConfig
    kinds: tuple[str, ...] = KINDS
    start: str = ""
    balanced: bool = False


Chain = tuple[Training, ...]
"""Trainings to be done in order, for later ones may begin with the weights of earlier ones."""


def split(sets: Sequence[PairSet], most: int, every: int = 5) -> tuple[list[PairSet], list[PairSet]]:
    """Training and held-out pairs. Held out is the last ``1 / every`` of a set's sorted names, of which ``most`` are judged on.

    A run at the end, as neighbours look alike. All frames of a clip look alike: clips are only trained on, one is only judged on.
    """
    training, held = [], []
    for pairs in sets:
        if pairs.folder.clip and pairs.folder.name != STUDY_HELD_OUT:
            training.append(pairs)
            continue
        count = 0 if pairs.folder.clip else len(pairs.luma) - max(1, len(pairs.luma) // every)
        step = max(1, (len(pairs.luma) - count) // most)
        if count:
            training.append(PairSet(pairs.folder, pairs.thermal[:count], pairs.luma[:count]))
        held.append(PairSet(pairs.folder, pairs.thermal[count::step][:most], pairs.luma[count::step][:most]))
    return training, held


def equal_budget(block: str, downsampling: str, budget: int) -> AENetConfig:
    """The network of this kind whose parameters come nearest to ``budget``; blocks need widths in steps of 4 channels."""
    config = AENetConfig(width=4, block=block, downsampling=downsampling)
    count = parameter_count(AENet(config))
    while count < budget:
        wider = replace(config, width=config.width + 4)
        next_count = parameter_count(AENet(wider))
        if next_count - budget > budget - count:
            break
        config, count = wider, next_count
    return config


def default_name() -> str:
    """Name of the default architecture's training."""
    return f"{AENetConfig.block}-{AENetConfig.downsampling}"


def architecture_chains(
    config: TrainConfig,
    budget: int,
    repeats: int,
    blocks: Sequence[str] = tuple(BLOCKS),
    downsamplings: Sequence[str] = tuple(DOWNSAMPLINGS),
) -> list[Chain]:
    """Each block with each downsampling at equal budget; the default architecture with ``repeats`` seeds, to know their spread."""
    for given, known in ((blocks, BLOCKS), (downsamplings, DOWNSAMPLINGS)):
        if unknown := set(given) - set(known):
            raise ConfigError(f"'{min(unknown)}' is not known; give some of {', '.join(known)}")
    pairs = dict.fromkeys([(AENetConfig.block, AENetConfig.downsampling), *((one, other) for one in blocks for other in downsamplings)])
    default, *others = [
        Training(f"{block}-{downsampling}", replace(config, network=equal_budget(block, downsampling, budget)))
        for block, downsampling in pairs
    ]
    again = [
        Training(f"{default.name}-seed{config.seed + more}", replace(default.config, seed=config.seed + more)) for more in range(1, repeats)
    ]
    return [(training,) for training in [default, *again, *others]]


def task_chains(config: TrainConfig, repeats: int) -> list[Chain]:
    """On one task, on all in sequence, on all at once; with and without the positive sample loss.

    A task alone and each stage of the sequence last ``config.steps``, joint training as long as the whole sequence.
    """
    chains: list[Chain] = []
    for ending, weights in (("", config.weights), (WITHOUT, replace(config.weights, positive=0.0))):
        chosen = replace(config, weights=weights)
        first = Training(f"only-{KINDS[0]}{ending}", chosen, KINDS[:1])
        stages = [first]
        for kind in KINDS[1:]:
            stages.append(Training(f"then-{kind}{ending}", chosen, (kind,), start=stages[-1].name))
        chains.append(tuple(stages))
        chains += [(Training(f"only-{kind}{ending}", chosen, (kind,)),) for kind in KINDS[1:]]
        for more in range(repeats):
            name = f"joint{f'-seed{config.seed + more}' if more else ''}{ending}"
            longer = replace(chosen, steps=config.steps * len(KINDS), seed=config.seed + more)
            chains.append((Training(name, longer, balanced=True),))
    return chains


def run_chains(
    chains: Sequence[Chain], sets: Sequence[PairSet], held: Sequence[PairSet], out: Path, advance: Advance, jobs: int = 1
) -> None:
    """Does what is not done yet, in ``jobs`` processes; each training's files are in the subfolder of ``out`` with its name."""
    if jobs == 1:
        for chain in chains:
            _run_chain(chain, sets, held, out, advance)
        return
    spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(jobs, spawn, _begin_worker, (sets, held, out)) as pool:
        for steps in pool.map(_work, chains):
            advance(steps)


_given: tuple[Sequence[PairSet], Sequence[PairSet], Path]


def _begin_worker(sets: Sequence[PairSet], held: Sequence[PairSet], out: Path) -> None:
    global _given
    torch.set_num_threads(1)
    _given = sets, held, out


def _work(chain: Chain) -> int:
    done: list[int] = []
    _run_chain(chain, *_given, done.append)
    return sum(done)


def _run_chain(chain: Chain, sets: Sequence[PairSet], held: Sequence[PairSet], out: Path, advance: Advance) -> None:
    for training in chain:
        folder = out / training.name
        if (folder / _SCORES).exists():
            advance(training.config.steps)
            continue
        own = [pairs for pairs in sets if pairs.folder.kind in training.kinds]
        if not own:
            raise ConfigError(f"{training.name}: there are no pairs of {', '.join(training.kinds)}; the study of tasks needs all four")
        start = load_checkpoint(out / training.start / WEIGHTS_NAME)[0] if training.start else None
        done = 0

        def report(step: int, terms: dict[str, float]) -> None:
            nonlocal done
            advance(step - done)
            done = step

        network = train(balanced(own) if training.balanced else own, training.config, folder, {}, report, start)
        scores = [{"name": name, **values} for name, values in judge(network, held)]
        write_atomic(folder / _SCORES, json.dumps(scores, indent=1) + "\n")
        (folder / RESUME_NAME).unlink(missing_ok=True)


def balanced(sets: Sequence[PairSet]) -> list[PairSet]:
    """The sets with shares such that every task is drawn equally often; within a task the shares stay as they are to each other."""
    total = {kind: sum(pairs.folder.share for pairs in sets if pairs.folder.kind == kind) for kind in KINDS}
    return [replace(pairs, folder=replace(pairs.folder, share=pairs.folder.share / total[pairs.folder.kind])) for pairs in sets]


def judge(network: AENet, held: Sequence[PairSet]) -> list[tuple[str, dict[str, float]]]:
    """Every measure, and the losses of ``held_out_losses``, on every held-out pair; the pairs' names are ``KIND/SET-INDEX``."""
    return [
        (
            f"{pairs.folder.kind}/{pairs.folder.name.replace('/', '-')}-{index}",
            {**measure(fuse(network, thermal, luma), thermal, luma), **held_out_losses(network, pairs, index)},
        )
        for pairs in held
        for index, (thermal, luma) in enumerate(zip(pairs.thermal, pairs.luma, strict=True))
    ]


def held_out_losses(network: AENet, pairs: PairSet, index: int) -> dict[str, float]:
    """What is minimised, on a whole pair as it is: ``positive``, and ``similarity``, the weighted sum of the others (no flicker)."""
    planes = []
    for plane in pairs.version(index, 0, Augmentation()):
        height, width = (side // 8 * 8 for side in plane.shape)  # the positive loss halves three times
        planes.append(torch.from_numpy(plane[:height, :width])[None, None].float() / 255)
    thermal, luma, positive = planes
    batch = Batch(thermal, luma, thermal, luma, positive, kinds=(pairs.folder.kind,), follow=0)
    with torch.inference_mode():
        terms = loss_terms(network(thermal, luma), batch)
        similarity = weighted_sum(terms, replace(LossWeights(), positive=0.0))
    return {"similarity": float(similarity), "positive": float(terms["positive"])}


def fuse(network: AENet, thermal: Array, luma: Array) -> Array:
    """Fused luma uint8 [H, W] of two uint8 planes."""
    planes = [torch.from_numpy(plane)[None, None].float() / 255 for plane in (thermal, luma)]
    with torch.inference_mode():
        fused = network(*planes)[0, 0] * 255
    return np.asarray(fused.round().to(torch.uint8).numpy())


def read_scores(chains: Iterable[Chain], out: Path) -> list[Score]:
    """The scores of all trainings, which are finished."""
    scores = []
    for chain in chains:
        for training in chain:
            for row in json.loads((out / training.name / _SCORES).read_text()):
                scores.append(Score(training.name, row.pop("name"), row))
    return scores
