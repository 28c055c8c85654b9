"""A picture by which a person can check a calibration."""

from collections.abc import Sequence

import cv2
import numpy as np

from aenet_ros.core.frames import Array, FramePair
from aenet_ros.registration.image_alignment import grey
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import Registration
from aenet_ros.workbench.contact_sheet import contact_sheet

ORANGE = np.array([255, 140, 0], np.float32)
SHOWN = 3


def before_and_after(pairs: Sequence[tuple[str, FramePair]], before: Registration, after: Registration) -> Array:
    """A page with some of the pairs: thermal edges in orange on the rgb picture, by both registrations. uint8 [H, W, 3], rgb order."""
    chosen = [pairs[index] for index in np.unique(np.linspace(0, len(pairs) - 1, SHOWN).round().astype(int))]
    rows = [
        [(f"{word}: {name}", overlay(pair, registration)) for name, pair in chosen]
        for word, registration in (("before", before), ("after", after))
    ]
    return contact_sheet(rows, 420, "thermal edges (orange) on the rgb picture: they should lie on the same edges")


def overlay(pair: FramePair, registration: Registration) -> Array:
    """The rgb picture, greyed, with the thermal picture's edges on it in orange: uint8 [H, W, 3], rgb order."""
    size = pair.rgb.size
    warps = OutputGrid(registration).prepare(pair.thermal.size, size)
    thermal = warps.thermal(grey(pair.thermal))
    # Blurred first, so that noise makes no edges.
    smooth = cv2.GaussianBlur(thermal, (0, 0), max(1.0, size[1] / 400))
    slope = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    around = cv2.GaussianBlur(slope, (0, 0), size[1] / 25)
    strength = np.clip((slope / (2.2 * around + 0.3 * float(around.mean()) + 1e-9) - 0.5) * 2, 0, 1)
    if warps.weight is not None:
        strength = strength * (warps.weight > 0)
    luma = grey(pair.rgb)[..., None] * 200
    return np.asarray(luma + (ORANGE - luma) * strength[..., None], np.float32).round().astype(np.uint8)
