"""Compare building blocks, downsamplings and ways of training at equal cost.

DATA holds the sets of docs/training.md. Every network is trained alike for --steps on crops of --crop pixels and judged on
training pairs that were held out (never the development pairs). Tables (Markdown, JSON) and plots (where matplotlib is installed)
go to --out. Every finished training is kept there: a study that was stopped goes on when the same command is given again.

examples:
  aenet study ../shared/data --out study/
  aenet study ../shared/data --out longer/ --only architectures --downsamplings avg --steps 10000
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aenet_ros.workbench.study.study import Chain
    from aenet_ros.workbench.training.data import PairSet
    from aenet_ros.workbench.training.train import TrainConfig

PARTS = ("architectures", "tasks")
_LEAST = {"steps": 1, "crop": 32, "batch": 2, "budget": 500, "held_out": 1, "repeats": 1, "jobs": 1, "threads": 0, "rounds": 1, "seed": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of the sets")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="tables, plots and the networks' weights go here")
    parser.add_argument("--only", choices=PARTS, help="one part (default: both)")
    parser.add_argument("--blocks", metavar="NAME", nargs="+", help="only these (default: all)")
    parser.add_argument("--downsamplings", metavar="NAME", nargs="+", help="only these (default: all)")
    numbers = (
        ("steps", 2000, "steps of a training; joint training of tasks lasts four times as long, like the sequence"),
        ("crop", 192, "side of the crops; on small ones a deep pyramid learns its padding, and fails on whole frames"),
        ("batch", 3, "crops a step"),
        ("held-out", 4, "pairs of every set to judge on"),
        ("repeats", 3, "seeds of the default architecture and of joint training, to know how much is chance"),
        ("seed", 0, "the first seed"),
        ("jobs", 1, "trainings at once, each in a process with one thread"),
        ("threads", 0, "CPU threads of a single job and of the timing; 0: torch's choice"),
        ("rounds", 10, "turns of five frames each that every network is timed in"),
    )
    for name, default, text in numbers:
        parser.add_argument(f"--{name}", metavar="N", type=int, default=default, help=f"{text} (default: {default})")
    parser.add_argument("--json", action="store_true", help="print both tables as one JSON object on stdout too")
    parser.add_argument("--budget", metavar="N", type=int, help="parameters of every network (default: those of the default network)")


def run(args: argparse.Namespace) -> int:
    """Study; 0 when the tables are written."""
    import torch

    from aenet_ros.cli.common import print_json, remark
    from aenet_ros.fusion.blocks import BLOCKS, DOWNSAMPLINGS
    from aenet_ros.fusion.network import AENet, parameter_count
    from aenet_ros.workbench.study import report as study_report
    from aenet_ros.workbench.study import study
    from aenet_ros.workbench.study import tables as study_tables
    from aenet_ros.workbench.training.data import read_pairs
    from aenet_ros.workbench.training.recipe import shipped_sets

    args.budget = args.budget or parameter_count(AENet())
    _check(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    sets, held = study.split([read_pairs(folder, min(args.crop, 64)) for folder in shipped_sets(args.data)], args.held_out)
    settings = _settings(args, held)
    about = _keep_settings(args.out / "settings.json", settings, study_report.surroundings())
    if not study_report.can_plot():
        remark("matplotlib is not installed, so there will be no plots; pip install matplotlib, and give the same command again for them")
    config = _config(args)
    blocks, downsamplings = args.blocks or tuple(BLOCKS), args.downsamplings or tuple(DOWNSAMPLINGS)
    chains = {
        "architectures": study.architecture_chains(config, args.budget, args.repeats, blocks, downsamplings),
        "tasks": study.task_chains(config, args.repeats),
    }
    networks, tables = args.out / "networks", {}
    for part in PARTS if args.only is None else (args.only,):
        _train(part, chains[part], sets, held, networks, args.jobs)
        scores = study.read_scores(chains[part], networks)
        if part == "architectures":
            rows, found = study_tables.architecture_rows(chains[part], scores, networks, args.rounds)
            study_report.write_architectures(args.out, rows, {**about, **found})
        else:
            rows, found = study_tables.task_rows(scores)
            study_report.write_tasks(args.out, rows, {**about, **found})
        tables[part] = json.loads((args.out / f"{part}.json").read_text())
        print(f"written: {args.out / part}.md", file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print_json(tables)
    return 0


def _check(args: argparse.Namespace) -> None:
    from aenet_ros.core.errors import ConfigError

    for name, least in _LEAST.items():
        if getattr(args, name) < least:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(args, name)} is too small; give at least {least}")


def _settings(args: argparse.Namespace, held: "list[PairSet]") -> dict[str, Any]:
    """What two runs must share to be one study."""
    chosen = {name: getattr(args, name) for name in ("steps", "crop", "batch", "budget", "seed")}
    return {**chosen, "held-out pairs": {pairs.folder.name: len(pairs.luma) for pairs in held}}


def _keep_settings(path: Path, settings: dict[str, Any], surroundings: dict[str, Any]) -> dict[str, Any]:
    """Settings and surroundings of the first run, noted beside its trainings. Raises ConfigError where its settings were others."""
    from aenet_ros.core.atomic_io import write_atomic
    from aenet_ros.core.errors import ConfigError

    if not path.exists():
        write_atomic(path, json.dumps({**settings, **surroundings}, indent=1) + "\n")
    try:
        noted: dict[str, Any] = json.loads(path.read_text())
        differing = [name for name in settings if noted.get(name) != settings[name]]
    except (ValueError, AttributeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); give another --out") from error
    if differing:
        name = differing[0]
        raise ConfigError(f"{path.parent} holds a study with {name} {noted.get(name)}, not {settings[name]}; give another --out")
    return noted


def _config(args: argparse.Namespace) -> "TrainConfig":
    from aenet_ros.workbench.training.augment import Augmentation
    from aenet_ros.workbench.training.train import TrainConfig

    return TrainConfig(
        steps=args.steps,
        batch=args.batch,
        crop=args.crop,
        seed=args.seed,
        warmup=max(1, args.steps // 10),
        augmentation=Augmentation(versions=1),
        report_every=max(1, min(20, args.steps)),
    )


def _train(part: str, chains: "list[Chain]", sets: "list[PairSet]", held: "list[PairSet]", out: Path, jobs: int) -> None:
    from tqdm import tqdm

    from aenet_ros.workbench.study.study import run_chains

    steps = sum(training.config.steps for chain in chains for training in chain)
    with tqdm(total=steps, unit="step", desc=part, disable=None) as bar:

        def advance(done: int) -> None:
            bar.update(done)

        run_chains(chains, sets, held, out, advance, jobs)
