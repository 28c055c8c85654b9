"""The network as an ONNX file: run by ONNX Runtime on the CPU, CUDA or TensorRT; and its export.

An exported file is run at several sizes and compared with the network in torch. It is written only if both agree.
"""

import inspect
import io
import os
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros import __version__
from aenet_ros.core.errors import CheckpointError, DeviceError, MissingDependencyError, first_line
from aenet_ros.core.frames import Array, Plane
from aenet_ros.fusion.checkpoint import ONNX_FORMAT, write_with_card
from aenet_ros.fusion.color import fuse_tensors, to_levels
from aenet_ros.fusion.network import MIN_SIZE, AENet

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
OPSET = 17
PLANE_SIDES = {2: "height", 3: "width"}  # the dimensions of planes [B, C, H, W] that vary
TRACED_SIZE = (173, 211)  # not a multiple of anything, so that the trace holds no fixed size
CHECK_SIZES = ((MIN_SIZE, 40), (101, 77), (270, 481), (480, 640), (512, 640))  # height, width
NETWORK_TOLERANCE, WHOLE_TOLERANCE = 0.1, 1.0  # grey levels; a whole picture may round to the next level


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


def start_session(content: bytes, device: str, precision: str, threads: int) -> Any:
    """A session of an ONNX file's ``content`` on ``device`` with ``threads`` CPU threads, which sleep between pictures.

    Raises DeviceError if the device does not start, and CheckpointError if ONNX Runtime cannot read the content.
    """
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other work needs the cores: OpenCV in this process too
    options.log_severity_level = 3  # errors only
    wanted = provider_options(device, precision)
    for _, settings in wanted:
        if "trt_engine_cache_path" in settings:
            Path(settings["trt_engine_cache_path"]).mkdir(parents=True, exist_ok=True)
    try:
        session = ort.InferenceSession(content, options, providers=wanted)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        if device == "cpu":
            raise CheckpointError(f"ONNX Runtime cannot read the file ({first_line(error)}); export it again") from error
        raise DeviceError(f"ONNX Runtime cannot start on {device} ({first_line(error)})") from error
    if session.get_providers()[0] != wanted[0][0]:  # ONNX Runtime falls back silently
        raise DeviceError(f"ONNX Runtime cannot start {wanted[0][0]}: a library of CUDA, cuDNN or TensorRT is missing, or the GPU")
    return session


def run_session(session: Any, device: str, inputs: dict[str, Array]) -> Plane:
    """The output for ``inputs``, by name. Raises DeviceError where ONNX Runtime fails on ``device``."""
    try:
        output: Plane = session.run(None, inputs)[0]
    except Exception as error:  # as above
        raise DeviceError(f"ONNX Runtime failed on {device} ({first_line(error)})") from error
    return output


class OnnxNetwork:
    """The network of an ONNX file's ``content``, called as CpuNetwork. Errors as ``start_session``; DeviceError if the device fails."""

    def __init__(self, content: bytes, device: str, precision: str, threads: int) -> None:
        self._device = device
        self._session = start_session(content, device, precision, threads)

    def __call__(self, thermal: Plane, luma: Plane, share: Plane | float = 1.0) -> Array:
        """Fuse two planes, float32 [H, W] in 0..1, into luma, uint8 [H, W]; ``share`` as of CpuNetwork."""
        fused = run_session(self._session, self._device, {"thermal": thermal[None, None], "luma": luma[None, None]})[0, 0]
        return to_levels(fused, luma, share)


class _Whole(nn.Module):
    """The network with luma split and merge, as Fuser.fuse computes it: thermal uint8 [H, W] and rgb uint8 [H, W, 3] to [H, W, 3]."""

    def __init__(self, network: AENet) -> None:
        super().__init__()
        self.network = network

    def forward(self, thermal: Tensor, rgb: Tensor) -> Tensor:
        return fuse_tensors(self.network, thermal, rgb, "rgb")


