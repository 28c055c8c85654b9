"""All of a pair's work on one torch device, from thermal counts on: one upload, one captured CUDA graph, one download, one wait.

A ``GraphPlan`` holds the buffers for one kind of input (sizes, types, colour order). It runs step by step a few times, which also loads
and selects the kernels; then the steps are captured as a graph and replayed. For the first plans this is done with the first pair, so that
no later pair waits for it. The least recently used plan is dropped, and a size that comes back starts with a new plan, which needs some
pairs of its own before it is captured. So sizes that change all the time are never captured.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from copy import deepcopy
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros.core.errors import first_line
from aenet_ros.core.frames import Array, BadPixelMap, ThermalInput
from aenet_ros.fusion.color import fuse_tensors
from aenet_ros.fusion.engine import FusionJob, PendingImage
from aenet_ros.fusion.placement import is_out_of_memory

PLANS_KEPT = 4
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
_CAPTURING = threading.Lock()


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
    warped: Tensor = F.grid_sample(unit[None, None], thermal.sampling[None], mode="bilinear", padding_mode="border", align_corners=True)
    return warped[0, 0]


class Graph(Protocol):
    """Steps that were captured."""

    def replay(self) -> None:
        """Start the same steps again, on the same memory."""


class Graphs(Protocol):
    """Captures steps; the tests have one for torch's CPU."""

    def capture(self, steps: Callable[[], Tensor]) -> tuple[Graph, Tensor]:
        """The graph of ``steps`` and its output, which each replay overwrites. Raises RuntimeError where a step cannot be captured."""


class CudaGraphs:
    """CUDA graphs, on a stream of their own and in one memory pool.

    One pool: graphs never run at the same time, and each one's output is copied to the host before the next begins. The stream must not be
    the one that pictures are copied on: where another thread frees one during the capture, torch would record an event into the graph and
    fail at the next picture.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, steps: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """See ``Graphs``."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: work of other threads on the device (another node of the process) does not break the capture. The lock: torch
        # waits for the whole device before each capture, which would break another one.
        with _CAPTURING, torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            output = steps()
        return graph, output


