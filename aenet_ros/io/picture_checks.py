"""What picture files are, for `aenet inspect`, and whether they are what they are given as. What is doubtful is refused, unless forced."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from aenet_ros.config import AgcConfig
from aenet_ros.core.errors import SourceError
from aenet_ros.core.frames import Array
from aenet_ros.io.files import FLIR_CELSIUS, read_content, read_picture, read_rgb, read_thermal
from aenet_ros.io.picture_header import read_header
from aenet_ros.messages.encodings import used_bits
from aenet_ros.thermal.temperature import KELVIN, PROFILES, Scale, scale_of

CHECKED_PAIRS = 3  # first, middle and last
DEPTH_FILES = 8  # rgb files whose values tell the bit depth of all
SAMPLE_PIXELS = 40_000
COLOURED, VIVID = 40, 160  # differences of a pixel's largest and smallest channel, 0..255
HUE_BINS, COLOUR_SHIFT = 24, 4  # of the hue circle; 16 levels a channel
GREY, PALETTE, TINTED, PHOTO = "grey", "colour-mapped", "tinted", "photo"
USUAL = (-60.0, 200.0)  # degrees Celsius of most scenes
UNITS = {"mono16": ("centikelvin",), "32FC1": ("celsius", "kelvin")}
"""Profiles that values of a file may be in, by the frame's encoding."""


def check_pictures(pairs: Sequence[tuple[Path, Path]], force: bool) -> tuple[list[str], int, bool]:
    """Look at some pairs (thermal, rgb). Raises SourceError where all that are looked at seem swapped, unless ``force``.

    Returns what is doubtful in some, the least depth of the rgb pictures (0: 8 bits), and whether the thermal ones are degrees Celsius.
    """
    picked = [pairs[index] for index in sorted({0, len(pairs) // 2, len(pairs) - 1})][:CHECKED_PAIRS]
    reasons = [reason for thermal, rgb in picked if (reason := _swapped(thermal, rgb))]
    if reasons and len(reasons) == len(picked) and not force:
        raise SourceError(f"{reasons[0]}: give the thermal path first, or --force if this is right")
    bits = _bits(pairs[0][1]) and max(_bits(rgb) for _, rgb in pairs[:: max(1, len(pairs) // DEPTH_FILES)])
    notes: list[str] = []
    with suppress(SourceError):  # is reported when its turn comes
        read_thermal(pairs[0][0], notes=notes)
    return reasons, bits, FLIR_CELSIUS in notes


def _swapped(thermal: Path, rgb: Path) -> str:
    """Why the two seem to be given the wrong way round; "" where they do not, or cannot be read."""
    try:
        if maker := read_header(read_content(rgb)).maker:
            return f"{rgb} is given as the rgb picture and is a radiometric file of a {maker} thermal camera"
        _, picture = read_picture(rgb)
        if picture.dtype != np.uint8 and picture.ndim == 2:
            return f"{rgb} is given as the rgb picture and is a grey picture of type {picture.dtype}, as thermal cameras write"
        if colour_kind(picture) == PALETTE:
            return f"{rgb} is given as the rgb picture and seems colour-mapped, as thermal pictures are"
        if not read_header(read_content(thermal)).maker and colour_kind(read_picture(thermal)[1]) == PHOTO:
            return f"{thermal} is given as the thermal picture and seems to be a colour photo"
    except SourceError:
        pass
    return ""


def _bits(path: Path) -> int:
    """The bits that a picture of more than 8 bits uses; 0 for another one."""
    try:
        header, data = read_picture(path)
    except SourceError:
        return 0
    return used_bits(data, header.bits) if data.dtype == np.uint16 else 0


def colour_kind(picture: Array) -> str:
    """GREY, PALETTE (a thermal camera's false colours), TINTED (some colours) or PHOTO, of a picture [H, W] or [H, W, 3] in bgr order.

    A palette is vivid nearly everywhere and goes through several hues; the colours of a photo are many, and mostly dull. What lies in
    between is TINTED. The limits are from 26 files of FLIR cameras and 250 photos.
    """
    if picture.ndim == 2 or picture.dtype not in (np.uint8, np.uint16):
        return GREY
    step = max(1, round((picture.shape[0] * picture.shape[1] / SAMPLE_PIXELS) ** 0.5))
    sample: Array = cv2.blur(picture, (3, 3))[step // 2 :: step, step // 2 :: step].reshape(-1, 3)  # JPEG's noise is no colour
    if sample.dtype == np.uint16:
        sample = (sample >> (used_bits(sample) - 8)).astype(np.uint8)
    chroma = sample.max(1) - sample.min(1)
    strongest = np.percentile(chroma, 95)
    if strongest < COLOURED * 3 // 4:
        return GREY
    counts = np.unique(np.dot(sample >> COLOUR_SHIFT, [1 << 8, 1 << 4, 1]), return_counts=True)[1]
    colours = int(np.searchsorted(np.cumsum(np.sort(counts)[::-1]), 0.95 * len(sample))) + 1
    coloured = sample[chroma > COLOURED]
    hues = 0
    if len(coloured):
        hue = cv2.cvtColor(coloured[None], cv2.COLOR_BGR2HSV)[0, :, 0].astype(np.int32) * HUE_BINS // 180
        hues = int((np.bincount(hue, minlength=HUE_BINS) > 0.02 * len(hue)).sum())
    share = len(coloured) / len(sample)
    if share >= 0.7 and hues >= 4 and strongest >= VIVID:
        return PALETTE
    return PHOTO if share < 0.7 and strongest < VIVID and colours >= 60 else TINTED


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
