"""AENet: the fusing network, from thermal and luma to fused luma.

The picture is never made from features. Features only decide, pixel by pixel, how the two sources are mixed:

    fused = p * thermal + q * luma + offset

so both sources' full-size detail passes untouched (and both can pass: p and q need not add up to 1), and nearly all
arithmetic can happen at half size and below. A strided stem brings the two planes to half size; a small pyramid of
blocks (1/4 to 1/32 of the size) adds context, coarse to fine; a depthwise and a 1x1 convolution make the three maps
for each pixel of a 2x2 neighbourhood.
Nothing is normalised by a frame's own statistics: the same pixels in the same surroundings give the same result.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros.errors import ConfigError, ImageError
from aenet_ros.fusion.blocks import make_block, make_downsampling
from aenet_ros.fusion.fused_ops import conv, conv_add_relu, conv_relu

MIN_SIZE = 16
_MAPS = 3  # weight of thermal, weight of luma, offset


@dataclass(frozen=True)
class AENetConfig:
    """What AENet is built from; the defaults are the shipped network's."""

    width: int = 16  # channels everywhere; convolutions of 16 fill the vector units of a CPU
    levels: int = 4  # scales below the half-size stem
    block: str = "plain"
    downsampling: str = "avg"


class AENet(nn.Module):
    """The network; see the module's text. In training mode the output is not clamped, so that gradients pass."""

    def __init__(self, config: AENetConfig | None = None) -> None:
        super().__init__()
        self.config = config or AENetConfig()
        width, levels = self.config.width, self.config.levels
        if not 1 <= levels <= 5:
            raise ConfigError(f"levels: {levels} is out of range; give 1 to 5")
        self.stem = nn.Conv2d(2, width, 4, stride=2, padding=1)  # windows overlap, so that no 2x2 grid can show
        self.down = nn.ModuleList(make_downsampling(self.config.downsampling, width) for _ in range(levels))
        # Fine scales are dear: there the pooled features wait for the context from below before their one block.
        self.encode = nn.ModuleList(make_block(self.config.block, width) if level >= 2 else nn.Identity() for level in range(levels))
        self.decode = nn.ModuleList(make_block(self.config.block, width) for _ in range(levels))
        self.smooth = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.head = nn.Conv2d(width, 4 * _MAPS, 1)
        self._initialise()

    def _initialise(self) -> None:
        """Start as the plain average of the sources, with a smoothing kernel where the scales meet."""
        tent = torch.tensor([1.0, 2.0, 1.0]) / 4
        with torch.no_grad():
            self.smooth.weight.copy_(torch.outer(tent, tent).expand_as(self.smooth.weight))
            self.head.weight.mul_(0.1)
            self.head.bias.copy_(torch.tensor([0.5, 0.5, 0.0]).repeat(4))  # type: ignore[union-attr]

    @property
    def multiple(self) -> int:
        """Height and width are padded to a multiple of this."""
        return int(2 ** (self.config.levels + 1))

    def forward(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Fuses two planes of one size, float [B, 1, H, W] in 0..1, H and W at least 16, to fused luma of the same shape.

        In eval mode the result is within 0..1. Raises ImageError for unequal or too small sizes.
        """
        if thermal.shape != luma.shape or thermal.dim() != 4 or thermal.shape[1] != 1:
            raise ImageError(f"thermal {tuple(thermal.shape)} and luma {tuple(luma.shape)}: give two planes [B, 1, H, W] of one size")
        height, width = luma.shape[2:]
        if min(height, width) < MIN_SIZE:
            raise ImageError(f"{width}x{height} is too small to fuse; give at least {MIN_SIZE}x{MIN_SIZE} pixels")
        right, bottom = -width % self.multiple, -height % self.multiple
        if right or bottom:
            thermal, luma = (F.pad(plane, (0, right, 0, bottom), mode="replicate") for plane in (thermal, luma))
        maps = self.maps(thermal, luma)
        if torch.is_grad_enabled():
            fused = torch.addcmul(torch.addcmul(maps[:, 2:], maps[:, :1], thermal), maps[:, 1:2], luma)
        else:
            fused = maps[:, 2:].addcmul_(maps[:, :1], thermal).addcmul_(maps[:, 1:2], luma)
        if not self.training:
            fused = fused.clamp_(0.0, 1.0)
        return fused[:, :, :height, :width] if right or bottom else fused

    def maps(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Weights of thermal and luma, and offset, [B, 3, H, W], of planes whose sides are multiples of ``multiple``."""
        x = conv_relu(self.stem, _interleave(thermal, luma))
        scales = [x]
        for down, encode in zip(self.down, self.encode, strict=True):
            scales.append(encode(down(scales[-1])))
        x = scales.pop()
        x = self.decode[-1](x)
        for decode in list(self.decode)[-2::-1]:
            x = decode(F.interpolate(x, scale_factor=2, mode="bilinear") + scales.pop())
        # Nearest and then the depthwise smoothing cost half of what bilinear does at this size.
        x = conv_add_relu(self.smooth, F.interpolate(x, scale_factor=2.0, mode="nearest"), scales.pop())
        return _to_full_size(conv(self.head, x))


def _interleave(thermal: Tensor, luma: Tensor) -> Tensor:
    """Both planes as one [B, 2, H, W] whose channels lie last in memory; four times as fast as stacking them."""
    both = thermal.new_empty((thermal.shape[0], *thermal.shape[2:], 2))
    both[..., 0].copy_(thermal[:, 0])
    both[..., 1].copy_(luma[:, 0])
    return both.permute(0, 3, 1, 2)


def _to_full_size(x: Tensor) -> Tensor:
    """[B, 4 * maps, H, W] to [B, maps, 2H, 2W]; channels are (row, column, map), which stays one copy where channels are last."""
    batch, channels, height, width = x.shape
    tiles = x.permute(0, 2, 3, 1).reshape(batch, height, width, 2, 2, channels // 4)
    return tiles.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels // 4, 2 * height, 2 * width)


def parameter_count(network: nn.Module) -> int:
    """Number of weights of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
