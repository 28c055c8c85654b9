"""measure speed: the pipeline's stages, the network beside a yardstick, the node beside a passthrough; JSON out.

Every figure is a median with quartiles after a warm-up; what is compared is measured in turns within one run, because machines
are noisy. The JSON goes to stdout or -o FILE, a table to stderr. With --node a rig, the fusing node and a node that only
passes frames on run as processes over real ROS 2 topics, and the latencies of both from stamp to receiver are in the report.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.commands.about import about
from aenet_ros.commands.common import print_json, remark
from aenet_ros.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    from aenet_ros.frames import FramePair
    from aenet_ros.simulation.rig_config import RigConfig

SIZES = "640x512,1280x720,1920x1080"
NETWORK_SIZE = (480, 640)


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
    parser.add_argument("--node", action="store_true", help="measure the node beside a passthrough node too, over ROS 2 (20 s)")
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="write the JSON here instead of to stdout")
    parser.add_argument("--html", metavar="FILE", type=Path, help="one HTML page with plots and tables too, to send to somebody")


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
    report: dict[str, Any] = {**about(), "runs": args.runs, "pipeline": [], "network": []}
    remark(f"{'device':>8} {'threads':>7} {'rgb':>10}  median ms by stage")
    for device in devices:
        for count in threads if device == "cpu" else threads[:1]:
            for size in sizes:
                row = _pipeline_row(device, count, size, args)
                report["pipeline"].append(row)
                stages = "  ".join(f"{name} {value['median_ms']:.2f}" for name, value in row["stages"].items())
                remark(f"{device:>8} {count:>7} {row['rgb']:>10}  {stages}")
            row = _network_row(device, count, args.runs)
            report["network"].append(row)
            medians = "  ".join(f"{name} {row[name]['median_ms']:.2f}" for name in ("aenet", "yardstick"))
            remark(f"{device:>8} {count:>7} {row['size']:>10}  {medians}")
    if args.node:
        report["node"] = _node()
    if args.out is None:
        print_json(report)
    else:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        remark(f"written: {args.out}")
    if args.html:
        from aenet_ros.reports.page import write_page
        from aenet_ros.reports.speed import speed_page

        write_page(args.html, speed_page(report))
        remark(f"written: {args.html}")
    return 0


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


def _rig(size: tuple[int, int]) -> "RigConfig":
    """The rig by night, its rgb frames of that (height, width)."""
    from aenet_ros.simulation.rig_config import RigConfig

    return RigConfig(rgb_height=size[0], rgb_width=size[1], scenes="night")


def _pairs(rig: "RigConfig") -> "list[FramePair]":
    """A dozen pairs of the rig, more than the caches hold."""
    from itertools import islice

    from aenet_ros.simulation.rig import Rig
    from aenet_ros.sync import PairMatcher

    matcher = PairMatcher(slop_ns=0)
    pairs: list[FramePair] = []
    for event in islice(Rig(rig).events(), 24):
        frame = replace(event.frame, data=event.frame.data.copy())
        pairs += matcher.push_thermal(frame) if event.stream == "thermal" else matcher.push_rgb(frame)
    return pairs


def _pipeline_row(device: str, threads: int, size: tuple[int, int], args: argparse.Namespace) -> dict[str, Any]:
    """All stages of the pipeline on the rig's frames, counts in and picture out; processor time and page faults of a pair."""
    import cv2

    from aenet_ros.config import build
    from aenet_ros.evaluation.benchmark import WARM_UP_RUNS, spread_ms
    from aenet_ros.pipeline import FusionPipeline
    from aenet_ros.simulation.geometry import rgb_to_thermal

    rig = _rig(size)
    options: dict[str, Any] = {"model.device": device, "model.threads": threads, "registration.mode": args.registration}
    if args.registration == "homography":
        options["registration.homography"] = rgb_to_thermal(rig).ravel()
    cv2.setNumThreads(threads)
    pipeline = FusionPipeline(build(options))
    pairs = _pairs(rig)
    stages: dict[str, list[int]] = {}
    for index in range(WARM_UP_RUNS + args.runs):
        if index == WARM_UP_RUNS:
            stages.clear()
            before = resource.getrusage(resource.RUSAGE_SELF)
        due = time.perf_counter() + (1.0 / args.rate if args.rate else 0.0)
        for name, duration_ns in pipeline.process(pairs[index % len(pairs)]).timings_ns.items():
            stages.setdefault(name, []).append(duration_ns)
        time.sleep(max(0.0, due - time.perf_counter()))
    after = resource.getrusage(resource.RUSAGE_SELF)
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    precision = pipeline.fuser.precision
    pipeline.close()
    return {
        "device": device,
        "precision": precision,
        "threads": threads,
        "registration": args.registration,
        "rate_hz": args.rate,
        "thermal": "{1}x{0} mono16".format(*pairs[0].thermal.size),
        "rgb": f"{size[1]}x{size[0]}",
        "stages": {name: spread_ms(durations) for name, durations in stages.items()},
        "processor_ms": round(processor_s * 1e3 / args.runs, 3),
        "page_faults": round((after.ru_minflt - before.ru_minflt) / args.runs, 1),
    }


def _network_row(device: str, threads: int, runs: int) -> dict[str, Any]:
    """The shipped network and the yardstick at one size, in turns."""
    import torch

    from aenet_ros.evaluation.benchmark import TwoConvolutions, spread_ms, time_runs
    from aenet_ros.fusion.checkpoint import load_checkpoint

    torch.set_num_threads(threads)
    network = load_checkpoint("")[0].to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    yardstick = TwoConvolutions().eval().to(device)
    planes = torch.rand(2, 1, 1, *NETWORK_SIZE, device=device)
    synchronise = torch.cuda.synchronize if device != "cpu" else None
    durations: dict[str, list[int]] = {"aenet": [], "yardstick": []}
    with torch.inference_mode():
        for _ in range(3):
            for name, module in (("aenet", network), ("yardstick", yardstick)):
                durations[name] += time_runs(lambda module=module: module(planes[0], planes[1]), runs // 3, synchronise)  # type: ignore[misc]
    size = f"{NETWORK_SIZE[1]}x{NETWORK_SIZE[0]}"
    return {"device": device, "threads": threads, "size": size, **{name: spread_ms(values) for name, values in durations.items()}}


def _node() -> dict[str, Any]:
    """The report of a demo run with its passthrough node."""
    with tempfile.TemporaryDirectory(prefix="aenet_bench_") as scratch:
        command = [sys.executable, "-m", "aenet_ros", "demo", "--floor", "--seconds", "20", "--record", "nothing", "-o", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        path = Path(scratch) / "report.json"
        if not path.is_file():
            return {"error": (done.stderr or done.stdout).strip()[-500:]}
        remark(done.stdout.strip())
        return dict(json.loads(path.read_text(encoding="utf-8")))
