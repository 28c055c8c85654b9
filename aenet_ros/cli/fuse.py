"""Fuse pictures, folders of pictures, videos, or bags: one source, or many at a time.

SOURCE is a thermal and an rgb path (two pictures, two folders whose file names match, two videos), or one path that stands alone:
a rosbag (mcap, sqlite3, ROS 1), a video that shows both cameras side by side, a folder that holds thermal/ and rgb/.
Any number of those that stand alone, or a folder in which bags lie, are fused one by one, or --jobs at a time, into the folder OUT.
Pictures of a folder stand alone unless --sequence says that they are consecutive frames. A bag's fused topics go into a new bag
beside all other topics, for `ros2 bag play` and Foxglove; with --to pictures or video, or an OUT that ends in .mp4, elsewhere.
Nothing is overwritten without --force. An interrupted run leaves only whole files, and goes on with --resume.

examples:
  aenet fuse thermal.png rgb.png -o fused.png
  aenet fuse thermal/ rgb/ -o fused/
  aenet fuse thermal/ rgb/ -o fused.mp4 --sequence 25 --panels thermal rgb fused --labels
  aenet fuse thermal.mp4 rgb.mp4 -o fused.mp4 --set sync.slop_ms=40
  aenet fuse drive.mcap -o drive_fused
  aenet fuse drives/ -o fused/ --jobs 4
  aenet fuse drive/ -o fused/ --to pictures --thermal-topic /ir/image --rgb-topic /zed/left/image
  aenet fuse raw16/ rgb/ -o fused/ --set agc.mode=fixed agc.unit=celsius agc.fixed_low=10 agc.fixed_high=45
"""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.cli.common import add_config_arguments, config_from, print_json, remark
from aenet_ros.core.errors import ConfigError

if TYPE_CHECKING:
    from aenet_ros.config import Config
    from aenet_ros.io.plan import FuseOptions, Unit

