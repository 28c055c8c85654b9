"""Registration by a depth image: the map of each rgb pixel at its own distance, and the pixels that the thermal camera cannot see."""

from collections import deque
from dataclasses import replace

import cv2
import numpy as np

from aenet_ros.core.camera import Size
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Frame, FramePair, Plane
from aenet_ros.registration.warp_maps import FloatMap, StereoRays

OCCLUSION_RATIO = 1.05  # a point is occluded by one that is nearer by this factor; less is the depth image's own error
EMPTY = 1e30  # metres; farther than any point
METRES_PER_COUNT = 0.001  # of 16-bit depth images, by REP 118
QUEUE_SIZE = 10


class DepthQueue:
    """Joins depth images to pairs: each pair gets the nearest one received so far, at most ``slop_ns`` from its rgb stamp."""

    def __init__(self, slop_ns: int) -> None:
        self._slop_ns = slop_ns
        self._frames: deque[Frame] = deque(maxlen=QUEUE_SIZE)

    def push(self, depth: Frame) -> None:
        """Take a depth image."""
        self._frames.append(depth)

    def join(self, pair: FramePair) -> FramePair:
        """The pair with its depth image; unchanged where there is none."""
        if not self._frames:
            return pair
        nearest = min(self._frames, key=lambda frame: abs(frame.stamp_ns - pair.rgb.stamp_ns))
        near = abs(nearest.stamp_ns - pair.rgb.stamp_ns) <= self._slop_ns
        return replace(pair, depth=nearest) if near else pair


def metres(depth: Frame, rgb_size: Size) -> Plane:
    """A depth frame, aligned to the rgb frame, as float32 [H, W] metres on the rgb grid; NaN where there is none.

    mono16 are millimetres, 32FC1 metres (REP 118). Raises ImageError for other encodings.
    """
    if depth.encoding not in ("mono16", "32FC1"):
        raise ImageError(f"a depth image in {depth.encoding} cannot be read; give 16UC1 (millimetres) or 32FC1 (metres)")
    data = np.asarray(depth.data, np.float32)
    if depth.encoding == "mono16":
        data = data * np.float32(METRES_PER_COUNT)
    with np.errstate(invalid="ignore"):
        data = np.where((data > 0) & np.isfinite(data), data, np.float32(np.nan))
    if depth.size != rgb_size:
        data = np.asarray(cv2.resize(data, rgb_size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.float32)
    return np.asarray(data, np.float32)


def depth_from_thermal(rays: StereoRays, depth: Plane, thermal_size: Size) -> Plane:
    """A depth image as the thermal camera would measure it: float32 [h, w] metres, of the nearest point; NaN where there is none."""
    nearest, grown, _ = _depth_buffer(rays.map(depth), rays.depth_in_thermal(depth), np.isfinite(depth), thermal_size)
    nearest = np.where(nearest < EMPTY, nearest, grown)  # between the points of two rgb pixels
    return np.where(nearest < EMPTY, nearest, np.float32(np.nan)).astype(np.float32)


def depth_map(rays: StereoRays, depth: Plane, elsewhere: float | Plane, thermal_size: Size) -> tuple[FloatMap, Array]:
    """The map of a depth image (where it is NaN, of the distance ``elsewhere``, metres), and the occluded rgb pixels, bool [H, W].

    A pixel is occluded where the thermal camera sees another measured point before it.
    """
    measured = np.isfinite(depth)
    filled = np.where(measured, depth, np.asarray(elsewhere, np.float32)).astype(np.float32)
    float_map, distance = rays.map(filled), rays.depth_in_thermal(filled)
    _, grown, (inside, row, column) = _depth_buffer(float_map, distance, measured, thermal_size)
    occluded = np.zeros(depth.shape, bool)
    occluded[inside] = distance[inside] > OCCLUSION_RATIO * grown[row, column]
    # Single pixels are the depth image's noise.
    return float_map, np.asarray(cv2.medianBlur(occluded.astype(np.uint8), 3), bool)


def _depth_buffer(
    float_map: FloatMap, distance: Plane, measured: Array, thermal_size: Size
) -> tuple[Plane, Plane, tuple[Array, Array, Array]]:
    """The nearest measured point of each thermal pixel, float32 [h, w], EMPTY where there is none.

    ``distance``: of each rgb pixel's point ahead of the thermal camera, float32 [H, W] metres; ``measured``: bool [H, W], those to use.

    Also the same with each pixel's nearest neighbour, for those between the points of two rgb pixels; and which rgb pixels the thermal
    camera sees, bool [H, W], with their thermal rows and columns.
    """
    x, y = float_map
    height, width = thermal_size
    with np.errstate(invalid="ignore"):
        inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    row, column = np.round(y[inside]).astype(np.intp), np.round(x[inside]).astype(np.intp)
    front = measured[inside]
    nearest = np.full(thermal_size, EMPTY, np.float32)
    np.minimum.at(nearest, (row[front], column[front]), distance[inside][front])
    return nearest, np.asarray(cv2.erode(nearest, np.ones((3, 3), np.uint8)), np.float32), (inside, row, column)
