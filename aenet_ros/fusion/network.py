"""AENet: the fusion network, from thermal and luma planes to the fused luma plane.

The network does not generate the picture. It predicts per-pixel weights for the two sources and an offset:

    fused = p * thermal + q * luma + offset

Full-resolution detail of both sources passes unchanged, and p and q need not add up to 1. All convolutions work on tiles of
4x4 pixels, at 1/4 of the size and below: on CPUs the cost is memory traffic, and the channels of a tile are adjacent in memory.
The stem sees a tile and a border of one pixel and computes its fine features. A pyramid of blocks (1/4 to 1/32 of the size) adds
context, coarse to fine. The sum of both gives the maps for the 16 pixels of the tile.
Nothing is normalised by statistics of the frame: equal pixels in equal surroundings give equal results.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.fusion.blocks import conv, conv_add_relu, conv_relu, is_traced, make_block, make_downsampling

MIN_SIZE = 16
TILE = 4  # side of a tile in pixels
_MAPS = 3  # weight of thermal, weight of luma, offset


@dataclass(frozen=True)
class AENetConfig:
    """Architecture of AENet. The defaults are those of the packaged weights."""

    width: int = 16  # channels of the pyramid; 16 fill the vector units of a CPU
    fine: int = 32  # channels of a tile's fine features
    levels: int = 3  # pyramid scales below the scale of the tiles
    block: str = "plain"
    downsampling: str = "avg"


class AENet(nn.Module):
    """The network described in the module. In training mode the output is not clamped, so that gradients pass."""

    def __init__(self, config: AENetConfig | None = None) -> None:
        super().__init__()
        self.config = config or AENetConfig()
        width, fine, levels = self.config.width, self.config.fine, self.config.levels
        if not 1 <= levels <= 5:
            raise ConfigError(f"levels: {levels} is out of range; give 1 to 5")
        if width < 4 or width % 4:
            raise ConfigError(f"width: {width} does not split into the blocks' branches; give a multiple of 4")
        if fine < 1:
            raise ConfigError(f"fine: {fine} is out of range; give at least 1")
        self.stem = nn.Conv2d(2, fine, TILE + 2, stride=TILE, padding=1)  # windows overlap, which avoids a visible grid of tiles
        self.enter = nn.Conv2d(fine, width, 1)
        self.down = nn.ModuleList(make_downsampling(self.config.downsampling, width) for _ in range(levels))
        self.encode = make_block(self.config.block, width)
        self.decode = nn.ModuleList(make_block(self.config.block, width) for _ in range(levels + 1))
        self.leave = nn.Conv2d(width, fine, 1)
        self.head = nn.Conv2d(fine, TILE * TILE * _MAPS, 1)
        with torch.no_grad():  # the untrained network returns about the average of both sources
            self.head.weight.mul_(0.1)
            self.head.bias.copy_(torch.tensor([0.5, 0.5, 0.0]).repeat_interleave(TILE * TILE))  # type: ignore[union-attr]

    @property
    def multiple(self) -> int:
        """Height and width are padded to a multiple of this number."""
        return int(TILE * 2**self.config.levels)

    def forward(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Fuse two planes, float [B, 1, H, W] in 0..1, into the fused luma of the same shape.

        H and W are at least 16. In eval mode the result is within 0..1. Raises ImageError for unequal or too small sizes.
        """
        if thermal.shape != luma.shape or thermal.dim() != 4 or thermal.shape[1] != 1:
            raise ImageError(f"thermal {tuple(thermal.shape)} and luma {tuple(luma.shape)}: give two planes [B, 1, H, W] of one size")
        height, width = luma.shape[2:]
        if min(height, width) < MIN_SIZE:
            raise ImageError(f"{width}x{height} is too small to fuse; give at least {MIN_SIZE}x{MIN_SIZE} pixels")
        # Only positive numbers are divided: ONNX rounds towards 0 and Python rounds down.
        right, bottom = ((side + self.multiple - 1) // self.multiple * self.multiple - side for side in (width, height))
        padded = is_traced() or right or bottom  # a trace is for any size
        if padded:
            thermal, luma = (F.pad(plane, (0, right, 0, bottom), mode="replicate") for plane in (thermal, luma))
        maps = self.maps(thermal, luma)
        if torch.is_grad_enabled():
            fused = torch.addcmul(torch.addcmul(maps[:, 2:], maps[:, :1], thermal), maps[:, 1:2], luma)
        else:
            fused = maps[:, 2:].addcmul_(maps[:, :1], thermal).addcmul_(maps[:, 1:2], luma)
        if not self.training:
            fused = fused.clamp_(0.0, 1.0)
        return fused[:, :, :height, :width] if padded else fused

    def maps(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Return the weight of thermal, the weight of luma and the offset as [B, 3, H, W]. H and W are multiples of ``multiple``."""
        fine = conv_relu(self.stem, _interleave(thermal, luma))
        scales = [conv_relu(self.enter, fine)]
        for down in self.down:
            scales.append(down(scales[-1]))
        x = self.decode[-1](self.encode(scales.pop()))
        for level in range(self.config.levels - 1, -1, -1):
            # Nearest is faster than bilinear at the finest scale, and the block after it smooths the result.
            mode = "bilinear" if level else "nearest"
            x = self.decode[level](F.interpolate(x, scale_factor=2.0, mode=mode) + scales.pop())
        return _to_full_size(conv(self.head, conv_add_relu(self.leave, x, fine)))


def _interleave(thermal: Tensor, luma: Tensor) -> Tensor:
    """Stack both planes as [B, 2, H, W] in channels-last memory format; four times as fast as torch.cat and a conversion."""
    if is_traced():
        return torch.cat((thermal, luma), 1)
    both = thermal.new_empty((thermal.shape[0], *thermal.shape[2:], 2))
    both[..., 0].copy_(thermal[:, 0])
    both[..., 1].copy_(luma[:, 0])
    return both.permute(0, 3, 1, 2)


def _to_full_size(x: Tensor) -> Tensor:
    """Pixel shuffle from [B, maps * tile * tile, H, W] to [B, maps, tile * H, tile * W]; one copy for channels-last input."""
    if is_traced():
        return F.pixel_shuffle(x, TILE)
    batch, _, height, width = x.shape
    tiles = x.permute(0, 2, 3, 1).reshape(batch, height, width, _MAPS, TILE, TILE)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(batch, _MAPS, TILE * height, TILE * width)


def parameter_count(network: nn.Module) -> int:
    """Return the number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
