"""Measure fused pictures of the network or of any other program, and rank them among published methods.

THERMAL and RGB are folders of registered pairs (equal names and sizes). They are fused with the packaged weights, or with
--weights, and measured. --fused NAME=DIR measures pictures that another program made of the same pairs, and may be repeated.
The mean rank (1 is best) is over EN, SD, SF, AG, MI, SCD, VIF, Qabf and SSIM, among all methods given, on the pictures
that all methods have. For Nabf (artefacts) and flicker lower is better.

examples:
  aenet evaluate thermal/ rgb/
  aenet evaluate thermal/ rgb/ --fused other=their_output/ --fused ours=fused/ --sheet compare.png
  aenet evaluate thermal/ rgb/ --weights run/best.safetensors --fused before=fused/ --json scores.json
  aenet evaluate thermal/ rgb/ --html report.html     # one self-contained page with charts and pictures
  aenet evaluate --dev-pairs ../shared --peers ../shared/peers_dev.json
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.cli.common import print_json, remark, text_table, write_json
from aenet_ros.core.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from aenet_ros.core.frames import Array
    from aenet_ros.workbench.contact_sheet import Cell
    from aenet_ros.workbench.evaluation.compare import DataSet, Method, Pair
    from aenet_ros.workbench.evaluation.ranking import Score

OURS = "aenet"


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
    add("--sheet", metavar="PNG", type=Path, help="contact sheet of thermal, rgb and all methods (one file for each set)")
    add("--sheet-rows", metavar="N", type=int, default=8, help="pairs on a sheet or page; 0: all (default: %(default)s)")
    add("--html", metavar="FILE", type=Path, help="write one self-contained HTML page with charts, tables and pictures")
    add("--force", action="store_true", help="overwrite the --json, --sheet and --html files")


def run(args: argparse.Namespace) -> int:
    """Evaluate; return 0 if every method has every picture, 1 if pictures are missing."""
    from aenet_ros.core.files import write_atomic
    from aenet_ros.workbench.contact_sheet import write_contact_sheet
    from aenet_ros.workbench.evaluation.ranking import load_peers, means_by_dataset
    from aenet_ros.workbench.evaluation.report import evaluation_page

    sets, clips = _data_sets(args)
    sheets = {dataset.name: args.sheet for dataset in sets} if args.sheet else {}
    if len(sheets) > 1:
        sheets = {name: path.with_name(f"{path.stem}-{name.replace('/', '-')}{path.suffix}") for name, path in sheets.items()}
    json_file = Path(args.json) if args.json not in (None, "-") else None
    existing = [str(path) for path in (json_file, args.html, *sheets.values()) if path is not None and path.exists()]
    if existing and not args.force:
        raise SourceError(f"{', '.join(existing)} already exists; give --force to overwrite it, or another name")
    peers = load_peers(args.peers) if args.peers else []
    methods = _methods(args)
    scores, missing, shown = _measure(sets, methods, args.sheet_rows if args.sheet or args.html else None)
    names = {score.name for score in scores}
    matching = [peer for peer in peers if peer.name in names]
    if peers and not matching:
        raise SourceError(
            f"{args.peers} has no row for these pictures ({min(names, default='none')}, ...); give the set's name as --dataset"
        )
    report = {
        "about": _about(args.weights, methods),
        "mean_rank": _mean_ranks(sets, [*scores, *matching]),
        "means": means_by_dataset([*scores, *matching]),
        "flicker": _flicker(clips, methods),
        "missing": missing,
        "scores": [{"method": score.method, "name": score.name, **score.values} for score in scores],
    }
    if args.json == "-":
        print_json(report)
    else:
        _print_tables(report)
    if json_file:
        write_json(report, json_file)
        remark(f"written: {json_file}")
    for name in sheets.keys() & shown.keys():
        write_contact_sheet(sheets[name], shown[name], title=name)
    if args.html:
        write_atomic(args.html, evaluation_page(report, [method.name for method in methods], shown))
        remark(f"written: {args.html}")
    for text in missing:
        remark(f"not measured: {text}")
    return 1 if missing else 0


def _data_sets(args: argparse.Namespace) -> "tuple[list[DataSet], list[DataSet]]":
    """Return the sets of pairs, and the clips for flicker."""
    from aenet_ros.workbench.evaluation.compare import CLIPS, INFRARED_VISIBLE, OTHER_TASKS, DataSet, common_names, dev_clip, dev_set

    if args.dev_pairs is not None:
        data = args.dev_pairs / "data"
        return [dev_set(data, spec) for spec in (*INFRARED_VISIBLE, *OTHER_TASKS)], [dev_clip(data, name) for name in CLIPS]
    if args.thermal is None or args.rgb is None:
        raise ConfigError("give two folders, THERMAL and RGB, or --dev-pairs DIR")
    name = args.dataset or args.thermal.resolve().parent.name
    return [DataSet(name, args.thermal, args.rgb, common_names(args.thermal, args.rgb))], []


def _methods(args: argparse.Namespace) -> "list[Method]":
    from aenet_ros import load_fuser
    from aenet_ros.workbench.evaluation.compare import Method, folder_method

    methods = []
    if args.weights is not None or not args.fused:
        fuser = load_fuser(args.weights or "", args.device)

        def fuse(pair: "Pair") -> "Array":
            return fuser.fuse(pair.thermal, pair.rgb, order="bgr")

        methods.append(Method(OURS, fuse))
    for item in args.fused:
        name, equals, folder = item.partition("=")
        if not equals or not Path(folder).is_dir():
            raise ConfigError(f"--fused {item}: give NAME=DIR, where DIR is a folder of pictures")
        methods.append(folder_method(name, Path(folder), by_set=args.dev_pairs is not None))
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise ConfigError(f"--fused: the methods {', '.join(names)} need different names")
    return methods


def _about(weights: str | None, methods: "Sequence[Method]") -> dict[str, Any]:
    from aenet_ros.cli.about import about
    from aenet_ros.fusion.checkpoint import load_checkpoint

    if OURS not in [method.name for method in methods]:
        return about()
    return {**about(), "weights": str(load_checkpoint(weights)[1]["sha256"])[:12]}


def _measure(
    sets: "Sequence[DataSet]", methods: "Sequence[Method]", rows: int | None
) -> "tuple[list[Score], list[str], dict[str, list[list[Cell]]]]":
    """Return scores, missing pictures, and by set the labelled pictures of ``rows`` evenly chosen pairs (0: all; None: no pictures)."""
    from tqdm import tqdm

    from aenet_ros.workbench.evaluation.compare import read_pairs, score_pair

    scores: list[Score] = []
    missing: list[str] = []
    shown: dict[str, list[list[Cell]]] = {}
    with tqdm(total=sum(len(dataset.names) for dataset in sets), unit="pair", desc="measuring", disable=None, leave=False) as bar:
        for dataset in sets:
            chosen = _evenly(dataset.names, rows)
            for pair in read_pairs(dataset):
                found, pictures, errors = score_pair(pair, methods)
                scores += found
                missing += errors
                if pair.name in chosen:
                    cells = [("rgb", pair.rgb), *pictures.items()]
                    in_rgb_order = [(label, picture if picture.ndim == 2 else picture[:, :, ::-1]) for label, picture in cells]
                    shown.setdefault(dataset.name, []).append([(f"thermal {pair.name}", pair.thermal), *in_rgb_order])
                bar.update()
    return scores, missing, shown


def _evenly(names: Sequence[str], count: int | None) -> set[str]:
    if count is None:
        return set()
    count = min(count, len(names)) if count > 0 else len(names)
    return {names[round(index * (len(names) - 1) / max(count - 1, 1))] for index in range(count)}


def _mean_ranks(sets: "Sequence[DataSet]", scores: "list[Score]") -> dict[str, dict[str, float]]:
    """Return mean ranks by data set. Two or more development sets of a group are averaged under the group's name too."""
    from aenet_ros.workbench.evaluation.compare import INFRARED_VISIBLE, OTHER_TASKS
    from aenet_ros.workbench.evaluation.ranking import scoreboard

    board: dict[str, dict[str, float]] = {}
    for title, group in (("infrared-visible", INFRARED_VISIBLE), ("other tasks", OTHER_TASKS)):
        members = {spec.name for spec in group} & {dataset.name for dataset in sets}
        if len(members) > 1:
            ranks = scoreboard([score for score in scores if score.dataset in members])
            board |= {title: ranks.pop("overall"), **ranks}
    rest = scoreboard([score for score in scores if score.dataset not in board])
    rest.pop("overall")
    return {**board, **rest}


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


def _print_tables(report: dict[str, Any]) -> None:
    from aenet_ros.workbench.evaluation.ranking import measures_table, ranks_table

    tables = [(name, measures_table(means, report["mean_rank"][name])) for name, means in report["means"].items()]
    tables.append(("", ranks_table(report["mean_rank"])))
    if any(report["flicker"].values()):
        tables.append(("", ranks_table(report["flicker"], "flicker")))
    for title, table in tables:
        print(f"{title}\n{text_table(table.header, table.rows)}\n".lstrip())
