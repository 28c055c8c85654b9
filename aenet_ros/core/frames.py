"""What travels through the pipeline: single frames, pairs of them, and fused results."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frame:
    """One camera frame.

    ``data`` by ``encoding``, which is one of five canonical ones:

    ========  =======================  ==========================================
    encoding  dtype, shape             meaning
    ========  =======================  ==========================================
    mono8     uint8 [H, W]             grey, 0..255
    mono16    uint16 [H, W]            counts, 0..65535
    32FC1     float32 [H, W]           counts or a temperature; NaN where unknown
    rgb8      uint8 [H, W, 3]          red, green, blue
    bgr8      uint8 [H, W, 3]          blue, green, red
    ========  =======================  ==========================================

    ``data`` may be a read-only view of a message's buffer, with row padding. ``source_encoding`` is what
    the message said (for example ``16UC1`` or ``yuyv``); an array that came from no message leaves it empty.
    """

    stamp_ns: int
    data: Array
    encoding: str
    frame_id: str = ""
    source_encoding: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.data.shape[:2]
        return int(height), int(width)


@dataclass(frozen=True, slots=True)
class FramePair:
    """A thermal and an rgb frame that belong together.

    ``difference_ns`` is the thermal stamp, after the clock offset was taken off, minus the rgb stamp. ``depth``, for
    ``registration.mode: depth``, is aligned to the rgb frame: mono16 in millimetres or 32FC1 in metres, 0 or NaN where unknown.
    """

    thermal: Frame
    rgb: Frame
    difference_ns: int = 0
    depth: Frame | None = None


class BadPixelMap(NamedTuple):
    """Dead pixels and what is written over them: the neighbours' brightness in ``shares``.

    pixels: intp [N], flat indices; near: intp [N, 8], flat indices of neighbours; shares: float32 [N, 8], each row's sum is 1.
    """

    pixels: Array
    near: Array
    shares: Plane


@dataclass(frozen=True, slots=True, eq=False)
class ThermalInput:
    """Counts, and how brightness on the picture's grid is made of them: what a device needs to do it by itself.

    ``counts``, uint8, uint16 or float32 [h, w], become brightness ``clip((counts - columns - black) * factor, 0, 1)``, 0 where they
    are not finite, with dead pixels mended. ``sampling``, float32 [H, W, 2], says where (x, y) in that each pixel of the grid is taken
    from, by bilinear interpolation; beyond the edge its values go on. None: from its own place. ``weight``, float32 [H, W] in 0..1, is
    the thermal camera's share in each pixel of the grid; None: 1. Arrays but ``counts`` are the same objects while nothing changes.
    """

    counts: Array
    black: float = 0.0
    factor: float = 1.0
    columns: Plane | None = None
    bad_pixels: BadPixelMap | None = None
    sampling: Plane | None = None
    weight: Plane | None = None


@dataclass(frozen=True, slots=True)
class FusedFrame:
    """The result for one pair, with the stamp of its rgb frame, on that frame's grid or another (``output.grid``), with its frame_id.

    ``image`` is uint8 [H, W, 3] in the order that ``encoding`` names (rgb8 or bgr8) or uint8 [H, W] (mono8).
    ``thermal_registered`` holds the thermal frame's untouched counts on the rgb grid (dtype of the input, 0 or
    NaN outside the thermal view); None unless it was asked for. ``timings_ns`` gives each stage's duration. ``grid`` is ``rgb`` or
    ``thermal``: the camera whose pixels the picture has, scaled or not.
    """

    stamp_ns: int
    image: Array
    encoding: str
    frame_id: str = ""
    thermal_registered: Array | None = None
    timings_ns: dict[str, int] = field(default_factory=dict)
    grid: str = "rgb"
