"""Batches of augmented crops. A batch depends on seed and step only, so a resumed run draws the same batches.

What happens to the scene changes both the network's input and the references of the losses: gain, gamma, weather, light, hot targets.
What happens in the sensor changes only the input (noise, stripes, blur, misregistration), so the network learns to suppress it.
``next_frame`` simulates a following frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from aenet_ros.core.frames import Array, Plane
from aenet_ros.workbench.degradation import DEGRADATIONS, Planes, degrade_clip
from aenet_ros.workbench.hot_targets import paste_hot_targets
from aenet_ros.workbench.training.data import BRIGHT_KINDS, PairSet, Version
from aenet_ros.workbench.training.positives import positive_sample

SENSOR = ("column_noise", "row_noise", "stripes", "thermal_noise", "thermal_blur", "rgb_blur", "misregister")
"""Degradations that belong to the sensors; all others belong to the scene."""
SCENE = tuple(name for name in DEGRADATIONS if name not in SENSOR)
Crop = tuple[Plane, Plane, Plane, Plane, Plane]
"""Thermal and luma as input, thermal and luma as references, positive sample; float32 [size, size] in 0..1."""


@dataclass(frozen=True)
class Augmentation:
    """Strength of the augmentation of infrared pairs."""

    versions: int = 2  # of every infrared pair: unchanged and regraded
    shrink: float = 1.8  # a crop covers up to this many times its side
    gain: float = 0.25  # standard deviation of the logarithm of gain and gamma
    scene: float = 0.35  # probability of bad weather or light
    targets: float = 0.5  # probability of small hot targets
    sensor: float = 0.4  # probability of a fault of a sensor


@dataclass(frozen=True)
class Batch:
    """Crops, float32 [B, 1, size, size] in 0..1.

    Losses compare with the references (the network's input without noise and blur) and their positive sample. ``kinds`` names the task of
    each crop. The last ``follow`` crops are the next frames of the first ``follow`` crops.
    """

    thermal: Tensor
    luma: Tensor
    thermal_reference: Tensor
    luma_reference: Tensor
    positive: Tensor
    kinds: tuple[str, ...]
    follow: int

    def to(self, device: str) -> "Batch":
        """Return the batch with its tensors on ``device``."""
        names = ("thermal", "luma", "thermal_reference", "luma_reference", "positive")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


def draw_batch(sets: Sequence[PairSet], size: int, count: int, follow: int, augmentation: Augmentation, seed: tuple[int, ...]) -> Batch:
    """Draw ``count`` crops and, for the first ``follow`` of them, the next frame: from a clip if possible, else simulated."""
    follow = min(follow, count)
    rng = np.random.default_rng(seed)
    shares = np.array([pairs.folder.share for pairs in sets], np.float64)
    clips = np.array([pairs.folder.share * pairs.folder.clip for pairs in sets], np.float64)
    crops: list[Crop] = []
    following: list[Crop] = []
    kinds: list[str] = []
    for index in range(count):
        weights = clips if index < follow and clips.any() and rng.random() < 0.7 else shares
        pairs = sets[int(rng.choice(len(sets), p=weights / weights.sum()))]
        crop, next_crop = _draw(pairs, size, augmentation, rng)
        crops.append(crop)
        kinds.append(pairs.folder.kind)
        if index < follow:
            following.append(next_crop)
    planes = [torch.from_numpy(np.stack(stack))[:, None] for stack in zip(*(crops + following), strict=True)]
    return Batch(planes[0], planes[1], planes[2], planes[3], planes[4], kinds=(*kinds, *kinds[:follow]), follow=follow)


def _draw(pairs: PairSet, size: int, augmentation: Augmentation, rng: np.random.Generator) -> tuple[Crop, Crop]:
    """Draw a crop and its next frame."""
    folder = pairs.folder
    clip = folder.clip and len(pairs.luma) > 1
    index = int(rng.integers(len(pairs.luma) - clip))
    number = int(rng.integers(augmentation.versions)) if folder.kind == "infrared" or folder.synthetic else 0
    height, width = pairs.luma[index].shape
    scale = min(min(height, width) / size, float(rng.uniform(1.0, augmentation.shrink)) if rng.random() < 0.5 else 1.0)
    side = int(size * scale)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    quarter_turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    swap = folder.kind not in BRIGHT_KINDS and bool(rng.integers(2))
    references: list[Version] = []
    for frame in (index, index + clip):
        thermal, luma, positive = (
            _cut(plane, top, left, side, size, quarter_turns, flip) for plane in version(pairs, frame, number, augmentation)
        )
        references.append((luma, thermal, positive) if swap else (thermal, luma, positive))
    frames: Sequence[Planes] = [planes[:2] for planes in references]
    if folder.kind == "infrared":
        references = change_scene(references, augmentation, rng)
        frames = [planes[:2] for planes in references]
        if rng.random() < augmentation.sensor:
            frames = degrade_clip(str(rng.choice(SENSOR)), frames, rng)
    first, second = frames
    if not clip:
        second = next_frame(*second, rng)
    return (*first, *references[0]), (*second, *references[1])


def change_scene(frames: list[Version], augmentation: Augmentation, rng: np.random.Generator) -> list[Version]:
    """Return two consecutive frames, float32 [H, W] in 0..1, with other weather or light and with hot targets, or unchanged.

    The positive sample of a changed scene is computed again, for the first frame only: the losses use no other.
    """
    planes: Sequence[Planes] = [frame[:2] for frame in frames]
    changed = rng.random() < augmentation.scene
    if changed:
        planes = degrade_clip(str(rng.choice(SCENE)), planes, rng)
    if rng.random() < augmentation.targets:
        changed, seed = True, int(rng.integers(2**63))
        # In each frame the targets lie at the same place, as far as the clutter allows.
        planes = [paste_hot_targets(*frame, np.random.default_rng(seed), count=2)[:2] for frame in planes]
    if not changed:
        return frames
    a, b = (torch.from_numpy(plane)[None, None] for plane in planes[0])
    positive = positive_sample(a, b, "infrared")[0, 0].numpy()
    return [(*frame, positive) for frame in planes]


def _cut(plane: Array, top: int, left: int, side: int, size: int, quarter_turns: int, flip: bool) -> Plane:
    crop = plane[top : top + side, left : left + side]
    if side != size:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    crop = np.rot90(crop, quarter_turns)
    if flip:
        crop = crop[:, ::-1]
    return np.ascontiguousarray(crop, np.float32) / np.float32(255)


def version(pairs: PairSet, index: int, number: int, augmentation: Augmentation) -> Version:
    """Return pair ``index`` unchanged (``number`` 0) or regraded (a clip's frames alike), with its positive sample; cached in ``pairs``.

    For a synthetic focus stack each number is another stack of the same sharp picture, which is the positive sample.
    """
    if (index, number) in pairs.versions:
        return pairs.versions[index, number]
    thermal, luma = (plane[index].astype(np.float32) / np.float32(255) for plane in (pairs.thermal, pairs.luma))
    if pairs.folder.synthetic:
        positive = luma
        thermal, luma = defocus(luma, np.random.default_rng((number, index)))
    else:
        if number:
            rng = np.random.default_rng((number, 0 if pairs.folder.clip else index))
            thermal, luma = regrade(thermal, luma, augmentation, rng)
        a, b = (torch.from_numpy(plane)[None, None] for plane in (thermal, luma))
        positive = positive_sample(a, b, pairs.folder.kind)[0, 0].numpy()
    thermal, luma, positive = (np.rint(plane * 255).astype(np.uint8) for plane in (thermal, luma, positive))
    return pairs.versions.setdefault((index, number), (thermal, luma, positive))


def regrade(thermal: Plane, luma: Plane, augmentation: Augmentation, rng: np.random.Generator) -> Planes:
    """Return an infrared pair with random gain and gamma."""
    gains = np.exp(rng.normal(0.0, augmentation.gain, 2)).astype(np.float32)
    gammas = np.exp(rng.normal(0.0, augmentation.gain, 2)).astype(np.float32)
    thermal, luma = (np.clip(plane**gamma * gain, 0.0, 1.0) for plane, gamma, gain in zip((thermal, luma), gammas, gains, strict=True))
    return thermal.astype(np.float32), luma.astype(np.float32)


def defocus(plane: Plane, rng: np.random.Generator) -> Planes:
    """Return a synthetic focus stack of a sharp plane: two planes, each blurred where the other one is sharp."""
    height, width = plane.shape
    sigma = float(rng.uniform(1.0, 4.0))
    near = cv2.resize(rng.standard_normal((5, 6), np.float32), (width, height), interpolation=cv2.INTER_CUBIC) > 0
    share = cv2.GaussianBlur(near.astype(np.float32), (0, 0), sigma)
    blurred = np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
    return share * plane + (1 - share) * blurred, share * blurred + (1 - share) * plane


def next_frame(thermal: Plane, luma: Plane, rng: np.random.Generator) -> Planes:
    """Return the next frame of a camera at rest: noise in half of the 8x8 blocks, as after video coding, and sometimes a new object."""
    height, width = luma.shape
    changed = []
    for plane in (thermal, luma):
        blocks = (rng.random((height // 8, width // 8)) < 0.5).astype(np.float32)
        where = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
        plane = plane + rng.uniform(0.5, 4.0) / 255 * where * rng.standard_normal(plane.shape, np.float32)
        if rng.random() < 0.5:
            top, left = int(rng.integers(height)), int(rng.integers(width))
            plane[top : top + height // 4, left : left + width // 4] += rng.uniform(-0.5, 0.5)
        changed.append(np.clip(plane, 0.0, 1.0).astype(np.float32))
    return changed[0], changed[1]
