"""Times of bags: header stamps that are zero, since boot or hours off, and what `aenet inspect` advises, which is then tried."""

import json
import re

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")
pytest.importorskip("mcap", reason="bags need the package mcap (pip install mcap)")

from test_bags import BEGIN_NS, IMAGE, PERIOD_NS, PLAIN, BagMaker, aenet, messages, rgb_of, stamp, thermal_of

from aenet_ros.cli.main import main
from aenet_ros.config import Config, SyncConfig
from aenet_ros.io.bag_report import report_bag
from aenet_ros.io.bag_source import BagPlayer, BagSource

MS, HOUR = 1_000_000, 3_600_000_000_000
COUNT = 12


def bag_of(path, thermal, rgb, kind="mcap", encodings=("mono16", "rgb8")):
    """A bag with the given (log time, header stamp) of each camera's frames; frame i shows index i."""
    maker = BagMaker(path, kind)
    with maker.writer:
        topics = {name: maker.topic(f"/{name}/image_raw", IMAGE) for name in ("ir", "cam")}
        sent = [(log, "ir", at, index) for index, (log, at) in enumerate(thermal)]
        sent += [(log, "cam", at, index) for index, (log, at) in enumerate(rgb)]
        for log, name, at, index in sorted(sent):
            picture, encoding = (thermal_of(index), encodings[0]) if name == "ir" else (rgb_of(index), encodings[1])
            maker.image(topics[name], log, at, picture, encoding, name)
    return path


def steady(count=COUNT, period=PERIOD_NS, delay=5 * MS, stamp_of=lambda ns: ns, first=BEGIN_NS):
    """(log time, header stamp) of a camera whose frame i is taken at ``first + i * period``."""
    return [(first + i * period + delay, stamp_of(first + i * period)) for i in range(count)]


def indices(source):
    """The thermal and rgb frame's index of each pair."""
    return [(int(item.pair.thermal.data[0, 0]) - 29_000, int(item.pair.rgb.data[0, :, 0].argmax())) for item in source if item.pair]


CLOCKS = {
    "zero": lambda ns: 0,
    "since boot": lambda ns: ns - BEGIN_NS + 5_000_000_000_000,
    "two hours off": lambda ns: ns - 2 * HOUR,
    "an hour ahead": lambda ns: ns + HOUR,
    "5 s off": lambda ns: ns - 5000 * MS,
    "constant": lambda ns: BEGIN_NS,
    "whole seconds": lambda ns: ns // 10**9 * 10**9,
}


@pytest.mark.parametrize("broken", ["thermal", "rgb"])
@pytest.mark.parametrize("clock", CLOCKS)
def test_header_stamps_that_cannot_pair(tmp_path, capsys, clock, broken):
    """Log times pair the frames, which is said; fused frames have the rgb header stamps where there are any; inspect counts the same."""
    good, bad = steady(), steady(delay=9 * MS, stamp_of=CLOCKS[clock])
    thermal, rgb = (bad, good) if broken == "thermal" else (good, bad)
    path = bag_of(tmp_path / "in", thermal, rgb)
    source = BagSource(path, SyncConfig())
    assert indices(source) == [(index, index) for index in range(COUNT)]
    assert sum("log time" in text for text in source.remarks) == 1
    assert aenet("fuse", path, "-o", tmp_path / "out", "--set", PLAIN) == 0
    assert "paired by log times" in capsys.readouterr().err
    fused = [stamp(message) for _, message in messages(tmp_path / "out")[0]["/fused/image"]]
    assert fused == [header if header > 0 else log for log, header in rgb]
    assert aenet("inspect", path, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["pairing"]["pairs"], report["pairing"]["time"]) == (COUNT, "log")
    if option := re.search(r"sync\.clock_offset_ms=[-\d.e+]+", report["advice"]):  # for the running node, which has header stamps only
        assert len(indices(BagSource(path, SyncConfig(clock_offset_ms=float(option[0].partition("=")[2])), time="header"))) == COUNT
        assert aenet("fuse", path, "-o", tmp_path / "again", "--set", option[0]) == 0
    assert bool(option) == (clock in ("since boot", "two hours off", "an hour ahead", "5 s off"))


