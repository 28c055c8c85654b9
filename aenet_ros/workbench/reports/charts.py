"""Plots as SVG, to stand within a page: horizontal bars, with quartiles where there are some."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH = 760
LABELS = 190  # width of the labels' column, and of the values' at the right
VALUES = 110
ROW = 22
AXIS = 26
BAR, OURS, OTHER, INK, SOFT, GRID = 13, "#c2410c", "#7c93ab", "#1d232b", "#5b6673", "#e3e7ec"
FONT = 'font-family="system-ui, Segoe UI, Roboto, DejaVu Sans, sans-serif" font-size="12"'


class Bar(NamedTuple):
    """A bar from 0 to ``value``; ``low`` and ``high`` are its quartiles; a bar without a value is a heading."""

    label: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    ours: bool = False


def bars(title: str, rows: Sequence[Bar], unit: str) -> str:
    """The bars from top to bottom over one axis that begins at 0, each with its value in figures; quartiles as whiskers."""
    most = max((max(row.value, row.high or 0.0) for row in rows if row.value is not None), default=0.0) or 1.0
    step = tick_step(most)
    span = WIDTH - LABELS - VALUES
    scale = span / most
    height = ROW * len(rows) + AXIS
    parts = [f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" {FONT}>']
    parts.append(f"<title>{escape(title)}</title>")
    for index in range(int(most / step) + 1):
        x = LABELS + index * step * scale
        parts.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - AXIS}" stroke="{GRID}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle" fill="{SOFT}">{index * step:g}</text>')
    parts.append(f'<text x="{WIDTH - 4}" y="{height - 10}" text-anchor="end" fill="{SOFT}">{escape(unit)}</text>')
    for index, row in enumerate(rows):
        parts += _row(row, ROW * index, scale)
    return "\n".join([*parts, "</svg>"])


def _row(row: Bar, top: float, scale: float) -> list[str]:
    middle, baseline = top + ROW / 2, top + ROW / 2 + 4
    if row.value is None:
        return [f'<text x="0" y="{baseline:.1f}" font-weight="700" fill="{INK}">{escape(row.label)}</text>']
    colour = OURS if row.ours else OTHER
    end = LABELS + row.value * scale
    far = LABELS + max(row.value, row.high or 0.0) * scale
    parts = [
        f'<text x="{LABELS - 8}" y="{baseline:.1f}" text-anchor="end" fill="{INK}">{escape(row.label)}</text>',
        f'<rect x="{LABELS}" y="{middle - BAR / 2:.1f}" width="{end - LABELS:.1f}" height="{BAR}" fill="{colour}"/>',
    ]
    if row.low is not None and row.high is not None:
        left, right = LABELS + row.low * scale, LABELS + row.high * scale
        ends = f"M{left:.1f} {middle - 4:.1f}v8M{right:.1f} {middle - 4:.1f}v8"
        path = f"{ends}M{left:.1f} {middle:.1f}H{right:.1f}"
        parts.append(f'<path d="{path}" stroke="{INK}" fill="none"/>')
    parts.append(f'<text class="value" x="{far + 6:.1f}" y="{baseline:.1f}" fill="{INK}">{short(row.value)}</text>')
    return parts


def short(value: float) -> str:
    """A figure with three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def tick_step(most: float) -> float:
    """Distance of an axis's ticks, so that there are three to eight up to ``most``: 1, 2 or 5 times a power of ten."""
    power = 1e-6
    while power * 10 <= most:
        power *= 10
    return next(step * power for step in (0.2, 0.5, 1.0, 2.0) if most / (step * power) < 8)
