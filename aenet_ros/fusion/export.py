"""Export of the network as an ONNX file.

The file is run by ONNX Runtime at several sizes and compared with the network in torch. It is written only if both agree.
"""

import hashlib
import inspect
import io
import json
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros import __version__
from aenet_ros.core.atomic_io import write_atomic
from aenet_ros.core.errors import CheckpointError, MissingDependencyError
from aenet_ros.core.frames import Array
from aenet_ros.fusion.checkpoint import ONNX_FORMAT, card_path
from aenet_ros.fusion.network import MIN_SIZE, AENet
from aenet_ros.fusion.onnx_network import runtime
from aenet_ros.fusion.tensors import fuse_tensors

OPSET = 17
TRACED_SIZE = (173, 211)  # not a multiple of anything, so that the trace holds no fixed size
CHECK_SIZES = ((MIN_SIZE, 40), (101, 77), (270, 481), (480, 640), (512, 640))  # height, width
NETWORK_TOLERANCE, WHOLE_TOLERANCE = 0.1, 1.0  # grey levels; a whole picture may round to the next level


class AnySize(nn.Module):
    """AENet for planes of any size, with the padding written so that the ONNX exporter can trace it."""

    def __init__(self, network: AENet) -> None:
        super().__init__()
        self.network = network

    def forward(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """See AENet.forward."""
        height, width = luma.shape[2:]
        multiple = self.network.multiple
        # ONNX division rounds towards 0 and Python's rounds down, so only positive numbers are divided.
        right, bottom = ((side + multiple - 1) // multiple * multiple - side for side in (width, height))
        thermal, luma = (F.pad(plane, (0, right, 0, bottom), mode="replicate") for plane in (thermal, luma))
        fused: Tensor = self.network(thermal, luma)
        return fused[:, :, :height, :width]


class Whole(nn.Module):
    """The network with luma split and merge, as Fuser.fuse computes it."""

    def __init__(self, network: AENet) -> None:
        super().__init__()
        self.network = AnySize(network)

    def forward(self, thermal: Tensor, rgb: Tensor) -> Tensor:
        """Fuse thermal uint8 [H, W] and rgb uint8 [H, W, 3] into a picture uint8 [H, W, 3]."""
        return fuse_tensors(self.network, thermal, rgb, "rgb")


def export_network(network: AENet, card: dict[str, Any], path: Path, whole: bool) -> dict[str, Any]:
    """Write the network as ONNX to ``path`` and its card beside it, and return that card; ``whole`` includes luma split and merge.

    ``differences`` on the card are the largest differences from torch in grey levels, by size "WxH".
    Raises MissingDependencyError, and CheckpointError if the file's results differ from the network's. Nothing is written then.
    """
    ort = runtime()
    fixed = deepcopy(network).requires_grad_(False)
    module = (Whole(fixed) if whole else AnySize(fixed)).eval()
    about = {
        "name": str(card.get("name", "")),
        "weights_sha256": str(card.get("sha256", "")),
        "aenet_ros": __version__,
        "holds": "whole" if whole else "network",
    }
    content = _to_onnx(module, whole, about)
    differences = _compare(network, ort.InferenceSession(content, providers=["CPUExecutionProvider"]), whole)
    worst = max(differences, key=lambda size: differences[size])
    allowed = WHOLE_TOLERANCE if whole else NETWORK_TOLERANCE
    if not differences[worst] <= allowed:
        raise CheckpointError(
            f"{path}: the exported network differs from torch by {differences[worst]:.3g} grey levels at {worst} (allowed: {allowed:g}), "
            "so nothing was written. Try another version of torch or onnxruntime"
        )
    write_atomic(path, content)
    checks = {"differences": differences, "checked_with": f"onnxruntime {ort.__version__}"}
    full = {**card, **about, "format": ONNX_FORMAT, "sha256": hashlib.sha256(content).hexdigest(), "whole": whole, **checks}
    write_atomic(card_path(path), json.dumps(full, indent=2) + "\n")
    return full


def input_shapes(whole: bool, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Name and shape of both inputs for pictures of ``size`` (height, width). The output is named ``fused``."""
    return {"thermal": size, "rgb": (*size, 3)} if whole else {"thermal": (1, 1, *size), "luma": (1, 1, *size)}


def _to_onnx(module: AnySize | Whole, whole: bool, about: dict[str, str]) -> bytes:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("export needs the package onnx: pip install onnx onnxruntime (the extra [export])") from error
    names, sides, buffer = list(input_shapes(whole, TRACED_SIZE)), ((0, 1) if whole else (2, 3)), io.BytesIO()
    options: dict[str, Any] = {
        "f": buffer,
        "input_names": names,
        "output_names": ["fused"],
        "dynamic_axes": {name: dict(zip(sides, ("height", "width"), strict=True)) for name in (*names, "fused")},
        "opset_version": OPSET,
    }
    # The tracing exporter takes half a second. The one based on torch.export takes half a minute and rejects the padding.
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter warns that it is deprecated
        torch.onnx.export(module, _example(whole, TRACED_SIZE), **options)
    model = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _compare(network: AENet, session: Any, whole: bool) -> dict[str, float]:
    """Largest difference between the ONNX session and the network, in grey levels, by size "WxH"."""
    differences = {}
    for seed, (height, width) in enumerate(CHECK_SIZES):
        inputs = _example(whole, (height, width), seed)
        with torch.inference_mode():
            expected = (fuse_tensors(network, *inputs, "rgb") if whole else network(*inputs)).numpy()
        names = input_shapes(whole, (height, width))
        given: Array = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)})[0]
        error = float(np.abs(given.astype(np.float64) - expected).max()) if given.shape == expected.shape else float("inf")
        differences[f"{width}x{height}"] = error if whole else 255.0 * error
    return differences


def _example(whole: bool, size: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two inputs with smooth parts, edges and noise over the full range."""
    random, height, width = torch.Generator().manual_seed(seed), *size
    tensors = []
    for shape in input_shapes(whole, size).values():
        coarse = F.interpolate(torch.rand(1, 1, 5, 7, generator=random), size, mode="bilinear")
        plane = coarse * (0.7 + 0.3 * torch.rand(1, 1, *size, generator=random))
        plane[..., : height // 2, : width // 3] = torch.rand(1, generator=random)
        corner = plane[..., height // 2 :, -width // 3 :]
        corner.copy_(torch.rand(corner.shape, generator=random).round())
        if whole and len(shape) == 3:
            plane = plane[0, 0, :, :, None] * torch.tensor([1.0, 1.0, 0.5])  # a colour picture
        tensors.append((plane.reshape(shape) * 255).round().to(torch.uint8) if whole else plane.reshape(shape))
    return tensors[0], tensors[1]
