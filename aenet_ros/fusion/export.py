"""The network as a file for other runtimes: ONNX, torch.export and TorchScript.

A file is run by its own runtime, on several sizes, and compared with the network before it gets its name.
"""

import hashlib
import inspect
import io
import json
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros import __version__
from aenet_ros.core.atomic_io import write_atomic
from aenet_ros.core.errors import CheckpointError, MissingDependencyError
from aenet_ros.core.frames import Array
from aenet_ros.fusion.checkpoint import ONNX_FORMAT, card_path
from aenet_ros.fusion.engines import fuse_tensors
from aenet_ros.fusion.network import MIN_SIZE, AENet
from aenet_ros.fusion.onnx_network import runtime

OPSET = 17
LARGEST_SIDE = 8192
EXAMPLE_SIZE = (173, 211)  # no multiple of anything, so that nothing about it is taken for a rule
CHECK_SIZES = ((101, 77), (270, 481), (480, 640), (512, 640))  # height, width; and the smallest that torch.export takes
# Grey levels. The network's own output differs by rounding of the last bits; a whole picture by a level where a sum lies between two.
LEVELS_ALLOWED = {"network": 0.1, "whole": 1.0}


class AnySize(nn.Module):
    """The network for planes of any size, padded here to its multiple, in a form that exporters can follow."""

    def __init__(self, network: AENet) -> None:
        super().__init__()
        self.network = network
        self.multiple = network.multiple

    def forward(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """As AENet.forward."""
        height, width = luma.shape[2:]
        # Only positive numbers are divided: ONNX rounds towards 0, Python down.
        right, bottom = ((side + self.multiple - 1) // self.multiple * self.multiple - side for side in (width, height))
        thermal, luma = (F.pad(plane, (0, right, 0, bottom), mode="replicate") for plane in (thermal, luma))
        fused: Tensor = self.network(thermal, luma)
        if torch.compiler.is_compiling():
            # torch.export takes "a slice that is all of it" for a case of its own, and then refuses sizes that need no padding.
            rows, columns = (torch.arange(side, device=fused.device) for side in (height, width))
            return fused.index_select(2, rows).index_select(3, columns)
        return fused[:, :, :height, :width]


class Whole(nn.Module):
    """thermal uint8 [H, W] and rgb uint8 [H, W, 3] to the fused picture uint8 [H, W, 3]: what Fuser.fuse does."""

    def __init__(self, network: AENet) -> None:
        super().__init__()
        self.network = AnySize(network)
        self.multiple = network.multiple

    def forward(self, thermal: Tensor, rgb: Tensor) -> Tensor:
        """See the class."""
        return fuse_tensors(self.network, thermal, rgb, "rgb")


class Exported(NamedTuple):
    """A file that was written: its SHA-256, and by size "WxH" the largest difference from torch in grey levels."""

    path: Path
    form: str
    whole: bool
    sha256: str
    differences: dict[str, float]
    runtime: str


def export_network(network: AENet, card: dict[str, Any], path: Path, form: str, whole: bool) -> Exported:
    """Writes ``path`` in the form "onnx", "torchexport" or "torchscript" , and for ONNX its card.

    Raises MissingDependencyError, and CheckpointError where the file's results differ from the network's; then nothing is written.
    """
    if form == "onnx":
        _need_onnx()
    fixed = deepcopy(network).requires_grad_(False)
    module = (Whole(fixed) if whole else AnySize(fixed)).eval()
    about = {
        "name": str(card.get("name", "")),
        "weights_sha256": str(card.get("sha256", "")),
        "aenet_ros": __version__,
        "holds": "whole" if whole else "network",
    }
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' remarks on their own future
        content = {"onnx": _onnx, "torchexport": _torch_export, "torchscript": _torch_script}[form](module, whole, about)
    differences = compare(network, RUNNERS[form](content), whole)
    worst = max(differences, key=lambda size: differences[size])
    allowed = LEVELS_ALLOWED[about["holds"]]
    if not differences[worst] <= allowed:
        raise CheckpointError(
            f"{path}: the exported network differs from torch by {differences[worst]:.3g} grey levels at {worst}, more than {allowed:g}; "
            "nothing was written. Another version of torch or of the runtime may do better"
        )
    digest = hashlib.sha256(content).hexdigest()
    write_atomic(path, content)
    if form == "onnx":
        full = {**card, **about, "format": ONNX_FORMAT, "sha256": digest, "whole": whole, "differences": differences}
        write_atomic(card_path(path), json.dumps(full, indent=2) + "\n")
    return Exported(path, form, whole, digest, differences, _runtime_name(form))


def input_names(whole: bool) -> tuple[str, str]:
    """The names of a file's two inputs; the output is ``fused``."""
    return ("thermal", "rgb") if whole else ("thermal", "luma")


def input_shapes(whole: bool, size: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of a file's two inputs at ``size`` (height, width)."""
    return (size, (*size, 3)) if whole else ((1, 1, *size), (1, 1, *size))


def compare(network: AENet, run: Callable[[Tensor, Tensor], Array], whole: bool) -> dict[str, float]:
    """Largest difference, in grey levels, of ``run`` from the network as it runs here, by size "WxH"."""
    differences = {}
    smallest = smallest_side(network)
    for number, (height, width) in enumerate(((smallest, smallest + 24), *CHECK_SIZES)):
        inputs = _example(whole, (height, width), seed=number)
        with torch.inference_mode():
            expected = (fuse_tensors(network, *inputs, "rgb") if whole else network(*inputs)).numpy()
        given = run(*inputs)
        scale = 1.0 if whole else 255.0
        same_shape = given.shape == expected.shape
        differences[f"{width}x{height}"] = scale * float(np.abs(given.astype(np.float64) - expected).max()) if same_shape else float("inf")
    return differences


def _example(whole: bool, size: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two inputs with smooth parts, edges and noise over the full range."""
    random = torch.Generator().manual_seed(seed)
    tensors = []
    for shape in input_shapes(whole, size):
        plane = torch.rand(1, 1, 5, 7, generator=random)
        plane = F.interpolate(plane, size, mode="bilinear") * (0.7 + 0.3 * torch.rand(1, 1, *size, generator=random))
        plane[..., : size[0] // 2, : size[1] // 3] = torch.rand(1, generator=random)
        plane[..., size[0] // 2 :, -size[1] // 3 :] = (torch.rand(1, 1, *size, generator=random) > 0.5)[
            ..., size[0] // 2 :, -size[1] // 3 :
        ].float()
        picture = plane[0, 0, :, :, None].expand(*size, shape[-1]) if whole and len(shape) == 3 else plane.reshape(shape)
        tensors.append((picture * 255).round().to(torch.uint8).contiguous() if whole else picture)
    if whole:
        tensors[1][..., 2] //= 2  # a picture with colour
    return tensors[0], tensors[1]


def smallest_side(module: AENet | AnySize | Whole) -> int:
    """Above one multiple: at just one the lowest plane is a single pixel, which torch.export treats as a case of its own."""
    return max(MIN_SIZE, module.multiple + 1)


def _torch_export(module: AnySize | Whole, whole: bool, about: dict[str, str]) -> bytes:
    height, width = (torch.export.Dim(name, min=smallest_side(module), max=LARGEST_SIDE) for name in ("height", "width"))
    dims = {0: height, 1: width} if whole else {2: height, 3: width}
    program = torch.export.export(
        module,
        _example(whole, EXAMPLE_SIZE),
        dynamic_shapes=(dims, dims),
        # What is true of every size but beyond its prover is asserted in the program instead of refused.
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"aenet.json": json.dumps(about)})
    return buffer.getvalue()


def _torch_script(module: AnySize | Whole, whole: bool, about: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    traced = torch.jit.trace(module, _example(whole, EXAMPLE_SIZE), check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.save(traced, buffer, _extra_files={"aenet.json": json.dumps(about)})
    return buffer.getvalue()


def _onnx(module: AnySize | Whole, whole: bool, about: dict[str, str]) -> bytes:
    import onnx

    names, sides = input_names(whole), ((0, 1) if whole else (2, 3))
    axes = {name: dict(zip(sides, ("height", "width"), strict=True)) for name in (*names, "fused")}
    inputs, buffer = _example(whole, EXAMPLE_SIZE), io.BytesIO()
    options: dict[str, Any] = {
        "f": buffer,
        "input_names": list(names),
        "output_names": ["fused"],
        "dynamic_axes": axes,
        "opset_version": OPSET,
    }
    # The exporter by tracing: half a second and every size. That by torch.export takes half a minute, and cannot prove the padding right.
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    torch.onnx.export(module, inputs, **options)
    model = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("writing ONNX needs the Python packages onnx and onnxruntime (the extra [export])") from error
    runtime()  # checks the file


def _run_onnx(content: bytes) -> Callable[[Tensor, Tensor], Array]:
    session = runtime().InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(first: Tensor, second: Tensor) -> Array:
        result: Array = session.run(None, {names[0]: first.numpy(), names[1]: second.numpy()})[0]
        return result

    return run


def _run_torch(load: Callable[[io.BytesIO], Callable[..., Tensor]]) -> Callable[[bytes], Callable[[Tensor, Tensor], Array]]:
    def runner(content: bytes) -> Callable[[Tensor, Tensor], Array]:
        module = load(io.BytesIO(content))

        def run(first: Tensor, second: Tensor) -> Array:
            with torch.no_grad():
                return module(first, second).numpy()

        return run

    return runner


RUNNERS: dict[str, Callable[[bytes], Callable[[Tensor, Tensor], Array]]] = {
    "onnx": _run_onnx,
    "torchexport": _run_torch(lambda file: torch.export.load(file).module()),
    "torchscript": _run_torch(lambda file: torch.jit.load(file)),  # type: ignore[no-untyped-call]
}


def _runtime_name(form: str) -> str:
    return f"onnxruntime {runtime().__version__}" if form == "onnx" else f"torch {torch.__version__}"
