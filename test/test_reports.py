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
from aenet_ros.workbench.evaluation.methods import FREE
from aenet_ros.workbench.evaluation.metrics import METRICS
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
    for name in ("thermal", "rgb", "mean", "copy"):
        (folder / name).mkdir()
    for index, (thermal, rgb) in enumerate(zip(frames["thermal"], frames["rgb"], strict=True)):
        cv2.imwrite(str(folder / f"thermal/{index}.png"), thermal)
        cv2.imwrite(str(folder / f"rgb/{index}.png"), rgb[:, :, ::-1])
        cv2.imwrite(str(folder / f"mean/{index}.png"), (rgb.mean(axis=2) / 2 + thermal / 2).astype(np.uint8))
        cv2.imwrite(str(folder / f"copy/{index}.png"), thermal)
    return folder


@pytest.fixture(scope="module")
def evaluated(pairs):
    """The page and the JSON of one run."""
    torch.set_num_threads(1)
    words = ["evaluate", pairs / "thermal", pairs / "rgb", "--dataset", "rig", "--weights", "--html", pairs / "page.html"]
    words += ["--fused", f"mean={pairs / 'mean'}", "--fused", f"copy={pairs / 'copy'}", "--json", pairs / "scores.json"]
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


def test_the_table_of_trust_is_the_json_and_comes_first(evaluated):
    html, report = evaluated
    assert list(html.tables) == ["trust-rig", "mean-rank", "measures-rig"]
    header, *rows = html.tables["trust-rig"]
    assert header == ["method", "lost ↓", "retention", "halo ↓", "halo share ↓", "worst VIF", "mesh ↓"]
    assert [row[0] for row in rows] == ["aenet", "mean", "copy", *(method.name for method in FREE)]
    for row in rows:
        for name, text in zip(header[1:], row[1:], strict=True):
            value = report["trust"]["rig"][row[0]][name.replace(" ↓", "")]
            assert text == "-" if value is None else float(text) == pytest.approx(value, rel=0.006, abs=6e-5)
    assert any("hot regions)" in text for text in html.texts)


def test_each_measure_is_explained_in_a_line(evaluated):
    html, _ = evaluated
    text = "\n".join(html.texts)
    for name in ("lost", "retention", "halo", "halo share", "worst VIF", "mesh", *METRICS):
        assert f"{name}\n{page.MEASURES[name]}\n" in text, name
        assert len(page.MEASURES[name]) < 140


def test_the_worst_pairs_by_each_measure_are_shown(evaluated, pairs):
    html, report = evaluated
    labels = [image["alt"] for image in html.images]
    by_method = [score for score in report["scores"] if score["method"] == "mean"]
    for key, label, reverse in (("worst_vif", "worst VIF {:.3f}", False), ("mesh", "mesh {:.3f}", True), ("halo", "halo {:.3f}", True)):
        counted = sorted((score for score in by_method if score[key] is not None), key=lambda score: score[key], reverse=reverse)
        expected = [f"thermal {score['name']}: {label.format(score[key])}" for score in counted]
        place = html.texts.index(f"mean: {'worst VIF' if key == 'worst_vif' else key}")
        shown = [text for text in html.texts[place:] if text.startswith("thermal rig/")][: len(expected)]
        assert [text.split(", halo share")[0] for text in shown] == expected
        for text in shown:
            rows = [labels[index : index + 4] for index, label in enumerate(labels) if label == text]
            assert [text, "rgb", "mean", "maximum"] in rows, "methods may have equal values"
    lost = {score["name"]: sum(value < 0.5 for value in score["retentions"]) for score in by_method}
    shown = [text for text, method in zip(labels, labels[2:], strict=False) if " hot regions lost" in text and method == "mean"]
    assert len(shown) == sum(count > 0 for count in lost.values())


def test_lost_regions_are_outlined(tmp_path):
    """A hot square that the fused picture does not have: an outline around it in all four pictures, the square itself untouched."""
    thermal = np.full((120, 160), 40, np.uint8)
    thermal[50:62, 70:82] = 220
    for folder, picture in (
        ("thermal", thermal),
        ("rgb", np.full((120, 160, 3), 40, np.uint8)),
        ("blind", np.full((120, 160), 40, np.uint8)),
    ):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "0.png"), picture)
    words = ["evaluate", tmp_path / "thermal", tmp_path / "rgb", "--fused", f"blind={tmp_path / 'blind'}", "--html", tmp_path / "page.html"]
    assert cli.main([*map(str, words)]) == 0
    html = Page((tmp_path / "page.html").read_text())
    (first,) = (index for index, image in enumerate(html.images) if "1 of 1 hot regions lost, lowest retention 0.00" in image["alt"])
    for image in html.images[first : first + 4]:
        drawn = picture_of(image)
        magenta = (drawn[:, :, 0] > 150) & (drawn[:, :, 1] < 120) & (drawn[:, :, 2] > 150)
        rows, columns = np.nonzero(magenta)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((43, 68, 63, 88), abs=2)
    assert picture_of(html.images[first])[56, 76].min() > 200, "the target stays visible"


def picture_of(image):
    return cv2.imdecode(np.frombuffer(base64.b64decode(image["src"].partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)


def test_every_pair_is_shown_with_every_method(evaluated, pairs):
    html, _ = evaluated
    examples = html.images[-3 * 8 :]
    methods = ["aenet", "mean", "copy", "maximum", "average", "Laplacian pyramid"]
    assert [image["alt"] for image in examples[:8]] == ["thermal 0.png", "rgb", *methods]
    for image in html.images:
        kind, _, content = image["src"].partition(",")
        assert kind == "data:image/jpeg;base64"
        assert cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR).shape == (128, 160, 3)
    shown = picture_of(examples[1])
    true = cv2.imread(str(pairs / "rgb/0.png")).astype(int)
    assert 2 * np.abs(shown - true).mean() < np.abs(shown - true[:, :, ::-1]).mean(), "red and blue are where they were"


def test_the_page_says_what_it_belongs_to_and_fetches_nothing(evaluated):
    html, report = evaluated
    text = " ".join(html.texts)
    for value in (report["about"]["date"], report["about"]["weights"], report["about"]["machine"]["processor"], str(torch.__version__)):
        assert value in text
    assert "3 pairs, 8 methods" in text
    assert all(address.startswith("data:image/jpeg") for address in html.addresses)


def test_a_grey_picture_and_a_wide_one_fit_the_page():
    image = page.picture_row([('a "name" & more', np.zeros((100, 1200), np.uint8))])
    html = Page(image)
    assert html.images[0]["alt"] == 'a "name" & more'
    content = base64.b64decode(html.images[0]["src"].partition(",")[2])
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE).shape == (33, 400)
