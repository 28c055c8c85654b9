"""The grid of the fused picture: the rgb camera's pixels, these scaled, or the thermal camera's; and the warps of both frames onto it."""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2

from aenet_ros.config import OutputConfig
from aenet_ros.core.camera import Size, size_of
from aenet_ros.core.frames import Array, Frame, Plane, RgbPlacement, blend_grey, scale_picture
from aenet_ros.core.valid import visible_share, without_values
from aenet_ros.registration.registration import Registration
from aenet_ros.registration.warp_maps import FloatMap, WarpMap, typical_step

SAME_SHAPE = 1.03  # stretch that nobody sees
MOST_STRETCH = 1.5  # more than 5:4 on 16:9; a portrait frame on a landscape one of 4:3 has 1.8


@dataclass(frozen=True, eq=False)
class GridWarps:
    """How the two frames of one pair are warped onto the output grid.

    ``role``: the camera whose pixels, frame_id and camera_info the picture has (``rgb``, scaled or not, or ``thermal``).
    ``size``: height and width of the picture. ``fallback``: mode depth only, why the plane is used in place of the depth image; else empty.
    ``weight``: share of the thermal camera in each pixel, float32 [H, W] 0..1; None: 1 everywhere. It is 0 outside the thermal view and
    where the thermal frame holds no value, 1 well inside, with a smooth step inside the edge. The same object while nothing changes.
    """

    role: str
    size: Size
    fallback: str
    _thermal_size: Size
    _warp: WarpMap | None  # from the thermal frame (role rgb) or from the rgb frame at _rgb_size (role thermal); None: scaling suffices
    _rgb_size: Size
    weight: Plane | None
    _invalid: Array | None  # the thermal frame's pixels without a value

    @property
    def sampling(self) -> Plane | None:
        """Thermal x and y of each pixel, float32 [H, W, 2], for a device that warps by itself; None: scaling suffices."""
        return None if self._warp is None or self.role == "thermal" else self._warp.sampling

    def placement(self, rgb_size: Size) -> RgbPlacement | None:
        """The way of an rgb frame of this size, which ``rgb`` goes, for a device that goes it by itself; None where nothing moves."""
        if self.role == "rgb" or self._warp is None:
            return None if rgb_size == self.size else RgbPlacement(self.size)
        return RgbPlacement(self._rgb_size, self._warp.sampling, self._warp.weight)

    @property
    def maps(self) -> FloatMap | None:
        """Thermal x and thermal y of each pixel of the picture; None: the picture is the thermal frame, scaled edge to edge."""
        return (self._warp.x, self._warp.y) if self.role == "rgb" and self._warp is not None else None

    def thermal(self, plane: Plane) -> Plane:
        """A plane of the thermal camera, float32 or uint8 [h, w], on the grid by bilinear interpolation.

        Outside the thermal view the edge's values continue; ``weight`` masks them. The result is ``plane`` itself where nothing moves.
        """
        if self.role == "thermal":
            return plane
        return scale_picture(plane, self.size) if self._warp is None else self._warp.warp(plane)

    def counts(self, data: Array) -> Array:
        """Untouched counts, uint8, uint16 or float32 [h, w], on the grid, each from the nearest thermal pixel.

        Outside the thermal view, and where the frame holds no value, 0, or NaN in float32.
        """
        data = without_values(data, self._invalid)
        if self.role == "thermal":
            return data
        if self._warp is not None:
            return self._warp.warp_counts(data)
        return data if data.shape == self.size else cv2.resize(data, self.size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)

    def rgb(self, image: Array, brightness: Plane) -> Array:
        """The rgb frame, uint8 [H, W] or [H, W, 3], on the grid.

        On the thermal grid the thermal picture continues in grey outside the rgb view, without a seam: ``brightness`` is the thermal
        camera's whole plane, float32 [h, w] 0..1, black where it holds no value. On the rgb grid it is not used.
        """
        if self.role == "rgb" or self._warp is None:
            return scale_picture(image, self.size)
        warped = self._warp.warp(scale_picture(image, self._rgb_size))
        shown = brightness if self.weight is None else brightness * self.weight
        return warped if self._warp.weight is None else blend_grey(warped, shown, self._warp.weight)


