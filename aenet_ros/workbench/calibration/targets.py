"""Lenses and pose from views of a board: a checkerboard or an asymmetric grid of circles, bright on dark or dark on bright.

Detection and optimisation are OpenCV's (calibrateCamera: Zhang, PAMI 2000). A checkerboard looks the same upside down: of the two orders of
its points, the one with the smaller rotation between the cameras is used.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from aenet_ros.core.camera import Camera, Size, Stereo
from aenet_ros.core.errors import ConfigError, SourceError
from aenet_ros.core.frames import Array, Frame, FramePair
from aenet_ros.registration.calibration_file import stereo_content
from aenet_ros.registration.image_alignment import grey

MIN_VIEWS = 5
OUTLIER = 3.0  # views whose error exceeds OUTLIER times the median are left out
FLAGS = cv2.CALIB_FIX_K3  # a third radial term takes more and better views than most people have; it does harm outside them
MIN_WIDTH = 640  # smaller pictures are enlarged for detection


class Target(NamedTuple):
    """``kind`` checkerboard or circles; ``columns`` and ``rows`` of points (inner corners); ``metres`` between them.

    For circles as OpenCV counts them: ``columns`` in a row, rows offset by half; ``metres`` is half of the distance within a row.
    """

    kind: str
    columns: int
    rows: int
    metres: float

    def points(self) -> Array:
        """The points on the board: float32 [N, 3], metres."""
        row, column = np.divmod(np.arange(self.columns * self.rows), self.columns)
        x = 2 * column + row % 2 if self.kind == "circles" else column
        return (np.column_stack([x, row, np.zeros_like(row)]) * self.metres).astype(np.float32)


def parse_target(text: str) -> Target:
    """A target from ``KIND:COLSxROWS:METRES``; raises ConfigError."""
    try:
        kind, shape, metres = text.split(":")
        columns, rows = (int(part) for part in shape.lower().split("x"))
        target = Target(kind, columns, rows, float(metres))
    except ValueError as error:
        raise ConfigError(f"--target {text}: give KIND:COLSxROWS:METRES, for example checkerboard:8x6:0.04 or circles:4x11:0.03") from error
    if kind not in ("checkerboard", "circles") or min(columns, rows) < 3 or not 0 < target.metres < 100:
        raise ConfigError(f"--target {text}: KIND is checkerboard or circles, COLS and ROWS are 3 or more, METRES over 0")
    return target


def detect(frame: Frame, target: Target) -> Array | None:
    """The board's points in a frame, float32 [N, 2] pixels, or None. Bright on dark and dark on bright are both looked for."""
    picture = np.round(grey(frame) * 255).astype(np.uint8)
    factor = max(1, round(MIN_WIDTH / picture.shape[1]))
    if factor > 1:
        picture = np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)
    for shown in (picture, cv2.bitwise_not(picture)):
        found = _find(np.asarray(shown, np.uint8), target)
        if found is not None:
            return np.asarray((found.reshape(-1, 2) + 0.5) / factor - 0.5, np.float32)
    return None


def _find(picture: Array, target: Target) -> Array | None:
    size = (target.columns, target.rows)
    if target.kind == "circles":
        good, points = cv2.findCirclesGrid(picture, size, flags=cv2.CALIB_CB_ASYMMETRIC_GRID | cv2.CALIB_CB_CLUSTERING)
        return np.asarray(points) if good else None
    good, points = cv2.findChessboardCorners(picture, size, flags=cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE)
    if not good:
        return None
    step = float(np.linalg.norm(np.diff(points.reshape(-1, 2)[: size[0]], axis=0), axis=1).min())
    reach = int(np.clip(step / 3, 2, 11))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-3)
    return np.asarray(cv2.cornerSubPix(picture, np.asarray(points, np.float32), (reach, reach), (-1, -1), criteria))


class Calibrated(NamedTuple):
    """``stereo`` with both cameras; root mean square reprojection errors in pixels of each alone and of both together; views used."""

    stereo: Stereo
    rgb_rms_px: float
    thermal_rms_px: float
    stereo_rms_px: float
    views: dict[str, int]
    view_rms_px: dict[str, list[float]]


def calibrate_target(pairs: Sequence[FramePair], target: Target, name: str) -> dict[str, Any]:
    """The report of a calibration with a target called ``name``: ``mode``, ``content`` of the file, ``words`` and errors."""
    found = calibrate(pairs, target)
    metres = ", ".join(f"{value:.3f}" for value in found.stereo.translation)
    summary = (
        f"lenses and pose from {name}: reprojection error rgb {found.rgb_rms_px:.2f} px ({found.views['rgb']} views), thermal "
        f"{found.thermal_rms_px:.2f} px ({found.views['thermal']}), together {found.stereo_rms_px:.2f} px ({found.views['both']}); "
        f"the rgb camera is at ({metres}) m in the thermal camera's frame (right, down, ahead)"
    )
    errors = {name: round(getattr(found, name), 4) for name in ("rgb_rms_px", "thermal_rms_px", "stereo_rms_px")}
    views = {"views": found.views, "view_rms_px": found.view_rms_px}
    return {"mode": "plane", "content": stereo_content(found.stereo), **errors, **views, "words": summary}


