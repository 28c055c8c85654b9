"""The node with everything of a pair done by a device, over real topics: pairs overlap, and order, pictures and counts stay right."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ros_harness import WARN, Robot, assert_counts, dim_street, make_image, stamp, stamp_of

from aenet_ros.config import build
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.pipeline import FusionPipeline

SCRIPT = Path(__file__).with_name("node_on_device.py")
SIZE = (240, 320)
PICTURES = 8  # that differ
FOREVER = 10**9
# Exact: in the flood frames are lost, and a frame paired with the one after has another picture than these tests expect.
SETTINGS = {"diagnostics.period_s": 0.1, "model.device": "cpu", "model.threads": 1, "sync.policy": "exact"}


@pytest.fixture
def make_robot(tmp_path):
    robots = []

    def make(lasts, **parameters):
        robot = Robot(tmp_path, {**SETTINGS, **parameters})
        robot.command = [sys.executable, str(SCRIPT), str(lasts)]
        robot.environment["PYTHONPATH"] = os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")])  # where not installed
        robots.append(robot)
        robot.start_node()
        robot.wait(lambda: robot.image_subscription.get_publisher_count(), "the node's topic")
        return robot

    yield make
    for robot in robots:
        robot.close()


def thermal(number):
    """8-bit, so that no gain is learnt on the way: each pair's picture is its own."""
    return np.roll(np.linspace(0, 255, SIZE[0] * SIZE[1]).reshape(SIZE), 20 * (number % PICTURES), axis=0).astype(np.uint8)


class Cameras:
    """Publishes pictures by turns, and knows which belong to a stamp."""

    def __init__(self, robot):
        self.robot, self.sent = robot, {}
        self.thermal = [make_image(thermal(number), "mono8", 0, "thermal_optical") for number in range(PICTURES)]
        self.rgb = make_image(dim_street(SIZE), "rgb8", 0, "rgb_optical")
        pipeline = FusionPipeline(build({"model.device": "cpu", "model.threads": 1}))
        self.fused = [
            pipeline.process(FramePair(Frame(0, thermal(number), "mono8"), Frame(0, dim_street(SIZE), "rgb8"))).image.astype(int)
            for number in range(PICTURES)
        ]

    def run(self, count, period_s, alone=False):
        """Send so many pairs, or rgb frames alone."""
        for number in range(count):
            begun = time.monotonic()
            if alone:
                self.robot.stamp_ns = max(self.robot.stamp_ns + 1_000_000, time.time_ns())
                stamp(self.rgb, self.robot.stamp_ns)
                self.robot.rgb_publisher.publish(self.rgb)
            else:
                self.sent[self.robot.publish(self.thermal[number % PICTURES], self.rgb, step_ns=1_000_000)] = number % PICTURES
            time.sleep(max(0.0, period_s - (time.monotonic() - begun)))

    def run_until(self, condition, what, period_s, alone=False):
        """Send on until it is so; on a busy machine that takes longer."""
        self.robot.wait(lambda: self.run(5, period_s, alone) or condition(), what, timeout_s=60)

    def check(self):
        """What came, in order, each once, and each picture as it should be; returns how many of them were fused.

        Either camera's frame may stand in for a pair: on a busy machine one comes so late that it is taken for silent.
        """
        messages = list(self.robot.fused)
        stamps = [stamp_of(message) for message in messages]
        assert stamps == sorted(set(stamps))
        fused = 0
        for message in messages:
            picture = np.frombuffer(message.data, np.uint8).reshape(*SIZE, 3)
            number = self.sent.get(stamp_of(message))
            if number is None or (picture == dim_street(SIZE)).all() or (picture == thermal(number)[..., None]).all():
                continue
            fused += 1
            assert np.abs(picture - self.fused[number]).max() <= 1
        return fused


def test_more_pairs_than_it_can_fuse_and_a_camera_that_stops_and_comes_back(make_robot):
    robot = make_robot(FOREVER)
    cameras = Cameras(robot)
    cameras.run(20, 0.05)
    cameras.run(200, 0.002)
    cameras.run_until(lambda: cameras.check() > 30, "fused pictures", 0.002)
    before = len(robot.fused)
    cameras.run(100, 0.01, alone=True)
    cameras.run_until(lambda: len(robot.fused) > before + 20, "rgb frames that stand in", 0.01, alone=True)
    fused = cameras.check()
    cameras.run_until(lambda: cameras.check() > fused + 10, "fused pictures again", 0.01)
    time.sleep(0.5)
    cameras.check()
    assert assert_counts(robot) > 20


def test_a_device_lost_in_the_flood_is_left_for_the_cpu(make_robot):
    robot = make_robot(60)
    cameras = Cameras(robot)
    lost = "on cpu instead of device: device failed (CUDA error: unspecified launch failure)"
    cameras.run_until(lambda: robot.status("model") and lost in robot.status("model").message, "the loss of the device", 0.004)
    assert robot.status("model").level == WARN
    cameras.run_until(lambda: cameras.check() > 70, "fused pictures of the CPU", 0.02)
    time.sleep(0.5)
    cameras.check()
    assert_counts(robot)
