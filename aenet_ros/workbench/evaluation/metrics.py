"""Measures of one fused picture against its two sources, in the conventions that most papers' tables follow.

All take grey planes [H, W] of one size on 0..255 (any dtype; rounded to integers first): ``fused``, ``thermal``
and ``rgb_luma``. For other tasks the two sources take the places of thermal and rgb (mri and ct, near and far).
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array
from aenet_ros.health.quality import entropy

Grey = NDArray[np.float64]

RANKED = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM")
"""The nine measures whose ranks make a method's mean rank."""
METRICS = (*RANKED, "SSIM255", "CC", "Nabf")
LOWER_IS_BETTER = frozenset({"Nabf", "flicker"})

_LEAST_SIDE = 41  # leaves VIF's fourth scale one window: each coarser scale takes n - 1 pixels away and halves the rest


def measure(fused: Array, thermal: Array, rgb_luma: Array) -> dict[str, float]:
    """Every measure of METRICS by name. Raises ImageError where the planes' sizes differ or are under 41 pixels."""
    f, a, b = _checked(fused, thermal, rgb_luma)
    values = {"EN": entropy(f.astype(np.uint8)), "SD": float(f.std()), "SF": spatial_frequency(f), "AG": average_gradient(f)}
    values["MI"] = mutual_information(f, a) + mutual_information(f, b)
    values["SCD"] = correlation(f - b, a) + correlation(f - a, b)
    values["VIF"] = visual_fidelity(a, f) + visual_fidelity(b, f)
    values["Qabf"], values["Nabf"] = edge_measures(f, a, b)
    values["SSIM"], values["SSIM255"] = (sum(pair) for pair in zip(similarity(f, a), similarity(f, b), strict=True))
    values["CC"] = (correlation(f, a) + correlation(f, b)) / 2
    return {name: values[name] for name in METRICS}


def _checked(*planes: Array) -> list[Grey]:
    for plane in planes:
        if plane.ndim != 2 or plane.shape != planes[0].shape:
            raise ImageError(f"the measures need three grey planes of one size, not {[p.shape for p in planes]}")
    if min(planes[0].shape) < _LEAST_SIDE:
        raise ImageError(f"{planes[0].shape[1]}x{planes[0].shape[0]} is too small to measure; each side needs {_LEAST_SIDE} pixels")
    return [np.clip(np.rint(np.asarray(plane, np.float64)), 0.0, 255.0) for plane in planes]


def spatial_frequency(f: Grey) -> float:
    """SF: root of the mean squared first differences, across and down."""
    return float(np.sqrt(np.mean(np.diff(f, axis=1) ** 2) + np.mean(np.diff(f, axis=0) ** 2)))


def average_gradient(f: Grey) -> float:
    """AG: mean of sqrt((gx^2 + gy^2) / 2), central differences (one-sided at the border)."""
    down, across = np.gradient(f)
    return float(np.sqrt((across**2 + down**2) / 2).mean())


def mutual_information(f: Grey, source: Grey) -> float:
    """I(f; source) in nats from the 256x256 joint histogram (Qu, Zhang and Yan 2002)."""
    index = f.astype(np.int64) * 256 + source.astype(np.int64)
    joint = np.bincount(index.ravel(), minlength=65536).reshape(256, 256) / f.size
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def correlation(x: Grey, y: Grey) -> float:
    """Pearson's correlation over all pixels; 0 where either plane is constant."""
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else 0.0


def visual_fidelity(source: Grey, f: Grey) -> float:
    """VIFp: pixel-domain visual information fidelity of f with respect to one source (Sheikh and Bovik 2006).

    Four scales, Gaussian windows of 17, 9, 5 and 3 pixels with sigma n / 5, valid region, noise variance 2.
    """
    noise, tiny = 2.0, 1e-10
    told = known = 0.0
    for size in (17, 9, 5, 3):
        if size < 17:
            source, f = (_gaussian(plane, size)[::2, ::2] for plane in (source, f))
        mean_s, mean_f = _gaussian(source, size), _gaussian(f, size)
        var_s = np.maximum(_gaussian(source * source, size) - mean_s * mean_s, 0.0)
        var_f = np.maximum(_gaussian(f * f, size) - mean_f * mean_f, 0.0)
        covariance = _gaussian(source * f, size) - mean_s * mean_f
        gain = covariance / (var_s + tiny)
        left = var_f - gain * covariance
        # The order of these corrections is that of the authors' reference implementation.
        flat_s, flat_f = var_s < tiny, var_f < tiny
        gain[flat_s], left[flat_s], var_s[flat_s] = 0.0, var_f[flat_s], 0.0
        gain[flat_f], left[flat_f] = 0.0, 0.0
        against = gain < 0
        left[against], gain[against] = var_f[against], 0.0
        left = np.maximum(left, tiny)
        told += float(np.log10(1.0 + gain * gain * var_s / (left + noise)).sum())
        known += float(np.log10(1.0 + var_s / noise).sum())
    return told / known if known > 0 else 1.0


