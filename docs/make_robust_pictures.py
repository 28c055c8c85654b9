"""Render the pictures of docs/registration.md and docs/robustness.md: `python docs/make_robust_pictures.py [FOLDER]` (default docs/images).

They show the simulated cameras, or a scene rendered here. The same package, weights and libraries give the same pictures.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from make_pictures import Cell, fused, one_pair, write_pictures

from aenet_ros.config import RegistrationConfig, build
from aenet_ros.core.camera import Camera, Stereo
from aenet_ros.core.frames import Array, Frame, ThermalInput, render_brightness
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.registration.calibration_file import stereo_content
from aenet_ros.registration.output_grid import OutputGrid
from aenet_ros.registration.registration import Registration
from aenet_ros.sync.clock_offset import ClockOffsetEstimator, global_shift, small_grey
from aenet_ros.thermal.agc import ThermalAgc
from aenet_ros.thermal.sensor_correction import EVERY, SensorCorrection
from aenet_ros.thermal.temperature import celsius_at, scale_of
from aenet_ros.workbench.calibration.scenes import overlay
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

APART: dict[str, Any] = {"thermal_width": 320, "thermal_height": 256, "zoom": 1.25, "shift_x": 26.0, "shift_y": -14.0, "rotation_deg": 3.0}
INK, RED, BLUE = (30, 30, 30), (200, 40, 30), (30, 90, 200)
NEAR, FAR, BASE, FOCAL = 2.0, 8.0, 0.2, 260.0


def registration_modes() -> list[Cell]:
    """Thermal edges on the rgb picture, without registration and with a homography."""
    pair, calibrated = one_pair("day", **APART)
    known = build(calibrated).registration
    return [("identity", overlay(pair, Registration())), ("homography", overlay(pair, Registration(known)))]


def registration_depth() -> list[Cell]:
    """A plate at 2 m before a wall at 8 m, in three modes. Red: error of the registered thermal picture."""

    def render(offset: float) -> tuple[Array, Array]:
        column, row = np.meshgrid(np.arange(320.0), np.arange(240.0))
        x, y = (column - 160) / FOCAL, (row - 120) / FOCAL
        plate = (np.abs(x * NEAR + offset) < 0.5) & (np.abs(y * NEAR) < 0.4)
        depth = np.where(plate, NEAR, FAR)
        across, down = x * depth + offset, y * depth
        heat = np.where(plate, 0.75 + 0.2 * np.sin(14 * across) * np.cos(11 * down), 0.25 + 0.2 * np.sin(4 * across) * np.cos(3 * down))
        return heat.astype(np.float32), depth.astype(np.float32)

    camera = Camera(np.array([[FOCAL, 0, 160], [0, FOCAL, 120], [0, 0, 1]]), (240, 320))
    thermal, (truth, depth) = render(-BASE)[0], render(0.0)
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rig.yaml"
        path.write_text(yaml.safe_dump(stereo_content(Stereo(camera, camera, np.eye(3), np.array([BASE, 0.0, 0.0])))))
        for name, mode, distance in (("plane, 8 m", "plane", FAR), ("plane, 2 m", "plane", NEAR), ("depth", "depth", FAR)):
            registration = Registration(RegistrationConfig(mode=mode, file=str(path), plane_distance_m=distance))
            warps = OutputGrid(registration).prepare((240, 320), (240, 320), depth=Frame(0, depth, "32FC1"))
            off = np.abs(warps.thermal(thermal) - truth) * (1.0 if warps.weight is None else warps.weight)
            grey = truth * 200
            cells.append((name, np.dstack([np.maximum(grey, np.clip(off * 600, 0, 255)), grey, grey]).astype(np.uint8)))
    return cells


def registration_grid() -> list[Cell]:
    """The same pair on each output grid."""
    pair, calibrated = one_pair("night", **APART)
    grids = (
        ("rgb, 640x512", {}),
        ("thermal, 320x256", {"output.grid": "thermal"}),
        ("size, 480x200", {"output.width": 480, "output.height": 200}),
    )
    size = {"output.grid": "size"}
    return [
        (f"output.grid {name}", fused(pair, calibrated, options | (size if "output.width" in options else {}))) for name, options in grids
    ]


def robustness_sensor() -> list[Cell]:
    """Bad pixels and column noise: a part of the thermal picture before correction, and after 16 s of motion."""
    config = RigConfig(
        thermal_width=320, thermal_height=256, rgb_hz=0.1, thermal_hz=30 / EVERY, scenes="night", scene_s=60.0,
        dead_pixels=400, weak_pixels=200, column_celsius=0.5,
    )  # fmt: skip
    correction, agc, options = SensorCorrection(), ThermalAgc(), build({"agc.smoothing_s": 0.0})
    for event in Rig(config).events(16.0):
        if event.stream == "thermal":
            frame = event.frame
            for _ in range(EVERY):
                correction.observe(frame, options.sensor)
                correction.update(options.sensor)
    part = np.s_[60:200, 60:280]
    corrected = ThermalInput(frame.data, *agc.gain(frame, options.agc), correction.columns, correction.bad_pixels)
    before = (agc.apply(frame, options.agc) * 255).astype(np.uint8)[part]
    after = (render_brightness(corrected) * 255).astype(np.uint8)[part]
    marks = correction.marks
    found = f"corrected: {marks.dead_pixels} pixels, {marks.column_counts / 100:.2f} degrees of column noise"
    return [(name, cv2.resize(picture, None, fx=2, fy=2)) for name, picture in (("original", before), (found, after))]


def robustness_degrees() -> list[Cell]:
    """Temperatures from the counts of fused/thermal_registered, at pixels of the fused picture."""
    pair, calibrated = one_pair("night", **APART)
    pipeline = FusionPipeline(build({**calibrated, "model.device": "cpu", "model.threads": 1}))
    result = pipeline.process(pair, want_registered=True)
    picture, scale = result.image.copy(), scale_of(build({"agc.profile": "lepton"}).agc)
    for x, y in ((90, 120), (200, 330), (416, 225), (484, 143), (470, 420)):
        degrees = celsius_at(result.thermal_registered, x, y, scale)
        cv2.drawMarker(picture, (x, y), (255, 255, 255), cv2.MARKER_CROSS, 14, 2)
        cv2.putText(picture, f"{degrees:.1f} C", (x + 10, y - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2, cv2.LINE_AA)
    pipeline.close()
    spread = cv2.normalize(
        result.thermal_registered, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U, (result.thermal_registered > 0).astype(np.uint8)
    )
    return [("fused/image", picture), ("fused/thermal_registered (0 where there is none)", spread)]


def robustness_clock() -> list[Cell]:
    """Motion in each stream over time, with the original stamps and with the estimated offset subtracted."""
    config = RigConfig(
        thermal_width=160, thermal_height=128, rgb_width=160, rgb_height=128, thermal_hz=15.0, rgb_hz=15.0, offset_ms=187.0,
        scenes="day", scene_s=60.0,
    )  # fmt: skip
    estimator, last = ClockOffsetEstimator(), {}
    energy: dict[str, list[tuple[int, float]]] = {"thermal": [], "rgb": []}
    for event in Rig(config).events(14.0):
        grey = small_grey(event.frame)
        (estimator.push_thermal if event.stream == "thermal" else estimator.push_rgb)(event.frame.stamp_ns, grey)
        if event.stream in last:
            energy[event.stream].append((event.frame.stamp_ns, global_shift(last[event.stream], grey)[1]))
        last[event.stream] = grey
    found = estimator.estimate()
    assert found is not None
    cells = []
    for name, offset_ns in (("original stamps", 0), (f"minus {found.offset_ns / 1e6:.1f} ms (true offset: 187 ms)", found.offset_ns)):
        page = np.full((220, 640, 3), 250, np.uint8)
        for stream, colour in (("thermal", RED), ("rgb", BLUE)):
            stamps, values = (np.array(column, np.float64) for column in zip(*energy[stream], strict=True))
            seconds = (stamps - (offset_ns if stream == "thermal" else 0)) / 1e9
            level = (values - values.min()) / np.ptp(values)
            points = np.column_stack([(seconds - 9.0) * 140, 205 - 190 * level])
            cv2.polylines(page, [np.round(points * 8).astype(np.int32)], False, colour, 2, cv2.LINE_AA, shift=3)
            cv2.putText(page, stream, (10, 20 if stream == "thermal" else 40), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
        cells.append((name, page))
    return cells


def robustness_quality() -> list[Cell]:
    """Fused pictures with good and with bad quality values."""
    pair, calibrated = one_pair("day")
    cells = []
    for name, gain in (("good", 1.0), ("rgb overexposed", 6.0), ("both blind", 0.02)):
        rgb = replace(pair.rgb, data=np.clip(pair.rgb.data * gain, 0, 255).astype(np.uint8))
        thermal = pair.thermal if gain > 0.1 else replace(pair.thermal, data=np.full_like(pair.thermal.data, 29_000))
        picture = fused(replace(pair, rgb=rgb, thermal=thermal), calibrated)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        share = np.bincount(grey.ravel(), minlength=256) / grey.size
        entropy = -float((share[share > 0] * np.log2(share[share > 0])).sum())
        cells.append((f"{name}: {entropy:.1f} bit, saturated {100 * float(((grey <= 2) | (grey >= 253)).mean()):.0f} %", picture))
    return cells


PICTURES: Sequence[Callable[[], list[Cell]]] = (
    registration_modes, registration_depth, registration_grid, robustness_sensor, robustness_degrees, robustness_clock, robustness_quality,
)  # fmt: skip


def main(folder: Path) -> None:
    """Write all pictures to ``folder``."""
    write_pictures(PICTURES, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images")
