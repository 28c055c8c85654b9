"""What a picture file is: format, size, depth, and what its values mean. For `aenet inspect`."""

from pathlib import Path
from typing import Any

import numpy as np

from aenet_ros.config import AgcConfig
from aenet_ros.core.frames import Array
from aenet_ros.io.files import FLIR_CELSIUS, read_content, read_picture, read_rgb, read_thermal
from aenet_ros.io.picture_checks import colour_kind
from aenet_ros.io.picture_header import read_header
from aenet_ros.messages.encodings import used_bits
from aenet_ros.thermal.temperature import KELVIN, PROFILES, Scale, scale_of

USUAL = (-60.0, 200.0)  # degrees Celsius of most scenes
UNITS = {"mono16": ("centikelvin",), "32FC1": ("celsius", "kelvin")}
"""Profiles that values of a file may be in, by the frame's encoding."""


def report_picture(path: Path, agc: AgcConfig) -> dict[str, Any]:
    """The facts of a picture file: ``file``, ``format``, ``stored``, ``rgb``, ``thermal``, ``advice`` (sentences).

    ``stored``: size (width, height), type, channels, kind of colours, orientation (EXIF), pages. ``thermal``: encoding, size, values and,
    where known, celsius (lowest, median, highest), and radiometric (FLIR, DJI or ""). Raises SourceError for a file that cannot be read.
    """
    header = read_header(read_content(path))
    notes: list[str] = []
    frame = read_thermal(path, notes=notes)
    values = three_values(frame.data)
    report: dict[str, Any] = {"file": str(path), "format": header.format or path.suffix.lstrip(".").lower(), "stored": {}, "rgb": {}}
    if header.format != "fff":
        _, stored = read_picture(path)
        report["stored"] = {
            "size": [stored.shape[1], stored.shape[0]],
            "type": stored.dtype.name,
            "channels": stored.shape[2] if stored.ndim == 3 else 1,
            "colours": colour_kind(stored),
            "orientation": header.orientation,
            "pages": header.pages,
        }
        if stored.dtype == np.uint16:
            report["stored"]["bits"] = used_bits(stored, header.bits)
        if stored.dtype in (np.uint8, np.uint16):
            report["rgb"] = {"encoding": read_rgb(path).encoding}
    celsius = FLIR_CELSIUS in notes
    scale = Scale(1.0, 0.0) if celsius else scale_of(agc) if PROFILES[agc.profile].scale else None
    report["thermal"] = {
        "encoding": frame.encoding,
        "size": [frame.size[1], frame.size[0]],
        "radiometric": header.maker,
        "values": values,
        "celsius": _degrees(values, scale) if scale and values else [],
    }
    advice = list(dict.fromkeys(notes))
    if scale is None and values:
        for unit in UNITS.get(frame.encoding, ()):
            degrees = _degrees(values, PROFILES[unit].scale or Scale(1.0, 0.0))
            if USUAL[0] <= degrees[1] <= USUAL[1] and degrees[0] > KELVIN:
                advice.append(
                    f"if the values are {unit}, they mean {degrees[0]:.1f} .. {degrees[2]:.1f} degrees Celsius: set agc.profile={unit}"
                )
    report["advice"] = advice
    return report


def three_values(data: Array) -> list[float]:
    """Lowest value, median and highest one of the finite ones; empty without any."""
    finite = data[np.isfinite(data)]
    return [float(finite.min()), float(np.median(finite)), float(finite.max())] if finite.size else []


def _degrees(values: list[float], scale: Scale) -> list[float]:
    return sorted(round(value * scale.per_count + scale.at_zero, 3) for value in values)
