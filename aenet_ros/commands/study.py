"""Compare building blocks, downsamplings and ways of training at equal cost.

DATA holds the sets of docs/training.md. Every network is trained alike for --steps on crops of --crop pixels and judged on
held-out training pairs (never the development pairs). Tables (Markdown, JSON) and a plot go to --out; a run that was
interrupted goes on when it is started again.

examples:
  aenet study ../shared/data --out study/
  aenet study ../shared/data --out study/ --only architectures --steps 2000
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of the sets")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="tables, plot and the networks' weights go here")
    parser.add_argument("--only", choices=("architectures", "tasks"), help="one part (default: both)")
    parser.add_argument("--steps", metavar="N", type=int, default=600, help="steps of every training (default: %(default)s)")
    parser.add_argument("--crop", metavar="PX", type=int, default=96, help="side of the crops (default: %(default)s)")
    parser.add_argument("--batch", metavar="N", type=int, default=4, help="crops a step (default: %(default)s)")
    parser.add_argument("--budget", metavar="N", type=int, default=17_600, help="parameters of every network (default: %(default)s)")
    parser.add_argument("--held-out", metavar="N", type=int, default=4, help="pairs of every set to judge on (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--threads", metavar="N", type=int, default=0, help="CPU threads; 0: torch's choice")


def run(args: argparse.Namespace) -> int:
    """Study; 0 when the tables are written."""
    import cv2
    import torch

    from aenet_ros.commands.common import remark
    from aenet_ros.errors import ConfigError
    from aenet_ros.training import study
    from aenet_ros.training.augment import Augmentation
    from aenet_ros.training.data import read_pairs
    from aenet_ros.training.recipe import shipped_sets
    from aenet_ros.training.study_report import pareto_plot, write_report
    from aenet_ros.training.train import TrainConfig

    if args.steps < 1 or args.held_out < 1 or args.batch < 1 or args.crop < 32:
        raise ConfigError("--steps, --held-out and --batch must be at least 1, --crop at least 32")
    if args.threads:
        torch.set_num_threads(args.threads)
    sets, held = study.split([read_pairs(folder, 64) for folder in shipped_sets(args.data)], every=5, most=args.held_out)
    config = TrainConfig(
        steps=args.steps,
        batch=args.batch,
        crop=args.crop,
        seed=args.seed,
        warmup=50,
        augmentation=Augmentation(versions=1),
        save_every_s=1e9,
    )
    about = {
        "steps": args.steps,
        "crop": args.crop,
        "batch": args.batch,
        "seed": args.seed,
        "held-out pairs": sum(len(one.luma) for one in held),
    }
    if args.only != "tasks":
        rows = study.architectures(sets, held, config, args.budget, args.out / "networks", remark)
        write_report(
            args.out / "architectures", "Building blocks and downsamplings at equal budget", rows, {**about, "budget": args.budget}
        )
        cv2.imwrite(str(args.out / "architectures.png"), pareto_plot(rows, "cpu_ms", "rank", ("block", "downsampling")))
    if args.only != "architectures":
        rows = study.tasks(sets, held, config, args.out / "networks", remark)
        write_report(args.out / "tasks", "Tasks alone, in sequence and together, with and without the positive sample loss", rows, about)
    print(f"written: {args.out}")
    return 0
