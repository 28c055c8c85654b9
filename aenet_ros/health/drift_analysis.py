"""Drift of the registration in force, over a few pairs now and then: how far thermal edges lie from rgb edges.

Measured in a background thread, with its own lock and its own error counter.
"""

import threading
import time
from collections import deque
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.config import Config
from aenet_ros.core.camera import Size
from aenet_ros.core.errors import format_error
from aenet_ros.core.frames import Array, Frame, FramePair, Plane
from aenet_ros.core.mailbox import Mailbox
from aenet_ros.health.status import OK, WARN, Code, Status
from aenet_ros.registration.image_alignment import (
    MIN_BLOCKS,
    SCORE_RANGE,
    BlockScores,
    best_shifts,
    blur_for_step,
    coinciding,
    edge_planes,
    fit_homography,
    grey,
    match_blocks,
    pair_weights,
)
from aenet_ros.registration.registration import Registration
from aenet_ros.registration.warp_maps import FloatMap, typical_step

PERIOD_S = 3.0  # between two pairs that are analyzed
WIDTH = 160  # of the pictures that are compared; 30 ms a pair
REACH = 9  # pixels of those pictures: the largest drift that is measured is 6 % of the width
HISTORY = 8  # pairs
MIN_HISTORY = 3


class Drift(NamedTuple):
    """``off_px``: mean distance between thermal and rgb edges in rgb pixels; None where the pairs have too few common edges.

    ``coincide`` 0..1: share of the edges that coincide under the map in force; ``pairs``: pairs used.
    """

    off_px: float | None
    coincide: float
    pairs: int


