"""What the tests themselves rely on: signals that reach child processes, and shared memory that is cleaned up."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SETTLED_S, remove_dead_segments

HERE = Path(__file__).resolve().parent
PROBE = """
import signal, subprocess, sys

def test_a_child_hears_ctrl_c():
    child = subprocess.Popen([sys.executable, "-c", "print('ready', flush=True); input()"], stdin=-1, stdout=-1, stderr=-1, text=True)
    assert child.stdout.readline() == "ready\\n"
    child.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in child.communicate(timeout=30)[1]
"""


def test_children_hear_ctrl_c_even_if_our_parent_ignores_it(tmp_path):
    (tmp_path / "test_probe.py").write_text(PROBE)
    command = ["sh", "-c", "trap '' INT; exec \"$0\" -m pytest -q -p conftest -c /dev/null test_probe.py", sys.executable]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_only_shared_memory_of_dead_processes_is_removed(tmp_path):
    """A process with a real Fast DDS participant keeps its segments; once it is killed they go."""
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")
    code = (
        "import glob, rclpy; rclpy.init(); node = rclpy.create_node('owner'); "
        "print(*{l.split()[-1] for l in open('/proc/self/maps') if '/dev/shm/fastdds_' in l}, flush=True); input()"
    )
    environment = {**os.environ, "ROS_LOG_DIR": str(tmp_path), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    owner = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        segments = [Path(path) for path in owner.stdout.readline().split() if Path(f"{path}_el").is_file()]
        if not segments:
            pytest.skip("this middleware keeps no segment with a lock file in /dev/shm")
        long_ago = time.time() - SETTLED_S - 1
        for segment in segments:
            os.utime(f"{segment}_el", (long_ago, long_ago))
        remove_dead_segments(Path("/dev/shm"))
        assert all(segment.exists() for segment in segments)
        owner.kill()
        owner.wait()
        remove_dead_segments(Path("/dev/shm"))
        assert not any(segment.exists() or Path(f"{segment}_el").exists() for segment in segments)
    finally:
        owner.kill()
        owner.communicate()
