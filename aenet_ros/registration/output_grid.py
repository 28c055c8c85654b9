"""The grid that the fused picture is made on: the rgb camera's pixels, these scaled, or the thermal camera's; both frames brought there."""

import math

import cv2
import numpy as np

from aenet_ros.config import OutputConfig
from aenet_ros.core.frames import Array, Frame, Plane
from aenet_ros.registration.calibration_file import Size, size_of
from aenet_ros.registration.maps import typical_step
from aenet_ros.registration.registration import Registration
from aenet_ros.registration.warp import scaled


class OutputGrid:
    """``output.grid`` on top of a registration. Sizes given are those of the frames as they come; not for several threads at once.

    ``role`` is ``rgb`` or ``thermal``: the camera whose frame_id and camera_info hold for the picture (scaled, for grid size).
    """

    def __init__(self, registration: Registration, config: OutputConfig | None = None) -> None:
        config = config or OutputConfig()
        self._registration = registration
        self._kind, self._width, self._height = config.grid, config.width, config.height
        self.role = "thermal" if config.grid == "thermal" else "rgb"
        self._step: tuple[object, int] = (None, 1)

    def size(self, thermal_size: Size, rgb_size: Size) -> Size:
        """Height and width of the picture."""
        return thermal_size if self.role == "thermal" else self.of_rgb(rgb_size)

    def of_rgb(self, rgb_size: Size) -> Size:
        """Height and width of the rgb grid, scaled where ``output.grid`` is ``size``."""
        if self._kind != "size":
            return rgb_size
        height, width = rgb_size
        return self._height or max(1, round(self._width * height / width)), self._width or max(1, round(self._height * width / height))

    def take_depth(self, depth: Frame | None, thermal_size: Size, rgb_size: Size) -> None:
        """See ``Registration.take_depth``."""
        size = self._shrunk(thermal_size, rgb_size) if self.role == "thermal" else self.of_rgb(rgb_size)
        self._registration.take_depth(depth, thermal_size, rgb_size, size, self.role)

    def thermal(self, plane: Plane, rgb_size: Size) -> Plane:
        """A plane of the thermal camera, float32 [H, W], on the grid; see ``Registration.warp``."""
        return plane if self.role == "thermal" else self._registration.warp(plane, rgb_size, self.of_rgb(rgb_size))

    def sampled(self, thermal_size: Size, rgb_size: Size) -> bool:
        """Whether ``sampling`` brings a thermal plane to the grid, and nothing of it is needed for the rgb frame."""
        return self.role == "rgb" and not self._registration.shrinks(thermal_size, self.of_rgb(rgb_size))

    def sampling(self, thermal_size: Size, rgb_size: Size) -> Plane | None:
        """Where each pixel of the grid is taken from in the thermal frame; see ``Registration.sampling``. On the rgb grid only."""
        return self._registration.sampling(thermal_size, rgb_size, self.of_rgb(rgb_size))

    def counts(self, data: Array, rgb_size: Size) -> Array:
        """Untouched counts [H, W] on the grid; see ``Registration.warp_counts``."""
        return data if self.role == "thermal" else self._registration.warp_counts(data, rgb_size, self.of_rgb(rgb_size))

    def weight(self, thermal_size: Size, rgb_size: Size) -> Plane | None:
        """Share of the thermal camera in each pixel; see ``Registration.weight``."""
        return None if self.role == "thermal" else self._registration.weight(thermal_size, rgb_size, self.of_rgb(rgb_size))

    def rgb(self, image: Array, brightness: Plane) -> Array:
        """The rgb frame, uint8 [H, W] or [H, W, 3], on the grid.

        On the thermal grid, where the rgb camera does not look, the thermal picture goes on in grey, without a seam: ``brightness`` is
        the thermal camera's whole plane, float32 [H, W] 0..1.
        """
        if self.role == "rgb":
            return scaled(image, self.of_rgb(size_of(image)))
        thermal_size, rgb_size = size_of(brightness), size_of(image)
        small = self._shrunk(thermal_size, rgb_size)
        grid = self._registration.back(thermal_size, rgb_size, small)
        if grid is None:
            return scaled(image, thermal_size)
        brought = grid.bring(scaled(image, small))
        if grid.weight is None:
            return brought
        grey = cv2.convertScaleAbs(brightness, alpha=255.0)
        beyond = grey if image.ndim == 2 else cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
        return np.asarray(cv2.blendLinear(brought, beyond, grid.weight, 1 - grid.weight))

    def _shrunk(self, thermal_size: Size, rgb_size: Size) -> Size:
        """The rgb frame's size, by a whole factor, at which a step on the thermal grid is less than two of its pixels: a map skips."""
        key = (thermal_size, rgb_size, self._registration.state)
        if key != self._step[0]:
            thermal_x, thermal_y = self._registration.map(thermal_size, rgb_size)
            slope = math.sqrt(typical_step(thermal_x, 1) * typical_step(thermal_y, 0))  # thermal pixels that one rgb pixel covers
            self._step = key, max(1, int(1 / max(slope, 1e-3))) if math.isfinite(slope) else 1
        step = self._step[1]
        return max(1, rgb_size[0] // step), max(1, rgb_size[1] // step)
