"""`aenet fuse --dask` over a real cluster of a scheduler and two workers, each a process."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="Dask is not installed (pip install 'aenet_ros[cluster]')")
pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")

from test_bags import make_bag
from test_fuse_many import ENVIRONMENT, HARD_LIMIT_S, content, fuse

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture
def scheduler(tmp_path):
    """The address of a scheduler with two workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])}
    commands = [["scheduler", "--host", address, "--no-dashboard"]]
    commands += [["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path / "dask")]] * 2
    log = (tmp_path / "dask.log").open("wb")
    processes = [
        subprocess.Popen([sys.executable, "-m", "dask", *words], env=environment, stdout=log, stderr=log, cwd=tmp_path)
        for words in commands
    ]
    try:
        give_up = time.monotonic() + HARD_LIMIT_S
        while (tmp_path / "dask.log").read_text().count("Registered to:") < 2:
            assert all(process.poll() is None for process in processes), (tmp_path / "dask.log").read_text()
            assert time.monotonic() < give_up, (tmp_path / "dask.log").read_text()
            time.sleep(0.1)
        yield address
    finally:
        for process in processes[::-1]:
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        log.close()


def test_a_cluster_makes_the_same_bytes_and_survives_a_bad_bag(scheduler, tmp_path):
    drives = tmp_path / "drives"
    drives.mkdir()
    for name in ("a", "b", "c"):
        make_bag(drives / name, count=6)
    (drives / "broken.mcap").write_bytes(b"no bag")
    here = fuse(drives, "-o", tmp_path / "here", "--json")
    there = fuse(drives, "-o", tmp_path / "there", "--json", "--dask", scheduler)
    assert (here.returncode, there.returncode) == (1, 1), there.stderr
    assert there.stdout, there.stderr
    reports = [json.loads(done.stdout) for done in (here, there)]
    assert [report["failed"] for report in reports] == [1, 1]
    assert [[source["fused"] for source in report["sources"]] for report in reports] == [[6, 6, 0, 6]] * 2
    assert len(content(tmp_path / "there")) == 6
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_nobody_answers(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    done = fuse(make_bag(tmp_path / "in", count=2), "-o", tmp_path / "out", "--dask", address)
    assert done.returncode == 1
    assert "no scheduler answers" in done.stderr
    assert "Traceback" not in done.stderr