MOST_LOST_SHOWN = 10
MOST_JOBS = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("sources", metavar="SOURCE", type=Path, nargs="+", help="thermal and rgb path; or bags, or others that stand alone")
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help="picture, folder, video or bag to write")
    parser.add_argument(
        "--to", choices=("bag", "pictures", "video"), default="", help="else by OUT's name: bags become bags, videos videos"
    )
    parser.add_argument("--force", action="store_true", help="overwrite what exists (never an input)")
    parser.add_argument("--resume", action="store_true", help="keep the results that are there, and make the missing ones")
    parser.add_argument("--format", choices=("png", "jpg", "tiff"), default="png", help="of pictures in a folder (default: %(default)s)")
    parser.add_argument(
        "--panels", choices=("thermal", "rgb", "fused"), nargs="+", default=["fused"], help="side by side in videos and pictures"
    )
    parser.add_argument("--labels", action="store_true", help="write each panel's name above it")
    parser.add_argument("--weights", metavar="FILE", default=None, help="short for --set model.weights=FILE")
    parser.add_argument("--json", action="store_true", help="the summary as JSON on stdout")
    files = parser.add_argument_group("pictures and videos")
    files.add_argument("--in-order", action="store_true", help="pair the folders' files in their order instead of by name")
    files.add_argument("--sequence", metavar="HZ", type=_rate, default=0.0, help="the folders hold consecutive frames at this rate")
    files.add_argument(
        "--thermal-side",
        choices=("left", "right"),
        default="",
        help="videos show both cameras, the thermal one there (one video alone: left)",
    )
    files.add_argument("--depth", metavar="PATH", type=Path, help="depth picture or folder, by the rgb names (for registration.mode depth)")
    bags = parser.add_argument_group("bags")
    bags.add_argument("--thermal-topic", metavar="TOPIC", default="", help="else guessed by the names")
    bags.add_argument("--rgb-topic", metavar="TOPIC", default="", help="else guessed by the names")
    bags.add_argument("--depth-topic", metavar="TOPIC", default="", help="for registration.mode depth; else guessed by the names")
    bags.add_argument("--keep", metavar="TOPIC", nargs="+", default=["all"], help="topics to copy into the new bag: all, none, or names")
    many = parser.add_argument_group("many sources")
    many.add_argument("--jobs", metavar="N", type=_jobs, default=1, help="sources at a time, each in a process (default: %(default)s)")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Fuse; 0 if every pair of every source was, 1 if not."""
    from aenet_ros.config import build
    from aenet_ros.io.plan import plan

    config = config_from(args)
    if args.weights is not None:
        config = build({"model.weights": args.weights}, config)
    options = _options(args, config)
    units = plan(args.sources, args.out, options)
    single = len(units) == 1 and units[0].out == args.out
    report = _run_one(units[0], config, args) if single else _run_many(units, config, args)
    return 0 if report["ok"] else 1


def _options(args: argparse.Namespace, config: "Config") -> "FuseOptions":
    from aenet_ros.io.plan import FuseOptions

    if args.force and args.resume:
        raise ConfigError("--force overwrites what is there and --resume keeps it; give one of them")
    if (args.depth or args.depth_topic) and config.registration.mode != "depth":
        raise ConfigError("depth is used with registration.mode depth: give --set registration.mode=depth registration.file=RIG.yaml too")
    return FuseOptions(
        to=args.to,
        suffix=f".{args.format}",
        in_order=args.in_order,
        sequence_hz=args.sequence,
        thermal_side=args.thermal_side,
        depth=args.depth,
        thermal_topic=args.thermal_topic,
        rgb_topic=args.rgb_topic,
        depth_topic=args.depth_topic,
        keep=tuple(args.keep),
        panels=tuple(args.panels),
        labels=args.labels,
        force=args.force,
        resume=args.resume,
    )


def _rate(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is no frame rate; give 0.01 to 10000 Hz")
    return value


def _jobs(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text} is no number of jobs; give 1 to {MOST_JOBS}")
    return value


def _run_one(unit: "Unit", config: "Config", args: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from aenet_ros.io.fusing import fuse_unit, share_of_cores

    shown = 0
    with tqdm(unit="pair", desc="fusing", disable=None, leave=False) as bar:

        def tell(news: Any) -> None:
            nonlocal shown
            if news[0] == "pair":
                bar.update()
                return
            bar.reset(total=news[1])
            if not args.json:
                shown = len(news[2])
                for text in news[2]:
                    bar.write(text, file=sys.stderr)

        try:
            report = fuse_unit(unit, config, tell, share_of_cores(1))
        except KeyboardInterrupt:
            remark("what is complete stays; the same command with --resume goes on")
            raise
    report["ok"] = succeeded(report)
    if args.json:
        print_json(report)
    else:
        _tell(report, report["remarks"][shown:])
    return report


def _run_many(units: "list[Unit]", config: "Config", args: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from aenet_ros.io.fusing import attempt_unit, failed, share_of_cores
    from aenet_ros.io.jobs import Died, run_jobs

    reports: list[dict[str, Any]] = [failed(unit, "not begun") for unit in units]
    totals: dict[int, int] = {}
    begin = time.monotonic()
    with tqdm(unit="pair", desc=f"fusing 0/{len(units)}", disable=None, leave=False) as bar:

        def on_news(index: int, news: Any) -> None:
            if news[0] == "pair":
                bar.update()
                return
            totals[index] = news[1]
            # Those not yet opened are taken to be as long as the others.
            bar.total = round(sum(totals.values()) / len(totals) * len(units))
            bar.refresh()

        def on_end(index: int, report: Any) -> None:
            reports[index] = failed(units[index], str(report)) if isinstance(report, Died) else report
            ended.add(index)
            bar.set_description(f"fusing {len(ended)}/{len(units)}")
            if not args.json:
                with bar.external_write_mode():
                    _tell(reports[index], reports[index]["remarks"], units[index].name, trace=args.debug)

        ended: set[int] = set()
        try:
            threads = share_of_cores(min(args.jobs, len(units)))
            run_jobs([(unit, config, threads) for unit in units], attempt_unit, args.jobs, on_news, on_end)
        except KeyboardInterrupt:
            remark(f"{len(ended)} of {len(units)} sources were complete and stay; the same command with --resume does the others")
            raise
    return _sum_up(reports, time.monotonic() - begin, args)


def _sum_up(reports: list[dict[str, Any]], seconds: float, args: argparse.Namespace) -> dict[str, Any]:
    fused = sum(report["fused"] for report in reports)
    good = [succeeded(report) for report in reports]
    for report in reports:
        report.pop("traceback", None)
    summary = {
        "out": str(args.out),
        "ok": all(good),
        "fused": fused,
        "failed": sum("error" in report for report in reports),
        "seconds": round(seconds, 3),
        "pairs_per_s": round(fused / seconds, 2),
        "sources": reports,
    }
    if args.json:
        print_json(summary)
    else:
        speed = f"{seconds:.1f} s, {summary['pairs_per_s']:.1f} pairs a second, {min(args.jobs, len(reports))} at a time"
        print(f"{fused} fused of {len(reports)} sources into {args.out} ({speed})")
        if not all(good):
            remark(f"{good.count(False)} of {len(reports)} sources failed or lost frames: see above; --resume makes only what is missing")
    return summary


def succeeded(report: dict[str, Any]) -> bool:
    """Whether every pair of the source was fused, and there was one."""
    return "error" not in report and not report["lost"] and bool(report["fused"] or report["kept"])


def _tell(report: dict[str, Any], remarks: list[str], name: str = "", trace: bool = False) -> None:
    """The report in words; ``name`` stands before each line."""
    before = f"{name}: " if name else ""
    for text in remarks:
        remark(before + text)
    if "error" in report:
        remark(f"{before}failed: {report['error']}")
        if trace:
            remark(report["traceback"])
        return
    for entry in report["lost"][:MOST_LOST_SHOWN]:
        remark(f"{before}not fused: {entry['name']}: {entry['reason']}")
    if len(report["lost"]) > MOST_LOST_SHOWN:
        remark(f"{before}not fused: {len(report['lost']) - MOST_LOST_SHOWN} more (--json lists all)")
    if not report["fused"] and report["kept"]:
        print(f"{before}nothing to do: {report['out']} is there already")
        return
    kept = f", {report['kept']} were there already" if report["kept"] else ""
    speed = f"{report['seconds']:.1f} s, {report['pairs_per_s']:.1f} pairs a second, {report['device']}"
    print(f"{before}{report['fused']} fused into {report['out']}{kept} ({speed})")
