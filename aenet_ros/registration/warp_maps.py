"""Maps from pixels of one camera's picture to the other's, by homography, plane or depth image, and picture warping by them.

A map gives the source x and y of every target pixel, float32 [H, W] each. Pixels are integer coordinates (x to the right, y down) with
the first pixel's centre at 0.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from aenet_ros.core.camera import Size, Stereo, distort, pixel_rays, scaling
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Frame, Plane

FEATHER = 0.05  # of the picture's shorter side: the width over which the weight falls to 0 inside the edge of the source's view
OCCLUSION_RATIO = 1.05  # a point is occluded by one that is nearer by this factor; less is the depth image's own error
EMPTY = 1e30  # metres; farther than any point
METRES_PER_COUNT = 0.001  # of 16-bit depth images, by REP 118
FloatMap = tuple[Plane, Plane]  # thermal x and thermal y of every rgb pixel, float32 [H, W]; NaN where there is none


def identity_map(thermal_size: Size, rgb_size: Size) -> FloatMap:
    """The map that scales the thermal frame to the rgb frame, edge to edge."""
    return homography_map(scaling(rgb_size, thermal_size), rgb_size)


def homography_map(matrix: Array, size: Size) -> FloatMap:
    """The map of a 3x3 ``matrix`` from pixels of a picture of ``size``."""
    height, width = size
    x, y = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)[:, None]
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
    # A homography's sign is free; it is taken such that the picture's centre lies in front of the camera.
    in_front = w * np.copysign(1.0, w[height // 2, width // 2]) > 1e-9
    with np.errstate(divide="ignore"):
        inverse = np.where(in_front, 1.0 / w, np.nan)
    return (u * inverse).astype(np.float32), (v * inverse).astype(np.float32)


def typical_step(axis: Plane, along: int) -> float:
    """How far apart neighbours of one axis of a map are, in the median, along an axis of the picture; NaN where no two are known."""
    with np.errstate(all="ignore"):
        steps = np.abs(np.diff(axis, axis=along))
    steps = steps[np.isfinite(steps)]
    return float(np.median(steps)) if steps.size else float("nan")


class StereoRays:
    """The rgb pixels' lines of sight, turned into the thermal camera's frame: all of a plane's map that its distance does not change.

    Both cameras of ``stereo`` are known. Where a lens cannot see a direction the map has NaN.
    """

    def __init__(self, stereo: Stereo, thermal_size: Size, rgb_size: Size) -> None:
        assert stereo.rgb is not None
        assert stereo.thermal is not None
        self._thermal = stereo.thermal
        self._to_pixels = scaling(self._thermal.size, thermal_size) @ self._thermal.matrix
        self._translation = stereo.translation.astype(np.float32)
        with np.errstate(all="ignore"):  # here and below: what leaves the range of floats is out of every view
            self._rays: Array = np.einsum("ij,jhw->ihw", stereo.rotation, pixel_rays(stereo.rgb, rgb_size)).astype(np.float32)

    def map(self, depth: float | Plane) -> FloatMap:
        """The map for what lies ``depth`` metres ahead of the rgb camera (along its optical axis): a number, or float32 [H, W]."""
        with np.errstate(all="ignore"):
            inverse = np.float32(1.0) / np.asarray(depth, np.float32)
            x, y, z = (ray + shift * inverse for ray, shift in zip(self._rays, self._translation, strict=True))
            ahead = np.where(z > 1e-6, np.float32(1.0) / z, np.float32(np.nan))
            x, y = distort(self._thermal, x * ahead, y * ahead)
            (fx, skew, cx), (_, fy, cy) = self._to_pixels[:2].astype(np.float32)
            return fx * x + skew * y + cx, fy * y + cy

    def depth_of_plane(self, distance: float) -> Plane:
        """How far along its own optical axis each pixel meets the plane that lies ``distance`` metres ahead of the other camera."""
        with np.errstate(all="ignore"):
            away = (np.float32(distance) - self._translation[2]) / self._rays[2]
        return np.asarray(np.where(away > 0, away, np.float32(np.nan)), np.float32)

    def depth_in_thermal(self, depth: Plane) -> Plane:
        """How far ahead of the thermal camera (metres) each rgb pixel's point lies, which is ``depth`` ahead of the rgb camera."""
        with np.errstate(all="ignore"):
            return np.asarray(self._rays[2] * depth + self._translation[2], np.float32)


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
    return data


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
    """The nearest measured point of each thermal pixel, float32 [h, w], EMPTY where there is none; and that of its 3x3 neighbourhood.

    ``distance``: of each rgb pixel's point ahead of the thermal camera, float32 [H, W] metres; ``measured``: bool [H, W], those to use.
    Also which rgb pixels the thermal camera sees, bool [H, W], with their thermal rows and columns.
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


@dataclass(frozen=True)
class WarpMap:
    """A fixed-point map for one pair of sizes; ``weight`` float32 [H, W] 0..1, None where it is 1 everywhere."""

    linear: tuple[Array, Array]  # cv2.convertMaps: whole pixels and an index of the fraction in steps of 1/32
    nearest: Array
    weight: Plane | None

    @cached_property
    def sampling(self) -> Plane:
        """``linear`` in one, float32 [H, W, 2]: x and y in the source, whole numbers and 32nds."""
        whole, fraction = self.linear
        return np.asarray(whole + np.stack([fraction & 31, fraction >> 5], axis=-1) / np.float32(32), np.float32)

    def warp(self, picture: Array) -> Array:
        """A picture, uint8 or float32 [H, W] or [H, W, 3], by bilinear interpolation; outside the view its edge's values continue."""
        return cv2.remap(picture, *self.linear, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def warp_counts(self, counts: Array) -> Array:
        """Counts, uint8, uint16 or float32 [H, W], each from the nearest pixel; outside the view 0, or NaN in float32."""
        nothing = float("nan") if counts.dtype.kind == "f" else 0.0
        no_fraction = np.empty((0, 0), np.uint16)
        return cv2.remap(counts, self.nearest, no_fraction, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=nothing)


def make_warp_map(float_map: FloatMap, source_size: Size, occluded: Array | None = None) -> WarpMap:
    """Fixed-point maps and the weight of a map into a picture of ``source_size``; ``occluded``: bool [H, W].

    Raises ImageError when the map reaches no pixel of it.
    """
    x, y = float_map
    height, width = source_size
    with np.errstate(invalid="ignore"):
        inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    if not inside.any():
        raise ImageError(
            f"by this registration the views of the two cameras ({x.shape[1]}x{x.shape[0]} and {width}x{height}) do not overlap; "
            "check registration.homography (it maps rgb pixels to thermal pixels), or the cameras' pose, and the sizes it was found at"
        )
    far = np.float32(-16.0)  # clear of the frame, and within the 16 bits of a fixed-point map
    axes = ((x, width), (y, height))
    linear = [np.clip(np.where(np.isnan(axis), far, axis), far, np.float32(side + 16)) for axis, side in axes]
    weight = None if inside.all() else _feather(inside)
    if occluded is not None and occluded.any():
        seen = cv2.blur((~occluded).astype(np.float32), (3, 3))
        weight = np.asarray(seen if weight is None else weight * seen, np.float32)
        inside = inside & ~occluded
    nearest = [np.where(inside, np.clip(axis, 0, side - 1), far) for axis, side in axes]
    return WarpMap(
        linear=cv2.convertMaps(linear[0], linear[1], cv2.CV_16SC2),
        nearest=cv2.convertMaps(nearest[0], nearest[1], cv2.CV_16SC2, nninterpolation=True)[0],
        weight=weight,
    )


def _feather(inside: Array) -> Plane:
    """0 outside and a smooth step to 1 over FEATHER inside; the picture's own border is no edge. bool [H, W] to float32.

    The last bits of OpenCV's distances depend on the number of threads; their squares are whole numbers, so rounding these makes
    the same of both.
    """
    width = FEATHER * min(inside.shape)
    distance = np.minimum(cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32(width + 2.0))
    distance = np.sqrt(np.rint(distance * distance))
    ramp = np.clip((distance - 1.0) / width, 0.0, 1.0)  # the last pixel inside, at distance 1, has 0 already
    return np.asarray(ramp * ramp * (3.0 - 2.0 * ramp), np.float32)
