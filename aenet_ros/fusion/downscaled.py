"""Fusion with the network at a smaller size: what it changes is found on small pictures, and laid onto the full-size one.

The rgb picture's detail passes untouched; of the thermal picture's, what the smaller size resolves. As guided upsampling does, the
difference to the source is enlarged instead of the result (Kopf et al., "Joint Bilateral Upsampling", SIGGRAPH 2007, is of this kind).
"""

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane
from aenet_ros.fusion import color
from aenet_ros.fusion.fuser import Fuser
from aenet_ros.fusion.network import MIN_SIZE


def fuse_downscaled(
    scale: float, fuser: Fuser, thermal: Array, rgb: Array, *, order: str = "rgb", weight: Plane | None = None, strength: float = 1.0
) -> Array:
    """As ``Fuser.fuse``, the network's picture ``scale`` (over 0, to 1) times as high and wide; at 1, and for tiny pictures, the same."""
    height, width = rgb.shape[:2]
    size = (round(width * scale), round(height * scale))
    if scale == 1.0 or min(size) < MIN_SIZE or thermal.shape != rgb.shape[:2]:
        return fuser.fuse(thermal, rgb, order=order, weight=weight, strength=strength)
    luma = color.luma(rgb, order)
    # The mean of the pixels is quick at 1/2 alone; near full size interpolation shows no other picture, in a tenth of the time.
    how = cv2.INTER_AREA if scale <= 0.5 else cv2.INTER_LINEAR
    small_thermal, small_luma = (cv2.resize(plane, size, interpolation=how) for plane in (thermal, luma))
    small_weight = None if weight is None else np.asarray(cv2.resize(weight, size, interpolation=how), np.float32)
    fused = fuser.fuse(small_thermal, small_luma, weight=small_weight, strength=strength)
    change = cv2.subtract(fused, small_luma, dtype=cv2.CV_16S)
    change = cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR)
    if weight is not None:
        change[weight == 0.0] = 0
    return color.merge(rgb, luma, cv2.add(luma, change, dtype=cv2.CV_8U))
