"""Fuser: one thermal and one rgb picture in, the fused picture out; owns the network and its device."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch

from aenet_ros.config import ModelConfig
from aenet_ros.core.errors import ConfigError, DeviceError, ImageError
from aenet_ros.core.frames import Array, Plane, ThermalInput
from aenet_ros.core.process import MAX_AUTO_THREADS, allowed_cores
from aenet_ros.fusion.checkpoint import load_checkpoint, load_onnx
from aenet_ros.fusion.device_engine import CAPTURE_AFTER, DeviceEngine, Request, Ticket
from aenet_ros.fusion.device_errors import device_errors, keep_forever, out_of_memory
from aenet_ros.fusion.engines import CpuEngine
from aenet_ros.fusion.network import MIN_SIZE, AENet
from aenet_ros.fusion.onnx_network import OnnxNetwork, why_no_provider


class Place(NamedTuple):
    """Where and how the network runs; ``reason`` says in words why it is not what was asked for, or is empty."""

    device: str
    precision: str
    reason: str


class Started(NamedTuple):
    """What ``Fuser.start`` gives and ``Fuser.finish`` takes."""

    engine: DeviceEngine
    device: str
    ticket: Ticket


class Fuser:
    """Loads the weights onto the device once; then ``fuse`` makes pictures of any size. Not for several threads at once.

    ``device`` and ``precision`` say where and how it runs, ``card`` is the weights' card, and ``fallback`` says why it is
    not the device or precision asked for ("" where it is). A device that fails, at the start or later, is left for the CPU.
    Raises DeviceError where the device is absent or fails and ``model.allow_cpu`` is false, CheckpointError for the weights,
    ConfigError for an unknown device, MissingDependencyError where the backend is not installed.
    """

    def __init__(self, model: ModelConfig | None = None) -> None:
        self._model = model = model or ModelConfig()
        self._engine: CpuEngine | DeviceEngine | None = None
        self.device, self.precision, self._reason = choose_device(model)
        self._source: AENet | bytes
        self._source, self.card = load_onnx(model.weights) if model.backend == "onnx" else load_checkpoint(model.weights)
        try:
            self._start()
        except DeviceError as error:
            self._go_to_cpu(error)

    def _start(self) -> None:
        """An engine on ``device``."""
        with device_errors(self.device):
            if isinstance(self._source, bytes):
                self._engine = CpuEngine(OnnxNetwork(self._source, self.device, self.precision, thread_count(self._model.threads)))
            elif self.device == "cpu":
                self._engine = CpuEngine(self._source)
            else:
                self._engine = DeviceEngine(self._source, torch.device(self.device), self.precision)

    def _go_to_cpu(self, error: DeviceError) -> None:
        """An engine on the CPU because of ``error``, which is raised where that is not allowed or we are there already."""
        if self.device != "cpu" and not out_of_memory(error.__cause__):
            keep_forever(self._engine, *(self._engine.pictures() if isinstance(self._engine, DeviceEngine) else ()))
        if self.device == "cpu" or not self._model.allow_cpu:
            raise error
        self.close()
        self._reason = f"on cpu instead of {self.device}: {error}"
        self.device, self.precision = "cpu", "fp32"
        self._start()

    @property
    def fallback(self) -> str:
        """Why this is not what was asked for, in words; "" where it is."""
        return "; ".join(reason for reason in (self._reason, self._engine.problem if self._engine else "") if reason)

    @torch.inference_mode()
    def fuse(self, thermal: Array, rgb: Array, *, order: str = "rgb", weight: Plane | None = None, strength: float = 1.0) -> Array:
        """The fused picture, a new uint8 array with the shape and colour order of ``rgb``.

        thermal: [H, W], uint8 or float32 in 0..1, hot is bright, on the pixel grid of rgb.
        rgb: uint8 [H, W, 3], its channels in ``order`` "rgb" or "bgr"; or a grey picture [H, W].
        weight: float32 [H, W] in 0..1, where the thermal picture counts; where it is 0 the result is exactly rgb. None: everywhere.
        strength: 0..1, share of the fusion in the picture; 1 is the network's own.
        Raises ImageError for other types, sizes or values, and DeviceError when the device fails and the CPU is not allowed.
        """
        if self._engine is None:
            raise DeviceError("this Fuser was closed; make a new one")
        check_rgb(rgb, order, strength)
        check_planes(thermal, rgb.shape[:2], weight)
        if isinstance(self._engine, DeviceEngine):
            factor = 1.0 / 255.0 if thermal.dtype == np.uint8 else 1.0
            started = self.start(ThermalInput(thermal, factor=factor, weight=weight), rgb, order=order, strength=strength)
            picture = started and self.finish(started)
            if picture is not None:
                return picture
        assert not isinstance(self._engine, DeviceEngine)  # a device that failed was left
        try:
            with device_errors(self.device):
                return self._engine.run(thermal, rgb, order, weight, strength)
        except DeviceError as error:
            self._go_to_cpu(error)
            return self._engine.run(thermal, rgb, order, weight, strength)

    @property
    def asynchronous(self) -> bool:
        """Whether ``start`` may be called: a device computes everything of a pair by itself, while the CPU does something else."""
        return isinstance(self._engine, DeviceEngine)

    @torch.inference_mode()
    def start(self, view: ThermalInput, rgb: Array, *, order: str = "rgb", strength: float = 1.0, reverse: bool = False) -> Started | None:
        """Begin ``fuse``, from counts on, and return at once; ``reverse`` gives the picture's channels in the other order.

        At most one pair may be begun before the last one is finished. None: the device failed and was left for the CPU, so give the
        brightness to ``fuse``. Raises as ``fuse``.
        """
        engine = self._engine
        assert isinstance(engine, DeviceEngine)
        check_rgb(rgb, order, strength)
        brought = view.counts.shape if view.sampling is None else view.sampling.shape[:2]
        if brought != rgb.shape[:2]:
            raise ImageError(f"thermal is brought to {brought[1]}x{brought[0]} and rgb is {rgb.shape[1]}x{rgb.shape[0]}")
        try:
            with device_errors(self.device):
                return Started(engine, self.device, engine.start(Request(view, rgb, order, strength, reverse)))
        except DeviceError as error:
            self._go_to_cpu(error)
            return None

    def finish(self, started: Started) -> Array | None:
        """Wait for the picture. None: as for ``start``. Raises DeviceError where the device failed and the CPU is not allowed."""
        try:
            with device_errors(started.device):
                return started.ticket.wait()
        except DeviceError as error:
            if self._engine is started.engine:  # not left already, because of the pair before
                self._go_to_cpu(error)
            return None

    def warm_up(self, size: tuple[int, int]) -> None:
        """Fuse empty pictures of ``size`` (height, width), so that the first real pair takes no longer than the rest."""
        for _ in range(CAPTURE_AFTER + 1):
            self.fuse(np.zeros(size, np.float32), np.zeros((*size, 3), np.uint8))

    def close(self) -> None:
        """Give back the network and the device's memory; ``fuse`` raises DeviceError from now on."""
        self._engine = None
        if torch.cuda.is_available():
            with suppress(RuntimeError):  # a device that was lost has none to give back
                torch.cuda.empty_cache()


