"""Fuser: one thermal and one rgb picture in, the fused picture out. Owns the network and its device."""

from contextlib import suppress
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch

from aenet_ros.config import ModelConfig
from aenet_ros.core.errors import DeviceError, ImageError
from aenet_ros.core.frames import Array, Plane, ThermalInput, require_array
from aenet_ros.fusion.checkpoint import load_checkpoint, load_onnx
from aenet_ros.fusion.cpu_network import CpuNetwork
from aenet_ros.fusion.device_engine import DeviceEngine
from aenet_ros.fusion.engine import CpuEngine, FusionJob, PendingImage, fuse_downscaled, render
from aenet_ros.fusion.graph_plan import CAPTURE_AFTER
from aenet_ros.fusion.network import MIN_SIZE, AENet
from aenet_ros.fusion.placement import choose_placement, device_errors, is_out_of_memory, keep_forever, thread_count


class Fuser:
    """Loads the weights onto the device once; ``fuse`` then takes pictures of any size. Not for several threads at once.

    device, precision: where and how the network runs. card: the weights' card. fallback: why that is not what was asked for, or "".
    backend: "torch" or "onnxruntime"; backend_reason: why, where it was chosen.
    A device that fails, at the start or later, is replaced by the CPU.
    Raises DeviceError where the device is absent or fails and ``model.allow_cpu`` is false, CheckpointError for the weights, ConfigError
    for an unknown device, MissingDependencyError where the backend is not installed.
    """

    def __init__(self, model: ModelConfig | None = None) -> None:
        self._model = model = model or ModelConfig()
        self._engine: CpuEngine | DeviceEngine | None = None
        self.device, self.precision, self._reason = choose_placement(model)
        self.backend, self.backend_reason = "onnxruntime" if model.backend == "onnx" else "torch", ""
        self._source: AENet | bytes
        self._source, self.card = load_onnx(model.weights) if model.backend == "onnx" else load_checkpoint(model.weights)
        try:
            self._start_engine()
        except DeviceError as error:
            self._switch_to_cpu(error)

    @property
    def fallback(self) -> str:
        """Why this is not what was asked for; "" where it is."""
        problem = self._engine.problem if isinstance(self._engine, DeviceEngine) else ""
        return "; ".join(reason for reason in (self._reason, problem) if reason)

    def choose_backend(self, size: tuple[int, int], wanted: str = "") -> None:
        """With ``model.backend: auto`` on a CPU: measure torch and ONNX Runtime at ``size`` (height, width), and use the faster one.

        ``wanted``: "torch" or "onnxruntime", used without measuring.
        """
        if self._model.backend == "auto" and isinstance(self._engine, CpuEngine) and isinstance(self._source, AENet):
            from aenet_ros.fusion.onnx_shares import choose  # a device does not need it

            network, self.backend, self.backend_reason = choose(self._source, size, thread_count(self._model.threads), wanted)
            self._engine = CpuEngine(network)

    @property
    def takes_counts(self) -> bool:
        """Whether jobs may hold thermal counts, and one more may be submitted before the last one's result is asked for."""
        return isinstance(self._engine, DeviceEngine)

    def fuse(self, thermal: Array, rgb: Array, *, order: str = "rgb", weight: Plane | None = None, thermal_weight: float = 1.0) -> Array:
        """The fused picture, a new uint8 array with the shape and channel order of ``rgb``.

        thermal: [H, W], uint8 or float32 in 0..1, hot is bright, on the pixel grid of rgb.
        rgb: uint8 [H, W, 3], channels in ``order`` "rgb" or "bgr"; or a grey picture [H, W].
        weight: float32 [H, W] in 0..1, thermal share of each pixel; where it is 0 the result is exactly rgb. None: 1 everywhere.
        thermal_weight: 0..1, share of the fusion in the picture; 1 is the network's own result.
        Raises ImageError for other types, sizes or values, and DeviceError when the device fails and the CPU is not allowed.
        """
        for name, value in (("thermal", thermal), ("rgb", rgb), *([] if weight is None else [("weight", weight)])):
            require_array(name, value)
        _check_rgb(rgb, order, thermal_weight, rgb.shape[:2])
        _check_planes(thermal, rgb.shape[:2], weight)
        # A new object each time: engines keep what they made of a map until the object changes, and the caller may write into this one.
        weight, is_uint8 = None if weight is None else weight[:], thermal.dtype == np.uint8
        view = ThermalInput(thermal, factor=1.0 / 255.0 if is_uint8 else 1.0, weight=weight, rendered=not is_uint8)
        return self.submit(FusionJob(view, rgb, order, thermal_weight, order)).result()

    @torch.inference_mode()
    def submit(self, job: FusionJob) -> "SubmittedImage":
        """Start a job. ``result()`` blocks until it is fused; where ``takes_counts``, one more job may be submitted before.

        Raises as ``fuse``; so does ``result()``.
        """
        if self._engine is None:
            raise DeviceError("this Fuser was closed; make a new one")
        _check_rgb(job.rgb, job.order, job.thermal_weight, job.picture_size)
        rendered, size = job.thermal.picture_size, job.picture_size
        if rendered != size:
            raise ImageError(f"thermal is warped to {rendered[1]}x{rendered[0]}, and rgb is {size[1]}x{size[0]}")
        try:
            with device_errors(self.device):
                engine = self._engine
                pending = engine.submit(job) if isinstance(engine, DeviceEngine) else fuse_downscaled(engine.submit, render(job))
        except DeviceError as error:
            self._switch_to_cpu(error)
            return self.submit(job)
        return SubmittedImage(self, self._engine, self.device, pending, job)

    def _start_engine(self) -> None:
        with device_errors(self.device):
            if isinstance(self._source, bytes):
                from aenet_ros.fusion.onnx_network import OnnxNetwork  # model.backend onnx alone needs it

                self._engine = CpuEngine(OnnxNetwork(self._source, self.device, self.precision, thread_count(self._model.threads)))
            elif self.device == "cpu":
                self._engine = CpuEngine(CpuNetwork(self._source))
            else:
                self._engine = DeviceEngine(self._source, torch.device(self.device), self.precision)

    def _switch_to_cpu(self, error: DeviceError) -> None:
        """Replace the engine by one on the CPU. Raises ``error`` where that is not allowed, or the device is the CPU already."""
        if self.device != "cpu" and not is_out_of_memory(error.__cause__):
            keep_forever(self._engine, *(self._engine.pictures() if isinstance(self._engine, DeviceEngine) else ()))
        if self.device == "cpu" or not self._model.allow_cpu:
            raise error
        self.close()
        self._reason = f"on cpu instead of {self.device}: {error}"
        self.device, self.precision = "cpu", "fp32"
        self._start_engine()

    def warm_up(self, size: tuple[int, int]) -> None:
        """Fuse empty pictures of ``size`` (height, width): loads the libraries and tries the device."""
        for _ in range(CAPTURE_AFTER + 1):
            self.fuse(np.zeros(size, np.float32), np.zeros((*size, 3), np.uint8))

    def close(self) -> None:
        """Free the network and the device's memory; ``fuse`` raises DeviceError from now on."""
        self._engine = None
        if torch.cuda.is_available():
            with suppress(RuntimeError):  # a lost device has none to free
                torch.cuda.empty_cache()


