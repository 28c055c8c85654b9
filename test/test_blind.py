"""Blind comparison: the page read back, its script run in Node, and the ranking against cases that can be worked out by hand."""

import base64
import json
import math
import shutil
import subprocess
from collections import Counter
from itertools import combinations

import cv2
import numpy as np
import pytest

from aenet_ros.cli import main as cli
from aenet_ros.core.errors import SourceError
from aenet_ros.workbench.evaluation.blind import bradley_terry, ranked, read_choices

METHODS = ["mine", "maximum", "average", "Laplacian pyramid"]


def aenet(*arguments):
    return cli.main([*map(str, arguments)])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Four registered pairs of noise in thermal/ and rgb/, and a method's grey pictures in mine/."""
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    for index in range(4):
        thermal, rgb = (cv2.GaussianBlur(random.uniform(0, 255, (60, 80, channels)), (0, 0), 2).astype(np.uint8) for channels in (1, 3))
        for name, picture in (("thermal", thermal), ("rgb", rgb), ("mine", 255 - thermal)):
            (folder / name).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / name / f"{index}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def page(pairs):
    """The text of a page of 24 comparisons: four for each couple of four methods."""
    arguments = ["evaluate", pairs / "thermal", pairs / "rgb", "--fused", f"mine={pairs / 'mine'}", "--dataset", "noise"]
    assert aenet(*arguments, "--blind", pairs / "page.html", "--comparisons", 24, "--seed", 5) == 0
    return (pairs / "page.html").read_text()


def data_of(page):
    text = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    data = json.loads(text)
    return data, json.loads(base64.b64decode(data["key"]))


def test_each_comparison_has_two_methods_and_sides_are_balanced(page):
    data, key = data_of(page)
    assert len(key) == len(data["comparisons"]) == 24
    assert all(row["left"] != row["right"] for row in key)
    for couple in combinations(METHODS, 2):
        rows = [row for row in key if {row["left"], row["right"]} == set(couple)]
        assert Counter(row["left"] for row in rows) == dict.fromkeys(couple, 2)
        assert len({row["pair"] for row in rows}) == 4, "each time another pair"
    assert {row["pair"] for row in key} == {f"noise/{index}.png" for index in range(4)}
    firsts = [row["left"] for row in key]
    assert firsts != sorted(firsts), "in no order that one can guess"


def test_the_pictures_are_those_of_the_key(page, pairs):
    data, key = data_of(page)
    for ids, row in zip(data["comparisons"], key, strict=True):
        thermal, rgb = (cv2.imread(str(pairs / name / row["pair"].removeprefix("noise/"))).astype(float) for name in ("thermal", "rgb"))
        luma = cv2.cvtColor(rgb.astype(np.uint8), cv2.COLOR_BGR2GRAY).astype(float)
        expected = {"mine": 255 - thermal[:, :, 0], "maximum": np.maximum(thermal[:, :, 0], luma), "average": (thermal[:, :, 0] + luma) / 2}
        for picture, side in zip(ids, ("left", "right"), strict=True):
            kind, _, content = data["pictures"][picture].partition(",")
            assert kind == "data:image/jpeg;base64"
            shown = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
            assert shown.shape == (60, 80, 3)
            assert np.ptp(shown, axis=2).mean() > 5, "in colours"
            if row[side] in expected:
                assert np.abs(cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY) - expected[row[side]]).mean() < 3, row


def test_the_page_tells_no_name_and_fetches_nothing(page):
    assert not any(name in page for name in (*METHODS, "noise/"))
    assert "http" not in page
    assert "src=" not in page


def test_the_same_seed_gives_the_same_page(pairs, page, capsys):
    arguments = ["evaluate", pairs / "thermal", pairs / "rgb", "--fused", f"mine={pairs / 'mine'}", "--dataset", "noise"]
    arguments += ["--blind", pairs / "again.html", "--comparisons", 24]
    assert aenet(*arguments, "--seed", 5) == 0
    assert (pairs / "again.html").read_text() == page
    assert aenet(*arguments, "--seed", 6, "--force") == 0
    assert data_of((pairs / "again.html").read_text())[1] != data_of(page)[1]
    assert aenet(*arguments, "--force") == 0
    assert f"seed {data_of((pairs / 'again.html').read_text())[0]['seed']}." in capsys.readouterr().err.splitlines()[-1]


