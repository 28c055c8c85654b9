"""Training losses on float planes [B, 1, H, W] in 0..1. Each term is a scalar; lower is better. Formulas without a source are ours.

Trust: invented, hot (trust_terms.py), mesh. Similarity to the sources: intensity, gradient, structure, information, differences, artefact,
mutual. The others: positive (positives.py), temporal, range (values outside 0..1).
"""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from aenet_ros.fusion.network import TILE
from aenet_ros.workbench.training.batches import Batch
from aenet_ros.workbench.training.data import BRIGHT_KINDS
from aenet_ros.workbench.training.positives import correlation, gradient_gain, gradients, larger_magnitude
from aenet_ros.workbench.training.trust_terms import hot_shortfall, invented_structure

_NOISE = 2.0 / 255**2  # noise variance of VIF (Sheikh and Bovik 2006)
_BINS = 24  # histogram bins for mutual information
_LUMINANCE, _CONTRAST = 1e-6, 9e-6  # constants of SSIM, small enough for faint texture


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term in the sum. The weights used for the packaged network are on its card."""

    invented: float = 8.0
    hot: float = 6.0
    mesh: float = 0.5
    intensity: float = 0.5
    gradient: float = 7.5
    structure: float = 0.4
    information: float = 2.0
    differences: float = 0.4
    artefact: float = 5.0
    positive: float = 5.0
    temporal: float = 300.0
    range: float = 3.0
    mutual: float = 1.5


def _target_gain(a: Tensor, b: Tensor) -> Tensor:
    """Return the target gradient relative to the larger source gradient; above ``gradient_gain``, because an L1 fit falls short of it."""
    return 1.06 + 2.0 * (gradient_gain(a, b) - 1.0)


def loss_terms(raw: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Return all terms, unweighted, by the names of LossWeights. ``raw`` is the network's unclamped output for the batch.

    Next frames (``batch.follow``) are used by the temporal term only.
    """
    clamped = raw.clamp(0.0, 1.0)
    first = slice(0, len(raw) - batch.follow)
    fused, positive = clamped[first], batch.positive[first]
    a, b, kinds = batch.thermal_reference[first], batch.luma_reference[first], batch.kinds[first]
    structure, information = structure_and_information(fused, a, b)
    bright = torch.tensor([kind in BRIGHT_KINDS for kind in kinds], dtype=a.dtype, device=a.device)
    return {
        "invented": (invented_structure(fused, a, b) * bright).mean(),
        "hot": (hot_shortfall(fused, a, b) * bright).mean(),
        "mesh": mesh_loss(fused, a, b),
        "intensity": intensity_loss(fused, a, b, kinds),
        "gradient": gradient_loss(fused, a, b),
        "structure": structure,
        "information": information,
        "differences": differences_loss(fused, a, b, kinds),
        "artefact": artefact_loss(fused, a, b),
        "positive": positive_loss(fused, positive),
        "temporal": temporal_loss(clamped, batch.thermal, batch.luma, batch.follow),
        "range": (raw - clamped).abs().mean(),
        "mutual": mutual_loss(fused, a, b),
    }


