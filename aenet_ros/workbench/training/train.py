"""Training of AENet: deterministic for a seed, and resumable. Writes safetensors weights and their card."""

import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from aenet_ros.core.errors import AenetError, CheckpointError, ConfigError, first_line
from aenet_ros.core.files import atomic_file
from aenet_ros.fusion.checkpoint import save_checkpoint
from aenet_ros.fusion.network import AENet, AENetConfig
from aenet_ros.workbench.training.batches import Augmentation, draw_batch
from aenet_ros.workbench.training.data import PairSet
from aenet_ros.workbench.training.losses import LossWeights, loss_terms, weighted_sum

RESUME_NAME = "training.pt"
WEIGHTS_NAME = "aenet.safetensors"


class TrainingError(AenetError):
    """Training cannot continue because the loss is not finite."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training. The defaults are those of ``aenet train --shipped``."""

    steps: int = 24000
    batch: int = 3
    follow: int = 1  # number of crops with a next frame, for the temporal term
    crop: int = 160
    rate: float = 2e-3
    warmup: int = 200
    decay: float = 0.998  # of the exponential moving average of the weights, which is saved
    seed: int = 0
    network: AENetConfig = field(default_factory=AENetConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    augmentation: Augmentation = field(default_factory=Augmentation)
    device: str = "cpu"
    save_every_s: float = 120.0
    report_every: int = 100


Report = Callable[[int, dict[str, float]], None]


@dataclass
class _State:
    """What a resume file holds. ``average``: exponential moving average of the weights."""

    network: AENet
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    step: int = 0

    def averaged(self) -> AENet:
        network = AENet(self.network.config)
        network.load_state_dict(self.average)
        return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def train(
    sets: Sequence[PairSet],
    config: TrainConfig,
    out: Path,
    card: dict[str, Any],
    report: Report,
    start: AENet | None = None,
    on_step: Callable[[int], None] = lambda step: None,
) -> AENet:
    """Train up to step ``config.steps`` and return the averaged network. Weights, card and a resume file are written to ``out``.

    Training continues from a resume file in ``out``. ``start`` provides the initial weights of a new training. ``report`` receives
    the step and the mean of each loss term since the last report, every ``config.report_every`` steps; ``on_step`` receives each step.
    Raises TrainingError if the loss is not finite; the files written before remain.
    """
    torch.manual_seed(config.seed)
    network = AENet(config.network) if start is None else deepcopy(start)
    network = network.to(config.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=config.rate, betas=(0.9, 0.99))
    state = _State(network, optimizer, {name: value.detach().clone() for name, value in network.state_dict().items()})
    _resume(out / RESUME_NAME, state, config)
    history: list[dict[str, float]] = []
    saved_at = time.monotonic()
    while state.step < config.steps:
        for group in optimizer.param_groups:
            group["lr"] = config.rate * schedule(state.step, config)
        seed = config.seed, state.step, 0
        batch = draw_batch(sets, config.crop, config.batch, config.follow, config.augmentation, seed).to(config.device)
        terms = loss_terms(network(batch.thermal, batch.luma), batch)
        loss = weighted_sum(terms, config.weights)
        if not bool(torch.isfinite(loss.detach())):
            raise TrainingError(f"the loss is {loss.item()} at step {state.step}; lower --rate ({config.rate:g}) and resume from {out}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        state.step += 1
        decay = min(config.decay, (1 + state.step) / (10 + state.step))  # a short memory at the beginning
        for name, value in network.state_dict().items():
            state.average[name].lerp_(value, 1 - decay)
        history.append({name: float(value.detach()) for name, value in {**terms, "loss": loss}.items()})
        on_step(state.step)
        last = state.step == config.steps
        if state.step % config.report_every == 0 or last:
            report(state.step, {name: sum(row[name] for row in history) / len(history) for name in history[0]})
            history.clear()
        if last or time.monotonic() - saved_at > config.save_every_s:
            _save(out, state, config, card)
            saved_at = time.monotonic()
    return state.averaged()


def schedule(step: int, config: TrainConfig) -> float:
    """Return the factor on the learning rate: linear warm-up, then a half cosine down to 0.01."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def _save(out: Path, state: _State, config: TrainConfig, card: dict[str, Any]) -> None:
    """Write the resume file and the averaged weights, each atomically."""
    content = {"network": state.network.state_dict(), "optimizer": state.optimizer.state_dict(), "average": state.average}
    with atomic_file(out / RESUME_NAME) as part:
        torch.save({**content, "step": state.step, "seed": config.seed}, part)
    training = {key: value for key, value in asdict(config).items() if key not in ("network", "device", "save_every_s", "report_every")}
    save_checkpoint(state.averaged(), out / WEIGHTS_NAME, {**card, "steps": state.step, "training": training})


def _resume(path: Path, state: _State, config: TrainConfig) -> None:
    """Load the resume file into ``state`` if there is one."""
    if not path.exists():
        return
    try:
        content = torch.load(path, map_location=config.device, weights_only=True)
        state.network.load_state_dict(content["network"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.average.update(content["average"])
        state.step = int(content["step"])
        seed = content["seed"]
    except (RuntimeError, KeyError, EOFError, ValueError, OSError, UnpicklingError) as error:
        raise CheckpointError(f"{path}: cannot be resumed ({first_line(error)}); give another --out, or remove the file") from error
    if seed != config.seed:
        raise ConfigError(f"{path}: belongs to a training with seed {seed}, not {config.seed}; give another --out")
