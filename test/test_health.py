"""The words of diagnostics, from counters that each test sets by hand; and what the counters make of frames."""

import time
from dataclasses import replace

import numpy as np
import pytest

from aenet_ros.config import build
from aenet_ros.core.frames import Frame, FusedFrame
from aenet_ros.health.fallback import FallbackPolicy
from aenet_ros.health.judge import NodeFacts, TopicFacts, input_problem, judge
from aenet_ros.health.status import ERROR, OK, WARN, NodeStats, PipelineStatus, StreamStats
from aenet_ros.sync.matcher import PairCounts

MS = 1_000_000
PIPELINE = PipelineStatus("cpu", "fp32", "", "0123456789ab", (0.0, 1.0), 0, False)


def frame(stamp_ns, shape=(4, 6)):
    return Frame(stamp_ns, np.zeros(shape, np.uint16), "mono16", source_encoding="mono16")


def facts(**changes):
    now = time.monotonic_ns()
    made = NodeFacts(
        state="active",
        config=build({"diagnostics.stale_s": 1.0}),
        stats=NodeStats(),
        topics={"thermal": TopicFacts("/thermal", publishers=1), "rgb": TopicFacts("/rgb", publishers=1)},
        match=PairCounts(),
        pending=0,
        subscribers=1,
        activated_at_ns=now - 10_000 * MS,
        pipeline=PIPELINE,
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def running(**changes):
    """Facts of a node that fuses at 30 Hz."""
    made = facts(**changes)
    start = time.time_ns()
    now = time.monotonic_ns()
    for index in range(30):
        for stream in (made.stats.thermal, made.stats.rgb):
            stream.receive(start + index * 33 * MS)
            stream.accept(frame(start + index * 33 * MS))
            stream.arrivals_ns[-1] = now - (30 - index) * 33 * MS
            stream.resumed_at_ns = made.activated_at_ns
        made.stats.count_pair(0, 2 * MS)
        made.stats.count_fused(FusedFrame(0, np.zeros((1, 1)), "mono8", timings_ns={"fusion": 3 * MS}), 12 * MS)
        made.stats._fused_at_ns[-1] = now - (30 - index) * 33 * MS
    return made


def by_name(made):
    return {status.name: status for status in judge(made)}


def test_a_well_node_is_ok_and_says_rate_and_latency():
    statuses = by_name(running())
    assert {status.level for status in statuses.values()} == {OK}
    assert statuses["fusion"].message == "30.3 fused frames a second, latency 12.0 ms"
    assert statuses["fusion"].values["stage fusion p50 [ms]"] == "3.00"
    assert statuses["pairing"].values["stamp difference p50 [ms]"] == "2.00"


@pytest.mark.parametrize(
    ("changes", "name", "level", "words"),
    [
        ({"problem": "cannot configure: no weights"}, "fusion", ERROR, "no weights"),
        ({"state": "inactive"}, "fusion", WARN, "activate"),
        ({"hangs": True}, "fusion", ERROR, "restart the node"),
        ({"pipeline": replace(PIPELINE, fallback="no CUDA device: running on the CPU")}, "model", WARN, "CPU"),
        ({"subscribers": 0}, "fusion", OK, "no fused topic has a subscriber"),
        ({"unknown_parameters": ["sync.slopp"]}, "fusion", WARN, "sync.slopp (did you mean sync.slop_ms?)"),
        ({"config": build({"enabled": False})}, "fusion", OK, "disabled"),
        ({"config": build({"diagnostics.min_rate_hz": 60.0})}, "fusion", WARN, "only 30.3 fused frames a second"),
        ({"config": build({"diagnostics.max_latency_ms": 10.0})}, "fusion", WARN, "over diagnostics.max_latency_ms 10"),
    ],
)
def test_words_for_a_node_whose_streams_are_well(changes, name, level, words):
    status = by_name(running(**changes))[name]
    assert status.level == level
    assert words in status.message


def test_codes_say_which_camera_is_missing():
    codes = []
    for roles in (["thermal"], ["rgb"], ["thermal", "rgb"]):
        made = running()
        for role in roles:
            made.stats.stream(role).arrivals_ns.clear()
            made.topics[role] = TopicFacts(f"/{role}", 0)
        codes.append((by_name(made)["fusion"].code.name, {by_name(made)[f"input {role}"].code.name for role in roles}))
    missing = {"INPUT_NO_PUBLISHER"}
    assert codes == [("FUSION_NO_THERMAL", missing), ("FUSION_NO_RGB", missing), ("FUSION_NO_CAMERAS", missing)]


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        (TopicFacts("/rgb", 0, alternatives=["/cam/image"]), "Image topics seen: /cam/image"),
        (TopicFacts("/rgb", 1, incompatible=["cam offers best_effort"]), "QoS of /rgb does not fit: cam offers best_effort"),
        (TopicFacts("/rgb", 0, other_type="/rgb carries std_msgs/msg/String"), "carries std_msgs/msg/String"),
        (TopicFacts("/rgb", 1), "fastdds_shm.xml"),
    ],
)
def test_words_for_a_topic_that_never_sent(topic, words):
    made = facts()
    made.topics["rgb"] = topic
    statuses = by_name(made)
    assert statuses["input rgb"].level == ERROR
    assert words in statuses["input rgb"].message
    assert statuses["fusion"].level == ERROR


