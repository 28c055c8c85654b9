"""AENet: the fusion network, from thermal and luma planes to the fused luma plane.

The network does not generate the picture. Both sources are split into a base, the mean of each tile of 4x4 pixels, and the detail that is
left. The network predicts five shares for each tile, and the fused picture is

    base = max(T, L) - u * max(T - L, 0) - v * max(L - T, 0) + w * max(T - S, 0)
    fused = base + p * (thermal - T) + q * (luma - L)

T and L are the bases of thermal and luma, S is the mean of thermal in the surroundings; u and v are in 0..1, w in 0..MAX_HOT, p and q in
0..MAX_DETAIL. u and v are 0 for the brighter source, 1 for the darker one; w raises what is hotter than its surroundings, so that a target
is seen before a brighter rgb picture. But for w the base lies between both sources, and w raises only what thermal shows: coarse structure
that neither source has cannot be drawn while the shares are smooth.

With the offset ``base - p * T - q * L`` this is ``p * thermal + q * luma + offset``. These three maps are smoothed over 3x3 tiles and
enlarged bilinearly, as the coefficients of a guided filter (He, Sun and Tang, 2013).

All convolutions work on tiles, at 1/4 of the size and below: on CPUs the cost is memory traffic. The stem sees a tile and a border of one
pixel. A pyramid of blocks (1/4 to 1/32 of the size) adds context, coarse to fine.
Nothing is normalised by statistics of the frame: equal pixels in equal surroundings give equal results.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.fusion.blocks import conv, conv_relu, is_traced, make_block, make_downsampling

MIN_SIZE = 16
TILE = 4  # side of a tile in pixels
MAX_DETAIL, MAX_HOT = 3.0, 4.0
SURROUNDINGS = 8  # tiles: side of the squares whose means, interpolated, are S
_UNTRAINED = (-3.0, -3.0, -3.0, -0.7, -0.7)  # of u, v, w, p, q: the untrained network returns about the maximum of both sources


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
        self.head = nn.Conv2d(width, len(_UNTRAINED), 1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.copy_(torch.tensor(_UNTRAINED))  # type: ignore[union-attr]
        binomial = torch.tensor([0.25, 0.5, 0.25])
        self._smoothing: Tensor
        self.register_buffer("_smoothing", torch.outer(binomial, binomial).expand(3, 1, 3, 3).clone(), persistent=False)

    @property
    def multiple(self) -> int:
        """Height and width are padded to a multiple of this number."""
        return TILE * max(int(2**self.config.levels), SURROUNDINGS)

    def forward(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Fuse two planes, float [B, 1, H, W] in 0..1, into the fused luma of the same shape.

        H and W are at least 16. In eval mode the result is within 0..1. Raises ImageError for unequal or too small sizes.
        """
        if thermal.dim() != 4 or thermal.shape[1] != 1:
            raise ImageError(f"thermal {tuple(thermal.shape)} and luma {tuple(luma.shape)}: give two planes [B, 1, H, W] of one size")
        check_planes(thermal.shape, luma.shape)
        height, width = luma.shape[2:]
        # Only positive numbers are divided: ONNX rounds towards 0 and Python rounds down.
        right, bottom = ((side + self.multiple - 1) // self.multiple * self.multiple - side for side in (width, height))
        padded = is_traced() or right or bottom  # a trace is for any size
        if padded:
            thermal, luma = (F.pad(plane, (0, right, 0, bottom), mode="replicate") for plane in (thermal, luma))
        maps = self.maps(thermal, luma)
        weights = F.interpolate(maps, scale_factor=float(TILE), mode="bilinear")
        fused = torch.addcmul(torch.addcmul(weights[:, 2:], weights[:, :1], thermal), weights[:, 1:2], luma)
        if not self.training:
            fused = fused.clamp_(0.0, 1.0)
        return fused[:, :, :height, :width] if padded else fused

    def maps(self, thermal: Tensor, luma: Tensor) -> Tensor:
        """Return the weight of thermal, the weight of luma and the offset of each tile, [B, 3, H / 4, W / 4].

        H and W are multiples of ``multiple``.
        """
        u, v, w, p, q = torch.sigmoid(self.shares(_interleave(thermal, luma))).chunk(5, 1)
        p, q = MAX_DETAIL * p, MAX_DETAIL * q
        base_t, base_l = F.avg_pool2d(thermal, TILE), F.avg_pool2d(luma, TILE)
        around = F.interpolate(F.avg_pool2d(base_t, SURROUNDINGS), scale_factor=float(SURROUNDINGS), mode="bilinear")
        excess = base_t - base_l
        base = torch.maximum(base_t, base_l) - u * excess.clamp_min(0.0) + v * excess.clamp_max(0.0)
        base = base + MAX_HOT * w * (base_t - around).clamp_min(0.0)
        maps = torch.cat((p, q, base - p * base_t - q * base_l), 1)
        return F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="replicate"), self._smoothing, groups=3)

    def shares(self, both: Tensor) -> Tensor:
        """Return u, v, w, p and q of each tile before the sigmoid, [B, 5, H / 4, W / 4], of both planes, [B, 2, H, W]."""
        return conv(self.head, self.features(both))

    def features(self, both: Tensor) -> Tensor:
        """Return the features of each tile, [B, width, H / 4, W / 4], of both planes, [B, 2, H, W]."""
        scales = [conv_relu(self.enter, conv_relu(self.stem, both))]
        for down in self.down:
            scales.append(down(scales[-1]))
        x: Tensor = self.decode[-1](self.encode(scales.pop()))
        for level in range(self.config.levels - 1, -1, -1):
            # Nearest is faster than bilinear at the finest scale, and the block after it smooths the result.
            mode = "bilinear" if level else "nearest"
            x = self.decode[level](_add_enlarged(scales.pop(), x, mode))
        return x


