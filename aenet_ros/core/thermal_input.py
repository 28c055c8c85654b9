"""A thermal frame together with all that turns its counts into brightness, and the CPU's implementation of that.

``fusion.tensors`` holds the same in tensors of a device.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane


class BadPixelMap(NamedTuple):
    """Bad pixels and their neighbours; a bad pixel becomes the mean of its good neighbours.

    pixels: intp [N], flat indices; neighbours: intp [N, 8], flat indices; shares: float32 [N, 8], each row's sum is 1.
    """

    pixels: Array
    neighbours: Array
    shares: Plane


@dataclass(frozen=True, slots=True, eq=False)
class ThermalInput:
    """Thermal counts and the way from them to brightness on the picture's grid.

    counts: uint8, uint16 or float32 [h, w]. Brightness is ``clip((counts - columns - black) * factor, 0, 1)`` with bad pixels replaced;
    0 where counts are not finite.
    columns: float32 [w], counts that each column reads too high; None: 0.
    sampling: float32 [H, W, 2], the (x, y) in ``counts`` that each pixel of the picture is taken from (bilinear, border replicated); None:
    the same pixel.
    weight: float32 [H, W] in 0..1, the thermal share in each pixel of the picture; None: 1.
    rendered: ``counts`` is that brightness already, float32 [H, W].
    Engines cache the arrays other than ``counts`` by identity: pass the same object until the content changes.
    """

    counts: Array
    black: float = 0.0
    factor: float = 1.0
    columns: Plane | None = None
    bad_pixels: BadPixelMap | None = None
    sampling: Plane | None = None
    weight: Plane | None = None
    rendered: bool = False


def render_brightness(thermal: ThermalInput, out: Plane | None = None) -> Plane:
    """Brightness on the picture's grid, float32 [H, W] in 0..1.

    ``out``, float32 [h, w], is used for the result where it fits. The result is ``thermal.counts`` itself where that is rendered already.
    """
    if thermal.rendered:
        return thermal.counts
    fits = out is not None and out.shape == thermal.counts.shape
    brightness: Plane = out if out is not None and fits else np.empty(thermal.counts.shape, np.float32)
    scale_counts(thermal.counts, thermal.black, thermal.factor, brightness, thermal.columns)
    if thermal.bad_pixels is not None:
        replace_bad_pixels(brightness, thermal.bad_pixels)
    if thermal.sampling is None:
        return brightness
    x, y = np.ascontiguousarray(thermal.sampling[..., 0]), np.ascontiguousarray(thermal.sampling[..., 1])
    return np.asarray(cv2.remap(brightness, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def scale_counts(counts: Array, black: float, factor: float, out: Plane, columns: Plane | None = None) -> None:
    """Write ``(counts - columns - black) * factor``, clipped to 0..1, into ``out``, float32 [h, w]; NaN and infinity become 0."""
    base, scale = np.float32(black), np.float32(factor)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite and huge values are handled below
        np.subtract(counts, base if columns is None else columns + base, out=out, dtype=np.float32)
        np.multiply(out, scale, out=out)
    np.clip(out, 0.0, 1.0, out=out)
    if counts.dtype.kind == "f":
        finite = np.isfinite(counts)
        if not finite.all():
            out[~finite] = 0.0


def replace_bad_pixels(brightness: Plane, bad: BadPixelMap) -> None:
    """Write the mean of its good neighbours over each bad pixel of a contiguous plane, float32 [h, w]."""
    flat = brightness.reshape(-1)
    flat[bad.pixels] = (flat[bad.neighbours] * bad.shares).sum(1)
