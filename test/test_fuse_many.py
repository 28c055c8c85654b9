"""``aenet fuse`` of many sources at a time, and what interrupted runs leave and how they go on: with real processes, really killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")
pytest.importorskip("mcap", reason="damaged bags are read with the package mcap (pip install mcap)")

from test_bags import make_bag, messages

from aenet_ros.config import Config
from aenet_ros.core.errors import SourceError
from aenet_ros.io.fuse_job import FuseOptions, plan_jobs
from aenet_ros.io.fusing import fuse_job

HARD_LIMIT_S = 300
LONG = 250  # pairs, so that a run is still at work when it is stopped
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*arguments):
    # One thread: on a busy machine helpers that wait for a core would make small frames slow.
    return [sys.executable, "-m", "aenet_ros", "fuse", *map(str, arguments), "--set", "model.threads=1"]


def fuse(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=HARD_LIMIT_S, env=ENVIRONMENT, check=False)


def content(folder):
    """Every file below the folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def until(condition, process):
    give_up = time.monotonic() + HARD_LIMIT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.005)


def interrupt(arguments, when, number, group=False):
    """Run, send the signal once ``when()`` is true; exit status and stderr."""
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
    )
    try:
        until(when, process)
        os.killpg(process.pid, number) if group else process.send_signal(number)
        _, stderr = process.communicate(timeout=HARD_LIMIT_S)
    finally:
        process.kill()
    return process.returncode, stderr


def pictures(folder, count, size=(240, 320)):
    for index in range(count):
        for stream, shape in (("thermal", size), ("rgb", (*size, 3))):
            (folder / stream).mkdir(parents=True, exist_ok=True)
            data = np.random.default_rng(index).integers(0, 256, shape, np.uint8)
            assert cv2.imwrite(str(folder / stream / f"{index:03d}.png"), data)
    return folder


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    """A folder of bags, of both ROS and one in a folder of its own; and what they become one by one."""
    folder = tmp_path_factory.mktemp("drives")
    make_bag(folder / "first", "mcap", count=12)
    make_bag(folder / "second", "sqlite3", count=9)
    (folder / "day2").mkdir()
    make_bag(folder / "day2" / "third.bag", "ros1", count=7)
    done = fuse(folder, "-o", folder.with_name("one_by_one"))
    assert done.returncode == 0, done.stderr
    return folder, content(folder.with_name("one_by_one"))


def test_jobs_make_the_same_bytes(drives, tmp_path):
    folder, expected = drives
    assert {Path(name).parent.as_posix() for name in expected} == {"first", "second", "day2/third"}
    done = fuse(folder, "-o", tmp_path / "out", "--jobs", "2", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["ok"], report["fused"], report["failed"]) == (True, 28, 0)
    assert [source["fused"] for source in report["sources"]] == [7, 12, 9]
    assert content(tmp_path / "out") == expected


def test_one_that_fails_loses_no_other(drives, tmp_path):
    folder, expected = drives
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(b"no bag at all")
    done = fuse(folder / "first", broken, folder / "second", "-o", tmp_path / "out", "--jobs", "2")
    assert done.returncode == 1
    assert "broken.mcap: failed: " in done.stderr
    assert "1 of 3 sources failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert content(tmp_path / "out") == {name: data for name, data in expected.items() if not name.startswith("day2")}


