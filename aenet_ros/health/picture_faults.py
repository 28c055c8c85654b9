"""Faults of a single picture: black, or at full scale."""

import numpy as np

from aenet_ros.config import DegradedConfig
from aenet_ros.core.frames import Frame, Plane

NEARLY_FULL = 250.0  # of 255, in a colour picture: white balance may keep one channel a little below 255
FULL_SCALES = {"mono8": (255.0,), "mono16": (16_383.0, 65_535.0), "32FC1": ()}  # 14-bit cameras fill the lower bits


def picture_fault(role: str, frame: Frame, picked: Plane, config: DegradedConfig) -> str:
    """``black``, ``saturated`` or "", from a sample of the frame's pixels (``thermal.ffc.sample``).

    A black rgb picture has ``share`` of its pixels at ``black_level`` or under. A black thermal one has them at 0 (or NaN), or no two
    values that differ. Saturated ones have them at full scale: nearly 255, or 255, 16383 or 65535 counts.
    """
    if role == "rgb":
        if _share(picked <= config.black_level) >= config.share:
            return "black"
        return "saturated" if _share(picked >= NEARLY_FULL) >= config.share else ""
    if any(_share(picked == full) >= config.share for full in FULL_SCALES.get(frame.encoding, ())):
        return "saturated"
    return "black" if (_share(picked <= 0.0) >= config.share and frame.encoding != "32FC1") or picked.min() == picked.max() else ""


def _share(which: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> float:
    return float(np.count_nonzero(which)) / which.size
