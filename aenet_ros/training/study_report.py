"""Tables (Markdown, JSON) and a plot (PNG) of a study's rows."""

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from aenet_ros.frames import Array

Row = dict[str, Any]
_INK, _POINT, _BEST = (40, 40, 40), (170, 120, 60), (40, 40, 200)


def write_report(out: Path, title: str, rows: Sequence[Row], about: Row) -> None:
    """``out``.md and ``out``.json; ``about`` says seed, steps and the like, to which machine and torch are added."""
    full = {**about, "machine": f"{platform.machine()}, {torch.get_num_threads()} threads", "torch": torch.__version__}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps({"about": full, "rows": list(rows)}, indent=1) + "\n")
    facts = "; ".join(f"{name}: {value}" for name, value in full.items())
    out.with_suffix(".md").write_text(f"# {title}\n\n{facts}\n\n{markdown_table(rows)}\n")


def markdown_table(rows: Sequence[Row]) -> str:
    """The rows as a table, columns in the first row's order."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_text(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 10 else f"{value:.1f}" if isinstance(value, float) else str(value)


def pareto_plot(rows: Sequence[Row], x: str, y: str, label: Sequence[str], size: tuple[int, int] = (700, 1000)) -> Array:
    """Rows as points, both axes better when low, those that no other row beats in both in red; uint8 [H, W, 3], bgr."""
    height, width = size
    page = np.full((height, width, 3), 255, np.uint8)
    xs, ys = (np.array([float(row[name]) for row in rows]) for name in (x, y))
    margin = 70

    def place(a: float, b: float) -> tuple[int, int]:
        across = (a - xs.min()) / max(float(np.ptp(xs)), 1e-9)
        down = (b - ys.min()) / max(float(np.ptp(ys)), 1e-9)
        return round(margin + across * (width - 3 * margin)), round(height - margin - down * (height - 2 * margin))

    for row, a, b in zip(rows, xs, ys, strict=True):
        beaten = bool(np.any((xs <= a) & (ys <= b) & ((xs < a) | (ys < b))))
        at = place(a, b)
        cv2.circle(page, at, 5, _POINT if beaten else _BEST, -1, cv2.LINE_AA)
        name = "-".join(str(row[part]) for part in label)
        cv2.putText(page, name, (at[0] + 8, at[1] + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    for text, at in (
        (f"{x}: {xs.min():.2f} to {xs.max():.2f}", (margin, height - 20)),
        (f"{y}: {ys.min():.2f} to {ys.max():.2f}, low is better", (margin, 30)),
    ):
        cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
    return page
