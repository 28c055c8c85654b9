"""The data of the pipeline: frames, pairs of frames, thermal counts on their way to brightness, fused frames."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from aenet_ros.core.errors import ImageError
from aenet_ros.core.valid import filled, invalid_pixels

SEARCH_STEP = 8  # pixels between which a map is looked up at first
MOST_OFF = 2.0  # thermal pixels from the one looked for to the nearest one that the picture shows
Array = NDArray[Any]
Plane = NDArray[np.float32]


def require_array(name: str, value: object) -> None:
    """Raise ImageError unless ``value`` is a numpy array."""
    if value is None:
        raise ImageError(f"{name} is None: the file was not read; cv2.imread returns None for a path that does not exist or is no picture")
    if not isinstance(value, np.ndarray):
        raise ImageError(f"{name} is a {type(value).__name__}; give a numpy array: numpy.asarray({name})")


def counts_encoding(counts: Array) -> str:
    """The canonical encoding of thermal counts by their dtype: mono8 of uint8, mono16 of uint16, else 32FC1."""
    return {"uint8": "mono8", "uint16": "mono16"}.get(counts.dtype.name, "32FC1")


@dataclass(frozen=True, slots=True)
class Frame:
    """One camera frame.

    ``data`` by ``encoding``, which is one of five canonical ones:

    ========  =======================  ==========================================
    encoding  dtype, shape             meaning
    ========  =======================  ==========================================
    mono8     uint8 [H, W]             grey, 0..255
    mono16    uint16 [H, W]            counts, 0..65535
    32FC1     float32 [H, W]           counts or a temperature; NaN where unknown
    rgb8      uint8 [H, W, 3]          red, green, blue
    bgr8      uint8 [H, W, 3]          blue, green, red
    ========  =======================  ==========================================

    ``data`` may be a read-only view of a message's buffer, with row padding. ``source_encoding`` is the message's encoding (for example
    ``16UC1`` or ``yuyv``); empty where the frame does not come from a message. Raises ImageError for ``data`` that is no array.
    """

    stamp_ns: int
    data: Array
    encoding: str
    frame_id: str = ""
    source_encoding: str = ""
    _invalid: "tuple[Array | None] | None" = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_array("data", self.data)

    @property
    def invalid(self) -> Array | None:
        """The pixels of a thermal frame that hold no value (``core.valid``), bool [H, W]; None where all do. Found once for each frame."""
        if self._invalid is None:
            object.__setattr__(self, "_invalid", (invalid_pixels(self.data),))
        return self._invalid[0] if self._invalid else None

    @property
    def filled(self) -> Array:
        """``data``; where pixels hold no value a copy with the nearest one's that does."""
        return filled(self.data, self.invalid)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.data.shape[:2]
        return int(height), int(width)

    @property
    def counts_encoding(self) -> str:
        """ROS encoding of unchanged thermal counts: the message's own (8UC1, 16UC1) where it names plain counts, else ``encoding``."""
        return self.source_encoding if self.source_encoding in ("8UC1", "16UC1") else self.encoding


@dataclass(frozen=True, slots=True)
class FramePair:
    """A thermal and an rgb frame of the same instant.

    difference_ns: thermal stamp, less the clock offset, minus rgb stamp.
    depth: for ``registration.mode: depth``, aligned to the rgb frame; mono16 in millimetres or 32FC1 in metres, 0 or NaN where unknown.
    """

    thermal: Frame
    rgb: Frame
    difference_ns: int = 0
    depth: Frame | None = None


class BadPixelMap(NamedTuple):
    """Bad pixels and their neighbours; a bad pixel becomes the mean of its good neighbours.

    pixels: intp [N], flat indices; neighbours: intp [N, 8], flat indices; shares: float32 [N, 8], each row's sum is 1.
    """

    pixels: Array
    neighbours: Array
    shares: Plane


