"""The work of a pair on one torch device as fixed steps on fixed memory, so that a CUDA graph can be captured of them and replayed.

A ``GraphPlan`` holds the memory for one kind of input (sizes, types, colour order).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros.core.camera import Size
from aenet_ros.core.frames import Array, BadPixelMap, Plane
from aenet_ros.fusion.color import fuse_tensors
from aenet_ros.fusion.engine import FusionJob, downscaled, shrink_steps
from aenet_ros.fusion.resampling import Resampling, make_resampling, make_scaling, resample, resample_levels

FIRST_MAP = 7  # index of the first part of a plan that seldom changes
CAPTURE_AFTER = 2  # pairs of a plan that run step by step before it is captured
ALIGNMENT = 16  # bytes
BAD_PIXELS = 1024  # capacity of a plan, so that bad pixels found later need no new plan; a power of two, doubled for a sensor that has more
TORCH_TYPES = {
    np.dtype(np.uint8): torch.uint8,
    np.dtype(np.uint16): torch.int16,  # older torch has no uint16
    np.dtype(np.int64): torch.int64,
    np.dtype(np.float32): torch.float32,
}
NO_BAD_PIXELS = BadPixelMap(
    np.zeros(1, np.int64), np.zeros((1, 8), np.int64), np.array([[1, 0, 0, 0, 0, 0, 0, 0]], np.float32)
)  # the first pixel becomes itself


class ThermalTensors(NamedTuple):
    """The parts of a ``ThermalInput`` on a device.

    counts: uint8, int16 (the bits of uint16) or float32 [h, w]; gain: float32 [4], black, factor, knee and slope; columns: float32 [w];
    pixels, neighbours, shares: a BadPixelMap's, int64 [N], int64 [N, 8] and float32 [N, 8]; sampling: float32 [H, W, 2] in the units of
    torch's grid_sample (-1 is the first pixel's centre, 1 the last's), or None; weight: float32 [H, W] or None.
    """

    counts: Tensor
    gain: Tensor
    columns: Tensor
    pixels: Tensor
    neighbours: Tensor
    shares: Tensor
    sampling: Tensor | None
    weight: Tensor | None


def brightness(thermal: ThermalTensors) -> Tensor:
    """Brightness on the picture's grid, float32 [H, W] in 0..1."""
    is_uint16 = thermal.counts.dtype == torch.int16
    counts = thermal.counts.to(torch.int32).bitwise_and_(0xFFFF).float() if is_uint16 else thermal.counts.float()
    black, factor, knee, slope = thermal.gain
    unit: Tensor = (counts - (thermal.columns + black)).mul_(factor).clamp_(0.0, 1.0)
    unit = torch.maximum(unit, unit * slope + knee * (1.0 - slope)).clamp_(max=1.0)
    if thermal.counts.dtype == torch.float32:
        unit = unit.masked_fill(torch.isfinite(counts).logical_not_(), 0.0)
    flat = unit.view(-1)
    flat.index_copy_(0, thermal.pixels, (flat[thermal.neighbours] * thermal.shares).sum(1))
    if thermal.sampling is None:
        return unit
    return _sample(unit[None], thermal.sampling)[0]


def _sample(channels: Tensor, sampling: Tensor) -> Tensor:
    """Bilinear interpolation of float32 [C, h, w] at ``sampling`` of ``ThermalTensors``: [C, H, W]."""
    sampled: Tensor = F.grid_sample(channels[None], sampling[None], mode="bilinear", padding_mode="border", align_corners=True)
    return sampled[0]


class Graph(Protocol):
    """Steps that were captured."""

    def replay(self) -> None:
        """Start the same steps again, on the same memory."""


class Graphs(Protocol):
    """Captures steps; the tests have one for torch's CPU."""

    def capture(self, steps: Callable[[], Tensor]) -> tuple[Graph, Tensor]:
        """The graph of ``steps`` and its output, which each replay overwrites. Raises RuntimeError where a step cannot be captured."""