def test_frames_lost_on_the_way_are_told_with_the_profile_as_remedy():
    made = running()
    start = time.time_ns()
    for index in range(90):
        if index % 3:
            made.stats.thermal.receive(start + index * 33 * MS)
    status = by_name(made)["input thermal"]
    assert status.level == WARN
    assert "fastdds_shm.xml" in status.message
    made.topics["thermal"].has_dds_profile = True
    assert "fastdds_shm.xml" not in by_name(made)["input thermal"].message


def test_clocks_apart_are_told_in_seconds():
    made = running()
    made.stats.last_pair_at_ns = time.monotonic_ns() - 5_000 * MS
    for stream, shift in ((made.stats.thermal, 3_000 * MS), (made.stats.rgb, 0)):
        stream.lags_ns.clear()
        stream.lags_ns.extend([shift] * 10)
    status = by_name(made)["pairing"]
    assert status.level == ERROR
    assert "about 3.000 s apart" in status.message
    assert "sync.clock_offset_ms to about 3000" in status.message


def test_without_pairs_lost_frames_are_told_before_the_trigger():
    made = running()
    made.stats.last_pair_at_ns = time.monotonic_ns() - 5_000 * MS
    assert "not triggered together" in by_name(made)["pairing"].message
    made.stats.rgb.stamps_ns.clear()
    made.stats.rgb.stamps_ns.extend(index * 33 * MS for index in range(60) if index % 3)
    assert "many frames never reach this node" in by_name(made)["pairing"].message


def test_while_simulated_time_is_paused_the_camera_is_not_blamed():
    made = running(clock_stands=True)
    made.stats.rgb.arrivals_ns[-1] = time.monotonic_ns() - 3_000 * MS
    assert "no rgb frame for 3.0 s: /clock stands still" in by_name(made)["input rgb"].message


def test_zero_stamps_are_told():
    made = running(match=PairCounts(30, 30, 0, {"zero_stamp": 60}))
    made.stats.last_pair_at_ns = time.monotonic_ns() - 5_000 * MS
    assert "stamp 0" in by_name(made)["pairing"].message


def test_lost_share_counts_gaps_and_ignores_pauses_and_jumps():
    stream = StreamStats()
    stamps = [index * 100 * MS for index in range(60) if index % 4 != 3]  # every fourth is missing: 15 of 60
    for stamp in stamps:
        stream.receive(stamp)
    assert stream.lost_share() == pytest.approx(0.25, abs=0.02)
    steady = StreamStats()
    for stamp in [*range(0, 3000, 100), *range(9000, 12000, 100), *range(0, 3000, 100)]:
        steady.receive(stamp * MS)
    assert steady.lost_share() == 0


