"""The HTML page of ``aenet evaluate``: read back and compared with the JSON of the same run."""

import base64
import json
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch

from aenet_ros.cli import main as cli
from aenet_ros.workbench.evaluation import report as page
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser makes of a page: tables by id, pictures, and every address that it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.best, self.images, self.addresses, self.texts = [], {}, {}, [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], "elements that are not closed"

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag not in VOID:
            self.open.append((tag, given))
        given_addresses = [value for name, value in attributes if name in ("src", "href", "xlink:href", "data", "action")]
        self.addresses += [value for value in given_addresses if not value.startswith("#")]
        if tag == "img":
            self.images.append(given)
        elif tag == "table":
            self.table = self.tables.setdefault(given.get("id"), [])
            self.marked = self.best.setdefault(given.get("id"), set())
        elif tag == "tr":
            self.table.append([])
        elif tag in ("td", "th"):
            self.table[-1].append("")
            if given.get("class") == "best":
                self.marked.add((len(self.table) - 2, len(self.table[-1]) - 1))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        self.texts.append(text)
        tag = self.open[-1][0] if self.open else ""
        if tag in ("td", "th"):
            self.table[-1][-1] += text


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Three registered pairs of the rig in thermal/ and rgb/, and two other methods' pictures: the average and the thermal frame."""
    folder = tmp_path_factory.mktemp("pairs")
    size = {"thermal_width": 160, "thermal_height": 128, "rgb_width": 160, "rgb_height": 128, "thermal_hz": 1.0, "rgb_hz": 1.0}
    rig = RigConfig(**size, zoom=1.0, rotation_deg=0.0, shift_x=0.0, shift_y=0.0, scenes="day,night,smoke", scene_s=1.0)
    frames = {"thermal": [], "rgb": []}
    for event in Rig(rig).events(seconds=3.0):
        data = event.frame.data
        frames[event.stream].append(((data - data.min()) / np.ptp(data) * 255).astype(np.uint8) if event.stream == "thermal" else data)
    for name in ("thermal", "rgb", "average", "copy"):
        (folder / name).mkdir()
    for index, (thermal, rgb) in enumerate(zip(frames["thermal"], frames["rgb"], strict=True)):
        cv2.imwrite(str(folder / f"thermal/{index}.png"), thermal)
        cv2.imwrite(str(folder / f"rgb/{index}.png"), rgb[:, :, ::-1])
        cv2.imwrite(str(folder / f"average/{index}.png"), (rgb.mean(axis=2) / 2 + thermal / 2).astype(np.uint8))
        cv2.imwrite(str(folder / f"copy/{index}.png"), thermal)
    return folder


@pytest.fixture(scope="module")
def evaluated(pairs):
    """The page and the JSON of one run."""
    torch.set_num_threads(1)
    words = ["evaluate", pairs / "thermal", pairs / "rgb", "--dataset", "rig", "--weights", "--html", pairs / "page.html"]
    words += ["--fused", f"average={pairs / 'average'}", "--fused", f"copy={pairs / 'copy'}", "--json", pairs / "scores.json"]
    assert cli.main([*map(str, words)]) == 0
    return Page((pairs / "page.html").read_text()), json.loads((pairs / "scores.json").read_text())


def test_the_table_of_measures_is_the_json(evaluated):
    html, report = evaluated
    header, *rows = html.tables["measures-rig"]
    names = [name.replace(" ↓", "") for name in header[2:]]
    assert [row[0] for row in rows] == sorted(report["means"]["rig"], key=lambda method: report["mean_rank"]["rig"][method])
    for row in rows:
        means = report["means"]["rig"][row[0]]
        assert float(row[1]) == pytest.approx(report["mean_rank"]["rig"][row[0]], abs=0.006)
        assert set(names) == set(means)
        for name, text in zip(names, row[2:], strict=True):
            assert float(text) == pytest.approx(means[name], rel=0.006, abs=6e-5)


def test_the_best_of_each_column_is_marked(evaluated):
    html, report = evaluated
    header, *rows = html.tables["measures-rig"]
    means = report["means"]["rig"]
    for column, name in enumerate(header[2:], 2):
        values = [means[row[0]][name.replace(" ↓", "")] for row in rows]
        best = min(values) if name.endswith("↓") else max(values)
        assert {row for row, at in html.best["measures-rig"] if at == column} == {row for row, value in enumerate(values) if value == best}


def test_every_pair_is_shown_with_every_method(evaluated, pairs):
    html, _ = evaluated
    assert len(html.images) == 3 * 5
    for image in html.images:
        kind, _, content = image["src"].partition(",")
        assert kind == "data:image/jpeg;base64"
        assert cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR).shape == (128, 160, 3)
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(html.images[1]["src"].partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    true = cv2.imread(str(pairs / "rgb/0.png")).astype(int)
    assert 2 * np.abs(shown - true).mean() < np.abs(shown - true[:, :, ::-1]).mean(), "red and blue are where they were"


def test_the_page_says_what_it_belongs_to_and_fetches_nothing(evaluated):
    html, report = evaluated
    text = " ".join(html.texts)
    for value in (report["about"]["date"], report["about"]["weights"], report["about"]["machine"]["processor"], str(torch.__version__)):
        assert value in text
    assert "3 pairs, 3 methods" in text
    assert all(address.startswith("data:image/jpeg") for address in html.addresses)


def test_nothing_is_overwritten_without_force(pairs, evaluated, capsys):
    before = (pairs / "page.html").read_bytes()
    words = ["evaluate", pairs / "thermal", pairs / "rgb", "--fused", f"copy={pairs / 'copy'}", "--html", pairs / "page.html"]
    assert cli.main([*map(str, words)]) == 1
    assert "--force" in capsys.readouterr().err
    assert (pairs / "page.html").read_bytes() == before


@pytest.mark.slow
def test_a_grey_picture_and_a_wide_one_fit_the_page():
    image = page.picture_row([('a "name" & more', np.zeros((100, 1200), np.uint8))])
    html = Page(image)
    assert html.images[0]["alt"] == 'a "name" & more'
    content = base64.b64decode(html.images[0]["src"].partition(",")[2])
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE).shape == (33, 400)
