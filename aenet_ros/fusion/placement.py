"""Device, precision and number of CPU threads of the network."""

from typing import NamedTuple

import torch

from aenet_ros.config import ModelConfig
from aenet_ros.core.errors import ConfigError, DeviceError
from aenet_ros.core.process import MAX_AUTO_THREADS, allowed_cores


class Placement(NamedTuple):
    """``device``: "cpu", "cuda:N" or "tensorrt:N"; ``precision``: "fp32" or "fp16"; ``reason``: why it is not what was asked for, or ""."""

    device: str
    precision: str
    reason: str


def choose_placement(model: ModelConfig) -> Placement:
    """Where and how the network runs.

    Raises ConfigError for an unknown device, DeviceError where the device is absent and ``model.allow_cpu`` is false.
    """
    wanted, onnx = model.device, model.backend == "onnx"
    known = ("auto", "cpu", "cuda", "tensorrt") if onnx else ("auto", "cpu", "cuda")
    if wanted not in known and not (wanted.startswith("cuda:") and wanted[5:].isdecimal()):
        remedy = "; tensorrt needs model.backend: onnx" if wanted == "tensorrt" else ""
        raise ConfigError(f"model.device: '{wanted}' is not known; give {', '.join(known)} or cuda:N{remedy}")
    kind, _, number = wanted.replace("auto", "cuda").partition(":")
    index = int(number or 0)
    missing = "" if wanted == "cpu" else _why_no_provider(kind) if onnx else _why_no_cuda(index)
    # An ONNX file is in float32; only TensorRT converts it to another precision.
    half = model.precision != "fp32" and (kind == "tensorrt" or not onnx)
    if wanted != "cpu" and not missing:
        reason = f"in fp32 instead of fp16: {kind} runs the file as it is" if model.precision == "fp16" and not half else ""
        return Placement(f"{kind}:{index}", "fp16" if half else "fp32", reason)
    if wanted != "cpu" and not model.allow_cpu:
        package = "onnxruntime-gpu" if onnx else "torch"
        raise DeviceError(f"model.device '{wanted}': {missing}; install {package} for this GPU, or set model.allow_cpu")
    reasons = [f"on cpu instead of {wanted}: {missing}"] if wanted not in ("auto", "cpu") else []
    if model.precision == "fp16":
        reasons.append("in fp32 instead of fp16: CPUs are slow in fp16")
    return Placement("cpu", "fp32", "; ".join(reasons))


def _why_no_cuda(index: int) -> str:
    """Why torch cannot use CUDA device ``index``; "" where it can."""
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device or driver"
    if index >= torch.cuda.device_count():
        return f"there are only {torch.cuda.device_count()} CUDA devices, numbered from 0"
    return ""


def _why_no_provider(kind: str) -> str:
    from aenet_ros.fusion.onnx_network import why_no_provider

    return why_no_provider(kind)


def set_threads(threads: int) -> int:
    """Set torch's CPU threads for the whole process and return their number; see ``thread_count``.

    To be called by the owner of the process before its first computation: a library must not change this by itself.
    """
    threads = thread_count(threads)
    torch.set_num_threads(threads)
    return threads


def thread_count(threads: int) -> int:
    """``model.threads`` as a number. 0 stands for all allowed cores but one, at most four.

    One core is left for camera drivers and the middleware: where one thread has to wait for a core, all threads wait for it in each layer.
    """
    if threads:
        return threads
    return max(1, min(allowed_cores() - 1, MAX_AUTO_THREADS))
