"""Fuse a 16-bit radiometric pair and print degrees: `python examples/fuse_radiometric.py counts.png rgb.png fused.png lepton`.

The last word is a profile of docs/cameras.md: a camera, or the unit of the values (celsius, kelvin, centikelvin).
"""

import sys

import cv2
import numpy as np

from aenet_ros import Frame, FramePair, FusionPipeline, find_hot_spots, temperature
from aenet_ros.config import build


def main(counts_path: str, rgb_path: str, out_path: str, profile: str = "centikelvin") -> None:
    """Read counts as they are; write the fused picture with everything from 30 to 45 degrees tinted."""
    counts = Frame(0, cv2.imread(counts_path, cv2.IMREAD_UNCHANGED), "mono16")
    rgb = Frame(0, cv2.imread(rgb_path), "bgr8")

    degrees = temperature(counts, profile)  # float32, NaN where a pixel has no value
    print(f"{np.nanmin(degrees):.1f} to {np.nanmax(degrees):.1f} degC")
    for spot in find_hot_spots(degrees):
        print(f"hot spot at {spot.peak}: {spot.peak_value:.1f} degC, {spot.area} pixels")

    config = build({"agc.profile": profile, "output.encoding": "bgr8", "output.isotherm": True})
    pipeline = FusionPipeline(config)
    cv2.imwrite(out_path, pipeline.process(FramePair(counts, rgb)).image)
    pipeline.close()


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])
