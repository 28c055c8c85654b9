"""Photometric augmentation: what cameras do to thermal and luma.

``regrade`` changes both what the network is shown and what it is compared with (gain, gamma, night, few grey levels).
``degrade`` changes only what it is shown (noise, blur), so that a good result is a clean one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from aenet_ros.frames import Plane

Change = Callable[[Plane, Plane], tuple[Plane, Plane]]


@dataclass(frozen=True)
class Augmentation:
    """How strong: ``rare`` is the probability of each unusual condition."""

    versions: int = 3  # of every infrared pair: as it is, and regraded
    shrink: float = 1.8  # a crop covers up to this many times its side
    gain: float = 0.25  # spread of the logarithm of gain and gamma
    noise: float = 0.02  # largest standard deviation, of full scale
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
    if rng.random() < 0.5:
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
