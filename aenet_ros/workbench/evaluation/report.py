"""The page of `aenet evaluate --html`: tables, charts and pictures in one self-contained HTML file."""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

import cv2

from aenet_ros.core.frames import Array
from aenet_ros.workbench.contact_sheet import Cell
from aenet_ros.workbench.evaluation.metrics import RANKED
from aenet_ros.workbench.evaluation.ranking import Table, measures_table, ranks_table

MAX_BARS = 30
PICTURE_WIDTH = 400  # pixels
JPEG_QUALITY = 82
HIGHLIGHT, OTHER = "#c2410c", "#7c93ab"
TITLE = "Evaluation of fused pictures"
EXPLANATION = (
    f"Mean rank: the rank of each method on the measures {', '.join(RANKED)}, averaged; 1 is best. Higher is better in every column "
    "except those marked with an arrow: Nabf (artefacts) and flicker. The best value of a column is bold."
)
STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem; color: #1d232b; background: #fff; font: 16px/1.5 system-ui, sans-serif; }
h2 { margin-top: 2.5rem; font-size: 1.2rem; border-bottom: 1px solid #d9dee4; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid #d9dee4; text-align: right; }
th:first-child, td:first-child { text-align: left; }
tr.highlight td { background: #fff4ec; }
td.best { font-weight: 700; color: #c2410c; }
svg { max-width: 100%; height: auto; display: block; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .5rem; margin: .5rem 0 1rem; }
figure { margin: 0; font-size: .8rem; overflow-wrap: anywhere; }
figure img { width: 100%; display: block; }
"""


def evaluation_page(report: Mapping[str, Any], measured: Collection[str], pictures: Mapping[str, Sequence[Sequence[Cell]]]) -> str:
    """Return the page. ``report``: the JSON of `aenet evaluate`; ``measured``: methods whose pictures were measured in this run.

    ``pictures``: by data set, rows of (label, picture), each uint8 [H, W, 3] in rgb order or grey [H, W].
    """
    board, means, flicker = report["mean_rank"], report["means"], report["flicker"]
    names = {score["name"] for score in report["scores"]}
    counts = {dataset: sum(name.rpartition("/")[0] == dataset for name in names) for dataset in means}
    summary = "; ".join(f"{dataset}: {count} pairs, {len(means[dataset])} methods" for dataset, count in counts.items())
    charted = [name for name in ("infrared-visible", "other tasks") if name in board] or list(board)[:1]
    sections = {
        "Mean rank": [
            f"<p>{escape(EXPLANATION)}</p>",
            *(bar_chart(f"Mean rank, {name}", board[name], measured) for name in charted),
            *([_table("mean-rank", ranks_table(board), measured)] if len(board) > 1 else []),
        ],
        "Measures": [_heading(name) + _table(f"measures-{name}", measures_table(means[name], board[name]), measured) for name in means],
        "Flicker": [_table("flicker", ranks_table(flicker, "flicker ↓"), measured)] if flicker else [],
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


def _table(name: str, table: Table, measured: Collection[str]) -> str:
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


def bar_chart(title: str, ranks: Mapping[str, float], highlight: Collection[str]) -> str:
    """Return horizontal bars of the MAX_BARS best ranks as SVG, or a hint to install matplotlib."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return f"<p>{escape(title)}: charts need matplotlib (pip install matplotlib).</p>"
    best = sorted(ranks.items(), key=lambda item: item[1])[:MAX_BARS]
    figure = Figure(figsize=(8.0, 0.9 + 0.24 * len(best)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(len(best)), [rank for _, rank in best], color=[HIGHLIGHT if name in highlight else OTHER for name, _ in best])
    axes.bar_label(bars, [f"{rank:.2f}" for _, rank in best], padding=4, fontsize=8)
    axes.set_yticks(range(len(best)), [name for name, _ in best], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1 * best[-1][1])
    axes.set_title(title, loc="left", fontsize=10)
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):  # text stays text; the same chart gives the same bytes
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    return f'<svg role="img" aria-label="{escape(title)}" ' + svg[svg.index("<svg ") + 5 :]
