"""Fusion on the CPU: OpenCV around the network."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from aenet_ros.core.frames import Plane
from aenet_ros.core.thermal_input import render_brightness
from aenet_ros.fusion import color
from aenet_ros.fusion.job import FusionJob, ReadyImage

Network = Callable[[Tensor, Tensor], Tensor]
"""AENet, or a runtime of its exported file: thermal and luma, float [1, 1, H, W] in 0..1, to fused luma of the same shape."""


class CpuEngine:
    """Float32 on the CPU. A job is done when ``submit`` returns."""

    takes_counts = False
    problem = ""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._planes: Plane = np.empty((2, 0, 0), np.float32)  # thermal and luma, reused: fresh memory costs page faults

    @torch.inference_mode()
    def submit(self, job: FusionJob) -> ReadyImage:
        """See ``Engine.submit``."""
        thermal, weight = render_brightness(job.thermal), job.thermal.weight
        if self._planes.shape[1:] != thermal.shape:
            self._planes = np.empty((2, *thermal.shape), np.float32)
        thermal_plane, luma_plane = self._planes
        luma = color.luma(job.rgb, job.order)
        color.to_unit(luma, luma_plane)
        if weight is None and thermal.flags.c_contiguous and thermal.flags.writeable:  # torch copies or warns otherwise
            thermal_plane = thermal
        else:
            np.copyto(thermal_plane, thermal)
        if weight is not None:
            _blend(luma_plane, thermal_plane, weight)
        fused: Plane = self._network(*(torch.from_numpy(plane)[None, None] for plane in (thermal_plane, luma_plane)))[0, 0].numpy()
        if weight is not None:
            _blend(luma_plane, fused, weight * np.float32(job.thermal_weight))
        elif job.thermal_weight != 1.0:
            _blend(luma_plane, fused, np.float32(job.thermal_weight))
        image = color.merge(job.rgb, luma, color.from_unit(fused))
        return ReadyImage(color.reorder(image, job.order, job.output_order))


def _blend(base: Plane, other: Plane, share: Plane | np.float32) -> None:
    """Put ``base + share * (other - base)`` into ``other``."""
    np.subtract(other, base, out=other)
    np.multiply(other, share, out=other)
    np.add(other, base, out=other)