def weighted_sum(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Return the training loss."""
    return torch.stack([getattr(weights, item.name) * terms[item.name] for item in fields(weights)]).sum()


def intensity_loss(fused: Tensor, a: Tensor, b: Tensor, kinds: tuple[str, ...]) -> Tensor:
    """Return the L1 distance to the brighter source for BRIGHT_KINDS, else to the mean of both."""
    bright = torch.tensor([kind in BRIGHT_KINDS for kind in kinds], device=a.device)[:, None, None, None]
    return (fused - torch.where(bright, torch.maximum(a, b), (a + b) / 2)).abs().mean()


def gradient_loss(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the L1 distance of signed gradients to the target, and of their mean and root mean square magnitudes.

    The magnitudes are compared because L1 alone gives too weak gradients where the sources compete.
    """
    gain = _target_gain(a, b)
    parts = []
    for of_fused, of_a, of_b in zip(gradients(fused), gradients(a), gradients(b), strict=True):
        target = gain * larger_magnitude(of_a, of_b)
        parts.append((of_fused - target).abs().mean())
        parts.append((of_fused.abs().mean((1, 2, 3)) - target.abs().mean((1, 2, 3))).abs().mean())
        parts.append(0.5 * (_rms(of_fused) - _rms(target)).abs().mean())
    return torch.stack(parts).sum()


def _rms(x: Tensor) -> Tensor:
    return torch.sqrt((x * x).mean((1, 2, 3)) + 1e-6)


def artefact_loss(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean excess of the gradient magnitude over the target, the larger source magnitude times ``_target_gain``."""
    magnitudes = [torch.sqrt(right**2 + down**2 + 1e-6) for right, down in map(gradients, (fused, a, b))]
    return (magnitudes[0] - _target_gain(a, b) * torch.maximum(magnitudes[1], magnitudes[2])).clamp_min(0.0).mean()


def structure_and_information(fused: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 - mean SSIM (Wang et al. 2004) and 1 - VIF (Sheikh and Bovik 2006, pixel domain), half its mean, half the worse source's.

    Windows are 7x7 and uniform. SSIM is computed at full size, VIF over three scales.
    """
    ssim: list[Tensor] = []
    preserved: list[Tensor] = []
    available: list[Tensor] = []
    for scale in range(3):
        if scale:
            fused, a, b = (F.avg_pool2d(plane, 2) for plane in (fused, a, b))
        stride = 4 >> scale  # windows overlap, so every fourth pixel is enough, every second at half size
        mean_f, var_f = _moments(fused, stride)
        for source in (a, b):
            mean_s, var_s = _moments(source, stride)
            covariance = _mean(fused * source, stride) - mean_f * mean_s
            if scale == 0:
                luminance = (2 * mean_f * mean_s + _LUMINANCE) / (mean_f**2 + mean_s**2 + _LUMINANCE)
                ssim.append((luminance * (2 * covariance + _CONTRAST) / (var_f + var_s + _CONTRAST)).mean())
            slope = (covariance / (var_s + 1e-7)).clamp_min(0.0)
            rest = (var_f - slope * covariance).clamp_min(0.0)
            preserved.append(torch.log1p(slope**2 * var_s / (rest + _NOISE)).sum((1, 2, 3)))
            available.append(torch.log1p(var_s / _NOISE).sum((1, 2, 3)))
    fidelity = [torch.stack(preserved[i::2]).sum(0) / (torch.stack(available[i::2]).sum(0) + 1.0) for i in range(2)]
    both = torch.stack(fidelity)
    return 1.0 - torch.stack(ssim).mean(), 1.0 - (both.mean() + both.amin(0).mean()) / 2


def _mean(x: Tensor, stride: int) -> Tensor:
    return F.avg_pool2d(x, 7, stride)


def _moments(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    mean = _mean(x, stride)
    return mean, (_mean(x * x, stride) - mean**2).clamp_min(0.0)


def differences_loss(fused: Tensor, a: Tensor, b: Tensor, kinds: tuple[str, ...]) -> Tensor:
    """Return 2 - mean SCD (Aslantas and Bendes 2015): the difference to one source should correlate with the other.

    Focus stacks are excluded: their sources show the same scene, so SCD only rewards contrast.
    """
    counted = torch.tensor([float(kind != "focus") for kind in kinds], device=a.device)
    return ((2.0 - correlation(fused - b, a) - correlation(fused - a, b)) * counted).mean()


def mutual_loss(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return 1 - the mutual information with both sources (Qu et al. 2002) relative to their entropy, from coarse histograms.

    Pixels are shared linearly between neighbouring bins (a first-order Parzen window), so the histograms are differentiable. Every
    third row and column is used.
    """
    fused, a, b = (_bin_shares(plane[..., ::3, ::3]) for plane in (fused, a, b))
    shared = available = torch.zeros(len(fused), device=fused.device)
    for source in (a, b):
        joint = source.transpose(1, 2) @ fused / fused.shape[1]
        of_source, of_fused = joint.sum(2), joint.sum(1)
        shared = shared + _entropy(of_source) + _entropy(of_fused) - _entropy(joint.flatten(1))
        available = available + _entropy(of_source)
    return (1.0 - shared / (available + 0.1)).mean()


def _bin_shares(x: Tensor) -> Tensor:
    """Return each pixel's share of each bin, [B, H * W, bins], of [B, 1, H, W] in 0..1."""
    centres = torch.arange(_BINS, device=x.device, dtype=x.dtype)
    return (1.0 - (x.flatten(1)[..., None] * (_BINS - 1) - centres).abs()).clamp_min(0.0)


def _entropy(shares: Tensor) -> Tensor:
    """Return the entropy in nats of each sample's distribution, [B]."""
    return -(shares * torch.log(shares + 1e-9)).sum(1)


def positive_loss(fused: Tensor, positive: Tensor) -> Tensor:
    """Return the distance to the positive sample in pixels, standard deviation and features.

    The standard deviation is compared because L1 alone gives low contrast where the exposure is uncertain.
    """
    pixels = (fused - positive).abs().mean((1, 2, 3)) + (_std(fused) - _std(positive)).abs()
    return (pixels + _distance(_features(fused), _features(positive))).mean()


def _std(x: Tensor) -> Tensor:
    return torch.sqrt(x.flatten(1).var(1) + 1e-6)


def _features(x: Tensor) -> list[Tensor]:
    """Return detail at three scales of a Haar pyramid, [B, 1, H / 2^scale, W / 2^scale]."""
    details = []
    for _ in range(3):
        low = F.avg_pool2d(x, 2)
        details.append(x - F.interpolate(low, scale_factor=2.0))
        x = low
    return details


def _distance(x: list[Tensor], y: list[Tensor]) -> Tensor:
    """Return the L1 distance of features plus the L1 distance of their mean magnitudes, [B]."""
    parts = [(p - q).abs().mean((1, 2, 3)) + (p.abs().mean((1, 2, 3)) - q.abs().mean((1, 2, 3))).abs() for p, q in zip(x, y, strict=True)]
    return torch.stack(parts).sum(0)


def temporal_loss(fused: Tensor, a: Tensor, b: Tensor, follow: int) -> Tensor:
    """Return the flicker: mean change from the first to the last ``follow`` frames that exceeds the change of both sources."""
    if not follow:
        return fused.new_zeros(())
    change, change_a, change_b = ((plane[-follow:] - plane[:follow]).abs() for plane in (fused, a, b))
    return (change - torch.maximum(change_a, change_b)).clamp_min(0.0).mean()


def mesh_loss(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return how far the tiles show: the measure mesh (evaluation.trust) summed over phases and directions, where it is positive."""
    excess = []
    for dim in (2, 3):
        of_fused, of_a, of_b = (_phase_ratios(plane, dim) for plane in (fused, a, b))
        excess.append((of_fused - torch.maximum(of_a, of_b)).clamp_min(0.0).sum(1))
    return torch.stack(excess).sum(0).mean()


def _phase_ratios(plane: Tensor, dim: int) -> Tensor:
    """Return the energy of first differences along ``dim`` at each phase of a tile relative to the mean of the other phases, [B, 4]."""
    energy = (plane.diff(dim=dim) ** 2).mean((1, 5 - dim))
    whole = energy.shape[1] // TILE * TILE
    phases = energy[:, :whole].reshape(len(plane), -1, TILE).mean(1) + 1e-6
    ratios: Tensor = phases * (TILE - 1) / (phases.sum(1, keepdim=True) - phases)
    return ratios