def calibrate(pairs: Sequence[FramePair], target: Target) -> Calibrated:
    """Both cameras and their pose out of views of the target. Raises SourceError where too few views show it."""
    found = {"rgb": [detect(pair.rgb, target) for pair in pairs], "thermal": [detect(pair.thermal, target) for pair in pairs]}
    sizes = {"rgb": pairs[0].rgb.size, "thermal": pairs[0].thermal.size}
    board = target.points()
    cameras, rms, per_view = {}, {}, {}
    for role, views in found.items():
        seen = [view for view in views if view is not None]
        if len(seen) < MIN_VIEWS:
            raise SourceError(
                f"the {target.kind} of {target.columns}x{target.rows} points is found in {len(seen)} of {len(pairs)} {role} pictures, "
                f"and {MIN_VIEWS} are needed: is it whole in view, sharp, counted right, and warm against its ground?"
            )
        cameras[role], rms[role], per_view[role] = _intrinsics(seen, board, sizes[role])
    both = [(rgb, thermal) for rgb, thermal in zip(found["rgb"], found["thermal"], strict=True) if rgb is not None and thermal is not None]
    if len(both) < MIN_VIEWS:
        raise SourceError(f"only {len(both)} pairs show the target to both cameras at once; {MIN_VIEWS} are needed for their pose")
    stereo, together, count = _pose(both, board, cameras["rgb"], cameras["thermal"])
    used = {**{role: len(errors) for role, errors in per_view.items()}, "both": count}
    return Calibrated(stereo, rms["rgb"], rms["thermal"], together, used, per_view)


def _intrinsics(views: Sequence[Array], board: Array, size: Size) -> tuple[Camera, float, list[float]]:
    kept = list(views)
    for _ in range(2):
        boards: list[Any] = [board] * len(kept)
        # OpenCV's guess (which is all None asks for) knows no lens; it suffices for views that are tilted.
        rms, matrix, lens, _, _, _, _, errors = cv2.calibrateCameraExtended(boards, kept, size[::-1], np.eye(3), np.zeros(5), flags=FLAGS)
        off = np.asarray(errors).ravel()
        good = off <= OUTLIER * max(float(np.median(off)), 0.05)
        if good.all() or good.sum() < MIN_VIEWS:
            break
        kept = [view for view, fine in zip(kept, good, strict=True) if fine]
    camera = Camera(np.asarray(matrix), size, "plumb_bob", tuple(float(value) for value in np.ravel(lens)[:5]))
    return camera, float(rms), [round(float(value), 3) for value in off]


def _pose(both: Sequence[tuple[Array, Array]], board: Array, rgb: Camera, thermal: Camera) -> tuple[Stereo, float, int]:
    """The pose from rgb to thermal, its root mean square error in pixels, and how many views agree."""
    turns, ordered = [], []
    for in_rgb, in_thermal in both:
        seen = _board_rotation(board, in_rgb, rgb)
        readings = [
            (reading, _board_rotation(board, reading, thermal) @ seen.T) for reading in (in_thermal, np.ascontiguousarray(in_thermal[::-1]))
        ]
        reading, turn = max(readings, key=lambda item: float(np.trace(item[1])))
        ordered.append((in_rgb, reading))
        turns.append(turn)
    off = np.linalg.norm(np.stack(turns) - np.median(turns, axis=0), axis=(1, 2))
    limit = max(0.1, OUTLIER * float(np.median(off)))
    in_rgb_views, in_thermal_views = zip(*(views for views, distance in zip(ordered, off, strict=True) if distance <= limit), strict=True)
    result = cv2.stereoCalibrate(
        [board] * len(in_rgb_views),
        in_rgb_views,
        in_thermal_views,
        rgb.matrix,
        _lens(rgb),
        thermal.matrix,
        _lens(thermal),
        rgb.size[::-1],
        flags=cv2.CALIB_FIX_INTRINSIC,
    )
    return Stereo(rgb, thermal, np.asarray(result[5]), np.ravel(result[6])), float(result[0]), len(in_rgb_views)


def _board_rotation(board: Array, points: Array, camera: Camera) -> Array:
    """The board's rotation in a camera's frame: float64 [3, 3]."""
    _, turn, _ = cv2.solvePnP(board, points, camera.matrix, _lens(camera))
    return np.asarray(cv2.Rodrigues(turn)[0])


def _lens(camera: Camera) -> Array:
    return np.array(camera.distortion or (0.0,) * 5)
