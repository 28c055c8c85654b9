"""AENet's inference form for CPUs: the pyramid of convolutions in torch, everything around it in OpenCV and numpy.

The result is that of ``AENet`` within rounding. OpenCV's resizing and accumulation take less than half the time of torch's operators.
"""

from collections.abc import Callable
from copy import deepcopy

import cv2
import numpy as np
import torch
from torch import Tensor

from aenet_ros.core.frames import Array, Plane
from aenet_ros.fusion.blocks import pack_weights
from aenet_ros.fusion.network import MAX_DETAIL, MAX_HOT, SURROUNDINGS, TILE, AENet, check_planes

_BINOMIAL = np.array([0.25, 0.5, 0.25], np.float32)


class CpuNetwork:
    """Runs a copy of ``network``: later changes of its weights have no effect here. Not for several threads at once.

    ``shares``: another runtime for AENet.shares, from planes, float32 [H, W], to a new float32 [5, H / 4, W / 4].
    """

    def __init__(self, network: AENet, shares: Callable[[Plane, Plane], Array] | None = None) -> None:
        self._shares = shares or self._shares_by_torch
        self._network = deepcopy(network).requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        pack_weights(self._network)
        weight = self._network.head.weight
        self._head, self._head_bias = weight.reshape(len(weight), -1), self._network.head.bias[:, None]
        self._both = np.empty((0, 0, 2), np.float32)  # both planes interleaved, reused: fresh memory costs page faults

    @torch.inference_mode()
    def __call__(self, thermal: Plane, luma: Plane) -> Plane:
        """Fuse two planes, float32 [H, W] in 0..1, into the fused luma, float32 [H, W] in 0..1. Raises ImageError as ``AENet``."""
        check_planes(thermal.shape, luma.shape)
        height, width = luma.shape
        bottom, right = (-side % self._network.multiple for side in luma.shape)
        if bottom or right:
            thermal, luma = (
                np.asarray(cv2.copyMakeBorder(plane, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.float32) for plane in (thermal, luma)
            )
        maps = self._maps(self._shares(thermal, luma), thermal, luma)
        weight_t, weight_l, fused = (cv2.resize(tiles, luma.shape[::-1], interpolation=cv2.INTER_LINEAR) for tiles in maps)
        cv2.accumulateProduct(weight_t, thermal, fused)
        cv2.accumulateProduct(weight_l, luma, fused)
        return np.clip(fused, 0.0, 1.0, out=fused)[:height, :width]  # type: ignore[return-value]

    def _shares_by_torch(self, thermal: Plane, luma: Plane) -> Array:
        """AENet.shares, float32 [5, H / 4, W / 4]."""
        height, width = luma.shape
        if self._both.shape[:2] != luma.shape:
            self._both = np.empty((height, width, 2), np.float32)
        cv2.merge([thermal, luma], dst=self._both)
        x: Tensor = self._network.features(torch.from_numpy(self._both).permute(2, 0, 1)[None])
        # A matrix product that gives planes; the convolution would give interleaved shares and takes longer for 5 channels.
        tiles = x[0].permute(1, 2, 0).reshape(-1, x.shape[1])
        shares = torch.addmm(self._head_bias, self._head, tiles.t())
        return shares.view(-1, height // TILE, width // TILE).numpy()

    def _maps(self, shares: Array, thermal: Plane, luma: Plane) -> tuple[Plane, Plane, Plane]:
        """AENet.maps of ``shares``, which are overwritten: weight of thermal, weight of luma and offset, float32 [H / 4, W / 4]."""
        u, v, w, p, q = torch.sigmoid_(torch.from_numpy(shares)).numpy()
        p *= MAX_DETAIL
        q *= MAX_DETAIL
        w *= MAX_HOT
        base_t, base_l = _halved(_halved(thermal)), _halved(_halved(luma))
        height, width = base_t.shape
        around = cv2.resize(base_t, (width // SURROUNDINGS, height // SURROUNDINGS), interpolation=cv2.INTER_AREA)
        around = cv2.resize(around, (width, height), interpolation=cv2.INTER_LINEAR)
        excess = base_t - base_l
        offset = np.maximum(base_t, base_l)
        offset -= u * np.maximum(excess, 0.0)
        offset += v * np.minimum(excess, 0.0)
        offset += w * np.maximum(base_t - around, 0.0)
        offset -= p * base_t
        offset -= q * base_l
        return tuple(cv2.sepFilter2D(tiles, -1, _BINOMIAL, _BINOMIAL, borderType=cv2.BORDER_REPLICATE) for tiles in (p, q, offset))  # type: ignore[return-value]


def _halved(plane: Array) -> Array:
    """Means of 2x2 pixels; twice is the mean of a tile, in half the time of one step of 4x4."""
    return cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA)
