"""Luma split and merge: the network fuses brightness; the colours stay the rgb camera's.

Adding the same number to red, green and blue changes Y of YCbCr (ITU-R BT.601: Y = 0.299 R + 0.587 G + 0.114 B, whose
weights sum to 1) and leaves Cb and Cr, which are differences to Y. So replacing Y is one saturating addition.
"""

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane

BT601 = (0.299, 0.587, 0.114)  # of red, green, blue
TO_LUMA = {"rgb": cv2.COLOR_RGB2GRAY, "bgr": cv2.COLOR_BGR2GRAY}


def luma(image: Array, order: str = "rgb") -> Array:
    """BT.601 luma, uint8 [H, W], of uint8 [H, W, 3] in ``order`` "rgb" or "bgr"; a grey image [H, W] is its own luma."""
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, TO_LUMA[order])


def to_unit(plane: Array, out: Plane) -> None:
    """Write a uint8 plane [H, W] into ``out``, float32 [H, W], as 0..1."""
    np.multiply(plane, np.float32(1.0 / 255.0), out=out, dtype=np.float32)


def from_unit(plane: Plane) -> Array:
    """A plane float32 [H, W] of 0..1 as uint8, rounded to nearest; what is above 1 saturates. Not for negative values."""
    return cv2.convertScaleAbs(plane, alpha=255.0)


def merge(image: Array, old: Array, new: Array) -> Array:
    """``image`` with its luma ``old`` (as ``luma`` gave it) replaced by ``new``, both uint8 [H, W]; saturates at 0 and 255.

    ``image`` is uint8 [H, W, 3] in any order, or a grey [H, W]; the result has its shape.
    """
    if image.ndim == 2:
        return new
    # Two saturating 8-bit passes, one of which adds 0 at each pixel: half the time of one in 16 bits.
    result = cv2.add(image, cv2.cvtColor(cv2.subtract(new, old), cv2.COLOR_GRAY2RGB))
    return cv2.subtract(result, cv2.cvtColor(cv2.subtract(old, new), cv2.COLOR_GRAY2RGB), result)