def choose_device(model: ModelConfig) -> Place:
    """Where the network runs: "cpu", "cuda:N" or "tensorrt:0", in "fp32" or "fp16".

    Raises ConfigError for an unknown device, DeviceError where it is absent and ``model.allow_cpu`` is false.
    """
    wanted, onnx = model.device, model.backend == "onnx"
    known = ("auto", "cpu", "cuda", "tensorrt") if onnx else ("auto", "cpu", "cuda")
    if wanted not in known and not (wanted.startswith("cuda:") and wanted[5:].isdecimal()):
        remedy = "; tensorrt needs model.backend: onnx" if wanted == "tensorrt" else ""
        raise ConfigError(f"model.device: '{wanted}' is not known; give {', '.join(known)} or cuda:N{remedy}")
    kind, _, number = wanted.replace("auto", "cuda").partition(":")
    index = int(number or 0)
    missing = "" if wanted == "cpu" else why_no_provider(kind) if onnx else _why_no_cuda(index)
    # An ONNX file is in float32; only TensorRT makes it anew in another precision.
    half = model.precision != "fp32" and (kind == "tensorrt" or not onnx)
    if wanted != "cpu" and not missing:
        reason = f"in fp32 instead of fp16, for the file holds fp32 and {kind} runs it so" if model.precision == "fp16" and not half else ""
        return Place(f"{kind}:{index}", "fp16" if half else "fp32", reason)
    if wanted != "cpu" and not model.allow_cpu:
        package = "onnxruntime-gpu" if onnx else "torch"
        raise DeviceError(f"model.device '{wanted}': {missing}; install {package} for this GPU, or set model.allow_cpu")
    reasons = [f"on cpu instead of {wanted}: {missing}"] if wanted not in ("auto", "cpu") else []
    if model.precision == "fp16":
        reasons.append("in fp32 instead of fp16, which cpus run slowly")
    return Place("cpu", "fp32", "; ".join(reasons))


