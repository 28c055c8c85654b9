"""Hot spots, watched regions and alarms as the page shows them, from the report of ``thermal.thermometer.as_json``."""

from typing import Any

import numpy as np

from aenet_ros.config import Config
from aenet_ros.core.frames import Frame, ThermalInput, ThermalSource
from aenet_ros.thermal.alarms import WITHIN, reading_text
from aenet_ros.view.snapshot import ThermalRenderer
from aenet_ros.view.source import ERROR, OK, WARN

LEVELS = (OK, WARN, ERROR)
"""Of the report's levels OK, pre-alarm, alarm."""


def spots_for_page(report: dict[str, Any]) -> dict[str, Any]:
    """Spots and regions that the picture shows, with places as fractions of its width and height.

    ``on_thermal``: no pair is fused, and the places are those of the thermal picture alone.
    """
    on_thermal = not report["fused_size"][0]
    size = report["size"] if on_thermal else report["fused_size"]
    spots = []
    for spot in report["spots"]:
        left, top, width, height = spot["box"]
        at = spot["peak"] if on_thermal else spot["fused"]
        corners = [(left, top), (left + width - 1, top + height - 1)] if on_thermal else [place for place in spot["fused_box"] if place]
        if at and corners:
            xs, ys = zip(*corners, strict=True)
            box = [*_fraction((min(xs), min(ys)), size, 0.0), *_fraction((max(xs), max(ys)), size, 1.0)]
            spots.append({"id": spot["id"], "kind": spot["kind"], "value": spot["value"], "at": _fraction(at, size), "box": box})
    regions = []
    for region in report["regions"]:
        points = [place for place in region["points" if on_thermal else "fused"] if place]
        if len(points) > 1:
            outline = [_fraction(place, size) for place in points]
            regions.append({"name": region["name"], "level": LEVELS[region["level"]], "points": outline})
    unit = "°C" if report["unit"] == "degC" else ""
    return {"unit": unit, "on_thermal": on_thermal, "spots": spots, "regions": regions, "region_problem": report["region_problem"]}


def _fraction(place: Any, size: Any, offset: float = 0.5) -> list[float]:
    return [round(float(value + offset) / side, 4) for value, side in zip(place, size, strict=True)]


def alarm_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """A row of the health panel for each watched region, as ``source.status_row``."""
    words = "not all regions are watched" if report["regions"] else "no region is watched"
    problem = {"name": "regions", "level": WARN, "message": f"{words}: {report['region_problem']}", "values": {}}
    return [
        *([problem] if report["region_problem"] else []),
        *(
            {
                "name": region["name"],
                "level": LEVELS[region["level"]],
                "message": region["reason"] or WITHIN,
                "values": reading_text(region),
            }
            for region in report["regions"]
        ),
    ]


def recorded_source(frame: Frame, renderer: ThermalRenderer, config: Config) -> ThermalSource:
    """A recorded registered thermal frame, to be measured: its grid is the picture's. ``renderer``: one that renders nothing else."""
    brightness = renderer.grey(frame.data, frame.stamp_ns, config.agc) * np.float32(1 / 255)
    return ThermalSource(frame, ThermalInput(brightness, rendered=True), frame.size)
