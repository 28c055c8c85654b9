"""sync.policy approximate: the real message_filters behind our three calls, where it is installed."""

import random

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("message_filters", reason="message_filters is not installed (it comes with ROS 2 from apt)")

from aenet_ros.config import SyncConfig
from aenet_ros.core.frames import Frame
from aenet_ros.ros.matchers import make_matcher
from aenet_ros.sync.matcher import PairMatcher

MS = 1_000_000
START = 1_700_000_000 * 1_000_000_000
PERIOD = 33_333_333


def frame(stamp_ns, encoding="mono8"):
    return Frame(stamp_ns, np.zeros((2, 2), np.uint8), encoding)


def approximate(slop_ms, clock_offset_ms=0.0, queue_size=10):
    return make_matcher(SyncConfig(policy="approximate", slop_ms=slop_ms, clock_offset_ms=clock_offset_ms, queue_size=queue_size))


def test_a_pair_is_handed_over_by_the_call_that_completes_it():
    matcher = approximate(5.0)
    thermal, rgb = frame(START + 2 * MS), frame(START, "rgb8")
    assert matcher.push_thermal(thermal) == []
    [pair] = matcher.push_rgb(rgb)
    assert pair.thermal is thermal
    assert pair.rgb is rgb
    assert pair.difference_ns == 2 * MS


def test_slop_zero_still_pairs_equal_stamps():
    """message_filters alone compares strictly, and would never pair them."""
    matcher = approximate(0.0)
    matcher.push_rgb(frame(START))
    assert len(matcher.push_thermal(frame(START))) == 1
    matcher.push_rgb(frame(START + PERIOD))
    assert matcher.push_thermal(frame(START + PERIOD + 1)) == []


def test_frames_apart_are_counted_and_kept_within_the_queue():
    matcher = approximate(5.0, queue_size=4)
    for number in range(50):
        assert matcher.push_thermal(frame(START + number * PERIOD)) == []
        assert matcher.push_rgb(frame(START + number * PERIOD + 16 * MS)) == []
    assert (matcher.counts.thermal_in, matcher.counts.rgb_in, matcher.counts.pairs) == (50, 50, 0)
    assert matcher.counts.dropped == {"message_filters": 100}
    assert all(len(queue) <= 4 for queue in matcher._synchroniser.queues)


def test_the_clock_offset_is_taken_off_and_can_change_while_running():
    matcher = approximate(5.0, clock_offset_ms=40.0)
    matcher.push_thermal(frame(START + 41 * MS))
    [pair] = matcher.push_rgb(frame(START))
    assert pair.difference_ns == 1 * MS
    matcher.clock_offset_ns = -70 * MS
    matcher.push_thermal(frame(START + PERIOD - 70 * MS))
    assert [pair.difference_ns for pair in matcher.push_rgb(frame(START + PERIOD))] == [0]


def test_a_wider_slop_takes_effect_while_running():
    matcher = approximate(1.0)
    matcher.push_thermal(frame(START))
    assert matcher.push_rgb(frame(START + 4 * MS)) == []
    matcher.slop_ns = 10 * MS
    matcher.push_thermal(frame(START + PERIOD))
    assert len(matcher.push_rgb(frame(START + PERIOD + 4 * MS))) == 1
    assert matcher.counts.pairs == 1


def test_on_a_steady_stream_it_agrees_with_our_own_matcher():
    jitter = random.Random(3)
    theirs, ours = approximate(10.0), PairMatcher(10 * MS)
    found = {"theirs": [], "ours": []}
    for number in range(300):
        at = START + number * PERIOD
        frames = [("thermal", frame(at + jitter.randint(-2, 2) * MS)), ("rgb", frame(at + jitter.randint(-2, 2) * MS, "rgb8"))]
        jitter.shuffle(frames)
        for stream, item in frames:
            for name, matcher in (("theirs", theirs), ("ours", ours)):
                found[name] += matcher.push_thermal(item) if stream == "thermal" else matcher.push_rgb(item)
    found["ours"] += ours.flush()
    stamps = {name: [(pair.thermal.stamp_ns, pair.rgb.stamp_ns) for pair in pairs] for name, pairs in found.items()}
    assert len(stamps["theirs"]) == 300
    assert stamps["theirs"] == stamps["ours"]


def test_an_unset_stamp_does_no_harm():
    matcher = approximate(5.0)
    matcher.push_thermal(frame(0))
    matcher.push_rgb(frame(START))
    assert len(matcher.push_thermal(frame(START))) == 1
