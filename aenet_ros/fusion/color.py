"""Luma split and merge. The network fuses luma only; the colours stay those of the rgb camera.

Luma is Y of YCbCr by ITU-R BT.601: Y = 0.299 R + 0.587 G + 0.114 B. The weights sum to 1, so adding one number to R, G and B
changes Y by that number and keeps Cb and Cr. Replacing Y is therefore one saturating addition.
"""

import cv2
import numpy as np

from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Frame, Plane

BT601 = (0.299, 0.587, 0.114)  # of red, green, blue
TO_LUMA = {"rgb": cv2.COLOR_RGB2GRAY, "bgr": cv2.COLOR_BGR2GRAY}

ORDERS = {"rgb8": "rgb", "bgr8": "bgr", "mono8": "rgb"}  # mono8 has no order
CONVERSIONS = {
    ("rgb8", "bgr8"): cv2.COLOR_RGB2BGR,
    ("bgr8", "rgb8"): cv2.COLOR_BGR2RGB,
    ("mono8", "rgb8"): cv2.COLOR_GRAY2RGB,
    ("mono8", "bgr8"): cv2.COLOR_GRAY2BGR,
}


def luma(image: Array, order: str = "rgb") -> Array:
    """Return BT.601 luma uint8 [H, W] of uint8 [H, W, 3] in ``order`` "rgb" or "bgr". A grey image [H, W] is returned as it is."""
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, TO_LUMA[order])


def to_unit(plane: Array, out: Plane) -> None:
    """Write a uint8 plane [H, W] into ``out``, float32 [H, W], as 0..1."""
    np.multiply(plane, np.float32(1.0 / 255.0), out=out, dtype=np.float32)


def from_unit(plane: Plane) -> Array:
    """Return a plane float32 [H, W] of 0..1 as uint8, rounded to nearest. Values above 1 saturate; negative values are not allowed."""
    return cv2.convertScaleAbs(plane, alpha=255.0)


def merge(image: Array, old: Array, new: Array) -> Array:
    """Return ``image`` with its luma ``old`` (from ``luma``) replaced by ``new``, both uint8 [H, W]; saturates at 0 and 255.

    ``image`` is uint8 [H, W, 3] in any channel order or grey [H, W]. The result has the same shape.
    """
    if image.ndim == 2:
        return new
    # Two saturating 8-bit passes take half the time of one 16-bit pass. At each pixel one of them adds 0.
    result = cv2.add(image, cv2.cvtColor(cv2.subtract(new, old), cv2.COLOR_GRAY2RGB))
    return cv2.subtract(result, cv2.cvtColor(cv2.subtract(old, new), cv2.COLOR_GRAY2RGB), result)


def prepare_rgb(rgb: Frame, wanted: str) -> tuple[Array, str]:
    """The rgb frame's pixels for fusion, and their encoding: luma alone where the output ``wanted`` is mono8. Raises ImageError."""
    if rgb.encoding not in ORDERS:
        raise ImageError(f"an rgb frame in {rgb.encoding} cannot be fused; give one of {', '.join(ORDERS)}")
    if wanted == "mono8":
        return luma(rgb.data, ORDERS[rgb.encoding]), "mono8"
    return rgb.data, rgb.encoding


def output_order(encoding: str, wanted: str) -> str:
    """The channel order in which fusion gives the picture."""
    return ORDERS[encoding] if encoding == "mono8" else ORDERS[wanted]


def reorder(image: Array, order: str, wanted: str) -> Array:
    """``image``, uint8 [H, W, 3] in ``order`` "rgb" or "bgr", in the order ``wanted``; a grey image [H, W] is returned as it is."""
    return image if order == wanted or image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def convert(image: Array, encoding: str, wanted: str) -> Array:
    """``image`` in the encoding ``wanted``; the same array where it has that already."""
    return image if encoding == wanted else cv2.cvtColor(image, CONVERSIONS[encoding, wanted])
