"""CameraInfo of the fused picture, duck-typed: the node publishes it with rclpy's messages, `aenet fuse` writes it with rosbags'."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aenet_ros.core.frames import Array, FusedFrame
from aenet_ros.messages.codec import set_stamp


def fused_camera_info(infos: Mapping[str, Any], fused: FusedFrame, *, scaled: bool) -> Any | None:
    """A new CameraInfo with the stamp and frame_id of ``fused``; None where the camera of ``fused.grid`` has sent none.

    ``infos``: the last CameraInfo by role (``rgb``, ``thermal``). ``scaled``: whether the picture has another size than that camera's
    frames (``output.grid: size``); K and P are then scaled to it.
    """
    info = infos.get(fused.grid)
    if info is None:
        return None
    result = copy.copy(scaled_camera_info(info, *fused.image.shape[:2]) if scaled else info)
    result.header = copy.deepcopy(info.header)
    set_stamp(result.header, fused.stamp_ns)
    result.header.frame_id = fused.frame_id
    return result


def scaled_camera_info(info: Any, height: int, width: int) -> Any:
    """A copy of the CameraInfo for the camera's picture scaled, edge to edge, to ``height`` x ``width`` pixels.

    Binning and region of interest are reset. A CameraInfo without a size (0) cannot be scaled and is returned itself.
    """
    if not (info.width and info.height):
        return info
    x, y = width / info.width, height / info.height
    result = copy.copy(info)
    result.height, result.width, result.binning_x, result.binning_y = height, width, 0, 0
    result.roi = copy.copy(info.roi)
    result.roi.x_offset = result.roi.y_offset = result.roi.height = result.roi.width = 0
    result.roi.do_rectify = False
    result.k, result.p = _scaled(info.k, 3, x, y), _scaled(info.p, 4, x, y)
    return result


def _scaled(matrix: Sequence[float] | Array, columns: int, x: float, y: float) -> Array:
    """A projection matrix, row-major, float64 [3 * columns], for ``x`` and ``y`` times as many pixels.

    A pixel's centre has whole-numbered coordinates, so the new coordinate is ``(u + 0.5) * x - 0.5``.
    """
    values = np.array(matrix, np.float64).reshape(3, columns)
    if values.any():  # all zero: not calibrated
        scale = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
        with np.errstate(all="ignore"):  # NaN and infinity are passed on
            values = scale @ values
    return values.ravel()
