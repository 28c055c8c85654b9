"""Measures fusing on a CUDA device in one call: whether its pictures are the CPU's, time on the device, pairs a second; JSON out.

    python benchmarks/gpu.py -o benchmarks/results/gpu.json

Pairs are the built-in rig's, 16-bit thermal counts of 640x512 laid by a homography onto rgb frames of several sizes. Exit status 0 where
every picture is within two grey levels of the CPU's, 1 where one is not, or there is no CUDA device. --device cpu runs the same steps by
torch's CPU operators, without a graph: to try the script, not to measure.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aenet_ros.cli.common import about, remark, write_json
from aenet_ros.core.frames import FramePair, ThermalInput
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.device_engine import CAPTURE_AFTER, DeviceEngine
from aenet_ros.fusion.engine import FusionJob
from aenet_ros.fusion.placement import thread_count
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.workbench.speed import make_pipeline, rig_of, rig_pairs

SIZES = "640x512,1280x720,1920x1080,101x77"  # the last for its padding
LEVELS_ALLOWED = 2
AIMS = {"640x512": {"frame_ms": 0.25, "pairs_per_s": 2000}, "1920x1080": {"pairs_per_s": 600}}
Size = tuple[int, int]


def make(device: str, precision: str, size: Size) -> FusionPipeline:
    """A pipeline for the rig's pairs with an rgb frame of that (height, width); raises DeviceError where it is not on the device."""
    return make_pipeline(device, precision, thread_count(0), size, "homography")


def on_device(device: str, precision: str, size: Size) -> FusionPipeline:
    """The same, with everything of a pair done by the device."""
    pipeline = make(device, precision, size)
    if device == "cpu":
        pipeline.fuser.device = "cpu as a device"
        pipeline.fuser._engine = DeviceEngine(load_checkpoint()[0], torch.device("cpu"), "fp32")
    return pipeline


def differences(device: str, precision: str, size: Size, pairs: list[FramePair]) -> dict[str, Any]:
    """Of the device's pictures from the CPU's: the largest, and the share of values that differ."""
    pipeline, cpu = on_device(device, precision, size), make("cpu", "fp32", size)
    largest, share = 0, []
    for pair in pairs:  # the first ones are computed step by step, the others replayed
        difference = np.abs(pipeline.process(pair).image.astype(int) - cpu.process(pair).image)
        largest = max(largest, int(difference.max()))
        share.append(float((difference > 0).mean()))
    return {"largest_levels": largest, "share_that_differs": round(float(np.mean(share)), 5), "problem": pipeline.fuser.fallback}


def spread(values_ms: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = np.percentile(values_ms, (25, 50, 75))
    return {"median": round(float(median), 4), "q25": round(float(low), 4), "q75": round(float(high), 4)}


@torch.inference_mode()
def device_times(device: str, precision: str, size: Size, pair: FramePair, runs: int) -> dict[str, Any]:
    """Time on the device of upload, graph and download together, and of the graph alone."""
    warps = make("cpu", "fp32", size).prepare_grid(pair.thermal.size, pair.rgb.size)
    view = ThermalInput(pair.thermal.data, 28_000.0, 1 / 4_000, sampling=warps.sampling, weight=warps.weight)
    job = FusionJob(view, pair.rgb.data)
    engine = DeviceEngine(load_checkpoint()[0], torch.device(device), precision)
    for _ in range(CAPTURE_AFTER + 2):
        engine.submit(job).result()
    plan = engine.plan(job)
    frame, graph = [], []
    with engine.stream():
        for durations, work in ((frame, plan.enqueue), (graph, plan.replay)):
            for _ in range(runs):
                plan.stage(job)
                durations.append(elapsed_ms(device, work))
    return {"captured": plan.captured, "problem": engine.problem, "frame_ms": spread(frame), "fusion_ms": spread(graph)}


def elapsed_ms(device: str, work: Callable[[], object]) -> float:
    """How long the device is at work; on CUDA without waiting for calls, because all are made before it begins."""
    if device == "cpu":
        begun = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - begun)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(1_000_000)  # cycles, half a millisecond
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def pairs_per_second(pipelines: list[FusionPipeline], pairs: list[FramePair], seconds: float, overlap: bool) -> float:
    """Pairs fused a second in this process, frames in and pictures out, by a thread for each pipeline; ``overlap`` as the node does."""
    for pipeline in pipelines:
        for pair in pairs[: CAPTURE_AFTER + 2]:
            pipeline.process(pair)
    counts = [0] * len(pipelines)
    until = time.perf_counter() + seconds

    def work(index: int) -> None:
        last = None
        while time.perf_counter() < until:
            pending = pipelines[index].submit(pairs[counts[index] % len(pairs)])
            counts[index] += 1
            if not overlap:
                pending.result()
                continue
            if last is not None:
                last.result()
            last = pending
        if last is not None:
            last.result()

    workers = [threading.Thread(target=work, args=(index,)) for index in range(len(pipelines))]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return round(sum(counts) / (time.perf_counter() - begun), 1)


def measure(device: str, precision: str, size: Size, args: argparse.Namespace) -> dict[str, Any]:
    """All of one size and precision."""
    pairs = rig_pairs(rig_of(size))
    rates = {
        "in_turn": pairs_per_second([on_device(device, precision, size)], pairs, args.seconds, overlap=False),
        "overlapped": pairs_per_second([on_device(device, precision, size)], pairs, args.seconds, overlap=True),
        "two_pipelines": pairs_per_second([on_device(device, precision, size) for _ in range(2)], pairs, args.seconds, overlap=True),
    }
    return {
        "against_cpu": differences(device, precision, size, pairs),
        **device_times(device, precision, size, pairs[0], args.runs),
        "pairs_per_s": rates,
    }


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", metavar="WxH,...", default=SIZES, help="sizes of the rgb frame (default: %(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the script (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=300, help="runs of each timing (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="time of each rate (default: %(default)s)")
    parser.add_argument("-o", "--out", type=Path, help="write the JSON here instead of to stdout")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        remark("no CUDA device here: nothing was measured ('aenet doctor' says why)")
        return 1
    report: dict[str, Any] = {**about(), "aims": AIMS, "sizes": {}}
    right = True
    for name in args.sizes.split(","):
        width, height = map(int, name.split("x"))
        row = report["sizes"][name] = {}
        for precision in ("fp16", "fp32") if args.device == "cuda" else ("fp32",):
            result = row[precision] = measure(args.device, precision, (height, width), args)
            right = right and result["against_cpu"]["largest_levels"] <= LEVELS_ALLOWED
            remark(f"{name:>10} {precision}: {json.dumps(result)}")
        if args.device == "cuda":
            row["peak_memory_mb"] = round(torch.cuda.max_memory_reserved() / 1e6, 1)
            torch.cuda.reset_peak_memory_stats()
    report["within_two_levels"] = right
    write_json(report, args.out)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
