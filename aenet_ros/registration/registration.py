"""The map from rgb pixels to thermal pixels, by ``registration.mode``, and its inverse; made for use and cached.

Pixels are integer coordinates (x to the right, y down) with the first pixel's centre at 0, so an image of width W
covers -0.5 to W - 0.5. ``target`` is the grid that a frame is warped to: ``rgb`` (the thermal frame is warped) or ``thermal``.
"""

import threading
from functools import lru_cache

import numpy as np

from aenet_ros.config import RegistrationConfig
from aenet_ros.core.camera import Camera, Size, Stereo, same_camera
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Frame
from aenet_ros.registration.calibration_file import Homography, read_homography, read_stereo
from aenet_ros.registration.depth import depth_from_thermal, depth_map, metres
from aenet_ros.registration.warp_maps import FloatMap, StereoRays, WarpMap, homography_map, identity_map, make_warp_map

CACHED_MAPS = 4  # a 1920x1080 one takes 40 MB


class Registration:
    """Both cameras and their pose, or a homography, and the maps that follow. Thread-safe.

    ``size`` in the methods is that of the rgb grid, scaled edge to edge from the rgb frame's ``rgb_size``.
    Raises ConfigError for a homography that is singular or a file that cannot be read, at construction.
    """

    def __init__(self, config: RegistrationConfig | None = None) -> None:
        config = config or RegistrationConfig()
        self.mode, self.plane_distance_m, self._file = config.mode, config.plane_distance_m, config.file
        self._homography = read_homography(config) if self.mode == "homography" else Homography(np.eye(3))
        stereo = read_stereo(config) if self.uses_stereo else Stereo(None, None, np.eye(3), np.zeros(3))
        self._from_file = {role for role in ("thermal", "rgb") if getattr(stereo, role) is not None}
        self._lock = threading.Lock()
        self._known = (0, stereo)  # replaced as one; the number is another one after each change
        self._cached_rays = lru_cache(2)(self._make_rays)
        self._cached_warp = lru_cache(CACHED_MAPS)(self._make_warp)

    def clear(self) -> None:
        """Free the cached maps, which Python would keep until its next garbage collection."""
        self._cached_rays.cache_clear()
        self._cached_warp.cache_clear()

    @property
    def uses_stereo(self) -> bool:
        """Whether it needs both cameras and their pose: modes plane and depth."""
        return self.mode in ("plane", "depth")

    @property
    def has_pose(self) -> bool:
        """Whether the cameras' pose is known."""
        return self._known[1].has_pose

    @property
    def pose(self) -> tuple[Array, Array] | None:
        """Rotation and translation as of ``Stereo``; None where they are not used or not known."""
        stereo = self._known[1]
        return (stereo.rotation, stereo.translation) if self.uses_stereo and stereo.has_pose else None

    @property
    def version(self) -> int:
        """Another number after each change of a camera or the pose."""
        return self._known[0]

    def needs_intrinsics(self, role: str) -> bool:
        """Whether a camera (``thermal`` or ``rgb``) must come from its driver: in modes plane and depth, where the file has none."""
        return self.uses_stereo and role not in self._from_file

    def set_intrinsics(self, role: str, camera: Camera | None) -> None:
        """Set a camera (``thermal`` or ``rgb``) as its driver describes it; ignored where ``needs_intrinsics`` is False."""
        with self._lock:
            count, stereo = self._known
            if self.needs_intrinsics(role) and camera is not None and not same_camera(camera, getattr(stereo, role)):
                self._known = (count + 1, stereo._replace(rgb=camera) if role == "rgb" else stereo._replace(thermal=camera))

    def set_extrinsics(self, rotation: Array, translation: Array) -> None:
        """Set the pose (see ``Stereo``) in place of that of ``registration.file``; ignored but in modes plane and depth.

        A change below 1e-4 rad and 1e-4 m (a tenth of a pixel for a lens of 1000 pixels) is ignored: the noise of a joint that stands still
        must not cost new maps for each frame.
        """
        with self._lock:
            count, stereo = self._known
            close = np.allclose(stereo.rotation, rotation, 0.0, 1e-4) and np.allclose(stereo.translation, translation, 0.0, 1e-4)
            if self.uses_stereo and not (stereo.has_pose and close):
                self._known = (count + 1, stereo._replace(rotation=rotation, translation=translation, has_pose=True))

    def map(self, thermal_size: Size, rgb_size: Size, plane_distance_m: float | None = None) -> FloatMap:
        """Thermal x and y of every rgb pixel, float32 [H, W] each; NaN where there is none (beyond a lens, behind a camera).

        ``plane_distance_m`` None: the value at construction. Raises ImageError where a camera or the pose is not known.
        """
        distance_m = self.plane_distance_m if plane_distance_m is None else plane_distance_m
        return self.make_map(thermal_size, rgb_size, rgb_size, "rgb", distance_m)

    def make_map(self, thermal_size: Size, rgb_size: Size, size: Size, target: str, plane_distance_m: float) -> FloatMap:
        """``map`` for the rgb grid at ``size``; for ``target`` thermal: x and y there of every thermal pixel."""
        if self.mode == "identity":
            return identity_map(thermal_size, size)
        if self.mode == "homography":
            found = self._homography
            matrix = found._replace(rgb_size=found.rgb_size or rgb_size).scaled_to(thermal_size, size)
            return homography_map(matrix, size) if target == "rgb" else homography_map(np.linalg.inv(matrix), thermal_size)
        rays = self._rays(thermal_size, size, target)
        return rays.map(plane_distance_m if target == "rgb" else rays.depth_of_plane(plane_distance_m))

    def warp(self, thermal_size: Size, rgb_size: Size, size: Size, target: str, plane_distance_m: float) -> WarpMap | None:
        """What warps a frame to ``target``; None in mode identity, where scaling does it.

        Raises ImageError where the two views do not overlap, or a camera or the pose is not known.
        """
        if self.mode == "identity":
            return None
        return self._cached_warp(self.version, thermal_size, rgb_size, size, target, plane_distance_m)

    def depth_warp(
        self, depth: Frame | None, thermal_size: Size, rgb_size: Size, size: Size, target: str, plane_distance_m: float
    ) -> tuple[WarpMap | None, str]:
        """``warp`` by a depth image that is aligned to the rgb frame; or None, and why the plane must be used.

        Raises ImageError where a camera or the pose is not known.
        """
        plane = f"all is taken to be {plane_distance_m:g} m away"
        if depth is None:
            return None, f"no depth image for this pair: {plane}"
        try:
            distances = metres(depth, size)
        except ImageError as error:
            return None, str(error)
        if not np.isfinite(distances).any():
            return None, f"the depth image is empty: {plane}"
        rays = self._rays(thermal_size, size, "rgb")
        if target == "rgb":
            source_size = thermal_size
            float_map, occluded = depth_map(rays, distances, plane_distance_m, thermal_size)
        else:
            source_size, inverse = size, self._rays(thermal_size, size, "thermal")
            from_thermal = depth_from_thermal(rays, distances, thermal_size)
            float_map, occluded = depth_map(inverse, from_thermal, inverse.depth_of_plane(plane_distance_m), size)
        try:
            return make_warp_map(float_map, source_size, occluded), ""
        except ImageError:  # as with something right before the depth camera's lens
            return None, f"by the depth image nothing is in view of both cameras: {plane}"

    def point(self, thermal_size: Size, size: Size, pixel: tuple[int, int], distance_m: float) -> tuple[float, ...]:
        """x, y, z in metres in the thermal camera's frame of what a pixel (x, y) of the rgb grid shows, ``distance_m`` ahead of it.

        NaN where the lens has no direction. For modes plane and depth; raises ImageError where a camera or the pose is not known.
        """
        return self._rays(thermal_size, size, "rgb").point(pixel, distance_m)

    def _rays(self, thermal_size: Size, size: Size, target: str) -> StereoRays:
        """Rays of the rgb grid at ``size``, for thermal pixels; ``target`` thermal: of the thermal grid, for rgb pixels."""
        return self._cached_rays(self.version, thermal_size, size, target)

    # ``version`` is there for the caches only: maps of an earlier pose or camera are not found again.

    def _make_rays(self, version: int, thermal_size: Size, size: Size, target: str) -> StereoRays:
        stereo = self._known[1]
        if not stereo.has_pose:
            raise ImageError("the cameras' pose is not known: TF has not told it yet, and registration.file has no thermal_from_rgb")
        for role in ("rgb", "thermal"):
            if getattr(stereo, role) is None:
                raise ImageError(
                    f"registration.mode {self.mode} needs the {role} camera's intrinsics, and neither '{self._file}' "
                    f"({role}_camera) nor {role}/camera_info has given them: calibrate it (`aenet calibrate --target`)"
                )
        return StereoRays(stereo, thermal_size, size) if target == "rgb" else StereoRays(stereo.inverse(), size, thermal_size)

    def _make_warp(self, version: int, thermal_size: Size, rgb_size: Size, size: Size, target: str, plane_distance_m: float) -> WarpMap:
        float_map = self.make_map(thermal_size, rgb_size, size, target, plane_distance_m)
        return make_warp_map(float_map, thermal_size if target == "rgb" else size)
