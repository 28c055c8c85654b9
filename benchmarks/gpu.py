"""Measures fusing on a CUDA device in one call, with and without CUDA graphs, and compares its pictures with the CPU's; writes JSON.

    python benchmarks/gpu.py -o benchmarks/results/gpu.json

For each size of the rgb frame and each precision: largest difference from the CPU's picture (grey levels), time on the device by CUDA
events (ms), pairs a second in this process, memory; the first two also for other grids of the picture and smaller sizes of the network.
Pairs are the built-in rig's: 16-bit thermal counts of 640x512, laid by a homography onto the rgb frame. Exit status: 0, or 1 where a
picture is more than two grey levels off the CPU's, or 2 where there is no CUDA device that works.
--device cpu runs the same steps by torch's CPU operators, without graphs: to try the script, not to measure.
"""

import argparse
import gc
import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aenet_ros.cli.common import about, remark, write_json
from aenet_ros.config import OutputConfig
from aenet_ros.core.errors import first_line
from aenet_ros.core.frames import FramePair, ThermalInput
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.cpu_network import CpuNetwork
from aenet_ros.fusion.device_engine import DeviceEngine
from aenet_ros.fusion.engine import CpuEngine, FusionJob, fuse_downscaled, render
from aenet_ros.fusion.graph_plan import CAPTURE_AFTER
from aenet_ros.fusion.placement import thread_count
from aenet_ros.pipeline import FusionPipeline, PendingFusion
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.workbench.speed import make_pipeline, rig_of, rig_pairs, spread_ms, time_runs

SIZES = "640x512,1280x720,1920x1080,101x77"  # the last for its padding
LEVELS_ALLOWED = 2
AIMS: dict[str, dict[str, float]] = {"640x512": {"device_ms": 0.25, "pairs_per_s": 2000}, "1920x1080": {"pairs_per_s": 600}}
WAYS: dict[str, tuple[dict[str, Any], float]] = {  # options of the output, scale of the network's picture
    "on_rgb": ({}, 1.0),
    "on_thermal": ({"grid": "thermal"}, 1.0),
    "scaled_rgb": ({"grid": "size", "width": 480}, 1.0),
    "half_size": ({}, 0.5),
    "quarter_size": ({}, 0.25),
}
NO_DEVICE = 2  # exit status
Size = tuple[int, int]


def make_engine(device: str, precision: str, graph: bool = True) -> DeviceEngine:
    """The engine alone; without ``graph`` every pair runs step by step."""
    engine = DeviceEngine(load_checkpoint()[0], torch.device(device), precision)
    if not graph:
        engine._graphs = None
    return engine


def on_device(device: str, precision: str, size: Size, graph: bool = True) -> FusionPipeline:
    """A pipeline for the rig's pairs with an rgb frame of that (height, width), with everything of a pair done by the device."""
    pipeline = make_pipeline(device, precision, thread_count(0), size, "homography")
    pipeline.fuser.device = device if device != "cpu" else "cpu as a device"
    pipeline.fuser._engine = make_engine(device, precision, graph)
    return pipeline


def differences(device: str, precision: str, size: Size, pairs: list[FramePair]) -> dict[str, Any]:
    """Of the device's pictures from the CPU's: the largest, and the share of values that differ."""
    pipeline, cpu = on_device(device, precision, size), make_pipeline("cpu", "fp32", thread_count(0), size, "homography")
    largest, share = 0, []
    for pair in pairs:  # the first ones are computed step by step, the others replayed
        difference = np.abs(pipeline.process(pair).image.astype(int) - cpu.process(pair).image)
        largest = max(largest, int(difference.max()))
        share.append(float((difference > 0).mean()))
    return {"largest_levels": largest, "share_that_differs": round(float(np.mean(share)), 5), "problem": pipeline.fuser.fallback}


@torch.inference_mode()
def device_times(
    device: str, precision: str, size: Size, pair: FramePair, runs: int, way: str = "on_rgb", graph: bool = True
) -> dict[str, Any]:
    """Time on the device of upload, fusion and download together, and of the fusion alone; memory of the engine on a GPU."""
    options, scale = WAYS[way]
    cpu = make_pipeline("cpu", "fp32", thread_count(0), size, "homography")
    warps = OutputGrid(cpu.registration, OutputConfig(**options)).prepare(pair.thermal.size, pair.rgb.size)
    view = ThermalInput(pair.thermal.data, 28_000.0, 1 / 4_000, sampling=warps.sampling, weight=warps.weight, size=warps.size)
    job = FusionJob(view, pair.rgb.data, scale=scale, placement=warps.placement(pair.rgb.size))
    expected = fuse_downscaled(CpuEngine(CpuNetwork(load_checkpoint()[0])).submit, render(job)).result().astype(int)
    before = reserved_mb(device, fresh=True)
    engine = make_engine(device, precision, graph)
    for _ in range(CAPTURE_AFTER + 2):
        fused = engine.submit(job).result()
    plan = engine.plan(job)
    durations: dict[str, list[int]] = {"device": [], "fusion": []}
    with engine.stream():
        for name, work in (("device", plan.enqueue), ("fusion", plan.replay)):
            for _ in range(runs):
                plan.stage(job)
                durations[name].append(elapsed_ns(device, work))
    return {
        "captured": plan.captured,
        "problem": engine.problem,
        "largest_levels": int(np.abs(fused - expected).max()),
        "memory_mb": round(reserved_mb(device) - before, 1),
        **{name: spread_ms(values) for name, values in durations.items()},
    }


