"""What `aenet bench` measures in its own process (stages of the pipeline, pair matcher, network), and the clock of all benchmarks."""

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros.config import build
from aenet_ros.core.frames import FramePair
from aenet_ros.fusion import color
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.cpu_network import CpuNetwork
from aenet_ros.fusion.network import AENet, parameter_count
from aenet_ros.fusion.onnx_shares import OnnxShares, missing_packages
from aenet_ros.fusion.placement import set_threads
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.sync.matcher import PairMatcher
from aenet_ros.workbench.simulation.geometry import rgb_to_thermal
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

Size = tuple[int, int]
WARM_UP_RUNS = 5
PAIRS = 12  # more than the caches hold
MIN_RUNS = 3
MAX_NS = 2_000_000_000  # for all runs of a network: a slow one gets fewer


def spread_ms(durations_ns: Sequence[int]) -> dict[str, float]:
    """Return median and quartiles of durations in nanoseconds, as milliseconds."""
    low, median, high = np.percentile(np.asarray(durations_ns, np.int64), (25, 50, 75)) / 1e6
    return {"median_ms": round(float(median), 4), "q25_ms": round(float(low), 4), "q75_ms": round(float(high), 4)}


def time_runs(
    run: Callable[[], object], runs: int, synchronise: Callable[[], None] | None = None, warm_up: int = WARM_UP_RUNS
) -> list[int]:
    """Return durations in ns of ``runs`` calls after ``warm_up`` calls. ``synchronise`` is called before each reading of the clock."""
    wait = synchronise or (lambda: None)
    for _ in range(warm_up):
        run()
    durations = []
    for _ in range(runs):
        wait()
        begun = time.perf_counter_ns()
        run()
        wait()
        durations.append(time.perf_counter_ns() - begun)
    return durations


class TwoConvolutions(nn.Module):
    """A yardstick for speed: the layers of the smallest published fusion network, with random weights.

    Two 3x3 convolutions at full size with reflection padding, 2 to 4 to 1 channels, ReLU and tanh: 113 parameters
    (MMDRFuse, Deng et al., ACM Multimedia 2024).
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3)
        self.second = nn.Conv2d(4, 1, 3)

    def forward(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Map two planes, float [B, 1, H, W], to one of the same shape."""
        x = F.pad(torch.cat((thermal, luma), 1), (1, 1, 1, 1), mode="reflect")
        x = F.pad(F.relu(self.first(x)), (1, 1, 1, 1), mode="reflect")
        return torch.tanh(self.second(x))


def rig_pairs(rig: RigConfig, count: int = PAIRS) -> list[FramePair]:
    """The rig's first pairs."""
    matcher = PairMatcher(slop_ns=0)
    pairs: list[FramePair] = []
    for event in islice(Rig(rig).events(), 2 * count):
        frame = replace(event.frame, data=event.frame.data.copy())
        pairs += matcher.push_thermal(frame) if event.stream == "thermal" else matcher.push_rgb(frame)
    return pairs


def rig_of(size: Size) -> RigConfig:
    """The rig at night; ``size`` (height, width) of its rgb frames."""
    return RigConfig(rgb_height=size[0], rgb_width=size[1], scenes="night")


def make_pipeline(device: str, precision: str, threads: int, size: Size, registration: str) -> FusionPipeline:
    """A pipeline for the rig's frames. Raises DeviceError where the device cannot be used."""
    options: dict[str, Any] = {"model.device": device, "model.precision": precision, "model.threads": threads, "model.allow_cpu": False}
    if registration == "homography":
        options |= {"registration.mode": "homography", "registration.homography": rgb_to_thermal(rig_of(size)).ravel()}
    return FusionPipeline(build(options))


def pipeline_row(device: str, precision: str, threads: int, size: Size, args: argparse.Namespace) -> dict[str, Any]:
    """Time of each stage of a pair and of the deferred sensor model update; CPU time and page faults a pair."""
    pipeline = make_pipeline(device, precision, threads, size, args.registration)
    pairs = rig_pairs(rig_of(size))
    pipeline.warm_up(size, pairs[0].thermal.size)
    stages: dict[str, list[int]] = {}
    deferred: list[int] = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    for index in range(WARM_UP_RUNS + args.runs):
        if index == WARM_UP_RUNS:
            stages.clear()
            deferred.clear()
            before = resource.getrusage(resource.RUSAGE_SELF)
        due = time.perf_counter() + (1.0 / args.rate if args.rate else 0.0)
        fused = pipeline.submit(pairs[index % len(pairs)]).result()
        begun = time.perf_counter_ns()
        pipeline.update_sensor_model()
        deferred.append(time.perf_counter_ns() - begun)
        for name, duration_ns in fused.timings_ns.items():
            stages.setdefault(name, []).append(duration_ns)
        time.sleep(max(0.0, due - time.perf_counter()))
    after = resource.getrusage(resource.RUSAGE_SELF)
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    used, backend, reason = pipeline.fuser.precision, pipeline.fuser.backend, pipeline.fuser.backend_reason
    pipeline.close()
    return {
        "device": device,
        "precision": used,
        "backend": backend,
        "backend_reason": reason,
        "threads": threads,
        "registration": args.registration,
        "rate_hz": args.rate,
        "thermal": "{1}x{0} mono16".format(*pairs[0].thermal.size),
        "rgb": f"{size[1]}x{size[0]}",
        "stages": {name: spread_ms(durations) for name, durations in stages.items()},
        "sensor_model_mean_ms": round(sum(deferred) / len(deferred) / 1e6, 3),  # after publishing, for one pair in eight
        "within_fusion": within_fusion(device, used, pairs, args.runs),
        "processor_ms": round(processor_s * 1e3 / args.runs, 3),
        "page_faults": round((after.ru_minflt - before.ru_minflt) / args.runs, 1),
    }


