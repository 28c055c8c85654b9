"""OpenMP helper threads: counted in real processes, since a runtime is set up once in each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import os, sys, torch
from aenet_ros.core.openmp import end_helpers
torch.set_num_threads(2)
def compute():
    return torch.ones(4, 1, 300, 300).mul_(3).sum().item()
threads = lambda: len(os.listdir("/proc/self/task"))
first = compute()
before = threads()
ended = end_helpers()
import time
for _ in range(100):
    if threads() < before:
        break
    time.sleep(0.02)
print(ended, before - threads(), first == compute(), threads() - before)
"""
SPIN = "import os, aenet_ros.ros; print(os.environ.get('GOMP_SPINCOUNT'))"


def run(code, **environment):
    inherited = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, env={**inherited, **environment}
    )
    return done.stdout.split()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc, which is Linux's")
def test_a_threads_helpers_end_and_come_back_when_needed():
    ended, fewer, same, afterwards = run(COUNT)
    if ended == "False":
        pytest.skip("this torch has no OpenMP runtime that can end its helpers")
    assert int(fewer) >= 1
    assert same == "True"
    assert int(afterwards) == 0


def test_programs_spin_briefly_unless_told_otherwise():
    assert run(SPIN) == ["30000"]
    assert run(SPIN, GOMP_SPINCOUNT="7") == ["7"]
    assert run(SPIN, OMP_WAIT_POLICY="passive") == ["None"]
