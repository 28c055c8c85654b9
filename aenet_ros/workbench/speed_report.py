"""The HTML page of `aenet bench --html`, from the command's JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aenet_ros.workbench import html_page as page

Row = Mapping[str, Any]

SPREAD = {"median_ms", "q25_ms", "q75_ms"}
CONTEXT = {"date", "commit", "versions", "machine", "runs"}
TITLES = {"pipeline": "Pipeline: from decoded frames to the fused picture", "network": "Network alone", "node": "Node over ROS 2"}
SETTING = ("rgb", "size", "device", "precision", "threads", "scale")


def speed_page(report: Row) -> str:
    """Return the page. Each part of the report becomes a section: rows a table, other values a list of facts."""
    machine = report["machine"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return page.document(
        "Speed of aenet_ros",
        f"Made by aenet bench on {machine['processor']} ({machine['cores']} cores{gpu}). "
        f"Times are medians of {report['runs']} runs after a warm-up, with quartiles in parentheses.",
        [
            page.section("Time of a pair", _chart("Time of a pair", report["pipeline"], ("stages total",))),
            page.section("Time of the network", _chart("Time of the network", report["network"], ("aenet", "yardstick"))),
            *(
                page.section(TITLES.get(name, name.replace("_", " ").capitalize()), _content(name, value))
                for name, value in report.items()
                if name not in CONTEXT
            ),
            page.about(report),
        ],
    )


def _chart(title: str, rows: Sequence[Row], names: Sequence[str]) -> str:
    bars = []
    for row in map(_flat, rows):
        setting = ", ".join(f"{row[name]} threads" if name == "threads" else str(row[name]) for name in SETTING if name in row)
        for name in [name for name in names if name in row]:
            spread = row[name]
            label = f"{setting}: {name}" if len(names) > 1 else setting
            bars.append(page.Bar(label, spread["median_ms"], spread["q25_ms"], spread["q75_ms"], highlight=name == names[0]))
    return page.bar_chart(title, bars, "ms") if bars else ""


def _content(name: str, value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        rows = [_flat(row) for row in value]
        columns = list({column: None for row in rows for column in row})
        header = [f"{column}, ms" if any(_is_spread(row.get(column)) for row in rows) else column for column in columns]
        return page.table(
            [text.replace("_", " ") for text in header], [[_text(row.get(column, "-")) for column in columns] for row in rows], name=name
        )
    if isinstance(value, Mapping):
        return page.facts({key.replace("_", " "): _text(inner) for key, inner in _flat(value).items()})
    return page.paragraph(page.text(value)) if value else ""


def _flat(row: Row) -> dict[str, Any]:
    """Return the row with nested mappings as columns of their own, named "outer inner"."""
    return dict(_items(row, ""))


def _items(row: Row, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping) and not _is_spread(value):
            yield from _items(value, f"{prefix}{name} ")
        else:
            yield prefix + name, value


def _is_spread(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) >= SPREAD


def _text(value: Any) -> str:
    if _is_spread(value):
        return f"{value['median_ms']:.3g} ({value['q25_ms']:.3g} to {value['q75_ms']:.3g})"
    return page.text(value)
