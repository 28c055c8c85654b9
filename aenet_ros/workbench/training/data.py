"""Training pairs: folders read into memory, and batches of augmented crops drawn from them.

A batch is a function of (seed, step, rank) alone, so a resumed run sees what the uninterrupted one would have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from aenet_ros.core.errors import ConfigError, SourceError
from aenet_ros.core.frames import Array, Plane
from aenet_ros.workbench.training.augment import Augmentation, defocus, degrade, disturb, regrade
from aenet_ros.workbench.training.positives import positive_sample

KINDS = ("infrared", "medical", "exposure", "focus")
BRIGHT_KINDS = ("infrared", "medical")  # the brighter source matters: hot, dense, active
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class PairFolder:
    """Two folders with files of the same names, and how to use them. One folder twice, of kind focus: focus stacks are made of it.

    ``kind`` is one of KINDS. ``clip`` says that sorted names are consecutive frames of a camera at rest. ``share`` weighs how often
    the set is drawn. Names that do not match ``only``, every ``skip_every``-th sorted name from the first (0: none) and names that
    match a pattern of ``skip`` are left out. ``terms`` goes onto the card.
    """

    name: str
    thermal: Path
    rgb: Path
    kind: str = "infrared"
    clip: bool = False
    share: float = 1.0
    only: str = "*"
    skip_every: int = 0
    skip: tuple[str, ...] = ()
    terms: str = ""

    @property
    def made(self) -> bool:
        """Whether focus stacks are made of sharp pictures."""
        return self.kind == "focus" and self.thermal == self.rgb


Version = tuple[Array, Array, Array]
"""Thermal, luma and positive sample, each uint8 [H, W]."""


@dataclass(frozen=True)
class PairSet:
    """A PairFolder read into memory: planes uint8 [H, W], thermal and luma of one size by pairs.

    ``versions`` keeps what ``version`` has made, because positive samples take whole frames and time.
    """

    folder: PairFolder
    thermal: tuple[Array, ...]
    luma: tuple[Array, ...]
    versions: dict[tuple[int, int], Version] = field(default_factory=dict)

    def version(self, index: int, number: int, augmentation: Augmentation) -> Version:
        """Pair ``index`` as it is (number 0) or regraded in one of the set's fixed ways; a clip's frames are regraded alike.

        Of a made focus stack every number is another one, and the sharp picture is the positive sample.
        """
        key = index, number
        if key not in self.versions:
            thermal, luma = (plane[index].astype(np.float32) / np.float32(255) for plane in (self.thermal, self.luma))
            if self.folder.made:
                positive = luma
                thermal, luma = defocus(luma, np.random.default_rng((number, index)))
            else:
                if number:
                    rng = np.random.default_rng((number, 0 if self.folder.clip else index))
                    thermal, luma = regrade(self.folder.kind, augmentation, rng)(thermal, luma)
                a, b = (torch.from_numpy(plane)[None, None] for plane in (thermal, luma))
                positive = positive_sample(a, b, self.folder.kind)[0, 0].numpy()
            thermal, luma, positive = (np.rint(plane * 255).astype(np.uint8) for plane in (thermal, luma, positive))
            self.versions[key] = thermal, luma, positive
        return self.versions[key]


@dataclass(frozen=True)
class Batch:
    """Crops, float32 [B, 1, size, size] in 0..1.

    The network is shown ``thermal`` and ``luma``; losses compare with ``thermal_reference`` and ``luma_reference``, which are
    without noise, and draw to ``positive``, the positive sample of these. ``kinds`` names each crop's task. The last ``follow``
    crops are the frames after the first ``follow`` ones.
    """

    thermal: Tensor
    luma: Tensor
    thermal_reference: Tensor
    luma_reference: Tensor
    positive: Tensor
    kinds: tuple[str, ...]
    follow: int


def read_pairs(folder: PairFolder, least: int) -> PairSet:
    """Reads a folder's training pairs; both sides at least ``least`` pixels long.

    Raises SourceError for an empty or missing folder, names on one side only, a damaged file, or unequal sizes within a pair.
    """
    if folder.kind not in KINDS:
        raise ConfigError(f"{folder.name}: kind '{folder.kind}' is not known; give one of {', '.join(KINDS)}")
    names = _names(folder.thermal)
    others = _names(folder.rgb)
    if names != others:
        odd = sorted(set(names) ^ set(others))[0]
        raise SourceError(f"{folder.name}: '{odd}' is in only one of {folder.thermal} and {folder.rgb}; both need the same names")
    kept = [
        name
        for index, name in enumerate(names)
        if fnmatch(name, folder.only)
        and not (folder.skip_every and index % folder.skip_every == 0)
        and not any(fnmatch(name, pattern) for pattern in folder.skip)
    ]
    if not kept:
        raise SourceError(f"{folder.name}: no training pairs are left in {folder.thermal}; check only, skip and skip_every")
    thermal, luma = [], []
    for name in kept:
        pair = _read_grey(folder.thermal / name), _read_grey(folder.rgb / name)
        if pair[0].shape != pair[1].shape:
            raise SourceError(f"{folder.name}/{name}: {pair[0].shape} and {pair[1].shape} differ; register the pair to one size first")
        if min(pair[0].shape) < least:
            raise SourceError(f"{folder.name}/{name}: {pair[0].shape} is smaller than a crop of {least}; give a smaller --crop")
        thermal.append(pair[0])
        luma.append(pair[1])
    return PairSet(folder, tuple(thermal), tuple(luma))


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not names:
        raise SourceError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) in it")
    return names


def _read_grey(path: Path) -> Array:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)  # BT.601 luma of colour files
    if image is None:
        raise SourceError(f"{path}: cannot be read as an image; replace or remove it (in both folders)")
    return np.asarray(image)


Crop = tuple[Plane, Plane, Plane, Plane, Plane]
"""Thermal and luma as shown, thermal and luma as references, positive sample."""


def draw_batch(sets: Sequence[PairSet], size: int, count: int, follow: int, augmentation: Augmentation, seed: tuple[int, ...]) -> Batch:
    """``count`` crops; for the first ``follow`` the frame after is appended: a clip's next one, else the same one disturbed."""
    follow = min(follow, count)
    rng = np.random.default_rng(seed)
    shares = np.array([pairs.folder.share for pairs in sets], np.float64)
    clips = np.array([pairs.folder.share * pairs.folder.clip for pairs in sets], np.float64)
    shown: list[Crop] = []
    later: list[Crop] = []
    kinds: list[str] = []
    for index in range(count):
        weights = clips if index < follow and clips.any() and rng.random() < 0.7 else shares
        pairs = sets[int(rng.choice(len(sets), p=weights / weights.sum()))]
        now, after = _draw(pairs, size, augmentation, rng)
        shown.append(now)
        kinds.append(pairs.folder.kind)
        if index < follow:
            later.append(after)
    planes = [torch.from_numpy(np.stack(stack))[:, None] for stack in zip(*(shown + later), strict=True)]
    return Batch(planes[0], planes[1], planes[2], planes[3], planes[4], kinds=(*kinds, *kinds[:follow]), follow=follow)