def test_the_page_pairs_by_the_same_times(tmp_path):
    """``aenet view --fuse``."""
    path = bag_of(tmp_path / "in", steady(stamp_of=CLOCKS["since boot"]), steady())
    player = BagPlayer(path, recorded=False)
    assert any("paired by log times" in text for text in player.remarks)
    with player.open() as bag:
        stamps = [(event.stream, frame.stamp_ns) for event in player.events(bag, 0) for frame in event.frames()]
    assert sorted(stamps) == sorted((role, log) for role in ("rgb", "thermal") for log, _ in steady())
    remarks = BagPlayer(path, recorded=False, time="header").remarks
    assert not [text for text in remarks if "paired" in text]


def test_an_offset_by_hand_pairs_header_stamps(tmp_path):
    path = bag_of(tmp_path / "in", steady(stamp_of=lambda ns: ns - HOUR - 2 * MS), steady())
    source = BagSource(path, SyncConfig(clock_offset_ms=-3_600_002.0))
    assert not source.by_log
    assert indices(source) == [(index, index) for index in range(COUNT)]
    assert all(item.pair.difference_ns == 0 for item in source)


def test_times_as_asked_for(tmp_path, capsys):
    """Thermal stamps 60 ms off, frames logged together: header stamps find other partners than log times."""
    path = bag_of(tmp_path / "in", steady(stamp_of=lambda ns: ns + 40 * MS), steady())
    assert indices(BagSource(path, SyncConfig(slop_ms=5.0)))[:2] == [(0, 1), (1, 2)]
    assert indices(BagSource(path, SyncConfig(slop_ms=5.0), time="log"))[:2] == [(0, 0), (1, 1)]
    for command in (["inspect", path], ["fuse", path, "-o", tmp_path / "out"]):
        assert aenet(*command, "--time", "log", "--json") == 0
    assert "log" in capsys.readouterr().out


def test_clocks_that_are_seconds_apart_are_named(tmp_path):
    """2 s: a slow driver or another clock; nobody can tell, so both are named."""
    source = BagSource(bag_of(tmp_path / "in", steady(100, stamp_of=lambda ns: ns - 2000 * MS), steady(100)), SyncConfig())
    assert not source.by_log
    assert any("-2.000 s" in text and "--time log" in text for text in source.remarks)


