"""Measure fused pictures of the network or of any other program, and rank them among published methods.

THERMAL and RGB are folders of registered pairs (equal names and sizes). They are fused with the packaged weights, or with
--weights, and measured. --fused NAME=DIR measures pictures that another program made of the same pairs, and may be repeated.
The mean rank (1 is best) is over EN, SD, SF, AG, MI, SCD, VIF, Qabf and SSIM, among all methods given, on the pictures
that all methods have. For Nabf (artefacts) and flicker lower is better.

examples:
  aenet evaluate thermal/ rgb/
  aenet evaluate thermal/ rgb/ --fused other=their_output/ --fused ours=fused/
  aenet evaluate thermal/ rgb/ --weights run/best.safetensors --fused before=fused/ --json scores.json
  aenet evaluate thermal/ rgb/ --html report.html     # one self-contained page with tables and pictures
  aenet evaluate --dev-pairs ../shared --peers ../shared/peers_dev.json
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.cli.common import print_json, remark, text_table, write_json
from aenet_ros.core.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from aenet_ros.workbench.evaluation.compare import DataSet, Method

OURS = "aenet"
SHOWN_PAIRS = 8  # of each set on the page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("thermal", metavar="THERMAL", type=Path, nargs="?", help="folder of thermal pictures (mri, a)")
    add("rgb", metavar="RGB", type=Path, nargs="?", help="folder of rgb pictures (ct, b)")
    add("--weights", metavar="FILE", nargs="?", const="", help="fuse with these weights (without FILE: the packaged weights)")
    add("--device", default="cpu", help="device for fusing: cpu, cuda, auto (default: %(default)s)")
    add("--fused", metavar="NAME=DIR", action="append", default=[], help="pictures of another program, named like the pairs")
    add("--peers", metavar="JSON", type=Path, help="published scores of the same pictures, to rank among")
    add("--dataset", metavar="NAME", help="name of the data set in --peers (default: the folder above THERMAL)")
    add("--dev-pairs", metavar="DIR", type=Path, help="evaluate the development sets and clips below DIR/data, with flicker")
    add("--json", metavar="FILE", nargs="?", const="-", help="write all results as JSON (without FILE: to stdout, instead of tables)")
    add("--html", metavar="FILE", type=Path, help="write one self-contained HTML page with tables and pictures")
    add("--force", action="store_true", help="overwrite the --json and --html files")


def run(args: argparse.Namespace) -> int:
    """Evaluate; return 0 if every method has every picture, 1 if pictures are missing."""
    from aenet_ros.cli.common import about
    from aenet_ros.core.files import write_atomic
    from aenet_ros.fusion.checkpoint import load_checkpoint
    from aenet_ros.workbench.evaluation.compare import load_peers, means_by_dataset, measure_sets, scoreboard
    from aenet_ros.workbench.evaluation.report import evaluation_page, measures_table, ranks_table

    groups, clips = _data_sets(args)
    json_file = Path(args.json) if args.json not in (None, "-") else None
    existing = [str(path) for path in (json_file, args.html) if path is not None and path.exists()]
    if existing and not args.force:
        raise SourceError(f"{', '.join(existing)} already exists; give --force to overwrite it, or another name")
    peers = load_peers(args.peers) if args.peers else []
    methods = _methods(args)
    scores, missing, shown = measure_sets(
        [dataset for sets in groups.values() for dataset in sets], methods, SHOWN_PAIRS if args.html else 0
    )
    names = {score.name for score in scores}
    matching = [peer for peer in peers if peer.name in names]
    if peers and not matching:
        raise SourceError(
            f"{args.peers} has no row for these pictures ({min(names, default='none')}, ...); give the set's name as --dataset"
        )
    means = means_by_dataset([*scores, *matching])
    board: dict[str, dict[str, float]] = {}
    for title, sets in groups.items():
        ranks = scoreboard({dataset.name: means[dataset.name] for dataset in sets if dataset.name in means})
        overall = ranks.pop("overall")
        board |= {title: overall, **ranks} if len(sets) > 1 else ranks
    context = about()
    if OURS in [method.name for method in methods]:
        context["weights"] = str(load_checkpoint(args.weights)[1]["sha256"])[:12]
    report: dict[str, Any] = {
        "about": context,
        "mean_rank": board,
        "means": means,
        "flicker": _flicker(clips, methods),
        "missing": missing,
        "scores": [{"method": score.method, "name": score.name, **score.values} for score in scores],
    }
    if args.json == "-":
        print_json(report)
    else:
        tables = [(name, measures_table(means[name], board[name])) for name in means]
        tables.append(("", ranks_table(board)))
        if any(report["flicker"].values()):
            tables.append(("", ranks_table(report["flicker"], "flicker")))
        for title, table in tables:
            print(f"{title}\n{text_table(table.header, table.rows)}\n".lstrip())
    if json_file:
        write_json(report, json_file)
        remark(f"written: {json_file}")
    if args.html:
        write_atomic(args.html, evaluation_page(report, [method.name for method in methods], shown))
        remark(f"written: {args.html}")
    for text in missing:
        remark(f"not measured: {text}")
    return 1 if missing else 0


def _data_sets(args: argparse.Namespace) -> "tuple[dict[str, list[DataSet]], list[DataSet]]":
    """Return the sets of pairs by group, and the clips for flicker. The sets of a group are averaged under the group's name too."""
    from aenet_ros.workbench.evaluation.compare import DataSet, common_names, dev_clips, dev_sets

    if args.dev_pairs is not None:
        return dev_sets(args.dev_pairs / "data"), dev_clips(args.dev_pairs / "data")
    if args.thermal is None or args.rgb is None:
        raise ConfigError("give two folders, THERMAL and RGB, or --dev-pairs DIR")
    name = args.dataset or args.thermal.resolve().parent.name
    return {name: [DataSet(name, args.thermal, args.rgb, common_names(args.thermal, args.rgb))]}, []


def _methods(args: argparse.Namespace) -> "list[Method]":
    from aenet_ros.config import build
    from aenet_ros.pipeline import FusionPipeline
    from aenet_ros.workbench.evaluation.compare import Method, folder_method, fuse_still

    methods = []
    if args.weights is not None or not args.fused:
        options = {"model.weights": args.weights or "", "model.device": args.device, "output.encoding": "bgr8"}
        methods.append(Method(OURS, partial(fuse_still, FusionPipeline(build(options)))))
    for item in args.fused:
        name, equals, folder = item.partition("=")
        if not equals or not Path(folder).is_dir():
            raise ConfigError(f"--fused {item}: give NAME=DIR, where DIR is a folder of pictures")
        methods.append(folder_method(name, Path(folder), by_set=args.dev_pairs is not None))
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise ConfigError(f"--fused: the methods {', '.join(names)} need different names")
    return methods


def _flicker(clips: "Sequence[DataSet]", methods: "Sequence[Method]") -> dict[str, dict[str, float]]:
    from aenet_ros.workbench.evaluation.compare import clip_flicker

    found: dict[str, dict[str, float]] = {clip.name: {} for clip in clips}
    for clip in clips:
        for method in methods:
            try:
                found[clip.name][method.name] = round(clip_flicker(clip, method), 4)
            except SourceError as error:
                remark(f"no flicker for {method.name} on {clip.name}: {error}")
    return found
