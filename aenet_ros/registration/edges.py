"""What a thermal and an rgb picture of one scene have in common: where edges are and how they lie, whichever side is brighter."""

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Frame, Plane

LOCAL = 0.04  # of the picture's width: an edge counts by how it stands out in so large a neighbourhood


def grey(frame: Frame) -> Plane:
    """The frame's brightness as float32 [H, W] 0..1: luma of rgb, thermal counts between their 0.5th and 99.5th percentile."""
    data = frame.data
    if data.ndim == 3:
        luma = cv2.cvtColor(data, cv2.COLOR_RGB2GRAY if frame.encoding == "rgb8" else cv2.COLOR_BGR2GRAY)
        return np.asarray(luma, np.float32) / np.float32(255)
    counts: Plane = data.astype(np.float32)
    known = np.isfinite(counts)
    if not known.all():
        counts = np.where(known, counts, np.median(counts[known]) if known.any() else 0).astype(np.float32)
    if data.dtype != np.uint8:
        counts = np.asarray(cv2.medianBlur(counts, 3), np.float32)  # dead pixels
    low, high = np.percentile(counts[::2, ::2], (0.5, 99.5))
    result: Plane = np.clip((counts - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    return result


def edges(picture: Array, seen: Array | None = None) -> Plane:
    """Edges of a float32 [H, W] picture as float32 [H, W, 3].

    Strength times cosine and sine of twice their angle, and strength less its mean around. Twice the angle, so that an edge from dark
    to bright equals one from bright to dark. 0 where ``seen`` (bool [H, W]) is False.
    """
    smooth = cv2.GaussianBlur(picture, (0, 0), 1.0)
    right = cv2.Scharr(smooth, cv2.CV_32F, 1, 0)
    down = cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    size = np.sqrt(right * right + down * down)
    around = _broad(size)
    strength = size / (size + around + 0.25 * float(around.mean()) + 1e-9)
    unit = strength / (size * size + 1e-12)
    extra = strength - _broad(strength)
    found = np.stack([(right * right - down * down) * unit, 2 * right * down * unit, extra], axis=-1)
    if seen is not None:
        inner = cv2.erode(seen.astype(np.uint8), np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        found *= inner[..., None]
    result: Plane = found.astype(np.float32)
    return result


def _broad(plane: Plane) -> Plane:
    """Nearly a Gaussian of LOCAL, as two boxes of the same variance: its time does not grow with its breadth."""
    side = 2 * max(1, round(np.sqrt(6) * LOCAL * plane.shape[1] / 2)) + 1
    once = cv2.blur(plane, (side, side), borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.blur(once, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def warped(thermal: Array, matrix: Array, size: tuple[int, int]) -> tuple[Plane, Array]:
    """A thermal picture as seen from the rgb grid of ``size`` (height, width), and where it is seen (bool).

    ``matrix``: rgb pixels of that grid to pixels of ``thermal``. Where it shrinks it is blurred before.
    """
    step = np.sqrt(abs(np.linalg.det(matrix[:2, :2] / matrix[2, 2])))
    if step > 1.3:
        thermal = np.asarray(cv2.GaussianBlur(thermal, (0, 0), 0.4 * float(step)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpPerspective(thermal, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    ones = np.ones(thermal.shape, np.uint8)
    seen = cv2.warpPerspective(ones, matrix, size[::-1], flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
    return picture.astype(np.float32, copy=False), seen
