"""Whether a thermal frame shows anything: a flat one (closed shutter, lens cap, even wall, fog) must not grey out the rgb picture."""

import cv2
import numpy as np

from aenet_ros.config import AgcConfig
from aenet_ros.core.frames import Frame
from aenet_ros.thermal.agc import FLOAT_UNIT_COUNTS, noise_of, sorted_sample

SAMPLE_PIXELS = 2_500
NOISE_SPAN = 5.0  # standard deviations: the medians of 3x3 pixels of pure noise span about four in a frame of 640x512
NOISE_FLOOR = 0.5  # counts: what rounding does
GREY_SPAN = 8.0  # levels of an 8-bit frame; deeper ones: agc.min_range


def contrast_share(thermal: Frame, config: AgcConfig) -> float:
    """Share of the thermal frame in the fused picture, 0..1: 0 for a flat frame, 1 for one with any structure, in between smooth.

    ``thermal``: mono8, mono16 or 32FC1. Flat means that medians of 3x3 pixels span no more than noise does; so a few bad pixels do not
    matter, and a hot target of a few pixels does. Pixels that hold no value do not count.
    """
    unit = FLOAT_UNIT_COUNTS if thermal.encoding == "32FC1" else 1.0
    if thermal.invalid is not None and thermal.invalid.all():
        return 0.0
    least = GREY_SPAN if thermal.encoding == "mono8" else config.min_range / unit
    sample = sorted_sample(thermal, SAMPLE_PIXELS)
    if sample.size:
        span = float(sample[-1 - sample.size // 50]) - float(sample[sample.size // 50])
        if span >= max(least, NOISE_FLOOR / unit):  # nearly every frame
            return 1.0
    counts = np.ascontiguousarray(thermal.filled)
    low, high = cv2.minMaxLoc(cv2.medianBlur(counts, 3))[:2]
    noise = max(noise_of(counts), NOISE_FLOOR / unit)
    against_noise, against_least = (high - low) / (NOISE_SPAN * noise) - 1.0, 4.0 * (high - low) / max(least, 1e-9) - 3.0
    return float(np.clip(max(against_noise, against_least), 0.0, 1.0))
