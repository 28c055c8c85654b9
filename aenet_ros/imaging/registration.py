"""Registration: lays the thermal frame onto the rgb frame's pixel grid.

Pixels are integer coordinates (x to the right, y down) with the first pixel's centre at 0, so an image of width W
covers -0.5 to W - 0.5. A map gives, for each rgb pixel, the thermal pixel that sees the same thing.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import yaml

from aenet_ros.config import RegistrationConfig
from aenet_ros.errors import ConfigError, ImageError
from aenet_ros.frames import Array, Plane

Size = tuple[int, int]  # height, width
FloatMap = tuple[Plane, Plane]  # thermal x and thermal y of every rgb pixel, float32 [H, W]; NaN where there is none

FEATHER = 0.05  # of the rgb frame's shorter side: over so many pixels the thermal share falls to 0 at the edge of its view
CACHED_SIZES = 4  # pairs of sizes whose maps are kept; a 1920x1080 one takes 29 MB
SINGULAR = 1e12  # condition number over which a homography cannot be told from a singular one


class Homography(NamedTuple):
    """A 3x3 float64 matrix from rgb pixels to thermal pixels and, where known, the frames' sizes it was found at."""

    matrix: Array
    thermal_size: Size | None = None
    rgb_size: Size | None = None


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
        self.config = config or RegistrationConfig()
        self._make_map: Callable[[Size, Size], FloatMap] = identity_map
        self._identity = self.config.mode == "identity"
        if not self._identity:
            self._make_map = partial(homography_map, read_homography(self.config))
        self._grids: OrderedDict[tuple[Size, Size], Grid] = OrderedDict()

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
        """Thermal x and y of every rgb pixel, float32 [H, W] each; NaN where a homography has no finite point."""
        return self._make_map(thermal_size, rgb_size)

    def _grid(self, thermal_size: Size, rgb_size: Size) -> Grid:
        key = (thermal_size, rgb_size)
        grid = self._grids.get(key)
        if grid is None:
            grid = make_grid(self._make_map(thermal_size, rgb_size), thermal_size)
            self._grids[key] = grid
            if len(self._grids) > CACHED_SIZES:
                self._grids.popitem(last=False)
        self._grids.move_to_end(key)
        return grid


def size_of(data: Array) -> Size:
    """Height and width."""
    return int(data.shape[0]), int(data.shape[1])


def identity_map(thermal_size: Size, rgb_size: Size) -> FloatMap:
    """The map that scales the thermal frame to the rgb frame, edge to edge."""
    return homography_map(Homography(np.eye(3), rgb_size, rgb_size), thermal_size, rgb_size)


def homography_map(homography: Homography, thermal_size: Size, rgb_size: Size) -> FloatMap:
    """The map of a homography, scaled to the frames' sizes where it was found at others (and these are known)."""
    matrix = homography.matrix
    if homography.rgb_size:
        matrix = matrix @ scaling(rgb_size, homography.rgb_size)
    if homography.thermal_size:
        matrix = scaling(homography.thermal_size, thermal_size) @ matrix
    height, width = rgb_size
    x, y = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)[:, None]
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
    # A homography's sign is free; it is taken such that the picture's centre lies in front of the camera.
    in_front = w * np.copysign(1.0, w[height // 2, width // 2]) > 1e-9
    with np.errstate(divide="ignore"):
        inverse = np.where(in_front, 1.0 / w, np.nan)
    return (u * inverse).astype(np.float32), (v * inverse).astype(np.float32)


def scaling(source: Size, target: Size) -> Array:
    """The 3x3 matrix from pixels of an image of one size to those of the same image at another, edge to edge."""
    y, x = target[0] / source[0], target[1] / source[1]
    return np.array([[x, 0.0, (x - 1.0) / 2.0], [0.0, y, (y - 1.0) / 2.0], [0.0, 0.0, 1.0]])


def make_grid(float_map: FloatMap, thermal_size: Size) -> Grid:
    """Fixed-point maps and the weight of a map. Raises ImageError when it reaches no thermal pixel."""
    x, y = float_map
    height, width = thermal_size
    with np.errstate(invalid="ignore"):
        inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    if not inside.any():
        rgb_height, rgb_width = x.shape
        raise ImageError(
            f"no rgb pixel ({rgb_width}x{rgb_height}) lies in the thermal view ({width}x{height}) by this registration; "
            "check registration.homography (it maps rgb pixels to thermal pixels) and the sizes it was found at"
        )
    far = np.float32(-16.0)  # clear of the frame, and within the 16 bits of a fixed-point map
    axes = ((x, width), (y, height))
    linear = [np.clip(np.where(np.isnan(axis), far, axis), far, np.float32(side + 16)) for axis, side in axes]
    nearest = [np.where(inside, np.clip(axis, 0, side - 1), far) for axis, side in axes]
    return Grid(
        linear=cv2.convertMaps(linear[0], linear[1], cv2.CV_16SC2),
        nearest=cv2.convertMaps(nearest[0], nearest[1], cv2.CV_16SC2, nninterpolation=True)[0],
        weight=None if inside.all() else feather(inside),
    )


def feather(inside: Array) -> Plane:
    """0 outside and a smooth step to 1 over FEATHER inside; the picture's own border is no edge. bool [H, W] to float32."""
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ramp = np.clip((distance - 1.0) / (FEATHER * min(inside.shape)), 0.0, 1.0)  # the last pixel inside, at distance 1, has 0 already
    step: Plane = (ramp * ramp * (3.0 - 2.0 * ramp)).astype(np.float32)
    return step


def read_homography(config: RegistrationConfig) -> Homography:
    """The matrix of ``config.file``, else ``config.homography``. Raises ConfigError, naming the file and the fault."""
    if not config.file:
        return Homography(check_matrix(config.homography, "registration.homography"))
    path = Path(config.file).expanduser()
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"registration.file: {path}: {error.strerror or error}; give the path of a calibration") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"registration.file: {path} is not YAML ({error}); write it anew with `aenet calibrate`") from error
    if not isinstance(content, dict) or "homography" not in content:
        raise ConfigError(f"registration.file: {path} has no key homography; give 3 rows of 3 numbers that map rgb to thermal pixels")
    return Homography(
        check_matrix(content["homography"], f"{path}: homography"),
        _read_size(content, "thermal_size", path),
        _read_size(content, "rgb_size", path),
    )


def check_matrix(values: Any, name: str) -> Array:
    """Nine numbers, flat or in rows, as an invertible 3x3 float64 matrix, or ConfigError."""
    try:
        matrix = np.asarray(values, dtype=np.float64)
        if matrix.size != 9 or not np.isfinite(matrix).all():
            raise ValueError(f"{matrix.size} numbers")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {values!r} is not 3x3 finite numbers") from error
    matrix = matrix.reshape(3, 3)
    if not np.linalg.cond(matrix) < SINGULAR:
        raise ConfigError(f"{name}: {matrix.tolist()} is singular, so it maps the picture onto a line; calibrate again")
    return matrix


def _read_size(content: dict[str, Any], key: str, path: Path) -> Size | None:
    if key not in content:
        return None
    value = content[key]
    if not isinstance(value, list) or len(value) != 2 or not all(type(side) is int and side > 0 for side in value):
        raise ConfigError(f"registration.file: {path}: {key} is {value!r}; give [width, height] in pixels")
    return value[1], value[0]
