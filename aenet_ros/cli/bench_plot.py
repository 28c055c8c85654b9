"""The plot of `aenet bench --plot`: time against pixels, both on logarithmic axes, so that a slope of one is a cost by the pixel."""

from pathlib import Path
from typing import Any

from aenet_ros.core.errors import MissingDependencyError

OURS, OTHERS = "#c2410c", ("#64748b", "#0f766e", "#7c3aed", "#1d4ed8", "#a16207")


def write_plot(report: dict[str, Any], path: Path) -> None:
    """A PNG of the pipeline's rows and the networks'. Raises MissingDependencyError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("--plot needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    whole, networks = figure.subplots(1, 2, sharex=True)
    kinds = {(row["device"], row["precision"], row["threads"]): None for row in report["pipeline"]}
    for index, kind in enumerate(kinds):
        rows = [row for row in report["pipeline"] if (row["device"], row["precision"], row["threads"]) == kind]
        label = f"{kind[2]} thread{'s' if kind[2] != 1 else ''}" if kind[0] == "cpu" else f"{kind[0]} {kind[1]}"
        _line(
            whole,
            [(_pixels(row["rgb"]), row["stages"]["total"]) for row in rows],
            f"pipeline, {label}",
            OURS,
            ("o-", "s--", "^:")[index % 3],
        )
    most = max((row["threads"] for row in report["network"]), default=0)
    rows = [row for row in report["network"] if row["threads"] == most and row["device"] == report["network"][0]["device"]]
    names = list({name: None for row in rows for name, value in row.items() if isinstance(value, dict) and "median_ms" in value})
    for index, name in enumerate(names):
        colour = OURS if name == "aenet" else OTHERS[index % len(OTHERS)]
        label = "MMDRFuse (113 weights)" if name == "yardstick" else name
        _line(
            networks, [(_pixels(row["size"]), row[name]) for row in rows if name in row], label, colour, "o-" if name == "aenet" else ".-"
        )
    sizes = list({row["rgb"]: None for row in report["pipeline"]})
    for axes, title in (
        (whole, "A pair, counts in and picture out"),
        (networks, f"The network alone, {most} thread{'s' if most != 1 else ''}"),
    ):
        axes.set(xscale="log", yscale="log", title=title, xlabel="rgb frame, by its pixels")
        axes.grid(True, which="both", alpha=0.25)
        axes.set_xticks([_pixels(size) for size in sizes], sizes, fontsize=8)
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.legend(fontsize=8)
    whole.set_ylabel("ms, median and quartiles")
    whole.axhline(1000 / 30, color="black", linewidth=0.8, linestyle=":")
    whole.annotate("30 frames a second", (0.02, 1000 / 30), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    machine = report["machine"]
    figure.suptitle(f"{machine['processor']}, {machine['cores']} cores, {report['date'][:10]}, {report['commit']}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _line(axes: Any, points: list[tuple[int, dict[str, float]]], label: str, colour: str, style: str) -> None:
    points = sorted(points, key=lambda point: point[0])
    middle = [spread["median_ms"] for _, spread in points]
    error = [
        [value - spread["q25_ms"] for value, (_, spread) in zip(middle, points, strict=True)],
        [spread["q75_ms"] - value for value, (_, spread) in zip(middle, points, strict=True)],
    ]
    axes.errorbar(
        [pixels for pixels, _ in points], middle, error, fmt=style, color=colour, label=label, capsize=2, linewidth=1.4, markersize=5
    )


def _pixels(size: str) -> int:
    width, _, height = size.partition("x")
    return int(width) * int(height)