class GraphPlan:
    """Staging and device memory for inputs of one kind, and their fusion. All methods need the engine's stream to be current.

    What every pair brings comes first in memory; the maps, which are as large and seldom change, come last and are uploaded on change.
    """

    def __init__(self, device: torch.device, network: nn.Module, dtype: torch.dtype, job: FusionJob) -> None:
        view, rgb = job.thermal, job.rgb
        room = _capacity(view.bad_pixels)
        kinds: list[tuple[Any, tuple[int, ...]]] = [
            (np.float32, (5,)),  # black, factor, knee, slope, thermal_weight
            (view.counts.dtype.newbyteorder("="), view.counts.shape),
            (rgb.dtype, rgb.shape),
            (np.float32, view.counts.shape[1:]),  # columns
            (np.int64, (room,)),
            (np.int64, (room, 8)),
            (np.float32, (room, 8)),
            (np.float32, (0,) if view.sampling is None else view.sampling.shape),
            (np.float32, (0,) if view.weight is None else view.weight.shape),
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
        maps = [part if part.numel() else None for part in parts[FIRST_MAP:]]
        self._thermal = ThermalTensors(counts, numbers[:4], *columns_and_bad_pixels, *maps)
        self._thermal_weight = numbers[4]
        self._maps: tuple[object, ...] = (None, None)
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
        if view.sampling is not self._maps[0] or view.weight is not self._maps[1]:
            self._stage_maps(view)
            self._upload_bytes = self._staging.numel()

    def _stage_maps(self, view: ThermalInput) -> None:
        sampling, weight = self._host[FIRST_MAP:]
        if view.sampling is not None:
            height, width = view.counts.shape
            np.multiply(view.sampling, [np.float32(2 / max(1, width - 1)), np.float32(2 / max(1, height - 1))], out=sampling)
            np.subtract(sampling, np.float32(1), out=sampling)
        if view.weight is not None:
            np.copyto(weight, view.weight)
        self._maps = (view.sampling, view.weight)

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

    def capture(self, graphs: "Graphs") -> None:
        """Capture the steps as a graph; raises RuntimeError where a step cannot be captured."""
        self._graph, self._output = graphs.capture(self._fuse)

    def _fuse(self) -> Tensor:
        plane = brightness(self._thermal)
        fused = fuse_tensors(self._network, plane, self._rgb, self._order, self._thermal.weight, self._thermal_weight, self._dtype)
        return fused.flip(-1) if self._flips else fused


class DeviceEngine:
    """Gain, registration, luma split, network and luma merge on one device, on a stream of its own.

    ``problem`` says why pairs are not replayed from a graph though the device is CUDA; "" where they are. ``graphs``: what captures them;
    None: CUDA graphs on CUDA, else nothing is captured.
    """

    def __init__(self, network: nn.Module, device: torch.device, precision: str, graphs: Graphs | None = None) -> None:
        self._device = device
        self._dtype = torch.float16 if precision == "fp16" else torch.float32
        # A copy: the network on the CPU must stay usable when the device is lost.
        self._network = deepcopy(network).to(device, self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._plans: OrderedDict[tuple[object, ...], GraphPlan] = OrderedDict()
        self._pictures: WeakValueDictionary[int, Array] = WeakValueDictionary()
        self._stream: torch.cuda.Stream | None = None
        self._dropped = False
        self.problem = ""
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # the weights' upload
            graphs = graphs or CudaGraphs(device)
        self._graphs = graphs

    def submit(self, job: FusionJob) -> PendingImage:
        """Start a job, which runs after those before it; its arrays may change once this returns. The picture is in page-locked memory.

        On torch's CPU device the job is done when this returns, and the memory is not page-locked.
        """
        try:
            return self._submit(job)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler: the error object holds references to the memory in question.
        if self._stream is not None:
            self._stream.synchronize()  # the pair before may use what is freed now
        self._plans.clear()  # the plans of other sizes may hold what is missing
        self._dropped = True
        with suppress(RuntimeError):  # before 2.8, torch takes a failed capture to be still going on
            torch.cuda.empty_cache()
        return self._submit(job)

    def _submit(self, job: FusionJob) -> PendingImage:
        with self.stream():
            plan = self.plan(job)
            plan.stage(job)
            if self._graphs is not None and not self.problem:
                if plan.unused and not self._dropped:
                    plan.rehearse()
                if plan.ready_to_capture:
                    self._capture(plan, self._graphs)
            image = plan.enqueue().numpy()
            self._pictures[id(image)] = image
            done = None
            if self._stream is not None:
                done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # sleeps: a robot's cores have other work
                done.record(self._stream)
        return PendingImage(image, done)

    def pictures(self) -> list[Array]:
        """The pictures made by this engine that are still referenced."""
        return list(self._pictures.values())

    def stream(self) -> AbstractContextManager[object]:
        """Context that makes the engine's stream current; does nothing on torch's CPU device."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def plan(self, job: FusionJob) -> GraphPlan:
        """The plan for inputs like those of ``job``; a new one replaces the least recently used."""
        view = job.thermal
        counts = (view.counts.shape, view.counts.dtype.name, _capacity(view.bad_pixels), view.sampling is None, view.weight is None)
        key = (*counts, job.rgb.shape, job.order, job.output_order)
        if key not in self._plans:
            if len(self._plans) == PLANS_KEPT:
                self._plans.popitem(last=False)
                self._dropped = True
            self._plans[key] = GraphPlan(self._device, self._network, self._dtype, job)
        self._plans.move_to_end(key)
        return self._plans[key]

    def _capture(self, plan: GraphPlan, graphs: Graphs) -> None:
        """Capture a plan; where that fails pairs go on step by step, and ``problem`` says so."""
        try:
            plan.capture(graphs)
        except RuntimeError as error:
            cause = error.__context__ if isinstance(error.__context__, Exception) else error  # the end of a failed capture raises too
            if is_out_of_memory(error) or is_out_of_memory(cause):
                raise
            self.problem = f"slower than it could be: the steps cannot be captured as a CUDA graph ({first_line(cause)})"


def _capacity(bad: BadPixelMap | None) -> int:
    """Number of bad pixels that a plan has memory for: a power of two."""
    return max(BAD_PIXELS, 1 << (len(bad.pixels) - 1).bit_length()) if bad else BAD_PIXELS
