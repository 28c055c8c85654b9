"""The page of `aenet bench --html`, from the command's own JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aenet_ros.workbench.reports import page
from aenet_ros.workbench.reports.charts import Bar, bars, short

Row = Mapping[str, Any]

SPREAD = {"median_ms", "q25_ms", "q75_ms"}
TOLD_ELSEWHERE = {"date", "commit", "versions", "machine", "runs", "pipeline", "network", "node"}


def speed_page(report: Mapping[str, Any]) -> str:
    """The document. ``report``: what `aenet bench` writes; parts of it that are not known here become tables."""
    machine = report["machine"]
    return page.page(
        "Time of a frame, measured",
        f"Made by aenet bench on {machine['processor']} ({machine['cores']} cores{', ' + machine['gpu'] if machine['gpu'] else ''}). "
        f"Bars are medians of {report['runs']} runs after a warm-up, whiskers their quartiles.",
        [
            page.section("A pair, from decoded frames to the fused picture", *_pipeline(report["pipeline"])),
            page.section("The network alone, and a yardstick", *_network(report["network"])),
            page.section("The node over ROS 2", *_node(report.get("node", {}))),
            *(
                page.section(name.replace("_", " ").capitalize(), *_anything(name, value))
                for name, value in report.items()
                if name not in TOLD_ELSEWHERE
            ),
            page.about(report),
        ],
    )


def _setting(row: Row) -> str:
    threads = f"{row['threads']} thread{'s' if row['threads'] != 1 else ''}"
    return f"{row['rgb']}, {threads if row['device'] == 'cpu' else row['device'] + ' ' + row['precision']}"


def _bar(label: str, spread: Mapping[str, float], ours: bool = False) -> Bar:
    return Bar(label, spread["median_ms"], spread["q25_ms"], spread["q75_ms"], ours)


def _pipeline(rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    first = rows[0]
    pace = f"{first['rate_hz']:g} pairs a second" if first["rate_hz"] else "no pause between pairs"
    yield page.paragraph(f"Thermal {first['thermal']}, registration {first['registration']}, {pace}.")
    yield bars("Time of a pair", [_bar(_setting(row), row["stages"]["total"], ours=True) for row in rows], "ms")
    stages = [stage for stage in first["stages"] if stage != "total"]
    yield page.heading("By stage")
    parts: list[Bar] = []
    for row in rows:
        parts += [Bar(_setting(row)), *(_bar(stage, row["stages"][stage]) for stage in stages)]
    yield bars("Time of each stage", parts, "ms")
    header = ["rgb frame", *(f"{stage}, ms" for stage in (*stages, "total")), "quartiles", "pairs a second", "processor, ms", "page faults"]
    yield page.table(
        header,
        [
            [
                _setting(row),
                *(short(row["stages"][stage]["median_ms"]) for stage in (*stages, "total")),
                _quartiles(row["stages"]["total"]),
                short(1e3 / row["stages"]["total"]["median_ms"]),
                short(row["processor_ms"]),
                f"{row['page_faults']:g}",
            ]
            for row in rows
        ],
        name="pipeline",
    )


def _quartiles(spread: Mapping[str, float]) -> str:
    return f"{short(spread['q25_ms'])} to {short(spread['q75_ms'])}"


def _network(rows: Sequence[Row]) -> Iterator[str]:
    names = [name for name, value in rows[0].items() if _is_spread(value)] if rows else []
    if not names:
        return
    labels = [_setting({**row, "rgb": row["size"]}) for row in rows]
    parts: list[Bar] = []
    for label, row in zip(labels, rows, strict=True):
        parts += [Bar(label), *(_bar(name, row[name], ours=name == "aenet") for name in names if name in row)]
    yield page.paragraph(
        "Measured in turns within one run. The yardstick is two 3x3 convolutions at full size, the smallest published network's cost; "
        "networks by name are the cost of those published ones."
    )
    yield bars("Time of the network", parts, "ms")
    cells = [
        [label, *(f"{short(row[name]['median_ms'])} ({_quartiles(row[name])})" if name in row else "-" for name in names)]
        for label, row in zip(labels, rows, strict=True)
    ]
    yield page.table(["frame", *(f"{name}, ms" for name in names)], cells, name="network")


def _is_spread(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) >= SPREAD


def _node(node: Mapping[str, Any]) -> Iterator[str]:
    if "error" in node:
        yield page.paragraph(f"Not measured: {node['error']}")
    elif "fused" in node:
        names = {"fused": "fusing node", "passthrough": "passthrough node"}
        rows = [(label, node[name]) for name, label in names.items() if name in node]
        yield page.paragraph("From the rgb frame's stamp to the receiver's callback, in processes of their own.")
        yield page.table(
            ["", "frames", "a second", "p50, ms", "p95, ms", "highest rate, Hz"],
            [
                [label, str(one["frames"]), short(one["rate_hz"]), *(short(one["latency_ms"][p]) for p in ("p50", "p95")), _highest(one)]
                for label, one in rows
                if one["frames"]
            ],
            name="node",
        )
        yield from _anything("floor", node.get("floor", ""))
    elif node:
        yield from _anything("node", node)


def _highest(one: Mapping[str, Any]) -> str:
    """The highest rate, where it was measured: pictures a second with so many pairs on the way at once."""
    rates = one.get("closed_loop_hz", {})
    return short(max(rates.values())) if rates else "-"


def _anything(name: str, value: Any) -> Iterator[str]:
    """What another part of the benchmark has measured: rows as a table, names and values as a list, all else as text."""
    if isinstance(value, Mapping):
        yield page.facts({key: _flat(inner) for key, inner in value.items()})
    elif isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        columns = list({key: None for row in value for key in row})
        yield page.table(
            [column.replace("_", " ") for column in columns], [[_flat(row.get(key, "-")) for key in columns] for row in value], name=name
        )
    elif value not in (None, "", []):
        yield page.paragraph(_flat(value))


def _flat(value: Any) -> str:
    if _is_spread(value):
        return f"{short(value['median_ms'])} ms ({_quartiles(value)})"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_flat(inner) for inner in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
