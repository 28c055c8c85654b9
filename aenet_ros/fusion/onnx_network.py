"""The network from a file of ``aenet export``, run by ONNX Runtime on the CPU, or on CUDA or TensorRT where its build has them."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aenet_ros.core.errors import CheckpointError, DeviceError, MissingDependencyError, first_line

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


def runtime() -> Any:
    """The module onnxruntime; raises MissingDependencyError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "ONNX Runtime is not installed: pip install onnxruntime (with an NVIDIA GPU onnxruntime-gpu); model.backend torch does without"
        ) from error
    return onnxruntime


def why_no_provider(kind: str) -> str:
    """Why this ONNX Runtime cannot run on ``kind`` ("cuda" or "tensorrt"), or ""."""
    present = runtime().get_available_providers()
    if PROVIDERS[kind] in present:
        return ""
    return f"this ONNX Runtime is built without {PROVIDERS[kind]} (it has {', '.join(present)})"


def provider_options(device: str, precision: str) -> list[tuple[str, dict[str, Any]]]:
    """What ONNX Runtime is asked for, best first, to run on ``device`` "cpu", "cuda:N" or "tensorrt:N".

    TensorRT builds an engine for the sizes it meets, which takes minutes; it keeps them in the user's cache folder.
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
    """Called like AENet, with planes on the CPU; ``content`` is the file's, ``threads`` those on the CPU.

    Raises DeviceError where the device asked for does not start or fails, CheckpointError for what is no such file.
    """

    def __init__(self, content: bytes, device: str, precision: str, threads: int) -> None:
        ort = runtime()
        self._device = device
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # its warnings are for ONNX Runtime's own developers
        wanted = provider_options(device, precision)
        for name, settings in wanted:
            if "trt_engine_cache_path" in settings:
                Path(settings["trt_engine_cache_path"]).mkdir(parents=True, exist_ok=True)
            assert name in ort.get_available_providers()
        try:
            self._session = ort.InferenceSession(content, options, providers=wanted)
        except Exception as error:  # ONNX Runtime's errors have no class of their own to catch
            if device == "cpu":
                raise CheckpointError(f"ONNX Runtime cannot read the file ({first_line(error)}); export it again") from error
            raise DeviceError(f"ONNX Runtime cannot start on {device} ({first_line(error)})") from error
        if self._session.get_providers()[0] != wanted[0][0]:  # it goes to the next one without an error
            raise DeviceError(f"ONNX Runtime cannot start {wanted[0][0]}: a library of CUDA, cuDNN or TensorRT is missing, or the GPU")

    def __call__(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Planes float32 [1, 1, H, W] on the CPU to one like them."""
        try:
            (fused,) = self._session.run(None, {"thermal": thermal.numpy(), "luma": luma.numpy()})
        except Exception as error:  # as above
            raise DeviceError(f"ONNX Runtime failed on {self._device} ({first_line(error)})") from error
        return torch.from_numpy(fused)
