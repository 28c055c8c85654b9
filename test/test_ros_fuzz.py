"""Hostile messages for the live node, thousands of them: it lives on, good frames keep flowing, and the counts stay exact.

Images, depth images and camera_info, whole, cut short or with spoilt bytes. AENET_FUZZ_BURSTS sets how many bursts.
"""

import os
import random
import re
import sys
import time
from array import array
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from ros_harness import OK, RELIABLE, WARN, Robot, dim_street, make_image, stamp_of
from sensor_msgs.msg import CameraInfo, Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from soak_judge import account_errors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # thousands of messages take minutes on a busy machine

BURST = 40
BURSTS = int(os.environ.get("AENET_FUZZ_BURSTS", "60"))  # of 40 messages each
LEAK_KB = 32_768
ENCODINGS = [
    "mono8",
    "mono16",
    "16UC1",
    "32FC1",
    "rgb8",
    "bgr8",
    "rgba8",
    "bgra8",
    "nv12",
    "nv21",
    "yuv422",
    "yuv422_yuy2",
    "bayer_rggb8",
    "8UC3",
]

SIDES = st.one_of(st.integers(0, 70), st.sampled_from([1, 2, 3, 10_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1]))
HEADS = st.fixed_dictionaries(
    {
        "height": SIDES,
        "width": SIDES,
        "encoding": st.one_of(
            st.sampled_from(ENCODINGS), st.text(max_size=12), st.sampled_from(["8UC999", "\x00", "../../etc", "rgb8 ", "64FC4"])
        ),
        "step": st.one_of(st.integers(0, 300), st.sampled_from([2**31 - 1, 2**31, 2**32 - 1, 2**32 - 640])),
        "is_bigendian": st.integers(0, 255),
        "bytes": st.one_of(st.integers(0, 300), st.integers(0, 20_000)),
        "sec": st.sampled_from([-(2**31), -1, 0, 1, 1_750_000_000, 2**31 - 1]),
        "nanosec": st.sampled_from([0, 1, 999_999_999, 2**32 - 1]),
        "fits": st.booleans(),
        "topic": st.sampled_from(["thermal", "rgb", "thermal", "rgb", "thermal", "rgb", "depth", "thermal info", "rgb info"]),
        "spoil": st.integers(0, 3),
        "seed": st.integers(0, 2**32 - 1),
    }
)
CHANNELS = {"mono16": 2, "16UC1": 2, "32FC1": 4, "rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "yuv422": 2, "yuv422_yuy2": 2}


def hostile(head):
    """A message, or its serialized bytes with some of them spoilt."""
    rng = random.Random(head["seed"])
    message = hostile_info(head, rng) if head["topic"].endswith("info") else hostile_image(head, rng)
    message.header.stamp.sec, message.header.stamp.nanosec = head["sec"], head["nanosec"]
    message.header.frame_id = rng.choice(["", "camera", "x" * 3000, "\u00fc\U0001f525"])
    if head["spoil"]:
        return message
    raw = bytearray(serialize_message(message))
    for _ in range(rng.randint(1, 12)):
        raw[rng.randrange(4, min(len(raw), 120))] = rng.randrange(256)  # lengths, stamps, names; any bytes for the encoding
    return bytes(raw[: rng.randint(8, len(raw))] if rng.random() < 0.3 else raw)


def hostile_info(head, rng):
    """Half a plausible camera, half anything."""
    numbers = [0.0, 1.0, -1.0, 40.0, 1e9, 1e300, 1e-300, float("nan"), float("inf"), float("-inf")]
    message = CameraInfo(height=head["height"], width=head["width"], distortion_model=rng.choice(["plumb_bob", "equidistant", "", "\x00"]))
    message.k = [rng.choice(numbers) if rng.random() < 0.5 else value for value in (100.0, 0.0, 80.0, 0.0, 100.0, 60.0, 0.0, 0.0, 1.0)]
    message.d = [rng.choice(numbers) for _ in range(rng.choice([0, 4, 5, 8, 300]))]
    return message


def hostile_image(head, rng):
    message = Image(
        height=head["height"], width=head["width"], encoding=head["encoding"], is_bigendian=head["is_bigendian"], step=head["step"]
    )
    size = head["bytes"]
    if head["fits"] and head["height"] * head["width"] < 10_000:  # a whole picture of noise, whatever its size
        message.step = head["width"] * CHANNELS.get(head["encoding"], 1)
        size = message.step * head["height"]
    message.data = array("B", rng.randbytes(size))
    return message


class FuzzedRobot(Robot):
    """In mode depth, so that both camera_infos and the depth image matter too; a good pair comes with all of them."""

    def __init__(self, folder):
        pose = folder / "pose.yaml"
        pose.write_text("thermal_from_rgb: {rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1], translation: [0.05, 0, 0]}\n")
        parameters = {f"input.{role}.{name}": value for role in ("thermal", "rgb") for name, value in (("qos", "reliable"), ("depth", 100))}
        parameters |= {"diagnostics.period_s": 0.2, "registration.mode": "depth", "registration.file": pose}
        super().__init__(folder, parameters)
        self.sent, self.memory_kb = 0, []
        self.publishers = {"thermal": self.thermal_publisher, "rgb": self.rgb_publisher}
        self.publishers["depth"] = self.node.create_publisher(Image, "/depth/image_raw", RELIABLE)
        for role in ("thermal", "rgb"):
            self.publishers[f"{role} info"] = self.node.create_publisher(CameraInfo, f"/{role}/camera_info", RELIABLE)

    def publish(self, **frames):
        height, width = dim_street().shape[:2]
        for role in ("thermal", "rgb"):
            camera = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
            camera.k = [width, 0.0, width / 2, 0.0, width, height / 2, 0.0, 0.0, 1.0]
            self.publishers[f"{role} info"].publish(camera)
        now_ns = max(self.stamp_ns + 33_333_333, time.time_ns())  # the pair's stamp, about
        self.publishers["depth"].publish(make_image(np.full((height, width), 3.0, np.float32), "32FC1", now_ns))
        return super().publish(**frames)

    def private_kb(self):
        return int(re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1])


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    robot = FuzzedRobot(tmp_path_factory.mktemp("fuzz"))
    try:
        robot.start_node()
        robot.publish_until_fused(timeout_s=60)
        yield robot
    finally:
        robot.close()


