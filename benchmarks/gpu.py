"""Measures fusing on a CUDA device in one call: whether its pictures are the CPU's, time on the device, pairs a second; JSON out.

    python benchmarks/gpu.py -o benchmarks/results/gpu.json

Exit status 0 where every picture is within two grey levels of the CPU's, 1 where one is not, or there is no CUDA device.
"""

import argparse
import json
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aenet_ros.commands.about import about
from aenet_ros.commands.common import remark, write_json
from aenet_ros.config import ModelConfig
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.device_engine import CAPTURE_AFTER, DeviceEngine
from aenet_ros.fusion.fuser import Fuser

SIZES = ((512, 640), (720, 1280), (1080, 1920), (101, 77))  # height, width; the last for its padding
LEVELS_ALLOWED = 2
PAIRS = 8
AIMS = {"640x512": {"device_ms": 0.25, "pairs_per_s": 2000}, "1920x1080": {"pairs_per_s": 600}}


def pictures(size: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A thermal plane float32 0..1 and an rgb picture, smooth with noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    waves = (np.sin(rows / 37 + seed) + np.cos(columns / 53)) / 4 + 0.5
    thermal = np.clip(waves + random.normal(0, 0.05, size), 0, 1).astype(np.float32)
    rgb = np.clip(255 * waves[::-1, :, None] * [1.0, 0.8, 0.6] + random.normal(0, 8, (*size, 3)), 0, 255).astype(np.uint8)
    return thermal, rgb


def differences(size: tuple[int, int], precision: str) -> dict[str, float]:
    """Of the CUDA device's pictures from the CPU's: the largest, and the share of values that differ."""
    cuda = Fuser(ModelConfig(device="cuda", precision=precision, allow_cpu=False))
    cpu = Fuser(ModelConfig(device="cpu"))
    largest, share = 0, []
    weight = np.tile(np.linspace(0, 1, size[1], dtype=np.float32), (size[0], 1))
    for seed in range(PAIRS):  # the first frames are computed step by step, the others replayed
        thermal, rgb = pictures(size, seed)
        for options in ({}, {"weight": weight, "strength": 0.7}):
            difference = np.abs(cuda.fuse(thermal, rgb, **options).astype(int) - cpu.fuse(thermal, rgb, **options))
            largest = max(largest, int(difference.max()))
            share.append(float((difference > 0).mean()))
    return {"largest_levels": largest, "share_that_differs": round(statistics.mean(share), 5), "problem": cuda.fallback}


def spread(values_ms: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = np.percentile(values_ms, (25, 50, 75))
    return {"median": round(float(median), 4), "q25": round(float(low), 4), "q75": round(float(high), 4)}


@torch.inference_mode()
def device_times(size: tuple[int, int], precision: str, runs: int) -> dict[str, Any]:
    """Time on the device of upload, graph and download together, and of the graph alone, by CUDA events."""
    engine = DeviceEngine(load_checkpoint()[0], torch.device("cuda:0"), precision)
    thermal, rgb = pictures(size, 0)
    for _ in range(CAPTURE_AFTER + 2):
        engine.run(thermal, rgb, "rgb", None, 1.0)
    plan = engine.plan(thermal, rgb, "rgb", None)
    frame, graph = [], []
    with engine.stream():
        for durations, work in ((frame, plan.enqueue), (graph, plan.replay)):
            for _ in range(runs):
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                plan.stage(thermal, rgb, None, 1.0)
                begin.record()
                work()
                end.record()
                end.synchronize()
                durations.append(begin.elapsed_time(end))
    return {"captured": plan.captured, "problem": engine.problem, "frame_ms": spread(frame), "fusion_ms": spread(graph)}


def pairs_per_second(size: tuple[int, int], precision: str, seconds: float, threads: int) -> float:
    """Pairs fused a second in this process, numpy in and numpy out, by that many threads with a Fuser each."""
    pairs = [pictures(size, seed) for seed in range(PAIRS)]
    fusers = [Fuser(ModelConfig(device="cuda", precision=precision, allow_cpu=False)) for _ in range(threads)]
    for fuser in fusers:
        for number in range(CAPTURE_AFTER + 2):
            fuser.fuse(*pairs[number])
    counts = [0] * threads
    until = time.perf_counter() + seconds

    def work(index: int) -> None:
        while time.perf_counter() < until:
            fusers[index].fuse(*pairs[counts[index] % PAIRS])
            counts[index] += 1

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return round(sum(counts) / (time.perf_counter() - begun), 1)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300, help="runs of each timing (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="time of each rate (default: %(default)s)")
    parser.add_argument("-o", "--out", type=Path, help="write the JSON here instead of to stdout")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        remark("no CUDA device here: nothing was measured ('aenet doctor' says why)")
        return 1
    report: dict[str, Any] = {**about(), "aims": AIMS, "sizes": {}}
    right = True
    for size in SIZES:
        name = f"{size[1]}x{size[0]}"
        row = report["sizes"][name] = {}
        for precision in ("fp16", "fp32"):
            result = row[precision] = {"against_cpu": differences(size, precision), **device_times(size, precision, args.runs)}
            result["pairs_per_s"] = {str(count): pairs_per_second(size, precision, args.seconds, count) for count in (1, 2)}
            right = right and result["against_cpu"]["largest_levels"] <= LEVELS_ALLOWED
            remark(f"{name:>10} {precision}: {json.dumps(result)}")
        row["peak_memory_mb"] = round(torch.cuda.max_memory_reserved() / 1e6, 1)
        torch.cuda.reset_peak_memory_stats()
    report["within_two_levels"] = right
    write_json(report, args.out)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
