"""Luma split, network and luma merge on the CPU, with OpenCV around the network; and the same in tensors, for any device.

Both give the same picture, within the rounding of the device's precision.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from aenet_ros.core.frames import Array, Plane
from aenet_ros.fusion import color

Network = Callable[[Tensor, Tensor], Tensor]
"""AENet, or what runs its exported file: thermal and luma, float [1, 1, H, W] in 0..1, to fused luma of the same shape."""


class CpuEngine:
    """Float32 on the CPU; the network may itself carry its planes elsewhere."""

    problem = ""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._planes: Plane = np.empty((2, 0, 0), np.float32)  # thermal, luma: kept, because fresh memory costs page faults

    def run(self, thermal: Array, rgb: Array, order: str, weight: Plane | None, strength: float) -> Array:
        """See Fuser.fuse, which has checked the arguments."""
        if self._planes.shape[1:] != thermal.shape:
            self._planes = np.empty((2, *thermal.shape), np.float32)
        thermal_plane, luma_plane = self._planes
        old = color.luma(rgb, order)
        color.to_unit(old, luma_plane)
        if thermal.dtype == np.uint8:
            color.to_unit(thermal, thermal_plane)
        elif weight is None and thermal.flags.c_contiguous and thermal.flags.writeable:  # torch takes no other without a copy or a warning
            thermal_plane = thermal
        else:
            np.copyto(thermal_plane, thermal)
        if weight is not None:
            _blend(luma_plane, thermal_plane, weight)
        fused: Plane = self._network(*(torch.from_numpy(plane)[None, None] for plane in (thermal_plane, luma_plane)))[0, 0].numpy()
        if weight is not None:
            _blend(luma_plane, fused, weight * np.float32(strength))
        elif strength != 1.0:
            _blend(luma_plane, fused, np.float32(strength))
        return color.merge(rgb, old, color.from_unit(fused))


def _blend(base: Plane, other: Plane, share: Plane | np.float32) -> None:
    """Put ``base + share * (other - base)`` into ``other``."""
    np.subtract(other, base, out=other)
    np.multiply(other, share, out=other)
    np.add(other, base, out=other)


def fuse_tensors(
    network: Network,
    thermal: Tensor,
    rgb: Tensor,
    order: str,
    weight: Tensor | None = None,
    strength: float | Tensor = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The whole of Fuser.fuse in tensors of one device; thermal [H, W] uint8 or float32 0..1, rgb uint8 [H, W, 3] or [H, W].

    ``dtype`` is the network's; a ``strength`` that changes within a captured graph is a tensor.
    """
    image = rgb.float()
    luma = image
    if rgb.dim() == 3:
        first, second, third = color.BT601 if order == "rgb" else color.BT601[::-1]
        luma = (first * image[..., 0] + second * image[..., 1] + third * image[..., 2]).round_()
    source = thermal.float() * 255.0 if thermal.dtype != torch.uint8 else thermal.float()
    if weight is not None:
        source = torch.lerp(luma, source, weight)
    planes = torch.stack((source, luma))[:, None, None].div_(255.0).to(dtype)
    change = network(planes[0], planes[1])[0, 0].float().mul_(255.0).sub_(luma)
    change = (change * strength if weight is None else change * (weight * strength)).round_()
    fused: Tensor = image + (change[..., None] if rgb.dim() == 3 else change)
    return fused.clamp_(0.0, 255.0).to(torch.uint8)
