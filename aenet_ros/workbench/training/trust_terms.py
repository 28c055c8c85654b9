"""The measures of an operator's needs in differentiable form: nothing invented, no hot target lost (evaluation.trust has the measures).

All planes are float tensors [B, 1, H, W] in 0..1 with sides of at least 32 pixels. Results are one value for each sample, [B].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from aenet_ros.workbench.evaluation.trust import CONTRAST_FLOOR, HALO_LIMIT, HOT_CONTRAST, PLAIN_CONTRAST

_SCALES = (4, 8, 16)  # pixels; about the sigma of the blur
_STEEP_SHARE = 0.25  # weight of the pixels where a source has more


def invented_structure(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean coarse slope that exceeds the slopes of both sources, in grey levels over 8 pixels, over up to three scales.

    Pixels that are flat in both sources count four times as much as the others.
    """
    parts = []
    side = min(fused.shape[2:])
    for scale in (scale for scale in _SCALES if side >= 8 * scale):
        of_fused, of_a, of_b = (_coarse_slope(plane, scale) for plane in (fused, a, b))
        of_sources = torch.maximum(of_a, of_b)
        weight = torch.where(of_sources < HALO_LIMIT, 1.0, _STEEP_SHARE)
        parts.append(((of_fused - of_sources).clamp_min(0.0) * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)))
    return torch.stack(parts).mean(0)


def _coarse_slope(plane: Tensor, scale: int) -> Tensor:
    """Return the length of the gradient in grey levels over 8 pixels, [B, 1, H / scale - 6, W / scale - 6]."""
    small = F.avg_pool2d(plane, scale)
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=plane.dtype, device=plane.device) / 16.0
    small = F.conv2d(F.conv2d(small, kernel.view(1, 1, 1, 5)), kernel.view(1, 1, 5, 1))
    across = small[..., 1:-1, 2:] - small[..., 1:-1, :-2]
    down = small[..., 2:, 1:-1] - small[..., :-2, 1:-1]
    return torch.sqrt(across**2 + down**2 + 1e-8) * (255.0 * 8.0 / (2.0 * scale))


def hot_shortfall(fused: Tensor, a: Tensor, b: Tensor, wanted: float = 0.65) -> Tensor:
    """Return how much of the contrast of hot pixels is missing, 0..1: the mean of (wanted * c(sources) - c(fused)) / 3 where positive.

    Hot are pixels of ``a`` whose contrast c to their surroundings of 41x41 pixels is at least 1: the difference of the means divided by
    the standard deviation plus 4 grey levels. The pixels around all hot ones do not belong to the surroundings. c(sources) is the larger
    contrast in ``a`` and ``b``; every c is cut at 3.
    """
    fused, a, b = (F.avg_pool2d(plane, 2) for plane in (fused, a, b))
    with torch.no_grad():
        seeds = (_contrast(a, torch.ones_like(a)) >= 0.75 * HOT_CONTRAST).to(a.dtype)  # the surroundings still contain the target
        around = 1.0 - F.max_pool2d(seeds, 5, 1, 2)
        of_a = _contrast(a, around)
        hot = seeds * (of_a >= HOT_CONTRAST)
        target = wanted * torch.maximum(of_a, _contrast(b, around)).clamp_max(PLAIN_CONTRAST)
    missing = (target - _contrast(fused, around).clamp_max(PLAIN_CONTRAST)).clamp_min(0.0) / PLAIN_CONTRAST
    return (missing * hot).sum((1, 2, 3)) / (hot.sum((1, 2, 3)) + 20.0)


def _contrast(plane: Tensor, around: Tensor) -> Tensor:
    """Return the contrast of each pixel to the pixels within 21x21 that have ``around`` 1; 0 where these are few.

    The pixel itself is smoothed by a binomial of 3x3.
    """
    count = _box21(around)
    enough = count > 0.1
    count = count.clamp_min(0.1)
    mean = _box21(plane * around) / count
    variance = _box21(plane * plane * around) / count - mean**2
    here = F.avg_pool2d(F.avg_pool2d(F.pad(plane, (1, 1, 1, 1), mode="replicate"), 2, 1), 2, 1)
    return torch.where(enough, (here - mean) / (torch.sqrt(variance.clamp_min(1e-8)) + CONTRAST_FLOOR / 255), 0.0)


def _box21(x: Tensor) -> Tensor:
    """Return the mean over 21x21 pixels, with zeros outside, from cumulated sums."""
    x = F.pad(x, (11, 10, 11, 10)).cumsum(3)
    x = (x[..., 21:] - x[..., :-21]).cumsum(2)
    return (x[:, :, 21:] - x[:, :, :-21]) / 441.0
