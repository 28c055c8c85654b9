"""Measure fused pictures of the network or of any other program, or compare them by eye.

THERMAL and RGB are folders of registered pairs (equal sizes), paired and fused as by `aenet fuse`, with the
packaged weights or --weights, and measured. --fused NAME=DIR measures pictures that another program made of the same pairs, and may
be repeated.
Rows of every evaluation: rgb alone, thermal alone, maximum, average, Laplacian pyramid.

First come the measures of what an operator needs: hot targets lost and retained, halo, the worse VIF of both sources, mesh. The
mean rank (1 is best) is over EN, SD, SF, AG, MI, SCD, VIF, Qabf and SSIM, among all methods listed, on the pictures that all
methods have. Lower is better for lost, halo, halo share, mesh, Nabf (artefacts) and flicker. --html explains each measure.

--blind writes a page that shows two methods' pictures of one pair without their names. Choose with the arrow keys and save the
choices. --choices ranks the methods by saved choices (Bradley-Terry): the odds that a method is preferred to the average one.

examples:
  aenet evaluate thermal/ rgb/
  aenet evaluate thermal/ rgb/ --fused other=their_output/ --fused ours=fused/
  aenet evaluate thermal/ rgb/ --weights run/best.safetensors --fused before=fused/ --json scores.json
  aenet evaluate thermal/ rgb/ --set agc.high_percentile=99.9
  aenet evaluate thermal/ rgb/ --html report.html     # one self-contained page: tables, the worst pairs, pictures
  aenet evaluate --dev-pairs ../shared --peers ../shared/peers_dev.json
  aenet evaluate thermal/ rgb/ --fused before=before/ --fused after=after/ --blind compare.html
  aenet evaluate thermal/ rgb/ --fused before=before/ --fused after=after/ --blind compare.html --methods before after
  aenet evaluate --choices aenet-choices-17.json aenet-choices-18.json
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.cli.common import (
    add_config_arguments,
    add_pairing_arguments,
    config_from,
    print_json,
    remark,
    text_table,
    uncropped_config,
    write_json,
)
from aenet_ros.config import build
from aenet_ros.core.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from aenet_ros.workbench.evaluation.methods import Method
    from aenet_ros.workbench.evaluation.pairs import DataSet

OURS = "aenet"
SHOWN_PAIRS = 8  # of each set on the page
WORST_PAIRS = 3  # of each method and measure
COMPARISONS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("thermal", metavar="THERMAL", type=Path, nargs="?", help="folder of thermal pictures (mri, a)")
    add("rgb", metavar="RGB", type=Path, nargs="?", help="folder of rgb pictures (ct, b)")
    add_pairing_arguments(parser)
    add("--weights", metavar="FILE", nargs="?", const="", help="fuse with these weights (without FILE: the packaged weights)")
    add("--device", default="cpu", help="device for fusing: cpu, cuda, auto (default: %(default)s)")
    add("--fused", metavar="NAME=DIR", action="append", default=[], help="pictures of another program, named like the pairs")
    add("--peers", metavar="JSON", type=Path, help="published scores of the same pictures, to rank among")
    add("--dataset", metavar="NAME", help="name of the data set in --peers (default: the folder above THERMAL)")
    add("--dev-pairs", metavar="DIR", type=Path, help="evaluate the development sets and clips below DIR/data, with flicker")
    add("--json", metavar="FILE", nargs="?", const="-", help="write all results as JSON (without FILE: to stdout, instead of tables)")
    add("--html", metavar="FILE", type=Path, help="write one self-contained HTML page with tables and pictures")
    add("--force", action="store_true", help="overwrite the files of --json, --html and --blind")
    add_config_arguments(parser)
    blind = parser.add_argument_group("comparison by eye")
    add = blind.add_argument
    add("--blind", metavar="HTML", type=Path, help="write a page for blind comparison, and measure nothing")
    add("--comparisons", metavar="N", type=int, default=COMPARISONS, help="number of comparisons on the page (default: %(default)s)")
    add("--methods", metavar="NAME", nargs="+", help="methods on the page (default: all but rgb alone and thermal alone)")
    add("--seed", metavar="N", type=int, help="choose the comparisons by this number (default: another one each time; it is printed)")
    add("--choices", metavar="JSON", type=Path, nargs="+", help="rank the methods by choices that were saved on such pages")


def run(args: argparse.Namespace) -> int:
    """Evaluate; return 0 if every method has every picture, 1 if pictures are missing."""
    outputs = [Path(path) for path in (args.json, args.html, args.blind) if path not in (None, "-")]
    existing = [str(path) for path in outputs if path.exists()]
    if existing and not args.force:
        raise SourceError(f"{', '.join(existing)} already exists; give --force to overwrite it, or another name")
    if args.choices:
        return _rank_choices(args)
    groups, clips = _data_sets(args)
    methods = _methods(args)
    if args.blind:
        return _write_blind_page(args, [dataset for sets in groups.values() for dataset in sets], methods)
    return _measure(args, groups, clips, methods)


def _measure(args: argparse.Namespace, groups: "dict[str, list[DataSet]]", clips: "list[DataSet]", methods: "list[Method]") -> int:
    from aenet_ros.cli.common import about
    from aenet_ros.core.files import write_atomic
    from aenet_ros.core.process import keep_large_buffers
    from aenet_ros.workbench.evaluation.compare import load_peers, means_by_dataset, measure_sets, pool_trust, scoreboard, worst
    from aenet_ros.workbench.evaluation.methods import FREE, is_free
    from aenet_ros.workbench.evaluation.pictures import example_rows, worst_rows
    from aenet_ros.workbench.evaluation.report import evaluation_page, measures_table, ranks_table, trust_table, trust_title

    keep_large_buffers()  # allocating the planes for every picture takes as long as a third of the measures
    sets = [dataset for group in groups.values() for dataset in group]
    peers = load_peers(args.peers) if args.peers else []
    rows = [*methods, *FREE]
    scores, missing = measure_sets(sets, rows)
    names = {score.name for score in scores}
    matching = [peer for peer in peers if peer.name in names]
    if peers and not matching:
        raise SourceError(
            f"{args.peers} has no row for these pictures ({min(names, default='none')}, ...); give the set's name as --dataset"
        )
    means = means_by_dataset([*scores, *(peer for peer in matching if not is_free(peer.method))])
    board: dict[str, dict[str, float]] = {}
    for title, group in groups.items():
        ranks = scoreboard({dataset.name: means[dataset.name] for dataset in group if dataset.name in means})
        overall = ranks.pop("overall")
        board |= {title: overall, **ranks} if len(group) > 1 else ranks
    trust = pool_trust(scores)
    report: dict[str, Any] = {
        "about": about() | ({"weights": methods[0].weights} if methods[0].weights else {}),
        "pairs": {dataset.name: len({score.name for score in scores if score.dataset == dataset.name}) for dataset in sets},
        "trust": trust,
        "mean_rank": board,
        "means": means,
        "flicker": _flicker(clips, rows),
        "missing": missing,
        "scores": [
            {"method": score.method, "name": score.name, **score.values, **(score.trust._asdict() if score.trust else {})}
            for score in scores
        ],
    }
    if args.json == "-":
        print_json(report)
    else:
        tables = [(trust_title(name, table), trust_table(table)) for name, table in trust.items()]
        tables += [(name, measures_table(means[name], board.get(name, {}))) for name in means]
        if board:
            tables.append(("", ranks_table(board)))
        if any(report["flicker"].values()):
            tables.append(("", ranks_table(report["flicker"], "flicker")))
        for title, table in tables:
            print(f"{title}\n{text_table(table.header, table.rows)}\n".lstrip())
        if args.json:
            write_json(report, Path(args.json))
            remark(f"written: {args.json}")
    if args.html:
        examples = {dataset.name: example_rows(dataset, rows, SHOWN_PAIRS) for dataset in sets}
        worst_pairs = {
            f"{method.name}: {measure}": worst_rows(sets, method, measure, found)
            for method in methods
            for measure in ("lost", "halo", "worst VIF", "mesh")
            if (found := worst([score for score in scores if score.method == method.name], measure, WORST_PAIRS))
        }
        write_atomic(args.html, evaluation_page(report, [method.name for method in methods], examples, worst_pairs))
        remark(f"written: {args.html}")
    for text in missing:
        remark(f"not measured: {text}")
    return 1 if missing else 0


def _write_blind_page(args: argparse.Namespace, sets: "Sequence[DataSet]", methods: "Sequence[Method]") -> int:
    from secrets import randbelow

    from aenet_ros.core.files import write_atomic
    from aenet_ros.workbench.evaluation.blind import blind_page, comparisons
    from aenet_ros.workbench.evaluation.methods import CLASSICAL, FREE

    if args.json or args.html:
        raise ConfigError("--blind measures nothing: give --json and --html in another call, without --blind")
    known = {method.name: method for method in (*methods, *FREE)}
    wanted = args.methods or [method.name for method in (*methods, *CLASSICAL)]
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(f"--methods {', '.join(unknown)}: give some of {', '.join(known)}")
    seed = randbelow(1_000_000) if args.seed is None else args.seed
    chosen = comparisons([dataset for dataset in sets if dataset.trusted], [known[name] for name in wanted], args.comparisons, seed)
    write_atomic(args.blind, blind_page(chosen, seed))
    remark(f"written: {args.blind}; {len(chosen)} comparisons of {', '.join(wanted)}, seed {seed}. Open it in a browser")
    return 0


def _rank_choices(args: argparse.Namespace) -> int:
    import math

    from aenet_ros.workbench.evaluation.blind import ranked, read_choices

    if args.thermal or args.dev_pairs or args.blind or args.html:
        raise ConfigError("--choices ranks saved choices alone: give no pictures with it")
    choices = [choice for path in args.choices for choice in read_choices(path)]
    found = ranked(choices)
    equal = sum(won == 0.5 for *_, won in choices)
    if args.json:
        report = {"choices": len(choices), "equal": equal, "methods": [row._asdict() for row in found]}
        write_json(report, None if args.json == "-" else Path(args.json))
    if args.json != "-":
        print(f"{len(choices)} choices, {equal} of them equal. Odds to be preferred to the average method, with 95 % interval:")
        odds = [[f"{math.exp(row.log_odds + sign * 1.96 * row.error):.2f}" for sign in (0, -1, 1)] for row in found]
        rows = [[row.method, *texts, f"{row.wins:g}", f"{row.comparisons}"] for row, texts in zip(found, odds, strict=True)]
        print(text_table(["method", "odds", "from", "to", "preferred", "comparisons"], rows))
    return 0


def _data_sets(args: argparse.Namespace) -> "tuple[dict[str, list[DataSet]], list[DataSet]]":
    """Return the sets of pairs by group, and the clips for flicker. The sets of a group are averaged under the group's name too."""
    from aenet_ros.io.pairing import pair_files
    from aenet_ros.workbench.evaluation.pairs import DataSet, by_name, dev_clips, dev_sets

    if args.dev_pairs is not None:
        groups = dev_sets(args.dev_pairs / "data")
        if "varied" not in groups:
            remark(f"skipped: the set 'varied', because {args.dev_pairs / 'data/varied'} does not exist")
        return groups, dev_clips(args.dev_pairs / "data")
    if args.pairs is None and (args.thermal is None or args.rgb is None):
        raise ConfigError("give two folders, THERMAL and RGB, or --pairs FILE.csv, or --dev-pairs DIR")
    found = pair_files(args.thermal, args.rgb, config_from(args).sync, in_order=args.in_order, pairs=args.pairs)
    for text in (found.shown, *found.remarks):
        remark(text)
    name = args.dataset or (args.thermal or args.pairs).resolve().parent.name
    return {name: [DataSet(name, by_name(found.files))]}, []


def _methods(args: argparse.Namespace) -> "list[Method]":
    from aenet_ros.pipeline import FusionPipeline
    from aenet_ros.workbench.evaluation.methods import FREE, folder_method, pipeline_method

    methods = []
    if args.weights is not None or not args.fused:
        config = uncropped_config(args, "aenet evaluate")
        given = {"model.weights": args.weights or config.model.weights, "model.device": args.device, "output.encoding": "bgr8"}
        methods.append(pipeline_method(OURS, FusionPipeline(build(given, config))))
    elif args.set or args.params:
        raise ConfigError("--set and --params are settings of the network's method: give --weights too")
    for item in args.fused:
        name, equals, folder = item.partition("=")
        if not equals or not Path(folder).is_dir():
            raise ConfigError(f"--fused {item}: give NAME=DIR, where DIR is a folder of pictures")
        methods.append(folder_method(name, Path(folder), by_set=args.dev_pairs is not None))
    names = [method.name for method in (*methods, *FREE)]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"--fused: the methods {', '.join(names)} need different names; the last {len(FREE)} are rows of every evaluation"
        )
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
