"""The two ways of running luma split, network and luma merge: on the CPU with OpenCV around the network, or all on one device.

Both take the same arguments and give the same picture, within the rounding of the device's precision.
"""

import numpy as np
import torch
from torch import Tensor

from aenet_ros.frames import Array, Plane
from aenet_ros.fusion import color
from aenet_ros.fusion.network import AENet


class CpuEngine:
    """Float32 on the CPU."""

    precision = "fp32"

    def __init__(self, network: AENet) -> None:
        self.device = torch.device("cpu")
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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
        else:
            np.copyto(thermal_plane, thermal)
        if weight is not None:
            _blend(luma_plane, thermal_plane, weight)
        planes = torch.from_numpy(self._planes)
        fused: Plane = self._network(planes[None, :1], planes[None, 1:])[0, 0].numpy()
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


class DeviceEngine:
    """Everything on one torch device: one upload, one download."""

    def __init__(self, network: AENet, device: torch.device, precision: str) -> None:
        self.device, self.precision = device, precision
        self._dtype = torch.float16 if precision == "fp16" else torch.float32
        self._network = network.to(device, self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._staging = torch.empty(0, dtype=torch.uint8)
        self._weight: tuple[Plane, Tensor] | None = None

    def run(self, thermal: Array, rgb: Array, order: str, weight: Plane | None, strength: float) -> Array:
        """See Fuser.fuse, which has checked the arguments."""
        thermal_on, rgb_on = self._upload(thermal, rgb)
        share = None if weight is None else self._on_device(weight)
        return fuse_tensors(self._network, thermal_on, rgb_on, order, share, strength, self._dtype).cpu().numpy()

    def _upload(self, thermal: Array, rgb: Array) -> tuple[Tensor, Tensor]:
        """Both frames in one transfer; thermal comes first, so that its floats are aligned."""
        total = thermal.nbytes + rgb.nbytes
        if self._staging.numel() != total:
            self._staging = torch.empty(total, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        staging = self._staging.numpy()
        np.copyto(staging[: thermal.nbytes].view(thermal.dtype).reshape(thermal.shape), thermal)
        np.copyto(staging[thermal.nbytes :].reshape(rgb.shape), rgb)
        both = self._staging.to(self.device, non_blocking=True)  # the download of the result waits for it
        first, second = both[: thermal.nbytes], both[thermal.nbytes :]
        kind = torch.uint8 if thermal.dtype == np.uint8 else torch.float32
        return first.view(kind).view(thermal.shape), second.view(rgb.shape)

    def _on_device(self, weight: Plane) -> Tensor:
        """The weight, uploaded once: Registration hands over the same array for every frame."""
        if self._weight is None or self._weight[0] is not weight:
            self._weight = weight, torch.tensor(weight, device=self.device)
        return self._weight[1]


def fuse_tensors(
    network: torch.nn.Module, thermal: Tensor, rgb: Tensor, order: str, weight: Tensor | None, strength: float, dtype: torch.dtype
) -> Tensor:
    """The whole of Fuser.fuse in tensors of one device; thermal [H, W] uint8 or float32 0..1, rgb uint8 [H, W, 3] or [H, W]."""
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