def test_frames_that_a_recorder_logs_at_once_are_all_paired(tmp_path):
    """Log times that are equal for several frames."""
    thermal = [(BEGIN_NS + i // 3 * 3 * PERIOD_NS, 0) for i in range(COUNT)]
    path = bag_of(tmp_path / "in", thermal, thermal)
    assert indices(BagSource(path, SyncConfig())) == [(index, index) for index in range(COUNT)]


ADVICE = {
    "15 ms": (steady(stamp_of=lambda ns: ns + 15 * MS), steady(), 0.1),
    "half a period": (steady(40, stamp_of=lambda ns: ns - 20 * MS), steady(40, delay=6 * MS), 0.1),
    "600 ms": (steady(100, stamp_of=lambda ns: ns + 613 * MS), steady(100, delay=7 * MS), 0.1),
    "a late start": (steady(60, stamp_of=lambda ns: ns + 15 * MS, first=BEGIN_NS + 20 * PERIOD_NS), steady(100), 0.1),
    "9 Hz beside 30 Hz": (steady(30, 111 * MS, stamp_of=lambda ns: ns + 700 * MS), steady(100, 33 * MS), 17.0),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice_is_accepted_and_makes_pairs_as_close_as_the_period_allows(tmp_path, capsys, case):
    thermal, rgb, apart_ms = ADVICE[case]
    path = bag_of(tmp_path / "in", thermal, rgb)
    arguments = ("--set", "sync.slop_ms=5") if apart_ms < 5 else ()
    aenet("inspect", path, "--json", *arguments)
    report = json.loads(capsys.readouterr().out)
    options = re.findall(r"sync\.\w+=[-\d.e+]+", report["advice"])
    assert options, report
    promised = int(re.search(r"then (\d+) pairs", report["advice"])[1])
    values = {name.partition(".")[2]: float(value) for name, value in (option.split("=") for option in options)}
    source = BagSource(path, SyncConfig(**{"slop_ms": 5.0 if arguments else 25.0, **values}))
    differences = [abs(item.pair.difference_ns) * 1e-6 for item in source]
    assert len(differences) == promised >= 0.9 * len(thermal)
    assert max(differences) <= apart_ms
    assert aenet("fuse", path, "-o", tmp_path / "out", *arguments, "--set", *options) == 0


def test_streams_of_equal_rates_that_run_freely_need_a_wider_slop(tmp_path):
    path = bag_of(tmp_path / "in", steady(40, 110 * MS, first=BEGIN_NS + 50 * MS), steady(40, 111 * MS))
    report = report_bag(path, Config())
    assert report["pairing"]["pairs"] < 20
    option = re.search(r"sync\.slop_ms=([\d.]+)", report["advice"])
    assert len(indices(BagSource(path, SyncConfig(slop_ms=float(option[1]))))) >= 36


def test_a_stream_that_is_recorded_late_needs_a_longer_queue(tmp_path):
    """Header stamps are right, but one camera's frames come 1.2 s later than the other's."""
    path = bag_of(tmp_path / "in", steady(100, delay=1200 * MS), steady(100))
    report = report_bag(path, Config())
    assert report["pairing"]["pairs"] < 50
    option = re.search(r"sync\.queue_size=(\d+)", report["advice"])
    assert option, report["advice"]
    assert len(indices(BagSource(path, SyncConfig(queue_size=int(option[1]))))) == 100


def test_streams_that_do_not_overlap(tmp_path, capsys):
    """The thermal camera was recorded before the rgb camera: no offset is advised that would make pairs of different moments."""
    path = bag_of(tmp_path / "in", steady(), steady(first=BEGIN_NS + HOUR))
    assert aenet("inspect", path) == 1
    said = capsys.readouterr().out
    assert "sync." not in said
    assert "one stream begins 3599.6 s after the end of the other" in said
    assert aenet("fuse", path, "-o", tmp_path / "out") == 1


@pytest.mark.parametrize("encodings", [("mono16", "strange"), ("strange", "rgb8")])
def test_inspect_promises_no_pairs_of_frames_that_cannot_be_decoded(tmp_path, capsys, encodings):
    path = bag_of(tmp_path / "in", steady(), steady(), encodings=encodings)
    topics = ("--thermal-topic", "/ir/image_raw", "--rgb-topic", "/cam/image_raw")
    assert aenet("inspect", path, "--json", *topics) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["pairing"]["pairs"] == 0
    assert sorted(report["pairing"]["undecoded"].values()) == [0, COUNT]
    assert "'strange'" in report["advice"]
    assert any(f"{COUNT} frames of" in text and "'strange'" in text for text in report["remarks"])
    assert aenet("fuse", path, "-o", tmp_path / "out", *topics) == 1
    assert "'strange'" in capsys.readouterr().err


def test_inspect_counts_the_pairs_that_fuse_makes_of_the_crop(tmp_path, capsys):
    maker = BagMaker(tmp_path / "in", "mcap")
    with maker.writer:
        thermal, rgb = maker.topic("/thermal/image_raw", IMAGE), maker.topic("/rgb/image_raw", IMAGE)
        for index, rows in enumerate((122, 100, 122)):
            stamp_ns = 10**18 + index * 40_000_000
            counts = np.random.default_rng(index).integers(20_000, 21_000, (rows, 160), np.uint16)
            maker.image(thermal, stamp_ns, stamp_ns, counts, "mono16", "thermal")
            maker.image(rgb, stamp_ns + 1, stamp_ns, np.full((120, 160, 3), 80, np.uint8), "rgb8", "rgb")
    assert main(["inspect", str(tmp_path / "in"), "--thermal-crop", "0,2,160,120"]) == 0
    said = capsys.readouterr().out
    assert "pairs: 2 of 3 thermal" in said
    assert "1 left out: input.thermal.crop" in said
