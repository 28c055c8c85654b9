"""Fuse pictures, folders of pictures, videos, or bags: one source, or many at a time.

SOURCE is a thermal and an rgb path (two pictures, two folders, two videos), or one complete source: a rosbag (mcap, sqlite3, ROS 1), a
video that shows both cameras side by side, a folder that holds thermal/ and rgb/, or the pictures of both cameras.
Files of folders are paired by name without the words that say the camera (_T, _V, ir, rgb), or by the nearest stamps in the names, or as
--pairs lists them. The first pairs are shown before work starts.
Several complete sources, or a folder with bags in it, are fused one by one, or --jobs at a time, into the folder OUT.
Pictures of a folder are unrelated unless --sequence says that they are consecutive frames. A bag becomes a new bag with the fused
topics beside all others, for `ros2 bag play` and Foxglove; or pictures or a video, with --to or an OUT that ends in .mp4.
Nothing is overwritten without --force. An interrupted run leaves only complete files; --resume continues it.

examples:
  aenet fuse thermal.png rgb.png -o fused.png
  aenet fuse thermal/ rgb/ -o fused/
  aenet fuse flight/ -o fused/     # DJI_0001_T.JPG and DJI_0001_V.JPG in one folder
  aenet fuse --pairs pairs.csv -o fused/
  aenet fuse thermal/ rgb/ -o fused.mp4 --sequence 25 --panels thermal rgb fused --labels
  aenet fuse thermal.mp4 rgb.mp4 -o fused.mp4 --set sync.slop_ms=40
  aenet fuse drive.mcap -o drive_fused
  aenet fuse drive.mcap -o drive_small --video --keep none
  aenet fuse drives/ -o fused/ --jobs 4
  aenet fuse flir/ -o fused/ --hot-spots spots.csv --temperature degrees/
  aenet fuse drive/ -o fused/ --to pictures --thermal-topic /ir/image --rgb-topic /zed/left/image
  aenet fuse raw16/ rgb/ -o fused/ --set agc.mode=fixed agc.unit=celsius agc.fixed_low=10 agc.fixed_high=45
"""

import argparse
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.cli.common import (
    add_config_arguments,
    add_pairing_arguments,
    add_time_argument,
    config_from,
    print_json,
    remark,
)
from aenet_ros.config import PALETTES, STYLES
from aenet_ros.core.errors import ConfigError

if TYPE_CHECKING:
    from aenet_ros.config import Config
    from aenet_ros.io.fuse_job import FuseJob, FuseOptions

