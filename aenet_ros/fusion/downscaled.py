"""Fusion with the network at a smaller size: the change of luma is computed on small pictures and added to the full-size one.

The rgb picture's detail stays; the thermal picture keeps what the smaller size resolves. Enlarging the difference in place of the result is
what joint upsampling does (Kopf et al., "Joint Bilateral Upsampling", SIGGRAPH 2007).
"""

import cv2
import numpy as np

from aenet_ros.core.frames import Array
from aenet_ros.core.thermal_input import ThermalInput, render_brightness
from aenet_ros.fusion import color
from aenet_ros.fusion.job import Engine, FusionJob
from aenet_ros.fusion.network import MIN_SIZE


def fuse_downscaled(engine: Engine, job: FusionJob) -> Array:
    """The picture of ``job`` with the network at ``job.scale`` of the size; at full size where the smaller picture were too small."""
    height, width = job.rgb.shape[:2]
    size = (round(width * job.scale), round(height * job.scale))
    if min(size) < MIN_SIZE:
        return engine.submit(job._replace(scale=1.0)).result()
    luma, weight = color.luma(job.rgb, job.order), job.thermal.weight
    # INTER_AREA is quick at 1/2 alone; near full size bilinear interpolation gives the same picture in a tenth of the time.
    method = cv2.INTER_AREA if job.scale <= 0.5 else cv2.INTER_LINEAR
    small_thermal, small_luma = (cv2.resize(plane, size, interpolation=method) for plane in (render_brightness(job.thermal), luma))
    small_weight = None if weight is None else np.asarray(cv2.resize(weight, size, interpolation=method), np.float32)
    small_job = FusionJob(ThermalInput(small_thermal, weight=small_weight, rendered=True), small_luma, thermal_weight=job.thermal_weight)
    change = cv2.subtract(engine.submit(small_job).result(), small_luma, dtype=cv2.CV_16S)
    change = cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR)
    if weight is not None:
        change[weight == 0.0] = 0
    image = color.merge(job.rgb, luma, cv2.add(luma, change, dtype=cv2.CV_8U))
    return color.reorder(image, job.order, job.output_order)
