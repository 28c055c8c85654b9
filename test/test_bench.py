"""aenet bench: the report's shape and what it refuses; no expectation on times."""

import json

import pytest
import torch

from aenet_ros.cli import main
from aenet_ros.evaluation.benchmark import TwoConvolutions, spread_ms, time_runs


def test_the_report_has_every_stage_size_and_thread_count(tmp_path):
    out = tmp_path / "results" / "bench.json"
    assert main(["bench", "--sizes", "64x48,96x64", "--threads", "1", "--runs", "3", "--device", "cpu", "-o", str(out)]) == 0
    report = json.loads(out.read_text())
    assert [(row["rgb"], row["threads"], row["device"]) for row in report["pipeline"]] == [("64x48", 1, "cpu"), ("96x64", 1, "cpu")]
    for row in report["pipeline"]:
        assert set(row["stages"]) >= {"agc", "registration", "fusion", "total"}
        assert all(stage["q25_ms"] <= stage["median_ms"] <= stage["q75_ms"] for stage in row["stages"].values())
    assert report["network"][0]["yardstick"]["median_ms"] > 0
    assert report["versions"]["torch"] == str(torch.__version__)


@pytest.mark.parametrize("words", [["--sizes", "640"], ["--threads", "0"], ["--runs", "1"]])
def test_nonsense_is_refused_with_a_sentence(words, capsys):
    assert main(["bench", *words]) == 1
    assert "give" in capsys.readouterr().err


def test_spread_is_median_and_quartiles():
    assert spread_ms([1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000]) == {"median_ms": 3.0, "q25_ms": 2.0, "q75_ms": 4.0}


def test_the_device_is_waited_for_before_each_reading_of_the_clock():
    calls = []
    assert len(time_runs(lambda: calls.append("run"), 2, lambda: calls.append("wait"))) == 2
    assert calls[-6:] == ["wait", "run", "wait", "wait", "run", "wait"]


def test_the_yardstick_has_the_published_number_of_parameters():
    yardstick = TwoConvolutions()
    assert sum(parameter.numel() for parameter in yardstick.parameters()) == 113
    planes = torch.rand(2, 1, 1, 20, 30)
    assert yardstick(planes[0], planes[1]).shape == (1, 1, 20, 30)
