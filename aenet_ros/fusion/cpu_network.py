"""AENet's inference form for CPUs: the pyramid of convolutions in torch, everything around it in OpenCV and numpy.

The result is that of ``AENet`` within rounding. OpenCV's resizing and accumulation take less than half the time of torch's operators.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor

from aenet_ros.core.frames import Array, Plane
from aenet_ros.fusion.blocks import pack_weights
from aenet_ros.fusion.color import to_levels
from aenet_ros.fusion.network import MAX_DETAIL, MAX_HOT, SURROUNDINGS, TILE, AENet, check_planes

STRIP_PIXELS = 250_000  # of one strip of the picture: its float planes stay in the cache; much smaller ones cost more calls than they save
_BINOMIAL = np.array([0.25, 0.5, 0.25], np.float32)


class CpuNetwork:
    """Runs a copy of ``network``: later changes of its weights have no effect here. Not for several threads at once.

    It uses as many threads as torch has when this is made.
    ``shares``: another runtime for AENet.shares, from both planes, float32 [2, H, W], to a new float32 [5, H / 4, W / 4].
    """

    def __init__(self, network: AENet, shares: Callable[[Plane], Array] | None = None) -> None:
        self._shares = shares
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads)  # it starts them when they get strips
        self._network = deepcopy(network).requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        pack_weights(self._network)
        weight = self._network.head.weight
        self._head, self._head_bias = weight.reshape(len(weight), -1), self._network.head.bias[:, None]
        # Both planes padded, and interleaved; reused: fresh memory costs page faults.
        self._padded, self._both = np.empty((2, 0, 0), np.float32), np.empty((0, 0, 2), np.float32)

    @torch.inference_mode()
    def __call__(self, thermal: Plane, luma: Plane, share: Plane | float = 1.0) -> Array:
        """Fuse two planes, float32 [H, W] in 0..1, into the fused luma, uint8 [H, W]. Raises ImageError as ``AENet``.

        share: 0..1, a number or float32 [H, W]; the result is ``luma + share * (fused - luma)``.
        """
        check_planes(thermal.shape, luma.shape)
        height, width = luma.shape
        bottom, right = (-side % self._network.multiple for side in luma.shape)
        if bottom or right or self._shares is not None:  # another runtime needs both planes in one array
            if self._padded.shape[1:] != (height + bottom, width + right):
                self._padded = np.empty((2, height + bottom, width + right), np.float32)
            for plane, padded in zip((thermal, luma), self._padded, strict=True):
                cv2.copyMakeBorder(plane, 0, bottom, 0, right, cv2.BORDER_REPLICATE, dst=padded)
            thermal, luma = self._padded
            if isinstance(share, np.ndarray) and share.shape != luma.shape:
                share = np.asarray(cv2.copyMakeBorder(share, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.float32)
        shares = self._shares_by_torch(thermal, luma) if self._shares is None else self._shares(self._padded)
        return self._apply(self._maps(shares, thermal, luma), thermal, luma, share)[:height, :width]

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
        """AENet.maps of ``shares``: weight of thermal, weight of luma and offset, float32 [H / 4, W / 4]."""
        # The sigmoid. torch's would start its threads, which then take the cores of OpenCV's and ONNX Runtime's for a while.
        np.negative(shares, out=shares)
        cv2.exp(shares.reshape(-1, shares.shape[2]), dst=shares.reshape(-1, shares.shape[2]))
        shares += 1.0
        u, v, w, p, q = np.reciprocal(shares, out=shares)
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

    def _apply(self, maps: Sequence[Plane], thermal: Plane, luma: Plane, share: Plane | float) -> Array:
        """``weight * thermal + weight * luma + offset`` with the maps [H / 4, W / 4] enlarged bilinearly, as uint8 [H, W]."""
        fused = np.empty(luma.shape, np.uint8)
        tiles, rounds = len(maps[0]), math.ceil(luma.size / (self._threads * STRIP_PIXELS))
        rows = math.ceil(tiles / (self._threads * rounds))
        run = map if self._threads == 1 else self._pool.map
        list(run(partial(_apply_strip, maps, thermal, luma, share, fused, rows), range(0, tiles, rows)))
        return fused


def _halved(plane: Array) -> Array:
    """Means of 2x2 pixels; twice is the mean of a tile, in half the time of one step of 4x4."""
    return cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA)


def _apply_strip(maps: Sequence[Plane], thermal: Plane, luma: Plane, share: Plane | float, fused: Array, rows: int, begin: int) -> None:
    """Write ``rows`` rows of tiles of ``fused`` from the tile row ``begin`` on; a tile more at either side leaves no trace of the strip."""
    end, width = min(begin + rows, len(maps[0])), luma.shape[1]
    first, last = max(begin - 1, 0), min(end + 1, len(maps[0]))
    enlarged = np.empty((3, TILE * (last - first), width), np.float32)
    for plane, tiles in zip(enlarged, maps, strict=True):
        cv2.resize(tiles[first:last], (width, len(plane)), dst=plane, interpolation=cv2.INTER_LINEAR)
    weight_t, weight_l, sums = enlarged[:, TILE * (begin - first) : TILE * (end - first)]
    inside = slice(TILE * begin, TILE * end)
    cv2.accumulateProduct(weight_t, thermal[inside], sums)
    cv2.accumulateProduct(weight_l, luma[inside], sums)
    to_levels(sums, luma[inside], share[inside] if isinstance(share, np.ndarray) else share, out=fused[inside])
