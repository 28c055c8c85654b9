"""The soak of benchmarks/: its judge finds what is wrong, its plan is decided by a seed, and a short one passes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aenet_ros.config import build, specs
from aenet_ros.config.options import check
from aenet_ros.core.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))

from soak_judge import Cause, account_errors, explained, growth  # noqa: E402
from soak_plan import KINDS, plan  # noqa: E402

GOOD = {
    "thermal received": "102", "thermal rejected": "2", "rgb received": "101", "rgb rejected": "1",
    "thermal frames in": "100", "rgb frames in": "100", "pairs": "95", "waiting": "1", "unpaired: no_partner": "6", "unpaired: late": "3",
    "fused": "80", "replaced by a newer pair": "10", "failed": "1", "not fused: degraded": "3", "not fused: shut_down": "1",
    "state": "inactive", "rate [Hz]": "29.9",
}  # fmt: skip


def test_an_account_that_adds_up_is_right():
    assert account_errors(GOOD, in_work=0) == []


@pytest.mark.parametrize("key", [key for key in GOOD if key not in ("state", "rate [Hz]")])
@pytest.mark.parametrize("change", [-1, 1])
def test_one_frame_too_many_or_too_few_is_found(key, change):
    assert account_errors({**GOOD, key: str(int(GOOD[key]) + change)}, in_work=0)


def test_a_pair_in_work_is_not_lost_while_the_node_is_active():
    working = {**GOOD, "fused": "79"}
    assert account_errors(working, in_work=2) == []
    assert account_errors(working, in_work=0) == ["95 pairs, 94 accounted for"]
    assert account_errors({**GOOD, "fused": "81"}, in_work=2) == ["95 pairs, 96 accounted for"]


def test_an_error_needs_a_cause_in_its_time():
    silent = "input rgb: no rgb frame for 3.1 s: camera, cable or driver stopped"
    log = f"[ERROR] [104.5] [fusion]: {silent}\n[WARN] [105.5] [fusion]: low\n"
    counted, unexplained = explained([(103.0, silent)], log, [Cause(100.0, 102.0, ["kill"])])
    assert (counted, unexplained) == ({"input rgb: no rgb frame for # s: camera, cable or driver stopped": 2}, [])
    assert explained([(103.0, silent)], "", [Cause(100.0, 102.0, ["calm"])])[1] == [silent]
    assert explained([(203.0, silent)], "", [Cause(100.0, 102.0, ["kill"])])[1] == [silent]
    failed = "fusion: pairs cannot be fused: no memory"
    assert explained([(101.0, failed)], "", [Cause(100.0, 102.0, ["kill", "options", "cleanup"])])[1] == [failed]
    assert explained([], "Traceback (most recent call last):\n", [])[1] == ["a traceback in the log"]


def test_memory_that_grows_is_told_and_a_warm_up_is_not():
    def samples(private_kb):
        rest = {"RssFile": 1.0, "RssShmem": 1.0, "Threads": 20.0, "descriptors": 30.0}
        return [{"at_s": 10.0 * index, "RssAnon": value, **rest} for index, value in enumerate(private_kb)]

    warm = [200_000.0] * 5 + [260_000.0] * 95
    figures, grown = growth(samples(warm))
    assert grown == []
    assert figures["RssAnon"] == {"first": 200_000.0, "second_quarter": 260_000.0, "last_quarter": 260_000.0, "most": 260_000.0}
    assert growth(samples([200_000.0 + 500.0 * index for index in range(100)]))[1] == [
        "RssAnon grew by 25000 from the second to the last quarter"
    ]
    assert growth(samples([200_000.0 + 9000.0 * index for index in range(10)]))[1] == [], "all of it may be the warm-up"


def test_a_plan_is_its_seed_s_and_keeps_the_bounds():
    steps = plan(3, 600.0)
    assert steps == plan(3, 600.0)
    assert steps != plan(4, 600.0)
    assert 600.0 <= sum(step.pause_s + step.seconds for step in steps) <= 630.0
    assert {step.kind for step in steps} == set(KINDS)
    known, refused, values = specs(), 0, 0
    for step in steps:
        for name, value in step.options.items():
            values += 1
            assert known[name].dynamic
            check(known[name], value)
            try:
                build({name: value})
            except ConfigError:
                refused += 1  # two that do not go together
    assert values > 50
    assert refused < values / 4


@pytest.mark.slow
def test_a_short_soak_passes(tmp_path):
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")
    options = ["--seconds", "16", "--size", "160x128", "--seed", "2", "--sample", "1", "--log", tmp_path / "node.log"]
    command = [sys.executable, FOLDER / "soak.py", *options, "-o", tmp_path / "soak.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=220, check=False)
    assert (tmp_path / "soak.json").is_file(), done.stderr
    report = json.loads((tmp_path / "soak.json").read_text())
    assert report["problems"] == [], (tmp_path / "node.log").read_text()[-3000:]
    assert done.returncode == 0
    assert report["steps"] == {"cleanup": 1, "deactivate": 1, "loop": 1, "rgb pulled": 1}
    assert report["cameras_killed"] == 4
    assert report["active_times"] == 3
    assert sum(report["options"].values()) >= 1
    assert report["counts"]["fused"] > 30
