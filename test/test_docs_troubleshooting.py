"""docs/troubleshooting.md quotes what the programs say and leaves out no warning; docs/cameras.md has the profiles of the code."""

import ast
import re
from pathlib import Path

import pytest

from aenet_ros.thermal.temperature import PROFILES

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
GAP = "…"


def template(node):
    """The text of an expression, with GAP for what is put in at run time; '' where it has none of its own."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    if isinstance(node, ast.IfExp):
        return template(node.body) or template(node.orelse)
    return GAP


def templates(folder):
    """Every text of the code below a folder: (template, place)."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) and (text := template(node)).strip(GAP + " "):
                yield text, f"{path.relative_to(ROOT)}:{node.lineno}"


def warnings():
    """What the node says with level WARN or ERROR: (template, place)."""
    for path in sorted((ROOT / "aenet_ros" / "ros").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            items = node.elts if isinstance(node, ast.Tuple) else node.args if isinstance(node, ast.Call) else []
            levels = [index for index, item in enumerate(items) if isinstance(item, ast.Name) and item.id in ("WARN", "ERROR")]
            if levels and levels[0] + 1 < len(items) and (text := template(items[levels[0] + 1])).strip(GAP + "() "):
                yield text, f"{path.name}:{node.lineno}"


def quotes():
    """The quoted texts of the tables whose first column is what a program says."""
    inside = False
    for line in PAGE.splitlines():
        inside = line.startswith("| it says") or (inside and line.startswith("|"))
        if inside and "`" in line and not line.startswith("| it says"):
            yield from re.findall(r"`([^`]+)`", line.split(" | ")[0])


def stands_in(quote, text):
    """Whether the quote is a part of the text, either's gaps standing for anything."""
    parts = quote.split(GAP)
    if not all(part in text for part in parts):  # quick, and nearly always the end of it
        return False
    return re.search(".*?".join(map(re.escape, parts)), text, re.DOTALL) is not None


QUOTES = sorted(set(quotes()))
TEXTS = sorted(set(templates(ROOT / "aenet_ros")))


def test_there_are_quotes_and_texts():
    assert len(QUOTES) > 60
    assert len(TEXTS) > 1000


@pytest.mark.parametrize("quote", QUOTES)
def test_what_is_quoted_is_said(quote):
    assert any(stands_in(quote, text) for text, _ in TEXTS), "no program says that"


def test_every_warning_of_the_node_is_explained():
    found = list(warnings())
    assert len(found) > 15
    assert [f"{place}: {text}" for text, place in found if not any(stands_in(quote, text) for quote in QUOTES)] == []


def test_the_cameras_page_has_every_profile_with_its_source():
    rows = {
        row.split("`")[1]: row for row in (ROOT / "docs" / "cameras.md").read_text(encoding="utf-8").splitlines() if row.startswith("| `")
    }
    for name, profile in PROFILES.items():
        row = rows[name]
        source = profile.source.removeprefix("https://").replace("/issues/", ", issue ").split(", class")[0]
        for word in re.findall(r"[\w.-]{4,}", source):
            if word not in ("page", "seekcamera"):
                assert word in row, f"{name}: the source {profile.source}"
        if profile.scale is None:
            continue
        numbers = [float(number) for number in re.findall(r"(?<![\w.])\d+\.?\d*", row.split("|")[2])]
        per_count, at_zero = profile.scale
        near = [number for number in numbers if number in (pytest.approx(per_count), pytest.approx(1 / per_count))]
        assert near or per_count == 1.0, f"{name}: {per_count} a count"
        zero = [number for number in numbers if number in (pytest.approx(-at_zero), pytest.approx(-at_zero / per_count))]
        assert zero or at_zero == 0.0, f"{name}: {at_zero} at zero"