def _why_no_cuda(index: int) -> str:
    """Why torch cannot use CUDA device ``index``, or ""."""
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device or driver"
    if index >= torch.cuda.device_count():
        return f"there are only {torch.cuda.device_count()} CUDA devices, numbered from 0"
    return ""


def check_rgb(rgb: Array, order: str, strength: float) -> None:
    """Raise ImageError unless these are what ``Fuser.fuse`` documents."""
    if rgb.dtype != np.uint8 or not (rgb.ndim == 2 or (rgb.ndim == 3 and rgb.shape[2] == 3)):
        raise ImageError(f"rgb is {rgb.dtype} {list(rgb.shape)}; give uint8 [H, W, 3], or [H, W] for a grey picture")
    if order not in ("rgb", "bgr"):
        raise ImageError(f"order '{order}' is not known; give rgb or bgr")
    size = rgb.shape[:2]
    if min(size) < MIN_SIZE:
        raise ImageError(f"{size[1]}x{size[0]} is too small to fuse; give at least {MIN_SIZE}x{MIN_SIZE} pixels")
    if not 0.0 <= strength <= 1.0:
        raise ImageError(f"strength {strength} is out of range; give 0 to 1")


def check_planes(thermal: Array, size: tuple[int, ...], weight: Plane | None) -> None:
    """Raise ImageError unless these are planes for a picture of ``size`` (height, width) that ``Fuser.fuse`` documents."""
    if thermal.dtype not in (np.uint8, np.float32) or thermal.ndim != 2:
        raise ImageError(
            f"thermal is {thermal.dtype} {list(thermal.shape)}; give uint8, or float32 in 0..1, [H, W]; ThermalAgc makes it of counts"
        )
    if thermal.shape != size:
        raise ImageError(
            f"thermal is {thermal.shape[1]}x{thermal.shape[0]} and rgb {size[1]}x{size[0]}; lay it onto the rgb grid with Registration.warp"
        )
    if thermal.dtype == np.float32:
        low, high = float(thermal.min()), float(thermal.max())
        if not (low > -0.001 and high < 1.001):  # also where one is NaN; interpolation may overshoot by a rounding error
            raise ImageError(f"thermal is {low:g} to {high:g} and must be 0 to 1 without NaN; ThermalAgc makes it of counts")
    if weight is not None and (weight.dtype != np.float32 or weight.shape != size):
        raise ImageError(f"weight is {weight.dtype} {list(weight.shape)}; give float32 {list(size)}")


def set_threads(threads: int) -> int:
    """Sets torch's CPU threads, for the whole process, and returns their number; 0: all cores allowed but one, at most four.

    For whoever owns the process, before its first computation: a library must not turn this knob by itself.
    """
    threads = thread_count(threads)
    torch.set_num_threads(threads)
    return threads


def thread_count(threads: int) -> int:
    """``model.threads`` as a number: 0 is all cores allowed but one, at most four.

    One is for the cameras' drivers and the middleware: where a helper thread is put off the processor, all wait for it at each layer.
    """
    if threads:
        return threads
    return max(1, min(allowed_cores() - 1, MAX_AUTO_THREADS))
