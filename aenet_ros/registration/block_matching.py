"""How far each part of the picture is off: edges compared block by block, over all pairs, and the homography that follows."""

from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.frames import Array, Plane

GRID = (6, 8)  # blocks down and across
LEAST_AGREEMENT = 0.04  # of a block's edges at its best shift, under which it says nothing
LEAST_SURE = 3.5  # by how many standard deviations of its other shifts a block's best shift must stand out


class Surfaces(NamedTuple):
    """``agreed`` float64 [pairs, blocks, 2 reach + 1, 2 reach + 1]: sums of products at each shift (down, right) of the thermal edges.

    ``energy`` float64 [pairs, blocks]: what ``agreed`` would be for equal edges. ``centres`` [blocks, 2]: x, y in pixels.
    """

    agreed: Array
    energy: Array
    centres: Array


class Shifts(NamedTuple):
    """Blocks that say something: ``centres`` [N, 2], ``shifts`` [N, 2] (x, y), ``weights`` [N, 2, 2] (how sharply each is placed)."""

    centres: Array
    shifts: Array
    weights: Array


def compare(rgb_edges: list[Plane], thermal_edges: list[Plane], reach: int) -> Surfaces:
    """Surfaces of pairs of edge planes float32 [H, W, 3] on one grid; blocks tile all but ``reach`` pixels of its border."""
    rows, columns = GRID
    height, width = rgb_edges[0].shape[:2]
    tall, wide = (height - 2 * reach) // rows, (width - 2 * reach) // columns
    agreed = np.zeros((len(rgb_edges), rows * columns, 2 * reach + 1, 2 * reach + 1))
    energy = np.zeros((len(rgb_edges), rows * columns))
    starts = [(reach + row * tall, reach + column * wide) for row in range(rows) for column in range(columns)]
    for index, (rgb, thermal) in enumerate(zip(rgb_edges, thermal_edges, strict=True)):
        for block, (top, left) in enumerate(starts):
            fixed = rgb[top : top + tall, left : left + wide]
            around = thermal[top - reach : top + tall + reach, left - reach : left + wide + reach]
            agreed[index, block] = cv2.matchTemplate(around, fixed, cv2.TM_CCORR)
            middle = thermal[top : top + tall, left : left + wide]
            energy[index, block] = cv2.norm(fixed) * cv2.norm(middle)
    y, x = np.meshgrid(reach + (np.arange(rows) + 0.5) * tall - 0.5, reach + (np.arange(columns) + 0.5) * wide - 0.5, indexing="ij")
    return Surfaces(agreed, energy, np.column_stack([x.ravel(), y.ravel()]))


def best_shifts(surfaces: Surfaces, weights: Array) -> Shifts:
    """The best shift of each block over all pairs, weighted by ``weights`` [pairs]; blocks without a clear one are left out."""
    total = np.einsum("p,pbij->bij", weights, surfaces.agreed)
    energy = weights @ surfaces.energy
    reach = total.shape[1] // 2
    total = total / np.maximum(energy, 1e-3 * energy.max() + 1e-9)[:, None, None]
    kept, shifts, sharpness = [], [], []
    for index, surface in enumerate(total):
        row, column = np.unravel_index(np.argmax(surface), surface.shape)
        if not (0 < row < 2 * reach and 0 < column < 2 * reach):
            continue
        peak = surface[row, column]
        away = np.ones(surface.shape, bool)
        away[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = False
        rest = surface[away]
        if peak < LEAST_AGREEMENT or (rest.size > 8 and peak - rest.mean() < LEAST_SURE * 0.5 * rest.std()):
            continue
        near = surface[row - 1 : row + 2, column - 1 : column + 2]
        xx, yy = near[1, 0] + near[1, 2] - 2 * near[1, 1], near[0, 1] + near[2, 1] - 2 * near[1, 1]
        xy = (near[0, 0] + near[2, 2] - near[0, 2] - near[2, 0]) / 4
        curve = np.array([[xx, xy], [xy, yy]])
        values, vectors = np.linalg.eigh(-curve)
        values = np.maximum(values, 1e-4)
        slope = np.array([(near[1, 2] - near[1, 0]) / 2, (near[2, 1] - near[0, 1]) / 2])
        inverse = vectors / values @ vectors.T
        offset = np.clip(inverse @ slope, -0.7, 0.7)
        kept.append(surfaces.centres[index])
        shifts.append(np.array([column - reach, row - reach]) + offset)
        sharpness.append(vectors * values @ vectors.T)
    count = len(kept)
    return Shifts(np.reshape(kept, (count, 2)), np.reshape(shifts, (count, 2)), np.reshape(sharpness, (count, 2, 2)))


def fit(found: Shifts, size: tuple[int, int], terms: int) -> tuple[Array, Array]:
    """The homography near 1 that moves each centre by its shift, and how well each block agrees, 0..1 [N].

    ``terms``: 2 shifts only, 4 also scale and turn, 6 affine, 8 all. By least squares, weighted anew by Cauchy's function of what remains.
    """
    height, width = size
    unit = max(width, height) / 2
    x, y = ((found.centres - [(width - 1) / 2, (height - 1) / 2]) / unit).T
    zero, one = np.zeros_like(x), np.ones_like(x)
    if terms == 4:
        design = np.stack([np.stack([one, zero], 1), np.stack([zero, one], 1), np.stack([x, y], 1), np.stack([-y, x], 1)], 2)
    else:
        columns = [(one, zero), (zero, one), (x, zero), (y, zero), (zero, x), (zero, y), (x * x, x * y), (x * y, y * y)]
        design = np.stack([np.stack(column, 1) for column in columns[:terms]], 2)
    prior = np.diag([1e-3, 1e-3, 0.02, 0.02, 0.02, 0.02, 0.1, 0.1][:terms]) * float(np.trace(found.weights.mean(0)))
    agreement = np.ones(len(x))
    solution = np.zeros(terms)
    for _ in range(12):
        weights = found.weights * agreement[:, None, None]
        normal = np.einsum("nia,nij,njb->ab", design, weights, design) + prior
        solution = np.linalg.solve(normal, np.einsum("nia,nij,nj->a", design, weights, found.shifts))
        left = found.shifts - design @ solution
        # Off along an edge costs nothing: what remains is weighed by how sharply the block is placed.
        off = np.sqrt(
            np.einsum("ni,nij,nj->n", left, found.weights, left) / np.maximum(np.trace(found.weights, axis1=1, axis2=2) / 2, 1e-9)
        )
        agreement = 1 / (1 + (off / max(0.5, 1.5 * float(np.median(off)))) ** 2)
    a = np.zeros(8)
    if terms == 4:
        a[[0, 1, 2, 3, 4, 5]] = solution[0], solution[1], solution[2], -solution[3], solution[3], solution[2]
    else:
        a[:terms] = solution
    # Shifts d(c) = A c + t + c (g . c) are, to first order, the homography with bottom row -g.
    a /= unit
    near = np.array([[1 + a[2], a[3], a[0]], [a[4], 1 + a[5], a[1]], [-a[6], -a[7], 1]])
    to_unit = np.array([[1 / unit, 0, -(width - 1) / 2 / unit], [0, 1 / unit, -(height - 1) / 2 / unit], [0, 0, 1]])
    matrix = np.linalg.inv(to_unit) @ near @ to_unit
    return matrix / matrix[2, 2], agreement
