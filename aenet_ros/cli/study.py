"""Compare building blocks, downsampling layers and training tasks at equal cost.

DATA holds the data sets of docs/training.md. All networks are trained alike for --steps steps and evaluated on held-out training
pairs (never on the development pairs). Each part writes a table (Markdown), all results (JSON) and a chart (PNG, needs matplotlib)
to --out. Finished trainings are kept there: the same command continues an interrupted study.

examples:
  aenet study ../shared/data --out study/
  aenet study ../shared/data --out longer/ --only architectures --downsamplings avg --steps 10000
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

PARTS = {"architectures": "Blocks and downsampling layers at equal numbers of parameters", "tasks": "Tasks alone and together"}
NUMBERS = (  # name, default, minimum, help
    ("steps", 2000, 1, "steps of a training; joint training of all tasks takes four times as many"),
    ("crop", 192, 32, "side of the crops in pixels; networks trained on smaller crops fail on whole frames"),
    ("batch", 3, 2, "crops per step"),
    ("held-out", 4, 1, "pairs of each set to evaluate on"),
    ("repeats", 3, 1, "seeds of the default architecture and of joint training, to measure the effect of chance"),
    ("seed", 0, 0, "the first seed"),
    ("jobs", 1, 1, "trainings at the same time, each in a process with one thread"),
    ("threads", 0, 0, "CPU threads of a single job and of the timing; 0: torch's choice"),
    ("budget", 0, 0, "parameters of each network; 0: those of the default network"),
    ("rounds", 10, 1, "each network is timed in this number of turns of five frames"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of the data sets")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for tables, charts and weights")
    parser.add_argument("--only", choices=tuple(PARTS), help="run one part (default: both)")
    parser.add_argument("--blocks", metavar="NAME", nargs="+", help="only these blocks (default: all)")
    parser.add_argument("--downsamplings", metavar="NAME", nargs="+", help="only these downsampling layers (default: all)")
    for name, default, _, text in NUMBERS:
        parser.add_argument(f"--{name}", metavar="N", type=int, default=default, help=f"{text} (default: {default})")
    parser.add_argument("--json", action="store_true", help="print the results as JSON on stdout too")


def run(args: argparse.Namespace) -> int:
    """Run the study; return 0 when the tables are written."""
    import torch
    from tqdm import tqdm

    from aenet_ros.cli.about import about
    from aenet_ros.cli.common import print_json, remark
    from aenet_ros.core.errors import ConfigError
    from aenet_ros.fusion.blocks import BLOCKS, DOWNSAMPLINGS
    from aenet_ros.fusion.network import AENet, parameter_count
    from aenet_ros.workbench import study
    from aenet_ros.workbench.study_report import can_plot, write_study
    from aenet_ros.workbench.training.batches import Augmentation
    from aenet_ros.workbench.training.data import read_pairs, shipped_sets
    from aenet_ros.workbench.training.train import TrainConfig

    for name, _, minimum, _ in NUMBERS:
        value = getattr(args, name.replace("-", "_"))
        if value < minimum:
            raise ConfigError(f"--{name} {value} is too small; give at least {minimum}")
    if args.threads:
        torch.set_num_threads(args.threads)
    if not can_plot():
        remark("matplotlib is not installed, so no charts are drawn; pip install matplotlib and run the same command again")
    budget = args.budget or parameter_count(AENet())
    sets, held_out = study.split([read_pairs(folder, min(args.crop, 64)) for folder in shipped_sets(args.data)], args.held_out)
    settings = {name: getattr(args, name) for name in ("steps", "crop", "batch", "seed")} | {"budget": budget}
    settings["held-out pairs"] = {pairs.folder.name: len(pairs.luma) for pairs in held_out}
    noted = _keep_settings(args.out / "settings.json", settings, about())
    config = TrainConfig(
        **{name: getattr(args, name) for name in ("steps", "crop", "batch", "seed")},
        warmup=max(1, args.steps // 10),
        augmentation=Augmentation(versions=1),
        report_every=max(1, min(20, args.steps)),
    )
    blocks, downsamplings = args.blocks or tuple(BLOCKS), args.downsamplings or tuple(DOWNSAMPLINGS)
    trainings = {
        "architectures": study.architecture_trainings(config, budget, args.repeats, blocks, downsamplings),
        "tasks": study.task_trainings(config, args.repeats),
    }
    networks, results = args.out / "networks", dict[str, Any]()
    for part in [args.only] if args.only else PARTS:
        with tqdm(total=sum(training.config.steps for training in trainings[part]), unit="step", desc=part, disable=None) as bar:
            study.run_trainings(trainings[part], sets, held_out, networks, lambda steps, bar=bar: bar.update(steps), args.jobs)  # type: ignore[misc]
        rows = study.result_rows(trainings[part], networks)
        if part == "architectures":
            study.add_cost(rows, networks, args.rounds)
        repeated = study.default_name() if part == "architectures" else "joint"
        about_part = {**noted, "seed spread": study.seed_spread(rows, repeated)}
        results[part] = {"about": about_part, "rows": rows}
        write_study(args.out / part, PARTS[part], rows, about_part)
        print(f"written: {args.out / part}.md", file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print_json(results)
    return 0


def _keep_settings(path: Path, settings: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """Store settings and machine of the first run, and return them. Raises ConfigError if the settings differ from the first run."""
    from aenet_ros.core.errors import ConfigError
    from aenet_ros.core.files import write_atomic

    if not path.exists():
        write_atomic(path, json.dumps({**settings, **about}, indent=1) + "\n")
    try:
        noted: dict[str, Any] = json.loads(path.read_text())
        differing = [name for name in settings if noted.get(name) != settings[name]]
    except (ValueError, AttributeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); give another --out") from error
    if differing:
        name = differing[0]
        raise ConfigError(f"{path.parent} holds a study with {name} {noted.get(name)}, not {settings[name]}; give another --out")
    return noted
