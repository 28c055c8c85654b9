"""Resizing on a device with OpenCV's own weights: each row and column of the result is a sum of a few of the source."""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from aenet_ros.core.camera import Size
from aenet_ros.core.frames import Array, Plane, resize_method


class Resampling(NamedTuple):
    """rows: int64 [H, k], source rows of each row, with their shares, float32 [H, k]; columns: the same, [W, k]."""

    rows: Tensor
    row_shares: Tensor
    columns: Tensor
    column_shares: Tensor


def make_resampling(source: Size, steps: list[tuple[Size, int]], device: torch.device) -> Resampling:
    """What cv2.resize does in turn to the sizes (height, width) of ``steps``, each with its INTER_LINEAR or INTER_AREA."""
    axes = ((source[axis], tuple((size[axis], method) for size, method in steps)) for axis in (0, 1))
    return Resampling(*(torch.from_numpy(part).to(device) for axis in axes for part in _taps(*axis)))


def make_scaling(source: Size, target: Size, device: torch.device) -> Resampling | None:
    """What ``frames.scale_picture`` does; None where the sizes are equal."""
    return None if target == source else make_resampling(source, [(target, resize_method(source, target))], device)


def resample(image: Tensor, to: Resampling) -> Tensor:
    """``image``, float32 [H, W] or [H, W, C], at the other size."""
    channels = (1,) * (image.dim() - 2)
    image = (image[to.rows] * to.row_shares.view(*to.row_shares.shape, 1, *channels)).sum(1)
    return (image[:, to.columns] * to.column_shares.view(*to.column_shares.shape, *channels)).sum(2)


def resample_levels(image: Tensor, to: Resampling) -> Tensor:
    """The same for whole grey levels, float32 as all: rounded half up, as OpenCV rounds bytes."""
    return resample(image, to).add_(0.5).floor_()


@lru_cache(maxsize=16)
def _taps(source: int, steps: tuple[tuple[int, int], ...]) -> tuple[Array, Plane]:
    """Indices and shares along one axis, [target, k]: OpenCV resizes the unit matrix."""
    weights: Array = np.eye(source, dtype=np.float32)
    for size, method in steps:
        weights = cv2.resize(weights, (source, size), interpolation=method)
    used = weights != 0.0
    first, last = used.argmax(1), source - 1 - used[:, ::-1].argmax(1)
    places = first[:, None] + np.arange(int((last - first).max()) + 1)
    shares = np.where(places < source, np.take_along_axis(weights, np.minimum(places, source - 1), 1), 0.0).astype(np.float32)
    return np.minimum(places, source - 1), shares
