"""Compare building blocks, downsampling layers and training tasks at equal cost.

DATA holds the data sets of docs/training.md. All networks are trained alike for --steps steps and evaluated on held-out training
pairs (never on the development pairs). Each part writes a table (Markdown) and all results (JSON) to --out. Finished trainings are
kept there: the same command continues an interrupted study. Other settings begin a new one.

examples:
  aenet study ../shared/data --out study/
  aenet study ../shared/data --out longer/ --only architectures --downsamplings avg --steps 10000
"""

import argparse
import sys
from pathlib import Path
from typing import Any

PARTS = {"architectures": "Blocks and downsampling layers at equal numbers of parameters", "tasks": "Tasks alone and together"}
NUMBERS = (  # name, default, minimum, help
    ("steps", 2000, 1, "steps of a training; joint training of all tasks takes four times as many"),
    ("crop", 192, 32, "side of the crops in pixels; networks trained on smaller crops fail on whole frames"),
    ("batch", 3, 2, "crops per step"),
    ("repeats", 3, 1, "seeds of the default architecture and of joint training, to measure the effect of chance"),
    ("seed", 0, 0, "the first seed"),
    ("threads", 0, 0, "CPU threads; 0: torch's choice"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of the data sets")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for tables and weights")
    parser.add_argument("--only", choices=tuple(PARTS), help="run one part (default: both)")
    parser.add_argument("--blocks", metavar="NAME", nargs="+", help="only these blocks (default: all)")
    parser.add_argument("--downsamplings", metavar="NAME", nargs="+", help="only these downsampling layers (default: all)")
    for name, default, _, text in NUMBERS:
        parser.add_argument(f"--{name}", metavar="N", type=int, default=default, help=f"{text} (default: {default})")
    parser.add_argument("--json", action="store_true", help="print the results as JSON on stdout too")


def run(args: argparse.Namespace) -> int:
    """Run the study; return 0 when the tables are written."""
    import torch

    from aenet_ros.cli.common import about, print_json
    from aenet_ros.core.errors import ConfigError
    from aenet_ros.core.progress import ProgressBar
    from aenet_ros.fusion.blocks import BLOCKS, DOWNSAMPLINGS
    from aenet_ros.fusion.network import AENet, parameter_count
    from aenet_ros.workbench import study
    from aenet_ros.workbench.training.batches import Augmentation
    from aenet_ros.workbench.training.data import read_pairs, shipped_sets
    from aenet_ros.workbench.training.train import TrainConfig

    for name, _, minimum, _ in NUMBERS:
        if getattr(args, name) < minimum:
            raise ConfigError(f"--{name} {getattr(args, name)} is too small; give at least {minimum}")
    if args.threads:
        torch.set_num_threads(args.threads)
    sets, held_out = study.split([read_pairs(folder, min(args.crop, 64)) for folder in shipped_sets(args.data)])
    numbers = {name: getattr(args, name) for name in ("steps", "crop", "batch", "seed")}
    budget = parameter_count(AENet())
    settings = {**numbers, "budget": budget, "held-out pairs": {pairs.folder.name: len(pairs.luma) for pairs in held_out}}
    config = TrainConfig(**numbers, warmup=max(1, args.steps // 10), augmentation=Augmentation(versions=1))
    blocks, downsamplings = args.blocks or tuple(BLOCKS), args.downsamplings or tuple(DOWNSAMPLINGS)
    trainings = {
        "architectures": study.architecture_trainings(config, budget, args.repeats, blocks, downsamplings),
        "tasks": study.task_trainings(config, args.repeats),
    }
    # Trainings with other settings or data have another folder, so they are never mixed.
    told_apart = {**numbers, "pairs": sum(len(pairs.luma) for pairs in sets)}
    networks = args.out / "networks" / "-".join(f"{name}{value}" for name, value in told_apart.items())
    results: dict[str, Any] = {}
    for part in [args.only] if args.only else PARTS:
        with ProgressBar(part, "training", len(trainings[part])) as bar:
            for training in bar.follow(trainings[part]):
                study.run_training(training, sets, held_out, networks / training.name)
        rows = study.result_rows(trainings[part], networks)
        if part == "architectures":
            study.add_cost(rows, networks)
        repeated = trainings[part][0].name if part == "architectures" else "joint"
        about_part = {**settings, **about(), "seed spread": study.seed_spread(rows, repeated)}
        results[part] = {"about": about_part, "rows": rows}
        study.write_study(args.out / part, PARTS[part], rows, about_part)
        print(f"written: {args.out / part}.md", file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print_json(results)
    return 0
