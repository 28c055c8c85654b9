"""Tables of measures and mean ranks, and the page of `aenet evaluate --html`: tables and pictures in one self-contained HTML file."""

import base64
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import cv2

from aenet_ros.core.frames import Array
from aenet_ros.workbench.contact_sheet import Cell
from aenet_ros.workbench.evaluation.compare import TrustTable, Values
from aenet_ros.workbench.evaluation.methods import FREE
from aenet_ros.workbench.evaluation.metrics import LOWER_IS_BETTER, METRICS, RANKED
from aenet_ros.workbench.evaluation.trust import TRUST

Pictures = Mapping[str, Iterable[Sequence[Cell]]]
"""By heading, rows of (label, picture), each uint8 [H, W, 3] in rgb order or grey [H, W]."""

PICTURE_WIDTH, LARGE_WIDTH = 400, 800  # pixels
JPEG_QUALITY = 82
TITLE = "Evaluation of fused pictures"
EXPLANATION = (
    f"Mean rank: the rank of each method on the measures {', '.join(RANKED)}, averaged; 1 is best. Lower is better in the columns that are "
    "marked with an arrow, higher in the others. The best value of a column is bold."
)
MEASURES = {
    "lost": "share of the hot regions of the thermal picture that have less than half of their local contrast in the fused picture",
    "retention": "local contrast of the hot regions in the fused picture, relative to the better source; 1 is all of it",
    "halo": "coarse brightness changes that neither source has, in grey levels over 8 pixels, where both sources are flat",
    "halo share": "share of the flat pixels where that is more than 4 grey levels: blotches that a person can see",
    "worst VIF": "information of the source that is served worse (VIF); a copy of one source cannot win it",
    "mesh": "pattern of tiles of 4 pixels that the sources do not have; up to 0.02 is none",
    "EN": "entropy of the grey levels, in bits",
    "SD": "standard deviation of the grey levels: contrast",
    "SF": "spatial frequency: size of the steps between neighbouring pixels; noise raises it",
    "AG": "average gradient: sharpness; noise raises it",
    "MI": "mutual information with both sources, in nats",
    "SCD": "correlation of each source with what the fused picture adds to the other one",
    "VIF": "visual information fidelity to both sources, in four scales",
    "Qabf": "share of the edges of both sources that is preserved",
    "SSIM": "structural similarity to both sources, with the constants that the papers' tables use (dynamic range 2)",
    "SSIM255": "structural similarity to both sources, with the dynamic range of 8 bits",
    "CC": "mean correlation with both sources",
    "Nabf": "share of edge strength that is artefact: edges stronger than in both sources",
    "flicker": "change between consecutive frames that neither source has, in grey levels",
}
"""Each measure in one line."""
STYLE = """
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem; font: 16px/1.5 system-ui, sans-serif; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid #d9dee4; text-align: right; }
th:first-child, td:first-child { text-align: left; }
tr.highlight td { background: #fff4ec; }
td.best { font-weight: 700; color: #c2410c; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .5rem; margin: .5rem 0 1rem; }
.large { grid-template-columns: repeat(auto-fit, minmax(28rem, 1fr)); margin-bottom: 2rem; }
figure { margin: 0; font-size: .8rem; overflow-wrap: anywhere; }
figure img { width: 100%; display: block; }
dl { font-size: .875rem; display: grid; grid-template-columns: max-content 1fr; gap: .125rem 1rem; }
dt { font-weight: 600; }
dd { margin: 0; }
"""


class Table(NamedTuple):
    """A table as texts. ``best`` holds the cells (row, column) with the best value of their column."""

    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]]


def trust_table(table: TrustTable) -> Table:
    """One data set: a row for each measured method in the order given, then those that every evaluation has; "-" where nothing counts."""
    free = {method.name for method in FREE}
    order = sorted(table, key=lambda method: method in free)
    columns = {name: {method: value for method in table if (value := table[method][name]) is not None} for name in TRUST}
    return _with_arrows(_table("method", order, columns, LOWER_IS_BETTER, _significant))


def trust_title(dataset: str, table: TrustTable) -> str:
    """Return the title of a trust table, with the number of hot regions, which is the same for all methods."""
    regions = int(max(row["hot regions"] or 0 for row in table.values()))
    return f"{dataset} ({regions} hot regions)"


def measures_table(means: Mapping[str, Values], ranks: Values) -> Table:
    """One data set: a row for each method, best mean rank first, with all measures. Without ranks there is no column of them."""
    order = sorted(means, key=lambda method: ranks.get(method, 0.0))
    columns: dict[str, Values] = {name: {method: row[name] for method, row in means.items() if name in row} for name in METRICS}
    if ranks:
        columns = {"rank": ranks, **columns}
    return _with_arrows(_table("method", order, columns, {"rank", *LOWER_IS_BETTER}, _significant))


