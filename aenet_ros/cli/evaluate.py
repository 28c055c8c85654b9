"""Measure fused pictures: our network's, or any program's, and place them among published methods.

THERMAL and RGB are folders of registered pairs (equal names, equal sizes). They are fused with the packaged weights, or
those of --weights, and measured; --fused NAME=DIR measures pictures that another program made of the same pairs instead,
and may be given many times. The mean rank (1 is best) is over EN, SD, SF, AG, MI, SCD, VIF, Qabf and SSIM among all
methods listed, on the pictures that all of them have. Nabf (artefacts) and flicker are better low.

examples:
  aenet evaluate thermal/ rgb/
  aenet evaluate thermal/ rgb/ --fused other=their_output/ --fused ours=fused/ --sheet compare.png
  aenet evaluate thermal/ rgb/ --weights run/best.safetensors --fused before=fused/ --json scores.json
  aenet evaluate thermal/ rgb/ --html report.html     # one page with plots and pictures, to send to somebody
  aenet evaluate --dev-pairs ../shared --peers ../shared/peers_dev.json
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.cli.common import print_json, remark, write_json

if TYPE_CHECKING:
    from aenet_ros.core.frames import Array
    from aenet_ros.workbench.evaluation.compare import Method, Pair
    from aenet_ros.workbench.evaluation.datasets import DataSet
    from aenet_ros.workbench.evaluation.ranking import Score

OURS = "aenet"
Shown = dict[str, list[list[str]]]  # by set the rows of figures, as HTML


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("thermal", metavar="THERMAL", type=Path, nargs="?", help="folder of thermal pictures (mri, a)")
    parser.add_argument("rgb", metavar="RGB", type=Path, nargs="?", help="folder of rgb pictures (ct, b)")
    parser.add_argument("--weights", metavar="FILE", nargs="?", const="", help="fuse with these weights (without FILE: the packaged ones)")
    parser.add_argument("--device", default="cpu", help="for fusing: cpu, cuda, auto (default: %(default)s)")
    parser.add_argument(
        "--fused", metavar="NAME=DIR", action="append", default=[], help="pictures of another program, named like the pairs"
    )
    parser.add_argument("--peers", metavar="JSON", type=Path, help="published rows to be ranked among (for the same pictures)")
    parser.add_argument("--dataset", metavar="NAME", help="the set's name in --peers (default: the folder above THERMAL)")
    parser.add_argument(
        "--dev-pairs", metavar="DIR", type=Path, help="the development sets and clips below DIR/data, all tasks, with flicker"
    )
    parser.add_argument(
        "--json", metavar="FILE", nargs="?", const="-", help="write everything as JSON (without FILE: to stdout, and no tables)"
    )
    parser.add_argument(
        "--sheet", metavar="PNG", type=Path, help="contact sheet: thermal, rgb and each method (several sets: one file each)"
    )
    parser.add_argument(
        "--sheet-rows", metavar="N", type=int, default=8, help="pictures on a sheet or page, evenly chosen; 0: all (default: %(default)s)"
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="one HTML page with plots, tables and pictures, nothing beside it needed")
    parser.add_argument("--force", action="store_true", help="overwrite --json, --sheet and --html files")


def run(args: argparse.Namespace) -> int:
    """Measure; 0 if every method has every picture, 1 if some are missing."""
    from aenet_ros.core.errors import ConfigError
    from aenet_ros.workbench.evaluation.datasets import CLIPS, INFRARED_VISIBLE, OTHER_TASKS, dev_clip, dev_set
    from aenet_ros.workbench.evaluation.ranking import load_peers

    clips: list[DataSet] = []
    if args.dev_pairs is not None:
        data = args.dev_pairs / "data"
        sets = [dev_set(data, spec) for spec in (*INFRARED_VISIBLE, *OTHER_TASKS)]
        clips = [dev_clip(data, name) for name in CLIPS]
    elif args.thermal is not None and args.rgb is not None:
        sets = [_own_set(args)]
    else:
        raise ConfigError("give two folders, THERMAL and RGB, or --dev-pairs DIR")
    _refuse_existing(args, sets)
    peers = load_peers(args.peers) if args.peers else []
    methods = _methods(args)
    shown: Shown = {}
    scores, missing = _score(sets, methods, args, shown)
    peers = _matching_peers(peers, scores, args.peers)
    report = {"about": _about(args, methods), **_report(sets, [*scores, *peers])}
    report["flicker"] = _flicker(clips, methods)
    report["missing"] = missing
    report["scores"] = [{"method": score.method, "name": score.name, **score.values} for score in scores]
    if args.json == "-":
        print_json(report)
    else:
        _tell(report)
        if args.json:
            write_json(report, Path(args.json))
            remark(f"written: {args.json}")
    if args.html:
        _write_html(args.html, report, methods, shown)
    for text in missing:
        remark(f"not measured: {text}")
    return 1 if missing else 0


def _own_set(args: argparse.Namespace) -> "DataSet":
    from aenet_ros.workbench.evaluation.datasets import DataSet, common_names

    return DataSet(args.dataset or args.thermal.resolve().parent.name, args.thermal, args.rgb, common_names(args.thermal, args.rgb))


def _refuse_existing(args: argparse.Namespace, sets: "Sequence[DataSet]") -> None:
    from aenet_ros.core.errors import SourceError

    targets = [Path(args.json)] if args.json and args.json != "-" else []
    targets += [_sheet_path(args.sheet, dataset, len(sets)) for dataset in sets] if args.sheet else []
    targets += [args.html] if args.html else []
    existing = [str(path) for path in targets if path.exists()]
    if existing and not args.force:
        raise SourceError(f"{', '.join(existing)} exists already; give --force to overwrite, or another name")


def _methods(args: argparse.Namespace) -> "list[Method]":
    from aenet_ros.core.errors import ConfigError
    from aenet_ros.workbench.evaluation.compare import folder_method

    methods = []
    if args.weights is not None or not args.fused:
        methods.append(_network(args.weights or "", args.device))
    for item in args.fused:
        name, equals, folder = item.partition("=")
        if not equals or not Path(folder).is_dir():
            raise ConfigError(f"--fused {item}: give NAME=DIR, DIR being a folder of pictures")
        methods.append(folder_method(name, Path(folder), by_set=args.dev_pairs is not None))
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise ConfigError(f"--fused: the methods {', '.join(names)} need different names")
    return methods


def _about(args: argparse.Namespace, methods: "Sequence[Method]") -> dict[str, Any]:
    from aenet_ros.cli.about import about
    from aenet_ros.fusion.checkpoint import load_checkpoint

    if OURS not in [method.name for method in methods]:
        return about()
    return {**about(), "weights": str(load_checkpoint(args.weights or "")[1]["sha256"])[:12]}


def _network(weights: str, device: str) -> "Method":
    from aenet_ros import load_fuser
    from aenet_ros.workbench.evaluation.compare import Method

    fuser = load_fuser(weights, device)

    def fuse(pair: "Pair") -> "Array":
        return fuser.fuse(pair.thermal, pair.rgb, order="bgr")

    return Method(OURS, fuse)


def _score(
    sets: "Sequence[DataSet]", methods: "Sequence[Method]", args: argparse.Namespace, shown: "Shown"
) -> "tuple[list[Score], list[str]]":
    """Scores, and what is missing; with --html the pictures looked at go into ``shown``, by set."""
    from tqdm import tqdm

    from aenet_ros.workbench.evaluation.compare import pairs_of, score_pair
    from aenet_ros.workbench.reports.page import picture

    scores: list[Score] = []
    missing: list[str] = []
    with tqdm(total=sum(len(dataset.names) for dataset in sets), unit="pair", desc="measuring", disable=None, leave=False) as bar:
        for dataset in sets:
            looked_at = _evenly(dataset.names, args.sheet_rows) if args.sheet or args.html else set()
            rows = []
            for pair in pairs_of(dataset):
                found, pictures, lacking = score_pair(pair, methods)
                scores += found
                missing += lacking
                if pair.name in looked_at:
                    rows.append(_sheet_row(pair, pictures))
                bar.update()
            if rows and args.html:
                shown[dataset.name] = [[picture(*cell) for cell in row] for row in rows]
            if rows and args.sheet:
                _write_sheet(_sheet_path(args.sheet, dataset, len(sets)), dataset, rows)
    return scores, missing


def _evenly(names: Sequence[str], most: int) -> set[str]:
    if most <= 0 or most >= len(names):
        return set(names)
    return {names[round(index * (len(names) - 1) / max(most - 1, 1))] for index in range(most)}


def _sheet_row(pair: "Pair", pictures: "dict[str, Array]") -> "list[tuple[str, Array]]":
    def rgb_order(picture: "Array") -> "Array":
        return picture if picture.ndim == 2 else picture[:, :, ::-1]

    cells = [(f"thermal {pair.name}", pair.thermal), ("rgb", rgb_order(pair.rgb))]
    return cells + [(name, rgb_order(picture)) for name, picture in pictures.items()]


def _sheet_path(sheet: Path, dataset: "DataSet", count: int) -> Path:
    return sheet if count == 1 else sheet.with_name(f"{sheet.stem}-{dataset.name.replace('/', '-')}{sheet.suffix}")


def _write_sheet(path: Path, dataset: "DataSet", rows: "list[list[tuple[str, Array]]]") -> None:
    from aenet_ros.workbench.contact_sheet import write_contact_sheet

    write_contact_sheet(path, rows, title=dataset.name)


def _matching_peers(peers: "list[Score]", scores: "list[Score]", path: Path | None) -> "list[Score]":
    """Peers' rows on our pictures; those of sets that we did not measure are left out."""
    from aenet_ros.core.errors import SourceError

    names = {score.name for score in scores}
    matching = [peer for peer in peers if peer.name in names]
    if peers and not matching:
        raise SourceError(f"{path} has no row for these pictures ({next(iter(names), 'none')}, ...); is --dataset the set's name there?")
    return matching


