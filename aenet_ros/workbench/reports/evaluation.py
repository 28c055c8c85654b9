"""The page of `aenet evaluate --html`, from the command's own JSON and the pictures that were looked at."""

from collections.abc import Mapping, Sequence
from typing import Any

from aenet_ros.workbench.evaluation.metrics import LOWER_IS_BETTER, METRICS, RANKED
from aenet_ros.workbench.evaluation.tables import short
from aenet_ros.workbench.reports import page
from aenet_ros.workbench.reports.charts import Bar, bars

MANY_METHODS = 30  # a plot of more bars is no plot

EXPLAINED = (
    f"Mean rank: each method's place on the measures {', '.join(RANKED)}, averaged; 1 is best. Higher is better in every column "
    "but those marked with an arrow: Nabf (artefacts) and flicker. The best of several is set in bold."
)


def evaluation_page(report: Mapping[str, Any], measured: Sequence[str], pictures: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """The document. ``report``: what `aenet evaluate --json` writes; ``measured``: the methods that are not published rows.

    ``pictures``: for each set the rows of its contact sheet, of figures as ``page.picture`` makes them.
    """
    counts = {
        name: len({score["name"] for score in report["scores"] if score["name"].rpartition("/")[0] == name}) for name in report["means"]
    }
    told = "; ".join(f"{name}: {count} pairs, {len(report['means'][name])} methods" for name, count in counts.items())
    return page.page(
        "Fused pictures, measured",
        f"Made by aenet evaluate. {told}.",
        [
            page.section("Mean rank", page.paragraph(EXPLAINED), *_rank_plots(report["mean_rank"], measured), _ranks(report, measured)),
            page.section("Measures", *(_measures(name, report, measured) for name in report["means"])),
            page.section("Flicker", _flicker(report["flicker"])),
            page.section("Not measured", *(page.paragraph(text) for text in report["missing"])),
            page.section("Pictures", *(part for name, rows in pictures.items() for part in _pictures(name, rows))),
            page.about(report["about"]),
        ],
    )


def _rank_plots(board: Mapping[str, Mapping[str, float]], measured: Sequence[str]) -> list[str]:
    """A plot of each column that stands for several sets; of the first one where there are none."""
    columns = [name for name in ("infrared-visible", "other tasks") if name in board] or list(board)[:1]
    parts = []
    for name in columns:
        ranks = board[name]
        order = sorted(ranks, key=lambda method: ranks[method])[:MANY_METHODS]
        rows = [Bar(method, ranks[method], ours=method in measured) for method in order]
        parts += [page.heading(name), bars(f"Mean rank, {name}", rows, "mean rank")]
    return parts


def _ranks(report: Mapping[str, Any], measured: Sequence[str]) -> str:
    board = report["mean_rank"]
    columns = list(board)
    if len(columns) < 2:
        return ""  # the table of measures has them
    methods = {method: None for ranks in board.values() for method in ranks}
    order = sorted(methods, key=lambda method: [board[name].get(method, float("inf")) for name in columns])
    rows = [[method, *(f"{board[name][method]:.2f}" if method in board[name] else "-" for name in columns)] for method in order]
    best = {
        (index, column)
        for column, name in enumerate(columns, 1)
        for index, method in enumerate(order)
        if len(board[name]) > 1 and board[name].get(method) == min(board[name].values())
    }
    return page.table(["method", *columns], rows, best, [order.index(name) for name in measured if name in order], "mean-rank")


def _measures(name: str, report: Mapping[str, Any], measured: Sequence[str]) -> str:
    means, ranks = report["means"][name], report["mean_rank"][name]
    order = sorted(means, key=lambda method: float(ranks[method]))
    rows = [[method, f"{ranks[method]:.2f}", *(short(means[method][metric]) for metric in METRICS)] for method in order]
    best = {(index, 1) for index, method in enumerate(order) if ranks[method] == min(ranks.values())}
    for column, metric in enumerate(METRICS, 2):
        values = [means[method][metric] for method in order]
        wanted = min(values) if metric in LOWER_IS_BETTER else max(values)
        best |= {(index, column) for index, value in enumerate(values) if value == wanted}
    header = ["method", "rank", *(f"{metric} ↓" if metric in LOWER_IS_BETTER else metric for metric in METRICS)]
    tinted = [order.index(method) for method in measured if method in order]
    return page.heading(name) + page.table(header, rows, best if len(order) > 1 else (), tinted, f"measures-{name}")


def _flicker(flicker: Mapping[str, Mapping[str, float]]) -> str:
    methods = list({method: None for values in flicker.values() for method in values})
    if not methods:
        return ""
    rows = [[clip, *(f"{values[method]:.3f}" if method in values else "-" for method in methods)] for clip, values in flicker.items()]
    best = {
        (row, column)
        for row, values in enumerate(flicker.values())
        for column, method in enumerate(methods, 1)
        if len(values) > 1 and values.get(method) == min(values.values())
    }
    return page.table(["clip ↓", *methods], rows, best, name="flicker")


def _pictures(name: str, rows: Sequence[Sequence[str]]) -> list[str]:
    return [page.heading(name), *(page.row_of(row) for row in rows)]