def test_methods_can_be_chosen(pairs):
    arguments = ["evaluate", pairs / "thermal", pairs / "rgb", "--fused", f"mine={pairs / 'mine'}", "--blind", pairs / "two.html"]
    assert aenet(*arguments, "--methods", "mine", "thermal alone", "--comparisons", 7) == 0
    data, key = data_of((pairs / "two.html").read_text())
    assert sorted(Counter(row["left"] for row in key).values()) == [3, 4]
    alone = {
        ids[("left", "right").index(side)]
        for ids, row in zip(data["comparisons"], key, strict=True)
        for side in row
        if row[side] == "thermal alone"
    }
    for picture in alone:
        shown = cv2.imdecode(np.frombuffer(base64.b64decode(data["pictures"][picture].partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
        assert np.ptp(shown, axis=2).max() == 0, "a thermal picture has no colours"


def test_refusals(pairs, tmp_path, capsys):
    base = ["evaluate", pairs / "thermal", pairs / "rgb", "--fused", f"mine={pairs / 'mine'}"]
    (tmp_path / "partly").mkdir()
    (tmp_path / "taken.html").touch()
    (tmp_path / "wrong.json").write_text('{"choices": []}')
    (tmp_path / "empty.json").write_text('{"format": "aenet choices 1", "choices": []}')
    cases = [
        ([*base, "--blind", tmp_path / "p.html", "--methods", "mine", "yours"], "--methods yours"),
        ([*base, "--blind", tmp_path / "p.html", "--methods", "mine"], "needs two methods"),
        ([*base, "--blind", tmp_path / "p.html", "--comparisons", "0"], "one comparison"),
        ([*base, "--blind", tmp_path / "p.html", "--json"], "without --blind"),
        ([*base, "--blind", tmp_path / "taken.html"], "--force"),
        ([*base, "--fused", f"partly={tmp_path / 'partly'}", "--blind", tmp_path / "p.html"], "no picture"),
        ([*base, "--choices", tmp_path / "empty.json"], "alone"),
        (["evaluate", "--choices", tmp_path / "none.json"], "none.json"),
        (["evaluate", "--choices", tmp_path / "wrong.json"], "not the saved choices"),
        (["evaluate", "--choices", tmp_path / "empty.json"], "no choices"),
    ]
    for arguments, words in cases:
        assert aenet(*arguments) == 1, arguments
        assert words in capsys.readouterr().err, arguments
    assert not (tmp_path / "p.html").exists()


BROWSER = """
const fs = require("fs");
const page = fs.readFileSync(process.argv[2], "utf8");
const [, json, script] = page.match(/id="data">([^]*?)<\\/script>\\s*<script>([^]*?)<\\/script>/);
const elements = {}, listeners = {}, saved = [];
function element(id) {
  const listen = function (kind, call) { this.listeners[kind] = call; };
  return elements[id] ??= { id, listeners: {}, addEventListener: listen, click() { saved.push(this.download); } };
}
element("data").textContent = json;
globalThis.document = {
  getElementById: element,
  createElement: () => element("link"),
  addEventListener: (kind, call) => { listeners[kind] = call; },
};
globalThis.window = { addEventListener() {} };
let content = "";
globalThis.Blob = class { constructor(parts) { content = parts.join(""); } };
globalThis.URL = { createObjectURL: () => "blob:" };
new Function(script)();
const press = (key, more = {}) => listeners.keydown({ key, preventDefault() {}, ...more });
const shown = () => [elements.left.src, elements.right.src, elements.progress.textContent, elements.left.hidden];
const log = [shown()];
press("ArrowLeft"); log.push(shown());
press("ArrowRight"); press("ArrowRight", { repeat: true }); press("x"); log.push(shown());
press("Backspace"); log.push(shown());
press(" "); press("ArrowDown"); elements.left.listeners.click(); elements.right.listeners.click(); elements.equal.listeners.click();
elements.save.listeners.click();
const early = content;
for (let index = 0; index < 100; index++) press("ArrowRight");
log.push(shown());
elements.save.listeners.click();
console.log(JSON.stringify({ log, early: JSON.parse(early), content: JSON.parse(content), saved }));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="the page's script is run in Node, which is not installed")
def test_the_keys_do_what_the_page_says(page, pairs, tmp_path):
    (tmp_path / "browser.js").write_text(BROWSER)
    done = subprocess.run(["node", tmp_path / "browser.js", pairs / "page.html"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    data, key = data_of(page)
    first, second, third = (
        [*(data["pictures"][picture] for picture in data["comparisons"][index]), f"{index + 1} of 24", False] for index in range(3)
    )
    assert found["log"][:4] == [first, second, third, second]
    assert found["log"][4][2:] == ["All 24 done: save the choices.", True]
    early = found["early"]["choices"]
    assert [row["choice"] for row in early] == ["left", "equal", "equal", "left", "right", "equal"]
    assert [{name: row[name] for name in ("pair", "left", "right")} for row in early] == key[:6]
    assert [row["choice"] for row in found["content"]["choices"]][6:] == ["right"] * 18
    assert found["saved"] == ["aenet-choices-5.json"] * 2
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(found["early"]))
    assert [won for *_, won in read_choices(saved)] == [1.0, 0.5, 0.5, 1.0, 0.0, 0.5]


def test_three_to_one_is_odds_of_three():
    log_odds, errors = bradley_terry(np.array([[0.0, 3.0], [1.0, 0.0]]), 0.0)
    assert math.exp(log_odds[0] - log_odds[1]) == pytest.approx(3.0)
    # The variance of the log odds of 3 in 4 is 1/3 + 1/1; each strength is half of it from the mean.
    assert errors == pytest.approx([math.sqrt(4 / 3) / 2] * 2)


def test_a_consistent_table_gives_its_strengths_back():
    strength = np.array([4.0, 2.0, 1.0, 0.5])
    wins = 30 * strength[:, None] / (strength[:, None] + strength) * (1 - np.eye(4))
    log_odds, _ = bradley_terry(wins, 0.0)
    assert np.exp(log_odds - log_odds[2]) == pytest.approx(strength)
    assert log_odds.mean() == pytest.approx(0.0)
    more, less = bradley_terry(4 * wins, 0.0)[1], bradley_terry(wins, 0.0)[1]
    assert more == pytest.approx(less / 2), "four times the choices, half the error"


def test_a_method_without_wins_stays_finite():
    log_odds, errors = bradley_terry(np.array([[0.0, 5.0], [0.0, 0.0]]), 0.1)
    assert log_odds[0] - log_odds[1] == pytest.approx(math.log(5.1 / 0.1))
    assert np.isfinite(errors).all()


def test_saved_choices_of_several_persons_are_ranked_together(tmp_path, capsys):
    def row(left, right, choice):
        return {"pair": "a/b", "left": left, "right": right, "choice": choice}

    files = {
        "one": [row("x", "y", "left"), row("y", "x", "right"), row("x", "y", "equal")],
        "two": [row("y", "x", "left"), row("x", "y", "equal")],
    }
    for name, rows in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"format": "aenet choices 1", "seed": 1, "choices": rows}))
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    found = ranked([choice for path in paths for choice in read_choices(path)])
    assert [(row.method, row.wins, row.comparisons) for row in found] == [("x", 3.0, 5), ("y", 2.0, 5)]
    assert found[0].log_odds - found[1].log_odds == pytest.approx(math.log(3.1 / 2.1))
    assert aenet("evaluate", "--choices", *paths) == 0
    out = capsys.readouterr().out
    assert "5 choices, 2 of them equal" in out
    assert [line.split()[0] for line in out.splitlines()[-2:]] == ["x", "y"]
    assert aenet("evaluate", "--choices", *paths, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [(row["method"], row["wins"]) for row in report["methods"]] == [("x", 3.0), ("y", 2.0)]
    (tmp_path / "bad.json").write_text(json.dumps({"format": "aenet choices 1", "choices": [row("x", "y", "up")]}))
    with pytest.raises(SourceError, match="up"):
        read_choices(tmp_path / "bad.json")
