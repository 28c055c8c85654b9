"""What an engine is given and what it gives back, and the engine of the CPU: OpenCV around the network."""

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from aenet_ros.core.camera import Size
from aenet_ros.core.frames import Array, Plane, RgbPlacement, ThermalInput, place_rgb, render_brightness
from aenet_ros.fusion import color
from aenet_ros.fusion.network import MIN_SIZE

Network = Callable[[Plane, Plane, Plane | float], Array]
"""CpuNetwork, or a runtime of an exported file: thermal and luma, float32 [H, W] in 0..1, and the share of the fusion in the picture, 0..1,
to luma, uint8 [H, W]."""


class FusionJob(NamedTuple):
    """One pair for an engine.

    thermal: on the pixels of ``rgb`` once it is rendered.
    rgb: uint8 [H, W, 3], channels in ``order`` "rgb" or "bgr"; or grey, uint8 [H, W].
    thermal_weight: 0..1, share of the fusion in the picture; 1 is the network's own result, 0 the plain rgb frame.
    output_order: channel order of the result.
    scale: over 0 to 1, size of the network's picture against the result.
    placement: the way of ``rgb`` to the picture's grid; None: it has that already.
    """

    thermal: ThermalInput
    rgb: Array
    order: str = "rgb"
    thermal_weight: float = 1.0
    output_order: str = "rgb"
    scale: float = 1.0
    placement: RgbPlacement | None = None

    @property
    def picture_size(self) -> Size:
        """Height and width of the result."""
        return (self.rgb.shape[0], self.rgb.shape[1]) if self.placement is None else self.placement.picture_size


class PendingImage(NamedTuple):
    """A picture that an engine works on: ``image`` is valid once the CUDA event ``done`` is reached (None: now)."""

    image: Array
    done: Any = None

    def result(self) -> Array:
        """Block until it is ready; uint8, shape of the job's ``rgb``. Raises RuntimeError where the device failed."""
        if self.done is not None:
            self.done.synchronize()
        return self.image


class CpuEngine:
    """Float32 on the CPU. A job is done when ``submit`` returns."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._luma: Plane = np.empty((0, 0), np.float32)  # reused: fresh memory costs page faults

    def submit(self, job: FusionJob) -> PendingImage:
        """Fuse a job at full size; its arrays may change once this returns."""
        thermal, weight = render_brightness(job.thermal), job.thermal.weight
        if self._luma.shape != thermal.shape:
            self._luma = np.empty(thermal.shape, np.float32)
        luma = color.luma(job.rgb, job.order)
        color.to_unit(luma, self._luma)
        if weight is not None:
            thermal = self._luma + weight * (thermal - self._luma)
        share = job.thermal_weight if weight is None else weight * np.float32(job.thermal_weight)
        return _recolor(job, luma, self._network(thermal, self._luma, share))


def render(job: FusionJob) -> FusionJob:
    """The job with both frames on the picture's grid, by OpenCV; the same where they are."""
    if job.placement is None:
        return job
    brightness = render_brightness(job.thermal)
    weight = job.thermal.weight
    rgb = place_rgb(job.rgb, job.placement, brightness if weight is None else brightness * weight)
    return job._replace(thermal=ThermalInput(brightness, weight=weight, rendered=True), rgb=rgb, placement=None)


def downscaled(size: Size, scale: float) -> Size:
    """Height and width of the network's picture for a picture of ``size``; full size where the smaller picture were too small."""
    small = round(size[0] * scale), round(size[1] * scale)
    return size if min(small) < MIN_SIZE else small


def shrink_steps(size: Size, small: Size) -> list[tuple[Size, int]]:
    """The way from (height, width) to one smaller by up to 4: the sizes passed, each with OpenCV's interpolation."""
    (height, width), least = size, 3 * small[1]
    if width > least:  # two halvings take a quarter of the time
        return [((height // 2, width // 2), cv2.INTER_AREA), (small, cv2.INTER_AREA)]
    # INTER_AREA is quick at 1/2 alone; near full size bilinear interpolation gives the same picture in a tenth of the time.
    return [(small, cv2.INTER_AREA if 2 * width > least else cv2.INTER_LINEAR)]


def fuse_downscaled(submit: Callable[[FusionJob], PendingImage], job: FusionJob) -> PendingImage:
    """The picture of ``job`` with the network at ``job.scale`` of the size; at full size where the smaller picture were too small.

    ``submit`` is an engine's. The change of luma is computed on small pictures and added to the full-size one: the rgb picture's detail
    stays; the thermal picture keeps what the smaller size resolves, and hot detail that it does not. Enlarging the difference in place of
    the result is what joint upsampling does (Kopf et al., "Joint Bilateral Upsampling", SIGGRAPH 2007).
    """
    size, small = job.picture_size, downscaled(job.picture_size, job.scale)
    if small == size:
        return submit(job)
    steps = shrink_steps(size, small)
    luma, weight = color.luma(job.rgb, job.order), job.thermal.weight
    thermal = render_brightness(job.thermal)
    small_thermal: Plane = _shrink(thermal, steps).astype(np.float32, copy=False)
    small_luma, small_weight = _shrink(luma, steps), None if weight is None else _shrink(weight, steps).astype(np.float32, copy=False)
    small_job = FusionJob(ThermalInput(small_thermal, weight=small_weight, rendered=True), small_luma, thermal_weight=job.thermal_weight)
    change = cv2.subtract(submit(small_job).result(), small_luma, dtype=cv2.CV_16S)
    change = cv2.resize(change, size[::-1], interpolation=cv2.INTER_LINEAR)
    if weight is not None:
        change[weight == 0.0] = 0
    fused = cv2.add(luma, change, dtype=cv2.CV_8U)
    resolved = cv2.resize(color.from_unit(small_thermal), size[::-1], interpolation=cv2.INTER_LINEAR)
    return _recolor(job, luma, _add_hot_detail(fused, color.from_unit(thermal), resolved, weight, job.thermal_weight))


def _shrink(plane: Array, steps: list[tuple[Size, int]]) -> Array:
    for size, method in steps:
        plane = cv2.resize(plane, size[::-1], interpolation=method)
    return plane


def _add_hot_detail(fused: Array, thermal: Array, resolved: Array, weight: Plane | None, thermal_weight: float) -> Array:
    """``fused`` with what is hotter in ``thermal`` than in ``resolved``, its enlarged small picture; all uint8 [H, W].

    A hot target of a few pixels vanishes in a small picture. It is raised here, at most to its own brightness, so that nothing is brighter
    than one of the cameras shows it.
    """
    detail = cv2.subtract(cv2.subtract(thermal, resolved), color.HOT_DETAIL_FLOOR)  # type: ignore[call-overload]
    if weight is not None or thermal_weight != 1.0:
        share = np.float32(thermal_weight) if weight is None else weight * np.float32(thermal_weight)
        detail = (detail * share).astype(np.uint8)
    return np.maximum(fused, np.minimum(cv2.add(fused, detail), thermal))


def _recolor(job: FusionJob, luma: Array, fused: Array) -> PendingImage:
    """The picture of ``job`` with its ``luma`` replaced by the fused one, both uint8 [H, W]."""
    return PendingImage(color.reorder(color.merge(job.rgb, luma, fused), job.order, job.output_order))