MOST_LOST_SHOWN = 10
MOST_JOBS = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("sources", metavar="SOURCE", type=Path, nargs="*", help="thermal and rgb path; or bags and other complete sources")
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help="picture, folder, video or bag to write")
    parser.add_argument("--to", choices=("bag", "pictures", "video"), default="", help="default: by OUT's name and the kind of source")
    parser.add_argument("--force", action="store_true", help="overwrite what exists (never an input), and go on where inputs look doubtful")
    parser.add_argument("--resume", action="store_true", help="keep existing results, and make the missing ones")
    parser.add_argument("--format", choices=("png", "jpg", "tiff"), default="png", help="of pictures (default: %(default)s)")
    parser.add_argument(
        "--panels", choices=("thermal", "rgb", "fused"), nargs="+", default=["fused"], help="what videos and pictures show side by side"
    )
    parser.add_argument("--labels", action="store_true", help="write each panel's name above it")
    parser.add_argument("--weights", metavar="FILE", default=None, help="same as --set model.weights=FILE")
    parser.add_argument("--style", choices=STYLES, default=None, help="same as --set output.style=...: how the picture shows both cameras")
    parser.add_argument("--palette", choices=PALETTES, default=None, help="same as --set output.palette=...: colours of such a picture")
    parser.add_argument(
        "--hot-spots", metavar="FILE", type=Path, help="table of hot spots (.csv or .json): temperatures and places of each frame"
    )
    parser.add_argument(
        "--temperature", metavar="FOLDER", type=Path, help="folder for temperature pictures: TIFF, on the fused picture's grid"
    )
    parser.add_argument(
        "--temperature-bits",
        choices=(32, 16),
        type=int,
        default=32,
        help="of these: 32 is float in degrees Celsius, 16 is 0.01 K from 0 K (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="the summary as JSON on stdout")
    files = parser.add_argument_group("pictures and videos")
    add_pairing_arguments(files)
    files.add_argument("--sequence", metavar="HZ", type=_rate, default=0.0, help="the folders hold consecutive frames at this rate")
    files.add_argument(
        "--thermal-side",
        choices=("left", "right"),
        default="",
        help="each video shows both cameras, thermal on this side (default for one video: left)",
    )
    files.add_argument("--depth", metavar="PATH", type=Path, help="depth picture, or folder of them (registration.mode depth)")
    bags = parser.add_argument_group("bags")
    bags.add_argument("--thermal-topic", metavar="TOPIC", default="", help="default: found by names, encodings and values")
    bags.add_argument("--rgb-topic", metavar="TOPIC", default="", help="default: found by names, encodings and values")
    bags.add_argument("--depth-topic", metavar="TOPIC", default="", help="for registration.mode depth; default: found by its name")
    add_time_argument(bags)
    bags.add_argument("--keep", metavar="TOPIC", nargs="+", default=["all"], help="topics to copy into the new bag: all, none, or names")
    bags.add_argument("--video", action="store_true", help="the new bag gets /fused/video (H.264) in place of /fused/image")
    many = parser.add_argument_group("several sources")
    many.add_argument("--jobs", metavar="N", type=_jobs, default=1, help="number of processes, one source each (default: %(default)s)")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Fuse; 0 if every pair of every source was, 1 if not."""
    from aenet_ros.config import build
    from aenet_ros.io.fuse_job import plan_jobs

    config = config_from(args)
    given = {"model.weights": args.weights, "output.style": args.style, "output.palette": args.palette}
    config = build({name: value for name, value in given.items() if value is not None}, config)
    jobs = plan_jobs(args.sources, args.out, _options(args, config))
    single = len(jobs) == 1 and jobs[0].out == args.out
    report = _run_one(jobs[0], config, args) if single else _run_many(jobs, config, args)
    return 0 if report["ok"] else 1


def _options(args: argparse.Namespace, config: "Config") -> "FuseOptions":
    from aenet_ros.io.fuse_job import FuseOptions

    if args.force and args.resume:
        raise ConfigError("--force overwrites what is there and --resume keeps it; give one of them")
    if (args.depth or args.depth_topic) and config.registration.mode != "depth":
        raise ConfigError("depth is used with registration.mode depth: give --set registration.mode=depth registration.file=RIG.yaml too")
    same = {field.name: getattr(args, field.name) for field in fields(FuseOptions) if hasattr(args, field.name)}
    return FuseOptions(
        **{**same, "suffix": f".{args.format}", "sequence_hz": args.sequence, "keep": tuple(args.keep), "panels": tuple(args.panels)}
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


def _run_one(job: "FuseJob", config: "Config", args: argparse.Namespace) -> dict[str, Any]:
    from aenet_ros.core.progress import ProgressBar
    from aenet_ros.io.fusing import fuse_job, threads_per_job

    shown: list[str] = []
    done = ["nothing was fused yet"]
    with ProgressBar("opening", "pair") as bar:

        def show_progress(news: Any) -> None:
            if news[0] == "opened":
                bar.total = news[1]
                bar.describe("loading")
                shown.extend([] if args.json else news[2])
                with bar.aside():
                    for text in shown:
                        remark(text)
            elif news[0] == "stopped":
                done.append(news[1])
            else:
                bar.describe("fusing")
                bar.step(timed=news[0] == "pair")

        try:
            report = fuse_job(job, config, show_progress, threads_per_job(1))
        except KeyboardInterrupt:
            with bar.aside():
                remark(done[-1])
            raise
    report["ok"] = succeeded(report)
    if args.json:
        print_json(report)
    else:
        _print_report(report, [text for text in report["remarks"] if text not in shown])
    return report


def _run_many(jobs: "list[FuseJob]", config: "Config", args: argparse.Namespace) -> dict[str, Any]:
    from aenet_ros.core.progress import ProgressBar
    from aenet_ros.io.fuse_job import WorkerDied, run_jobs
    from aenet_ros.io.fusing import failed_report, threads_per_job, try_fuse_job

    reports: list[dict[str, Any]] = [failed_report(job, "not begun") for job in jobs]
    totals: dict[int, int] = {}
    shown: list[list[str]] = [[] for _ in jobs]
    begin = time.monotonic()
    with ProgressBar(f"fusing 0/{len(jobs)}", "pair") as bar:

        def on_progress(index: int, news: Any) -> None:
            if news[0] != "opened":
                bar.step(timed=news[0] == "pair")
                return
            totals[index] = news[1]
            if not args.json:
                with bar.aside():
                    for text in news[2]:
                        remark(f"{jobs[index].name}: {text}")
                shown[index].extend(news[2])
            # Those not yet opened are taken to be as long as the others.
            bar.total = round(sum(totals.values()) / len(totals) * len(jobs))

        def on_result(index: int, report: Any) -> None:
            reports[index] = failed_report(jobs[index], str(report)) if isinstance(report, WorkerDied) else report
            ended.add(index)
            bar.describe(f"fusing {len(ended)}/{len(jobs)}")
            if not args.json:
                with bar.aside():
                    remarks = [text for text in reports[index]["remarks"] if text not in shown[index]]
                    _print_report(reports[index], remarks, jobs[index].name, trace=args.debug)

        ended: set[int] = set()
        try:
            threads = threads_per_job(min(args.jobs, len(jobs)))
            run_jobs([(job, config, threads) for job in jobs], try_fuse_job, args.jobs, on_progress, on_result)
        except KeyboardInterrupt:
            remark(f"{len(ended)} of {len(jobs)} sources were complete and stay; the same command with --resume does the others")
            raise
    return _sum_up(reports, time.monotonic() - begin, args)


def _sum_up(reports: list[dict[str, Any]], seconds: float, args: argparse.Namespace) -> dict[str, Any]:
    fused = sum(report["fused"] for report in reports)
    incomplete = sum(not succeeded(report) for report in reports)
    for report in reports:
        report.pop("traceback", None)
    summary = {
        "out": str(args.out),
        "ok": not incomplete,
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
        if incomplete:
            remark(f"{incomplete} of {len(reports)} sources failed or lost frames: see above; --resume makes only what is missing")
    return summary


def succeeded(report: dict[str, Any]) -> bool:
    """Whether every pair of the source was fused, and there was one."""
    return "error" not in report and not report["lost"] and bool(report["fused"] or report["kept"])


def _print_report(report: dict[str, Any], remarks: list[str], name: str = "", trace: bool = False) -> None:
    """Print the report; ``name`` stands before each line."""
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
