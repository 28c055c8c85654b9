"""Training losses, on float planes [B, 1, H, W] in 0..1; each term is one number, lower is better.

Similarity: the fused frame against its sources (intensity, gradient, structure, information, differences, artefacts).
Positive sample: drawn to the best classical fusion of the pair and away from degraded ones (positives.py).
Temporal: change from one frame to the next that neither source explains. Lattice: the grid of an unshuffled output.
"""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from aenet_ros.workbench.training.data import BRIGHT_KINDS, Batch
from aenet_ros.workbench.training.positives import correlation, gradients, larger, negative_samples, wanted_gain

_NOISE = 2.0 / 255**2  # variance of the viewer's noise in VIF (Sheikh and Bovik 2006)
_BINS = 24  # of the histograms for mutual information
_LUMINANCE, _CONTRAST = 1e-6, 9e-6  # SSIM's stabilisers, small enough that faint texture counts


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term in the sum; what the packaged weights were trained with is on their card."""

    intensity: float = 0.2
    gradient: float = 7.5
    structure: float = 0.4
    information: float = 0.6
    differences: float = 0.8
    artefact: float = 7.0
    positive: float = 5.0
    temporal: float = 600.0
    lattice: float = 10.0
    range: float = 3.0
    mutual: float = 2.0


def _steepness(a: Tensor, b: Tensor) -> Tensor:
    """Gradients to ask for, relative to the larger source's: more than wanted, for a fit by L1 falls short, most where details compete."""
    return 1.01 + 2.0 * (wanted_gain(a, b) - 1.0)


def loss_terms(raw: Tensor, batch: Batch) -> dict[str, Tensor]:
    """All terms, unweighted, by the names of LossWeights. ``raw`` is the network's unclamped output for the batch.

    Frames that follow serve the temporal term only.
    """
    shown = raw.clamp(0.0, 1.0)
    first = slice(0, len(raw) - batch.follow)
    fused, positive = shown[first], batch.positive[first]
    a, b, kinds = batch.thermal_reference[first], batch.luma_reference[first], batch.kinds[first]
    structure, information = structure_and_information(fused, a, b)
    return {
        "intensity": intensity_loss(fused, a, b, kinds),
        "gradient": gradient_loss(fused, a, b),
        "structure": structure,
        "information": information,
        "differences": differences_loss(fused, a, b, kinds),
        "artefact": artefact_loss(fused, a, b),
        "positive": positive_loss(fused, positive, negative_samples(a, b, positive)),
        "temporal": temporal_loss(shown, batch.thermal, batch.luma, batch.follow),
        "lattice": lattice_loss(fused, positive),
        "range": (raw - shown).abs().mean(),
        "mutual": mutual_loss(fused, a, b),
    }


