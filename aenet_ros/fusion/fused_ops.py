"""Convolution, addition and ReLU in one pass over memory, where torch can: at these sizes the CPU waits for memory, not arithmetic.

oneDNN's fused operators are what torch's own compiler emits on x86. They have no gradient and no ONNX form, and builds without
oneDNN (most for Arm) lack them; the plain operators then give the same result.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The layer's convolution, [B, C, H, W]."""
    if not _can_fuse(x):
        plain: Tensor = layer(x)
        return plain
    return _onednn(layer, x, "none")


def conv_relu(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """ReLU of the layer's convolution."""
    return _onednn(layer, x, "relu") if _can_fuse(x) else F.relu_(layer(x))


def conv_add_relu(layer: nn.Conv2d, x: Tensor, other: Tensor) -> Tensor:
    """ReLU of the layer's convolution of ``x`` plus ``other``."""
    if not _can_fuse(x):
        return F.relu_(layer(x) + other)
    fused: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
        x, other, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups, "add", 1.0, "relu", [], ""
    )
    return fused


def _onednn(layer: nn.Conv2d, x: Tensor, after: str) -> Tensor:
    fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups, after, [], ""
    )
    return fused


def is_traced() -> bool:
    """Whether the operators are being written down for another runtime, which should get the plain ones."""
    return bool(torch.onnx.is_in_onnx_export() or torch._C._get_tracing_state() or torch.compiler.is_compiling())


def _can_fuse(x: Tensor) -> bool:
    return (
        _AVAILABLE
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not is_traced()
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _probe() -> bool:
    """Whether this build of torch has the operators, with the arguments we give, and they compute what they should."""
    layer = nn.Conv2d(2, 2, 3, padding=1).requires_grad_(False)
    x = torch.ones(1, 2, 4, 4).contiguous(memory_format=torch.channels_last)
    try:
        fused = torch.ops.mkldnn._convolution_pointwise.binary(
            x, x, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups, "add", 1.0, "relu", [], ""
        )
        return bool(
            torch.allclose(_onednn(layer, x, "none"), layer(x), atol=1e-5) and torch.allclose(fused, F.relu(layer(x) + x), atol=1e-5)
        )
    except (AttributeError, RuntimeError, TypeError):
        return False


_AVAILABLE = _probe()