@settings(max_examples=BURSTS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(HEADS, min_size=BURST, max_size=BURST))
def test_bursts_of_hostile_messages_neither_end_the_node_nor_the_stream(robot, heads):
    for head in heads:
        robot.publishers[head["topic"]].publish(hostile(head))
        robot.sent += 1
    assert robot.process.poll() is None, robot.log()
    robot.publish()
    robot.memory_kb.append(robot.private_kb())


def test_good_frames_flow_afterwards_and_the_counts_are_exact(robot, record_property):
    assert robot.sent >= BURSTS * BURST
    # The last stamp may have been one far in the future; a good stream is a new epoch then.
    fused = robot.publish_until_fused(timeout_s=30)
    assert (fused.height, fused.width) == dim_street().shape[:2]
    for _ in range(30):
        stamp = robot.publish()
        time.sleep(0.033)
    robot.wait(lambda: stamp_of(robot.fused[-1]) == stamp, "the last good pair fused")

    def well():  # of good frames that go on meanwhile
        robot.publish()
        time.sleep(0.033)
        statuses = robot.status("degraded"), robot.status("registration")
        return all(status is not None and status.level == OK for status in statuses)

    robot.wait(well, "both cameras and the registration well")
    assert robot.transition("deactivate")
    robot.wait_status("fusion", WARN, "inactive")
    values = {item.key: item.value for item in robot.status("fusion").values}
    assert account_errors(values, in_work=0) == []
    taken, rejected = (sum(int(values[f"{role} {what}"]) for role in ("thermal", "rgb")) for what in ("received", "rejected"))
    warm, last = max(robot.memory_kb[: BURSTS // 4 + 1]), max(robot.memory_kb[-BURSTS // 4 :])
    record_property("hostile messages", f"{robot.sent} sent, {taken} images received, {rejected} of them rejected")
    record_property("private memory", f"{warm} kB after a quarter, {last} kB at the end")
    assert taken > robot.sent / 4  # what is left lies over its own lengths, and the middleware drops it
    assert rejected > taken / 4
    assert last - warm < LEAK_KB
    status, _ = robot.stop_node(timeout_s=30)
    assert status == 0, robot.log()


def test_memory_is_not_taken_for_what_a_message_only_claims(robot):
    """Before the node was stopped it claimed 100 Mpx and more; its log has no word of memory, and none of a traceback."""
    log = robot.log_path.read_text(errors="replace")
    assert "MemoryError" not in log
    assert "Traceback" not in log
