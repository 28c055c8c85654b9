"""Luma split and merge. The network fuses luma only; the colours stay those of the rgb camera.

Luma is Y of YCbCr by ITU-R BT.601: Y = 0.299 R + 0.587 G + 0.114 B. The weights sum to 1, so adding one number to R, G and B
changes Y by that number and keeps Cb and Cr. Replacing Y is therefore one saturating addition.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Frame, Plane
from aenet_ros.fusion.resampling import Resampling, resample, resample_levels

HOT_DETAIL_FLOOR = 12.0  # grey levels: less may be noise
BT601 = (0.299, 0.587, 0.114)  # of red, green, blue
ORDERS = {"rgb8": "rgb", "bgr8": "bgr", "mono8": "rgb"}  # mono8 has no order


def luma(image: Array, order: str = "rgb") -> Array:
    """BT.601 luma uint8 [H, W] of uint8 [H, W, 3] in ``order`` "rgb" or "bgr". A grey image [H, W] is returned as it is."""
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY if order == "rgb" else cv2.COLOR_BGR2GRAY)


def to_unit(plane: Array, out: Plane) -> None:
    """Write a uint8 plane [H, W] into ``out``, float32 [H, W], as 0..1."""
    np.copyto(out, plane)
    np.multiply(out, np.float32(1.0 / 255.0), out=out)


def from_unit(plane: Plane) -> Array:
    """A plane float32 [H, W] of 0..1 as uint8, rounded to nearest. Values above 1 saturate; negative values are not allowed."""
    return cv2.convertScaleAbs(plane, alpha=255.0)


def to_levels(fused: Plane, luma: Plane, share: Plane | float, out: Array | None = None) -> Array:
    """``luma + share * (fused - luma)`` as uint8, rounded to nearest; all float32 [H, W] in 0..1. ``fused`` is clipped and overwritten.

    share: 0..1, a number or for each pixel; ``out``: uint8 [H, W] for the result.
    """
    np.clip(fused, 0.0, 1.0, out=fused)
    if isinstance(share, np.ndarray) or share != 1.0:
        fused -= luma
        fused *= share
        fused += luma
    return cv2.convertScaleAbs(fused, dst=out, alpha=255.0)


def merge(image: Array, old: Array, new: Array) -> Array:
    """``image`` with its luma ``old`` (from ``luma``) replaced by ``new``, both uint8 [H, W]; saturates at 0 and 255.

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


def reorder(image: Array, order: str, wanted: str) -> Array:
    """``image``, uint8 [H, W, 3] in ``order`` "rgb" or "bgr", in the order ``wanted``; a grey image [H, W] is returned as it is."""
    return image if order == wanted or image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def fuse_tensors(
    network: Callable[[Tensor, Tensor], Tensor],
    thermal: Tensor,
    rgb: Tensor,
    order: str,
    weight: Tensor | None = None,
    thermal_weight: float | Tensor = 1.0,
    dtype: torch.dtype = torch.float32,
    scaling: tuple[Resampling, Resampling] | None = None,
) -> Tensor:
    """The fused picture, uint8, shape and channel order of ``rgb``.

    thermal: uint8 or float32 0..1 [H, W]; rgb: uint8, or float32 with whole numbers, [H, W, 3] in ``order``, or [H, W]; ``dtype``: the
    network's. Within a captured graph a ``thermal_weight`` that changes must be a tensor. ``scaling``: to a smaller size of the network's
    picture and back, see ``engine.fuse_downscaled``.
    """
    image = rgb.float()
    luma = image
    if rgb.dim() == 3:
        first, second, third = BT601 if order == "rgb" else BT601[::-1]
        luma = (first * image[..., 0] + second * image[..., 1] + third * image[..., 2]).round_()
    source = thermal.float() * 255.0 if thermal.dtype != torch.uint8 else thermal.float()
    base, share = luma, weight
    if scaling is not None:
        full, (source, base) = source.round(), (resample(source, scaling[0]), resample_levels(luma, scaling[0]))
        resolved = resample_levels(source.round(), scaling[1])
        share = None if weight is None else resample(weight, scaling[0])
    if share is not None:
        source = torch.lerp(base, source, share)
    planes = torch.stack((source, base))[:, None, None].div_(255.0).to(dtype)
    change = network(planes[0], planes[1])[0, 0].float().mul_(255.0).sub_(base)
    change = (change * thermal_weight if share is None else change * (share * thermal_weight)).round_()
    if scaling is not None:
        change = resample(change, scaling[1]).round_()
        if weight is not None:
            change = change.masked_fill(weight == 0.0, 0.0)
        smaller = (luma + change).clamp_(0.0, 255.0)
        change = _add_hot_detail(smaller, full, resolved, weight, thermal_weight).sub_(luma)
    fused: Tensor = image + (change[..., None] if rgb.dim() == 3 else change)
    return fused.clamp_(0.0, 255.0).to(torch.uint8)


def _add_hot_detail(fused: Tensor, thermal: Tensor, resolved: Tensor, weight: Tensor | None, thermal_weight: float | Tensor) -> Tensor:
    """As ``engine._add_hot_detail``; all float32 [H, W] with whole numbers 0..255."""
    detail = (thermal - resolved - HOT_DETAIL_FLOOR).clamp_min_(0.0)
    detail = (detail * (thermal_weight if weight is None else weight * thermal_weight)).floor_()
    return torch.maximum(fused, torch.minimum((fused + detail).clamp_max_(255.0), thermal))
