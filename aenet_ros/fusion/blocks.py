"""Registries of the building blocks and downsampling layers of AENet.

A block maps [B, width, H, W] to the same shape and ends with a ReLU. A downsampling layer halves H and W, which are even.
The names follow the AE-Netv2 paper's analysis (doi 10.1016/j.neucom.2021.08.044). The layers are our own design, after
ResNeXt, MobileNet, Inception, SqueezeNet, ShuffleNet v2 and dilated multi-scale networks.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros.core.errors import ConfigError
from aenet_ros.fusion.fused_ops import Plain, conv, conv_relu


class Separable(nn.Module):
    """A grouped 3x3 convolution followed by a 1x1 convolution. ``groups`` equal to ``width`` makes it depthwise."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=1, groups=groups)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, width, H, W] to the same shape."""
        return conv_relu(self.mix, conv_relu(self.spatial, x))


class Inception(nn.Module):
    """Parallel 1x1, 3x3 and 5x5 (two 3x3) convolutions, concatenated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        quarter, half = width // 4, width // 2
        self.point = nn.Conv2d(width, width - half - quarter, 1)
        self.near = nn.Conv2d(width, half, 3, padding=1)
        self.reduce = nn.Conv2d(width, quarter, 3, padding=1)
        self.far = nn.Conv2d(quarter, quarter, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, width, H, W] to the same shape."""
        return torch.cat((conv_relu(self.point, x), conv_relu(self.near, x), conv_relu(self.far, conv_relu(self.reduce, x))), 1)


class Squeeze(nn.Module):
    """A fire module: 1x1 to a quarter of the channels, then parallel 1x1 and 3x3 that restore half of the channels each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, max(1, width // 4), 1)
        self.point = nn.Conv2d(max(1, width // 4), width // 2, 1)
        self.spatial = nn.Conv2d(max(1, width // 4), width - width // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, width, H, W] to the same shape."""
        x = conv_relu(self.squeeze, x)
        return torch.cat((conv_relu(self.point, x), conv_relu(self.spatial, x)), 1)


class Shuffle(nn.Module):
    """Half of the channels pass unchanged, half go through 1x1, depthwise 3x3 and 1x1; then the channels are shuffled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.enter = nn.Conv2d(half, half, 1)
        self.spatial = nn.Conv2d(half, half, 3, padding=1, groups=half)
        self.leave = nn.Conv2d(half, half, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, width, H, W] to the same shape; width is even."""
        kept, changed = x.chunk(2, 1)
        changed = conv_relu(self.leave, conv(self.spatial, conv_relu(self.enter, changed)))
        return torch.stack((kept, changed), 2).flatten(1, 2)


class Multiscale(nn.Module):
    """Parallel 3x3 convolutions with dilations 1, 2 and 4 for a half, a quarter and a quarter of the channels, concatenated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        quarter = width // 4
        widths = (width - 2 * quarter, quarter, quarter)
        self.scales = nn.ModuleList(
            nn.Conv2d(width, out, 3, padding=step, dilation=step) for out, step in zip(widths, (1, 2, 4), strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, width, H, W] to the same shape."""
        return torch.cat([conv_relu(cast(nn.Conv2d, scale), x) for scale in self.scales], 1)


class Unshuffle(nn.Module):
    """Pixel unshuffle by 2, followed by a 1x1 convolution back to ``width`` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, width, H, W] to [B, width, H/2, W/2]."""
        mixed: Tensor = self.mix(F.pixel_unshuffle(x, 2))
        return mixed


BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "plain": Plain,
    "group": lambda width: Separable(width, groups=4),
    "depthwise": lambda width: Separable(width, groups=width),
    "inception": Inception,
    "squeeze": Squeeze,
    "shuffle": Shuffle,
    "multiscale": Multiscale,
}

DOWNSAMPLINGS: dict[str, Callable[[int], nn.Module]] = {
    "max": lambda width: nn.MaxPool2d(2),
    "avg": lambda width: nn.AvgPool2d(2),
    "strided": lambda width: nn.Conv2d(width, width, 2, stride=2),
    "unshuffle": Unshuffle,
}


def make_block(name: str, width: int) -> nn.Module:
    """Create the block of this name. Raises ConfigError for an unknown name or a width that is not a multiple of 4."""
    if name not in BLOCKS:
        raise ConfigError(f"block: '{name}' is not known; give one of {', '.join(BLOCKS)}")
    if width < 4 or width % 4:
        raise ConfigError(f"width: {width} cannot be split into the branches of a block; give a multiple of 4")
    return BLOCKS[name](width)


def make_downsampling(name: str, width: int) -> nn.Module:
    """Create the downsampling layer of this name. Raises ConfigError for an unknown name."""
    if name not in DOWNSAMPLINGS:
        raise ConfigError(f"downsampling: '{name}' is not known; give one of {', '.join(DOWNSAMPLINGS)}")
    return DOWNSAMPLINGS[name](width)
