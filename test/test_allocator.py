"""What the process keeps and gives back of its memory, in a process of its own, since the settings hold for the whole of it."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from aenet_ros.core.allocator import private_bytes

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc, whose allocator this sets up")

# Blocks as large as images, with small ones that stay in between, as messages and what is remembered of them.
HOLES = """
import sys
import numpy as np
from aenet_ros.core.allocator import HeapWatch, trim_memory, keep_large_buffers, private_bytes

assert keep_large_buffers()
SECOND, MEGABYTE = 10**9, 2**20
watch = HeapWatch()
watch.look(0)
watch.look(5 * SECOND)
before = private_bytes()

def leave_holes():
    images, kept = [], []
    for _ in range(100):
        images.append(np.ones(MEGABYTE, np.uint8))
        kept.append(np.ones(300, np.uint8))
    return kept

kept = leave_holes()
grown = private_bytes() - before
looks = []
for at in sys.argv[1:]:
    watch.look(int(at) * SECOND)
    looks.append(watch.times)
left = private_bytes() - before
print(grown // MEGABYTE, left // MEGABYTE, *looks)
"""


def leave_holes_and_look(*at_s):
    """Growth and what is left of it in MB, and how often memory was given back after each look."""
    done = subprocess.run([sys.executable, "-c", HOLES, *map(str, at_s)], capture_output=True, text=True, timeout=60, check=True)
    return list(map(int, done.stdout.split()))


def test_holes_between_blocks_in_use_are_given_back_once():
    grown, left, *looks = leave_holes_and_look(11, 12, 22, 60)
    assert grown >= 95, "the allocator keeps what was freed"
    assert left <= 5
    assert looks == [1, 1, 1, 1]


def test_what_is_there_in_the_settling_time_is_needed():
    grown, left, *looks = leave_holes_and_look(9, 11, 12, 22, 60)
    assert left >= grown - 5
    assert looks == [0] * 5


def test_private_memory_is_what_the_kernel_says():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    anonymous_kb = next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
    assert private_bytes() / 1024 == pytest.approx(anonymous_kb, rel=0.1)