class GraphPlan:
    """Staging and device memory for inputs of one kind, and their fusion. All methods need the engine's stream to be current.

    What every pair brings comes first in memory; the maps, which are as large and seldom change, come last and are uploaded on change.
    """

    def __init__(self, device: torch.device, network: nn.Module, dtype: torch.dtype, job: FusionJob) -> None:
        view, rgb = job.thermal, job.rgb
        room = capacity(view.bad_pixels)
        kinds: list[tuple[Any, tuple[int, ...]]] = [
            (np.float32, (5,)),  # black, factor, knee, slope, thermal_weight
            (view.counts.dtype.newbyteorder("="), view.counts.shape),
            (rgb.dtype, rgb.shape),
            (np.float32, view.counts.shape[1:]),  # columns
            (np.int64, (room,)),
            (np.int64, (room, 8)),
            (np.float32, (room, 8)),
            *((np.float32, (0,) if part is None else part.shape) for part in _maps(job)),
        ]
        sizes = [int(np.dtype(kind).itemsize * np.prod(shape)) for kind, shape in kinds]
        starts = [0]
        for size in sizes:
            starts.append(-(-(starts[-1] + size) // ALIGNMENT) * ALIGNMENT)
        self._network, self._dtype = network, dtype
        self._order, self._flips = job.order, job.order != job.output_order and rgb.ndim == 3
        self._pinned, self._pair_bytes = device.type == "cuda", starts[FIRST_MAP]
        self._staging = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=self._pinned)
        self._memory = torch.empty_like(self._staging, device=device)
        self._host: list[Array] = []
        parts: list[Tensor] = []
        for start, size, (kind, shape) in zip(starts, sizes, kinds, strict=False):
            self._host.append(self._staging.numpy()[start : start + size].view(kind).reshape(shape))
            parts.append(self._memory[start : start + size].view(TORCH_TYPES[np.dtype(kind)]).view(shape))
        numbers, counts, self._rgb, *columns_and_bad_pixels = parts[:FIRST_MAP]
        *maps, self._rgb_sampling, self._rgb_share = (part if part.numel() else None for part in parts[FIRST_MAP:])
        self._thermal = ThermalTensors(counts, numbers[:4], *columns_and_bad_pixels, *maps)
        self._thermal_weight = numbers[4]
        self._maps: tuple[object, ...] = (None,) * 4
        placed = (rgb.shape[0], rgb.shape[1]) if job.placement is None else job.placement.size
        self._scale_thermal = make_scaling(view.counts.shape, view.picture_size, device) if view.sampling is None else None
        self._scale_rgb = make_scaling((rgb.shape[0], rgb.shape[1]), placed, device)
        full, small = job.picture_size, downscaled(job.picture_size, job.scale)
        self._smaller: tuple[Resampling, Resampling] | None = None
        if small != full:
            back = make_resampling(small, [(full, cv2.INTER_LINEAR)], device)
            self._smaller = make_resampling(full, shrink_steps(full, small), device), back
        self._upload_bytes = 0
        self._uploaded: Any = None
        self._uses = 0
        self._output: Tensor | None = None
        self._graph: Graph | None = None

    @property
    def captured(self) -> bool:
        """Whether pairs are replayed from a graph."""
        return self._graph is not None

    @property
    def unused(self) -> bool:
        """Whether no pair has run yet."""
        return self._uses == 0

    def rehearse(self) -> None:
        """Run the staged pair step by step as often as a capture needs."""
        for _ in range(CAPTURE_AFTER):
            self.enqueue()

    @property
    def ready_to_capture(self) -> bool:
        """Whether this plan has been used often enough to be worth a capture."""
        return self._graph is None and self._uses >= CAPTURE_AFTER

    def stage(self, job: FusionJob) -> None:
        """Write a pair to the staging memory; the maps only where they are other objects than those of the pair before."""
        if self._uploaded is not None:
            self._uploaded.synchronize()  # the upload of the pair before may not be done yet
        view = job.thermal
        numbers, counts, rgb, columns = self._host[: FIRST_MAP - 3]
        numbers[:] = view.black, view.factor, view.knee, view.slope, job.thermal_weight
        np.copyto(counts, view.counts)
        np.copyto(rgb, job.rgb)
        np.copyto(columns, 0.0 if view.columns is None else view.columns)
        bad = view.bad_pixels or NO_BAD_PIXELS
        count = len(bad.pixels)
        for part, values in zip(self._host[FIRST_MAP - 3 : FIRST_MAP], bad, strict=True):
            part[:count], part[count:] = values, values[:1]  # repeating the first one changes nothing
        self._upload_bytes = self._pair_bytes
        maps = _maps(job)
        if any(new is not old for new, old in zip(maps, self._maps, strict=True)):
            sampling, weight, rgb_sampling, rgb_share = self._host[FIRST_MAP:]
            if view.sampling is not None:
                _to_grid_units(view.sampling, view.counts.shape, sampling)
            if view.weight is not None:
                np.copyto(weight, view.weight)
            if job.placement is not None and job.placement.sampling is not None:
                _to_grid_units(job.placement.sampling, job.placement.size, rgb_sampling)
            if job.placement is not None and job.placement.share is not None:
                np.copyto(rgb_share, job.placement.share)
            self._maps, self._upload_bytes = maps, self._staging.numel()

    def enqueue(self) -> Tensor:
        """Start upload, fusion and download; the uint8 tensor (page-locked on CUDA) is valid once the stream has got there."""
        count = self._upload_bytes
        self._memory[:count].copy_(self._staging[:count], non_blocking=True)
        if self._pinned:
            self._uploaded = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._uploaded.record()
        output = self.replay()
        # From torch's cache of page-locked memory: a new picture for the caller without a further copy on the CPU.
        picture = torch.empty(output.shape, dtype=torch.uint8, pin_memory=self._pinned)
        return picture.copy_(output, non_blocking=True)

    def replay(self) -> Tensor:
        """Start the fusion of the uploaded pair; the tensor on the device is overwritten by the next call."""
        self._uses += 1
        if self._graph is not None and self._output is not None:
            self._graph.replay()
            return self._output
        return self._fuse()

    def capture(self, graphs: Graphs) -> None:
        """Capture the steps as a graph; raises RuntimeError where a step cannot be captured."""
        self._graph, self._output = graphs.capture(self._fuse)

    @property
    def constants(self) -> list[Tensor]:
        """What the steps read besides the uploaded memory and the network."""
        parts = (self._scale_thermal, self._scale_rgb, *(self._smaller or ()))
        return [tensor for part in parts if part is not None for tensor in part]

    def _fuse(self) -> Tensor:
        plane, weight = brightness(self._thermal), self._thermal.weight
        if self._scale_thermal is not None:
            plane = resample(plane, self._scale_thermal)
        rgb = self._place_rgb(plane)
        fused = fuse_tensors(self._network, plane, rgb, self._order, weight, self._thermal_weight, self._dtype, self._smaller)
        return fused.flip(-1) if self._flips else fused

    def _place_rgb(self, brightness: Tensor) -> Tensor:
        """The rgb frame on the picture's grid, as ``frames.place_rgb``; float32 with whole numbers."""
        rgb, share = self._rgb.float(), self._rgb_share
        if self._scale_rgb is not None:
            rgb = resample_levels(rgb, self._scale_rgb)
        if self._rgb_sampling is not None:
            warped = _sample((rgb if rgb.dim() == 3 else rgb[..., None]).permute(2, 0, 1), self._rgb_sampling).round_()
            rgb = warped.permute(1, 2, 0) if rgb.dim() == 3 else warped[0]
        if share is not None:
            weight = self._thermal.weight
            grey = (brightness * (255.0 if weight is None else 255.0 * weight)).round_()
            rgb = torch.lerp(grey[..., None], rgb, share[..., None]) if rgb.dim() == 3 else torch.lerp(grey, rgb, share)
            rgb = rgb.round_()
        return rgb


def _maps(job: FusionJob) -> tuple[Plane | None, ...]:
    """The parts of a job that are as large as the picture and seldom change."""
    placement = job.placement
    on_rgb = (None, None) if placement is None else (placement.sampling, placement.share)
    return (job.thermal.sampling, job.thermal.weight, *on_rgb)


def capacity(bad: BadPixelMap | None) -> int:
    """Number of bad pixels that a plan has memory for: a power of two."""
    return max(BAD_PIXELS, 1 << (len(bad.pixels) - 1).bit_length()) if bad else BAD_PIXELS


def _to_grid_units(sampling: Plane, source: Size, out: Plane) -> None:
    """Write a sampling in pixels of a picture of ``source`` in the units of torch's grid_sample."""
    height, width = source
    np.multiply(sampling, [np.float32(2 / max(1, width - 1)), np.float32(2 / max(1, height - 1))], out=out)
    np.subtract(out, np.float32(1), out=out)
