"""The HTML page of `aenet evaluate --html`."""

from collections.abc import Mapping, Sequence
from typing import Any

from aenet_ros.workbench import html_page as page
from aenet_ros.workbench.contact_sheet import Cell
from aenet_ros.workbench.evaluation.metrics import RANKED
from aenet_ros.workbench.evaluation.ranking import Table, measures_table, ranks_table

MAX_BARS = 30

EXPLANATION = (
    f"Mean rank: the rank of each method on the measures {', '.join(RANKED)}, averaged; 1 is best. Higher is better in every column "
    "except those marked with an arrow: Nabf (artefacts) and flicker. The best value of a column is bold."
)


def evaluation_page(report: Mapping[str, Any], measured: Sequence[str], pictures: Mapping[str, Sequence[Sequence[Cell]]]) -> str:
    """Return the page. ``report``: the JSON of `aenet evaluate`; ``measured``: methods whose pictures were measured in this run.

    ``pictures``: by data set, rows of (label, picture) as for a contact sheet.
    """
    board, means = report["mean_rank"], report["means"]
    names = {score["name"] for score in report["scores"]}
    counts = {dataset: sum(name.rpartition("/")[0] == dataset for name in names) for dataset in means}
    summary = "; ".join(f"{dataset}: {count} pairs, {len(means[dataset])} methods" for dataset, count in counts.items())

    def table(found: Table, name: str) -> str:
        ours = [index for index, row in enumerate(found.rows) if row[0] in measured]
        return page.table(found.header, found.rows, found.best, ours, name)

    charts = []
    for name in [name for name in ("infrared-visible", "other tasks") if name in board] or list(board)[:1]:
        ranks = sorted(board[name].items(), key=lambda item: item[1])[:MAX_BARS]
        bars = [page.Bar(method, rank, highlight=method in measured) for method, rank in ranks]
        charts.append(page.bar_chart(f"Mean rank, {name}", bars, "mean rank"))
    return page.document(
        "Evaluation of fused pictures",
        f"Made by aenet evaluate. {summary}.",
        [
            page.section(
                "Mean rank",
                page.paragraph(EXPLANATION),
                *charts,
                table(ranks_table(board), "mean-rank") if len(board) > 1 else "",
            ),
            page.section(
                "Measures",
                *(page.heading(name) + table(measures_table(means[name], board[name]), f"measures-{name}") for name in means),
            ),
            page.section("Flicker", table(ranks_table(report["flicker"], "flicker ↓"), "flicker") if report["flicker"] else ""),
            page.section("Not measured", *(page.paragraph(text) for text in report["missing"])),
            page.section(
                "Pictures", *(part for name, rows in pictures.items() for part in [page.heading(name), *map(page.picture_row, rows)])
            ),
            page.about(report["about"]),
        ],
    )
