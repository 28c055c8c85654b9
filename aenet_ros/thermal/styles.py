"""How the published picture shows both cameras: the styles of ``output.style``.

fusion: the network's picture. tint: the same, in the colours of the palette within the isotherm band. edges: the thermal picture in the
colours of the palette with the rgb camera's edges. pip: the rgb picture with the thermal one in its corner. side_by_side: both pictures,
each at half of the width. All have the size of the fused picture.
"""

from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.config import Config
from aenet_ros.core.frames import Array, Plane, ThermalInput, convert, render_brightness
from aenet_ros.thermal.agc import Gain
from aenet_ros.thermal.palettes import colorize
from aenet_ros.thermal.temperature import counts_within, isotherm_counts

_INSET = 0.35  # side of the inset relative to the picture
_TINT = 0.6  # share of the palette's colour in tinted pixels
_EDGE_CONTRAST = 64.0  # grey levels of a step that is drawn as a full edge
_IN_VIEW = 0.5  # thermal share of a pixel from which it belongs to the thermal view


class StyledView(NamedTuple):
    """What a style needs beside the fused picture, on its grid.

    rgb: the rgb camera's picture, uint8 [H, W, 3] or [H, W] by ``encoding``. gain: of the thermal counts. weight: float32 [H, W] in 0..1,
    the thermal share; None: 1.
    """

    rgb: Array
    encoding: str
    gain: Gain
    weight: Plane | None


def draw_style(fused: Array, registered: Array, view: StyledView, config: Config) -> Array:
    """The picture in ``output.style``, uint8 in ``output.encoding``; a new array, or ``fused`` where there is nothing to draw.

    fused: uint8 in ``output.encoding``; registered: thermal counts [H, W] on its grid.
    """
    output = config.output
    if output.style == "tint":
        band = counts_within(registered, *isotherm_counts(config))
        if not band.any():
            return fused
    thermal = colorize(render_brightness(ThermalInput(registered, *view.gain)), output.palette)
    inside = np.ones(registered.shape, bool) if view.weight is None else view.weight > _IN_VIEW
    if output.style == "tint":
        picture = convert(fused, output.encoding, "rgb8")
        mixed = cv2.addWeighted(picture, 1.0 - _TINT, thermal, _TINT, 0.0)
        drawn = np.where((band & inside)[..., None], mixed, picture)
    else:
        rgb = convert(view.rgb, view.encoding, "rgb8")
        drawn = {"edges": _edges, "pip": _inset, "side_by_side": _side_by_side}[output.style](rgb, thermal, inside)
    return convert(drawn, "rgb8", output.encoding)


def _edges(rgb: Array, thermal: Array, inside: Array) -> Array:
    """The thermal picture plus the length of the Scharr gradient of rgb, 255 at a step of _EDGE_CONTRAST; rgb outside the thermal view."""
    luma = cv2.GaussianBlur(convert(rgb, "rgb8", "mono8"), (3, 3), 0)
    across, down = (cv2.Scharr(luma, cv2.CV_32F, dx, 1 - dx, scale=1.0 / 16.0) for dx in (1, 0))
    strength = cv2.convertScaleAbs(cv2.magnitude(across, down), alpha=255.0 / _EDGE_CONTRAST)
    return np.where(inside[..., None], cv2.add(thermal, convert(strength, "mono8", "rgb8")), rgb)


def _inset(rgb: Array, thermal: Array, inside: Array) -> Array:
    height, width = rgb.shape[:2]
    size = (max(1, round(width * _INSET)), max(1, round(height * _INSET)))
    small = cv2.resize(thermal * inside[..., None], size, interpolation=cv2.INTER_AREA)
    drawn = rgb.copy()
    drawn[: size[1], width - size[0] :] = small
    return drawn


def _side_by_side(rgb: Array, thermal: Array, inside: Array) -> Array:
    """rgb left and thermal right, each at half of the width with its proportions, on black."""
    height, width = rgb.shape[:2]
    half = (max(1, width // 2), max(1, height // 2))
    drawn = np.zeros_like(rgb)
    top = (height - half[1]) // 2
    for left, picture in ((0, rgb), (width - half[0], thermal * inside[..., None])):
        drawn[top : top + half[1], left : left + half[0]] = cv2.resize(picture, half, interpolation=cv2.INTER_AREA)
    return drawn