@dataclass(frozen=True, slots=True, eq=False)
class ThermalInput:
    """Thermal counts and the way from them to brightness on the picture's grid.

    counts: uint8, uint16 or float32 [h, w]. Brightness is x = ``clip((counts - columns - black) * factor, 0, 1)``, above ``knee`` (0..1)
    ``min(knee + slope * (x - knee), 1)`` with a slope of at least 1; bad pixels replaced, and 0 where counts are not finite.
    columns: float32 [w], counts that each column reads too high; None: 0.
    sampling: float32 [H, W, 2], the (x, y) in ``counts`` that each pixel of the picture is taken from (bilinear, border replicated); None:
    the same pixel.
    size: (height, width) that brightness is scaled to, edge to edge, where there is no ``sampling``; None: that of ``counts``.
    weight: float32 [H, W] in 0..1, the thermal share in each pixel of the picture; None: 1.
    rendered: ``counts`` is that brightness already, float32 [H, W].
    Engines cache the arrays other than ``counts`` by identity: pass the same object until the content changes.
    """

    counts: Array
    black: float = 0.0
    factor: float = 1.0
    knee: float = 1.0
    slope: float = 1.0
    columns: Plane | None = None
    bad_pixels: BadPixelMap | None = None
    sampling: Plane | None = None
    weight: Plane | None = None
    rendered: bool = False
    size: tuple[int, int] | None = None

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the brightness on the picture's grid."""
        height, width = self.size or self.counts.shape if self.sampling is None else self.sampling.shape[:2]
        return int(height), int(width)


@dataclass(frozen=True, slots=True, eq=False)
class RgbPlacement:
    """The way of an rgb frame to the picture's grid.

    size: (height, width) that it is scaled to, edge to edge.
    sampling: float32 [H, W, 2], the (x, y) at that size that each pixel of the picture is taken from (bilinear, border replicated); None:
    the same pixel.
    share: float32 [H, W] in 0..1, of the rgb frame in each pixel, the rest is the thermal picture in grey; None: 1.
    """

    size: tuple[int, int]
    sampling: Plane | None = None
    share: Plane | None = None

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        height, width = self.size if self.sampling is None else self.sampling.shape[:2]
        return int(height), int(width)


@dataclass(frozen=True, slots=True, eq=False)
class ThermalSource:
    """The thermal frame of a picture, from which temperatures are read.

    frame: the one that was used; during a shutter event the last good one before it. brightness: its way to brightness on its own pixels.
    size: height and width of the picture, (0, 0) where none is made. maps: thermal x and thermal y of each pixel of the picture, float32
    [H, W] each; None: the picture is the frame, scaled edge to edge.
    """

    frame: Frame
    brightness: ThermalInput
    size: tuple[int, int]
    maps: tuple[Plane, Plane] | None = None

    def to_thermal(self, x: float, y: float) -> tuple[float, float]:
        """The thermal pixel of a pixel of the picture (one outside counts as the nearest one inside)."""
        if self.maps is None:
            (height, width), (rows, columns) = self.frame.size, self.size
            return (x + 0.5) * width / columns - 0.5, (y + 0.5) * height / rows - 0.5
        row, column = (min(max(round(value), 0), side - 1) for value, side in zip((y, x), self.size, strict=True))
        return float(self.maps[0][row, column]), float(self.maps[1][row, column])

    def to_picture(self, x: float, y: float) -> tuple[float, float] | None:
        """The pixel of the picture that shows a thermal pixel; None where none does."""
        if not self.size[0]:
            return None
        if self.maps is None:
            (height, width), (rows, columns) = self.frame.size, self.size
            return (x + 0.5) * columns / width - 0.5, (y + 0.5) * rows / height - 0.5
        top = left = 0
        for step, reach in ((SEARCH_STEP, max(self.size)), (1, 2 * SEARCH_STEP)):  # coarsely in all of the picture, then around the best
            window = np.s_[max(0, top - reach) : top + reach + 1 : step, max(0, left - reach) : left + reach + 1 : step]
            distance = np.abs(self.maps[0][window] - np.float32(x)) + np.abs(self.maps[1][window] - np.float32(y))
            row, column = divmod(int(distance.argmin()), distance.shape[1])
            top, left = max(0, top - reach) + row * step, max(0, left - reach) + column * step
        return (float(left), float(top)) if distance[row, column] <= MOST_OFF else None


@dataclass(frozen=True, slots=True)
class FusedFrame:
    """What is published for one pair, or for one frame of the camera that still works.

    stamp_ns: stamp of the pair's rgb frame, or of the single frame.
    image: uint8 [H, W, 3] in the channel order of ``encoding`` (rgb8, bgr8), or uint8 [H, W] (mono8).
    grid: ``rgb`` or ``thermal``, the camera whose pixels the picture has (scaled or not); ``frame_id`` is that camera's.
    thermal_registered: unchanged counts on the picture's grid in the input's dtype, 0 or NaN outside the thermal view; None unless asked
    for. ``thermal_encoding`` is their ROS encoding.
    timings_ns: duration of each stage.
    keeps_geometry: a pixel of the picture is a pixel of its grid, so the camera's CameraInfo holds for it.
    thermal: the thermal frame of the picture; None where the rgb camera is shown alone.
    """

    stamp_ns: int
    image: Array
    encoding: str
    frame_id: str = ""
    thermal_registered: Array | None = None
    timings_ns: dict[str, int] = field(default_factory=dict)
    grid: str = "rgb"
    thermal_encoding: str = ""
    keeps_geometry: bool = True
    thermal: ThermalSource | None = None


