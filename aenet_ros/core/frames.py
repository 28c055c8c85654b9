"""The data of the pipeline: frames, pairs of frames, fused frames."""

from dataclasses import dataclass, field
from typing import Any

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

    ``data`` may be a read-only view of a message's buffer, with row padding. ``source_encoding`` is the message's encoding (for example
    ``16UC1`` or ``yuyv``); empty where the frame does not come from a message.
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

    @property
    def counts_encoding(self) -> str:
        """ROS encoding of unchanged thermal counts: the message's own (8UC1, 16UC1) where it names plain counts, else ``encoding``."""
        return self.source_encoding if self.source_encoding in ("8UC1", "16UC1") else self.encoding


@dataclass(frozen=True, slots=True)
class FramePair:
    """A thermal and an rgb frame of the same instant.

    difference_ns: thermal stamp, less the clock offset, minus rgb stamp.
    depth: for ``registration.mode: depth``, aligned to the rgb frame; mono16 in millimetres or 32FC1 in metres, 0 or NaN where unknown.
    """

    thermal: Frame
    rgb: Frame
    difference_ns: int = 0
    depth: Frame | None = None


@dataclass(frozen=True, slots=True)
class FusedFrame:
    """What is published for one pair, or for one frame of the camera that still works.

    stamp_ns: stamp of the pair's rgb frame, or of the single frame.
    image: uint8 [H, W, 3] in the channel order of ``encoding`` (rgb8, bgr8), or uint8 [H, W] (mono8).
    grid: ``rgb`` or ``thermal``, the camera whose pixels the picture has (scaled or not); ``frame_id`` is that camera's.
    thermal_registered: unchanged counts on the picture's grid in the input's dtype, 0 or NaN outside the thermal view; None unless asked
    for. ``thermal_encoding`` is their ROS encoding.
    timings_ns: duration of each stage.
    """

    stamp_ns: int
    image: Array
    encoding: str
    frame_id: str = ""
    thermal_registered: Array | None = None
    timings_ns: dict[str, int] = field(default_factory=dict)
    grid: str = "rgb"
    thermal_encoding: str = ""
