"""How the published picture shows both cameras: the styles of ``output.style``.

fusion: the network's picture. tint: the same, in the colours of the palette within the isotherm band. edges: the thermal picture in the
colours of the palette with the rgb camera's edges. pip: the rgb picture with the thermal one in its corner. side_by_side: both pictures,
each at half of the width. All have the size of the fused picture. Only fusion, tint and edges keep its geometry.
"""

from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.frames import Array
from aenet_ros.thermal.palettes import colorize

STYLES = ("fusion", "tint", "edges", "pip", "side_by_side")
KEEP_GEOMETRY = ("fusion", "tint", "edges")
"""Styles in which a pixel of the picture is a pixel of its grid, so that camera_info holds for it."""

_INSET = 0.35  # side of the inset relative to the picture
_TINT = 0.6  # share of the palette's colour in tinted pixels
_EDGE_CONTRAST = 64.0  # grey levels of a step that is drawn as a full edge


class StyleInput(NamedTuple):
    """Planes on the grid of the picture. Colour is red, green, blue.

    fused: uint8 [H, W, 3]; rgb: uint8 [H, W, 3] or [H, W], without thermal; brightness: uint8 [H, W], thermal after AGC; inside: bool
    [H, W], where the thermal camera looks; band: bool [H, W], where the temperature is within the isotherm.
    """

    fused: Array
    rgb: Array
    brightness: Array
    inside: Array
    band: Array


def draw_style(style: str, planes: StyleInput, palette: str) -> Array:
    """The picture in the style, uint8 [H, W, 3] RGB, a new array or ``planes.fused`` itself."""
    if style == "fusion":
        return planes.fused
    if style == "tint" and not planes.band.any():
        return planes.fused
    thermal = colorize(planes.brightness, palette)
    if style == "tint":
        mixed = cv2.addWeighted(planes.fused, 1.0 - _TINT, thermal, _TINT, 0.0)
        return np.where((planes.band & planes.inside)[..., None], mixed, planes.fused)
    rgb = planes.rgb if planes.rgb.ndim == 3 else cv2.cvtColor(planes.rgb, cv2.COLOR_GRAY2RGB)
    thermal = np.where(planes.inside[..., None], thermal, rgb if style == "edges" else np.uint8(0))
    if style == "edges":
        return cv2.add(thermal, cv2.cvtColor(_edges(rgb), cv2.COLOR_GRAY2RGB))
    return _inset(rgb, thermal) if style == "pip" else _side_by_side(rgb, thermal)


def _edges(rgb: Array) -> Array:
    """Strength of the edges of an RGB picture, uint8 [H, W]: the length of the Scharr gradient, 255 at a step of _EDGE_CONTRAST."""
    luma = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    across, down = (cv2.Scharr(luma, cv2.CV_32F, dx, 1 - dx, scale=1.0 / 16.0) for dx in (1, 0))
    return cv2.convertScaleAbs(cv2.magnitude(across, down), alpha=255.0 / _EDGE_CONTRAST)


def _inset(rgb: Array, thermal: Array) -> Array:
    height, width = rgb.shape[:2]
    small = cv2.resize(thermal, (max(1, round(width * _INSET)), max(1, round(height * _INSET))), interpolation=cv2.INTER_AREA)
    drawn = rgb.copy()
    drawn[: small.shape[0], width - small.shape[1] :] = small
    return drawn


def _side_by_side(rgb: Array, thermal: Array) -> Array:
    """rgb left and thermal right, each at half of the width with its proportions, on black."""
    height, width = rgb.shape[:2]
    half = (max(1, width // 2), max(1, height // 2))
    drawn = np.zeros_like(rgb)
    top = (height - half[1]) // 2
    for left, picture in ((0, rgb), (width - half[0], thermal)):
        drawn[top : top + half[1], left : left + half[0]] = cv2.resize(picture, half, interpolation=cv2.INTER_AREA)
    return drawn
