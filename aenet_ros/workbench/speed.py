"""What `aenet bench` measures in its own process: the pipeline by stages, the parts around it, networks, and reduced sizes."""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from typing import Any

import cv2
import numpy as np
import torch

from aenet_ros.config import build
from aenet_ros.core.errors import AenetError
from aenet_ros.core.frames import FramePair
from aenet_ros.fusion import color
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.downscaled import fuse_downscaled
from aenet_ros.health.adaptive_resolution import SCALES
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.sync.matcher import PairMatcher
from aenet_ros.workbench.evaluation.metrics import similarity
from aenet_ros.workbench.simulation.geometry import rgb_to_thermal
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig
from aenet_ros.workbench.timing import WARM_UP_RUNS, TwoConvolutions, spread_ms, time_runs

Size = tuple[int, int]
ORDER = ("receive", "decode", "match", "encode", "publish")
PAIRS = 12  # more than the caches hold
FEWEST = 3
LONG_NS = 2_000_000_000  # a network that takes longer than this for all its runs gets fewer


def rig_pairs(rig: RigConfig, count: int = PAIRS) -> list[FramePair]:
    """The rig's first pairs."""
    matcher = PairMatcher(slop_ns=0)
    pairs: list[FramePair] = []
    for event in islice(Rig(rig).events(), 2 * count):
        frame = replace(event.frame, data=event.frame.data.copy())
        pairs += matcher.push_thermal(frame) if event.stream == "thermal" else matcher.push_rgb(frame)
    return pairs


def rig_of(size: Size) -> RigConfig:
    """The rig by night, its rgb frames of that (height, width)."""
    return RigConfig(rgb_height=size[0], rgb_width=size[1], scenes="night")


def make_pipeline(device: str, precision: str, threads: int, size: Size, registration: str) -> FusionPipeline:
    """A pipeline for the rig's frames; OpenCV gets as many threads as torch. Raises DeviceError where it is not on the device."""
    options: dict[str, Any] = {"model.device": device, "model.precision": precision, "model.threads": threads, "model.allow_cpu": False}
    if registration == "homography":
        options |= {"registration.mode": "homography", "registration.homography": rgb_to_thermal(rig_of(size)).ravel()}
    cv2.setNumThreads(threads)
    return FusionPipeline(build(options))


def pipeline_row(device: str, precision: str, threads: int, size: Size, args: argparse.Namespace) -> dict[str, Any]:
    """All stages of a pair, counts in and picture out; what is learnt after it; processor time and page faults of a pair."""
    pipeline = make_pipeline(device, precision, threads, size, args.registration)
    pairs = rig_pairs(rig_of(size))
    stages: dict[str, list[int]] = {}
    learning: list[int] = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    for index in range(WARM_UP_RUNS + args.runs):
        if index == WARM_UP_RUNS:
            stages.clear()
            learning.clear()
            before = resource.getrusage(resource.RUSAGE_SELF)
        due = time.perf_counter() + (1.0 / args.rate if args.rate else 0.0)
        fused = pipeline.start(pairs[index % len(pairs)])()
        begun = time.perf_counter_ns()
        pipeline.update_sensor_model()
        learning.append(time.perf_counter_ns() - begun)
        for name, duration_ns in fused.timings_ns.items():
            stages.setdefault(name, []).append(duration_ns)
        time.sleep(max(0.0, due - time.perf_counter()))
    after = resource.getrusage(resource.RUSAGE_SELF)
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    used = pipeline.fuser.precision
    pipeline.close()
    return {
        "device": device,
        "precision": used,
        "threads": threads,
        "registration": args.registration,
        "rate_hz": args.rate,
        "thermal": "{1}x{0} mono16".format(*pairs[0].thermal.size),
        "rgb": f"{size[1]}x{size[0]}",
        "stages": {name: spread_ms(durations) for name, durations in stages.items()},
        "learn_mean_ms": round(sum(learning) / len(learning) / 1e6, 3),  # once the picture is on its way, one pair in eight
        "within_fusion": within_fusion(device, used, pairs, args.runs),
        "processor_ms": round(processor_s * 1e3 / args.runs, 3),
        "page_faults": round((after.ru_minflt - before.ru_minflt) / args.runs, 1),
    }


