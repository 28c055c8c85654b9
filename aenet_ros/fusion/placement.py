"""Device, precision and number of CPU threads of the network; and the errors of a device."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import torch

from aenet_ros.config import ModelConfig
from aenet_ros.core.errors import ConfigError, DeviceError, first_line
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
    missing = "" if wanted == "cpu" else _why_no_device(kind, index, onnx)
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


def _why_no_device(kind: str, index: int, onnx: bool) -> str:
    """Why device ``kind`` number ``index`` cannot be used; "" where it can."""
    if onnx:
        from aenet_ros.fusion.onnx_network import why_no_provider

        return why_no_provider(kind)
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device or driver"
    if index >= torch.cuda.device_count():
        return f"there are only {torch.cuda.device_count()} CUDA devices, numbered from 0"
    return ""


def set_threads(threads: int) -> None:
    """Set torch's and OpenCV's CPU threads for the whole process; see ``thread_count``.

    To be called by the owner of the process before its first computation: a library must not change this by itself.
    """
    torch.set_num_threads(thread_count(threads))
    cv2.setNumThreads(thread_count(threads))


def thread_count(threads: int) -> int:
    """``model.threads`` as a number. 0 stands for all allowed cores but one, at most four.

    One core is left for camera drivers and the middleware: where one thread has to wait for a core, all threads wait for it in each layer.
    """
    return threads or max(1, min(allowed_cores() - 1, MAX_AUTO_THREADS))


@contextmanager
def device_errors(device: str) -> Iterator[None]:
    """Raise torch's errors on a GPU as DeviceError, with torch's error as the cause; on the CPU only lack of memory is translated."""
    try:
        yield
    except DeviceError:
        raise
    except RuntimeError as error:
        if is_out_of_memory(error):
            text = f"{device} has too little free memory ({first_line(error)}); end other programs on it, or set model.device"
            raise DeviceError(text) from error
        if device == "cpu":
            raise
        raise DeviceError(f"{device} failed ({first_line(error)}); restart the process, or set model.device to cpu") from error


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether device memory or page-locked memory ran out.

    torch has a class for it. On Jetson torch fails to query the free memory and reports that NVML_SUCCESS was not returned (pytorch issues
    128661 and 185240); for page-locked memory it raises a plain RuntimeError.
    """
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in ("CUDA error: out of memory", "NVML_SUCCESS"))


def keep_forever(*objects: object) -> None:
    """Leak these objects on purpose: they hold memory of a device that is lost.

    When torch frees page-locked memory that was copied to or from a device, it records a CUDA event. On a lost device that fails, and the
    process aborts (pytorch pull request 178154).
    """
    for item in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(item))
