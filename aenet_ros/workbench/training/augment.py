"""Photometric augmentation: what cameras do to thermal and luma.

``regrade`` changes both what the network is shown and what it is compared with (gain, gamma, night, few grey levels).
``degrade`` changes only what it is shown (noise, blur), so that a good result is a clean one. ``disturb`` makes a next frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from aenet_ros.core.frames import Plane

Change = Callable[[Plane, Plane], tuple[Plane, Plane]]


@dataclass(frozen=True)
class Augmentation:
    """How strong: ``rare`` is the probability of each unusual condition."""

    versions: int = 2  # of every infrared pair: as it is, and regraded
    shrink: float = 1.8  # a crop covers up to this many times its side
    gain: float = 0.25  # spread of the logarithm of gain and gamma
    noise: float = 0.015  # largest standard deviation, of full scale
    misalign: int = 3  # pixels
    rare: float = 0.15


def regrade(kind: str, augmentation: Augmentation, rng: np.random.Generator) -> Change:
    """One random change of brightness for a pair, the same for all planes that it is given."""
    if kind != "infrared":
        return lambda thermal, luma: (thermal, luma)
    gains = np.exp(rng.normal(0.0, augmentation.gain, 2)).astype(np.float32)
    gammas = np.exp(rng.normal(0.0, augmentation.gain, 2)).astype(np.float32)
    night = np.float32(rng.uniform(0.15, 0.6)) if rng.random() < augmentation.rare else np.float32(1.0)
    levels = int(rng.integers(24, 96)) if rng.random() < augmentation.rare / 2 else 0

    def change(thermal: Plane, luma: Plane) -> tuple[Plane, Plane]:
        thermal = np.clip(thermal ** gammas[0] * gains[0], 0.0, 1.0).astype(np.float32)
        luma = np.clip(luma ** gammas[1] * gains[1] * night, 0.0, 1.0).astype(np.float32)
        if levels:  # a narrow range of counts, stretched by the AGC
            thermal = (np.round(thermal * levels) / levels).astype(np.float32)
        return thermal, luma

    return change


def degrade(kind: str, augmentation: Augmentation, rng: np.random.Generator) -> Change:
    """Noise and blur for a pair: strengths are drawn once, the noise anew for every frame."""
    if rng.random() < 0.7:
        return lambda thermal, luma: (thermal, luma)
    sigma = rng.uniform(0.0, augmentation.noise, 2).astype(np.float32)
    blur = float(rng.uniform(0.4, 1.2)) if kind == "infrared" and rng.random() < augmentation.rare else 0.0

    def change(thermal: Plane, luma: Plane) -> tuple[Plane, Plane]:
        if blur:
            thermal = np.asarray(cv2.GaussianBlur(thermal, (0, 0), blur), np.float32)
        noisy = thermal + sigma[0] * rng.standard_normal(thermal.shape, np.float32)
        grainy = luma + sigma[1] * rng.standard_normal(luma.shape, np.float32)
        return np.clip(noisy, 0.0, 1.0), np.clip(grainy, 0.0, 1.0)

    return change


def defocus(plane: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A focus stack of one sharp plane: where the first of the two is blurred, by as much as a lens might, the second is sharp."""
    height, width = plane.shape
    sigma = float(rng.uniform(1.0, 4.0))
    near = cv2.resize(rng.standard_normal((5, 6), np.float32), (width, height), interpolation=cv2.INTER_CUBIC) > 0
    share = cv2.GaussianBlur(near.astype(np.float32), (0, 0), sigma)
    blurred = np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
    return share * plane + (1 - share) * blurred, share * blurred + (1 - share) * plane


def disturb(thermal: Plane, luma: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """What a resting camera shows next: noise in some places, none in others as video coding leaves it, and something new in one corner."""
    height, width = luma.shape
    changed = []
    for plane in (thermal, luma):
        places = (rng.random((height // 8, width // 8)) < 0.5).astype(np.float32)
        where = cv2.resize(places, (width, height), interpolation=cv2.INTER_NEAREST)
        plane = plane + rng.uniform(0.5, 4.0) / 255 * where * rng.standard_normal(plane.shape, np.float32)
        if rng.random() < 0.5:
            top, left = int(rng.integers(height)), int(rng.integers(width))
            plane[top : top + height // 4, left : left + width // 4] += rng.uniform(-0.5, 0.5)
        changed.append(np.clip(plane, 0.0, 1.0).astype(np.float32))
    return changed[0], changed[1]
