"""Measures of a fused picture against its two sources, and of flicker in a clip, as most papers define them.

Inputs are grey planes [H, W] of one size in 0..255, any dtype, rounded to integers first. Source A is ``thermal``, source B is
``rgb_luma``; for other tasks these are for example mri and ct, or near and far focus.
"""

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Plane
from aenet_ros.health.quality import entropy

Grey = NDArray[np.float64]

RANKED = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM")
"""The nine measures that make up the mean rank."""
METRICS = (*RANKED, "SSIM255", "CC", "Nabf")
LOWER_IS_BETTER = frozenset({"Nabf", "flicker", "lost", "halo", "halo share", "mesh"})

_MIN_SIDE = 41  # leaves one window at the fourth scale of VIF: each scale removes n - 1 pixels and halves the rest


def measure(fused: Array, thermal: Array, rgb_luma: Array) -> dict[str, float]:
    """Return all measures of METRICS by name. Raises ImageError if the sizes differ or a side is below 41 pixels."""
    f, a, b = checked(fused, thermal, rgb_luma)
    return measure_planes(f, a, b, (visual_fidelity(a, f), visual_fidelity(b, f)))


def measure_planes(f: Grey, a: Grey, b: Grey, fidelity: tuple[float, float]) -> dict[str, float]:
    """Return all measures of METRICS of checked planes. ``fidelity``: VIF for ``a`` and for ``b``, which take a third of the time."""
    values = {"EN": entropy(f.astype(np.uint8)), "SD": float(f.std()), "SF": spatial_frequency(f), "AG": average_gradient(f)}
    values["MI"] = mutual_information(f, a) + mutual_information(f, b)
    values["SCD"] = correlation(f - b, a) + correlation(f - a, b)
    values["VIF"] = sum(fidelity)
    values["Qabf"], values["Nabf"] = edge_measures(f, a, b)
    values["SSIM"], values["SSIM255"] = (sum(pair) for pair in zip(similarity(f, a), similarity(f, b), strict=True))
    values["CC"] = (correlation(f, a) + correlation(f, b)) / 2
    return {name: values[name] for name in METRICS}


def checked(*planes: Array) -> list[Grey]:
    """Return planes as float64, rounded and clipped to 0..255. Raises ImageError if sizes differ or a side is below 41 pixels."""
    for plane in planes:
        if plane.ndim != 2 or plane.shape != planes[0].shape:
            raise ImageError(f"the measures need three grey planes of one size, not {[p.shape for p in planes]}")
    if min(planes[0].shape) < _MIN_SIDE:
        raise ImageError(f"{planes[0].shape[1]}x{planes[0].shape[0]} is too small to measure; each side needs at least {_MIN_SIDE} pixels")
    return [np.clip(np.rint(np.asarray(plane, np.float64)), 0.0, 255.0) for plane in planes]


def spatial_frequency(f: Grey) -> float:
    """SF, spatial frequency: root of the sum of mean squared differences along rows and along columns (Eskicioglu and Fisher 1995)."""
    return float(np.sqrt(np.mean(np.diff(f, axis=1) ** 2) + np.mean(np.diff(f, axis=0) ** 2)))


def average_gradient(f: Grey) -> float:
    """AG, average gradient: mean of sqrt((gx^2 + gy^2) / 2) with central differences, one-sided at the border."""
    down, across = np.gradient(f)
    return float(np.sqrt((across**2 + down**2) / 2).mean())


def mutual_information(f: Grey, source: Grey) -> float:
    """MI to one source: I(f; source) in nats from the 256x256 joint histogram (Qu, Zhang and Yan 2002)."""
    index = f.astype(np.int64) * 256 + source.astype(np.int64)
    joint = np.bincount(index.ravel(), minlength=65536).reshape(256, 256) / f.size
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def correlation(x: Grey, y: Grey) -> float:
    """Pearson correlation over all pixels; 0 if a plane is constant. CC is its mean to both sources.

    SCD is correlation(f - b, a) + correlation(f - a, b) (Aslantas and Bendes 2015).
    """
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else 0.0


def visual_fidelity(source: Grey, f: Grey) -> float:
    """VIF, visual information fidelity in the pixel domain, of f for one source (Sheikh and Bovik 2006).

    Four scales with Gaussian windows of n = 17, 9, 5 and 3 pixels, sigma n / 5, valid region, noise variance 2.
    """
    noise, tiny = 2.0, 1e-10
    kept = total = 0.0
    for size in (17, 9, 5, 3):
        if size < 17:
            source, f = (_gaussian(plane, size)[::2, ::2] for plane in (source, f))
        mean_s, mean_f = _gaussian(source, size), _gaussian(f, size)
        var_s = np.maximum(_gaussian(source * source, size) - mean_s * mean_s, 0.0)
        var_f = np.maximum(_gaussian(f * f, size) - mean_f * mean_f, 0.0)
        covariance = _gaussian(source * f, size) - mean_s * mean_f
        gain = covariance / (var_s + tiny)
        rest = var_f - gain * covariance
        # These corrections follow the order of the authors' reference implementation.
        flat_s, flat_f = var_s < tiny, var_f < tiny
        gain[flat_s], rest[flat_s], var_s[flat_s] = 0.0, var_f[flat_s], 0.0
        gain[flat_f], rest[flat_f] = 0.0, 0.0
        negative = gain < 0
        rest[negative], gain[negative] = var_f[negative], 0.0
        rest = np.maximum(rest, tiny)
        kept += float(np.log10(1.0 + gain * gain * var_s / (rest + noise)).sum())
        total += float(np.log10(1.0 + var_s / noise).sum())
    return kept / total if total > 0 else 1.0


