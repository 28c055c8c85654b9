"""Tables of measures and mean ranks, and the page of `aenet evaluate --html`: tables and pictures in one self-contained HTML file."""

import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import cv2

from aenet_ros.core.frames import Array
from aenet_ros.workbench.contact_sheet import Cell
from aenet_ros.workbench.evaluation.compare import Pictures, Values
from aenet_ros.workbench.evaluation.metrics import LOWER_IS_BETTER, METRICS, RANKED

PICTURE_WIDTH = 400  # pixels
JPEG_QUALITY = 82
TITLE = "Evaluation of fused pictures"
EXPLANATION = (
    f"Mean rank: the rank of each method on the measures {', '.join(RANKED)}, averaged; 1 is best. Higher is better in every column "
    "except those marked with an arrow: Nabf (artefacts) and flicker. The best value of a column is bold."
)
STYLE = """
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem; font: 16px/1.5 system-ui, sans-serif; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid #d9dee4; text-align: right; }
th:first-child, td:first-child { text-align: left; }
tr.highlight td { background: #fff4ec; }
td.best { font-weight: 700; color: #c2410c; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .5rem; margin: .5rem 0 1rem; }
figure { margin: 0; font-size: .8rem; overflow-wrap: anywhere; }
figure img { width: 100%; display: block; }
"""


class Table(NamedTuple):
    """A table as texts. ``best`` holds the cells (row, column) with the best value of their column."""

    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]]


def measures_table(means: Mapping[str, Values], ranks: Values) -> Table:
    """One data set: a row for each method, best mean rank first, with all measures. An arrow marks measures where lower is better."""
    order = sorted(means, key=lambda method: ranks[method])
    columns: dict[str, Values] = {"rank": ranks, **{name: {method: means[method][name] for method in means} for name in METRICS}}
    table = _table("method", order, columns, {"rank", *LOWER_IS_BETTER}, _significant)
    arrows = [f"{name} ↓" if name in LOWER_IS_BETTER else name for name in table.header]
    return table._replace(header=arrows)


def ranks_table(board: Mapping[str, Values], title: str = "mean rank") -> Table:
    """A row for each method and a column for each data set, sorted by the first column; "-" where a method was not measured."""
    columns = list(board.values())
    methods = dict.fromkeys(method for ranks in columns for method in ranks)
    order = sorted(methods, key=lambda method: [ranks.get(method, float("inf")) for ranks in columns])
    return _table(title, order, board, set(board), lambda value: f"{value:.3f}")


def _table(title: str, order: Sequence[str], columns: Mapping[str, Values], lower: set[str], text: Callable[[float], str]) -> Table:
    rows = [[method, *(text(values[method]) if method in values else "-" for values in columns.values())] for method in order]
    best = set()
    for column, (name, values) in enumerate(columns.items(), 1):
        wanted = (min if name in lower else max)(values.values(), default=0.0)
        best |= {(row, column) for row, method in enumerate(order) if len(values) > 1 and values.get(method) == wanted}
    return Table([title, *columns], rows, best)


def _significant(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.4f}"


def evaluation_page(report: Mapping[str, Any], measured: Collection[str], pictures: Pictures) -> str:
    """Return the page. ``report``: the JSON of `aenet evaluate`; ``measured``: methods whose pictures were measured in this run."""
    board, means, flicker = report["mean_rank"], report["means"], report["flicker"]
    names = {score["name"] for score in report["scores"]}
    counts = {dataset: sum(name.rpartition("/")[0] == dataset for name in names) for dataset in means}
    summary = "; ".join(f"{dataset}: {count} pairs, {len(means[dataset])} methods" for dataset, count in counts.items())
    sections = {
        "Mean rank": [f"<p>{escape(EXPLANATION)}</p>", _html("mean-rank", ranks_table(board), measured)],
        "Measures": [_heading(name) + _html(f"measures-{name}", measures_table(means[name], board[name]), measured) for name in means],
        "Flicker": [_html("flicker", ranks_table(flicker, "flicker ↓"), measured)] if flicker else [],
        "Not measured": [f"<p>{escape(text)}</p>" for text in report["missing"]],
        "Pictures": [_heading(name) + "\n".join(map(picture_row, rows)) for name, rows in pictures.items()],
        "Measured with": [f"<p>{escape(name)}: {escape(_text(value))}</p>" for name, value in report["about"].items()],
    }
    body = "\n".join(f"<h2>{escape(title)}</h2>\n" + "\n".join(parts) for title, parts in sections.items() if parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{TITLE}</title>\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{TITLE}</h1>\n<p>Made by aenet evaluate. {escape(summary)}.</p>\n{body}\n</body>\n</html>\n"
    )


def _heading(text: str) -> str:
    return f"<h3>{escape(text)}</h3>\n"


def _html(name: str, table: Table, measured: Collection[str]) -> str:
    """Return the table with the id ``name``; rows of measured methods are highlighted."""
    lines = []
    for index, row in enumerate(table.rows):
        marks = [' class="best"' if (index, column) in table.best else "" for column in range(len(row))]
        cells = "".join(f"<td{mark}>{escape(text)}</td>" for mark, text in zip(marks, row, strict=True))
        lines.append(f'<tr class="highlight">{cells}</tr>' if row[0] in measured else f"<tr>{cells}</tr>")
    head = "".join(f"<th>{escape(text)}</th>" for text in table.header)
    body = "\n".join(lines)
    return f'<div class="wide"><table id="{escape(name)}">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items() if inner != "")
    return str(value)


def picture_row(cells: Sequence[Cell]) -> str:
    """Return labelled pictures side by side, as JPEG of at most PICTURE_WIDTH pixels."""
    return f'<div class="row">{"".join(_figure(label, picture) for label, picture in cells)}</div>'


def _figure(label: str, picture: Array) -> str:
    height, width = picture.shape[:2]
    if width > PICTURE_WIDTH:
        picture = cv2.resize(picture, (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width))), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    data = base64.b64encode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()).decode("ascii")
    return f'<figure><img alt="{escape(label)}" src="data:image/jpeg;base64,{data}"><figcaption>{escape(label)}</figcaption></figure>'
