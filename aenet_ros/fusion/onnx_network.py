"""The network of an ONNX file, run by ONNX Runtime on the CPU, CUDA or TensorRT."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aenet_ros.core.errors import CheckpointError, DeviceError, MissingDependencyError, first_line

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


def runtime() -> Any:
    """Return the module onnxruntime. Raises MissingDependencyError if it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "ONNX Runtime is not installed: pip install onnxruntime (onnxruntime-gpu for an NVIDIA GPU), or set model.backend: torch"
        ) from error
    return onnxruntime


def why_no_provider(kind: str) -> str:
    """Return why this ONNX Runtime cannot run on ``kind`` ("cuda" or "tensorrt"), or "" if it can."""
    present = runtime().get_available_providers()
    if PROVIDERS[kind] in present:
        return ""
    return f"this ONNX Runtime is built without {PROVIDERS[kind]} (it has {', '.join(present)})"


def provider_options(device: str, precision: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the execution providers and their options for ``device`` "cpu", "cuda:N" or "tensorrt:N", in order of preference.

    TensorRT builds an engine for each picture size, which takes minutes, and caches it in the user's cache folder.
    """
    kind, _, number = device.partition(":")
    chosen: list[tuple[str, dict[str, Any]]] = []
    if kind == "tensorrt":
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aenet_ros" / "tensorrt"
        options = {"trt_fp16_enable": precision == "fp16", "trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache)}
        chosen.append((PROVIDERS[kind], {"device_id": int(number), **options}))
    if kind != "cpu":
        chosen.append((PROVIDERS["cuda"], {"device_id": int(number)}))
    return [*chosen, (PROVIDERS["cpu"], {})]


class OnnxNetwork:
    """A network that is called like AENet. ``content`` is the ONNX file's content, ``threads`` the number of CPU threads.

    Raises DeviceError if the device does not start or fails, and CheckpointError if ONNX Runtime cannot read the content.
    """

    def __init__(self, content: bytes, device: str, precision: str, threads: int) -> None:
        ort = runtime()
        self._device = device
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only
        wanted = provider_options(device, precision)
        for name, settings in wanted:
            if "trt_engine_cache_path" in settings:
                Path(settings["trt_engine_cache_path"]).mkdir(parents=True, exist_ok=True)
            assert name in ort.get_available_providers()
        try:
            self._session = ort.InferenceSession(content, options, providers=wanted)
        except Exception as error:  # ONNX Runtime's errors have no common base class
            if device == "cpu":
                raise CheckpointError(f"ONNX Runtime cannot read the file ({first_line(error)}); export it again") from error
            raise DeviceError(f"ONNX Runtime cannot start on {device} ({first_line(error)})") from error
        if self._session.get_providers()[0] != wanted[0][0]:  # ONNX Runtime falls back silently
            raise DeviceError(f"ONNX Runtime cannot start {wanted[0][0]}: a library of CUDA, cuDNN or TensorRT is missing, or the GPU")

    def __call__(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Fuse two planes, float32 [1, 1, H, W] in 0..1 on the CPU, into one of the same shape."""
        try:
            (fused,) = self._session.run(None, {"thermal": thermal.numpy(), "luma": luma.numpy()})
        except Exception as error:  # as above
            raise DeviceError(f"ONNX Runtime failed on {self._device} ({first_line(error)})") from error
        return torch.from_numpy(fused)
