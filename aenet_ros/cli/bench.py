"""Measure speed: the pipeline's stages, the network beside a yardstick, the node beside a passthrough node; JSON output.

Every figure is a median with quartiles, taken after a warm-up and with the device synchronised. What is compared is measured in turns
within one run. The JSON goes to stdout or -o FILE, progress to stderr. With --node the fusing node and a passthrough node run as
processes over real ROS 2 topics; a probe measures their latency at 30 Hz and their highest rate in turns, and the report adds start time,
memory and CPU time. All of it takes some minutes. On a busy machine run it with `chrt -r 10`.
"""

import argparse
import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aenet_ros.cli.about import about
from aenet_ros.cli.common import print_json, remark
from aenet_ros.core.errors import ConfigError, DeviceError, MissingDependencyError
from aenet_ros.core.files import write_atomic

SIZES = "640x512,1280x720,1920x1080"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--sizes", metavar="WxH,...", default=SIZES, help="sizes of the rgb frame (default: %(default)s); thermal is 640x512"
    )
    parser.add_argument("--threads", metavar="N,...", default="1,2", help="CPU threads (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto: cpu, and cuda where there is one; or cpu, cuda")
    parser.add_argument(
        "--registration", choices=("identity", "homography"), default="identity", help="homography: that of the rig (default: %(default)s)"
    )
    parser.add_argument(
        "--rate",
        metavar="HZ",
        type=float,
        default=0.0,
        help="pairs a second, for caches as cold as behind a camera (default: no pause)",
    )
    parser.add_argument("--runs", metavar="N", type=int, default=60, help="runs of each measurement (default: %(default)s)")
    parser.add_argument("--node", action="store_true", help="also measure the node beside a passthrough node, over ROS 2 (2 minutes)")
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="write the JSON here instead of to stdout")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write a PNG of time over pixels (needs matplotlib)")


def run(args: argparse.Namespace) -> int:
    """Measure; 0 when done."""
    import torch

    sizes, threads = [_size(text) for text in args.sizes.split(",")], [_count(text) for text in args.threads.split(",")]
    if args.runs < 3:
        raise ConfigError(f"--runs {args.runs}: give 3 or more")
    if args.rate < 0:
        raise ConfigError(f"--rate {args.rate:g}: give pairs a second, or 0 for no pause")
    devices = [args.device] if args.device != "auto" else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if "cuda" in devices and not torch.cuda.is_available():
        raise DeviceError("--device cuda: torch finds no CUDA device here; 'aenet doctor' says why")
    report: dict[str, Any] = {**about(), "runs": args.runs, "pipeline": [], "network": [], "around_the_pipeline": []}
    for device in devices:
        for precision in ("fp32",) if device == "cpu" else ("fp32", "fp16"):
            for count in threads if device == "cpu" else threads[:1]:
                _measure(report, device, precision, count, sizes, args)
    for size in sizes:
        report["around_the_pipeline"].append(row := _around_row(size, args.runs))
        remark(f"around the pipeline, {row['rgb']}: {_medians(row)}")
    if args.node:
        from aenet_ros.cli.bench_node import measure_node

        report["node"] = measure_node(sizes[0])
        remark(f"node: {json.dumps(report['node']['floor'])}")
    if args.out is None:
        print_json(report)
    else:
        write_atomic(args.out, json.dumps(report, indent=1, allow_nan=False) + "\n")
        remark(f"written: {args.out}")
    if args.plot:
        _write_plot(report, args.plot)
        remark(f"written: {args.plot}")
    return 0


def _measure(
    report: dict[str, Any], device: str, precision: str, threads: int, sizes: list[tuple[int, int]], args: argparse.Namespace
) -> None:
    """Measure the pipeline and the networks at every size into the report."""
    from aenet_ros.workbench import speed

    for size in sizes:
        row = speed.pipeline_row(device, precision, threads, size, args)
        report["pipeline"].append(row)
        remark(
            f"{device} {precision}, {threads} threads, pipeline {row['rgb']}: {_medians(row['stages'])} ({_medians(row['within_fusion'])})"
        )
        row = speed.network_row(device, precision, threads, size, args.runs)
        report["network"].append(row)
        remark(f"{device} {precision}, {threads} threads, network {row['size']}: {_medians(row)}")


def _around_row(size: tuple[int, int], runs: int) -> dict[str, Any]:
    """The node's stages around the pipeline: match, and where ROS is installed receive, decode, encode and publish."""
    from aenet_ros.workbench import speed
    from aenet_ros.workbench.timing import spread_ms

    found = {"match": spread_ms(speed.time_matcher(speed.rig_pairs(speed.rig_of(size), 2)[0], runs))}
    if find_spec("rclpy") is not None and find_spec("sensor_msgs") is not None:
        from aenet_ros.ros.tools.probe_node import message_times

        found |= message_times(size, runs)
    order = ("receive", "decode", "match", "encode", "publish")
    return {"rgb": f"{size[1]}x{size[0]}", **{name: found[name] for name in order if name in found}}


def _medians(row: dict[str, Any]) -> str:
    return (
        ", ".join(f"{name} {value['median_ms']:.2f}" for name, value in row.items() if isinstance(value, dict) and "median_ms" in value)
        + " ms"
    )


def _size(text: str) -> tuple[int, int]:
    """(height, width) of "640x512"."""
    width, x, height = text.strip().partition("x")
    if not x or not width.isdecimal() or not height.isdecimal():
        raise ConfigError(f"--sizes {text}: give sizes as WIDTHxHEIGHT, for example 640x512,1280x720")
    return int(height), int(width)


def _count(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ConfigError(f"--threads {text}: give numbers of 1 or more, for example 1,2")
    return int(text)


def _write_plot(report: dict[str, Any], path: Path) -> None:
    """A PNG of time over pixels, both logarithmic. Raises MissingDependencyError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("--plot needs matplotlib: pip install matplotlib") from error
    curves: dict[str, dict[str, dict[str, float]]] = {}
    for row in report["pipeline"]:
        curves.setdefault(f"pipeline, {_setting(row)}", {})[row["rgb"]] = row["stages"]["total"]
    for row in report["network"]:
        for name in ("aenet", "yardstick"):
            curves.setdefault(f"{name} network, {_setting(row)}", {})[row["size"]] = row[name]
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for label, points in curves.items():
        pixels = [math.prod(_size(size)) for size in points]
        low, middle, high = ([spread[name] for spread in points.values()] for name in ("q25_ms", "median_ms", "q75_ms"))
        whiskers = [[m - q for m, q in zip(middle, low, strict=True)], [q - m for m, q in zip(middle, high, strict=True)]]
        axes.errorbar(pixels, middle, whiskers, fmt="o-" if label.startswith("pipeline") else "s--", label=label, capsize=2, markersize=4)
    sizes = list(dict.fromkeys(size for points in curves.values() for size in points))
    axes.set(xscale="log", yscale="log", xlabel="rgb frame", ylabel="ms, median and quartiles")
    axes.set_xticks([math.prod(_size(size)) for size in sizes], sizes)
    axes.set_xticks([], minor=True)
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(fontsize=8)
    machine = report["machine"]
    figure.suptitle(f"{machine['processor']}, {machine['cores']} cores, {report['date'][:10]}, {report['commit']}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _setting(row: dict[str, Any]) -> str:
    return f"{row['threads']} CPU threads" if row["device"] == "cpu" else f"{row['device']} {row['precision']}"
