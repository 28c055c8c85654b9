"""Convolution, addition and ReLU as one oneDNN operator on x86 CPUs, where memory traffic limits the speed.

torch's own compiler emits the same operators. They have no gradient and no ONNX form, and builds without oneDNN (most for Arm)
lack them. The plain operators then compute the same result.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the layer's convolution of ``x``, [B, C, H, W]."""
    if not _can_fuse(x):
        plain: Tensor = layer(x)
        return plain
    return _onednn(layer, x, "none")


def conv_relu(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Return ReLU(layer(x))."""
    return _onednn(layer, x, "relu") if _can_fuse(x) else F.relu_(layer(x))


def conv_add_relu(layer: nn.Conv2d, x: Tensor, other: Tensor) -> Tensor:
    """Return ReLU(layer(x) + other)."""
    if not _can_fuse(x):
        return F.relu_(layer(x) + other)
    fused: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
        x, other, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups, "add", 1.0, "relu", [], ""
    )
    return fused


class Plain(nn.Module):
    """One 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, width, H, W] to the same shape."""
        return conv_relu(self.conv, x)


def _onednn(layer: nn.Conv2d, x: Tensor, after: str) -> Tensor:
    fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups, after, [], ""
    )
    return fused


def is_traced() -> bool:
    """Return whether the network is being traced, exported or compiled; the plain operators are used then."""
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
    """Return whether this build of torch has the operators with these arguments, and their results are correct."""
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
