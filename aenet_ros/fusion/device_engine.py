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
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from aenet_ros.core.errors import first_line
from aenet_ros.core.frames import Array
from aenet_ros.fusion.engine import FusionJob, PendingImage
from aenet_ros.fusion.graph_plan import GraphPlan, Graphs, capacity
from aenet_ros.fusion.placement import is_out_of_memory

PLANS_KEPT = 4
_CAPTURING = threading.Lock()


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
        counts = (view.counts.shape, view.counts.dtype.name, capacity(view.bad_pixels), view.sampling is None, view.weight is None)
        placement = None if job.placement is None else (job.placement.size, job.placement.sampling is None, job.placement.share is None)
        key = (*counts, job.rgb.shape, placement, job.picture_size, job.scale, job.order, job.output_order)
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
