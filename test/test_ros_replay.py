"""The replay node as a process: its stamps, and the DDS profile that our child processes get."""

import time
from itertools import pairwise

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from ros_harness import BEST_EFFORT, stamp_of
from sensor_msgs.msg import Image

from aenet_ros.cli.processes import Processes
from aenet_ros.core.files import config_file

RATE_HZ, PAIRS, COUNT = 20.0, 8, 24


def stamps(tmp_path, monkeypatch, **parameters):
    """Header stamps of COUNT rgb frames of a replay of PAIRS pairs."""
    for camera in ("thermal", "rgb"):
        (tmp_path / camera).mkdir()
        for number in range(PAIRS):
            cv2.imwrite(str(tmp_path / camera / f"{number}.png"), np.full((24, 32), 20 * number, np.uint8))
    (tmp_path / "logs").mkdir()
    with Processes(tmp_path / "logs") as processes:
        for name, value in processes.environment.items():
            if name.startswith(("ROS_", "FAST")):
                monkeypatch.setenv(name, value)
        context = rclpy.Context()
        rclpy.init(context=context)
        node = rclpy.create_node("listener", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        seen = []
        node.create_subscription(Image, "rgb/image_raw", lambda message: seen.append(stamp_of(message)), BEST_EFFORT)
        processes.start("replay", "aenet_ros.ros.tools.replay_node", {"dir": str(tmp_path), "rate": RATE_HZ, **parameters})
        end = time.monotonic() + 90
        while len(seen) < COUNT and time.monotonic() < end and not processes.watch():
            executor.spin_once(timeout_sec=0.1)
        problem = processes.watch()
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
    assert len(seen) >= COUNT, problem
    return seen


def test_own_stamps_jump_back_at_each_round_as_a_bag_s_do(tmp_path, monkeypatch):
    seen = stamps(tmp_path, monkeypatch, own_stamps=True)
    assert set(seen) == {1_000_000_000 + round(index * 1e9 / RATE_HZ) for index in range(PAIRS)}
    assert sum(later < earlier for earlier, later in pairwise(seen)) >= 2


def test_stamps_are_the_clock_s_unless_asked_otherwise(tmp_path, monkeypatch):
    before = time.time_ns()
    seen = stamps(tmp_path, monkeypatch)
    assert seen == sorted(seen)
    assert before < seen[0]
    assert seen[-1] < time.time_ns()


@pytest.mark.parametrize("variable", ["FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"])
def test_a_user_s_dds_profile_is_kept(tmp_path, monkeypatch, variable):
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    with Processes(tmp_path) as processes:
        shipped = {value for name, value in processes.environment.items() if name.endswith("DEFAULT_PROFILES_FILE")}
    assert shipped == {str(config_file("fastdds_shm.xml"))}
    mine = tmp_path / "mine.xml"
    mine.write_text(config_file("fastdds_shm.xml").read_text())
    monkeypatch.setenv(variable, str(mine))
    with Processes(tmp_path) as processes:
        kept = {value for name, value in processes.environment.items() if name.endswith("DEFAULT_PROFILES_FILE")}
    assert kept == {str(mine)}
