"""Colour palettes for thermal pictures: tables of 256 colours, their application, and a colour bar with degrees.

The names are those of ``output.palette``. inferno is matplotlib's, rainbow is Turbo (Mikhailov 2019); both come with OpenCV.

All palettes but ``rainbow`` grow steadily in luma (``black_hot`` falls), so that hotter is brighter also in print and for people with
a colour vision deficiency. ``rainbow`` separates small differences and is not monotonic.
"""

from functools import cache

import cv2
import numpy as np

from aenet_ros.config import PALETTES
from aenet_ros.core.errors import ConfigError
from aenet_ros.core.frames import Array

# Red, green, blue at equal distances from the coldest to the hottest; linear in between.
_STOPS = {
    "ironbow": ((0, 0, 8), (38, 0, 110), (122, 0, 152), (190, 24, 120), (228, 78, 28), (246, 136, 0), (255, 200, 30), (255, 255, 235)),
    "arctic": ((4, 8, 40), (12, 40, 140), (30, 96, 200), (70, 160, 220), (140, 196, 206), (214, 208, 99), (250, 224, 99), (255, 250, 220)),
}
_OPENCV = {"inferno": cv2.COLORMAP_INFERNO, "rainbow": cv2.COLORMAP_TURBO}
_BAR_SHARE, _BAR_HEIGHT = 0.03, 0.6  # width and height of the bar relative to the width and height of the picture


@cache
def table(name: str) -> Array:
    """The palette as uint8 [256, 3], red, green, blue, coldest first. Raises ConfigError for an unknown name."""
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    if name == "white_hot":
        return grey
    if name == "black_hot":
        return np.ascontiguousarray(grey[::-1])
    if name in _OPENCV:
        return np.ascontiguousarray(cv2.applyColorMap(grey[:, :1], _OPENCV[name])[:, 0, ::-1])
    if name not in _STOPS:
        raise ConfigError(f"palette '{name}' is not known; give one of {', '.join(PALETTES)}")
    stops = np.array(_STOPS[name], np.float64)
    places = np.linspace(0, 255, len(stops))
    channels = [np.interp(np.arange(256), places, stops[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, 1)).astype(np.uint8)


def colorize(brightness: Array, name: str) -> Array:
    """``brightness``, float32 in 0..1 or uint8, [H, W], in the colours of the palette: uint8 [H, W, 3], red, green, blue."""
    levels = brightness if brightness.dtype == np.uint8 else cv2.convertScaleAbs(brightness, alpha=255.0)
    return cv2.applyColorMap(levels, table(name)[:, None])  # a user's table is applied in its own channel order


def draw_color_bar(image: Array, name: str, low: float, high: float, unit: str = "degC") -> Array:
    """A copy of ``image`` (uint8 [H, W, 3] RGB) with the palette as a vertical bar at its right edge and its limits in words."""
    height, width = image.shape[:2]
    drawn = image.copy()
    bar_width, bar_height = max(6, round(width * _BAR_SHARE)), round(height * _BAR_HEIGHT)
    left, top = width - 2 * bar_width, (height - bar_height) // 2
    bar = np.repeat(table(name)[::-1][:, None], bar_width, 1)
    drawn[top : top + bar_height, left : left + bar_width] = cv2.resize(bar, (bar_width, bar_height), interpolation=cv2.INTER_LINEAR)
    cv2.rectangle(drawn, (left - 1, top - 1), (left + bar_width, top + bar_height), (255, 255, 255), 1)
    scale = max(0.35, height / 1000.0)
    for text, baseline in ((f"{high:.1f} {unit}", top - 6), (f"{low:.1f} {unit}", top + bar_height + round(32 * scale))):
        (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        corner = (width - text_width - 4, baseline)
        cv2.putText(drawn, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(drawn, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return drawn