def test_lost_share_of_an_irregular_stream_is_not_guessed():
    stream, rng = StreamStats(), np.random.default_rng(0)
    for stamp in np.cumsum(rng.uniform(10, 90, 80)):
        stream.receive(int(stamp * MS))
    assert stream.lost_share() == 0


def test_rates_and_changes():
    stream = StreamStats()
    now = time.monotonic_ns()
    assert not stream.accept(frame(1))
    assert stream.accept(frame(2, (8, 6)))
    assert not stream.accept(frame(3, (8, 6)))
    stream.arrivals_ns.clear()
    stream.arrivals_ns.extend(now - age * MS for age in (400, 300, 200, 100))
    assert stream.rate_hz(1_000 * MS) == pytest.approx(10)
    assert stream.rate_hz(50 * MS) == 0


def test_cameras_that_just_came_back_are_not_called_unpaired():
    made = running()
    now = time.monotonic_ns()
    made.stats.last_pair_at_ns = now - 9000 * MS
    assert by_name(made)["pairing"].level == ERROR
    made.stats.rgb.resumed_at_ns = now - 300 * MS
    assert by_name(made)["pairing"].level == OK
    made.stats.rgb.resumed_at_ns = now - 1200 * MS
    assert by_name(made)["pairing"].level == ERROR


def test_a_stream_resumes_after_a_pause_and_not_at_each_frame_of_a_slow_camera(monkeypatch):
    stream = StreamStats()
    clock = iter([at_ms * MS for at_ms in (1000, 1030, 1060, 4000, 4030, 6000, 7900, 9800)])
    monkeypatch.setattr("aenet_ros.health.status.time.monotonic_ns", lambda: next(clock))
    resumed = []
    for index in range(8):
        stream.accept(frame(index))
        resumed.append(stream.resumed_at_ns // MS)
    assert resumed == [1000, 1000, 1000, 4000, 4000, 6000, 6000, 6000]


def degraded(made, problems):
    """The status of a policy that has seen rgb frames for five seconds, and no thermal frame."""
    policy = FallbackPolicy(0)
    for index in range(150):
        policy.on_frame("rgb", Frame(index * 33 * MS, np.full((4, 4, 3), index, np.uint8), "rgb8"), index * 33 * MS, 0, made.config)
    return policy.status(150 * 33 * MS, made.config, problems)


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        (TopicFacts("/thermal", 1), "encoding 'yuv999' is not supported"),
        (TopicFacts("/thermal", 1, incompatible=["cam offers best_effort"]), "QoS of /thermal does not fit"),
        (TopicFacts("/thermal", 0, other_type="/thermal carries std_msgs/msg/String"), "carries std_msgs/msg/String"),
        (TopicFacts("/thermal", 0), "no publisher on /thermal"),
    ],
)
def test_a_stream_that_cannot_be_used_has_one_reason_everywhere(topic, reason):
    made = facts()
    made.topics["thermal"] = topic
    if "encoding" in reason:
        made.stats.thermal.rejected.count(reason)
    status = degraded(made, {"thermal": input_problem("thermal", made)[1]})
    made.degraded, made.action = status.message, status.values["does"]
    found = by_name(made)
    for message in (status.message, found["fusion"].message, found["input thermal"].message):
        assert message.count(reason) == 1
        assert "sends nothing" not in message
    assert "the rgb picture is passed through" in status.message
    assert "the rgb picture is passed through" in found["fusion"].message


def test_a_camera_that_stopped_is_said_to_send_nothing():
    made = running()
    assert input_problem("thermal", made) is None
    assert "the thermal camera sends nothing" in degraded(made, {"thermal": ""}).message
