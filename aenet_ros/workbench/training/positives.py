"""Positive samples: for each pair the best of several classical fusions by a fixed score.

The AE-Netv2 paper adds a positive sample loss, whose formula is not public; this is our own design. Candidates: the per-pixel maximum, a
Laplacian pyramid (Burt and Adelson 1983), a guided-filter two-scale fusion (after Li, Kang and Hu 2013), and screened gradient-domain
fusions (after Bhat et al. 2008). Planes are float tensors [B, 1, H, W] in 0..1: whole frames, because exposure depends on their mean.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def laplacian_pyramid(a: Tensor, b: Tensor, levels: int = 4) -> Tensor:
    """Fuse by the detail of larger magnitude at each level, and the mean of the bases."""
    fused = []
    for _ in range(levels):
        low_a, low_b = F.avg_pool2d(a, 2, ceil_mode=True), F.avg_pool2d(b, 2, ceil_mode=True)
        fused.append(larger_magnitude(a - _up(low_a, a), b - _up(low_b, b)))
        a, b = low_a, low_b
    x = (a + b) / 2
    for detail in reversed(fused):
        x = _up(x, detail) + detail
    return x.clamp(0.0, 1.0)


def _up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear")


def box(x: Tensor, radius: int) -> Tensor:
    """Return the mean over square windows of 2 * radius + 1 pixels, cut at the borders; the cost is independent of the radius."""
    for dim in (2, 3):
        size = x.shape[dim]
        position = torch.arange(size, device=x.device)
        low, high = (position - radius).clamp_min(0), (position + radius + 1).clamp_max(size)
        pad = (0, 0, 1, 0) if dim == 2 else (1, 0)
        sums = F.pad(x, pad).cumsum(dim)
        counts = (high - low).to(x.dtype)
        x = (sums.index_select(dim, high) - sums.index_select(dim, low)) / (counts[:, None] if dim == 2 else counts)
    return x


def guided_two_scale(a: Tensor, b: Tensor) -> Tensor:
    """Fuse base and detail with saliency weights that a guided filter aligns with the sources."""
    base_a, base_b = box(a, 7), box(b, 7)
    saliency_a, saliency_b = (box((plane - box(plane, 1)).abs(), 3) for plane in (a, b))
    choice, guide = (saliency_a > saliency_b).to(a.dtype), (a + b) / 2
    coarse, fine = _guided(choice, guide, 9, 0.1).clamp(0.0, 1.0), _guided(choice, guide, 3, 1e-4).clamp(0.0, 1.0)
    return (torch.lerp(base_b, base_a, coarse) + torch.lerp(b - base_b, a - base_a, fine)).clamp(0.0, 1.0)


def _guided(x: Tensor, guide: Tensor, radius: int, epsilon: float) -> Tensor:
    mean_x, mean_g = box(x, radius), box(guide, radius)
    slope = (box(x * guide, radius) - mean_x * mean_g) / (box(guide * guide, radius) - mean_g**2 + epsilon)
    return box(slope, radius) * guide + box(mean_x - slope * mean_g, radius)


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return forward differences along rows and along columns, each of the shape of ``x``, 0 at the far edge."""
    return F.pad(x[..., :, 1:] - x[..., :, :-1], (0, 1)), F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))


def larger_magnitude(a: Tensor, b: Tensor) -> Tensor:
    """Return the entries of larger magnitude of two signed tensors."""
    return torch.where(a.abs() > b.abs(), a, b)


def gradient_domain(a: Tensor, b: Tensor, anchor: Tensor | None = None, gain: float | Tensor = 1.0, screen: float = 0.03) -> Tensor:
    """Fuse in the gradient domain: minimise |grad x - gain * g|^2 + screen * |x - anchor|^2, with g the larger source gradient.

    ``anchor`` defaults to the per-pixel maximum. The exact solution is a cosine transform (a mirrored Fourier transform).
    """
    anchor = torch.maximum(a, b) if anchor is None else anchor
    right, down = (gain * larger_magnitude(ga, gb) for ga, gb in zip(gradients(a), gradients(b), strict=True))
    divergence = right - F.pad(right[..., :, :-1], (1, 0)) + down - F.pad(down[..., :-1, :], (0, 0, 1, 0))
    height, width = a.shape[2:]
    target = screen * anchor - divergence
    mirrored = torch.cat((target, target.flip(-1)), -1)
    mirrored = torch.cat((mirrored, mirrored.flip(-2)), -2)
    rows = 2.0 - 2.0 * torch.cos(torch.pi * torch.arange(2 * height, dtype=a.dtype, device=a.device) / height)
    columns = 2.0 - 2.0 * torch.cos(torch.pi * torch.arange(width + 1, dtype=a.dtype, device=a.device) / width)
    solved: Tensor = torch.fft.irfft2(torch.fft.rfft2(mirrored) / (rows[:, None] + columns[None, :] + screen), s=mirrored.shape[-2:])
    return solved[..., :height, :width].clamp(0.0, 1.0)


