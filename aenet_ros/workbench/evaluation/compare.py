"""Data sets of registered pairs, fusion methods, and the measures of each method on each pair.

A method is a function or a folder of pictures that another program wrote.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.config import AgcConfig
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Array, Plane
from aenet_ros.io.files import read_rgb, read_thermal
from aenet_ros.thermal.agc import ThermalAgc
from aenet_ros.workbench.evaluation.metrics import flicker, measure
from aenet_ros.workbench.evaluation.ranking import Score


class DataSet(NamedTuple):
    """Registered pairs: pictures of equal size and name in two folders."""

    name: str
    thermal: Path
    rgb: Path
    names: list[str]


class DevSet(NamedTuple):
    """A development set: two folders below ``data/NAME``. Every ``every``-th of the sorted names with one of ``prefixes`` is evaluated."""

    name: str
    thermal: str
    rgb: str
    every: int
    prefixes: tuple[str, ...] = ("",)


# The recipe of the packaged weights does not train on these pairs. The first folder is source A of the measures, the second source B.
INFRARED_VISIBLE = (
    DevSet("roadscene", "thermal", "rgb", 9),
    DevSet("m3svd_stills", "thermal", "rgb", 2, ("0114_1609", "0115_1847")),
)
OTHER_TASKS = (
    DevSet("medical/ct-mri", "mri", "ct", 4),
    DevSet("medical/pet-mri", "mri", "pet", 4),
    DevSet("medical/spect-mri", "mri", "spect", 4),
    DevSet("multi_exposure", "a", "b", 3),
    DevSet("multi_focus", "a", "b", 3),
)
CLIPS = ("1230_1202", "0117_1605")
"""Clips for flicker. The packaged weights were trained on the second one."""


def dev_set(data: Path, spec: DevSet) -> DataSet:
    """Return the evaluation pairs of a development set below ``data``. Raises SourceError if it does not exist."""
    folder = data / spec.name
    names = [name for name in common_names(folder / spec.thermal, folder / spec.rgb) if name.startswith(spec.prefixes)]
    return DataSet(spec.name, folder / spec.thermal, folder / spec.rgb, names[:: spec.every])


def dev_clip(data: Path, name: str) -> DataSet:
    """Return a clip of consecutive frames below ``data``, in temporal order. Raises SourceError if it does not exist."""
    folder = data / "m3svd_video" / name
    return DataSet(name, folder / "thermal", folder / "rgb", common_names(folder / "thermal", folder / "rgb"))


def common_names(thermal: Path, rgb: Path) -> list[str]:
    """Return the sorted names of files that exist in both folders. Raises SourceError if there are none."""
    try:
        found = [{path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")} for folder in (thermal, rgb)]
    except OSError as error:
        raise SourceError(f"{error.filename}: {error.strerror}; a data set needs two folders of pictures") from error
    common = sorted(found[0] & found[1])
    if not common:
        raise SourceError(f"{thermal} ({len(found[0])} files) and {rgb} ({len(found[1])} files) have no file name in common")
    return common


class Pair(NamedTuple):
    """A registered pair: ``thermal`` uint8 [H, W], ``rgb`` uint8 [H, W, 3] in bgr order or grey [H, W]."""

    dataset: str
    name: str
    thermal: Array
    rgb: Array


def read_pairs(dataset: DataSet) -> Iterator[Pair]:
    """Read the pairs of a set. Thermal pictures of more than 8 bits pass the default AGC, each without history.

    Raises SourceError for an unreadable picture and ImageError for a pair of unequal sizes.
    """
    for name in dataset.names:
        thermal, rgb = read_thermal(dataset.thermal / name), read_rgb(dataset.rgb / name)
        if thermal.size != rgb.size:
            sizes = "{1}x{0} and rgb {3}x{2}".format(*thermal.size, *rgb.size)
            raise ImageError(f"{name}: thermal is {sizes}; the measures need registered pairs of one size")
        counts = thermal.data
        if thermal.encoding != "mono8":
            counts = np.rint(ThermalAgc().apply(thermal, AgcConfig()) * 255.0).astype(np.uint8)
        yield Pair(dataset.name, name, counts, rgb.data)


class Method(NamedTuple):
    """A fusion method. ``fuse`` returns the fused picture of a pair, uint8, bgr or grey, or raises SourceError."""

    name: str
    fuse: Callable[[Pair], Array]


def folder_method(name: str, folder: Path, *, by_set: bool) -> Method:
    """Return a method that reads its pictures from ``folder`` (``by_set``: from its subfolder with the set's name).

    A picture has the pair's name; the suffix may differ.
    """

    def read(pair: Pair) -> Array:
        place = folder / pair.dataset if by_set else folder
        exact = place / pair.name
        found = [exact] if exact.exists() else sorted(place.glob(f"{Path(pair.name).stem}.*"))
        if not found:
            raise SourceError(f"{place} has no picture {pair.name}")
        return read_rgb(found[0]).data

    return Method(name, read)


def score_pair(pair: Pair, methods: Sequence[Method]) -> tuple[list[Score], dict[str, Array], list[str]]:
    """Return the scores of all methods on a pair, their pictures by name, and an error text for each method without a picture."""
    scores: list[Score] = []
    pictures: dict[str, Array] = {}
    missing: list[str] = []
    luma = grey_plane(pair.rgb)
    for method in methods:
        try:
            fused = method.fuse(pair)
            values = measure(grey_plane(fused), pair.thermal, luma)
        except (SourceError, ImageError) as error:
            missing.append(f"{method.name}: {error}")
            continue
        scores.append(Score(method.name, f"{pair.dataset}/{pair.name}", values))
        pictures[method.name] = fused
    return scores, pictures, missing


def clip_flicker(dataset: DataSet, method: Method) -> float:
    """Return the flicker of a method on consecutive frames. Raises SourceError if a frame is missing."""
    return flicker((grey_plane(method.fuse(pair)), pair.thermal, grey_plane(pair.rgb)) for pair in read_pairs(dataset))


def grey_plane(picture: Array) -> Plane:
    """Return BT.601 luma of uint8 bgr [H, W, 3] or of grey [H, W], as float32 rounded to integers."""
    if picture.ndim == 2:
        return picture.astype(np.float32)
    return np.rint(cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_BGR2GRAY))
