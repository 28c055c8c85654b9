"""Train the fusing network on your own registered pairs, or remake the shipped weights.

THERMAL and RGB are folders of registered pairs (equal names, equal sizes). The result is OUT/aenet.safetensors with its card
beside it, ready for --weights and model.weights. A run goes on where it stopped when it is started again with --resume.
Several processes: torchrun --nproc-per-node 2 -m aenet_ros train ...; every one draws its own crops.

examples:
  aenet train thermal/ rgb/ --out run/ --init packaged --steps 3000
  aenet train thermal/ rgb/ --clip --out run/ --init packaged --epochs 40
  aenet train --shipped ../shared/data --out run/
  aenet train --shipped ../shared/data --out run/ --resume --tensorboard
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aenet_ros.fusion.network import AENet
    from aenet_ros.workbench.training.data import PairFolder, PairSet
    from aenet_ros.workbench.training.train import TrainConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("thermal", metavar="THERMAL", type=Path, nargs="?", help="folder of thermal pictures (mri, a)")
    parser.add_argument("rgb", metavar="RGB", type=Path, nargs="?", help="folder of rgb pictures (ct, b)")
    parser.add_argument("--shipped", metavar="DATA", type=Path, help="train on the sets below DATA that made the shipped weights")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="weights, card and resume file go here")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--init", metavar="FILE", default="", help="first weights: a .safetensors file, or 'packaged' (default: random)")
    parser.add_argument(
        "--kind",
        default="infrared",
        choices=("infrared", "medical", "exposure", "focus"),
        help="task of THERMAL and RGB (default: %(default)s)",
    )
    parser.add_argument("--clip", action="store_true", help="sorted names are consecutive frames: trains against flicker")
    parser.add_argument("--skip-every", metavar="N", type=int, default=0, help="leave out every N-th pair, for measuring afterwards")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", metavar="N", type=int, help="steps in all (default: those of the shipped weights)")
    length.add_argument("--epochs", metavar="N", type=int, help="as many steps as draw every pair N times, on average")
    parser.add_argument("--batch", metavar="N", type=int, help="crops a step and process")
    parser.add_argument("--crop", metavar="PX", type=int, help="side of the crops, a multiple of 16")
    parser.add_argument("--rate", metavar="X", type=float, help="learning rate")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="same seed, same result (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--threads", metavar="N", type=int, default=0, help="CPU threads; 0: torch's choice")
    parser.add_argument("--tensorboard", action="store_true", help="write curves below --out, for tensorboard --logdir")
    parser.add_argument("--json", action="store_true", help="at the end print the path of the weights and their card as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Train; 0 when the last step was reached."""
    import torch

    from aenet_ros.cli.common import print_json
    from aenet_ros.fusion.checkpoint import card_path
    from aenet_ros.workbench.training.data import read_pairs
    from aenet_ros.workbench.training.train import RESUME_NAME, WEIGHTS_NAME, finish_processes, start_processes, train

    _check(args, (args.out / RESUME_NAME).exists())
    if args.threads:
        torch.set_num_threads(args.threads)
    leads = start_processes(args.device)
    try:
        folders = _folders(args)
        sets = [read_pairs(folder, args.crop or 64) for folder in folders]
        config = _config(args, sets)
        report, close = _reporter(config.steps, args, leads)
        try:
            train(sets, config, args.out, _card(sets), report, _first_weights(args))
        finally:
            close()
    finally:
        finish_processes()
    weights = args.out / WEIGHTS_NAME
    if leads and args.json:
        print_json({"weights": str(weights), "card": json.loads(card_path(weights).read_text())})
    elif leads:
        print(f"written: {weights}")
    return 0


def _check(args: argparse.Namespace, started: bool) -> None:
    from aenet_ros.core.errors import ConfigError

    if (args.thermal is None or args.rgb is None) == (args.shipped is None):
        raise ConfigError("give two folders, THERMAL and RGB, or --shipped DATA")
    for name, least in (("steps", 1), ("epochs", 1), ("batch", 1), ("crop", 32), ("skip_every", 0), ("threads", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name.replace('_', '-')} {value} is too small; give at least {least}")
    if args.crop and args.crop % 16:
        raise ConfigError(f"--crop {args.crop} is no multiple of 16; give {args.crop // 16 * 16 + 16}")
    if started and not args.resume:
        raise ConfigError(f"--out {args.out} holds a run already; give --resume to go on with it, or another folder")
    if args.resume and not started:
        raise ConfigError(f"--resume: there is no run in {args.out}; leave --resume away to start one")


def _folders(args: argparse.Namespace) -> "list[PairFolder]":
    from aenet_ros.workbench.training.data import PairFolder, shipped_sets

    if args.shipped is not None:
        return shipped_sets(args.shipped)
    name = args.thermal.resolve().parent.name
    return [PairFolder(name, args.thermal, args.rgb, args.kind, clip=args.clip, skip_every=args.skip_every)]


def _config(args: argparse.Namespace, sets: "Sequence[PairSet]") -> "TrainConfig":
    from dataclasses import replace

    from aenet_ros.workbench.training.train import TrainConfig

    chosen = {name: getattr(args, name) for name in ("steps", "batch", "crop", "rate") if getattr(args, name) is not None}
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if args.device == "cuda" else args.device
    config = replace(TrainConfig(), seed=args.seed, device=device, **chosen)
    if args.epochs:
        pairs = sum(len(pair_set.luma) for pair_set in sets)
        config = replace(config, steps=max(1, round(args.epochs * pairs / (config.batch * int(os.environ.get("WORLD_SIZE", 1))))))
    return config


def _first_weights(args: argparse.Namespace) -> "AENet | None":
    from aenet_ros.fusion.checkpoint import load_checkpoint

    if not args.init or args.resume:
        return None
    return load_checkpoint(None if args.init == "packaged" else args.init)[0]


def _card(sets: "Sequence[PairSet]") -> dict[str, Any]:
    return {
        "data": [
            {"name": one.folder.name, "kind": one.folder.kind, "pairs": len(one.luma), "terms": one.folder.terms or "the user's own"}
            for one in sets
        ]
    }


def _reporter(steps: int, args: argparse.Namespace, leads: bool) -> "tuple[Callable[[int, dict[str, float]], None], Callable[[], None]]":
    """Progress bar and curves of the leading process; the others say nothing."""
    if not leads:
        return (lambda step, terms: None), (lambda: None)
    from tqdm import tqdm

    from aenet_ros.cli.common import remark

    bar = tqdm(total=steps, unit="step", desc="training", disable=None)
    writer = _curves(args.out) if args.tensorboard else None

    def report(step: int, terms: dict[str, float]) -> None:
        bar.update(step - bar.n)
        bar.set_postfix(loss=f"{terms['loss']:.4f}", refresh=False)
        if bar.disable:  # no terminal: a line for the log
            remark(f"step {step} of {steps}, loss {terms['loss']:.4f}")
        if writer:
            for name, value in terms.items():
                writer.add_scalar(name, value, step)

    def close() -> None:
        bar.close()
        if writer:
            writer.close()

    return report, close


def _curves(out: Path) -> Any:
    from aenet_ros.core.errors import MissingDependencyError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError("--tensorboard needs the package tensorboard; pip install tensorboard") from error
    return SummaryWriter(str(out))
