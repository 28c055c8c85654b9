"""Pictures of calibration boards by cameras whose lenses and pose are known."""

from functools import cache

import cv2
import numpy as np

from aenet_ros.core.frames import Frame, FramePair

RGB_MATRIX = np.array([[520.0, 0, 322.0], [0, 518.0, 243.0], [0, 0, 1]])
RGB_LENS = np.array([-0.2, 0.05, 0.0005, -0.0005, 0.0])
RGB_SIZE = (480, 640)
THERMAL_MATRIX = np.array([[330.0, 0, 158.0], [0, 331.0, 130.0], [0, 0, 1]])
THERMAL_LENS = np.array([-0.28, 0.06, 0.0, 0.0, 0.0])
THERMAL_SIZE = (256, 320)
CAMERAS = {"rgb": (RGB_MATRIX, RGB_LENS, RGB_SIZE), "thermal": (THERMAL_MATRIX, THERMAL_LENS, THERMAL_SIZE)}
ROTATION = cv2.Rodrigues(np.array([0.02, -0.04, 0.015]))[0]
TRANSLATION = np.array([0.06, -0.01, 0.004])


def checkerboard(columns, rows, step):
    """Brightness of a board with that many inner corners, the first at (0, 0), as a function of metres."""

    def at(x, y):
        column, row = np.floor(x / step).astype(int), np.floor(y / step).astype(int)
        inside = (column >= -1) & (column < columns) & (row >= -1) & (row < rows)
        return np.where(inside & ((column + row) % 2 == 0), 0.1, 0.9)

    return at


def circles(columns, rows, step):
    """Brightness of dark circles in an asymmetric grid."""

    def at(x, y):
        row = np.round(y / step)
        odd = np.mod(row, 2)
        column = np.round((x / step - odd) / 2)
        off = np.hypot(x - (2 * column + odd) * step, y - row * step)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return np.where(inside & (off < 0.55 * step), 0.1, 0.9)

    return at


FINE = 2  # rays across a pixel


@cache
def rays(role):
    """Directions of FINE x FINE rays a pixel: float64 [H FINE, W FINE, 3]."""
    matrix, lens, (height, width) = CAMERAS[role]
    x, y = np.meshgrid((np.arange(width * FINE) + 0.5) / FINE - 0.5, (np.arange(height * FINE) + 0.5) / FINE - 0.5)
    flat = cv2.undistortPoints(np.column_stack([x.ravel(), y.ravel()])[:, None], matrix, lens)[:, 0]
    return np.hstack([flat, np.ones((x.size, 1))]).reshape(*x.shape, 3)


def photograph(board, rotation, translation, role):
    """float32 [H, W] 0..1: what a camera sees of a board whose points p lie at rotation @ p + translation before it."""
    directions = rays(role) @ rotation
    origin = -rotation.T @ translation
    reach = -origin[2] / directions[..., 2]
    seen = board(origin[0] + reach * directions[..., 0], origin[1] + reach * directions[..., 1])
    height, width = CAMERAS[role][2]
    return cv2.resize(seen.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)


def views(board, extent, count, hot=False, seed=0):
    """Pairs of a board of ``extent`` (metres) in many poses; in the thermal picture what is dark in rgb is cold, or with ``hot`` warm."""
    rng = np.random.default_rng(seed)
    pairs = []
    for index in range(count):
        turn = cv2.Rodrigues(rng.uniform(-0.45, 0.45, 3) * [1, 1, 0.4])[0]
        middle = np.array([rng.uniform(-0.12, 0.12), rng.uniform(-0.09, 0.09), rng.uniform(0.75, 1.1)])
        place = middle - turn @ np.array([extent[0] / 2, extent[1] / 2, 0])
        in_rgb = photograph(board, turn, place, "rgb")
        in_thermal = photograph(board, ROTATION @ turn, ROTATION @ place + TRANSLATION, "thermal")
        grey = np.clip(in_rgb * 200 + rng.normal(0, 2, RGB_SIZE) + 20, 0, 255).astype(np.uint8)
        heat = cv2.GaussianBlur(1 - in_thermal if hot else in_thermal, (0, 0), 0.7)
        counts = (29_500 + heat * 600 + rng.normal(0, 8, THERMAL_SIZE)).astype(np.uint16)
        pairs.append(FramePair(Frame(index, counts, "mono16"), Frame(index, np.dstack([grey] * 3), "bgr8")))
    return pairs