def _report(sets: "Sequence[DataSet]", scores: "list[Score]") -> dict[str, Any]:
    from aenet_ros.workbench.evaluation.datasets import INFRARED_VISIBLE, OTHER_TASKS
    from aenet_ros.workbench.evaluation.ranking import means_by_dataset, scoreboard

    board: dict[str, dict[str, float]] = {}
    names = {dataset.name for dataset in sets}
    groups = {"infrared-visible": {spec.name for spec in INFRARED_VISIBLE}, "other tasks": {spec.name for spec in OTHER_TASKS}}
    for title, members in groups.items():
        if len(names & members) > 1:
            ranks = scoreboard([score for score in scores if score.dataset in members])
            board[title] = ranks.pop("overall")
            board.update(ranks)
    rest = scoreboard([score for score in scores if score.dataset not in board])
    rest.pop("overall", None)
    board.update(rest)
    return {"mean_rank": board, "means": means_by_dataset(scores)}


def _flicker(clips: "Sequence[DataSet]", methods: "Sequence[Method]") -> dict[str, dict[str, float]]:
    from aenet_ros.core.errors import SourceError
    from aenet_ros.workbench.evaluation.compare import clip_flicker

    found: dict[str, dict[str, float]] = {}
    for clip in clips:
        found[clip.name] = {}
        for method in methods:
            try:
                found[clip.name][method.name] = round(clip_flicker(clip, method), 4)
            except SourceError as error:
                remark(f"no flicker for {method.name} on {clip.name}: {error}")
    return found


def _tell(report: dict[str, Any]) -> None:
    from aenet_ros.workbench.evaluation.tables import measures_table, ranks_table

    for name, means in report["means"].items():
        print(f"{name}\n{measures_table(means, report['mean_rank'][name])}\n")
    print(ranks_table(report["mean_rank"]))
    for clip, values in report["flicker"].items():
        print(f"flicker on {clip}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))


def _write_html(path: Path, report: dict[str, Any], methods: "Sequence[Method]", shown: Shown) -> None:
    from aenet_ros.workbench.reports.evaluation import evaluation_page
    from aenet_ros.workbench.reports.page import write_page

    write_page(path, evaluation_page(report, [method.name for method in methods], shown))
    remark(f"written: {path}")