_CONVERSIONS = {
    ("rgb8", "bgr8"): cv2.COLOR_RGB2BGR,
    ("bgr8", "rgb8"): cv2.COLOR_BGR2RGB,
    ("mono8", "rgb8"): cv2.COLOR_GRAY2RGB,
    ("mono8", "bgr8"): cv2.COLOR_GRAY2BGR,
    ("rgb8", "mono8"): cv2.COLOR_RGB2GRAY,
    ("bgr8", "mono8"): cv2.COLOR_BGR2GRAY,
}


def convert(image: Array, encoding: str, wanted: str) -> Array:
    """``image`` in the encoding ``wanted`` (rgb8, bgr8 or mono8); the same array where it has that already."""
    return image if encoding == wanted else cv2.cvtColor(image, _CONVERSIONS[encoding, wanted])


def render_brightness(thermal: ThermalInput, out: Plane | None = None) -> Plane:
    """Brightness on the picture's grid, float32 [H, W] in 0..1, on the CPU; ``fusion.graph_plan`` has the same in tensors.

    ``out``, float32 [h, w], is used for the result where it fits. The result is ``thermal.counts`` itself where that is rendered already.
    """
    counts, black = thermal.counts, np.float32(thermal.black)
    if thermal.rendered:
        return counts
    if out is None or out.shape != counts.shape:
        out = np.empty(counts.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite and huge values are handled below
        np.copyto(out, counts)  # numpy subtracts slower where it must convert too
        np.subtract(out, black if thermal.columns is None else thermal.columns + black, out=out)
        np.multiply(out, np.float32(thermal.factor), out=out)
    np.clip(out, 0.0, 1.0, out=out)
    if thermal.slope > 1.0:
        steep = cv2.addWeighted(out, thermal.slope, out, 0.0, thermal.knee * (1.0 - thermal.slope))  # no less than out above the knee
        cv2.threshold(cv2.max(out, steep, dst=out), 1.0, 1.0, cv2.THRESH_TRUNC, dst=out)
    if counts.dtype.kind == "f":
        finite = np.isfinite(counts)
        if not finite.all():
            out[~finite] = 0.0
    if thermal.bad_pixels is not None:
        replace_bad_pixels(out, thermal.bad_pixels)
    if thermal.sampling is None:
        return out if thermal.size is None else scale_picture(out, thermal.size)
    return _sample(out, thermal.sampling)


def place_rgb(image: Array, placement: RgbPlacement, brightness: Plane) -> Array:
    """An rgb frame, uint8 [H, W] or [H, W, 3], on the picture's grid.

    ``brightness``: the thermal picture on that grid, float32 0..1, black where it holds no value.
    """
    image = scale_picture(image, placement.size)
    if placement.sampling is not None:
        image = _sample(image, placement.sampling)
    return image if placement.share is None else blend_grey(image, brightness, placement.share)


def blend_grey(image: Array, brightness: Plane, share: Plane) -> Array:
    """An rgb picture, uint8 [H, W] or [H, W, 3], with the ``share`` 0..1 given to it; the rest is ``brightness``, 0..1, in grey."""
    grey = cv2.convertScaleAbs(brightness, alpha=255.0)
    return np.asarray(cv2.blendLinear(image, grey if image.ndim == 2 else cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), share, 1 - share))


def scale_picture(picture: Array, size: tuple[int, int]) -> Array:
    """A picture, edge to edge, at another (height, width); see ``resize_method``."""
    source = picture.shape[:2]
    return picture if source == size else cv2.resize(picture, size[::-1], interpolation=resize_method(source, size))


def resize_method(source: tuple[int, ...], target: tuple[int, ...]) -> int:
    """OpenCV's interpolation between two (height, width): the mean of the pixels where both sides shrink, else bilinear."""
    return cv2.INTER_AREA if source[0] > target[0] and source[1] > target[1] else cv2.INTER_LINEAR


def _sample(picture: Array, sampling: Plane) -> Array:
    x, y = np.ascontiguousarray(sampling[..., 0]), np.ascontiguousarray(sampling[..., 1])
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def replace_bad_pixels(brightness: Plane, bad: BadPixelMap) -> None:
    """Write the mean of its good neighbours over each bad pixel of a contiguous plane, float32 [h, w]."""
    flat = brightness.reshape(-1)
    flat[bad.pixels] = (flat[bad.neighbours] * bad.shares).sum(1)
