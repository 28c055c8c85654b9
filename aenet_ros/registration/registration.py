"""Registration: lays the thermal frame onto the rgb frame's pixel grid, or that grid scaled; and the rgb frame onto the thermal frame's.

Pixels are integer coordinates (x to the right, y down) with the first pixel's centre at 0, so an image of width W
covers -0.5 to W - 0.5. A map gives, for each rgb pixel, the thermal pixel that sees the same thing.
"""

from collections import OrderedDict
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np

from aenet_ros.config import RegistrationConfig
from aenet_ros.core.errors import ConfigError, ImageError
from aenet_ros.core.frames import Array, Frame, Plane
from aenet_ros.registration.calibration_file import (
    Camera,
    Homography,
    Size,
    Stereo,
    read_homography,
    read_stereo,
    same_camera,
    size_of,
)
from aenet_ros.registration.depth import depth_from_thermal, depth_map, metres
from aenet_ros.registration.maps import FloatMap, StereoRays, homography_map, identity_map, scaling
from aenet_ros.registration.warp import Grid, make_warp_map, scaled

Kept = TypeVar("Kept")
NOBODY = Stereo(None, None, np.eye(3), np.zeros(3))
CACHED_SIZES = 4  # pairs of sizes whose maps are kept; a 1920x1080 one takes 29 MB


