"""Scores of fusion methods on sets of pictures: a method is a function, or a folder of pictures that another program made."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.config import AgcConfig
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Array, Frame, Plane
from aenet_ros.io.picture_files import read_rgb, read_thermal
from aenet_ros.thermal.agc import ThermalAgc
from aenet_ros.workbench.evaluation.datasets import DataSet
from aenet_ros.workbench.evaluation.metrics import measure
from aenet_ros.workbench.evaluation.ranking import Score
from aenet_ros.workbench.evaluation.temporal import flicker


class Pair(NamedTuple):
    """One pair of a set, ready to be fused and measured."""

    dataset: str
    name: str
    thermal: Array  # uint8 [H, W]
    rgb: Array  # uint8 [H, W, 3] in the order blue, green, red, or grey [H, W]


class Method(NamedTuple):
    """A method by name. ``fuse`` gives the picture of a pair: uint8, bgr or grey; it raises SourceError where it has none."""

    name: str
    fuse: Callable[[Pair], Array]


def folder_method(name: str, folder: Path, *, by_set: bool) -> Method:
    """The pictures that ``folder`` (or, ``by_set``, its subfolder named like the set) holds, by name; the suffix may differ."""
    return Method(name, partial(_from_folder, folder, by_set))


def _from_folder(folder: Path, by_set: bool, pair: Pair) -> Array:
    place = folder / pair.dataset if by_set else folder
    exact = place / pair.name
    found = [exact] if exact.exists() else sorted(place.glob(f"{Path(pair.name).stem}.*"))
    if not found:
        raise SourceError(f"{place} has no picture {pair.name}")
    return read_rgb(found[0]).data


def pairs_of(dataset: DataSet) -> Iterator[Pair]:
    """The set's pairs; thermal pictures deeper than 8 bit are brought to 8 by the default AGC, each on its own.

    Raises SourceError for a picture that cannot be read and ImageError for two of different size.
    """
    for name in dataset.names:
        thermal, rgb = read_thermal(dataset.thermal / name), read_rgb(dataset.rgb / name)
        if thermal.size != rgb.size:
            raise ImageError(
                f"{name}: thermal is {thermal.size[1]}x{thermal.size[0]} and rgb {rgb.size[1]}x{rgb.size[0]}; "
                "the measures need registered pairs of one size"
            )
        yield Pair(dataset.name, name, _eight_bit(thermal), rgb.data)


def _eight_bit(thermal: Frame) -> Array:
    if thermal.encoding == "mono8":
        return thermal.data
    return np.asarray(np.rint(ThermalAgc(AgcConfig()).apply(thermal) * 255.0), np.uint8)


def score_pair(pair: Pair, methods: Sequence[Method]) -> tuple[list[Score], dict[str, Array], list[str]]:
    """Each method's score on the pair and its picture by name; and, for those without one, the reason."""
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
    """Flicker of the method on consecutive frames, each fused on its own. Raises SourceError where a frame is missing."""
    return flicker((grey_plane(method.fuse(pair)), pair.thermal, grey_plane(pair.rgb)) for pair in pairs_of(dataset))


def grey_plane(picture: Array) -> Plane:
    """BT.601 luma of uint8 bgr [H, W, 3], or a grey picture as it is: float32, rounded to integers, as the references were made."""
    if picture.ndim == 2:
        return picture.astype(np.float32)
    return np.rint(cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_BGR2GRAY))