def _gaussian(plane: Grey, size: int) -> Grey:
    kernel = cv2.getGaussianKernel(size, size / 5.0, cv2.CV_64F)
    half = size // 2
    return _float(cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel))[half:-half, half:-half]


def similarity(f: Grey, source: Grey) -> tuple[float, float]:
    """Return SSIM to one source with dynamic range 2 and 255: 7x7 uniform window, sample covariance, valid region (Wang et al. 2004)."""

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
    """Return Qabf, the share of source edges preserved in f (Xydeas and Petrovic 2000), and Nabf, the share of artefacts.

    Nabf sums 1 - preservation where the gradient of f exceeds both source gradients.
    """
    (strength_f, angle_f), (strength_a, angle_a), (strength_b, angle_b) = map(_edges, (f, a, b))
    kept_a = _preserved(strength_a, angle_a, strength_f, angle_f)
    kept_b = _preserved(strength_b, angle_b, strength_f, angle_f)
    total = float((strength_a + strength_b).sum(dtype=np.float64))
    if total == 0.0:
        return 0.0, 0.0
    quality = float((kept_a * strength_a + kept_b * strength_b).sum(dtype=np.float64)) / total
    new = (strength_f > strength_a) & (strength_f > strength_b)
    artefact = float((new * ((1 - kept_a) * strength_a + (1 - kept_b) * strength_b)).sum(dtype=np.float64)) / total
    return quality, artefact


def _edges(grey: Grey) -> tuple[Plane, Plane]:
    """Return strength and angle (-pi/2..pi/2) of the Sobel gradient, with zeros outside the picture.

    The angle is measured upwards and is pi/2 where the horizontal gradient is 0, so a vertical step and a flat area are alike.
    Published tables are computed in this way; it changes Qabf by up to 3 %.
    """
    plane = grey.astype(np.float32)  # the gradients are integers, so their comparisons stay exact
    across = np.asarray(cv2.Sobel(plane, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_CONSTANT))
    up = -np.asarray(cv2.Sobel(plane, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_CONSTANT))
    angle = np.full_like(plane, np.pi / 2)
    np.divide(up, across, out=angle, where=across != 0)
    np.arctan(angle, out=angle, where=across != 0)
    return np.sqrt(across * across + up * up), angle


def _preserved(strength: Plane, angle: Plane, strength_f: Plane, angle_f: Plane) -> Plane:
    larger, smaller = np.maximum(strength, strength_f), np.minimum(strength, strength_f)
    # For equal strengths the ratio is the strength itself instead of 1, as in published tables.
    ratio = np.divide(smaller, larger, out=strength_f.copy(), where=larger != smaller)
    likeness = 1.0 - np.abs(angle - angle_f) / (np.pi / 2)
    by_strength = 0.9994 / (1.0 + np.exp(-15.0 * (ratio - 0.5)))
    by_angle = 0.9879 / (1.0 + np.exp(-22.0 * (likeness - 0.8)))
    return np.asarray(by_strength * by_angle, np.float32)


def flicker(frames: Iterable[tuple[Array, Array, Array]]) -> float:
    """Return the mean over frames and pixels of max(0, |F1 - F0| - max(|A1 - A0|, |B1 - B0|)), in grey levels; our own definition.

    ``frames``: (fused, thermal, rgb luma) in temporal order. Raises ImageError for fewer than two frames or unequal sizes.
    """
    total, steps = 0.0, 0
    previous: list[Plane] | None = None
    for planes in frames:
        current = [np.rint(np.asarray(plane, np.float32)) for plane in planes]
        if any(plane.shape != current[0].shape for plane in [*current, *(previous or [])]):
            raise ImageError(f"flicker needs fused, thermal and rgb planes of one size in all frames, not {[p.shape for p in current]}")
        if previous is not None:
            fused, thermal, rgb = (np.abs(new - old) for new, old in zip(current, previous, strict=True))
            total += float(np.maximum(fused - np.maximum(thermal, rgb), 0.0).mean())
            steps += 1
        previous = current
    if steps == 0:
        raise ImageError("flicker needs at least two consecutive frames")
    return total / steps


def _float(value: Any) -> Grey:
    return np.asarray(value, np.float64)
