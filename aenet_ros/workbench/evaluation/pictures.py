"""Rows of labelled pictures for the page of `aenet evaluate`, made one at a time so that a large data set needs little memory."""

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Array
from aenet_ros.workbench.contact_sheet import Cell
from aenet_ros.workbench.evaluation.compare import Score
from aenet_ros.workbench.evaluation.methods import CLASSICAL, COPIES, Method, in_colours
from aenet_ros.workbench.evaluation.pairs import DataSet, Pair, grey_plane, read_pair
from aenet_ros.workbench.evaluation.trust import Mask, Trust, lost_regions

_OUTLINE = (255, 0, 255)
_OUTLINE_DISTANCE = 7  # pixels, so that the outline does not cover the target


def example_rows(dataset: DataSet, methods: Sequence[Method], most: int) -> Iterator[list[Cell]]:
    """Yield at most ``most`` evenly chosen rows of thermal, rgb and the methods but the copies; a missing picture is left out."""
    copies = {method.name for method in COPIES}
    for name in list(dataset.files)[:: math.ceil(len(dataset.files) / most)]:
        pair = read_pair(dataset, name)
        cells = source_cells(pair, name)
        for method in methods:
            if method.name not in copies:
                cells += fused_cells(pair, method)
        yield cells


def worst_rows(sets: Sequence[DataSet], method: Method, measure: str, scores: Sequence[Score]) -> Iterator[list[Cell]]:
    """Yield thermal, rgb, fused and maximum for each score of the method. For "lost" the lost regions are outlined in magenta."""
    found = {dataset.name: dataset for dataset in sets}
    for score in scores:
        pair = read_pair(found[score.dataset], score.picture)
        cells = source_cells(pair, f"{score.name}: {worst_text(score.trust, measure)}" if score.trust else score.name)
        cells += fused_cells(pair, method) + fused_cells(pair, CLASSICAL[0])
        if measure == "lost":
            masks = lost_regions(grey_plane(method.fuse(pair)), pair.thermal, grey_plane(pair.rgb))
            cells = [(label, outlined(picture, masks)) for label, picture in cells]
        yield cells


def worst_text(trust: Trust, measure: str) -> str:
    """Return the value of a picture in words."""
    if measure == "lost":
        return f"{trust.lost} of {len(trust.retentions)} hot regions lost, lowest retention {min(trust.retentions):.2f}"
    if measure == "halo":
        return f"halo {trust.halo:.3f}, halo share {trust.halo_share:.4f}"
    return f"worst VIF {trust.worst_vif:.3f}" if measure == "worst VIF" else f"mesh {trust.mesh:.3f}"


def source_cells(pair: Pair, label: str) -> list[Cell]:
    """Return the thermal picture, labelled with ``label``, and the rgb picture."""
    return [(f"thermal {label}", pair.thermal), ("rgb", in_rgb_order(pair.rgb))]


def fused_cells(pair: Pair, method: Method) -> list[Cell]:
    """Return the method's fused picture, a grey one in the colours of rgb; an empty list if it is missing."""
    try:
        return [(method.name, in_rgb_order(in_colours(method.fuse(pair), pair.rgb)))]
    except (SourceError, ImageError):
        return []


def in_rgb_order(picture: Array) -> Array:
    """Return uint8 bgr [H, W, 3] in rgb order; a grey picture is returned as it is."""
    return picture if picture.ndim == 2 else picture[:, :, ::-1]


def outlined(picture: Array, masks: Sequence[Mask]) -> Array:
    """Return a copy of a picture, uint8 [H, W, 3] in rgb order or grey [H, W], with an outline around each mask [H, W]."""
    drawn = np.array(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) if picture.ndim == 2 else picture, order="C")
    size = 2 * _OUTLINE_DISTANCE + 1
    for mask in masks:
        wide = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
        contours, _ = cv2.findContours(wide, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, _OUTLINE, 1)
    return drawn
