"""Time the stages of the pipeline in process, without ROS: medians and quartiles, as a table and as JSON.

Frames are synthetic and differ from one another; every size is warmed up. Times are those that ``FusedFrame.timings_ns`` reports.
At --rate the frames come with pauses, as from a camera, so that caches are cold as they are on a robot.
"""
# ruff: noqa: T201

import argparse
import json
import platform
import resource
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from aenet_ros import __version__
from aenet_ros.config import Config, build
from aenet_ros.frames import Frame, FramePair
from aenet_ros.pipeline import FusionPipeline

PERIOD_NS = 33_333_333
KEPT = 8  # pairs that are gone through in turn, more than the caches hold
HOMOGRAPHY = (1.01, 0.02, -6.3, -0.02, 1.01, 4.1, 1e-6, 0.0, 1.0)  # a little of everything


def size(text: str) -> tuple[int, int]:
    """Height and width of WIDTHxHEIGHT."""
    width, height = text.split("x")
    return int(height), int(width)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=size, nargs="+", default=[(512, 640), (720, 1280), (1080, 1920)], help="rgb sizes, WIDTHxHEIGHT")
    parser.add_argument("--thermal", type=size, default=(512, 640), help="size of the mono16 thermal frames (default: 640x512)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--registration", choices=("identity", "homography"), nargs="+", default=["identity"])
    parser.add_argument("--pairs", type=int, default=200, help="pairs measured, after 20 that are not (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.0, help="pairs a second; 0: one after the other (default)")
    parser.add_argument("--json", type=Path, help="write the results here, too")
    args = parser.parse_args()

    results = []
    for rgb_size in args.size:
        for threads in args.threads:
            for mode in args.registration:
                options = {"model.threads": threads, "model.device": args.device, "registration.mode": mode}
                if mode == "homography":
                    options["registration.homography"] = HOMOGRAPHY
                result = measure(build(options), args.thermal, rgb_size, args.pairs, args.rate)
                result = {"rgb": f"{rgb_size[1]}x{rgb_size[0]}", "threads": threads, "registration": mode, **result}
                results.append(result)
                show(result)
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(args), "results": results}, indent=1, allow_nan=False) + "\n")


def measure(config: Config, thermal_size: tuple[int, int], rgb_size: tuple[int, int], pairs: int, rate: float) -> dict[str, object]:
    """Stage times in milliseconds (first quartile, median, third quartile), processor time and page faults of a pair."""
    random = np.random.default_rng(0)
    thermals = [random.normal(22_000, 300, thermal_size).astype(np.uint16) for _ in range(KEPT)]
    rgbs = [random.integers(0, 256, (*rgb_size, 3)).astype(np.uint8) for _ in range(KEPT)]
    cv2.setNumThreads(config.model.threads)
    pipeline = FusionPipeline(config)
    timings: list[dict[str, int]] = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    for index in range(20 + pairs):
        if index == 20:
            timings.clear()
            before = resource.getrusage(resource.RUSAGE_SELF)
        due = time.perf_counter() + (1.0 / rate if rate else 0.0)
        thermal = Frame(index * PERIOD_NS, thermals[index % KEPT], "mono16")
        rgb = Frame(index * PERIOD_NS, rgbs[index % KEPT], "rgb8")
        timings.append(pipeline.process(FramePair(thermal, rgb)).timings_ns)
        time.sleep(max(0.0, due - time.perf_counter()))
    after = resource.getrusage(resource.RUSAGE_SELF)
    stages = {
        stage: [round(float(value), 3) for value in np.percentile([item[stage] * 1e-6 for item in timings], (25, 50, 75))]
        for stage in timings[0]
    }
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    pipeline.close()
    return {
        "ms": stages,
        "processor_ms": round(processor * 1e3 / pairs, 3),
        "page_faults": (after.ru_minflt - before.ru_minflt) / pairs,
        "device": pipeline.fuser.device,
        "precision": pipeline.fuser.precision,
    }


def show(result: dict[str, object]) -> None:
    """One line: the medians, and the quartiles of the total."""
    stages: dict[str, list[float]] = result["ms"]  # type: ignore[assignment]
    medians = "  ".join(f"{stage} {values[1]:.2f}" for stage, values in stages.items())
    low, _, high = stages["total"]
    print(
        f"{result['rgb']} {result['registration']} {result['device']} {result['precision']} threads {result['threads']}:  {medians}"
        f" ({low:.2f} .. {high:.2f}) ms,  processor {result['processor_ms']:.1f} ms,  {result['page_faults']:.0f} page faults"
    )


def machine(args: argparse.Namespace) -> dict[str, object]:
    """What the numbers depend on."""
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "aenet_ros": __version__,
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cpu": cpu or platform.processor(),
        "date": time.strftime("%Y-%m-%d"),
        "pairs": args.pairs,
        "rate": args.rate,
    }


if __name__ == "__main__":
    main()
