"""Registration by a depth image that is aligned to the rgb frame: the map of each pixel's own distance, and the occluded pixels.

The measured points are drawn into a depth buffer of the thermal camera (the nearest point of each pixel wins, as in rendering). A pixel is
occluded where the buffer holds a point clearly before its own.
"""

from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.camera import Size
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Frame, Plane
from aenet_ros.registration.warp_maps import REACH, FloatMap, StereoRays, bounded, row_bands

OCCLUSION_RATIO = np.float32(1.05)  # a point is occluded by one that is nearer by this factor; less is the depth image's own error
EMPTY = np.float32(1e30)  # metres; farther than any point
NEIGHBOURS = np.ones((3, 3), np.uint8)
METRES_PER_COUNT = np.float32(0.001)  # of 16-bit depth images, by REP 118


def metres(depth: Frame, rgb_size: Size) -> Plane:
    """A depth frame, aligned to the rgb frame, as float32 [H, W] metres on the rgb grid; NaN where there is none.

    mono16 are millimetres, 32FC1 metres (REP 118). Raises ImageError for other encodings.
    """
    if depth.encoding not in ("mono16", "32FC1"):
        raise ImageError(f"a depth image in {depth.encoding} cannot be read; give 16UC1 (millimetres) or 32FC1 (metres)")
    if depth.encoding == "mono16":
        data, unknown = np.multiply(depth.data, METRES_PER_COUNT, dtype=np.float32), depth.data == 0
    else:
        data = np.array(depth.data, np.float32)
        unknown = ~((data > 0) & (data < np.inf))
    np.copyto(data, np.nan, where=unknown)
    if depth.size != rgb_size:
        data = np.asarray(cv2.resize(data, rgb_size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.float32)
    return data


def depth_map(rays: StereoRays, depth: Plane, elsewhere: float | Plane, thermal_size: Size) -> tuple[FloatMap, Array]:
    """The map of a depth image (where it is NaN, of the distance ``elsewhere``, metres), see ``bounded``, and the occluded rgb pixels.

    A pixel is occluded, bool [H, W], where the thermal camera sees another measured point before it.
    """
    view = _render(rays, depth, elsewhere, thermal_size)
    front = np.full_like(view.nearest, np.inf)  # nothing is before what is out of view
    cv2.erode(_within(view.nearest), NEIGHBOURS, dst=_within(front))
    _within(front)[...] *= OCCLUSION_RATIO
    occluded, front = np.empty(depth.shape, np.uint8), front.ravel()
    for rows in row_bands(depth.shape):
        np.greater(view.distance[rows], front.take(view.pixels[rows]), out=occluded[rows].view(bool))
    # Single pixels are the depth image's noise.
    return view.float_map, cv2.medianBlur(occluded, 3).view(bool)


def depth_from_thermal(rays: StereoRays, depth: Plane, thermal_size: Size) -> Plane:
    """A depth image as the thermal camera would measure it: float32 [h, w] metres, of the nearest point; NaN where there is none."""
    nearest = _within(_render(rays, depth, float("nan"), thermal_size).nearest)
    nearest = np.where(nearest < EMPTY, nearest, cv2.erode(nearest, NEIGHBOURS))  # between the points of two rgb pixels
    nearest[nearest >= EMPTY] = np.nan
    return nearest


class _View(NamedTuple):
    """The points of the rgb pixels, [H, W], in the thermal camera's view.

    distance: of each point ahead of the thermal camera, float32 [H, W] metres.
    nearest: of the measured points in each thermal pixel, EMPTY where there is none; float32, with a border of REACH pixels for points out
    of view. pixels: of each point in the flat ``nearest``, intp [H, W].
    """

    float_map: FloatMap
    distance: Plane
    nearest: Plane
    pixels: Array


def _render(rays: StereoRays, depth: Plane, elsewhere: float | Plane, thermal_size: Size) -> _View:
    """Map all points and draw the measured ones into a depth buffer; ``elsewhere``: distance, metres, where ``depth`` is NaN."""
    x, y, distance = (np.empty(depth.shape, np.float32) for _ in range(3))
    nearest = np.full([side + 2 * REACH for side in thermal_size], EMPTY, np.float32)
    flat, pixels = nearest.reshape(-1), np.empty(depth.shape, np.intp)
    elsewhere = np.broadcast_to(np.asarray(elsewhere, np.float32), depth.shape)
    for rows in row_bands(depth.shape):
        filled, missing = depth[rows].copy(), np.isnan(depth[rows])
        np.copyto(filled, elsewhere[rows], where=missing)
        rays.map_rows(filled, rows, (x[rows], y[rows]))
        bounded((x[rows], y[rows]), thermal_size, in_place=True)
        rays.depth_in_thermal(filled, rows, distance[rows])
        place = np.rint(y[rows]).astype(np.int32)
        place *= nearest.shape[1]
        place += np.rint(x[rows]).astype(np.int32)
        np.add(place, REACH * (nearest.shape[1] + 1), out=pixels[rows])
        np.copyto(filled, distance[rows])
        np.copyto(filled, EMPTY, where=missing)
        # One flat index, of type intp, and values of the buffer's type: numpy has a fast loop for this, and none for rows and columns.
        np.minimum.at(flat, pixels[rows].ravel(), filled.ravel())
    return _View((x, y), distance, nearest, pixels)


def _within(padded: Plane) -> Plane:
    """The thermal picture's part of a plane with a border."""
    return padded[REACH:-REACH, REACH:-REACH]
