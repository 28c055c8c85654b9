"""Results of a study as one Markdown table, JSON and, if matplotlib is installed, a chart."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aenet_ros.core.files import write_atomic

Row = Mapping[str, Any]


def can_plot() -> bool:
    """Return whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def write_study(path: Path, title: str, rows: Sequence[Row], about: Row) -> None:
    """Write ``path`` with the suffixes .md, .json and .png. ``about``: settings and machine; ``rows``: see study.result_rows."""
    facts = "\n".join(f"- {name}: {_text(value)}" for name, value in about.items())
    write_atomic(path.with_suffix(".md"), f"# {title}\n\n{facts}\n\n{markdown_table(rows)}\n")
    write_atomic(path.with_suffix(".json"), json.dumps({"about": about, "rows": list(rows)}, indent=1) + "\n")
    if can_plot():
        _plot(path.with_suffix(".png"), title, rows)


def markdown_table(rows: Sequence[Row]) -> str:
    """Return a table with the columns of the first row, without nested values, with three significant digits."""
    columns = [name for name, value in rows[0].items() if not isinstance(value, Mapping)]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(_text(row[column]) for column in columns) + " |" for row in rows)])


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    return str(value)


def _plot(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Plot mean rank over CPU time if it was measured, else a matrix of mean ranks by training and task."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    if "cpu ms" in rows[0]:
        for row in rows:
            point = row["cpu ms"], row["rank"]
            axes.scatter(*point, color=f"C{sum(map(ord, row['training'].split('-')[0])) % 10}")
            axes.annotate(row["training"], point, xytext=(5, -3), textcoords="offset points", fontsize=7)
        axes.set(xscale="log", xlabel="CPU time of a 640x480 frame, ms", ylabel="mean rank (lower is better)")
    else:
        columns = [name for name in rows[0] if name.startswith("rank")]
        axes.imshow([[row[name] for name in columns] for row in rows], cmap="RdYlGn_r", vmin=1, vmax=len(rows), aspect="auto")
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), [row["training"] for row in rows])
        for y, row in enumerate(rows):
            for x, name in enumerate(columns):
                axes.text(x, y, f"{row[name]:.1f}", ha="center", va="center", fontsize=8)
    figure.savefig(path, dpi=110)
