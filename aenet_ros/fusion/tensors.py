"""Brightness, luma split, network and luma merge in tensors of one device; can be captured as a CUDA graph."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aenet_ros.fusion.color import BT601


class ThermalTensors(NamedTuple):
    """The parts of a ``ThermalInput`` on a device.

    counts: uint8, int16 (the bits of uint16) or float32 [h, w]; gain: float32 [2], black and factor; columns: float32 [w];
    pixels, neighbours, shares: a BadPixelMap's, int64 [N], int64 [N, 8] and float32 [N, 8]; sampling: float32 [H, W, 2] in the units of
    torch's grid_sample (-1 is the first pixel's centre, 1 the last's), or None; weight: float32 [H, W] or None.
    """

    counts: Tensor
    gain: Tensor
    columns: Tensor
    pixels: Tensor
    neighbours: Tensor
    shares: Tensor
    sampling: Tensor | None
    weight: Tensor | None


def brightness(thermal: ThermalTensors) -> Tensor:
    """Brightness on the picture's grid, float32 [H, W] in 0..1."""
    is_uint16 = thermal.counts.dtype == torch.int16
    counts = thermal.counts.to(torch.int32).bitwise_and_(0xFFFF).float() if is_uint16 else thermal.counts.float()
    black, factor = thermal.gain
    unit: Tensor = (counts - (thermal.columns + black)).mul_(factor).clamp_(0.0, 1.0)
    if thermal.counts.dtype == torch.float32:
        unit = torch.where(torch.isfinite(counts), unit, 0.0)
    flat = unit.view(-1)
    flat.index_copy_(0, thermal.pixels, (flat[thermal.neighbours] * thermal.shares).sum(1))
    if thermal.sampling is None:
        return unit
    warped: Tensor = F.grid_sample(unit[None, None], thermal.sampling[None], mode="bilinear", padding_mode="border", align_corners=True)
    return warped[0, 0]


def fuse_tensors(
    network: Callable[[Tensor, Tensor], Tensor],
    thermal: Tensor,
    rgb: Tensor,
    order: str,
    weight: Tensor | None = None,
    thermal_weight: float | Tensor = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The fused picture, uint8, shape and channel order of ``rgb``.

    thermal: uint8 or float32 0..1 [H, W]; rgb: uint8 [H, W, 3] in ``order``, or [H, W]; ``dtype``: the network's. Within a captured graph
    a ``thermal_weight`` that changes must be a tensor.
    """
    image = rgb.float()
    luma = image
    if rgb.dim() == 3:
        first, second, third = BT601 if order == "rgb" else BT601[::-1]
        luma = (first * image[..., 0] + second * image[..., 1] + third * image[..., 2]).round_()
    source = thermal.float() * 255.0 if thermal.dtype != torch.uint8 else thermal.float()
    if weight is not None:
        source = torch.lerp(luma, source, weight)
    planes = torch.stack((source, luma))[:, None, None].div_(255.0).to(dtype)
    change = network(planes[0], planes[1])[0, 0].float().mul_(255.0).sub_(luma)
    change = (change * thermal_weight if weight is None else change * (weight * thermal_weight)).round_()
    fused: Tensor = image + (change[..., None] if rgb.dim() == 3 else change)
    return fused.clamp_(0.0, 255.0).to(torch.uint8)
