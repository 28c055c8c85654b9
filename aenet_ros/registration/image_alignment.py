"""Alignment of thermal to rgb pictures by their edges: block matching, and the homography that fits the blocks' shifts."""

from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.camera import Size
from aenet_ros.core.frames import Array, Frame, Plane

GRID = (6, 8)  # rows and columns of blocks
MIN_BLOCKS = 8  # blocks with a clear shift, below which there is no result
SCORE_RANGE = (0.08, 0.15)  # scores at which confidence is 0 and 1; unrelated scenes score 0.07
MIN_SCORE = 0.04  # normalised score of a block's best shift; below it the block is not used
MIN_DEVIATIONS = 1.75  # standard deviations by which a best shift must exceed the mean of the block's other shifts
SIMILARITY = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, -1], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
NEIGHBOURHOOD = 0.04  # of the picture's width: edge strength is normalised over this neighbourhood


def grey(frame: Frame) -> Plane:
    """A frame as float32 [H, W] 0..1: luma of rgb, or thermal counts scaled from their 0.5th to their 99.5th percentile."""
    data = frame.filled
    if data.ndim == 3:
        luma = cv2.cvtColor(data, cv2.COLOR_RGB2GRAY if frame.encoding == "rgb8" else cv2.COLOR_BGR2GRAY)
        return np.asarray(luma, np.float32) / np.float32(255)
    counts: Plane = data.astype(np.float32)
    if data.dtype != np.uint8:
        counts = np.asarray(cv2.medianBlur(counts, 3), np.float32)  # dead pixels
    sample = counts[::2, ::2]
    if frame.invalid is not None and not frame.invalid[::2, ::2].all():
        sample = sample[~frame.invalid[::2, ::2]]
    low, high = np.percentile(sample, (0.5, 99.5))
    return np.asarray(np.clip((counts - low) / max(high - low, 1e-6), 0, 1), np.float32)


