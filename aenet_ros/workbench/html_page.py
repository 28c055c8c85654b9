"""Building blocks of a self-contained HTML page: document, tables, facts, bar charts and pictures.

Every function returns a piece of HTML. Texts are escaped; pictures and charts are embedded, so that a page is one file.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import cv2

from aenet_ros.core.frames import Array

PICTURE_WIDTH = 400  # pixels
JPEG_QUALITY = 82
HIGHLIGHT, OTHER = "#c2410c", "#7c93ab"

STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; color: #1d232b; background: #fff;
       font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.2rem; border-bottom: 1px solid #d9dee4; }
.lead, th, dt, figcaption { color: #5b6673; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid #d9dee4; text-align: right; }
th:first-child, td:first-child { text-align: left; }
tr.highlight td { background: #fff4ec; }
td.best { font-weight: 700; color: #c2410c; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; font-size: .875rem; }
dd { margin: 0; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; display: block; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .5rem; margin: .5rem 0 1rem; }
figure { margin: 0; font-size: .8rem; overflow-wrap: anywhere; }
figure img { width: 100%; display: block; }
"""


def document(title: str, lead: str, sections: Iterable[str]) -> str:
    """Return the whole page; ``lead`` is a sentence below the title, ``sections`` are pieces of HTML."""
    body = "\n".join(section for section in sections if section)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{body}\n</body>\n</html>\n'
    )


def section(title: str, *parts: str) -> str:
    """Return a heading with its parts, or "" if all parts are empty."""
    content = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def heading(text: str) -> str:
    """Return a heading inside a section."""
    return f"<h3>{escape(text)}</h3>"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    best: Iterable[tuple[int, int]] = (),
    highlight: Iterable[int] = (),
    name: str = "",
) -> str:
    """Return a table with the id ``name``. ``best``: cells (row, column) set in bold; ``highlight``: rows with a tinted background."""
    bold, tinted = set(best), set(highlight)
    lines = []
    for row, cells in enumerate(rows):
        marks = [' class="best"' if (row, column) in bold else "" for column in range(len(cells))]
        content = "".join(f"<td{mark}>{escape(text)}</td>" for mark, text in zip(marks, cells, strict=True))
        lines.append(f'<tr class="highlight">{content}</tr>' if row in tinted else f"<tr>{content}</tr>")
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    return (
        f'<div class="wide"><table id="{escape(name)}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>"
    )


def facts(values: Mapping[str, Any]) -> str:
    """Return names and values as a list. Empty values are left out."""
    texts = {name: text(value) for name, value in values.items()}
    return "<dl>\n" + "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in texts.items() if value) + "\n</dl>"


def text(value: Any) -> str:
    """Return any JSON value as a short text, nested values separated by commas."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text(inner)}" for name, inner in value.items() if text(inner))
    if isinstance(value, list | tuple):
        return ", ".join(text(inner) for inner in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def about(report: Mapping[str, Any]) -> str:
    """Return the section on date, versions and machine, from the values of ``aenet_ros.cli.about``."""
    names = ("date", "commit", "weights", "versions", "machine")
    return section("Measured with", facts({name: report[name] for name in names if name in report}))


def picture_row(cells: Sequence[tuple[str, Array]]) -> str:
    """Return labelled pictures side by side: uint8 [H, W, 3] in rgb order or grey [H, W], at most PICTURE_WIDTH wide, as JPEG."""
    return f'<div class="row">{"".join(_figure(label, picture) for label, picture in cells)}</div>'


def _figure(label: str, picture: Array) -> str:
    height, width = picture.shape[:2]
    if width > PICTURE_WIDTH:
        picture = cv2.resize(picture, (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width))), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    data = base64.b64encode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()).decode("ascii")
    return f'<figure><img alt="{escape(label)}" src="data:image/jpeg;base64,{data}"><figcaption>{escape(label)}</figcaption></figure>'


class Bar(NamedTuple):
    """A horizontal bar from 0 to ``value``, with quartiles ``low`` and ``high`` as a whisker if they are given."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    highlight: bool = False


def bar_chart(title: str, bars: Sequence[Bar], unit: str) -> str:
    """Return a chart of horizontal bars as SVG, or a hint to install matplotlib."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return paragraph(f"{title}: charts need matplotlib (pip install matplotlib).")
    figure = Figure(figsize=(8.0, 0.9 + 0.24 * len(bars)), layout="constrained")
    axes = figure.subplots()
    spans = [(bar.value - (bar.low or bar.value), (bar.high or bar.value) - bar.value) for bar in bars]
    drawn = axes.barh(
        range(len(bars)),
        [bar.value for bar in bars],
        xerr=list(zip(*spans, strict=True)) if any(map(any, spans)) else None,
        color=[HIGHLIGHT if bar.highlight else OTHER for bar in bars],
    )
    axes.bar_label(drawn, [f"{bar.value:.3g}" for bar in bars], padding=4, fontsize=8)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1 * max(max(bar.value, bar.high or 0.0) for bar in bars))
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(unit, fontsize=8)
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):  # text stays text; the same chart gives the same bytes
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    return f'<svg role="img" aria-label="{escape(title)}" ' + svg[svg.index("<svg ") + 5 :]