def reserved_mb(device: str, fresh: bool = False) -> float:
    """Memory that torch holds on the device; ``fresh``: after freeing what nothing uses."""
    if device == "cpu":
        return 0.0
    if fresh:
        gc.collect()
        torch.cuda.empty_cache()
    return torch.cuda.memory_reserved() / 1e6


def elapsed_ns(device: str, work: Callable[[], object]) -> int:
    """How long the device is at work; on CUDA without waiting for calls, because all are made before it begins."""
    if device == "cpu":
        return time_runs(work, 1, warm_up=0)[0]
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(1_000_000)  # cycles, half a millisecond
    begin.record()
    work()
    end.record()
    end.synchronize()
    return round(1e6 * float(begin.elapsed_time(end)))


def pairs_per_second(pipelines: list[FusionPipeline], pairs: list[FramePair], seconds: float, overlap: bool) -> float:
    """Pairs fused a second in this process, frames in and pictures out, by a thread for each pipeline; ``overlap`` as the node does."""
    for pipeline in pipelines:
        for pair in pairs[: CAPTURE_AFTER + 2]:
            pipeline.process(pair)
    begun = time.perf_counter()

    def fused(pipeline: FusionPipeline) -> int:
        pending: deque[PendingFusion] = deque()
        for count in itertools.count(1):
            pending.append(pipeline.submit(pairs[count % len(pairs)]))
            ended = time.perf_counter() > begun + seconds
            while len(pending) > int(overlap and not ended):
                pending.popleft().result()
            if ended:
                break
        return count

    with ThreadPoolExecutor(len(pipelines)) as pool:
        total = sum(pool.map(fused, pipelines))
    return round(total / (time.perf_counter() - begun), 1)


def measure(device: str, precision: str, size: Size, args: argparse.Namespace) -> dict[str, Any]:
    """All of one size and precision."""
    pairs = rig_pairs(rig_of(size))
    rates = {}
    for name, count, graph, overlap in (
        ("in_turn", 1, True, False),
        ("overlapped", 1, True, True),
        ("two_pipelines", 2, True, True),
        ("overlapped_without_graph", 1, False, True),
    ):
        rates[name] = pairs_per_second([on_device(device, precision, size, graph) for _ in range(count)], pairs, args.seconds, overlap)
    return {
        "against_cpu": differences(device, precision, size, pairs),
        "with_graph": {way: device_times(device, precision, size, pairs[0], args.runs, way, graph=True) for way in WAYS},
        "without_graph": device_times(device, precision, size, pairs[0], args.runs, "on_rgb", graph=False),
        "pairs_per_s": rates,
    }


def aims_reached(name: str, result: dict[str, Any]) -> dict[str, bool]:
    """Which aims for this size are reached."""
    found = {"device_ms": result["with_graph"]["on_rgb"]["device"]["median_ms"], "pairs_per_s": max(result["pairs_per_s"].values())}
    return {key: found[key] <= aim if key == "device_ms" else found[key] >= aim for key, aim in AIMS.get(name, {}).items()}


def why_no_device() -> str:
    """Why the CUDA device cannot be used; "" where it can."""
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device or driver"
    try:
        torch.ones(1, device="cuda").add_(1.0).cpu()
    except RuntimeError as error:
        return f"the CUDA device does not work ({first_line(error)})"
    return ""


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", metavar="WxH,...", default=SIZES, help="sizes of the rgb frame (default: %(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the script (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=300, help="runs of each timing (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="time of each rate (default: %(default)s)")
    parser.add_argument("-o", "--out", type=Path, help="write the JSON here instead of to stdout")
    args = parser.parse_args()
    missing = why_no_device() if args.device == "cuda" else ""
    if missing:
        remark(f"nothing was measured: {missing}; run this on a machine with an NVIDIA GPU (`aenet doctor` says what to install)")
        return NO_DEVICE
    report: dict[str, Any] = {**about(), "aims": AIMS, "sizes": {}}
    if args.device == "cuda":
        report["gpu"] = {"name": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    right = True
    for name in args.sizes.split(","):
        width, height = map(int, name.split("x"))
        row = report["sizes"][name] = {}
        for precision in ("fp16", "fp32") if args.device == "cuda" else ("fp32",):
            result = row[precision] = measure(args.device, precision, (height, width), args)
            result["aims_reached"] = aims_reached(name, result)
            compared = result["against_cpu"], *result["with_graph"].values()
            right = right and max(row["largest_levels"] for row in compared) <= LEVELS_ALLOWED
            remark(f"{name:>10} {precision}: {json.dumps(result)}")
    report["within_two_levels"] = right
    write_json(report, args.out)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