def edge_planes(picture: Array, valid: Array | None = None) -> Plane:
    """Edges of a float32 [H, W] picture as float32 [H, W, 3], comparable between a thermal and an rgb picture.

    Planes: strength times cosine and sine of twice the gradient's angle, and strength minus its local mean. Twice the angle, so that
    the sign of the contrast has no effect. 0 where ``valid`` (bool [H, W]) is False.
    """
    smooth = cv2.GaussianBlur(picture, (0, 0), 1.0)
    right = cv2.Scharr(smooth, cv2.CV_32F, 1, 0)
    down = cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    size = np.sqrt(right * right + down * down)
    local_mean = _blur_wide(size)
    strength = size / (size + local_mean + 0.25 * float(local_mean.mean()) + 1e-9)
    unit = strength / (size * size + 1e-12)
    extra = strength - _blur_wide(strength)
    found = np.stack([(right * right - down * down) * unit, 2 * right * down * unit, extra], axis=-1)
    if valid is not None:
        inner = cv2.erode(valid.astype(np.uint8), np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        found *= inner[..., None]
    return np.asarray(found, np.float32)


def _blur_wide(plane: Plane) -> Plane:
    """About a Gaussian of width NEIGHBOURHOOD, by two box filters of the same variance, whose time does not depend on the width."""
    side = 2 * max(1, round(np.sqrt(6) * NEIGHBOURHOOD * plane.shape[1] / 2)) + 1
    once = cv2.blur(plane, (side, side), borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.blur(once, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def blur_for_step(picture: Array, step: float) -> Array:
    """The picture, blurred where it will be sampled every ``step`` pixels with so large a step that detail would alias."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.4 * step)) if step > 1.3 else picture


def warp_thermal(thermal: Array, matrix: Array, size: Size) -> tuple[Plane, Array]:
    """A thermal picture, float32 [h, w], on the rgb grid of ``size``, float32 [H, W], and where it is valid, bool [H, W].

    ``matrix``: pixels of that grid to pixels of ``thermal``. Where the picture shrinks it is blurred first, against aliasing.
    """
    thermal = blur_for_step(thermal, float(np.sqrt(abs(np.linalg.det(matrix[:2, :2] / matrix[2, 2])))))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpPerspective(thermal, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    ones = np.ones(thermal.shape, np.uint8)
    valid = cv2.warpPerspective(ones, matrix, size[::-1], flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
    return picture.astype(np.float32, copy=False), valid


class BlockScores(NamedTuple):
    """``scores`` float64 [pairs, blocks, 2 reach + 1, 2 reach + 1]: cross-correlation at each shift (down, right) of the thermal edges.

    ``energy`` float64 [pairs, blocks]: the score of equal edges. ``centres`` [blocks, 2]: x, y in pixels.
    """

    scores: Array
    energy: Array
    centres: Array


class BlockShifts(NamedTuple):
    """Blocks with a clear best shift: ``centres`` [N, 2], ``shifts`` [N, 2] (x, y), ``weights`` [N, 2, 2] (curvature of the peak)."""

    centres: Array
    shifts: Array
    weights: Array


def match_blocks(rgb_edges: list[Plane], thermal_edges: list[Plane], reach: int) -> BlockScores:
    """Scores of pairs of edge planes, float32 [H, W, 3], on one grid; blocks tile it except ``reach`` pixels of its border."""
    rows, columns = GRID
    height, width = rgb_edges[0].shape[:2]
    tall, wide = (height - 2 * reach) // rows, (width - 2 * reach) // columns
    scores = np.zeros((len(rgb_edges), rows * columns, 2 * reach + 1, 2 * reach + 1))
    energy = np.zeros((len(rgb_edges), rows * columns))
    starts = [(reach + row * tall, reach + column * wide) for row in range(rows) for column in range(columns)]
    for index, (rgb, thermal) in enumerate(zip(rgb_edges, thermal_edges, strict=True)):
        for block, (top, left) in enumerate(starts):
            fixed, middle = (planes[top : top + tall, left : left + wide] for planes in (rgb, thermal))
            search = thermal[top - reach : top + tall + reach, left - reach : left + wide + reach]
            scores[index, block] = cv2.matchTemplate(search, fixed, cv2.TM_CCORR)
            energy[index, block] = cv2.norm(fixed) * cv2.norm(middle)
    y, x = np.meshgrid(reach + (np.arange(rows) + 0.5) * tall - 0.5, reach + (np.arange(columns) + 0.5) * wide - 0.5, indexing="ij")
    return BlockScores(scores, energy, np.column_stack([x.ravel(), y.ravel()]))


def best_shifts(blocks: BlockScores, weights: Array) -> BlockShifts:
    """The best shift of each block over all pairs, weighted by ``weights`` [pairs]; blocks without a clear peak are left out."""
    total = np.einsum("p,pbij->bij", weights, blocks.scores)
    energy = weights @ blocks.energy
    reach = total.shape[1] // 2
    total = total / np.maximum(energy, 1e-3 * energy.max() + 1e-9)[:, None, None]
    kept, shifts, sharpness = [], [], []
    for index, surface in enumerate(total):
        row, column = np.unravel_index(np.argmax(surface), surface.shape)
        if not (0 < row < 2 * reach and 0 < column < 2 * reach):
            continue
        peak = surface[row, column]
        others = np.ones(surface.shape, bool)
        others[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = False
        rest = surface[others]
        if peak < MIN_SCORE or (rest.size > 8 and peak - rest.mean() < MIN_DEVIATIONS * rest.std()):
            continue
        near = surface[row - 1 : row + 2, column - 1 : column + 2]
        slope = np.array([near[1, 2] - near[1, 0], near[2, 1] - near[0, 1]]) / 2
        xx, yy = near[1, 0] + near[1, 2] - 2 * near[1, 1], near[0, 1] + near[2, 1] - 2 * near[1, 1]
        xy = (near[0, 0] + near[2, 2] - near[0, 2] - near[2, 0]) / 4
        values, vectors = np.linalg.eigh(-np.array([[xx, xy], [xy, yy]]))
        values = np.maximum(values, 1e-4)
        offset = np.clip(vectors / values @ vectors.T @ slope, -0.7, 0.7)
        kept.append(blocks.centres[index])
        shifts.append(np.array([column - reach, row - reach]) + offset)
        sharpness.append(vectors * values @ vectors.T)
    return BlockShifts(np.reshape(kept, (-1, 2)), np.reshape(shifts, (-1, 2)), np.reshape(sharpness, (-1, 2, 2)))


def fit_homography(found: BlockShifts, size: Size, terms: int) -> tuple[Array, Array]:
    """The homography near identity that moves each centre by its shift, float64 [3, 3], and each block's robust weight, 0..1 [N].

    ``terms``: 4 similarity, 6 affine, 8 homography. Iteratively reweighted least squares with Cauchy's weight function.
    """
    height, width = size
    unit = max(width, height) / 2
    x, y = ((found.centres - [(width - 1) / 2, (height - 1) / 2]) / unit).T
    zero, one = np.zeros_like(x), np.ones_like(x)
    columns = [(one, zero), (zero, one), (x, zero), (y, zero), (zero, x), (zero, y), (x * x, x * y), (x * y, y * y)]
    basis = SIMILARITY if terms == 4 else np.eye(8)[:, :terms]
    design = np.stack([np.stack(column, 1) for column in columns], 2) @ basis
    prior = np.diag([1e-3, 1e-3, 0.02, 0.02, 0.02, 0.02, 0.1, 0.1][:terms]) * float(np.trace(found.weights.mean(0)))
    robust = np.ones(len(x))
    solution = np.zeros(terms)
    for _ in range(12):
        weights = found.weights * robust[:, None, None]
        normal = np.einsum("nia,nij,njb->ab", design, weights, design) + prior
        solution = np.linalg.solve(normal, np.einsum("nia,nij,nj->a", design, weights, found.shifts))
        residual = found.shifts - design @ solution
        # A residual along an edge costs nothing: it is measured in the metric of the block's curvature.
        distance = np.sqrt(
            np.einsum("ni,nij,nj->n", residual, found.weights, residual) / np.maximum(np.trace(found.weights, axis1=1, axis2=2) / 2, 1e-9)
        )
        robust = 1 / (1 + (distance / max(0.5, 1.5 * float(np.median(distance)))) ** 2)
    # Shifts d(c) = A c + t + c (g . c) are, to first order, the homography with bottom row -g.
    a = basis @ solution / unit
    near = np.array([[1 + a[2], a[3], a[0]], [a[4], 1 + a[5], a[1]], [-a[6], -a[7], 1]])
    to_unit = np.array([[1 / unit, 0, -(width - 1) / 2 / unit], [0, 1 / unit, -(height - 1) / 2 / unit], [0, 0, 1]])
    matrix = np.linalg.inv(to_unit) @ near @ to_unit
    return matrix / matrix[2, 2], robust


def coinciding(blocks: BlockScores, weights: Array, change: Array) -> float:
    """The share of the edges that coincide after ``change``, with each block's shift rounded to a pixel and limited to the reach."""
    reach = blocks.scores.shape[2] // 2
    moved = cv2.perspectiveTransform(blocks.centres[None], change)[0] - blocks.centres
    right, down = np.clip(np.round(moved).astype(int), -reach, reach).T + reach
    scores = blocks.scores[:, np.arange(len(moved)), down, right]
    return float((weights @ scores).sum() / max(float((weights @ blocks.energy).sum()), 1e-9))


def pair_weights(blocks: BlockScores) -> Array:
    """A weight for each pair, float64 [pairs]: its scores at the common best shifts; blank or badly paired frames get little."""
    scores = blocks.scores.reshape(*blocks.energy.shape, -1)
    best = scores.sum(0).argmax(1)
    own = scores[:, np.arange(len(best)), best].sum(1)
    share = own / np.maximum(blocks.energy.sum(1), 1e-9)
    return np.asarray(np.clip(share / max(float(np.median(share)), 1e-9), 0.05, 1.0) ** 2)
