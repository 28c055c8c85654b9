"""A small study of what matters: building blocks and downsamplings at equal budget, and tasks alone, in sequence and together.

Every network is trained alike (same seed, crops and steps) and judged on pairs that none of them has seen. Results are rows of
plain values; study_report.py makes tables and a plot of them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aenet_ros.evaluation.metrics import RANKED, measure
from aenet_ros.evaluation.ranking import Score, mean_ranks, means_by_dataset
from aenet_ros.frames import Array
from aenet_ros.fusion.blocks import BLOCKS, DOWNSAMPLINGS
from aenet_ros.fusion.network import AENet, AENetConfig, parameter_count
from aenet_ros.training.data import KINDS, PairSet
from aenet_ros.training.losses import LossWeights
from aenet_ros.training.train import TrainConfig, train

Row = dict[str, Any]
Say = Callable[[str], None]
_LATENCY_SIZE = (480, 640)


def split(sets: Sequence[PairSet], every: int, most: int) -> tuple[list[PairSet], list[PairSet]]:
    """Training and held-out pairs: of each set the last ``1 / every`` of the names, as neighbours look alike; at most ``most``."""
    training, held = [], []
    for pairs in sets:
        count = len(pairs.luma) - max(1, len(pairs.luma) // every)
        step = max(1, (len(pairs.luma) - count) // most)
        training.append(PairSet(pairs.folder, pairs.thermal[:count], pairs.luma[:count], pairs.versions))
        held.append(PairSet(pairs.folder, pairs.thermal[count::step][:most], pairs.luma[count::step][:most]))
    return training, held


def equal_budget(block: str, downsampling: str, budget: int) -> AENetConfig:
    """The widest network (in steps of 4 channels) of this kind with at most ``budget`` parameters."""
    config = AENetConfig(width=4, block=block, downsampling=downsampling)
    while parameter_count(AENet(replace(config, width=config.width + 4))) <= budget:
        config = replace(config, width=config.width + 4)
    return config


def multiply_adds(network: AENet, size: tuple[int, int] = _LATENCY_SIZE) -> int:
    """Multiplications and additions of the convolutions for one frame of ``size`` (height, width)."""
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


def latency_ms(network: AENet, device: str = "cpu", runs: int = 30) -> float:
    """Least time of a 640x480 frame: what others do on the machine only ever adds."""
    network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    thermal, luma = torch.rand(2, 1, 1, *_LATENCY_SIZE, device=device)
    durations = []
    with torch.inference_mode():
        for _ in range(runs):
            begun = time.perf_counter()
            network(thermal, luma)
            if device != "cpu":
                torch.cuda.synchronize()
            durations.append(time.perf_counter() - begun)
    return min(durations) * 1e3


def fuse(network: AENet, thermal: Array, luma: Array) -> Array:
    """Fused luma uint8 [H, W] of two uint8 planes."""
    planes = [torch.from_numpy(plane)[None, None].float() / 255 for plane in (thermal, luma)]
    with torch.inference_mode():
        fused = network(*planes)[0, 0] * 255
    return np.asarray(fused.round().to(torch.uint8).numpy())


def judge(networks: dict[str, AENet], held: Sequence[PairSet]) -> dict[str, dict[str, dict[str, float]]]:
    """By kind of task and name of network: mean of every measure, and ``rank``, the mean rank among these networks."""
    scores = [
        Score(name, f"{pairs.folder.kind}/{pairs.folder.name}-{index}", measure(fuse(network, thermal, luma), thermal, luma))
        for pairs in held
        for index, (thermal, luma) in enumerate(zip(pairs.thermal, pairs.luma, strict=True))
        for name, network in networks.items()
    ]
    merged = [Score(one.method, f"{one.name.split('/')[0]}/{one.name.replace('/', '-')}", one.values) for one in scores]
    table = means_by_dataset(merged)
    return {
        kind: {name: {**values, "rank": mean_ranks(means, RANKED)[name]} for name, values in means.items()} for kind, means in table.items()
    }


def architectures(sets: Sequence[PairSet], held: Sequence[PairSet], config: TrainConfig, budget: int, out: Path, say: Say) -> list[Row]:
    """Every block with every downsampling at equal budget; rows sorted from the best mean rank."""
    networks: dict[str, AENet] = {}
    for block in BLOCKS:
        for downsampling in DOWNSAMPLINGS:
            name = f"{block}-{downsampling}"
            chosen = replace(config, network=equal_budget(block, downsampling, budget))
            networks[name] = train(sets, chosen, out / name, {}, lambda step, terms: None)
            say(f"trained {name}")
    judged = judge(networks, held)
    rows = []
    for name, network in networks.items():
        row: Row = {
            "block": network.config.block,
            "downsampling": network.config.downsampling,
            "width": network.config.width,
            "parameters": parameter_count(network),
            "mega_multiply_adds": round(multiply_adds(network) / 1e6, 1),
            "cpu_ms": round(latency_ms(network), 2),
            "rank": float(np.mean([kinds[name]["rank"] for kinds in judged.values()])),
        }
        if torch.cuda.is_available():
            row["gpu_ms"] = round(latency_ms(network, "cuda"), 3)
        rows.append({**row, **{metric: judged["infrared"][name][metric] for metric in (*RANKED, "Nabf")}})
    return sorted(rows, key=lambda row: float(row["rank"]))


def tasks(sets: Sequence[PairSet], held: Sequence[PairSet], config: TrainConfig, out: Path, say: Say) -> list[Row]:
    """Trained on one task, on all in sequence, on all at once; with and without the positive sample loss; tested on all."""
    networks: dict[str, AENet] = {}
    for label, weights in (("positive", config.weights), ("no positive", without_positive(config.weights))):
        chosen = replace(config, weights=weights)
        previous: AENet | None = None
        for kind in KINDS:
            own = [pairs for pairs in sets if pairs.folder.kind == kind]
            networks[f"{kind} only, {label}"] = train(own, chosen, out / f"{kind}-{label}", {}, lambda step, terms: None)
            previous = train(own, chosen, out / f"then-{kind}-{label}", {}, lambda step, terms: None, previous)
            networks[f"sequence up to {kind}, {label}"] = previous
            say(f"trained {kind}, {label}")
        networks[f"joint, {label}"] = train(sets, chosen, out / f"joint-{label}", {}, lambda step, terms: None)
        say(f"trained joint, {label}")
    judged = judge(networks, held)
    rows: list[Row] = []
    for name in networks:
        ranks = {kind: judged[kind][name]["rank"] for kind in KINDS if kind in judged}
        rows.append({"training": name, **ranks, "rank": float(np.mean(list(ranks.values())))})
    return rows


def without_positive(weights: LossWeights) -> LossWeights:
    """The ablation: the positive term's weight goes to intensity, so that something still sets the brightness."""
    return replace(weights, positive=0.0, intensity=weights.intensity + weights.positive)
