"""Render the pictures of docs/tuning.md and docs/temperatures.md: `python docs/make_pictures.py [FOLDER]` (default docs/images).

They are of the simulated cameras.
The same package, weights and libraries give the same pictures.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from aenet_ros.config import PALETTES, STYLES, build
from aenet_ros.core.frames import Array, Frame, FramePair
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.thermal.agc import ThermalAgc
from aenet_ros.thermal.hot_spots import find_hot_spots
from aenet_ros.thermal.palettes import colorize, draw_color_bar
from aenet_ros.thermal.temperature import temperature
from aenet_ros.workbench.contact_sheet import contact_sheet
from aenet_ros.workbench.simulation.geometry import rgb_to_thermal
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

WIDTH = 1000
JPEG_QUALITY = 82
CELLS = 3  # at most, in a row
Options = dict[str, Any]
Cell = tuple[str, Array]


def pairs(config: RigConfig, seconds: float) -> list[FramePair]:
    """All pairs of the first ``seconds`` of the simulated cameras."""
    frames: dict[str, list[Frame]] = {"thermal": [], "rgb": []}
    for event in Rig(config).events(seconds):
        frames[event.stream].append(event.frame)
    return [FramePair(thermal, rgb) for thermal, rgb in zip(frames["thermal"], frames["rgb"], strict=True)]


def one_pair(scene: str, **settings: Any) -> tuple[FramePair, Options]:
    """One pair of a scene, and the options of the correct calibration."""
    config = RigConfig(scenes=scene, thermal_hz=1.0, rgb_hz=1.0, scene_s=10.0, **settings)
    calibrated = {"registration.mode": "homography", "registration.homography": [float(value) for value in rgb_to_thermal(config).ravel()]}
    return pairs(config, 4.5)[3], calibrated


def fused(pair: FramePair, *options: Options) -> Array:
    """The fused picture of a new pipeline, uint8 [H, W, 3], RGB order. Later options override earlier ones."""
    values: Options = {"model.device": "cpu", "model.threads": 1}
    for group in options:
        values.update(group)
    pipeline = FusionPipeline(build(values))
    picture = pipeline.process(pair).image.copy()
    pipeline.close()
    return picture


def gain_range() -> list[Cell]:
    """A night street with the default percentiles, a narrower range, and a fixed range in degrees."""
    pair, calibrated = one_pair("night")
    return [
        ("1 to 99.5 % (default)", fused(pair, calibrated)),
        ("10 to 90 %", fused(pair, calibrated, {"agc.low_percentile": 10.0, "agc.high_percentile": 90.0})),
        (
            "fixed, -20 to 100 degrees",
            fused(pair, calibrated, {"agc.mode": "fixed", "agc.unit": "celsius", "agc.fixed_low": -20.0, "agc.fixed_high": 100.0}),
        ),
    ]


def smoothing() -> list[Cell]:
    """One column of the thermal picture over 4 s, from left to right, with a flame of half a second elsewhere in the view."""
    frames = [pair.thermal for pair in pairs(RigConfig(scenes="night", motion=0.0, scene_s=10.0, rgb_width=32, rgb_height=32), 4.0)]
    for index in range(60, 75):  # the flame, outside the column that is shown
        hot = frames[index].data.copy()
        hot[150:190, 60:110] = round((120.0 + 273.15) * 100)
        frames[index] = replace(frames[index], data=hot)

    def over_time(seconds: float) -> Array:
        agc, config = ThermalAgc(), build({"agc.smoothing_s": seconds}).agc
        columns = [agc.apply(frame, config)[200:456, 400:403].copy() for frame in frames]
        return (np.hstack(columns) * 255).astype(np.uint8)

    return [("agc.smoothing_s 0", over_time(0.0)), ("agc.smoothing_s 1 (default)", over_time(1.0))]


def strength() -> list[Cell]:
    """Smoke with three values of output.thermal_weight."""
    pair, calibrated = one_pair("smoke")
    return [(f"output.thermal_weight {share:g}", fused(pair, calibrated, {"output.thermal_weight": share})) for share in (0.0, 0.5, 1.0)]


def registration() -> list[Cell]:
    """A part of the picture without and with calibration. The cameras are further apart than by default."""
    pair, calibrated = one_pair("day", shift_x=26.0, shift_y=-14.0, rotation_deg=2.0)
    part = np.s_[150:420, 120:480]
    return [("identity", fused(pair)[part]), ("homography", fused(pair, calibrated)[part])]


def black_hot() -> list[Cell]:
    """A black-hot camera without and with agc.invert."""
    pair, calibrated = one_pair("night")
    low, high = int(pair.thermal.data.min()), int(pair.thermal.data.max())
    inverted = replace(pair.thermal, data=(high + low - pair.thermal.data.astype(np.int64)).astype(np.uint16))
    pair = FramePair(inverted, pair.rgb)
    return [(f"agc.invert {name}", fused(pair, calibrated, {"agc.invert": name == "true"})) for name in ("false", "true")]


def isotherm() -> list[Cell]:
    """The isotherm, off and on."""
    pair, calibrated = one_pair("night")
    band = {"output.isotherm": True, "output.isotherm_low": 21.0, "output.isotherm_high": 40.0, "agc.profile": "lepton"}
    return [("output.isotherm false", fused(pair, calibrated)), ("true, 21 to 40 degrees", fused(pair, calibrated, band))]


def palettes() -> list[Cell]:
    """The thermal picture of a night street in each palette."""
    thermal = one_pair("night")[0].thermal
    brightness = ThermalAgc().apply(thermal, build({}).agc)
    return [(name, colorize(brightness, name)) for name in PALETTES]


def styles() -> list[Cell]:
    """A night street in each style, and the thermal picture with its hot spots."""
    pair, calibrated = one_pair("night")
    options = {"agc.profile": "centikelvin", "output.isotherm_low": 24.0, "output.isotherm_high": 100.0}
    cells = [(name, fused(pair, calibrated, options, {"output.style": name})) for name in STYLES]
    degrees = temperature(pair.thermal, "centikelvin")
    view = colorize(ThermalAgc().apply(pair.thermal, build({}).agc), "white_hot")
    config = build({"hot_spots.relative": False, "hot_spots.level": 31.0, "hot_spots.hysteresis": 9.5}).hot_spots
    for spot in find_hot_spots(degrees, config):
        left, top, width, height = spot.box
        cv2.rectangle(view, (left, top), (left + width - 1, top + height - 1), (255, 80, 30), 2)
        cv2.putText(view, f"{spot.peak_value:.0f}", (left, top - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 220, 80), 2, cv2.LINE_AA)
    bar = draw_color_bar(view, "white_hot", float(np.percentile(degrees, 1)), float(np.percentile(degrees, 99.5)))
    return [*cells, ("hot spots, in degrees", bar)]


PICTURES: Sequence[Callable[[], list[Cell]]] = (gain_range, smoothing, strength, registration, black_hot, isotherm)
TEMPERATURE_PICTURES: Sequence[Callable[[], list[Cell]]] = (palettes, styles)


def write_pictures(makers: Sequence[Callable[[], list[Cell]]], folder: Path, prefix: str = "") -> None:
    """Write one JPEG per function of ``makers`` to ``folder``: its cells in rows of CELLS. File name: ``prefix`` and the function name."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in makers:
        cells = make()
        sheet = contact_sheet([cells[row : row + CELLS] for row in range(0, len(cells), CELLS)], cell_width=WIDTH // min(CELLS, len(cells)))
        path = folder / f"{prefix}{make.__name__.replace('_', '-')}.jpg"
        path.write_bytes(cv2.imencode(".jpg", sheet[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())


def main(folder: Path) -> None:
    """Write all pictures to ``folder``."""
    write_pictures(PICTURES, folder, "tuning-")
    write_pictures(TEMPERATURE_PICTURES, folder, "temperatures-")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images")
