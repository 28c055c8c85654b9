"""aenet bench: the report's shape and what it refuses; no expectation on times."""

import json
from importlib.util import find_spec

import cv2
import pytest
import torch

from aenet_ros.cli.bench import measure_node
from aenet_ros.cli.main import main
from aenet_ros.workbench.speed import TwoConvolutions, spread_ms, time_runs


@pytest.mark.slow
def test_the_report_has_every_stage_size_and_thread_count(tmp_path):
    out, plot = tmp_path / "results" / "bench.json", tmp_path / "bench.png"
    words = ["--sizes", "64x48,96x64", "--threads", "1", "--runs", "3", "--device", "cpu", "-o", str(out)]
    assert main(["bench", *words, *(["--plot", str(plot)] if find_spec("matplotlib") else [])]) == 0
    report = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert [(row["rgb"], row["threads"], row["device"]) for row in report["pipeline"]] == [("64x48", 1, "cpu"), ("96x64", 1, "cpu")]
    for row in report["pipeline"]:
        assert set(row["stages"]) >= {"agc", "registration", "fusion", "total"}
        assert set(row["within_fusion"]) == {"luma", "network", "merge"}
        assert all(stage["q25_ms"] <= stage["median_ms"] <= stage["q75_ms"] for stage in row["stages"].values())
    for row in report["network"]:
        assert set(row["parameters"]) == {"aenet", "yardstick"}
        assert all(row[name]["median_ms"] > 0 for name in row["parameters"])
    around = {"receive", "decode", "match", "encode", "publish"} if find_spec("rclpy") else {"match"}
    assert [set(row) - {"rgb"} for row in report["around_the_pipeline"]] == [around, around]
    assert report["versions"]["torch"] == str(torch.__version__)
    if find_spec("matplotlib"):
        assert cv2.imread(str(plot)).shape[1] > 500


def test_the_yardstick_has_the_parameters_of_the_published_network():
    assert sum(parameter.numel() for parameter in TwoConvolutions().parameters()) == 113


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_node_is_measured_beside_a_passthrough_node():
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")
    report = measure_node((96, 128), seconds=1.0, rounds=1)
    for name in ("fused", "passthrough"):
        assert report[name]["frames"] >= 10
        assert 0 < report[name]["latency_ms"]["p50"] <= report[name]["latency_ms"]["p95"]
        assert set(report[name]["closed_loop_hz"]) == {"1", "2"}
        assert report[name]["start_to_active_s"] > 0
        assert report[name]["rss_mb"] > 50
    assert report["fused"]["stages_ms"]["total"] > 0


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
