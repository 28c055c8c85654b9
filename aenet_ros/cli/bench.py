"""measure speed: the pipeline's stages, the network beside published ones' cost, the node beside a passthrough; JSON out.

Every figure is a median with quartiles after a warm-up, the device waited for; what is compared is measured in turns within one run,
because machines are noisy. The JSON goes to stdout or -o FILE, progress to stderr. With --node the fusing node and a node that only passes
frames on run as processes over real ROS 2 topics, and a probe takes in turns their latency at 30 Hz and their highest rate; start,
memory and processor time are told too. The whole takes some minutes; on a busy machine run it by `chrt -r 10`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from aenet_ros.cli.about import about
from aenet_ros.cli.common import print_json, remark
from aenet_ros.core.atomic_io import write_atomic
from aenet_ros.core.errors import ConfigError, DeviceError

SIZES = "640x512,1280x720,1920x1080"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--sizes", metavar="WxH,...", default=SIZES, help="sizes of the rgb frame (default: %(default)s); thermal is 640x512"
    )
    parser.add_argument("--threads", metavar="N,...", default="1,2", help="CPU threads (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto: cpu, and cuda where there is one; or cpu, cuda")
    parser.add_argument(
        "--registration", choices=("identity", "homography"), default="identity", help="homography: the rig's own (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", metavar="HZ", type=float, default=0.0, help="pairs a second, as from a camera, with cold caches (default: no pause)"
    )
    parser.add_argument("--runs", metavar="N", type=int, default=60, help="runs of each measurement (default: %(default)s)")
    parser.add_argument("--node", action="store_true", help="measure the node beside a passthrough node too, over ROS 2 (2 minutes)")
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="write the JSON here instead of to stdout")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="a PNG of time against pixels, needs matplotlib")


def run(args: argparse.Namespace) -> int:
    """Measure; 0 when done."""
    import torch

    from aenet_ros.workbench import speed

    sizes, threads = [_size(text) for text in args.sizes.split(",")], [_count(text) for text in args.threads.split(",")]
    if args.runs < 3:
        raise ConfigError(f"--runs {args.runs}: give 3 or more")
    if args.rate < 0:
        raise ConfigError(f"--rate {args.rate:g}: give pairs a second, or 0 for no pause")
    devices = [args.device] if args.device != "auto" else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if "cuda" in devices and not torch.cuda.is_available():
        raise DeviceError("--device cuda: torch finds no CUDA device here; 'aenet doctor' says why")
    report: dict[str, Any] = {**about(), "runs": args.runs, "pipeline": [], "network": [], "around_the_pipeline": [], "latency_budget": []}
    for device in devices:
        for precision in ("fp32",) if device == "cpu" else ("fp32", "fp16"):
            for count in threads if device == "cpu" else threads[:1]:
                _measure(report, device, precision, count, sizes, args)
        report["latency_budget"] += [row for size in sizes for row in speed.reduced_rows(device, max(threads), size, args.runs)]
    report["limits"] = [speed.limits_row(size) for size in sizes]
    for size in sizes:
        report["around_the_pipeline"].append(row := speed.messages_row(size, args.runs))
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
        from aenet_ros.cli.bench_plot import write_plot

        write_plot(report, args.plot)
        remark(f"written: {args.plot}")
    return 0


def _measure(
    report: dict[str, Any], device: str, precision: str, threads: int, sizes: list[tuple[int, int]], args: argparse.Namespace
) -> None:
    """The pipeline and the networks at every size."""
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
