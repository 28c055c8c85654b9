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
from aenet_ros.core.frames import Array, Plane

FEATHER = 0.05  # of the picture's shorter side: the width over which the weight falls to 0 inside the edge of the source's view
BAND = 30_000  # pixels: large frames are computed in bands of rows, whose planes stay in the L2 cache of a CPU core
MIN_COARSE = 20.0  # pixels of the feather's width, from which half the size is fine enough
REACH = 16  # pixels: how far beyond the source's edges a bounded map goes
FloatMap = tuple[Plane, Plane]  # thermal x and thermal y of every rgb pixel, float32 [H, W]; NaN where there is none


def row_bands(shape: tuple[int, ...]) -> list[slice]:
    """The rows of a picture of ``shape`` [H, W] in bands of about BAND pixels."""
    rows = max(1, BAND // shape[1])
    return [slice(top, top + rows) for top in range(0, shape[0], rows)]


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
        shape = self._rays.shape[1:]
        x, y = np.empty(shape, np.float32), np.empty(shape, np.float32)
        depth = np.broadcast_to(np.asarray(depth, np.float32), shape)
        for rows in row_bands(shape):
            self.map_rows(depth[rows], rows, (x[rows], y[rows]))
        return x, y

    def map_rows(self, depth: Plane, rows: slice, out: FloatMap) -> None:
        """``map`` for these rows of pixels and their depths, written to ``out``."""
        (fx, skew, cx), (_, fy, cy) = self._to_pixels[:2].astype(np.float32)
        with np.errstate(all="ignore"):
            inverse = np.float32(1.0) / depth
            x, y, z = (shift * inverse for shift in self._translation)
            for axis, ray in zip((x, y, z), self._rays[:, rows], strict=True):
                axis += ray
            np.copyto(z, np.nan, where=z <= 1e-6)
            ahead = np.divide(np.float32(1.0), z, out=inverse)
            x *= ahead
            y *= ahead
            x, y = distort(self._thermal, x, y)
            np.multiply(x, fx, out=out[0])
            np.add(out[0], skew * y + cx if skew else cx, out=out[0])
            np.multiply(y, fy, out=out[1])
            np.add(out[1], cy, out=out[1])

    def point(self, pixel: tuple[int, int], depth: float) -> tuple[float, ...]:
        """x, y, z in the thermal camera's frame of what a pixel (x, y) shows ``depth`` metres ahead of the rgb camera."""
        return tuple((self._rays[:, pixel[1], pixel[0]] * np.float32(depth) + self._translation).tolist())

    def depth_of_plane(self, distance: float) -> Plane:
        """How far along its own optical axis each pixel meets the plane that lies ``distance`` metres ahead of the other camera."""
        with np.errstate(all="ignore"):
            away = (np.float32(distance) - self._translation[2]) / self._rays[2]
        return np.asarray(np.where(away > 0, away, np.float32(np.nan)), np.float32)

    def depth_in_thermal(self, depth: Plane, rows: slice, out: Plane) -> None:
        """How far ahead of the thermal camera (metres) each point of these rows lies, which is ``depth`` ahead of the rgb camera."""
        with np.errstate(all="ignore"):
            np.multiply(self._rays[2, rows], depth, out=out)
            out += self._translation[2]


@dataclass(frozen=True)
class WarpMap:
    """A map for one pair of sizes, and its fixed-point forms, made when they are needed.

    x, y: of the source, float32 [H, W], finite; valid: bool [H, W], where they show a pixel of it (None: everywhere); weight: float32
    [H, W] 0..1, None where it is 1 everywhere; source_size: height and width.
    """

    x: Plane
    y: Plane
    valid: Array | None
    weight: Plane | None
    source_size: Size

    @cached_property
    def linear(self) -> tuple[Array, Array]:
        """cv2.convertMaps: whole pixels and an index of the fraction in steps of 1/32."""
        return cv2.convertMaps(self.x, self.y, cv2.CV_16SC2)

    @cached_property
    def nearest(self) -> Array:
        """The nearest pixel, int16 [H, W, 2]; clear of the source where there is none."""
        x, y = (np.clip(axis, 0, side - 1) for axis, side in zip((self.x, self.y), self.source_size[::-1], strict=True))
        if self.valid is not None:
            np.copyto(x, -REACH, where=~self.valid)
        return cv2.convertMaps(x, y, cv2.CV_16SC2, nninterpolation=True)[0]

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


def bounded(float_map: FloatMap, source_size: Size, in_place: bool = False) -> FloatMap:
    """A map whose values end REACH pixels outside the source, also where they were NaN; so they fit into 16 bits and a little memory."""
    x, y = float_map if in_place else (float_map[0].copy(), float_map[1].copy())
    for axis, side in zip((x, y), source_size[::-1], strict=True):
        np.clip(axis, -REACH, side - 1 + REACH, out=axis)
        cv2.patchNaNs(axis, -REACH)
    return x, y


def make_warp_map(float_map: FloatMap, source_size: Size, occluded: Array | None = None) -> WarpMap:
    """The warp of a map into a picture of ``source_size``. ``occluded``: bool [H, W]; with it the map is bounded already.

    Raises ImageError when the map reaches no pixel of it.
    """
    (x, y), (height, width) = bounded(float_map, source_size) if occluded is None else float_map, source_size
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    if not inside.any():
        raise ImageError(
            f"by this registration the views of the two cameras ({x.shape[1]}x{x.shape[0]} and {width}x{height}) do not overlap; "
            "check registration.homography (it maps rgb pixels to thermal pixels), or the cameras' pose, and the sizes it was found at"
        )
    valid = None if inside.all() else inside
    weight = None if valid is None else _feather(valid, coarse=occluded is not None)
    if occluded is not None and occluded.any():
        seen = cv2.boxFilter((~occluded).view(np.uint8), cv2.CV_32F, (3, 3))
        weight = np.asarray(seen if weight is None else cv2.multiply(weight, seen, dst=weight), np.float32)
        valid = inside & ~occluded
    return WarpMap(x, y, valid, weight, source_size)


def _feather(inside: Array, coarse: bool) -> Plane:
    """0 outside and a smooth step to 1 over FEATHER inside; the picture's own border is no edge. bool [H, W] to float32.

    ``coarse``: large pictures at half the size, in a fifth of the time, for maps that change with each frame. Distances then err by up to
    a pixel and a half, and the weight by up to 0.1.

    The last bits of OpenCV's distances depend on the number of threads; their squares are whole numbers, so rounding these makes
    the same of both.
    """
    height, width = inside.shape
    reach = FEATHER * min(height, width)
    mask, step = inside.view(np.uint8), 2 if coarse and reach >= MIN_COARSE else 1
    if step > 1:  # a square is outside where one of its pixels is
        mask = np.ascontiguousarray(cv2.erode(mask, np.ones((step, step), np.uint8), anchor=(0, 0))[::step, ::step])
    distance = np.minimum(cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32((reach + 2.0) / step))
    distance = np.sqrt(np.rint(distance * distance)) * np.float32(step)
    ramp = np.clip((distance - 1.0) / reach, 0.0, 1.0)  # the last pixel inside, at distance 1, has 0 already
    ramp = np.asarray(ramp * ramp * (3.0 - 2.0 * ramp), np.float32)
    if step > 1:
        ramp = np.ascontiguousarray(cv2.resize(ramp, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)[:height, :width])
        np.copyto(ramp, 0.0, where=~inside)
    return ramp
