"""A study's rows as Markdown, JSON and, where matplotlib is installed, plots (PNG)."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from aenet_ros.core.atomic_io import write_atomic
from aenet_ros.fusion.blocks import BLOCKS, DOWNSAMPLINGS
from aenet_ros.workbench.study.study import WITHOUT, Row, default_name
from aenet_ros.workbench.study.tables import YARDSTICK, main_effects
from aenet_ros.workbench.training.data import KINDS


def surroundings() -> Row:
    """Commit, machine and versions that a study was made with."""
    return {
        "commit": _commit(),
        "cpu": f"{_cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s) used",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True, timeout=10).stdout
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", ".", "../fusion"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit.strip() + (" and changes" if changed.stdout.strip() else "")


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def write_architectures(out: Path, rows: Sequence[Row], about: Row) -> None:
    """``architectures.md``, ``.json`` and ``.png`` below ``out``."""
    shown = [{name: value for name, value in row.items() if name != "measures"} for row in rows]
    default = next(row for row in rows if row["network"] == default_name())
    measures = [{"task": kind, **default["measures"][kind]} for kind in default["measures"]]
    effects = markdown_table(main_effects(rows))
    parts = (
        markdown_table(shown),
        f"Means by block and by downsampling:\n\n{effects}",
        f"`{default_name()}`, the default, on the held-out pairs:\n\n{markdown_table(measures)}",
    )
    text = "\n\n".join(parts) + "\n"
    _write(out / "architectures", "Blocks and downsamplings at equal budget", text, rows, about)
    if can_plot():
        plot_architectures(rows, about, out / "architectures.png")


def write_tasks(out: Path, rows: Sequence[Row], about: Row) -> None:
    """``tasks.md``, ``.json`` and ``.png`` below ``out``."""
    shown = [{name: value for name, value in row.items() if name != "measures"} for row in rows]
    losses = [{"training": row["training"], **{kind: values["similarity"] for kind, values in row["measures"].items()}} for row in rows]
    text = f"Mean rank among these trainings:\n\n{markdown_table(shown)}\n\nSimilarity loss:\n\n{markdown_table(losses)}"
    for label in ("with positive loss", "without"):
        text += f"\n\nForgetting, {label} (measures: after its stage, at the end):\n\n{markdown_table(about[label]['forgetting'])}"
    _write(out / "tasks", "Tasks alone, in sequence and together", text + "\n", rows, about)
    if can_plot():
        plot_tasks(rows, out / "tasks.png")


def _write(path: Path, title: str, text: str, rows: Sequence[Row], about: Row) -> None:
    facts = "\n".join(f"- {name}: {_text(value)}" for name, value in about.items() if not _nested(value))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path.with_suffix(".md"), f"# {title}\n\n{facts}\n\n{text}")
    write_atomic(path.with_suffix(".json"), json.dumps({"about": about, "rows": list(rows)}, indent=1) + "\n")


def _nested(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(inner, dict | list) for inner in value.values())


def markdown_table(rows: Sequence[Row]) -> str:
    """The rows as a table, columns in the first row's order, three significant digits."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_text(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)


def can_plot() -> bool:
    """Whether matplotlib is installed (pip install 'aenet_ros[study]')."""
    return find_spec("matplotlib") is not None


def unbeaten(rows: Sequence[Row], x: str, y: str) -> list[Row]:
    """The Pareto front: rows that no other row equals or betters in both ``x`` and ``y`` (low is better)."""
    return [
        row
        for row in rows
        if not any(
            other[x] <= row[x] and other[y] <= row[y] and (other[x] < row[x] or other[y] < row[y]) for other in rows if other is not row
        )
    ]


def plot_architectures(rows: Sequence[Row], about: Row, path: Path) -> None:
    """Mean rank over CPU latency; colour is the block, the marker the downsampling; a line joins the Pareto front."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    axes = figure.subplots()
    colours = {block: f"C{index}" for index, block in enumerate(BLOCKS)}
    markers = dict(zip(DOWNSAMPLINGS, "voDs", strict=False))
    for row in rows:
        block, downsampling = row["network"].split("-")[:2]
        axes.scatter(row["cpu ms"], row["rank"], color=colours[block], marker=markers.get(downsampling, "x"), s=40, alpha=0.8, zorder=3)
    front = sorted(unbeaten(rows, "cpu ms", "rank"), key=lambda row: float(row["cpu ms"]))
    axes.step([row["cpu ms"] for row in front], [row["rank"] for row in front], where="post", color="0.6", lw=1, zorder=1)
    for row in [*front, *(row for row in rows if row["network"].startswith(default_name()) and row not in front)]:
        axes.annotate(row["network"], (row["cpu ms"], row["rank"]), xytext=(7, -3), textcoords="offset points", fontsize=7)
    axes.axvline(about[f"{YARDSTICK}, ms"]["cpu"], color="0.6", ls=":", lw=1)
    axes.annotate(
        YARDSTICK, (about[f"{YARDSTICK}, ms"]["cpu"], axes.get_ylim()[1]), xytext=(3, -10), textcoords="offset points", fontsize=7
    )
    seeds = [row["rank"] for row in rows if row["network"].split("-seed")[0] == default_name()]
    axes.axhspan(min(seeds), max(seeds), color="0.93", zorder=0, label="between the\ndefault's seeds")
    axes.set_xscale("log")
    ticks = [
        tick
        for tick in (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150)
        if front[0]["cpu ms"] / 2 < tick < 2 * max(row["cpu ms"] for row in rows)
    ]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"CPU time of a 640x480 frame, ms ({about['cpu']})", fontsize=8)
    axes.set_ylabel("mean rank among these (low is better)")
    for block, colour in colours.items():
        axes.plot([], [], color=colour, lw=4, label=block)
    for downsampling, marker in markers.items():
        axes.scatter([], [], color="0.3", marker=marker, label=downsampling)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=110)


def plot_tasks(rows: Sequence[Row], path: Path) -> None:
    """Every training's mean rank on every task as two coloured tables, with and without the positive sample loss."""
    from matplotlib.figure import Figure

    tasks = [kind for kind in KINDS if kind in rows[0]]
    figure = Figure(figsize=(9.0, 5.0), layout="constrained")
    for axes, without in zip(figure.subplots(1, 2), (False, True), strict=True):
        half = [row for row in rows if row["training"].endswith(WITHOUT) == without]
        axes.imshow([[row[kind] for kind in tasks] for row in half], cmap="RdYlGn_r", vmin=1, vmax=len(rows), aspect="auto")
        axes.set_xticks(range(len(tasks)), tasks)
        axes.set_yticks(range(len(half)), [row["training"].removesuffix(WITHOUT) for row in half])
        for down, row in enumerate(half):
            for across, kind in enumerate(tasks):
                axes.text(across, down, f"{row[kind]:.1f}", ha="center", va="center", fontsize=8)
        axes.set_title("without the positive sample loss" if without else "with the positive sample loss", fontsize=10)
        axes.set_xlabel("tested on: mean rank among all these trainings", fontsize=8)
    figure.savefig(path, dpi=110)
