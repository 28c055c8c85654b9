"""Fuser: one thermal and one rgb picture in, the fused picture out; owns the network and its device."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from aenet_ros.config import ModelConfig
from aenet_ros.errors import ConfigError, DeviceError, ImageError
from aenet_ros.frames import Array, Plane
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.engines import CpuEngine, DeviceEngine
from aenet_ros.fusion.network import MIN_SIZE

MOST_AUTOMATIC_THREADS = 4  # more gain little for so small a network, and a robot has other work


class Fuser:
    """Loads the weights onto the device once; then ``fuse`` makes pictures of any size. Not for several threads at once.

    ``device`` and ``precision`` say where and how it runs, ``card`` is the weights' card, and ``fallback`` says why it is
    not the device or precision asked for ("" where it is). Raises DeviceError where the device is absent and
    ``model.allow_cpu`` is false, CheckpointError for the weights, ConfigError for an unknown device.
    """

    def __init__(self, model: ModelConfig | None = None) -> None:
        model = model or ModelConfig()
        device, precision, self.fallback = choose_device(model)
        network, self.card = load_checkpoint(model.weights)
        with _device_errors(device):
            self._engine: CpuEngine | DeviceEngine | None
            self._engine = CpuEngine(network) if device.type == "cpu" else DeviceEngine(network, device, precision)
        self.device: str = str(device)
        self.precision = precision

    @torch.inference_mode()
    def fuse(self, thermal: Array, rgb: Array, *, order: str = "rgb", weight: Plane | None = None, strength: float = 1.0) -> Array:
        """The fused picture, a new uint8 array with the shape and colour order of ``rgb``.

        thermal: [H, W], uint8 or float32 in 0..1, hot is bright, on the pixel grid of rgb.
        rgb: uint8 [H, W, 3], its channels in ``order`` "rgb" or "bgr"; or a grey picture [H, W].
        weight: float32 [H, W] in 0..1, where the thermal picture counts; where it is 0 the result is exactly rgb. None: everywhere.
        strength: 0..1, share of the fusion in the picture; 1 is the network's own.
        Raises ImageError for other types, sizes or values, and DeviceError when the device fails.
        """
        if self._engine is None:
            raise DeviceError("this Fuser was closed; make a new one")
        check_images(thermal, rgb, order, weight)
        if not 0.0 <= strength <= 1.0:
            raise ImageError(f"strength {strength} is out of range; give 0 to 1")
        with _device_errors(self._engine.device):
            return self._engine.run(thermal, rgb, order, weight, strength)

    def warm_up(self, size: tuple[int, int]) -> None:
        """Fuse empty pictures of ``size`` (height, width), so that the first real pair takes no longer than the rest."""
        for _ in range(2):
            self.fuse(np.zeros(size, np.float32), np.zeros((*size, 3), np.uint8))

    def close(self) -> None:
        """Give back the network and the device's memory; ``fuse`` raises DeviceError from now on."""
        self._engine = None
        if self.device != "cpu":
            torch.cuda.empty_cache()


def choose_device(model: ModelConfig) -> tuple[torch.device, str, str]:
    """Device, precision ("fp32" or "fp16") and, where they are not those asked for, the reason in words."""
    wanted = model.device
    if wanted not in ("auto", "cpu", "cuda") and not (wanted.startswith("cuda:") and wanted[5:].isdecimal()):
        raise ConfigError(f"model.device: '{wanted}' is not known; give auto, cpu, cuda or cuda:N")
    missing = _why_no_cuda(int(wanted[5:]) if wanted.startswith("cuda:") else 0)
    if wanted != "cpu" and not missing:
        return torch.device(wanted if wanted.startswith("cuda:") else "cuda:0"), "fp32" if model.precision == "fp32" else "fp16", ""
    if wanted != "cpu" and not model.allow_cpu:
        raise DeviceError(f"model.device '{wanted}': {missing}; install torch for this GPU, or set model.allow_cpu")
    reasons = [f"on cpu instead of {wanted}: {missing}"] if wanted.startswith("cuda") else []
    if model.precision == "fp16":
        reasons.append("in fp32 instead of fp16, which cpus run slowly")
    return torch.device("cpu"), "fp32", "; ".join(reasons)


def _why_no_cuda(index: int) -> str:
    """Why CUDA device ``index`` cannot be used, or ""."""
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device or driver"
    if index >= torch.cuda.device_count():
        return f"there are only {torch.cuda.device_count()} CUDA devices, numbered from 0"
    return ""


def check_images(thermal: Array, rgb: Array, order: str, weight: Plane | None) -> None:
    """Raise ImageError unless these are pictures that ``Fuser.fuse`` documents."""
    if rgb.dtype != np.uint8 or not (rgb.ndim == 2 or (rgb.ndim == 3 and rgb.shape[2] == 3)):
        raise ImageError(f"rgb is {rgb.dtype} {list(rgb.shape)}; give uint8 [H, W, 3], or [H, W] for a grey picture")
    if order not in ("rgb", "bgr"):
        raise ImageError(f"order '{order}' is not known; give rgb or bgr")
    size = rgb.shape[:2]
    if min(size) < MIN_SIZE:
        raise ImageError(f"{size[1]}x{size[0]} is too small to fuse; give at least {MIN_SIZE}x{MIN_SIZE} pixels")
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


@contextmanager
def _device_errors(device: torch.device) -> Iterator[None]:
    """What torch raises on a GPU as DeviceError that says what to do."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceError(
            f"{device} has too little free memory ({_first_line(error)}); end other programs on it, or set model.device"
        ) from error
    except RuntimeError as error:
        if device.type == "cpu":
            raise
        raise DeviceError(f"{device} failed ({_first_line(error)}); restart the process, or set model.device to cpu") from error


def _first_line(error: Any) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def set_threads(threads: int) -> int:
    """Sets torch's CPU threads, for the whole process, and returns their number; 0: all cores allowed, at most four.

    For whoever owns the process, before its first computation: a library must not turn this knob by itself.
    """
    if threads == 0:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = min(cores, MOST_AUTOMATIC_THREADS)
    torch.set_num_threads(threads)
    return threads