class Registration:
    """Warps thermal planes to the rgb grid; maps are computed once for each pair of sizes. Not for several threads at once,
    but for ``set_intrinsics`` and ``set_extrinsics``.

    Where a method takes ``size``, that is the size of the result: the rgb grid, scaled edge to edge; None: the rgb frame's own.
    Raises ConfigError for a homography that is singular or a file that cannot be read, at construction.
    """

    def __init__(self, config: RegistrationConfig | None = None) -> None:
        self._config = config or RegistrationConfig()
        self._identity = self._config.mode == "identity"
        self._homography = Homography(np.eye(3))
        if self._config.mode == "homography":
            self._homography = read_homography(self._config)
        # Replaced as one, for other threads may offer; the number tells maps of another state.
        self._known = (0, read_stereo(self._config)) if self.by_lenses else (0, NOBODY)
        self._calibrated = [role for role in ("thermal", "rgb") if getattr(self._known[1], role) is not None]
        self._rays: OrderedDict[object, StereoRays] = OrderedDict()
        self._depth_grid: tuple[tuple[Size, Size, Size], Grid] | None = None
        self.fallback = ""  # in mode depth, why the plane stands in for the depth image
        self._grids: OrderedDict[object, Grid] = OrderedDict()
        self._scalings: OrderedDict[object, Plane] = OrderedDict()

    @property
    def config(self) -> RegistrationConfig:
        """The configuration in force. A new one may differ in ``plane_distance_m``, which the next frame's maps follow, and ``save_to``."""
        return self._config

    @config.setter
    def config(self, config: RegistrationConfig) -> None:
        if replace(config, plane_distance_m=self._config.plane_distance_m, save_to=self._config.save_to) != self._config:
            raise ConfigError("of registration only plane_distance_m can change in a running pipeline; make a new one for the rest")
        self._config = config

    @property
    def by_lenses(self) -> bool:
        """Whether it knows both cameras and their pose: modes plane and depth."""
        return self._config.mode in ("plane", "depth")

    @property
    def posed(self) -> bool:
        """Whether the cameras' pose is known."""
        return self._known[1].posed

    @property
    def state(self) -> tuple[int, float]:
        """Another one whenever maps are: by the cameras, their pose or the plane's distance."""
        return self._known[0], self._config.plane_distance_m

    def wants(self, role: str) -> bool:
        """Whether a camera (``thermal`` or ``rgb``) is to come from its driver: in modes plane and depth, where the file has none."""
        return self.by_lenses and role not in self._calibrated

    def set_intrinsics(self, role: str, camera: Camera | None) -> None:
        """A camera (``thermal`` or ``rgb``) as its driver describes it, for modes plane and depth; ``registration.file`` goes before it.

        Where the driver changes its mind, the next frame's maps follow.
        """
        count, stereo = self._known
        if self.wants(role) and camera is not None and not same_camera(camera, getattr(stereo, role)):
            self._known = (count + 1, stereo._replace(rgb=camera) if role == "rgb" else stereo._replace(thermal=camera))

    def set_extrinsics(self, rotation: Array, translation: Array) -> None:
        """Where the cameras stand by another source, which goes before ``registration.file``: the next frame's maps follow it."""
        count, stereo = self._known
        same = stereo.posed and np.array_equal(stereo.rotation, rotation) and np.array_equal(stereo.translation, translation)
        if self.by_lenses and not same:
            self._known = (count + 1, stereo._replace(rotation=rotation, translation=translation, posed=True))

    def take_depth(self, depth: Frame | None, thermal_size: Size, rgb_size: Size, size: Size | None = None, onto: str = "rgb") -> None:
        """The depth image (aligned to the rgb frame) of the pair that comes next, in mode depth; None, or a bad one, leaves the plane.

        ``onto``: the grid (rgb or thermal) that the pair will be brought to. ``fallback`` then says so. Raises ImageError where a camera
        or the pose is not known.
        """
        if self._config.mode != "depth":
            return
        self._depth_grid, plane_m = None, self._config.plane_distance_m
        if depth is None:
            self.fallback = f"no depth image for this pair: all is taken to be {plane_m:g} m away"
            return
        size = size or rgb_size
        try:
            distances = metres(depth, size)
        except ImageError as error:
            self.fallback = str(error)
            return
        known = bool(np.isfinite(distances).any())
        self.fallback = "" if known else f"the depth image is empty: all is taken to be {plane_m:g} m away"
        if not known:
            return
        rays = self._sight(thermal_size, size)
        if onto == "rgb":
            source_size = thermal_size
            float_map, hidden = depth_map(rays, distances, plane_m, thermal_size)
        else:
            source_size, back = size, self._sight(size, thermal_size, inverse=True)
            away = depth_from_thermal(rays, distances, thermal_size)
            float_map, hidden = depth_map(back, away, back.depth_of_plane(plane_m), size)
        try:
            self._depth_grid = ((thermal_size, rgb_size, size), make_warp_map(float_map, source_size, hidden))
        except ImageError:  # as with something right before the depth camera's lens
            self.fallback = f"by the depth image nothing is in view of both cameras: all is taken to be {plane_m:g} m away"

    def warp(self, plane: Plane, rgb_size: Size, size: Size | None = None) -> Plane:
        """The plane, float32 (or uint8) [H, W], on the rgb grid, by bilinear interpolation.

        Beyond the thermal view it continues the edge's values, which ``weight`` masks. The result is ``plane``
        itself where nothing has to move. Raises ImageError when the two views do not overlap.
        """
        if self._identity:
            return scaled(plane, size or rgb_size)
        return self._grid(size_of(plane), rgb_size, size).bring(plane)

    def sampling(self, thermal_size: Size, rgb_size: Size, size: Size | None = None) -> Plane | None:
        """What ``warp`` does, for whoever does it elsewhere: see ThermalInput; None where nothing has to move.

        But for a frame that shrinks in mode identity (``shrinks``), where ``warp`` takes means. Raises ImageError as ``warp``.
        """
        size = size or rgb_size
        if not self._identity:
            return self._grid(thermal_size, rgb_size, size).sampling
        if thermal_size == size:
            return None
        key = (thermal_size, size)
        if key not in self._scalings:
            _keep(self._scalings, key, np.stack(identity_map(thermal_size, size), axis=-1), CACHED_SIZES)
        return self._scalings[key]

    def shrinks(self, thermal_size: Size, size: Size) -> bool:
        """Whether ``warp`` to ``size`` takes means of pixels, and does not sample them."""
        return self._identity and thermal_size[0] > size[0] and thermal_size[1] > size[1]

    def warp_counts(self, data: Array, rgb_size: Size, size: Size | None = None) -> Array:
        """Untouched counts, uint8, uint16 or float32 [H, W], on the rgb grid: each from the nearest thermal pixel.

        Outside the thermal view 0, or NaN in float32. Raises ImageError when the two views do not overlap.
        """
        if self._identity:
            if size_of(data) == (size or rgb_size):
                return data
            return cv2.resize(data, (size or rgb_size)[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        return self._grid(size_of(data), rgb_size, size).bring_counts(data)

    def weight(self, thermal_size: Size, rgb_size: Size, size: Size | None = None) -> Plane | None:
        """Share of the thermal frame in each rgb pixel, float32 [H, W] in 0..1, or None where it is 1 everywhere.

        0 outside the thermal view, 1 well inside, with a smooth step over FEATHER inside its edge, so that no seam
        shows. Raises ImageError when the two views do not overlap.
        """
        return None if self._identity else self._grid(thermal_size, rgb_size, size).weight

    def back(self, thermal_size: Size, rgb_size: Size, size: Size | None = None) -> Grid | None:
        """What brings an rgb frame, scaled to ``size``, onto the thermal grid; None in mode identity, where scaling does."""
        return None if self._identity else self._grid(thermal_size, rgb_size, size, onto="thermal")

    def map(self, thermal_size: Size, rgb_size: Size) -> FloatMap:
        """Thermal x and y of every rgb pixel, float32 [H, W] each; NaN where there is none (beyond a lens, behind a camera)."""
        return self._make_map(thermal_size, rgb_size, rgb_size)

    def _make_map(self, thermal_size: Size, rgb_size: Size, size: Size, onto: str = "rgb") -> FloatMap:
        """Thermal x and y of every pixel of the rgb grid scaled to ``size``; ``onto`` thermal: x and y there of every thermal pixel."""
        mode, distance = self._config.mode, self._config.plane_distance_m
        if mode == "identity":
            return identity_map(thermal_size, size)
        if mode == "homography":
            found = self._homography
            matrix = found.matrix @ scaling(size, found.rgb_size or rgb_size)
            if onto == "rgb":
                return homography_map(Homography(matrix, found.thermal_size), thermal_size, size)
            return homography_map(Homography(np.linalg.inv(matrix), rgb_size=found.thermal_size), size, thermal_size)
        if onto == "rgb":
            return self._sight(thermal_size, size).map(distance)
        back = self._sight(size, thermal_size, inverse=True)
        return back.map(back.depth_of_plane(distance))

    def _sight(self, to_size: Size, from_size: Size, inverse: bool = False) -> StereoRays:
        """The sight lines of the rgb grid at ``from_size``; or (inverse) of the thermal grid, to the rgb grid at ``to_size``."""
        count, stereo = self._known
        key = (to_size, from_size, inverse, count)
        rays = self._rays.get(key)  # held, for another thread's may push it out
        if rays is None:
            if not stereo.posed:
                raise ImageError("the cameras' pose is not known: TF has not told it yet, and registration.file has no thermal_from_rgb")
            if stereo.rgb is None or stereo.thermal is None:
                role = "rgb" if stereo.rgb is None else "thermal"
                raise ImageError(
                    f"registration.mode {self._config.mode} needs the {role} camera's intrinsics, and neither '{self._config.file}' "
                    f"({role}_camera) nor {role}/camera_info has given them: calibrate it (`aenet calibrate --target`)"
                )
            seen = stereo.inverse() if inverse else stereo
            assert seen.rgb is not None
            assert seen.thermal is not None
            rays = StereoRays(seen.rgb, seen.thermal, seen, to_size, from_size)
            _keep(self._rays, key, rays, 2)
        return rays

    def _grid(self, thermal_size: Size, rgb_size: Size, size: Size | None, onto: str = "rgb") -> Grid:
        size = size or rgb_size
        if self._depth_grid is not None and self._depth_grid[0] == (thermal_size, rgb_size, size):
            return self._depth_grid[1]
        key = (thermal_size, rgb_size, size, onto, self._config.plane_distance_m, self._known[0])
        if key not in self._grids:
            float_map = self._make_map(thermal_size, rgb_size, size, onto)
            _keep(self._grids, key, make_warp_map(float_map, thermal_size if onto == "rgb" else size), CACHED_SIZES)
        self._grids.move_to_end(key)
        return self._grids[key]


def _keep(cache: "OrderedDict[object, Kept]", key: object, value: Kept, most: int) -> None:
    cache[key] = value
    if len(cache) > most:
        cache.popitem(last=False)