def _add_enlarged(fine: Tensor, coarse: Tensor, mode: str) -> Tensor:
    """Return ``fine`` plus ``coarse`` enlarged to twice its size; in place where no gradient is needed, which halves the memory traffic."""
    if torch.is_grad_enabled() or is_traced():
        return fine + F.interpolate(coarse, scale_factor=2.0, mode=mode)
    if mode == "bilinear" or not fine.is_contiguous(memory_format=torch.channels_last):
        return fine.add_(F.interpolate(coarse, scale_factor=2.0, mode=mode))
    # Enlarge along the rows only, and add each row to both fine ones.
    batch, channels, height, width = fine.shape
    rows = fine.permute(0, 2, 3, 1).view(batch, height // 2, 2, width * channels)
    wide = F.interpolate(coarse, scale_factor=(1.0, 2.0), mode=mode).permute(0, 2, 3, 1)
    rows.add_(wide.reshape(batch, height // 2, 1, width * channels))
    return fine


def check_planes(thermal: Sequence[int], luma: Sequence[int]) -> None:
    """Raise ImageError for unequal or too small planes of these shapes, [..., H, W]."""
    if tuple(thermal) != tuple(luma):
        raise ImageError(f"thermal {tuple(thermal)} and luma {tuple(luma)}: give two planes of one size")
    height, width = luma[-2:]
    if min(height, width) < MIN_SIZE:
        raise ImageError(f"{width}x{height} is too small to fuse; give at least {MIN_SIZE}x{MIN_SIZE} pixels")


def _interleave(thermal: Tensor, luma: Tensor) -> Tensor:
    """Stack both planes as [B, 2, H, W] in channels-last memory format; four times as fast as torch.cat and a conversion."""
    if is_traced():
        return torch.cat((thermal, luma), 1)
    both = thermal.new_empty((thermal.shape[0], *thermal.shape[2:], 2))
    both[..., 0].copy_(thermal[:, 0])
    both[..., 1].copy_(luma[:, 0])
    return both.permute(0, 3, 1, 2)


def parameter_count(network: nn.Module) -> int:
    """Return the number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
