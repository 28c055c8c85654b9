"""Building blocks and downsampling layers of AENet by name, and their convolutions.

A block maps [B, width, H, W] to the same shape and ends with a ReLU; ``width`` is a multiple of 4. A downsampling layer halves H and W,
which are even. The names follow the AE-Netv2 paper's analysis (doi 10.1016/j.neucom.2021.08.044). The layers are our own design, after
ResNeXt, MobileNet, Inception, SqueezeNet, ShuffleNet v2 and dilated multi-scale networks.

On x86 CPUs, where memory traffic limits the speed, convolution and ReLU run as one oneDNN operator. torch's own compiler emits
the same operators. They have no gradient and no ONNX form, and builds without oneDNN (most for Arm) lack them. The plain operators then
compute the same result.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros.core.errors import ConfigError


def conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The layer's convolution of ``x``, [B, C, H, W]."""
    if _can_fuse(x):
        return _onednn(layer, x, "none")
    plain: Tensor = layer(x)
    return plain


def conv_relu(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """ReLU(layer(x))."""
    return _onednn(layer, x, "relu") if _can_fuse(x) else F.relu_(layer(x))


def pack_weights(network: nn.Module) -> None:
    """Keep each convolution's weights in oneDNN's own layout too, so that it does not convert them at each call.

    For a network whose weights do not change any more. Without these operators nothing happens.
    """
    if not _AVAILABLE:
        return
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            shape = [1, layer.in_channels, 64, 64]  # the layout does not depend on the size
            layer.packed_weight = torch.ops.mkldnn._reorder_convolution_weight(
                layer.weight, layer.padding, layer.stride, layer.dilation, layer.groups, shape
            )


def is_traced() -> bool:
    """Whether the network is being traced, exported or compiled; the plain operators are used then."""
    is_compiling = getattr(torch.compiler, "is_compiling", bool)  # since torch 2.3; a Jetson has 2.1
    return bool(torch.onnx.is_in_onnx_export() or torch._C._get_tracing_state() or is_compiling())


def _can_fuse(x: Tensor) -> bool:
    return (
        _AVAILABLE
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not is_traced()
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _onednn(layer: nn.Conv2d, x: Tensor, after: str) -> Tensor:
    weight = getattr(layer, "packed_weight", layer.weight)
    fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups, after, [], ""
    )
    return fused


def _probe() -> bool:
    """Whether this build of torch has the operators with these arguments, and their results are correct."""
    layer = nn.Conv2d(2, 2, 3, padding=1).requires_grad_(False)
    x = torch.ones(1, 2, 4, 4).contiguous(memory_format=torch.channels_last)
    try:
        plain, fused = layer(x), _onednn(layer, x, "none")
        layer.packed_weight = torch.ops.mkldnn._reorder_convolution_weight(layer.weight, (1, 1), (1, 1), (1, 1), 1, [1, 2, 4, 4])
        rectified = _onednn(layer, x, "relu")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(fused, plain, atol=1e-5) and torch.allclose(rectified, F.relu(plain), atol=1e-5)


_AVAILABLE = _probe()


class _Plain(nn.Module):
    """One 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return conv_relu(self.conv, x)


class _Separable(nn.Module):
    """A grouped 3x3 convolution followed by a 1x1 convolution. ``groups`` equal to ``width`` makes it depthwise."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=1, groups=groups)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return conv_relu(self.mix, conv_relu(self.spatial, x))


class _Inception(nn.Module):
    """Parallel 1x1, 3x3 and 5x5 (two 3x3) convolutions, concatenated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        quarter, half = width // 4, width // 2
        self.point = nn.Conv2d(width, width - half - quarter, 1)
        self.near = nn.Conv2d(width, half, 3, padding=1)
        self.reduce = nn.Conv2d(width, quarter, 3, padding=1)
        self.far = nn.Conv2d(quarter, quarter, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((conv_relu(self.point, x), conv_relu(self.near, x), conv_relu(self.far, conv_relu(self.reduce, x))), 1)


class _Squeeze(nn.Module):
    """A fire module: 1x1 to a quarter of the channels, then parallel 1x1 and 3x3 that restore half of the channels each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        quarter, half = width // 4, width // 2
        self.squeeze = nn.Conv2d(width, quarter, 1)
        self.point = nn.Conv2d(quarter, half, 1)
        self.spatial = nn.Conv2d(quarter, half, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = conv_relu(self.squeeze, x)
        return torch.cat((conv_relu(self.point, x), conv_relu(self.spatial, x)), 1)


class _Shuffle(nn.Module):
    """Half of the channels pass unchanged, half go through 1x1, depthwise 3x3 and 1x1; then the channels are shuffled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.enter = nn.Conv2d(half, half, 1)
        self.spatial = nn.Conv2d(half, half, 3, padding=1, groups=half)
        self.leave = nn.Conv2d(half, half, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, 1)
        changed = conv_relu(self.leave, conv(self.spatial, conv_relu(self.enter, changed)))
        return torch.stack((kept, changed), 2).flatten(1, 2)


class _Multiscale(nn.Module):
    """Parallel 3x3 convolutions with dilations 1, 2 and 4 for a half, a quarter and a quarter of the channels, concatenated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        quarter = width // 4
        widths = (width - 2 * quarter, quarter, quarter)
        outs = zip(widths, (1, 2, 4), strict=True)
        self.scales = nn.ModuleList(nn.Conv2d(width, out, 3, padding=step, dilation=step) for out, step in outs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([conv_relu(cast(nn.Conv2d, scale), x) for scale in self.scales], 1)


BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "plain": _Plain,
    "group": lambda width: _Separable(width, groups=4),
    "depthwise": lambda width: _Separable(width, groups=width),
    "inception": _Inception,
    "squeeze": _Squeeze,
    "shuffle": _Shuffle,
    "multiscale": _Multiscale,
}

DOWNSAMPLINGS: dict[str, Callable[[int], nn.Module]] = {
    "max": lambda width: nn.MaxPool2d(2),
    "avg": lambda width: nn.AvgPool2d(2),
    "strided": lambda width: nn.Conv2d(width, width, 2, stride=2),
    "unshuffle": lambda width: nn.Sequential(OrderedDict(unshuffle=nn.PixelUnshuffle(2), mix=nn.Conv2d(4 * width, width, 1))),
}


def make_block(name: str, width: int) -> nn.Module:
    """The block of this name. Raises ConfigError for an unknown name."""
    if name not in BLOCKS:
        raise ConfigError(f"block: '{name}' is not known; give one of {', '.join(BLOCKS)}")
    return BLOCKS[name](width)


def make_downsampling(name: str, width: int) -> nn.Module:
    """The downsampling layer of this name. Raises ConfigError for an unknown name."""
    if name not in DOWNSAMPLINGS:
        raise ConfigError(f"downsampling: '{name}' is not known; give one of {', '.join(DOWNSAMPLINGS)}")
    return DOWNSAMPLINGS[name](width)
