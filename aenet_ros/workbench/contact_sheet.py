"""Contact sheets: labelled pictures side by side in one picture file."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from aenet_ros.core.frames import Array
from aenet_ros.io.files import write_picture

Cell = tuple[str, Array]

_GAP = 6
_CAPTION = 24
_BACKGROUND = (32, 32, 32)
_FOREGROUND = (235, 235, 235)


def contact_sheet(rows: Sequence[Sequence[Cell]], cell_width: int = 400, title: str = "") -> Array:
    """Return the sheet as uint8 [H, W, 3] in rgb order.

    Each row is a sequence of (label, picture), where a picture is uint8 [H, W, 3] in rgb order or grey [H, W]. Pictures are scaled
    to ``cell_width``. Rows may differ in length and height. Raises ValueError if there is no picture.
    """
    strips = [_strip(row, cell_width) for row in rows if row]
    if not strips:
        raise ValueError("a contact sheet needs at least one picture")
    width = max(strip.shape[1] for strip in strips)
    if title:
        strips.insert(0, _caption(title, width, 0.62))
    padded = [cv2.copyMakeBorder(strip, 0, _GAP, 0, width - strip.shape[1], cv2.BORDER_CONSTANT, value=_BACKGROUND) for strip in strips]
    return np.vstack(padded)


def write_contact_sheet(path: Path, rows: Sequence[Sequence[Cell]], cell_width: int = 400, title: str = "") -> None:
    """Write the contact sheet as a picture file, atomically. Raises SourceError."""
    write_picture(path, contact_sheet(rows, cell_width, title), "rgb8")


def _strip(row: Sequence[Cell], cell_width: int) -> Array:
    cells = [_cell(label, picture, cell_width) for label, picture in row]
    height = max(cell.shape[0] for cell in cells)
    return np.hstack(
        [cv2.copyMakeBorder(cell, 0, height - cell.shape[0], 0, _GAP, cv2.BORDER_CONSTANT, value=_BACKGROUND) for cell in cells]
    )


def _cell(label: str, picture: Array, width: int) -> Array:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    shrinks = width < picture.shape[1]
    scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    coloured = cv2.cvtColor(scaled, cv2.COLOR_GRAY2RGB) if scaled.ndim == 2 else scaled
    return np.vstack([_caption(label, width, 0.48), coloured])


def _caption(text: str, width: int, scale: float) -> Array:
    """Return a strip with the text. A text that does not fit is shortened at its start, because names differ at their ends."""
    strip = np.full((_CAPTION, width, 3), _BACKGROUND, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    shown = text
    while len(shown) > 4 and cv2.getTextSize(shown, font, scale, 1)[0][0] > width - 8:
        shown = ".." + shown[3:]
    cv2.putText(strip, shown, (4, _CAPTION - 7), font, scale, _FOREGROUND, 1, cv2.LINE_AA)
    return strip
