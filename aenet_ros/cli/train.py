"""Train the fusion network on your own registered pairs, or reproduce the packaged weights.

THERMAL and RGB are folders of registered pairs (equal sizes), paired as by `aenet fuse`. The result is OUT/aenet.safetensors with its
card, for --weights and model.weights. --resume continues a stopped run.

examples:
  aenet train thermal/ rgb/ --out run/ --init packaged --steps 3000
  aenet train thermal/ rgb/ --clip --out run/ --init packaged --epochs 40
  aenet train --shipped ../shared/data --out run/
  aenet train --shipped ../shared/data --out run/ --resume --tensorboard
"""

import argparse
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.cli.common import add_pairing_arguments, print_json, remark
from aenet_ros.core.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from aenet_ros.workbench.training.data import PairFolder

MINIMUM = {"steps": 1, "epochs": 1, "batch": 1, "crop": 32, "skip_every": 0, "threads": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("thermal", metavar="THERMAL", type=Path, nargs="?", help="folder of thermal pictures (mri, a)")
    add("rgb", metavar="RGB", type=Path, nargs="?", help="folder of rgb pictures (ct, b)")
    add_pairing_arguments(parser)
    add("--shipped", metavar="DATA", type=Path, help="train on the data sets of the packaged weights, below DATA")
    add("--out", metavar="DIR", type=Path, required=True, help="folder for weights, card and resume file")
    add("--resume", action="store_true", help="continue the run in --out")
    add("--init", metavar="FILE", default="", help="initial weights: a .safetensors file, or 'packaged' (default: random)")
    kinds = ("infrared", "medical", "exposure", "focus")
    add("--kind", default="infrared", choices=kinds, help="task of THERMAL and RGB (default: %(default)s)")
    add("--clip", action="store_true", help="sorted names are consecutive frames: also train against flicker")
    add("--skip-every", metavar="N", type=int, default=0, help="leave out every N-th pair, to evaluate on later")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", metavar="N", type=int, help="total number of steps (default: as for the packaged weights)")
    length.add_argument("--epochs", metavar="N", type=int, help="train until each pair has been drawn N times on average")
    add("--batch", metavar="N", type=int, help="crops per step")
    add("--crop", metavar="PX", type=int, help="side of the crops, a multiple of 16")
    add("--rate", metavar="X", type=float, help="learning rate")
    add("--seed", metavar="N", type=int, default=0, help="the same seed gives the same result (default: %(default)s)")
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    add("--threads", metavar="N", type=int, default=0, help="CPU threads; 0: torch's choice")
    add("--tensorboard", action="store_true", help="write loss curves to --out, for tensorboard --logdir")
    add("--json", action="store_true", help="print the path of the weights and their card as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Train; return 0 when the last step is reached."""
    import torch

    from aenet_ros.core.progress import ProgressBar
    from aenet_ros.fusion.checkpoint import card_path, load_checkpoint
    from aenet_ros.workbench.training.data import read_pairs, shipped_sets
    from aenet_ros.workbench.training.train import RESUME_NAME, WEIGHTS_NAME, TrainConfig, train

    _check(args, (args.out / RESUME_NAME).exists())
    if args.threads:
        torch.set_num_threads(args.threads)
    folders = [_own_pairs(args)] if args.shipped is None else shipped_sets(args.shipped)
    sets = [read_pairs(folder, args.crop or 64) for folder in folders]
    given = {name: getattr(args, name) for name in ("steps", "batch", "crop", "rate") if getattr(args, name) is not None}
    if args.epochs:
        pairs = sum(len(pairs.luma) for pairs in sets)
        given["steps"] = max(1, round(args.epochs * pairs / given.get("batch", TrainConfig.batch)))
    config = TrainConfig(seed=args.seed, device=args.device, **given)
    start = load_checkpoint("" if args.init == "packaged" else args.init)[0] if args.init and not args.resume else None
    data = [
        {"name": folder.name, "kind": folder.kind, "pairs": len(pairs.luma), "terms": folder.terms or "the user's own"}
        for folder, pairs in zip(folders, sets, strict=True)
    ]
    with ProgressBar("training", "step", config.steps) as bar, _curves(args) as writer:

        def on_step(step: int) -> None:
            bar.step(step - bar.done)

        def report(step: int, terms: dict[str, float]) -> None:
            bar.describe("training", loss=f"{terms['loss']:.4f}")
            if bar.hidden:  # not a terminal: a line for the log
                remark(f"step {step} of {config.steps}, loss {terms['loss']:.4f}")
            if writer is not None:
                for name, value in terms.items():
                    writer.add_scalar(name, value, step)

        train(sets, config, args.out, {"data": data}, report, start, on_step)
    weights = args.out / WEIGHTS_NAME
    if args.json:
        print_json({"weights": str(weights), "card": json.loads(card_path(weights).read_text())})
    else:
        print(f"written: {weights}")
    return 0


def _own_pairs(args: argparse.Namespace) -> "PairFolder":
    from aenet_ros.io.pairing import pair_files
    from aenet_ros.workbench.training.data import PairFolder

    thermal, rgb = args.thermal or args.pairs.parent, args.rgb or args.pairs.parent
    folder = PairFolder(thermal.resolve().parent.name, thermal, rgb, args.kind, clip=args.clip, skip_every=args.skip_every)
    if args.pairs is None and folder.synthetic:  # one folder of sharp pictures
        return folder
    found = pair_files(args.thermal, args.rgb, in_order=args.in_order, pairs=args.pairs)
    for text in (found.shown, *found.remarks):
        remark(text)
    return replace(folder, files=tuple(found.files))


def _check(args: argparse.Namespace, started: bool) -> None:
    own = args.pairs is not None or (args.thermal is not None and args.rgb is not None)
    if own == (args.shipped is not None):
        raise ConfigError("give two folders, THERMAL and RGB, or --pairs FILE.csv, or --shipped DATA")
    for name, minimum in MINIMUM.items():
        value = getattr(args, name)
        if value is not None and value < minimum:
            raise ConfigError(f"--{name.replace('_', '-')} {value} is too small; give at least {minimum}")
    if args.crop and args.crop % 16:
        raise ConfigError(f"--crop {args.crop} is not a multiple of 16; give {args.crop // 16 * 16 + 16}")
    if started and not args.resume:
        raise ConfigError(f"--out {args.out} already contains a run; give --resume to continue it, or another folder")
    if args.resume and not started:
        raise ConfigError(f"--resume: there is no run in {args.out}; omit --resume to start one")


def _curves(args: argparse.Namespace) -> Any:
    """Return a TensorBoard writer as a context manager; its value is None if no curves are wanted."""
    if not args.tensorboard:
        return nullcontext()
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter(str(args.out))