def messages_row(size: Size, runs: int) -> dict[str, Any]:
    """The node's stages around the pipeline: match, and with ROS receive, decode, encode and publish (``ros.message_times``)."""
    found = {"match": spread_ms(matching(rig_pairs(rig_of(size))[0], runs))}
    if find_spec("rclpy") is not None and find_spec("sensor_msgs") is not None:
        command = [sys.executable, "-m", "aenet_ros.ros.tools.message_times", str(size[1]), str(size[0]), str(runs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AenetError(f"message_times ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
        found |= json.loads(done.stdout)
    return {"rgb": f"{size[1]}x{size[0]}", **{name: found[name] for name in ORDER if name in found}}


def matching(pair: FramePair, runs: int) -> list[int]:
    """Durations of pushing both frames of a pair."""
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
    """The parts of the stage fusion by themselves: luma (both planes as float32), network, merge. On a GPU only the network."""
    rgb = pairs[0].rgb.data
    planes = np.random.default_rng(1).random((2, 1, 1, *rgb.shape[:2]), np.float32)
    found = {"network": spread_ms(time_network(load_checkpoint("")[0], device, precision, torch.from_numpy(planes), runs))}
    if device != "cpu":
        return found
    old, fused = color.luma(rgb), planes[0, 0, 0]

    def split() -> None:
        color.to_unit(color.luma(rgb), planes[1, 0, 0])
        np.copyto(planes[0, 0, 0], fused)

    found |= {
        "luma": spread_ms(time_runs(split, runs)),
        "merge": spread_ms(time_runs(lambda: color.merge(rgb, old, color.from_unit(fused)), runs)),
    }
    return {name: found[name] for name in ("luma", "network", "merge")}


def time_network(network: torch.nn.Module, device: str, precision: str, planes: torch.Tensor, runs: int) -> list[int]:
    """Durations of a network on two planes [2, 1, 1, H, W]; fewer runs than asked for where it takes long."""
    kind = torch.float16 if precision == "fp16" else torch.float32
    module = network.eval().to(device, kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    on_device = planes.to(device, kind)
    synchronise = torch.cuda.synchronize if device != "cpu" else None
    with torch.inference_mode():
        once = min(time_runs(lambda: module(on_device[0], on_device[1]), 1, synchronise, warm_up=1))
        return time_runs(
            lambda: module(on_device[0], on_device[1]),
            max(FEWEST, min(runs, LONG_NS // once)),
            synchronise,
            warm_up=min(WARM_UP_RUNS, LONG_NS // once),
        )


def network_row(device: str, precision: str, threads: int, size: Size, runs: int) -> dict[str, Any]:
    """Time of the packaged network and of the yardstick network at one size, measured in turns."""
    torch.set_num_threads(threads)
    planes = torch.rand(2, 1, 1, *size)
    makers: dict[str, Callable[[], torch.nn.Module]] = {"aenet": lambda: load_checkpoint("")[0], "yardstick": TwoConvolutions}
    durations: dict[str, list[int]] = {}
    parameters: dict[str, int] = {}
    for _ in range(3):
        for name, make in makers.items():
            network = make()
            parameters[name] = sum(parameter.numel() for parameter in network.parameters())
            durations.setdefault(name, []).extend(time_network(network, device, precision, planes, max(FEWEST, runs // 3)))
    return {
        "device": device,
        "precision": precision,
        "threads": threads,
        "size": f"{size[1]}x{size[0]}",
        **{name: spread_ms(values) for name, values in durations.items()},
        "parameters": parameters,
    }


def limits_row(size: Size) -> dict[str, Any]:
    """What no machine can avoid: the network's multiply-adds, and the bytes that its convolutions read and write in float32.

    Half of the bytes in float16. What lies between the convolutions is taken to be done with them.
    """
    from torch.utils.flop_counter import FlopCounterMode

    moved: list[int] = []

    def count(layer: torch.nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        moved.append(4 * (given[0].numel() + made.numel() + sum(parameter.numel() for parameter in layer.parameters())))

    network = load_checkpoint("")[0].eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    planes = torch.rand(2, 1, 1, *size)
    with FlopCounterMode(display=False) as counter, torch.enable_grad():  # with gradients the plain operators run, which can be counted
        network(planes[0], planes[1])
    return {
        "size": f"{size[1]}x{size[0]}",
        "multiply_adds_millions": round(counter.get_total_flops() / 2e6, 1),
        "network_megabytes": round(sum(moved) / 1e6, 1),
        "upload_megabytes": round(size[0] * size[1] * 5 / 1e6, 2),
        "download_megabytes": round(size[0] * size[1] * 3 / 1e6, 2),
    }


def reduced_rows(device: str, threads: int, size: Size, runs: int) -> list[dict[str, Any]]:
    """The latency budget's steps: their time, and SSIM of their pictures' luma against the full one's, over the rig's three scenes."""
    pipeline = make_pipeline(device, "auto", threads, size, "identity")
    scenes = [rig_pairs(replace(rig_of(size), scenes=scene), 2)[-1] for scene in ("day", "night", "smoke")]
    seen = [(pipeline.prepare_thermal(pair.thermal)[1].copy(), pair) for pair in scenes]
    warps = pipeline.prepare_grid(seen[0][1].thermal.size, seen[0][1].rgb.size)
    inputs = [(warps.thermal(brightness), pair.rgb.data) for brightness, pair in seen]
    pictures: dict[float, list[Any]] = {}
    durations: dict[float, list[int]] = {scale: [] for scale in SCALES}
    for scale in SCALES:
        pictures[scale] = [color.luma(fuse_downscaled(scale, pipeline.fuser, *pair)).astype(float) for pair in inputs]
    for _ in range(3):
        for scale in SCALES:
            durations[scale] += time_runs(lambda scale=scale: fuse_downscaled(scale, pipeline.fuser, *inputs[1]), max(FEWEST, runs // 3))  # type: ignore[misc]
    pipeline.close()
    return [
        {
            "device": device,
            "threads": threads,
            "rgb": f"{size[1]}x{size[0]}",
            "scale": scale,
            "fusion": spread_ms(durations[scale]),
            "ssim_to_full": {
                scene: round(similarity(one, full)[1], 4)
                for scene, one, full in zip(("day", "night", "smoke"), pictures[scale], pictures[1.0], strict=True)
            },
        }
        for scale in SCALES
    ]
