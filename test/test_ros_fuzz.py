"""Hostile messages for the live node, thousands of them: it lives on, good frames keep flowing, and the counts stay exact."""

import os
import random
import time
from array import array

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from ros_harness import OK, Robot, dim_street, stamp_of
from sensor_msgs.msg import Image

BURST = 40
BURSTS = int(os.environ.get("AENET_FUZZ_BURSTS", "60"))  # of 40 messages each
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
        "spoil": st.integers(0, 3),
        "seed": st.integers(0, 2**32 - 1),
    }
)
CHANNELS = {"mono16": 2, "16UC1": 2, "32FC1": 4, "rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "yuv422": 2, "yuv422_yuy2": 2}


def hostile(head):
    """A message, or its serialized bytes with some of them spoilt."""
    rng = random.Random(head["seed"])
    message = Image(
        height=head["height"], width=head["width"], encoding=head["encoding"], is_bigendian=head["is_bigendian"], step=head["step"]
    )
    size = head["bytes"]
    if head["fits"] and head["height"] * head["width"] < 10_000:  # a whole picture of noise, whatever its size
        message.step = head["width"] * CHANNELS.get(head["encoding"], 1)
        size = message.step * head["height"]
    message.data = array("B", rng.randbytes(size))
    message.header.stamp.sec, message.header.stamp.nanosec = head["sec"], head["nanosec"]
    message.header.frame_id = rng.choice(["", "camera", "x" * 3000, "\u00fc\U0001f525"])
    if head["spoil"]:
        return message
    raw = bytearray(serialize_message(message))
    for _ in range(rng.randint(1, 12)):
        raw[rng.randrange(4, min(len(raw), 120))] = rng.randrange(256)  # lengths, stamps, names; any bytes for the encoding
    return bytes(raw[: rng.randint(8, len(raw))] if rng.random() < 0.3 else raw)


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    parameters = {f"input.{role}.{name}": value for role in ("thermal", "rgb") for name, value in (("qos", "reliable"), ("depth", 100))}
    robot = Robot(tmp_path_factory.mktemp("fuzz"), {"diagnostics.period_s": 0.2, **parameters})
    robot.start_node()
    robot.publish_until_fused()
    robot.sent = 0
    yield robot
    robot.close()


@settings(max_examples=BURSTS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(HEADS, min_size=BURST, max_size=BURST), st.lists(st.booleans(), min_size=BURST, max_size=BURST))
def test_bursts_of_hostile_messages_neither_end_the_node_nor_the_stream(robot, heads, to_thermal):
    for head, thermal in zip(heads, to_thermal, strict=True):
        (robot.thermal_publisher if thermal else robot.rgb_publisher).publish(hostile(head))
        robot.sent += 1
    assert robot.process.poll() is None, robot.log()
    robot.publish()


def test_good_frames_flow_afterwards_and_the_counts_are_exact(robot, record_property):
    assert robot.sent >= BURSTS * BURST
    # The last stamp may have been one far in the future; a good stream is a new epoch then.
    fused = robot.publish_until_fused(timeout_s=30)
    assert (fused.height, fused.width) == dim_street().shape[:2]
    for _ in range(30):
        stamp = robot.publish()
        time.sleep(0.033)
    robot.wait(lambda: stamp_of(robot.fused[-1]) == stamp, "the last good pair fused")
    robot.wait_status("degraded", OK, "well", 10)
    time.sleep(0.6)
    values = {item.key: item.value for item in robot.status("fusion").values}
    drops = sum(int(value) for key, value in values.items() if key.startswith("not fused"))
    total = int(values["fused"]) + int(values["replaced by a newer pair"]) + int(values["failed"]) + drops
    assert int(robot.value("pairing", "pairs")) == total
    received = sum(int(robot.value(f"input {role}", "received")) for role in ("thermal", "rgb"))
    rejected = sum(int(robot.value(f"input {role}", "rejected")) for role in ("thermal", "rgb"))
    record_property("hostile messages", f"{robot.sent} sent, {received} received, {rejected} of them rejected")
    assert received > robot.sent / 3  # what is left lies over its own lengths, and the middleware drops it
    assert rejected > received / 3
    status, _ = robot.stop_node(timeout_s=30)
    assert status == 0, robot.log()


def test_memory_is_not_taken_for_what_a_message_only_claims(robot):
    """Before the node was stopped it claimed 100 Mpx and more; its log has no word of memory, and none of a traceback."""
    log = robot.log_path.read_text(errors="replace")
    assert "MemoryError" not in log
    assert "Traceback" not in log
