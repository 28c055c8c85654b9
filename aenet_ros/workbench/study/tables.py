"""Rows of a study, from the scores of its trainings and from the networks themselves: ranks, costs, spread and forgetting."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from aenet_ros.fusion.blocks import DOWNSAMPLINGS
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.network import AENet, parameter_count
from aenet_ros.workbench.evaluation.ranking import Score, mean_ranks, means_by_dataset
from aenet_ros.workbench.study.study import WITHOUT, Chain, Row, default_name
from aenet_ros.workbench.timing import WARM_UP_RUNS, TwoConvolutions, spread_ms, time_runs
from aenet_ros.workbench.training.data import KINDS
from aenet_ros.workbench.training.losses import LossWeights
from aenet_ros.workbench.training.train import WEIGHTS_NAME

SIZE = 480, 640
"""Height and width of the frame whose cost is told."""
YARDSTICK = "two convolutions"
"""The row of the smallest published network's cost (evaluation/benchmark.py)."""

Ranks = dict[str, dict[str, float]]
"""Mean rank by task and training; ``mean`` is the mean over the tasks."""


def ranks_by_task(scores: Sequence[Score]) -> tuple[Ranks, dict[str, dict[str, dict[str, float]]]]:
    """Mean ranks among all trainings that are given, by task and training, and the means of every measure."""
    means = means_by_dataset(scores)
    ranks = {kind: mean_ranks(means[kind]) for kind in KINDS if kind in means}
    names = next(iter(ranks.values()))
    ranks["mean"] = {name: sum(ranks[kind][name] for kind in means) / len(means) for name in names}
    return ranks, means


def multiply_adds(network: AENet, size: tuple[int, int] = SIZE) -> int:
    """Multiplications, each with its addition, of the convolutions for one frame of ``size`` (height, width)."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output.numel() * layer.weight[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    plane = torch.zeros(1, 1, *size)
    network(plane, plane)  # with gradients, so that the layers are called and not the fused operators
    for hook in hooks:
        hook.remove()
    return total


def latencies_ms(networks: Mapping[str, nn.Module], device: str, rounds: int) -> dict[str, float]:
    """Median time of a 640x480 frame in each network; they take turns, so that a busy moment of the machine hits all alike."""
    thermal, luma = torch.rand(2, 1, 1, *SIZE, device=device)
    for network in networks.values():
        network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    synchronise = torch.cuda.synchronize if device != "cpu" else None
    durations: dict[str, list[int]] = {name: [] for name in networks}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, network in networks.items():
                # Each turn warms its own caches up.
                durations[name] += time_runs(lambda network=network: network(thermal, luma), WARM_UP_RUNS, synchronise)  # type: ignore[misc]
    for network in networks.values():
        network.cpu()
    return {name: spread_ms(times)["median_ms"] for name, times in durations.items()}


def architecture_rows(chains: Sequence[Chain], scores: Sequence[Score], out: Path, rounds: int) -> tuple[list[Row], Row]:
    """A row for each architecture, the best mean rank first, and about the measuring: the yardstick's latency, the seeds' spread."""
    ranks, means = ranks_by_task(scores)
    networks: dict[str, nn.Module] = {training.name: load_checkpoint(out / training.name / WEIGHTS_NAME)[0] for (training,) in chains}
    timed = {**networks, YARDSTICK: TwoConvolutions()}
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    latencies = {device: latencies_ms(timed, device, rounds) for device in devices}
    rows = []
    for name, network in networks.items():
        assert isinstance(network, AENet)
        row: Row = {
            "network": name,
            "width": network.config.width,
            "parameters": parameter_count(network),
            "MMACs": round(multiply_adds(network) / 1e6, 1),
            **{f"{device} ms": latencies[device][name] for device in devices},
            "loss": sum(values[name]["similarity"] + LossWeights().positive * values[name]["positive"] for values in means.values())
            / len(means),
            "Nabf infrared": means["infrared"][name]["Nabf"],
            "rank": ranks["mean"][name],
            **{f"rank {kind}": ranks[kind][name] for kind in means},
            "measures": {kind: means[kind][name] for kind in means},
        }
        rows.append(row)
    seeds = [name for name in networks if name.split("-seed")[0] == default_name()]
    losses = [row["loss"] for row in rows if row["network"] in seeds]
    about: Row = {
        f"{YARDSTICK}, ms": {device: latencies[device][YARDSTICK] for device in devices},
        "seed spread": {**seed_spread(ranks, seeds), "loss": max(losses) - min(losses)},
    }
    return sorted(rows, key=lambda row: float(row["rank"])), about


def main_effects(rows: Sequence[Row]) -> list[Row]:
    """Means over all networks with a block, and with a downsampling: what one training alone is too noisy to tell.

    Repeated seeds of the default are left out, so that it counts once.
    """
    parts: dict[str, list[Row]] = {}
    for row in rows:
        if "-seed" not in row["network"]:
            for part in row["network"].split("-"):
                parts.setdefault(part, []).append(row)
    means = [
        {
            "part": part,
            "networks": len(found),
            **{name: sum(row[name] for row in found) / len(found) for name in ("loss", "rank", "cpu ms")},
        }
        for part, found in parts.items()
    ]
    return sorted(means, key=lambda row: (row["part"] in DOWNSAMPLINGS, row["rank"]))


def seed_spread(ranks: Ranks, names: Sequence[str]) -> Row:
    """How far apart trainings are that differ in nothing but the seed: the greatest less the least mean rank, by task."""
    return {kind: max(row[name] for name in names) - min(row[name] for name in names) for kind, row in ranks.items()}


def task_rows(scores: Sequence[Score]) -> tuple[list[Row], Row]:
    """A row for each training with its rank on every task, and about them: spread of seeds, forgetting, the positive loss's effect."""
    ranks, means = ranks_by_task(scores)
    names = list(ranks["mean"])
    rows = [
        {
            "training": name,
            **{kind: ranks[kind][name] for kind in ranks},
            "measures": {kind: means[kind][name] for kind in means},
        }
        for name in names
    ]
    about = {
        label: {
            "seed spread": seed_spread(
                ranks, [name for name in names if name.startswith("joint") and name.endswith(WITHOUT) == bool(ending)]
            ),
            "forgetting": forgetting(ranks, means, ending),
        }
        for label, ending in (("with positive loss", ""), ("without", WITHOUT))
    }
    return rows, about


def forgetting(ranks: Ranks, means: Mapping[str, Mapping[str, Mapping[str, float]]], ending: str) -> list[Row]:
    """For every task but the last: mean rank, similarity loss and three measures right after its stage, and at the end of the sequence."""
    stages = [f"only-{KINDS[0]}{ending}", *(f"then-{kind}{ending}" for kind in KINDS[1:])]
    rows = []
    for kind, stage in list(zip(KINDS, stages, strict=True))[:-1]:
        row: Row = {"task": kind, "rank after its stage": ranks[kind][stage], "rank at the end": ranks[kind][stages[-1]]}
        for metric in ("similarity", "VIF", "Qabf", "SSIM"):
            row[metric] = [means[kind][name][metric] for name in (stage, stages[-1])]
        rows.append(row)
    return rows
