"""Measures the drift of the registration in a background thread, with its own lock and its own error counter."""

import threading
import time

from aenet_ros.config import Config
from aenet_ros.core.errors import format_error
from aenet_ros.core.frames import FramePair
from aenet_ros.health.status import OK, WARN, Status
from aenet_ros.registration.drift import Drift, DriftMonitor
from aenet_ros.registration.registration import Registration

PERIOD_S = 3.0  # between two pairs that are analyzed


class DriftAnalysis:
    """One activation's drift. ``put`` returns at once; an exception in the thread is counted and reported by ``status``, never raised."""

    def __init__(self, period_s: float = PERIOD_S) -> None:
        self.errors = 0
        self._period_ns = round(period_s * 1e9)
        self._changed = threading.Condition()
        self._next_ns = 0
        self._pair: tuple[FramePair, Registration, float] | None = None
        self._drift: Drift | None = None
        self._problem = ""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self._thread.start()

    def put(self, pair: FramePair, registration: Registration, plane_distance_m: float) -> None:
        """Take a matched pair; only one every PERIOD_S is analyzed. In mode depth none is: each pair has its own map."""
        now_ns = time.monotonic_ns()
        with self._changed:
            if self._stopping or now_ns < self._next_ns or registration.mode == "depth":
                return
            self._next_ns = now_ns + self._period_ns
            self._pair = (pair, registration, plane_distance_m)
            self._changed.notify()

    def stop(self) -> None:
        """End the thread after the analysis in progress, whose result is dropped."""
        with self._changed:
            self._stopping, self._pair = True, None
            self._changed.notify()
        self._thread.join(5)  # a thread that is inside OpenCV when the interpreter ends aborts the process

    def _run(self) -> None:
        monitor, known_distance_m = DriftMonitor(), 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pair is not None or self._stopping)
                if self._stopping or self._pair is None:
                    return
                (pair, registration, plane_distance_m), self._pair = self._pair, None
            if plane_distance_m != known_distance_m:
                monitor, known_distance_m = DriftMonitor(), plane_distance_m
            drift, problem = None, ""
            try:
                monitor.push(pair, registration.map(pair.thermal.size, pair.rgb.size, plane_distance_m))
                drift = monitor.drift()
            except Exception as error:  # background analysis must not disturb the fusion
                problem = f"the drift cannot be measured: {format_error(error)}"
            with self._changed:
                if self._stopping:
                    return
                self._drift, self._problem = drift, problem
                self.errors += bool(problem)

    def status(self, config: Config, problem: str = "") -> Status:
        """The drift for diagnostics; ``problem``: why the registration itself is in doubt."""
        with self._changed:
            drift, problem, errors = self._drift, problem or self._problem, self.errors
        limit_px = config.diagnostics.max_drift_px
        values = {"mode": config.registration.mode}
        if errors:
            values["errors of the analysis"] = str(errors)
        if drift is None or problem:
            waiting = "each pair's depth image is used" if config.registration.mode == "depth" else "not measured yet"
            return Status("registration", WARN if problem else OK, problem or waiting, values)
        values["edges that coincide [%]"] = f"{100 * drift.coincide:.0f}"
        values["pairs analyzed"] = str(drift.pairs)
        if drift.off_px is None:
            return Status("registration", OK, "the views of both cameras have too few common edges to measure the drift", values)
        values["drift [px]"] = f"{drift.off_px:.1f}"
        if limit_px and drift.off_px > limit_px:
            distance = ", or is registration.plane_distance_m wrong for this scene" if config.registration.mode == "plane" else ""
            text = (
                f"thermal edges lie {drift.off_px:.0f} px beside the rgb edges (diagnostics.max_drift_px {limit_px:g}): were the cameras "
                f"knocked, or never calibrated{distance}? Call ~/estimate_registration or `aenet calibrate`, and set what it says"
            )
            return Status("registration", WARN, text, values)
        return Status("registration", OK, f"holds: thermal edges lie within {drift.off_px:.1f} px of the rgb edges", values)