def _gaussian(plane: Grey, size: int) -> Grey:
    kernel = cv2.getGaussianKernel(size, size / 5.0, cv2.CV_64F)
    half = size // 2
    return _float(cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel))[half:-half, half:-half]


def similarity(f: Grey, source: Grey) -> tuple[float, float]:
    """SSIM with dynamic range 2 and with 255: 7x7 uniform window, sample covariance, valid region (Wang et al. 2004)."""

    def mean(plane: Grey) -> Grey:
        return _float(cv2.boxFilter(plane, cv2.CV_64F, (7, 7)))[3:-3, 3:-3]

    mean_f, mean_s = mean(f), mean(source)
    sample = 49.0 / 48.0
    var_f = sample * (mean(f * f) - mean_f * mean_f)
    var_s = sample * (mean(source * source) - mean_s * mean_s)
    covariance = sample * (mean(f * source) - mean_f * mean_s)

    def ssim(span: float) -> float:
        c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
        luminance = (2 * mean_f * mean_s + c1) / (mean_f**2 + mean_s**2 + c1)
        structure = (2 * covariance + c2) / (var_f + var_s + c2)
        return float((luminance * structure).mean())

    return ssim(2.0), ssim(255.0)


def edge_measures(f: Grey, a: Grey, b: Grey) -> tuple[float, float]:
    """Qabf, the sources' edges that live on in f, and Nabf, the share that is artefact (Xydeas and Petrovic 2000).

    Artefact is what an edge of f lacks in likeness to the sources' where f's gradient exceeds both of theirs.
    """
    strength_f, angle_f = _edges(f)
    strength_a, angle_a = _edges(a)
    strength_b, angle_b = _edges(b)
    kept_a = _preserved(strength_a, angle_a, strength_f, angle_f)
    kept_b = _preserved(strength_b, angle_b, strength_f, angle_f)
    total = float((strength_a + strength_b).sum())
    if total == 0.0:
        return 0.0, 0.0
    quality = float((kept_a * strength_a + kept_b * strength_b).sum()) / total
    new = (strength_f > strength_a) & (strength_f > strength_b)
    artefact = float((new * ((1 - kept_a) * strength_a + (1 - kept_b) * strength_b)).sum()) / total
    return quality, artefact


def _edges(plane: Grey) -> tuple[Grey, Grey]:
    """Sobel gradient's strength and its angle, -pi/2..pi/2; zeros are assumed outside the picture.

    The angle is counted upwards and is pi/2 where there is no gradient across: a vertical step and flatness
    look alike. That is how the published tables count it, and it moves Qabf by up to 3 %.
    """
    across = _float(cv2.Sobel(plane, cv2.CV_64F, 1, 0, borderType=cv2.BORDER_CONSTANT))
    up = -_float(cv2.Sobel(plane, cv2.CV_64F, 0, 1, borderType=cv2.BORDER_CONSTANT))
    angle = np.full_like(plane, np.pi / 2)
    np.divide(up, across, out=angle, where=across != 0)
    np.arctan(angle, out=angle, where=across != 0)
    return np.hypot(across, up), angle


def _preserved(strength: Grey, angle: Grey, strength_f: Grey, angle_f: Grey) -> Grey:
    larger, smaller = np.maximum(strength, strength_f), np.minimum(strength, strength_f)
    # Equal strengths count with the strength itself in place of 1, another accident that the published tables carry.
    ratio = np.divide(smaller, larger, out=strength_f.copy(), where=larger != smaller)
    likeness = 1.0 - np.abs(angle - angle_f) / (np.pi / 2)
    by_strength = 0.9994 / (1.0 + np.exp(-15.0 * (ratio - 0.5)))
    by_angle = 0.9879 / (1.0 + np.exp(-22.0 * (likeness - 0.8)))
    return np.asarray(by_strength * by_angle, np.float64)


def _float(value: Any) -> Grey:
    return np.asarray(value, np.float64)