def exposure_adjusted(a: Tensor, b: Tensor) -> Tensor:
    """Fuse in the gradient domain near a mixture of maximum and sum.

    Its standard deviation and the gradients of soft frames are raised by up to 10 %; its mean is limited to 0.55, against washed-out skies.
    """
    total = a + b - _mean(a)
    mixture = 0.75 * torch.maximum(a, b) + 0.25 * total
    mean = _mean(mixture)
    anchor = 1.1 * (mixture - mean) + mean.clamp_max(0.55)
    return gradient_domain(a, b, anchor, gradient_gain(a, b))


def gradient_gain(a: Tensor, b: Tensor) -> Tensor:
    """Return the gain on gradients, [B, 1, 1, 1]: from 1.1 for soft pairs to 1.0 for sharp ones."""
    pairs = zip(gradients(a), gradients(b), strict=True)
    mean = torch.stack([_mean(larger_magnitude(of_a, of_b).abs()) for of_a, of_b in pairs]).sum(0)
    return 1.0 + 0.1 * ((0.075 - mean) / 0.03).clamp(0.0, 1.0)


def _mean(x: Tensor) -> Tensor:
    return x.mean((1, 2, 3), keepdim=True)


def near_maximum(a: Tensor, b: Tensor) -> Tensor:
    """Fuse in the gradient domain near the maximum: the only candidate for infrared pairs, because the others draw coarse structure.

    Mean halo on RoadScene: guided_two_scale 0.6 and more, laplacian_pyramid 0.6, gradient_domain 0.2, this 0.06.
    """
    return gradient_domain(a, b, screen=0.3)


CLASSICAL = (torch.maximum, laplacian_pyramid, guided_two_scale, gradient_domain)
CANDIDATES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], ...]] = {
    "infrared": (near_maximum,),
    "exposure": (*CLASSICAL, exposure_adjusted),
    "medical": CLASSICAL,  # black and brightness must not change
    "focus": (laplacian_pyramid, guided_two_scale),  # the maximum of a sharp and a blurred edge is too bright
}


def quality(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the score of a fusion, [B]; higher is better. It is the sum of four parts.

    Edges: preserved share of the larger source gradient, minus twice the excess (artefacts). Structure: mean correlation with both
    sources in 15x15 windows. Contrast: half of the standard deviation relative to the larger source's. Differences: half of SCD.
    """
    preserved = excess = total = torch.zeros(len(a), dtype=a.dtype, device=a.device)
    for of_fused, of_a, of_b in zip(gradients(fused), gradients(a), gradients(b), strict=True):
        target = larger_magnitude(of_a, of_b)
        along = (of_fused * target.sign()).clamp_min(0.0)
        preserved = preserved + torch.minimum(along, target.abs()).sum((1, 2, 3))
        excess = excess + (of_fused.abs() - target.abs()).clamp_min(0.0).sum((1, 2, 3))
        total = total + target.abs().sum((1, 2, 3))
    structure = (_local_correlation(fused, a) + _local_correlation(fused, b)) / 2
    deviations = torch.stack([plane.flatten(1).std(1) for plane in (a, b)]).amax(0)
    contrast = (fused.flatten(1).std(1) / (deviations + 1e-3)).clamp_max(1.5)
    differences = correlation(fused - b, a) + correlation(fused - a, b)
    return (preserved - 2.0 * excess) / (total + 1e-3) + structure + 0.5 * contrast + 0.5 * differences


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Return the Pearson correlation of each sample, [B]; 0 if a plane is constant."""
    x, y = (plane.flatten(1) - plane.flatten(1).mean(1, keepdim=True) for plane in (x, y))
    return (x * y).mean(1) / torch.sqrt((x * x).mean(1) * (y * y).mean(1) + 1e-6)


def _local_correlation(x: Tensor, y: Tensor) -> Tensor:
    mean_x, mean_y = box(x, 7), box(y, 7)
    covariance = box(x * y, 7) - mean_x * mean_y
    power = (box(x * x, 7) - mean_x**2).clamp_min(0.0) * (box(y * y, 7) - mean_y**2).clamp_min(0.0)
    return ((covariance + 1e-5) / (power.sqrt() + 1e-5)).mean((1, 2, 3))


@torch.no_grad()
def positive_sample(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """Return the candidate of highest quality for each pair of a batch of one task, [B, 1, H, W]."""
    candidates = CANDIDATES[kind]
    if len(candidates) == 1:
        return candidates[0](a, b)
    # Scored at half size: a quarter of the work, and single-pixel noise does not count as detail.
    small_a, small_b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    best = torch.stack([quality(fuse(small_a, small_b), small_a, small_b) for fuse in candidates]).argmax(0)
    chosen = torch.empty_like(a)
    for index in set(best.tolist()):
        selected = best == index
        chosen[selected] = candidates[index](a[selected], b[selected])
    return chosen
