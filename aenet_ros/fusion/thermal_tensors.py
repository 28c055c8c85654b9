"""A ThermalInput's brightness in tensors of one device: what ``imaging.thermal_input`` does on the CPU."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class ThermalTensors(NamedTuple):
    """A ThermalInput's parts on a device.

    counts: uint8, int16 (the bits of uint16) or float32 [h, w]; gain: float32 [2], black and factor; columns: float32 [w];
    pixels, near, shares: a BadPixelMap's, int64 [N], int64 [N, 8] and float32 [N, 8], where N may be 0; sampling: float32 [H, W, 2], by the
    measure of torch's grid_sample, -1 for the first pixel's centre and 1 for the last's, or None; weight: float32 [H, W] or None.
    """

    counts: Tensor
    gain: Tensor
    columns: Tensor
    pixels: Tensor
    near: Tensor
    shares: Tensor
    sampling: Tensor | None
    weight: Tensor | None


def brightness(view: ThermalTensors) -> Tensor:
    """Brightness on the picture's grid, float32 [H, W] in 0..1. Can be captured as a CUDA graph."""
    counts = view.counts.to(torch.int32).bitwise_and_(0xFFFF).float() if view.counts.dtype == torch.int16 else view.counts.float()
    black, factor = view.gain
    unit: Tensor = (counts - (view.columns + black)).mul_(factor).clamp_(0.0, 1.0)
    if view.counts.dtype == torch.float32:
        unit = torch.where(torch.isfinite(counts), unit, 0.0)
    if view.pixels.numel():
        flat = unit.view(-1)
        flat.index_copy_(0, view.pixels, (flat[view.near] * view.shares).sum(1))
    if view.sampling is None:
        return unit
    brought: Tensor = F.grid_sample(unit[None, None], view.sampling[None], mode="bilinear", padding_mode="border", align_corners=True)
    return brought[0, 0]
