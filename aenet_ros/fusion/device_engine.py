"""Everything of a pair on one torch device, from a thermal camera's counts on: one upload, one captured CUDA graph, one download, one wait.

A plan holds the buffers for one kind of input (size, types, colour order). Its first pairs are computed step by step, which also
loads and picks the kernels; then the steps are captured and replayed as one. Plans least recently used give way, and a size
that comes back starts anew: so sizes that change all the time are never captured, instead of captured again and again.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from copy import deepcopy
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, nn

from aenet_ros.core.errors import first_line
from aenet_ros.core.frames import Array, BadPixelMap, ThermalInput
from aenet_ros.fusion.device_errors import out_of_memory
from aenet_ros.fusion.engines import fuse_tensors
from aenet_ros.fusion.thermal_tensors import ThermalTensors, brightness

PLANS_KEPT = 4
MAPS_FROM = 7  # of a plan's parts, the first that seldom changes
CAPTURE_AFTER = 2  # pairs of a plan computed step by step before it is captured
ALIGNMENT = 16  # bytes
FEWEST_DEAD = 64  # dead pixels that a plan has room for, or a power of two times this: so one more makes no new plan
TORCH_TYPES = {
    np.dtype(np.uint8): torch.uint8,
    np.dtype(np.uint16): torch.int16,  # older torch has no uint16
    np.dtype(np.int64): torch.int64,
    np.dtype(np.float32): torch.float32,
}
_CAPTURING = threading.Lock()


class Request(NamedTuple):
    """A pair for the engine: see ``Fuser.start``."""

    view: ThermalInput
    rgb: Array
    order: str
    strength: float = 1.0
    reverse: bool = False


class Ticket(NamedTuple):
    """A picture under way: ``picture`` is valid once ``done`` is reached; None where it is already."""

    picture: Array
    done: Any

    def wait(self) -> Array:
        """The picture, when it is ready; on CUDA in page-locked memory. Raises RuntimeError where the device failed meanwhile."""
        if self.done is not None:
            self.done.synchronize()
        return self.picture


class Plan:
    """Staging and device memory for inputs of one kind, and how they are fused. All methods need the engine's stream to be current.

    First come the bytes that every pair brings; the maps, which are as large and seldom change, come last, and then stay behind.
    """

    def __init__(self, device: torch.device, compute: Callable[[ThermalTensors, Tensor, Tensor], Tensor], request: Request) -> None:
        view, rgb = request.view, request.rgb
        room = _room(view.bad_pixels)
        kinds: list[tuple[Any, tuple[int, ...]]] = [
            (np.float32, (3,)),  # black, factor, strength
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
        self._pinned = device.type == "cuda"
        self._compute = compute
        self._staging = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=self._pinned)
        self._memory = torch.empty_like(self._staging, device=device)
        self._pair_bytes = starts[MAPS_FROM]
        host = self._staging.numpy()
        parts = list(zip(starts, sizes, kinds, strict=False))
        self._host = [host[start : start + size].view(kind).reshape(shape) for start, size, (kind, shape) in parts]
        on_device = [
            self._memory[start : start + size].view(TORCH_TYPES[np.dtype(kind)]).view(shape) for start, size, (kind, shape) in parts
        ]
        numbers, counts, self._rgb, columns, pixels, near, shares, sampling, weight = on_device
        self._strength = numbers[2]
        self._view = ThermalTensors(
            counts,
            numbers[:2],
            columns,
            pixels,
            near,
            shares,
            None if view.sampling is None else sampling,
            None if view.weight is None else weight,
        )
        self._maps: tuple[object, ...] = (None, None)
        self._upload_bytes = 0
        self._uploaded: Any = None
        self._uses = 0
        self._output: Tensor | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def captured(self) -> bool:
        """Whether pairs are replayed from a graph."""
        return self._graph is not None

    @property
    def due(self) -> bool:
        """Whether this plan has been used often enough to be worth a capture."""
        return self._graph is None and self._uses >= CAPTURE_AFTER

    def stage(self, request: Request) -> None:
        """Write a pair where the upload takes it from; the maps only where they are other objects than for the pair before."""
        if self._uploaded is not None:
            self._uploaded.synchronize()  # the pair before may still be on its way up
        view = request.view
        numbers, counts, rgb, columns, pixels, near, shares = self._host[:MAPS_FROM]
        numbers[:] = view.black, view.factor, request.strength
        np.copyto(counts, view.counts)
        np.copyto(rgb, request.rgb)
        np.copyto(columns, 0.0 if view.columns is None else view.columns)
        if view.bad_pixels is not None:
            count = len(view.bad_pixels.pixels)
            for room, values in zip((pixels, near, shares), view.bad_pixels, strict=True):
                room[:count], room[count:] = values, values[:1]  # more of the first change nothing
        self._upload_bytes = self._pair_bytes
        maps = (view.sampling, view.weight)
        if any(old is not new for old, new in zip(self._maps, maps, strict=True)):
            self._stage_maps(view)
            self._upload_bytes = self._staging.numel()
            self._maps = maps

    def _stage_maps(self, view: ThermalInput) -> None:
        sampling, weight = self._host[MAPS_FROM:]
        if view.sampling is not None:
            height, width = view.counts.shape
            np.multiply(view.sampling, [np.float32(2 / max(1, width - 1)), np.float32(2 / max(1, height - 1))], out=sampling)
            np.subtract(sampling, np.float32(1), out=sampling)
        if view.weight is not None:
            np.copyto(weight, view.weight)

    def enqueue(self) -> Tensor:
        """Start upload, fusion and download; the returned uint8 tensor (page-locked where the device is CUDA) is valid after a wait."""
        count = self._upload_bytes
        self._memory[:count].copy_(self._staging[:count], non_blocking=True)
        if self._pinned:
            self._uploaded = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._uploaded.record()
        output = self.replay()
        # From torch's cache of page-locked memory: a new picture for the caller without another copy on the CPU.
        picture = torch.empty(output.shape, dtype=torch.uint8, pin_memory=self._pinned)
        return picture.copy_(output, non_blocking=True)

    def replay(self) -> Tensor:
        """Start the fusion of what was uploaded last; the returned tensor on the device is the next call's too."""
        self._uses += 1
        if self._graph is not None and self._output is not None:
            self._graph.replay()
            return self._output
        return self._fuse()

    def capture(self, pool: Any, stream: torch.cuda.Stream) -> None:
        """Record the steps as a graph; raises RuntimeError where something in them cannot be recorded.

        ``stream`` is not the one that pictures are copied on: where a thread frees one meanwhile, torch would record an event into the
        graph and fail at the next picture.
        """
        graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads do on the device (another node in the process) does not break the recording. But torch
        # waits for the whole device before each recording, which breaks another one.
        with _CAPTURING, torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            output = self._fuse()
        self._graph, self._output = graph, output

    def _fuse(self) -> Tensor:
        return self._compute(self._view, self._rgb, self._strength)


