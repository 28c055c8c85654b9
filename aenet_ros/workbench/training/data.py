"""Training data: folders of registered pairs, and the sets that the packaged weights were trained on."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np

from aenet_ros.config import AgcConfig
from aenet_ros.core.errors import ConfigError, SourceError
from aenet_ros.core.frames import Array
from aenet_ros.io.files import read_thermal
from aenet_ros.io.pairing import pair_files, pictures_in
from aenet_ros.thermal.agc import ThermalAgc
from aenet_ros.workbench.evaluation.pairs import split_part

KINDS = ("infrared", "medical", "exposure", "focus")
"""The fusion tasks."""
BRIGHT_KINDS = ("infrared", "medical")
"""Tasks in which the brighter source is the important one: hot, dense, active."""

STUDY_HELD_OUT = "m3svd_stills/0115_1831"
"""The set that a study evaluates on and does not train on."""

VARIED_TERMS = {
    "awmm_real": "AWMM-100k by ixilai/AWFusion; none given",
    "awmm_synth": "MSRS with synthetic weather by ixilai/AWFusion; none given",
    "flir_indoor": "huhanwj/RGB-Th-Benchmark (RGB-Th-Bench); none given",
    "flir_misc": "gpereyrairujo/IRimage; aqua_tower CC0, afcis_c2 and steam_train CC-BY-SA-4.0",
    "llvip": "LLVIP by lijiaqistucsust-svg/Illumination-Aware-Adaptive-Infrared-and-Visible-Image-Fusion; none given",
    "m3fd": "M3FD and FMB by several repositories, MIT or none given; the data sets' own terms were not looked up",
    "mfnet_raw": "MFNet by haqishen/MFNet-pytorch; none given",
    "msrs": "MSRS by several repositories, MIT or none given; the data set's own terms were not looked up",
    "pv_aerial": "fatima-zahra-bamessaoud/Image-Fusion-applied-to-PV-inspections; none given",
    "thermalgaussian": "ThermalGaussian/ThermalGaussian.github.io; none given",
    "tno": "TNO by catjsjsj/Network and Linfeng-Tang/Image-Fusion; none given",
    "vifb": "xingchenzhang/VIFB; none given",
}
"""Source and terms of the sets below varied/, as their repositories state them."""


@dataclass(frozen=True)
class PairFolder:
    """Two folders of pictures, and how to train on them."""

    name: str
    thermal: Path
    rgb: Path
    kind: str = "infrared"  # the task, one of KINDS
    clip: bool = False  # the sorted names are consecutive frames of a camera at rest
    share: float = 1.0  # weight of the set when crops are drawn
    only: str = "*"  # pattern of the names that are used
    skip_every: int = 0  # N: names 0, N, 2N, ... of the sorted ones are left out; 0: none
    skip: tuple[str, ...] = ()  # patterns of names that are left out
    listed: tuple[str, ...] = ()  # names that are used; empty: all
    terms: str = ""  # source and licence, for the card
    files: tuple[tuple[Path, Path], ...] = ()  # the pairs; empty: all of the folders, by ``pair_files``

    @property
    def synthetic(self) -> bool:
        """Return whether focus stacks are made from sharp pictures: kind "focus" with one folder given twice."""
        return self.kind == "focus" and self.thermal == self.rgb and not self.files


Version = tuple[Array, Array, Array]
"""Thermal, luma and positive sample, each uint8 [H, W]."""


@dataclass(frozen=True)
class PairSet:
    """The pairs of a folder in memory: ``thermal`` and ``luma`` are uint8 [H, W], of equal size within a pair.

    ``versions`` caches regraded versions of the pairs with their positive samples, which are slow to compute.
    """

    folder: PairFolder
    thermal: tuple[Array, ...]
    luma: tuple[Array, ...]
    versions: dict[tuple[int, int], Version] = field(default_factory=dict)


def read_pairs(folder: PairFolder, min_side: int) -> PairSet:
    """Read the training pairs of a folder; each side has at least ``min_side`` pixels.

    Raises SourceError for a missing or empty folder, a file without partner, an unreadable file, or unequal sizes of a pair.
    """
    if folder.kind not in KINDS:
        raise ConfigError(f"{folder.name}: unknown kind '{folder.kind}'; give one of {', '.join(KINDS)}")
    chosen = [
        (thermal, rgb)
        for index, (thermal, rgb) in enumerate(_files(folder))
        if fnmatch(thermal.name, folder.only)
        and not (folder.skip_every and index % folder.skip_every == 0)
        and not any(fnmatch(thermal.name, pattern) for pattern in folder.skip)
        and (not folder.listed or thermal.name in folder.listed)
    ]
    if not chosen:
        raise SourceError(f"{folder.name}: no training pairs are left in {folder.thermal}; check only, skip and skip_every")
    read_first = _read_brightness if folder.kind == "infrared" else _read_grey
    pairs = [(read_first(thermal), _read_grey(rgb)) for thermal, rgb in chosen]
    for name, (thermal, luma) in zip([thermal.name for thermal, _ in chosen], pairs, strict=True):
        if thermal.shape != luma.shape:
            raise SourceError(f"{folder.name}/{name}: {thermal.shape} and {luma.shape} differ; register the pair to one size first")
        if min(thermal.shape) < min_side:
            raise SourceError(f"{folder.name}/{name}: {thermal.shape} is smaller than a crop of {min_side}; give a smaller --crop")
    return PairSet(folder, tuple(thermal for thermal, _ in pairs), tuple(luma for _, luma in pairs))


def _files(folder: PairFolder) -> Sequence[tuple[Path, Path]]:
    """Return the pairs of a folder. Without a list of files they are sorted by name, and each file must have a partner."""
    if folder.files:
        return folder.files
    if folder.synthetic:
        return [(path, path) for path in sorted(pictures_in(folder.thermal))]
    found = pair_files(folder.thermal, folder.rgb)
    if found.remarks:
        raise SourceError(f"{folder.name}: {found.remarks[0]}")
    return sorted(found.files)


def _read_grey(path: Path) -> Array:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)  # BT.601 luma of colour files
    if image is None:
        raise SourceError(f"{path}: cannot be read as an image; replace it, or remove it from both folders")
    return np.asarray(image)


def _read_brightness(path: Path) -> Array:
    """Return a thermal picture after the default gain control, as the network gets it from the node."""
    brightness = ThermalAgc().apply(read_thermal(path), AgcConfig())
    return np.asarray(np.rint(255.0 * brightness), np.uint8)


def shipped_sets(root: Path) -> list[PairFolder]:
    """Return the sets that the packaged weights were trained on, below ``root`` as in docs/training.md. Development pairs are excluded."""
    roadscene = "hanna-xu/RoadScene; none given, asks to be cited (Xu et al., U2Fusion, TPAMI 2020)"
    m3svd = "Linfeng-Tang/M3SVD; MIT, academic use"
    harvard = "xianming-gu/Havard-Medical-Image-Fusion-Datasets (Harvard whole brain atlas); none given"
    fusiondn = "hanna-xu/FusionDN; none given"
    stills, clip = root / "m3svd_stills", root / "m3svd_video/0117_1605"
    thermal, rgb = stills / "thermal", stills / "rgb"
    sets = [
        PairFolder("roadscene", root / "roadscene/thermal", root / "roadscene/rgb", share=4.0, skip_every=9, terms=roadscene),
        PairFolder("m3svd_video/0117_1605", clip / "thermal", clip / "rgb", clip=True, share=0.7, terms=m3svd),
    ]
    # Every second frame of a camera at rest: with a single clip the network learns to avoid flicker on that clip only.
    for name in ("0111_1716", "0111_1753", "0114_1551", "0115_1831"):
        sets.append(PairFolder(f"m3svd_stills/{name}", thermal, rgb, clip=True, share=1.25, only=f"{name}*", terms=m3svd))
    for name in ("ct", "pet", "spect"):
        folder = root / f"medical/{name}-mri"
        sets.append(PairFolder(f"medical/{name}-mri", folder / "mri", folder / name, "medical", share=0.4, skip_every=4, terms=harvard))
    for name, kind in (("multi_exposure", "exposure"), ("multi_focus", "focus")):
        sets.append(PairFolder(name, root / name / "a", root / name / "b", kind, share=1.5, skip_every=3, terms=fusiondn))
    sets += _varied_sets(root / "varied", share=5.0)
    development = "0114_1609*", "0115_1847*"
    sets.append(PairFolder("m3svd_stills/rgb defocused", rgb, rgb, "focus", share=1.5, skip=development, terms=m3svd))
    return sets


def _varied_sets(root: Path, share: float) -> list[PairFolder]:
    """Return the sets below ``root`` with the pairs that ``split.json`` lists as training pairs; ``share`` is divided among the pairs.

    Raises SourceError if the file is missing or has another form.
    """
    pairs = split_part(root, "train")
    names: dict[str, list[str]] = defaultdict(list)
    for folder, name in pairs:
        names[folder].append(f"{name}.png")
    return [
        PairFolder(
            f"varied/{folder}",
            root / folder / "thermal",
            root / folder / "rgb",
            share=share * len(listed) / len(pairs),
            listed=tuple(listed),
            terms=VARIED_TERMS.get(folder, "see varied/README.md"),
        )
        for folder, listed in names.items()
    ]
