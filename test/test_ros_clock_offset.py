"""The clocks' disagreement, found live from the rig's pictures, reported, and applied when the service is called."""

import time

import numpy as np
import pytest
from ros_harness import OK, WARN, Robot, make_image, stamp_of
from std_srvs.srv import Trigger

from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

OFFSET_MS = 187.0


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    robot = Robot(tmp_path_factory.mktemp("offset"), {"diagnostics.period_s": 0.3})
    robot.start_node()
    robot.publish_until_fused()
    yield robot
    robot.close()


def stream(robot, rig, seconds):
    """The rig's frames at their own pace, from now on."""
    begun, start_ns = time.monotonic(), time.time_ns()
    for event in rig.events(seconds, start_ns):
        time.sleep(max(0.0, event.shot.at_ns / 1e9 - (time.monotonic() - begun)))
        publisher = robot.thermal_publisher if event.stream == "thermal" else robot.rgb_publisher
        publisher.publish(make_image(event.frame.data, event.frame.encoding, event.frame.stamp_ns, f"{event.stream}_optical"))


def test_the_offset_is_found_reported_and_applied(robot):
    answer = robot.call(Trigger, "estimate_clock_offset", Trigger.Request())
    assert not answer.success
    assert "10 s are needed" in answer.message
    rig = Rig(
        RigConfig(thermal_width=160, thermal_height=128, rgb_width=160, rgb_height=128, offset_ms=OFFSET_MS, scenes="day", scene_s=60.0)
    )
    rig.prepare()
    stream(robot, rig, 23.0)  # two windows without a common frame: one alone raises no warning
    status = robot.wait_status("clock offset", WARN, "call ~/estimate_clock_offset")
    values = {item.key: item.value for item in status.values}
    assert float(values["estimate [ms]"]) == pytest.approx(OFFSET_MS, abs=5)
    assert float(values["confidence"]) > 0.8
    assert values["applied [ms]"] == "0"
    answer = robot.call(Trigger, "estimate_clock_offset", Trigger.Request())
    assert answer.success, answer.message
    assert "ahead of rgb stamps" in answer.message
    assert "confidence" in answer.message
    robot.wait(lambda: float(robot.value("pairing", "clock offset applied [ms]")) != 0, "the offset applied")
    applied = float(robot.value("pairing", "clock offset applied [ms]"))
    assert applied == pytest.approx(OFFSET_MS, abs=5)
    robot.wait_status("clock offset", OK, "ahead of rgb stamps")


def test_fused_pairs_are_of_the_same_instant_once_it_is_applied(robot):
    """A pair 187 ms apart by the stamps is fused now, with the difference that the estimate leaves."""
    for _ in range(30):
        now_ns = time.time_ns()
        rng = np.random.default_rng(now_ns % 2**32)
        thermal = rng.normal(29_000, 100, (128, 160)).astype(np.uint16)
        robot.thermal_publisher.publish(make_image(thermal, "mono16", now_ns + round(OFFSET_MS * 1e6)))
        robot.rgb_publisher.publish(make_image(rng.integers(0, 255, (128, 160, 3)).astype(np.uint8), "rgb8", now_ns))
        time.sleep(0.033)
    robot.wait(lambda: robot.fused and stamp_of(robot.fused[-1]) == now_ns, "the last pair fused")


def test_a_node_that_knows_nothing_yet_says_so_and_changes_nothing(robot):
    before = robot.value("pairing", "clock offset applied [ms]")
    robot.transition("deactivate")
    answer = robot.call(Trigger, "estimate_clock_offset", Trigger.Request())
    assert not answer.success
    assert "not active" in answer.message
    robot.transition("activate")
    answer = robot.call(Trigger, "estimate_clock_offset", Trigger.Request())
    assert not answer.success
    robot.wait(lambda: robot.value("pairing", "clock offset applied [ms]") == before, "the offset as it was before")