class DeviceEngine:
    """Gain, registration, luma split, network and luma merge on one device, on a stream of its own.

    ``problem`` says in words why pairs are not replayed from a graph though they could be; else it is empty.
    """

    def __init__(self, network: nn.Module, device: torch.device, precision: str) -> None:
        self._device = device
        self._dtype = torch.float16 if precision == "fp16" else torch.float32
        # A copy: the network of the CPU must be at hand when the device is lost.
        self._network = deepcopy(network).to(device, self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._plans: OrderedDict[tuple[object, ...], Plan] = OrderedDict()
        self._pictures: WeakValueDictionary[int, Array] = WeakValueDictionary()
        self._started = 0
        self._stream: torch.cuda.Stream | None = None
        self.problem = ""
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._capture_stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # the weights' upload
            # Of one pool, because graphs never run at once and each one's output is gone to the host before the next begins.
            self._pool = torch.cuda.graph_pool_handle()

    def start(self, request: Request) -> Ticket:
        """Set the device to work at a pair, after those before it; returns once the inputs may change again.

        On the CPU it is done when this returns. The arguments were checked by Fuser.
        """
        try:
            return self._start(request)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        # After the handler, for the error holds what was in work, memory and all.
        if self._stream is not None:
            self._stream.synchronize()  # the pair before may use what is given back now
        self._plans.clear()  # what other sizes hold may be all that is missing
        with suppress(RuntimeError):  # before 2.8, torch takes a recording that failed to go on still
            torch.cuda.empty_cache()
        return self._start(request)

    def _start(self, request: Request) -> Ticket:
        with self.stream():
            plan = self.plan(request)
            if plan.due and self._stream is not None and not self.problem:
                self._capture(plan)
            plan.stage(request)
            picture = plan.enqueue().numpy()
            self._pictures[self._started] = picture
            self._started += 1
            done = None
            if self._stream is not None:
                done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # sleeps: a robot's cores have other work
                done.record(self._stream)
        return Ticket(picture, done)

    def pictures(self) -> list[Array]:
        """Those that somebody still holds, of all that were made here."""
        return list(self._pictures.values())

    def stream(self) -> AbstractContextManager[object]:
        """Makes the engine's stream current; nothing on the CPU."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def plan(self, request: Request) -> Plan:
        """The plan for such inputs: one of those at hand, or a new one in place of the least recently used."""
        view, order, reverse = request.view, request.order, request.reverse
        shapes = (view.counts.shape, request.rgb.shape)
        key = (*shapes, view.counts.dtype.name, order, reverse, _room(view.bad_pixels), view.sampling is None, view.weight is None)
        plan = self._plans.pop(key, None)
        if plan is None:
            while len(self._plans) >= PLANS_KEPT:
                self._plans.popitem(last=False)
            network, dtype = self._network, self._dtype  # not self: a cycle would keep the device's memory until it is collected

            def compute(view: ThermalTensors, rgb: Tensor, strength: Tensor) -> Tensor:
                fused = fuse_tensors(network, brightness(view), rgb, order, view.weight, strength, dtype)
                return fused.flip(-1) if reverse else fused

            plan = Plan(self._device, compute, request)
        self._plans[key] = plan
        return plan

    def _capture(self, plan: Plan) -> None:
        """Capture; where that fails pairs go on step by step, and ``problem`` says so."""
        try:
            plan.capture(self._pool, self._capture_stream)
        except RuntimeError as error:
            cause = error.__context__ if isinstance(error.__context__, Exception) else error  # a failed recording's end raises too
            if out_of_memory(error) or out_of_memory(cause):
                raise
            self.problem = f"slower than it could be: the steps cannot be captured as a CUDA graph ({first_line(cause)})"


def _room(bad_pixels: BadPixelMap | None) -> int:
    """Dead pixels to have room for."""
    room = FEWEST_DEAD if bad_pixels else 0
    while bad_pixels and room < len(bad_pixels.pixels):
        room *= 2
    return room