class SubmittedImage(NamedTuple):
    """A job of ``fuser``; a ``device`` that fails meanwhile is replaced by the CPU."""

    fuser: Fuser
    engine: CpuEngine | DeviceEngine
    device: str
    pending: PendingImage
    job: FusionJob

    def result(self) -> Array:
        """Block until the picture is fused. Raises as ``Fuser.fuse``."""
        try:
            with device_errors(self.device):
                return self.pending.result()
        except DeviceError as error:
            if self.fuser._engine is self.engine:  # not replaced already because of the job before
                self.fuser._switch_to_cpu(error)
        return self.fuser.submit(self.job).result()


def _check_rgb(rgb: Array, order: str, thermal_weight: float, size: tuple[int, ...]) -> None:
    if rgb.dtype != np.uint8 or not (rgb.ndim == 2 or (rgb.ndim == 3 and rgb.shape[2] == 3)):
        raise ImageError(f"rgb is {rgb.dtype} {list(rgb.shape)}; give uint8 [H, W, 3], or [H, W] for a grey picture")
    if order not in ("rgb", "bgr"):
        raise ImageError(f"order '{order}' is not known; give rgb or bgr")
    if min(size) < MIN_SIZE:
        raise ImageError(f"{size[1]}x{size[0]} is too small to fuse; give at least {MIN_SIZE}x{MIN_SIZE} pixels")
    if not (isinstance(thermal_weight, Real) and 0.0 <= thermal_weight <= 1.0):
        raise ImageError(f"thermal_weight {thermal_weight} is out of range; give 0 to 1")


def _check_planes(thermal: Array, size: tuple[int, ...], weight: Plane | None) -> None:
    if thermal.dtype not in (np.uint8, np.float32) or thermal.ndim != 2:
        raise ImageError(
            f"thermal is {thermal.dtype} {list(thermal.shape)}; give uint8, or float32 in 0..1, [H, W]; ThermalAgc makes it of counts"
        )
    if thermal.shape != size:
        raise ImageError(
            f"thermal is {thermal.shape[1]}x{thermal.shape[0]} and rgb {size[1]}x{size[0]}; warp it onto the rgb grid with Registration"
        )
    if thermal.dtype == np.float32:
        low, high = float(thermal.min()), float(thermal.max())
        if not (low > -0.001 and high < 1.001):  # also where one is NaN; interpolation may overshoot by a rounding error
            raise ImageError(f"thermal is {low:g} to {high:g} and must be 0 to 1 without NaN; ThermalAgc makes it of counts")
    if weight is not None and (weight.dtype != np.float32 or weight.shape != size):
        raise ImageError(f"weight is {weight.dtype} {list(weight.shape)}; give float32 {list(size)}")