def export_network(network: AENet, card: dict[str, Any], path: Path, whole: bool) -> dict[str, Any]:
    """Write the network as ONNX to ``path`` and its card beside it, and return that card; ``whole`` includes luma split and merge.

    ``differences`` on the card are the largest differences from torch in grey levels, by size "WxH".
    Raises MissingDependencyError, and CheckpointError if the file's results differ from the network's. Nothing is written then.
    """
    ort = runtime()
    module = _Whole(network) if whole else network
    about = {
        "name": str(card.get("name", "")),
        "weights_sha256": str(card.get("sha256", "")),
        "aenet_ros": __version__,
        "holds": "whole" if whole else "network",
    }
    sides: dict[int, str] = {0: "height", 1: "width"} if whole else PLANE_SIDES
    content = to_onnx(module, _example(whole, TRACED_SIZE), sides, about, ("height", "width", 3) if whole else (1, 1, "height", "width"))
    differences = _compare(module, ort.InferenceSession(content, providers=["CPUExecutionProvider"]), whole)
    worst = max(differences, key=lambda size: differences[size])
    allowed = WHOLE_TOLERANCE if whole else NETWORK_TOLERANCE
    if not differences[worst] <= allowed:
        raise CheckpointError(
            f"{path}: the exported network differs from torch by {differences[worst]:.3g} grey levels at {worst} (allowed: {allowed:g}), "
            "so nothing was written. Try another version of torch or onnxruntime"
        )
    checks = {"differences": differences, "checked_with": f"onnxruntime {ort.__version__}"}
    return write_with_card(path, content, {**card, **about, "format": ONNX_FORMAT, "whole": whole, **checks})


def input_shapes(whole: bool, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Name and shape of both inputs for pictures of ``size`` (height, width). The output is named ``fused``."""
    return {"thermal": size, "rgb": (*size, 3)} if whole else {"thermal": (1, 1, *size), "luma": (1, 1, *size)}


def to_onnx(
    module: nn.Module, inputs: dict[str, Tensor], sides: dict[int, str], about: dict[str, str], shape: tuple[int | str, ...] = ()
) -> bytes:
    """A copy of the module as ONNX, traced with ``inputs``, for pictures of any size: ``sides`` are the dimensions that vary.

    The output is named ``fused``; ``shape``: of the output as the file says it, in place of what the exporter infers (Slicefused_dim_0).
    Raises MissingDependencyError.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("export needs the package onnx: pip install onnx onnxruntime") from error
    module, buffer = deepcopy(module).requires_grad_(False).eval(), io.BytesIO()
    options: dict[str, Any] = {"f": buffer, "dynamic_axes": dict.fromkeys((*inputs, "fused"), sides), "opset_version": OPSET}
    # The tracing exporter takes half a second. The one based on torch.export takes half a minute and rejects the padding.
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter warns that it is deprecated
        torch.onnx.export(module, tuple(inputs.values()), input_names=list(inputs), output_names=["fused"], **options)
    model = onnx.load_from_string(buffer.getvalue())
    for dimension, side in zip(model.graph.output[0].type.tensor_type.shape.dim, shape, strict=False):
        setattr(dimension, "dim_param" if isinstance(side, str) else "dim_value", side)
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _compare(module: nn.Module, session: Any, whole: bool) -> dict[str, float]:
    """Largest difference between the ONNX session and the module, in grey levels, by size "WxH"."""
    differences = {}
    for seed, (height, width) in enumerate(CHECK_SIZES):
        inputs = _example(whole, (height, width), seed)
        with torch.inference_mode():
            expected = module(**inputs).numpy()
        given: Array = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]
        error = float(np.abs(given.astype(np.float64) - expected).max()) if given.shape == expected.shape else float("inf")
        differences[f"{width}x{height}"] = error if whole else 255.0 * error
    return differences


def _example(whole: bool, size: tuple[int, int], seed: int = 0) -> dict[str, Tensor]:
    """Two inputs by name, with smooth parts, edges and noise over the full range."""
    random, height, width = torch.Generator().manual_seed(seed), *size
    tensors = {}
    for name, shape in input_shapes(whole, size).items():
        coarse = F.interpolate(torch.rand(1, 1, 5, 7, generator=random), size, mode="bilinear")
        plane = coarse * (0.7 + 0.3 * torch.rand(1, 1, *size, generator=random))
        plane[..., : height // 2, : width // 3] = torch.rand(1, generator=random)
        corner = plane[..., height // 2 :, -width // 3 :]
        corner.copy_(torch.rand(corner.shape, generator=random).round())
        if whole and len(shape) == 3:
            plane = plane[0, 0, :, :, None] * torch.tensor([1.0, 1.0, 0.5])  # a colour picture
        tensors[name] = (plane.reshape(shape) * 255).round().to(torch.uint8) if whole else plane.reshape(shape)
    return tensors