class DriftMonitor:
    """Measures the drift over the last HISTORY pairs. Not thread-safe."""

    def __init__(self) -> None:
        self._blocks: deque[BlockScores] = deque(maxlen=HISTORY)
        self._rgb_size: Size = (0, 0)

    def push(self, pair: FramePair, float_map: FloatMap) -> None:
        """Add a pair; ``float_map``: ``Registration.map`` of its sizes."""
        if pair.rgb.size != self._rgb_size:
            self._blocks.clear()
            self._rgb_size = pair.rgb.size
        size, (height, width) = _compared_size(self._rgb_size), pair.thermal.size
        thermal = _small(pair.thermal, 2 * WIDTH)
        x, y = (cv2.resize(axis, size[::-1], interpolation=cv2.INTER_LINEAR) for axis in float_map)
        x, y = (x + 0.5) * (thermal.shape[1] / width) - 0.5, (y + 0.5) * (thermal.shape[0] / height) - 0.5
        with np.errstate(invalid="ignore"):
            valid = (x >= 0) & (x <= thermal.shape[1] - 1) & (y >= 0) & (y <= thermal.shape[0] - 1)
        known = [np.nan_to_num(axis, nan=-16.0).astype(np.float32) for axis in (x, y)]
        step = min(max(1.0, typical_step(x, 1)), WIDTH)  # a degenerate map must not ask for an endless blur
        warped = cv2.remap(blur_for_step(thermal, step), known[0], known[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        rgb = np.asarray(cv2.resize(_small(pair.rgb, WIDTH), size[::-1], interpolation=cv2.INTER_AREA), np.float32)
        self._blocks.append(match_blocks([edge_planes(rgb)], [edge_planes(warped, valid)], REACH))

    def drift(self) -> Drift | None:
        """The drift; None before MIN_HISTORY pairs."""
        if len(self._blocks) < MIN_HISTORY:
            return None
        blocks = BlockScores(
            np.concatenate([one.scores for one in self._blocks]),
            np.concatenate([one.energy for one in self._blocks]),
            self._blocks[0].centres,
        )
        weights = pair_weights(blocks)
        coincide = coinciding(blocks, weights, np.eye(3))
        found = best_shifts(blocks, weights)
        if len(found.centres) < MIN_BLOCKS:
            return Drift(None, coincide, len(self._blocks))
        size = _compared_size(self._rgb_size)
        change, _ = fit_homography(found, size, 4)
        # Shifts found by chance fit no homography: with it hardly more edges coincide than by chance.
        fits = coinciding(blocks, weights, change) > SCORE_RANGE[0]
        return Drift(_mean_shift(change, size) * self._rgb_size[1] / WIDTH if fits else None, coincide, len(self._blocks))


def _compared_size(rgb_size: Size) -> Size:
    return max(32, round(rgb_size[0] * WIDTH / rgb_size[1])), WIDTH


def _small(frame: Frame, width: int) -> Plane:
    """``grey`` of the frame at about ``width``; shrunk first, to save time."""
    if width >= frame.size[1]:
        return grey(frame)
    height = max(1, round(frame.size[0] * width / frame.size[1]))
    return grey(Frame(0, np.asarray(cv2.resize(frame.filled, (width, height), interpolation=cv2.INTER_AREA)), frame.encoding))


def _mean_shift(change: Array, size: Size) -> float:
    height, width = size
    x, y = np.meshgrid(np.linspace(0, width - 1, 8), np.linspace(0, height - 1, 6))
    points = np.stack([x.ravel(), y.ravel()], axis=1)[None]
    return float(np.linalg.norm(cv2.perspectiveTransform(points, change) - points, axis=-1).mean())


class DriftAnalysis:
    """One activation's drift. ``put`` returns at once; an exception in the thread is counted and reported by ``status``, never raised."""

    def __init__(self, period_s: float = PERIOD_S) -> None:
        self.errors = 0
        self._period_ns, self._next_ns = round(period_s * 1e9), 0
        self._mailbox: Mailbox[tuple[FramePair, Registration, float]] = Mailbox()
        self._found: tuple[Drift | None, str] = None, ""  # the last result, or why there is none
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self._thread.start()

    def put(self, pair: FramePair, registration: Registration, plane_distance_m: float) -> None:
        """Take a matched pair; only one every PERIOD_S is analyzed. In mode depth none is: each pair has its own map."""
        now_ns = time.monotonic_ns()
        if now_ns >= self._next_ns and registration.mode != "depth" and not self._mailbox.closed:
            self._next_ns = now_ns + self._period_ns
            self._mailbox.put((pair, registration, plane_distance_m))

    def stop(self) -> None:
        """End the thread after the analysis in progress, whose result is dropped."""
        self._mailbox.close()
        self._thread.join(5)  # a thread that is inside OpenCV when the interpreter ends aborts the process

    def _run(self) -> None:
        monitor, known_distance_m = DriftMonitor(), 0.0
        while (taken := self._mailbox.take(None)) is not None:
            pair, registration, plane_distance_m = taken
            if plane_distance_m != known_distance_m:
                monitor, known_distance_m = DriftMonitor(), plane_distance_m
            drift, problem = None, ""
            try:
                monitor.push(pair, registration.map(pair.thermal.size, pair.rgb.size, plane_distance_m))
                drift = monitor.drift()
            except Exception as error:  # background analysis must not disturb the fusion
                problem = f"the drift cannot be measured: {format_error(error)}"
            if self._mailbox.closed:
                return
            self._found = drift, problem
            self.errors += bool(problem)

    def status(self, config: Config, problem: str = "") -> Status:
        """The drift for diagnostics; ``problem``: why the registration itself is in doubt."""
        drift, failure = self._found
        problem, limit_px = problem or failure, config.diagnostics.max_drift_px
        values = {"mode": config.registration.mode}
        if self.errors:
            values["errors of the analysis"] = str(self.errors)
        if problem:
            return Status("registration", WARN, Code.REGISTRATION_DOUBTFUL, problem, values)
        if drift is None:
            waiting = "each pair's depth image is used" if config.registration.mode == "depth" else "not measured yet"
            return Status("registration", OK, Code.REGISTRATION_OK, waiting, values)
        values["edges that coincide [%]"] = f"{100 * drift.coincide:.0f}"
        values["pairs analyzed"] = str(drift.pairs)
        if drift.off_px is None:
            text = "the views of both cameras have too few common edges to measure the drift"
            return Status("registration", OK, Code.REGISTRATION_OK, text, values)
        values["drift [px]"] = f"{drift.off_px:.1f}"
        if limit_px and drift.off_px > limit_px:
            distance = ", or is registration.plane_distance_m wrong for this scene" if config.registration.mode == "plane" else ""
            text = (
                f"thermal edges lie {drift.off_px:.0f} px beside the rgb edges (diagnostics.max_drift_px {limit_px:g}): were the cameras "
                f"knocked, or never calibrated{distance}? Call ~/estimate_registration or `aenet calibrate`, and set what it says"
            )
            return Status("registration", WARN, Code.REGISTRATION_DRIFT, text, values)
        held = f"holds: thermal edges lie within {drift.off_px:.1f} px of the rgb edges"
        return Status("registration", OK, Code.REGISTRATION_OK, held, values)
