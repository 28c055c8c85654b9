"""A picture as a camera sees it that moves parallel to it: rendered once, so that a frame is only a window of it."""

import itertools
import math

import cv2
import numpy as np

from aenet_ros.core.frames import Array

Vector = tuple[float, float]

MEMORY_BYTES = 26_000_000  # for all renderings of one backdrop
COLUMNS = 2  # renderings a pixel along x; positions in between are interpolated
ROWS = (16, 8, 4, 2, 1)  # renderings a pixel along y: as many as fit into the memory; the nearest one is taken


class Backdrop:
    """The picture at many sub-pixel shifts.

    ``picture`` [H, W] or [H, W, C] in texels; ``pixel_to_texel`` float64 [3, 3], affine, for the camera at rest; ``size`` (height, width)
    of a frame; ``reach``: largest motion (x, y) of the camera in pixels; ``border``: OpenCV's border mode beyond the picture.
    """

    def __init__(
        self, picture: Array, pixel_to_texel: Array, size: tuple[int, int], reach: Vector, border: int = cv2.BORDER_REFLECT
    ) -> None:
        shrink = math.hypot(pixel_to_texel[0, 0], pixel_to_texel[1, 0])  # texels a pixel
        self._picture = cv2.GaussianBlur(picture, (0, 0), 0.4 * shrink) if shrink > 1.5 else picture  # else it would alias
        self._to_texel, self._frame, self._border = pixel_to_texel, size, border
        self._pad = math.ceil(reach[0]) + 1, math.ceil(reach[1]) + 1
        self._size = size[1] + 2 * self._pad[0], size[0] + 2 * self._pad[1]
        fitting = MEMORY_BYTES / (COLUMNS * self._size[0] * self._size[1] * picture[0, 0].nbytes)
        self._rows = next(count for count in ROWS if count == 1 or count <= fitting)
        self._rendered: dict[tuple[int, int], Array] = {}

    def prepare(self) -> None:
        """Render all shifts now, not when a frame needs them."""
        for x, y in itertools.product(range(COLUMNS), range(self._rows)):
            self._render(x, y)

    def view(self, motion: Vector, out: Array | None = None) -> Array:
        """The frame after the camera has moved by (x, y) pixels; in ``out`` where that is given."""
        step, right = divmod((motion[0] + self._pad[0]) * COLUMNS, 1.0)
        row = round((motion[1] + self._pad[1]) * self._rows)
        return cv2.addWeighted(self._window(int(step), row), 1.0 - right, self._window(int(step) + 1, row), right, 0.0, dst=out)

    def _window(self, column: int, row: int) -> Array:
        (left, x), (top, y) = divmod(column, COLUMNS), divmod(row, self._rows)
        height, width = self._frame
        return self._render(x, y)[top : top + height, left : left + width]

    def _render(self, x: int, y: int) -> Array:
        if (x, y) not in self._rendered:
            shift = np.array([[1, 0, x / COLUMNS - self._pad[0]], [0, 1, y / self._rows - self._pad[1]], [0, 0, 1]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            matrix = (self._to_texel @ shift)[:2]
            self._rendered[x, y] = cv2.warpAffine(self._picture, matrix, self._size, flags=flags, borderMode=self._border)
        return self._rendered[x, y]
