"""The HTML page: its frame, tables, facts and pictures. Every function gives a piece of HTML whose texts are escaped."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2

from aenet_ros.core.atomic_io import write_atomic
from aenet_ros.core.frames import Array

PICTURE_WIDTH = 400
JPEG_QUALITY = 82

STYLE = """
:root { color-scheme: light; --ink: #1d232b; --soft: #5b6673; --line: #d9dee4; --mark: #c2410c; --fill: #f5f7f9; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: #fff;
       font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.7rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.2rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { margin: 1.5rem 0 .35rem; font-size: 1rem; }
p { margin: .4rem 0; max-width: 60rem; }
.lead { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
tr.ours td { background: #fff4ec; }
td.best { font-weight: 700; color: var(--mark); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; font-size: .875rem; margin: .5rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; display: block; margin: .5rem 0 1rem; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .5rem; margin: .5rem 0 1rem; break-inside: avoid; }
figure { margin: 0; }
figure img { width: 100%; display: block; border-radius: 3px; background: var(--fill); }
figcaption { font-size: .8rem; color: var(--soft); overflow-wrap: anywhere; }
@media print { body { max-width: none; padding: 0; font-size: 12px; } }
"""


def page(title: str, lead: str, sections: Iterable[str]) -> str:
    """The whole document; ``lead`` is a sentence, ``sections`` are HTML already."""
    body = "\n".join(section for section in sections if section)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{body}\n</body>\n</html>\n'
    )


def section(title: str, *parts: str) -> str:
    """A heading and what belongs to it; nothing where there are no parts."""
    content = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def heading(text: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(text)}</h3>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], best: Iterable[tuple[int, int]] = (), ours: Iterable[int] = (), name: str = ""
) -> str:
    """Rows of texts, the first column left-aligned; ``best``: cells (row, column) to mark, ``ours``: rows to tint. ``name``: its id."""
    marked, tinted = set(best), set(ours)
    lines = []
    for row, cells in enumerate(rows):
        shown = (
            f'<td class="best">{escape(text)}</td>' if (row, column) in marked else f"<td>{escape(text)}</td>"
            for column, text in enumerate(cells)
        )
        lines.append(f'<tr class="ours">{"".join(shown)}</tr>' if row in tinted else f"<tr>{''.join(shown)}</tr>")
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    named = f' id="{escape(name)}"' if name else ""
    return f'<div class="wide"><table{named}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>'


def facts(values: Mapping[str, Any]) -> str:
    """Names and values as a list; a mapping within is set on one line, what is empty is left out."""
    shown = {name: _text(value) for name, value in values.items()}
    return "<dl>\n" + "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in shown.items() if text) + "\n</dl>"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_text(inner)}" for name, inner in value.items() if _text(inner))
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(inner) for inner in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def about(values: Mapping[str, Any]) -> str:
    """The last section: what the figures belong to, as ``aenet_ros.cli.about`` gathers it."""
    shown = {name: values[name] for name in ("date", "commit", "weights", "versions", "machine") if name in values}
    if "versions" in shown:
        shown["versions"] = [f"{name} {version}" for name, version in shown["versions"].items()]
    return section("What the figures belong to", facts(shown))


def picture(label: str, image: Array) -> str:
    """A figure with its caption, inside the page as JPEG: uint8 [H, W, 3] in rgb order, or grey [H, W]; shrunk to PICTURE_WIDTH."""
    height, width = image.shape[:2]
    if width > PICTURE_WIDTH:
        image = cv2.resize(image, (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width))), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    data = base64.b64encode(content.tobytes()).decode("ascii")
    return f'<figure><img alt="{escape(label)}" src="data:image/jpeg;base64,{data}"><figcaption>{escape(label)}</figcaption></figure>'


def row_of(figures: Iterable[str]) -> str:
    """Figures side by side."""
    return f'<div class="row">{"".join(figures)}</div>'


def write_page(path: Path, text: str) -> None:
    """Write the page, whole or not at all; raises SourceError."""
    write_atomic(path, text)