def ranks_table(board: Mapping[str, Values], title: str = "mean rank") -> Table:
    """A row for each method and a column for each data set, sorted by the first column; "-" where a method was not measured."""
    columns = list(board.values())
    methods = dict.fromkeys(method for ranks in columns for method in ranks)
    order = sorted(methods, key=lambda method: [ranks.get(method, float("inf")) for ranks in columns])
    return _table(title, order, board, set(board), lambda value: f"{value:.3f}")


def _table(title: str, order: Sequence[str], columns: Mapping[str, Values], lower: Collection[str], text: Callable[[float], str]) -> Table:
    rows = [[method, *(text(values[method]) if method in values else "-" for values in columns.values())] for method in order]
    best = set()
    for column, (name, values) in enumerate(columns.items(), 1):
        wanted = (min if name in lower else max)(values.values(), default=0.0)
        best |= {(row, column) for row, method in enumerate(order) if len(values) > 1 and values.get(method) == wanted}
    return Table([title, *columns], rows, best)


def _with_arrows(table: Table) -> Table:
    return table._replace(header=[f"{name} ↓" if name in LOWER_IS_BETTER else name for name in table.header])


def _significant(value: float) -> str:
    value = round(value, 4) + 0.0  # no -0.0000
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.4f}"


def evaluation_page(report: Mapping[str, Any], measured: Collection[str], examples: Pictures, worst: Pictures) -> str:
    """Return the page.

    ``report``: the JSON of `aenet evaluate`; ``measured``: methods to highlight; ``examples``: small pictures by data set; ``worst``: large
    ones by heading.
    """
    board, means, trust, flicker = report["mean_rank"], report["means"], report["trust"], report["flicker"]
    summary = "; ".join(f"{dataset}: {count} pairs, {len(means[dataset])} methods" for dataset, count in report["pairs"].items())
    tables = [_heading(trust_title(name, table)) + _html(f"trust-{name}", trust_table(table), measured) for name, table in trust.items()]
    details = [_heading(name) + _html(f"measures-{name}", measures_table(means[name], board.get(name, {})), measured) for name in means]
    sections = {
        "What an operator needs": [*tables, _explained(TRUST)] if tables else [],
        "Worst pairs": [_heading(name) + "\n".join(picture_row(row, large=True) for row in rows) for name, rows in worst.items()],
        "Mean rank": [f"<p>{escape(EXPLANATION)}</p>", _html("mean-rank", ranks_table(board), measured)] if board else [],
        "Measures": [*details, _explained(METRICS)],
        "Flicker": [_html("flicker", ranks_table(flicker, "flicker ↓"), measured), _explained(["flicker"])] if flicker else [],
        "Not measured": [f"<p>{escape(text)}</p>" for text in report["missing"]],
        "Pictures": [_heading(name) + "\n".join(map(picture_row, rows)) for name, rows in examples.items()],
        "Measured with": [f"<p>{escape(name)}: {escape(_text(value))}</p>" for name, value in report["about"].items()],
    }
    body = "\n".join(f"<h2>{escape(title)}</h2>\n" + "\n".join(parts) for title, parts in sections.items() if parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{TITLE}</title>\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{TITLE}</h1>\n<p>Made by aenet evaluate. {escape(summary)}.</p>\n{body}\n</body>\n</html>\n"
    )


def _explained(names: Iterable[str]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(MEASURES[name])}</dd>' for name in names)}</dl>"


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


def picture_row(cells: Sequence[Cell], large: bool = False) -> str:
    """Return labelled pictures side by side, as JPEG of at most PICTURE_WIDTH pixels; ``large``: two of at most LARGE_WIDTH."""
    width, kind = (LARGE_WIDTH, "row large") if large else (PICTURE_WIDTH, "row")
    return f'<div class="{kind}">{"".join(_figure(label, picture, width) for label, picture in cells)}</div>'


def _figure(label: str, picture: Array, width: int) -> str:
    text, source = escape(label), jpeg_uri(picture, width, JPEG_QUALITY)
    return f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'


def jpeg_uri(picture: Array, most_wide: int, quality: int) -> str:
    """Return a picture, uint8 [H, W, 3] in rgb order or grey [H, W], as data URI of a JPEG of at most ``most_wide`` pixels."""
    height, width = picture.shape[:2]
    if width > most_wide:
        picture = cv2.resize(picture, (most_wide, max(1, round(height * most_wide / width))), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    data = base64.b64encode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()).decode("ascii")
    return f"data:image/jpeg;base64,{data}"
