"""Fusion methods to compare: the pipeline, a folder of pictures that another program wrote, and five that every evaluation has."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import Array, Frame, FramePair
from aenet_ros.fusion.color import luma, merge
from aenet_ros.io.files import read_rgb
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.workbench.evaluation.pairs import Pair, grey_plane


class Method(NamedTuple):
    """A fusion method. ``fuse`` returns the fused picture of a pair, uint8, bgr or grey, or raises SourceError or ImageError.

    ``weights``: the start of the weights' SHA-256, "" if there are none.
    """

    name: str
    fuse: Callable[[Pair], Array]
    weights: str = ""


def pipeline_method(name: str, pipeline: FusionPipeline) -> Method:
    """Return the whole pipeline as `aenet fuse` runs it: with gain control, and without history but within a clip.

    ``output.encoding`` must be bgr8.
    """
    return Method(name, partial(_fuse, pipeline), pipeline.status().weights_sha256)


def _fuse(pipeline: FusionPipeline, pair: Pair) -> Array:
    if pair.first:
        pipeline.reset_temporal()
    rgb = Frame(pair.frame.stamp_ns, pair.rgb, "mono8" if pair.rgb.ndim == 2 else "bgr8")
    return pipeline.process(FramePair(pair.frame, rgb)).image


def folder_method(name: str, folder: Path, *, by_set: bool) -> Method:
    """Return a method that reads its pictures from ``folder`` (``by_set``: from its subfolder with the set's name).

    A picture has the pair's name; the suffix may differ.
    """
    return Method(name, partial(_read, folder, by_set))


def _read(folder: Path, by_set: bool, pair: Pair) -> Array:
    exact = (folder / pair.dataset if by_set else folder) / pair.name
    found = [exact] if exact.is_file() else sorted(exact.parent.glob(f"{exact.stem}.*"))
    if not found:
        raise SourceError(f"{exact.parent} has no picture {exact.name}")
    return read_rgb(found[0]).data


def in_colours(fused: Array, rgb: Array) -> Array:
    """Return a grey fused picture with the colours of ``rgb``, uint8 [H, W, 3] in bgr order. One of colours, or
    of another size, is returned as it is.
    """
    return merge(rgb, luma(rgb, "bgr"), fused) if rgb.ndim == 3 and fused.shape == rgb.shape[:2] else fused


def _rgb_alone(pair: Pair) -> Array:
    return pair.rgb


def _thermal_alone(pair: Pair) -> Array:
    return np.asarray(cv2.cvtColor(pair.thermal, cv2.COLOR_GRAY2BGR))  # three channels: not to be shown in the colours of rgb


def _maximum(pair: Pair) -> Array:
    return np.maximum(pair.thermal, grey_plane(pair.rgb)).astype(np.uint8)


def _average(pair: Pair) -> Array:
    return np.floor((pair.thermal + grey_plane(pair.rgb)) / 2 + 0.5).astype(np.uint8)


def _laplacian_pyramid(pair: Pair) -> Array:
    """Return the detail of larger magnitude at each of five levels, and the mean of the bases (Burt and Adelson 1983)."""
    details: list[Array] = []
    a: Array = pair.thermal.astype(np.float32)
    b: Array = grey_plane(pair.rgb)
    for _ in range(5):
        low_a, low_b = cv2.pyrDown(a), cv2.pyrDown(b)
        detail_a, detail_b = a - _up(low_a, a), b - _up(low_b, b)
        details.append(np.where(np.abs(detail_a) > np.abs(detail_b), detail_a, detail_b))
        a, b = low_a, low_b
    fused: Array = (a + b) / 2
    for detail in reversed(details):
        fused = detail + _up(fused, detail)
    return np.asarray(np.rint(np.clip(fused, 0.0, 255.0)), np.uint8)


def _up(plane: Array, like: Array) -> Array:
    return np.asarray(cv2.pyrUp(plane, dstsize=like.shape[::-1]))


COPIES = (Method("rgb alone", _rgb_alone), Method("thermal alone", _thermal_alone))
"""Sources A and B untouched: "thermal" is the first source of other tasks too."""
CLASSICAL = (Method("maximum", _maximum), Method("average", _average), Method("Laplacian pyramid", _laplacian_pyramid))
FREE = (*COPIES, *CLASSICAL)
"""Rows of every evaluation. All but *rgb alone* and *thermal alone* fuse grey planes."""


def is_free(name: str) -> bool:
    """Whether a row, for example "(maximum)" of published scores, is one of FREE."""
    return name.strip("()").lower() in {method.name.lower() for method in FREE}
