"""The registries of building blocks and of downsamplings that AENet is put together from.

Every block maps [B, width, H, W] to the same shape and ends in a ReLU; every downsampling halves H and W (both even).
The names are those of the AE-Netv2 paper's analysis (doi 10.1016/j.neucom.2021.08.044); the layers are ours, after the
networks that each name comes from (ResNeXt, MobileNet, Inception, SqueezeNet, ShuffleNet v2, dilated multi-scale).
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros.core.errors import ConfigError
from aenet_ros.fusion.fused_ops import conv, conv_relu


class Plain(nn.Module):
    """One 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same."""
        return conv_relu(self.conv, x)


class Separable(nn.Module):
    """A 3x3 convolution in ``groups`` groups of channels, mixed by a 1x1 convolution; as many groups as channels is depthwise."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=1, groups=groups)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same."""
        return conv_relu(self.mix, conv_relu(self.spatial, x))


class Inception(nn.Module):
    """Parallel 1x1, 3x3 and 5x5 (as two 3x3) convolutions, put side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        quarter, half = width // 4, width // 2
        self.point = nn.Conv2d(width, width - half - quarter, 1)
        self.near = nn.Conv2d(width, half, 3, padding=1)
        self.reduce = nn.Conv2d(width, quarter, 3, padding=1)
        self.far = nn.Conv2d(quarter, quarter, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same."""
        return torch.cat((conv_relu(self.point, x), conv_relu(self.near, x), conv_relu(self.far, conv_relu(self.reduce, x))), 1)


class Squeeze(nn.Module):
    """A fire module: 1x1 down to a quarter of the channels, then 1x1 and 3x3 back up, half each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, max(1, width // 4), 1)
        self.point = nn.Conv2d(max(1, width // 4), width // 2, 1)
        self.spatial = nn.Conv2d(max(1, width // 4), width - width // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same."""
        x = conv_relu(self.squeeze, x)
        return torch.cat((conv_relu(self.point, x), conv_relu(self.spatial, x)), 1)


class Shuffle(nn.Module):
    """Half of the channels pass, half go through 1x1, depthwise 3x3, 1x1; then the halves interleave."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.enter = nn.Conv2d(half, half, 1)
        self.spatial = nn.Conv2d(half, half, 3, padding=1, groups=half)
        self.leave = nn.Conv2d(half, half, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same; width is even."""
        kept, changed = x.chunk(2, 1)
        changed = conv_relu(self.leave, conv(self.spatial, conv_relu(self.enter, changed)))
        return torch.stack((kept, changed), 2).flatten(1, 2)


class Multiscale(nn.Module):
    """3x3 convolutions at dilations 1, 2 and 4, a half, a quarter and a quarter of the channels, put side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        quarter, half = width // 4, width // 2
        widths = (width - half + half - 2 * quarter, quarter, quarter)
        self.scales = nn.ModuleList(
            nn.Conv2d(width, out, 3, padding=step, dilation=step) for out, step in zip(widths, (1, 2, 4), strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same."""
        return torch.cat([conv_relu(cast(nn.Conv2d, scale), x) for scale in self.scales], 1)


class Unshuffle(nn.Module):
    """Every 2x2 neighbourhood into channels, brought back to the width by a 1x1 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to [B, width, H/2, W/2]."""
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
    """A building block by its registry name. Raises ConfigError for an unknown name or a width that is no multiple of 4."""
    if name not in BLOCKS:
        raise ConfigError(f"block: '{name}' is not known; give one of {', '.join(BLOCKS)}")
    if width < 4 or width % 4:
        raise ConfigError(f"width: {width} does not split into the blocks' branches; give a multiple of 4")
    return BLOCKS[name](width)


def make_downsampling(name: str, width: int) -> nn.Module:
    """A downsampling by 2 by its registry name. Raises ConfigError for an unknown name."""
    if name not in DOWNSAMPLINGS:
        raise ConfigError(f"downsampling: '{name}' is not known; give one of {', '.join(DOWNSAMPLINGS)}")
    return DOWNSAMPLINGS[name](width)
