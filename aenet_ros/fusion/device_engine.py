"""Everything of a frame on one torch device: one upload, one captured CUDA graph, one download, one wait.

A plan holds the buffers for one kind of input (size, types, colour order). Its first frames are computed step by step, which also
loads and picks the kernels; then the steps are captured and replayed as one. Plans least recently used give way, and a size
that comes back starts anew: so sizes that change all the time are never captured, instead of captured again and again.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aenet_ros.frames import Array, Plane
from aenet_ros.fusion.engines import fuse_tensors

PLANS_KEPT = 4
CAPTURE_AFTER = 2  # frames of a plan computed step by step before it is captured
ALIGNMENT = 16  # bytes


class Plan:
    """Staging and device memory for inputs of one kind, and how they are fused. All methods need the engine's stream to be current.

    The bytes are strength, thermal, rgb and weight, in this order: what seldom changes comes last, and then stays behind.
    """

    def __init__(
        self, device: torch.device, compute: Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor], thermal: Array, rgb: Array
    ) -> None:
        sizes = (4, thermal.nbytes, rgb.nbytes, 4 * thermal.size)
        starts = [0]
        for size in sizes:
            starts.append(-(-(starts[-1] + size) // ALIGNMENT) * ALIGNMENT)
        self._pinned = device.type == "cuda"
        self._compute = compute
        self._staging = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=self._pinned)
        self._memory = torch.empty_like(self._staging, device=device)
        self._frame_bytes = starts[3]
        kinds = (np.dtype(np.float32), thermal.dtype, rgb.dtype, np.dtype(np.float32))
        shapes = ((), thermal.shape, rgb.shape, thermal.shape)
        parts = list(zip(starts, sizes, kinds, shapes, strict=False))
        host = self._staging.numpy()
        self._host = [host[start : start + size].view(kind).reshape(shape) for start, size, kind, shape in parts]
        self._device = [
            self._memory[start : start + size].view(torch.uint8 if kind == np.uint8 else torch.float32).view(shape)
            for start, size, kind, shape in parts
        ]
        self._weight: Plane | None = None
        self._upload_bytes = 0
        self._uses = 0
        self._output: Tensor | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def captured(self) -> bool:
        """Whether frames are replayed from a graph."""
        return self._graph is not None

    @property
    def due(self) -> bool:
        """Whether this plan has been used often enough to be worth a capture."""
        return self._graph is None and self._uses >= CAPTURE_AFTER

    def stage(self, thermal: Array, rgb: Array, weight: Plane | None, strength: float) -> None:
        """Write a frame where the upload takes it from; a weight only once, for Registration hands over the same array for every frame."""
        host_strength, host_thermal, host_rgb, host_weight = self._host
        host_strength[...] = strength
        np.copyto(host_thermal, thermal)
        np.copyto(host_rgb, rgb)
        self._upload_bytes = self._frame_bytes
        if weight is not self._weight and weight is not None:
            np.copyto(host_weight, weight)
            self._upload_bytes = self._staging.numel()
        self._weight = weight

    def enqueue(self) -> Tensor:
        """Start upload, fusion and download; the returned uint8 tensor (page-locked where the device is CUDA) is valid after a wait."""
        count = self._upload_bytes
        self._memory[:count].copy_(self._staging[:count], non_blocking=True)
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
        """Record the steps as a graph; raises RuntimeError where something in them cannot be recorded."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads do on the device (another node in the process) does not break the recording.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            output = self._fuse()
        self._graph, self._output = graph, output

    def _fuse(self) -> Tensor:
        strength, thermal, rgb, weight = self._device
        return self._compute(thermal, rgb, None if self._weight is None else weight, strength)


class DeviceEngine:
    """Luma split, network and luma merge on one device, on a stream of its own.

    ``problem`` says in words why frames are not replayed from a graph though they could be; else it is empty.
    """

    def __init__(self, network: nn.Module, device: torch.device, precision: str) -> None:
        self._device = device
        self._dtype = torch.float16 if precision == "fp16" else torch.float32
        # A copy: the network of the CPU must be at hand when the device is lost.
        self._network = deepcopy(network).to(device, self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._plans: OrderedDict[tuple[object, ...], Plan] = OrderedDict()
        self._stream: torch.cuda.Stream | None = None
        self.problem = ""
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # the weights' upload
            # Of one pool, because graphs never run at once and each one's output is gone to the host before the next begins.
            self._pool = torch.cuda.graph_pool_handle()

    def run(self, thermal: Array, rgb: Array, order: str, weight: Plane | None, strength: float) -> Array:
        """See Fuser.fuse, which has checked the arguments. On CUDA the result lies in page-locked memory: who keeps many, copies."""
        try:
            return self._run(thermal, rgb, order, weight, strength)
        except torch.cuda.OutOfMemoryError:
            pass  # and on after the handler, for the error holds what was in work, memory and all
        self._plans.clear()  # what other sizes hold may be all that is missing
        torch.cuda.empty_cache()
        return self._run(thermal, rgb, order, weight, strength)

    def _run(self, thermal: Array, rgb: Array, order: str, weight: Plane | None, strength: float) -> Array:
        with self.stream():
            plan = self.plan(thermal, rgb, order, weight)
            if plan.due and self._stream is not None and not self.problem:
                self._capture(plan, self._stream)
            plan.stage(thermal, rgb, weight, strength)
            picture = plan.enqueue()
            if self._stream is not None:
                self._stream.synchronize()
        return picture.numpy()

    def stream(self) -> AbstractContextManager[object]:
        """Makes the engine's stream current; nothing on the CPU."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def plan(self, thermal: Array, rgb: Array, order: str, weight: Plane | None) -> Plan:
        """The plan for such inputs: one of those at hand, or a new one in place of the least recently used."""
        key = (thermal.dtype.str, rgb.shape, order, weight is None)
        plan = self._plans.pop(key, None)
        if plan is None:
            while len(self._plans) >= PLANS_KEPT:
                self._plans.popitem(last=False)
            network, dtype = self._network, self._dtype  # not self: a cycle would keep the device's memory until it is collected

            def compute(thermal: Tensor, rgb: Tensor, weight: Tensor | None, strength: Tensor) -> Tensor:
                return fuse_tensors(network, thermal, rgb, order, weight, strength, dtype)

            plan = Plan(self._device, compute, thermal, rgb)
        self._plans[key] = plan
        return plan

    def _capture(self, plan: Plan, stream: torch.cuda.Stream) -> None:
        """Capture; where that fails frames go on step by step, and ``problem`` says so."""
        try:
            plan.capture(self._pool, stream)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.problem = f"slower than it could be: the steps cannot be captured as a CUDA graph ({str(error).splitlines()[0]})"
