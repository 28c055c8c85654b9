"""A ThermalInput's brightness on the CPU: what a device makes of it by itself (``fusion.thermal_tensors``)."""

import cv2
import numpy as np

from aenet_ros.core.frames import Plane, ThermalInput
from aenet_ros.thermal.agc import Gain, scale_to_unit
from aenet_ros.thermal.sensor_correction import mend


def render(view: ThermalInput) -> Plane:
    """Brightness on the picture's grid, a new float32 [H, W] in 0..1."""
    brightness: Plane = np.empty(view.counts.shape, np.float32)
    scale_to_unit(view.counts, Gain(view.black, view.factor), brightness, view.columns)
    if view.bad_pixels is not None:
        mend(brightness, view.bad_pixels)
    if view.sampling is None:
        return brightness
    x, y = np.ascontiguousarray(view.sampling[..., 0]), np.ascontiguousarray(view.sampling[..., 1])
    return np.asarray(cv2.remap(brightness, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
