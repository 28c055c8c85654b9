"""Calibration from any scenes: the pairs to use, a homography or the rotation between the cameras, and a picture to check the result.

For the rotation both lenses are known: the pictures are undistorted, the homography between them is estimated
(``registration.estimate``), and the rotation that explains it best is fitted. Scenes do not show the distance between the cameras: the
translation is taken as given.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from aenet_ros.config import RegistrationConfig
from aenet_ros.core.camera import Camera, Stereo, scaling
from aenet_ros.core.errors import ConfigError, ImageError, SourceError
from aenet_ros.core.frames import Array, Frame, FramePair
from aenet_ros.io.files import write_picture
from aenet_ros.io.source import SourceItem
from aenet_ros.registration.calibration_file import (
    Homography,
    homography_content,
    read_homography,
    read_stereo,
    read_yaml,
    stereo_content,
    write_calibration,
)
from aenet_ros.registration.estimate import MIN_CONFIDENCE, Estimate, estimate
from aenet_ros.registration.image_alignment import grey
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import Registration
from aenet_ros.workbench.contact_sheet import contact_sheet

NamedPair = tuple[str, FramePair]

STEPS = 20
POINTS = (12, 16)  # rows and columns of a grid over the rgb picture
ORANGE = np.array([255, 140, 0], np.float32)
SHOWN = 3


def collect(source: Iterable[SourceItem], most: int) -> tuple[list[NamedPair], list[str]]:
    """At most ``most`` pairs with their names, evenly spread, all of one size, and sentences on what was left out.

    The source may be long: at no time more than ``2 * most`` pairs are kept. Raises SourceError where there is none.
    """
    kept: list[NamedPair] = []
    step, remarks = 1, []
    for index, item in enumerate(source):
        if item.error:
            remarks.append(f"left out: {item.name}: {item.error}")
        elif index % step == 0 and item.pair is not None:
            kept.append((item.name, item.pair))
        if len(kept) >= 2 * most:
            kept, step = kept[::2], 2 * step
    if not kept:
        raise SourceError("; ".join(remarks[:3]) or "the source holds no pair: see what it holds with `aenet inspect`")
    kept = [kept[index * len(kept) // min(most, len(kept))] for index in range(min(most, len(kept)))]
    sizes = [(pair.thermal.size, pair.rgb.size) for _, pair in kept]
    usual, count = Counter(sizes).most_common(1)[0]
    if count < len(kept):
        thermal, rgb = (f"{width}x{height}" for height, width in usual)
        remarks.append(f"{len(kept) - count} pairs left out: their sizes are not thermal {thermal}, rgb {rgb}, which most have")
    return [item for item, size in zip(kept, sizes, strict=True) if size == usual], remarks


def read_start(path: Path) -> Homography | Stereo:
    """The former calibration in a file; the pose of its cameras may be missing."""
    if "homography" in read_yaml(path):
        return read_homography(RegistrationConfig(mode="homography", file=str(path)))
    return read_stereo(RegistrationConfig(mode="plane", file=str(path), extrinsics_source="tf"))


def calibrate_scenes(pairs: Sequence[FramePair], start: Homography | Stereo | None, distance: float) -> dict[str, Any]:
    """The report of a calibration: ``mode``, ``content`` of the file, ``words`` and measures. ``distance`` as for ``estimate_pose``.

    Raises ImageError where the result cannot be trusted.
    """
    if isinstance(start, Stereo):
        pose = estimate_pose(pairs, start, distance)
        degrees = ", ".join(f"{value:.2f}" for value in np.rad2deg(np.ravel(cv2.Rodrigues(pose.stereo.rotation)[0])))
        report = _trusted(pose.found, f"rotation of the thermal camera ({degrees} degrees about right, down, ahead)")
        return {**report, "mode": "plane", "content": stereo_content(pose.stereo), "rms_px": round(pose.rms_px, 3)}
    found = estimate(pairs, None if start is None else start.scaled_to(pairs[0].thermal.size, pairs[0].rgb.size))
    content = homography_content(Homography(found.matrix, found.thermal_size, found.rgb_size))
    return {**_trusted(found, "homography"), "mode": "homography", "content": content, "homography": found.matrix.ravel().tolist()}


def _trusted(found: Estimate, what: str) -> dict[str, Any]:
    """The measures of an estimate. Raises ImageError where it cannot be trusted."""
    if found.confidence < MIN_CONFIDENCE:
        trust = f"confidence {found.confidence:.2f}, {MIN_CONFIDENCE} needed"
        raise ImageError(f"no registration can be trusted ({trust}): {found.reason}; nothing is written")
    text = (
        f"{what} from {found.pairs} pairs: confidence {found.confidence:.2f}, {100 * found.score:.0f} % of the edges coincide, "
        f"corners uncertain by {found.spread_px:.1f} px"
    )
    measures = {name: round(getattr(found, name), 4) for name in ("confidence", "score", "spread_px", "agreeing")}
    return {"pairs": found.pairs, **measures, "words": text}


class PoseEstimate(NamedTuple):
    """``stereo`` with the rotation; ``found``: homography of the undistorted pictures; ``rms_px``: residual in thermal pixels."""

    stereo: Stereo
    found: Estimate
    rms_px: float


def estimate_pose(pairs: Sequence[FramePair], start: Stereo, distance: float) -> PoseEstimate:
    """The rotation of the thermal camera; ``start`` has both cameras, and the translation, which is kept.

    ``distance``: of most of the scene, in metres. Raises ConfigError where a camera is missing, ImageError as ``estimate`` does.
    """
    if start.rgb is None or start.thermal is None:
        raise ConfigError("the pose needs the lenses of both cameras: rgb_camera and thermal_camera in the file of --start")
    rgb_frames, rgb = _undistort([pair.rgb for pair in pairs], start.rgb)
    thermal_frames, thermal = _undistort([pair.thermal for pair in pairs], start.thermal)
    guess = _homography(rgb, thermal, start.rotation, start.translation, distance) if start.has_pose else None
    found = estimate([FramePair(*frames) for frames in zip(thermal_frames, rgb_frames, strict=True)], guess)
    rotation, rms_px = _fit(rgb, thermal, start, found.matrix, distance)
    return PoseEstimate(start._replace(rotation=rotation, has_pose=True), found, rms_px)


def _undistort(frames: Sequence[Frame], camera: Camera) -> tuple[list[Frame], Camera]:
    """The frames, all of one size, without distortion, and their camera."""
    size = frames[0].size
    matrix, lens = scaling(camera.size, size) @ camera.matrix, np.array(camera.distortion or (0.0,) * 4)
    make_maps: Any = cv2.fisheye.initUndistortRectifyMap if camera.model == "equidistant" else cv2.initUndistortRectifyMap
    columns, rows = make_maps(matrix, lens, np.eye(3), matrix, size[::-1], cv2.CV_32FC1)
    pictures = [cv2.remap(frame.data, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for frame in frames]
    return [replace(frame, data=picture) for frame, picture in zip(frames, pictures, strict=True)], Camera(matrix, size)


def _homography(rgb: Camera, thermal: Camera, rotation: Array, translation: Array, distance: float) -> Array:
    """Rgb to thermal pixels of what lies on the plane ``distance`` ahead of the rgb camera."""
    matrix: Array = thermal.matrix @ (rotation + np.outer(translation, [0, 0, 1]) / distance) @ np.linalg.inv(rgb.matrix)
    return np.asarray(matrix / matrix[2, 2])


def _fit(rgb: Camera, thermal: Camera, start: Stereo, matrix: Array, distance: float) -> tuple[Array, float]:
    """The rotation whose homography is nearest to ``matrix`` inside the thermal view, by Gauss-Newton, and the rms in pixels."""
    height, width = rgb.size
    y, x = np.meshgrid(np.linspace(0, height - 1, POINTS[0]), np.linspace(0, width - 1, POINTS[1]), indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=1)[None]
    wanted = cv2.perspectiveTransform(points, matrix)[0]
    seen = ((wanted > 0) & (wanted < [thermal.size[1], thermal.size[0]])).all(1)
    points, wanted = points[:, seen], wanted[seen]

    def residual(turn: Array) -> Array:
        rotation = np.asarray(cv2.Rodrigues(turn)[0])
        given = _homography(rgb, thermal, rotation, start.translation, distance)
        return np.asarray((cv2.perspectiveTransform(points, given)[0] - wanted).ravel())

    turn = np.ravel(cv2.Rodrigues(start.rotation)[0]).astype(np.float64)
    for _ in range(STEPS):
        now = residual(turn)
        slopes = np.stack([(residual(turn + step) - now) / 1e-6 for step in 1e-6 * np.eye(3)], axis=1)
        change = np.linalg.lstsq(slopes, -now, rcond=None)[0]
        turn = turn + change
        if np.linalg.norm(change) < 1e-9:
            break
    return np.asarray(cv2.Rodrigues(turn)[0]), float(np.sqrt(np.mean(np.square(residual(turn))) * 2))


def write_result(
    out: Path, picture: Path, named: Sequence[tuple[str, FramePair]], config: RegistrationConfig, report: dict[str, Any]
) -> None:
    """Write the calibration of a report to ``out``, and a picture of some pairs before (by ``config``) and after to ``picture``."""
    before = Registration(config)  # first: an error in it must not leave a partial result
    usage = f"Set registration.mode: {report['mode']} and registration.file: to this file."
    write_calibration(out, report["content"], [f"Written by `aenet calibrate`: {report['words']}.", usage])
    after = Registration(replace(config, mode=report["mode"], file=str(out)))
    write_picture(picture, _before_and_after(named, before, after), "rgb8")


def _before_and_after(pairs: Sequence[NamedPair], before: Registration, after: Registration) -> Array:
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
