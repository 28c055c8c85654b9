"""Registration: lays the thermal frame onto the rgb frame's pixel grid.

Pixels are integer coordinates (x to the right, y down) with the first pixel's centre at 0, so an image of width W
covers -0.5 to W - 0.5. A map gives, for each rgb pixel, the thermal pixel that sees the same thing.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from aenet_ros.config import RegistrationConfig
from aenet_ros.errors import ConfigError, ImageError
from aenet_ros.frames import Array, Frame, Plane
from aenet_ros.imaging.calibration_file import Camera, Size, read_homography, read_stereo, size_of
from aenet_ros.imaging.depth import depth_map, metres
from aenet_ros.imaging.maps import FloatMap, StereoRays, homography_map, identity_map

FEATHER = 0.05  # of the rgb frame's shorter side: over so many pixels the thermal share falls to 0 at the edge of its view
CACHED_SIZES = 4  # pairs of sizes whose maps are kept; a 1920x1080 one takes 29 MB


@dataclass(frozen=True)
class Grid:
    """A map made ready for one pair of sizes."""

    linear: tuple[Array, Array]  # cv2.convertMaps: whole pixels and an index of the fraction in steps of 1/32
    nearest: Array
    weight: Plane | None


class Registration:
    """Warps thermal planes to the rgb grid; maps are computed once for each pair of sizes. Not for several threads at once.

    Raises ConfigError for a homography that is singular or a file that cannot be read, at construction.
    """

    def __init__(self, config: RegistrationConfig | None = None) -> None:
        self._config = config or RegistrationConfig()
        self._make_map: Callable[[Size, Size], FloatMap] = identity_map
        self._identity = self._config.mode == "identity"
        if self._config.mode == "homography":
            self._make_map = partial(homography_map, read_homography(self._config))
        elif self._config.mode in ("plane", "depth"):
            self._stereo = read_stereo(self._config)
            self._make_map = self._plane_map
        self._rays: tuple[tuple[Size, Size], StereoRays] | None = None
        self._depth_grid: tuple[tuple[Size, Size], Grid] | None = None
        self.fallback = ""  # in mode depth, why the plane stands in for the depth image
        self._grids: OrderedDict[tuple[Size, Size, float], Grid] = OrderedDict()

    @property
    def config(self) -> RegistrationConfig:
        """The configuration in force. A new one may differ in ``plane_distance_m``, which the next frame's maps follow, and ``save_to``."""
        return self._config

    @config.setter
    def config(self, config: RegistrationConfig) -> None:
        if replace(config, plane_distance_m=self._config.plane_distance_m, save_to=self._config.save_to) != self._config:
            raise ConfigError("of registration only plane_distance_m can change in a running pipeline; make a new one for the rest")
        self._config = config

    def offer_camera(self, role: str, camera: Camera | None) -> None:
        """A camera (``thermal`` or ``rgb``) as its driver describes it, for modes plane and depth; ``registration.file`` goes before it."""
        if self._config.mode not in ("plane", "depth") or camera is None or getattr(self._stereo, role) is not None:
            return
        self._stereo = self._stereo._replace(rgb=camera) if role == "rgb" else self._stereo._replace(thermal=camera)

    def take_depth(self, depth: Frame | None, thermal_size: Size, rgb_size: Size) -> None:
        """The depth image (aligned to the rgb frame) of the pair that comes next, in mode depth; None, or a bad one, leaves the plane.

        ``fallback`` then says so. Raises ImageError as ``warp`` does.
        """
        if self._config.mode != "depth":
            return
        self._depth_grid = None
        if depth is None:
            self.fallback = f"no depth image for this pair: all is taken to be {self._config.plane_distance_m:g} m away"
            return
        try:
            distances = metres(depth, rgb_size)
        except ImageError as error:
            self.fallback = str(error)
            return
        known = float(np.isfinite(distances).mean())
        self.fallback = "" if known else f"the depth image is empty: all is taken to be {self._config.plane_distance_m:g} m away"
        if known:
            float_map, hidden = depth_map(self._sight(thermal_size, rgb_size), distances, self._config.plane_distance_m, thermal_size)
            self._depth_grid = ((thermal_size, rgb_size), make_grid(float_map, thermal_size, hidden))

    def warp(self, plane: Plane, rgb_size: Size) -> Plane:
        """The plane, float32 (or uint8) [H, W], on the rgb grid, by bilinear interpolation.

        Beyond the thermal view it continues the edge's values, which ``weight`` masks. The result is ``plane``
        itself where nothing has to move. Raises ImageError when the two views do not overlap.
        """
        thermal_size = size_of(plane)
        if self._identity:
            if thermal_size == rgb_size:
                return plane
            shrinks = thermal_size[0] > rgb_size[0] and thermal_size[1] > rgb_size[1]
            scaled: Array = cv2.resize(plane, rgb_size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
            return scaled
        first, second = self._grid(thermal_size, rgb_size).linear
        warped: Array = cv2.remap(plane, first, second, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return warped

    def warp_counts(self, data: Array, rgb_size: Size) -> Array:
        """Untouched counts, uint8, uint16 or float32 [H, W], on the rgb grid: each from the nearest thermal pixel.

        Outside the thermal view 0, or NaN in float32. Raises ImageError when the two views do not overlap.
        """
        thermal_size = size_of(data)
        if self._identity:
            if thermal_size == rgb_size:
                return data
            return cv2.resize(data, rgb_size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        nothing = float("nan") if data.dtype.kind == "f" else 0.0
        pixels = self._grid(thermal_size, rgb_size).nearest
        no_fraction = np.empty((0, 0), np.uint16)
        return cv2.remap(data, pixels, no_fraction, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=nothing)

    def weight(self, thermal_size: Size, rgb_size: Size) -> Plane | None:
        """Share of the thermal frame in each rgb pixel, float32 [H, W] in 0..1, or None where it is 1 everywhere.

        0 outside the thermal view, 1 well inside, with a smooth step over FEATHER inside its edge, so that no seam
        shows. Raises ImageError when the two views do not overlap.
        """
        return None if self._identity else self._grid(thermal_size, rgb_size).weight

    def map(self, thermal_size: Size, rgb_size: Size) -> FloatMap:
        """Thermal x and y of every rgb pixel, float32 [H, W] each; NaN where there is none (beyond a lens, behind a camera)."""
        return self._make_map(thermal_size, rgb_size)

    def _plane_map(self, thermal_size: Size, rgb_size: Size) -> FloatMap:
        return self._sight(thermal_size, rgb_size).map(self._config.plane_distance_m)

    def _sight(self, thermal_size: Size, rgb_size: Size) -> StereoRays:
        key = (thermal_size, rgb_size)
        if self._rays is None or self._rays[0] != key:
            stereo = self._stereo
            if stereo.rgb is None or stereo.thermal is None:
                role = "rgb" if stereo.rgb is None else "thermal"
                raise ImageError(
                    f"registration.mode {self._config.mode} needs the {role} camera's intrinsics, and neither {self._config.file} "
                    f"({role}_camera) nor {role}/camera_info has given them: calibrate it (`aenet calibrate --target`)"
                )
            self._rays = (key, StereoRays(stereo.rgb, stereo.thermal, stereo, thermal_size, rgb_size))
        return self._rays[1]

    def _grid(self, thermal_size: Size, rgb_size: Size) -> Grid:
        if self._depth_grid is not None and self._depth_grid[0] == (thermal_size, rgb_size):
            return self._depth_grid[1]
        key = (thermal_size, rgb_size, self._config.plane_distance_m)
        grid = self._grids.get(key)
        if grid is None:
            grid = make_grid(self._make_map(thermal_size, rgb_size), thermal_size)
            self._grids[key] = grid
            if len(self._grids) > CACHED_SIZES:
                self._grids.popitem(last=False)
        self._grids.move_to_end(key)
        return grid


def make_grid(float_map: FloatMap, thermal_size: Size, hidden: Array | None = None) -> Grid:
    """Fixed-point maps and the weight of a map; ``hidden`` (bool [H, W]): rgb pixels of which the thermal camera sees nothing.

    Raises ImageError when the map reaches no thermal pixel.
    """
    x, y = float_map
    height, width = thermal_size
    with np.errstate(invalid="ignore"):
        inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    if not inside.any():
        rgb_height, rgb_width = x.shape
        raise ImageError(
            f"no rgb pixel ({rgb_width}x{rgb_height}) lies in the thermal view ({width}x{height}) by this registration; "
            "check registration.homography (it maps rgb pixels to thermal pixels), or the cameras' pose, and the sizes it was found at"
        )
    far = np.float32(-16.0)  # clear of the frame, and within the 16 bits of a fixed-point map
    axes = ((x, width), (y, height))
    linear = [np.clip(np.where(np.isnan(axis), far, axis), far, np.float32(side + 16)) for axis, side in axes]
    weight = None if inside.all() else feather(inside)
    if hidden is not None and hidden.any():
        seen = cv2.blur((~hidden).astype(np.float32), (3, 3))
        weight = np.asarray(seen if weight is None else weight * seen, np.float32)
        inside = inside & ~hidden
    nearest = [np.where(inside, np.clip(axis, 0, side - 1), far) for axis, side in axes]
    return Grid(
        linear=cv2.convertMaps(linear[0], linear[1], cv2.CV_16SC2),
        nearest=cv2.convertMaps(nearest[0], nearest[1], cv2.CV_16SC2, nninterpolation=True)[0],
        weight=weight,
    )


def feather(inside: Array) -> Plane:
    """0 outside and a smooth step to 1 over FEATHER inside; the picture's own border is no edge. bool [H, W] to float32."""
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ramp = np.clip((distance - 1.0) / (FEATHER * min(inside.shape)), 0.0, 1.0)  # the last pixel inside, at distance 1, has 0 already
    step: Plane = (ramp * ramp * (3.0 - 2.0 * ramp)).astype(np.float32)
    return step