def time_matcher(pair: FramePair, runs: int) -> list[int]:
    """Durations in ns of pushing both frames of a pair into the matcher."""
    matcher, durations = PairMatcher(slop_ns=0), []
    for index in range(WARM_UP_RUNS + runs):
        stamp_ns = (index + 1) * 33_000_000
        thermal, rgb = (replace(frame, stamp_ns=stamp_ns) for frame in (pair.thermal, pair.rgb))
        begun = time.perf_counter_ns()
        matcher.push_thermal(thermal)
        matcher.push_rgb(rgb)
        durations.append(time.perf_counter_ns() - begun)
    return durations[WARM_UP_RUNS:]


def within_fusion(device: str, precision: str, pairs: list[FramePair], runs: int) -> dict[str, Any]:
    """The parts of the stage fusion, measured alone: luma (both planes as float32), network, merge; on a GPU only the network."""
    rgb = pairs[0].rgb.data
    planes = np.random.default_rng(1).random((2, 1, 1, *rgb.shape[:2]), np.float32)
    found = {"network": spread_ms(time_network(load_checkpoint("")[0], device, precision, torch.from_numpy(planes), runs))}
    if device != "cpu":
        return found
    old, thermal = color.luma(rgb), planes[0, 0, 0].copy()
    fused = cv2.convertScaleAbs(thermal, alpha=255.0)

    def split() -> None:
        color.to_unit(color.luma(rgb), planes[1, 0, 0])
        np.copyto(planes[0, 0, 0], thermal)

    found |= {
        "luma": spread_ms(time_runs(split, runs)),
        "merge": spread_ms(time_runs(lambda: color.merge(rgb, old, fused), runs)),
    }
    return {name: found[name] for name in ("luma", "network", "merge")}


def time_network(network: nn.Module | CpuNetwork, device: str, precision: str, planes: Tensor, runs: int) -> list[int]:
    """Durations in ns of a network on two planes [2, 1, 1, H, W]; AENet in its form for CPUs there. A slow network gets fewer runs."""
    call: Callable[[], object]
    synchronise = torch.cuda.synchronize if device != "cpu" else None
    if device == "cpu" and isinstance(network, AENet):
        network = CpuNetwork(network)
    if isinstance(network, CpuNetwork):
        call = partial(network, *planes[:, 0, 0].numpy())
    else:
        kind = torch.float16 if precision == "fp16" else torch.float32
        module = network.eval().to(device, kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
        call = partial(module, *planes.to(device, kind))
    with torch.inference_mode():
        once = min(time_runs(call, 1, synchronise, warm_up=1))
        return time_runs(call, max(MIN_RUNS, min(runs, MAX_NS // once)), synchronise, warm_up=min(WARM_UP_RUNS, MAX_NS // once))


def network_row(device: str, precision: str, threads: int, size: Size, runs: int) -> dict[str, Any]:
    """Time of the packaged network, on a CPU also with ONNX Runtime, and of the yardstick network at one size, measured in turns."""
    set_threads(threads)
    planes = torch.rand(2, 1, 1, *size)
    aenet, yardstick = load_checkpoint("")[0], TwoConvolutions()
    networks: dict[str, nn.Module | CpuNetwork] = {"aenet": aenet, "yardstick": yardstick}
    if device == "cpu" and not missing_packages():
        networks["onnxruntime"] = CpuNetwork(aenet, OnnxShares(aenet, threads))
    durations: dict[str, list[int]] = {name: [] for name in networks}
    for _ in range(3):
        for name, network in networks.items():
            durations[name] += time_network(network, device, precision, planes, max(MIN_RUNS, runs // 3))
    return {
        "device": device,
        "precision": precision,
        "threads": threads,
        "size": f"{size[1]}x{size[0]}",
        **{name: spread_ms(values) for name, values in durations.items()},
        "parameters": {"aenet": parameter_count(aenet), "yardstick": parameter_count(yardstick)},
    }
