"""The drift score against a rig whose registration is known to be off by so much."""

import time

import cv2
import numpy as np
import pytest

from aenet_ros.config import RegistrationConfig, build
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.health.drift_analysis import DriftAnalysis, DriftMonitor
from aenet_ros.health.status import WARN
from aenet_ros.registration.registration import Registration
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig


@pytest.fixture(scope="module")
def seen():
    """The rig's truth and 8 pairs of it, 3 s apart."""
    rig = Rig(RigConfig(scenes="day,night"))
    shots = {"thermal": [], "rgb": []}
    for shot in rig.schedule(seconds=22.0):
        if shot.index % 90 == 0:
            shots[shot.stream].append(Frame(0, rig.render(shot), "mono16" if shot.stream == "thermal" else "rgb8"))
    return rig.homography, [FramePair(*pair) for pair in zip(shots["thermal"], shots["rgb"], strict=True)]


def told(matrix, pairs):
    registration = Registration(RegistrationConfig(mode="homography", homography=tuple(matrix.ravel())))
    monitor = DriftMonitor()
    for pair in pairs:
        monitor.push(pair, registration.map(pair.thermal.size, pair.rgb.size))
    return monitor.drift()


def test_a_true_registration_has_little_drift(seen):
    drift = told(*seen)
    assert drift.off_px < 2.0
    assert drift.coincide > 0.2


@pytest.mark.parametrize(("right", "down"), [(12.0, 0.0), (-6.0, 9.0), (25.0, 0.0)])
def test_a_knock_is_told_by_its_size(seen, right, down):
    truth, pairs = seen
    drift = told(truth @ np.array([[1, 0, right], [0, 1, down], [0, 0, 1]]), pairs)
    assert drift.off_px == pytest.approx(np.hypot(right, down), abs=2.0)


def test_a_registration_that_is_none_is_looked_at_in_no_time(seen):
    """Neighbours a million and more pixels apart: the thermal picture is not blurred over as many."""
    pair = seen[1][0]
    across = np.tile(np.arange(pair.rgb.size[1], dtype=np.float32), (pair.rgb.size[0], 1))
    for step in (1e30, 1e6):
        DriftMonitor().push(pair, (across * np.float32(step), across * 0))
    nothing = np.full_like(across, np.nan)
    DriftMonitor().push(pair, (nothing, nothing))


def test_nothing_is_told_of_blank_pictures_or_too_few(seen):
    truth, pairs = seen
    assert told(truth, pairs[:2]) is None
    blank = FramePair(Frame(0, np.full((512, 640), 30_000, np.uint16), "mono16"), pairs[0].rgb)
    assert told(truth, [blank] * 4).off_px is None
    noise = np.random.default_rng(0).integers(29_000, 31_000, (8, 512, 640)).astype(np.uint16)
    drift = told(truth, [FramePair(Frame(0, cv2.blur(heat, (9, 9)), "mono16"), pair.rgb) for heat, pair in zip(noise, pairs, strict=True)])
    assert drift.off_px is None


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_error_of_the_background_analysis_is_counted_and_reported_there_and_the_next_pair_is_analyzed(seen):
    truth, pairs = seen
    config = build({"registration.mode": "homography", "registration.homography": tuple(truth.ravel())})
    registration, lenses_unknown = Registration(config.registration), Registration(RegistrationConfig("plane", extrinsics_source="tf"))
    analysis = DriftAnalysis(period_s=0.0)
    try:
        analysis.put(pairs[0], lenses_unknown, 10.0)
        wait_for(lambda: analysis.errors == 1)
        status = analysis.status(config)
        assert (status.level, status.values["errors of the analysis"]) == (WARN, "1")
        assert "the drift cannot be measured: the cameras' pose is not known" in status.message
        for pair in pairs:
            analysis.put(pair, registration, 10.0)
            wait_for(lambda: not analysis._mailbox.waiting)
        wait_for(lambda: "holds" in analysis.status(config).message)
        assert analysis.errors == 1
    finally:
        analysis.stop()
    analysis.put(pairs[0], lenses_unknown, 10.0)  # after stop nothing starts again
    analysis._thread.join(60)
    assert (analysis._thread.is_alive(), analysis._mailbox.waiting, analysis.errors) == (False, False, 1)