def _draw(pairs: PairSet, size: int, augmentation: Augmentation, rng: np.random.Generator) -> tuple[Crop, Crop]:
    """One crop and the one after it."""
    clip = pairs.folder.clip and len(pairs.luma) > 1
    index = int(rng.integers(len(pairs.luma) - clip))
    number = int(rng.integers(augmentation.versions)) if pairs.folder.kind == "infrared" or pairs.folder.made else 0
    height, width = pairs.luma[index].shape
    largest = min(height, width) / size
    scale = min(largest, float(rng.uniform(1.0, augmentation.shrink)) if rng.random() < 0.5 else 1.0)
    side = int(size * scale)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    shift = rng.integers(-augmentation.misalign, augmentation.misalign + 1, 2) if rng.random() < augmentation.rare else np.zeros(2, int)
    shifted = int(np.clip(top + shift[0], 0, height - side)), int(np.clip(left + shift[1], 0, width - side))
    turn, flip = int(rng.integers(4)), bool(rng.integers(2))
    swap = pairs.folder.kind not in BRIGHT_KINDS and bool(rng.integers(2))
    spoil = degrade(pairs.folder.kind, augmentation, rng)
    result: list[Crop] = []
    for at in (index, index + clip):
        frames = pairs.version(at, number, augmentation)
        thermal, luma, positive = (
            _cut(plane, *corner, side, size, turn, flip) for plane, corner in zip(frames, (shifted, (top, left), (top, left)), strict=True)
        )
        if swap:
            thermal, luma = luma, thermal
        result.append((*spoil(thermal, luma), thermal, luma, positive))
    if not clip:
        result[1] = (*disturb(*result[0][:2], rng), *result[1][2:])
    return result[0], result[1]


def _cut(plane: Array, top: int, left: int, side: int, size: int, turn: int, flip: bool) -> Plane:
    crop = plane[top : top + side, left : left + side]
    if side != size:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    crop = np.rot90(crop, turn)
    if flip:
        crop = crop[:, ::-1]
    return np.ascontiguousarray(crop, np.float32) / np.float32(255)