def weighted_sum(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """The training loss."""
    return torch.stack([getattr(weights, item.name) * terms[item.name] for item in fields(weights)]).sum()


def intensity_loss(fused: Tensor, a: Tensor, b: Tensor, kinds: tuple[str, ...]) -> Tensor:
    """L1 to the brighter source where bright means important, else to the mean of both."""
    bright = torch.tensor([kind in BRIGHT_KINDS for kind in kinds], device=a.device)[:, None, None, None]
    return (fused - torch.where(bright, torch.maximum(a, b), (a + b) / 2)).abs().mean()


def gradient_loss(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """L1 between signed gradients and the larger source's, made steeper; and between their mean and root mean square sizes.

    The sizes are compared because L1 alone, where details compete, settles for less of both.
    """
    gain = _steepness(a, b)
    parts = []
    for of_fused, of_a, of_b in zip(gradients(fused), gradients(a), gradients(b), strict=True):
        wanted = gain * larger(of_a, of_b)
        parts.append((of_fused - wanted).abs().mean())
        parts.append((of_fused.abs().mean((1, 2, 3)) - wanted.abs().mean((1, 2, 3))).abs().mean())
        parts.append(0.5 * (_rms(of_fused) - _rms(wanted)).abs().mean())
    return torch.stack(parts).sum()


def _rms(x: Tensor) -> Tensor:
    return torch.sqrt((x * x).mean((1, 2, 3)) + 1e-6)


def artefact_loss(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Mean by which the gradient's length exceeds the longer source gradient, made steeper."""
    lengths = [torch.sqrt(right**2 + down**2 + 1e-6) for right, down in map(gradients, (fused, a, b))]
    return (lengths[0] - _steepness(a, b) * torch.maximum(lengths[1], lengths[2])).clamp_min(0.0).mean()


def structure_and_information(fused: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """1 - mean SSIM (Wang et al. 2004) and 1 - mean VIF (Sheikh and Bovik 2006, pixel domain) to both sources.

    Both from 7x7 uniform windows; SSIM at full size, VIF over three scales.
    """
    similar: list[Tensor] = []
    kept: list[Tensor] = []
    carried: list[Tensor] = []
    for scale in range(3):
        if scale:
            fused, a, b = (F.avg_pool2d(plane, 2) for plane in (fused, a, b))
        stride = 4 >> scale  # windows overlap so much that every fourth pixel, or second at half size, will do
        mean_f, var_f = _moments(fused, stride)
        for source in (a, b):
            mean_s, var_s = _moments(source, stride)
            covariance = _mean(fused * source, stride) - mean_f * mean_s
            if scale == 0:
                luminance = (2 * mean_f * mean_s + _LUMINANCE) / (mean_f**2 + mean_s**2 + _LUMINANCE)
                similar.append((luminance * (2 * covariance + _CONTRAST) / (var_f + var_s + _CONTRAST)).mean())
            slope = (covariance / (var_s + 1e-7)).clamp_min(0.0)
            rest = (var_f - slope * covariance).clamp_min(0.0)
            kept.append(torch.log1p(slope**2 * var_s / (rest + _NOISE)).sum((1, 2, 3)))
            carried.append(torch.log1p(var_s / _NOISE).sum((1, 2, 3)))
    fidelity = [torch.stack(kept[i::2]).sum(0) / (torch.stack(carried[i::2]).sum(0) + 1.0) for i in range(2)]
    return 1.0 - torch.stack(similar).mean(), 1.0 - torch.stack(fidelity).mean()


def _mean(x: Tensor, stride: int) -> Tensor:
    return F.avg_pool2d(x, 7, stride)


def _moments(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    mean = _mean(x, stride)
    return mean, (_mean(x * x, stride) - mean**2).clamp_min(0.0)


def differences_loss(fused: Tensor, a: Tensor, b: Tensor, kinds: tuple[str, ...]) -> Tensor:
    """2 - mean SCD (Aslantas and Bendes 2015): what was added to one source should look like the other.

    Focus stacks do not count: their sources show the same, and adding both only raises contrast.
    """
    counted = torch.tensor([float(kind != "focus") for kind in kinds], device=a.device)
    return ((2.0 - correlation(fused - b, a) - correlation(fused - a, b)) * counted).mean()


def mutual_loss(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """1 - the share of both sources' entropy that the fused frame tells (mutual information, Qu et al. 2002), from coarse histograms.

    A pixel's share of a bin falls off linearly (a first order Parzen window), so that the histograms have gradients. Every third
    row and column will do.
    """
    fused, a, b = (_bin_shares(plane[..., ::3, ::3]) for plane in (fused, a, b))
    told = carried = torch.zeros(len(fused), device=fused.device)
    for source in (a, b):
        joint = source.transpose(1, 2) @ fused / fused.shape[1]
        of_source, of_fused = joint.sum(2), joint.sum(1)
        told = told + _entropy(of_source) + _entropy(of_fused) - _entropy(joint.flatten(1))
        carried = carried + _entropy(of_source)
    return (1.0 - told / (carried + 0.1)).mean()


def _bin_shares(x: Tensor) -> Tensor:
    """[B, 1, H, W] in 0..1 to every pixel's share of each bin, [B, H * W, bins]."""
    centres = torch.arange(_BINS, device=x.device, dtype=x.dtype)
    return (1.0 - (x.flatten(1)[..., None] * (_BINS - 1) - centres).abs()).clamp_min(0.0)


def _entropy(shares: Tensor) -> Tensor:
    """In nats, of each sample's distribution, [B]."""
    return -(shares * torch.log(shares + 1e-9)).sum(1)


def positive_loss(fused: Tensor, positive: Tensor, negatives: tuple[Tensor, ...]) -> Tensor:
    """Nearness to the positive in pixels, deviation and features, with its share of all feature distances (contrastive).

    The deviation is compared by itself because L1 alone, where exposure is uncertain, settles for a flat compromise.
    """
    of_fused, of_positive = _features(fused), _features(positive)
    near = _distance(of_fused, of_positive)
    far = torch.stack([_distance(of_fused, _features(negative)) for negative in negatives]).mean(0)
    pixels = (fused - positive).abs().mean((1, 2, 3)) + (_deviation(fused) - _deviation(positive)).abs()
    return (pixels + near + 0.1 * near / (near + far + 1e-3)).mean()


def _deviation(x: Tensor) -> Tensor:
    return torch.sqrt(x.flatten(1).var(1) + 1e-6)


def _features(x: Tensor) -> list[Tensor]:
    """Detail of three scales, from the Haar pyramid: each [B, 1, H, W] / 2^scale."""
    details = []
    for _ in range(3):
        low = F.avg_pool2d(x, 2)
        details.append(x - F.interpolate(low, scale_factor=2.0))
        x = low
    return details


def _distance(x: list[Tensor], y: list[Tensor]) -> Tensor:
    """Of two planes' features, a number a sample [B]: L1, and L1 between their mean magnitudes."""
    parts = [(p - q).abs().mean((1, 2, 3)) + (p.abs().mean((1, 2, 3)) - q.abs().mean((1, 2, 3))).abs() for p, q in zip(x, y, strict=True)]
    return torch.stack(parts).sum(0)


def temporal_loss(fused: Tensor, a: Tensor, b: Tensor, follow: int) -> Tensor:
    """Flicker between the first ``follow`` frames and the last ``follow``: mean change that exceeds both sources' changes."""
    if not follow:
        return fused.new_zeros(())
    change, change_a, change_b = ((plane[-follow:] - plane[:follow]).abs() for plane in (fused, a, b))
    return (change - torch.maximum(change_a, change_b)).clamp_min(0.0).mean()


def lattice_loss(fused: Tensor, positive: Tensor) -> Tensor:
    """How much rows and columns differ by their place in a lattice of 4, which an unshuffled output can show and a picture does not.

    Compared are mean second differences by place with the positive sample's, without the edges, where the roll wraps around;
    height and width are multiples of 4.
    """
    differences = []
    for dim in (2, 3):
        places = [(plane.roll(1, dim) - 2.0 * plane + plane.roll(-1, dim)).mean((1, 5 - dim)) for plane in (fused, positive)]
        by_place = (places[0] - places[1])[:, 2:-2].reshape(len(fused), -1, 4).mean(1)
        differences.append(by_place.abs().mean())
    return torch.stack(differences).sum()
