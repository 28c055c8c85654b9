"""Flicker: change from frame to frame in a fused clip that neither source explains."""

from collections.abc import Iterable

import numpy as np

from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Plane


def flicker(frames: Iterable[tuple[Array, Array, Array]]) -> float:
    """Mean over consecutive frames and pixels of max(0, |F1 - F0| - max(|A1 - A0|, |B1 - B0|)), grey levels.

    ``frames`` yields (fused, thermal, rgb luma), grey planes [H, W] of one size on 0..255, in order of time; they
    are rounded to integers first. Lower is better. Raises ImageError for fewer than two frames or unequal sizes.
    """
    total, steps = 0.0, 0
    before: list[Plane] | None = None
    for planes in frames:
        now = [np.rint(np.asarray(plane, np.float32)) for plane in planes]
        if any(plane.shape != now[0].shape for plane in [*now, *(before or [])]):
            raise ImageError(f"flicker needs fused, thermal and rgb planes of one size throughout; got {[p.shape for p in now]}")
        if before is not None:
            fused, thermal, rgb = (np.abs(new - old) for new, old in zip(now, before, strict=True))
            total += float(np.maximum(fused - np.maximum(thermal, rgb), 0.0).mean())
            steps += 1
        before = now
    if steps == 0:
        raise ImageError("flicker needs at least two consecutive frames")
    return total / steps
