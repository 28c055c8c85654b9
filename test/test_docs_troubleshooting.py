"""docs/troubleshooting.md quotes messages that the programs have, and every warning of the node; docs/cameras.md has all profiles."""

import ast
import re
from pathlib import Path

import pytest

from aenet_ros.health.status import Code
from aenet_ros.thermal.temperature import PROFILES

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
GAP = "…"


def text_of(node):
    """A literal's text, with GAP for each value of an f-string; '' for other expressions."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def nodes(*folders):
    """All syntax nodes of the files below these folders."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def warnings():
    """Texts that follow WARN or ERROR and a code, in a tuple or a call, as they are or by a variable that they are assigned to."""
    for function in nodes("aenet_ros/health", "aenet_ros/ros"):
        if not isinstance(function, ast.FunctionDef):
            continue
        parts = list(ast.walk(function))
        assigned = [(part.targets[0].id, part.value) for part in parts if isinstance(part, ast.Assign) and hasattr(part.targets[0], "id")]
        for node in parts:
            items = node.elts if isinstance(node, ast.Tuple) else node.args if isinstance(node, ast.Call) else []
            levels = [number for number, item in enumerate(items) if getattr(item, "id", "") in ("WARN", "ERROR")]
            for item in (item for number in levels for item in items[number + 1 : number + 3]):
                values = [item, *(value for name, value in assigned if name == getattr(item, "id", ""))]
                yield from (text for value in values if (text := text_of(value)).strip(GAP + "() :;,"))


def quotes():
    """The quoted texts of the tables whose first column is what a program says."""
    inside = False
    for line in PAGE.splitlines():
        inside = line.startswith("| it says") or (inside and line.startswith("|"))
        if inside and "`" in line and not line.startswith("| it says"):
            yield from re.findall(r"`([^`]+)`", line.split(" | ")[0])


def stands_in(quote, text):
    """Whether the quote is a part of the text; a gap of the quote stands for anything."""
    parts = quote.split(GAP)
    return all(part in text for part in parts) and re.search(".*?".join(map(re.escape, parts)), text, re.DOTALL) is not None


QUOTES = sorted(set(quotes()))
TEXTS = sorted({text for node in nodes("aenet_ros", "launch") if (text := text_of(node))})


@pytest.mark.parametrize("quote", QUOTES)
def test_a_quoted_message_is_in_the_code(quote):
    assert any(stands_in(quote, text) for text in TEXTS)


def test_every_warning_of_the_node_is_explained():
    found = set(warnings())
    assert len(found) > 15
    assert len(QUOTES) > 60
    assert [text for text in found if not any(stands_in(quote, text) for quote in QUOTES)] == []


def test_every_status_has_a_code_and_every_code_a_row():
    made = [node for node in nodes("aenet_ros") if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Status"]
    assert len(made) > 25
    bare = [node.lineno for node in made if len(node.args) != 5 and not any(isinstance(item, ast.Starred) for item in node.args)]
    assert bare == [], "Status(name, level, code, message, values)"
    used = {node.attr for node in nodes("aenet_ros") if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "Code"}
    assert used == {code.name for code in Code}
    assert re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| .+ \|$", PAGE, re.MULTILINE) == [(code.name, code.value) for code in Code]


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