class OutputGrid:
    """``output.grid`` on top of a registration. Sizes are (height, width) of the frames as they come. Not thread-safe.

    ``role``: ``rgb`` or ``thermal``, see ``GridWarps``. ``fallback``: that of the pair prepared last, for diagnostics.
    """

    def __init__(self, registration: Registration, config: OutputConfig | None = None) -> None:
        self._registration, self._config = registration, config or OutputConfig()
        self.role = "thermal" if self._config.grid == "thermal" else "rgb"
        self.fallback = ""
        self._cached_step = lru_cache(1)(self._rgb_step)
        self._last_weight: tuple[object, object, Size, Plane] | None = None  # what it was made of, and the weight

    def size(self, thermal_size: Size, rgb_size: Size) -> Size:
        """Height and width of the picture."""
        return thermal_size if self.role == "thermal" else self._scaled_size(rgb_size)

    def scale_rgb(self, image: Array) -> Array:
        """The rgb frame, uint8 [H, W] or [H, W, 3], on the rgb grid, which needs no registration."""
        return scale_picture(image, self._scaled_size(size_of(image)))

    def _scaled_size(self, rgb_size: Size) -> Size:
        if self._config.grid != "size":
            return rgb_size
        (height, width), wanted = rgb_size, self._config
        return wanted.height or max(1, round(wanted.width * height / width)), wanted.width or max(1, round(wanted.height * width / height))

    def prepare(
        self,
        thermal_size: Size,
        rgb_size: Size,
        plane_distance_m: float | None = None,
        depth: Frame | None = None,
        invalid: Array | None = None,
    ) -> GridWarps:
        """The warps of one pair, with the registration that is known now.

        ``invalid``: ``Frame.invalid`` of the thermal frame.
        ``plane_distance_m``: modes plane and depth; None: the value at construction. ``depth``: mode depth, the pair's depth image,
        aligned to the rgb frame; where it is None or unusable, the plane is used and ``fallback`` says why.
        Raises ImageError where the two views do not overlap, or a camera or the pose is not known.
        """
        size = sampled_size = self.size(thermal_size, rgb_size)
        if plane_distance_m is None:
            plane_distance_m = self._registration.plane_distance_m
        if self.role == "thermal":
            step = self._cached_step(self._registration.version, thermal_size, rgb_size, plane_distance_m)
            sampled_size = max(1, rgb_size[0] // step), max(1, rgb_size[1] // step)
        args = (thermal_size, rgb_size, sampled_size, self.role, plane_distance_m)
        warp, self.fallback = None, ""
        if self._registration.mode == "depth":
            warp, self.fallback = self._registration.depth_warp(depth, *args)
        if warp is None:
            warp = self._registration.warp(*args)
        weight = self._weight(visible_share(invalid), warp, size)
        return GridWarps(self.role, size, self.fallback, thermal_size, warp, sampled_size, weight, invalid)

    def _weight(self, share: Plane | None, warp: WarpMap | None, size: Size) -> Plane | None:
        """``share`` of the thermal frame's pixels on the grid, times the weight of ``warp``; an object of before where nothing changed."""
        if self.role == "thermal" or share is None:
            return share if self.role == "thermal" or warp is None else warp.weight
        last = self._last_weight
        if last is None or last[0] is not share or last[1] is not warp or last[2] != size:
            weight = scale_picture(share, size) if warp is None else warp.warp(share)
            if warp is not None and warp.weight is not None:
                weight = weight * warp.weight
            self._last_weight = last = (share, warp, size, weight)
        return last[3]

    def _rgb_step(self, version: int, thermal_size: Size, rgb_size: Size, plane_distance_m: float) -> int:
        """Divisor of the rgb frame's size at which a step on the thermal grid is less than two pixels, so nothing aliases.

        ``version`` of the registration: for the cache only.
        """
        thermal_x, thermal_y = self._registration.map(thermal_size, rgb_size, plane_distance_m)
        slope = math.sqrt(typical_step(thermal_x, 1) * typical_step(thermal_y, 0))  # thermal pixels that one rgb pixel covers
        return max(1, int(1 / max(slope, 1e-3))) if math.isfinite(slope) else 1


def stretch_text(thermal_size: Size, rgb_size: Size, least: float = SAME_SHAPE) -> str:
    """What mode identity does to the shapes of these frames, (height, width), and the remedy; "" for a stretch below ``least``.

    The stretch is that of one direction against the other, at least 1.
    """
    ratio = thermal_size[1] * rgb_size[0] / (thermal_size[0] * rgb_size[1])
    stretch = max(ratio, 1.0 / ratio)
    if stretch < least:
        return ""
    sizes = f"thermal {thermal_size[1]}x{thermal_size[0]} and rgb {rgb_size[1]}x{rgb_size[0]}"
    turned = " (one is portrait, the other landscape)" if (thermal_size[0] > thermal_size[1]) != (rgb_size[0] > rgb_size[1]) else ""
    return (
        f"{sizes} have different shapes{turned}, and registration.mode identity stretches the thermal frame by "
        f"{100 * (stretch - 1):.0f} %: calibrate (`aenet calibrate`), or crop the frames to one shape"
    )