@pytest.mark.slow
def test_a_process_that_is_killed_loses_only_its_own_source(tmp_path):
    make_bag(tmp_path / "long", count=LONG)
    make_bag(tmp_path / "short", count=5)
    process = subprocess.Popen(
        command(tmp_path / "long", tmp_path / "short", "-o", tmp_path / "out", "--jobs", "2"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        until(lambda: (tmp_path / "out/.long.aenet-part/long/long.mcap").exists() and (tmp_path / "out/short").exists(), process)
        # The process that writes has the file open.
        part = (tmp_path / "out/.long.aenet-part/long/long.mcap").resolve()
        writers = [int(entry.parent.parent.name) for entry in Path("/proc").glob("[0-9]*/fd/*") if _leads_to(entry, part)]
        assert len(writers) == 1
        assert writers != [process.pid]
        os.kill(writers[0], signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=HARD_LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "long: failed: its process was killed (signal 9" in stderr
    assert "short: 5 fused" in stdout
    assert not (tmp_path / "out/long").exists()
    done = fuse(tmp_path / "long", tmp_path / "short", "-o", tmp_path / "out", "--resume")
    assert done.returncode == 0, done.stderr
    assert len(messages(tmp_path / "out/long")[0]["/fused/image"]) == LONG
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["long", "short"]


def _leads_to(link, path):
    try:
        return link.readlink() == path
    except OSError:
        return False


@pytest.mark.parametrize(("jobs", "number", "expected"), [(1, signal.SIGINT, 130), (2, signal.SIGINT, 130), (2, signal.SIGTERM, 143)])
def test_a_stop_ends_all_and_leaves_no_half_bag(tmp_path, jobs, number, expected):
    for name in ("a", "b", "c"):
        (tmp_path / "in").mkdir(exist_ok=True)
        make_bag(tmp_path / "in" / name, count=LONG if name != "a" else 3)
    out = tmp_path / "out"
    status, stderr = interrupt(
        [tmp_path / "in", "-o", out, "--jobs", str(jobs)],
        lambda: (out / ".b.aenet-part/b/b.mcap").exists() and (out / "a").exists(),
        number,
        group=number == signal.SIGINT,  # as a terminal sends Ctrl-C, and kill sends SIGTERM
    )
    assert status == expected, stderr
    assert " of 3 sources were complete and stay; the same command with --resume" in stderr
    assert "Traceback" not in stderr
    assert [path.name for path in out.iterdir()] == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_folder_goes_on_where_it_stopped(tmp_path, number, expected):
    source, out = pictures(tmp_path / "in", 60), tmp_path / "out"
    arguments = [source / "thermal", source / "rgb", "-o", out]
    status, stderr = interrupt(arguments, lambda: len(list(out.glob("0*.png"))) >= 5, number)
    assert status == expected, stderr
    first = {name: (out / name).stat().st_mtime_ns for name in content(out) if name.endswith(".png") and not name.startswith(".")}
    assert 5 <= len(first) < 60
    done = fuse(*arguments)
    assert done.returncode == 1
    assert "--resume to go on with the run that was interrupted" in done.stderr
    done = fuse(*arguments, "--resume", "--set", "output.thermal_weight=0.5")
    assert done.returncode == 1
    assert "output.thermal_weight: 1.0 then, 0.5 now" in done.stderr
    done = fuse(*arguments, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["kept"], report["fused"]) == (len(first), 60 - len(first))
    assert {name: (out / name).stat().st_mtime_ns for name in first} == first
    whole = fuse(*arguments[:2], "-o", tmp_path / "whole")
    assert whole.returncode == 0
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.slow
def test_frames_of_a_sequence_come_out_the_same_after_an_interruption(tmp_path):
    """The gain control follows the frames, those too that are there already."""
    source = tmp_path / "in"
    for index in range(12):  # counts that climb, so that the smoothed range depends on all before
        for stream in ("thermal", "rgb"):
            (source / stream).mkdir(parents=True, exist_ok=True)
        counts = np.linspace(20_000, 21_000 + 300 * index, 48 * 64).reshape(48, 64).astype(np.uint16)
        assert cv2.imwrite(str(source / "thermal" / f"{index}.png"), counts)
        assert cv2.imwrite(str(source / "rgb" / f"{index}.png"), np.full((48, 64, 3), 90, np.uint8))
    assert fuse(source, "-o", tmp_path / "whole", "--sequence", "10").returncode == 0
    expected = content(tmp_path / "whole")
    out = tmp_path / "out"
    out.mkdir()
    for name in list(expected)[:5]:
        (out / name).write_bytes(expected[name])
    done = fuse(source / "thermal", source / "rgb", "-o", out, "--sequence", "10", "--resume")
    assert done.returncode == 0, done.stderr
    assert content(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("target", ["bag", "video.mp4"])
def test_after_sigkill_a_bag_or_video_is_made_anew_and_debris_removed(tmp_path, target):
    bag, out = make_bag(tmp_path / "in", count=LONG), tmp_path / target
    part = tmp_path / f".{target}.aenet-part"
    status, _ = interrupt([bag, "-o", out], lambda: part.exists() and any(part.rglob("*.m*")), signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert not out.exists()
    assert part.exists()
    done = fuse(bag, "-o", out)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in", target])
    again = fuse(bag, "-o", out, "--resume")
    assert again.returncode == 0
    assert "is there already" in again.stdout


@pytest.mark.slow
def test_two_runs_do_not_write_to_one_place(tmp_path):
    bag, out = make_bag(tmp_path / "in", count=LONG), tmp_path / "out"
    first = subprocess.Popen(command(bag, "-o", out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        until(lambda: (tmp_path / ".out.aenet-part").exists(), first)
        first.send_signal(signal.SIGSTOP)  # a bag of this length is done in a second
        second = fuse(bag, "-o", out)
        first.send_signal(signal.SIGCONT)
        assert second.returncode == 1
        assert "another run is writing there" in second.stderr
        _, stderr = first.communicate(timeout=HARD_LIMIT_S)
    finally:
        first.kill()
    assert first.returncode == 0, stderr
    assert len(messages(out)[0]["/fused/image"]) == LONG


def test_what_is_one_source_and_what_are_many(tmp_path):
    options, out = FuseOptions(), tmp_path / "out"
    for folder in ("bags/x", "other"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "run.mcap").write_bytes(b"")
    (tmp_path / "clip/thermal").mkdir(parents=True)
    (tmp_path / "clip/rgb").mkdir()
    for name in ("t.mp4", "v.mp4", "t.png"):
        (tmp_path / name).write_bytes(b"")
    one = plan_jobs([tmp_path / "t.mp4", tmp_path / "v.mp4"], out, options)
    assert [(job.inputs, job.out) for job in one] == [((tmp_path / "t.mp4", tmp_path / "v.mp4"), out)]
    beside = plan_jobs([tmp_path / "t.mp4", tmp_path / "v.mp4"], out, FuseOptions(thermal_side="right"))
    assert [job.out for job in beside] == [out / "t.mp4", out / "v.mp4"]
    both = plan_jobs([tmp_path / "other/run.mcap", tmp_path / "bags/x/run.mcap", tmp_path / "clip"], out, options)
    assert [job.out for job in both] == [out / "other_run", out / "x_run", out / "clip"]
    assert [job.out for job in plan_jobs([tmp_path / "bags"], out, options)] == [out / "x"]
    assert [job.out for job in plan_jobs([tmp_path / "bags"], out, FuseOptions(to="video"))] == [out / "x.mp4"]
    (tmp_path / "week").mkdir()
    for name in ("monday.mcap", "tuesday.mcap"):
        (tmp_path / "week" / name).write_bytes(b"")
    assert [job.out for job in plan_jobs([tmp_path / "week"], out, options)] == [out / "monday", out / "tuesday"]
    (tmp_path / "split").mkdir()
    for name in ("drive_0.mcap", "drive_1.mcap"):
        (tmp_path / "split" / name).write_bytes(b"")
    assert [(job.inputs, job.out) for job in plan_jobs([tmp_path / "split"], out, options)] == [((tmp_path / "split",), out)]
    for paths, target, match in [
        ([tmp_path / "other", tmp_path / "t.png"], out, "does not stand alone"),
        ([tmp_path / "bags"], tmp_path / "bags/out", "lies in"),
        ([tmp_path / "bags"], tmp_path / "x.mp4", "need a folder"),
        ([tmp_path / "none"], out, "there is no"),
    ]:
        with pytest.raises(SourceError, match=match):
            plan_jobs(paths, target, options)


def test_a_run_goes_on_with_another_number_of_threads(tmp_path):
    """As it gets when it is started again with other --jobs."""
    for role, shape in (("thermal", (48, 64)), ("rgb", (48, 64, 3))):
        (tmp_path / role).mkdir()
        for index in range(4):
            cv2.imwrite(str(tmp_path / role / f"{index}.png"), np.full(shape, 50 * index, np.uint8))
    paths, out = [tmp_path / "thermal", tmp_path / "rgb"], tmp_path / "out"
    news = []

    def stop_at_the_third(item):
        news.append(item[0])
        if news.count("pair") == 3:
            raise KeyboardInterrupt

    threads = torch.get_num_threads()
    try:
        with pytest.raises(KeyboardInterrupt):
            fuse_job(*plan_jobs(paths, out, FuseOptions()), Config(), stop_at_the_third, threads=2)
        report = fuse_job(*plan_jobs(paths, out, FuseOptions(resume=True)), Config(), threads=1)
    finally:
        torch.set_num_threads(threads)
    assert (report["fused"], report["kept"]) == (1, 3)
