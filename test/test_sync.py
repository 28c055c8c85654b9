"""The pair matcher against hand-made streams, and against brute force over whole streams."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aenet_ros.core.frames import Frame
from aenet_ros.sync.matcher import DROP_REASONS, GAP_MINIMUM, GAP_SHARE, GAP_WINDOW, PairMatcher, nearest_pairs

MS = 1_000_000
START = 1_750_000_000_000_000_000
PERIOD = 33_333_333


def frame(stamp_ns):
    return Frame(stamp_ns=stamp_ns, data=np.zeros((1, 1), np.uint8), encoding="mono8")


def balanced(matcher):
    counts = matcher.counts
    return 2 * counts.pairs + sum(counts.dropped.values()) + matcher.pending == counts.thermal_in + counts.rgb_in


def push(matcher, stream, stamp_ns):
    """Stamps (thermal, rgb) of the pairs that come out."""
    pairs = (matcher.push_thermal if stream == "thermal" else matcher.push_rgb)(frame(stamp_ns))
    assert balanced(matcher)
    for pair in pairs:
        assert pair.difference_ns == pair.thermal.stamp_ns - matcher.clock_offset_ns - pair.rgb.stamp_ns
        assert abs(pair.difference_ns) <= matcher.slop_ns
    return [(pair.thermal.stamp_ns, pair.rgb.stamp_ns) for pair in pairs]


def run(matcher, thermal, rgb, flush=True):
    """All pairs, the two streams merged by stamp (thermal first of equal ones)."""
    events = sorted([(stamp, 0, "thermal") for stamp in thermal] + [(stamp, 1, "rgb") for stamp in rgb])
    found = [pair for stamp, _, stream in events for pair in push(matcher, stream, stamp)]
    if flush:
        found += [(pair.thermal.stamp_ns, pair.rgb.stamp_ns) for pair in matcher.flush()]
        assert matcher.pending == 0
        assert balanced(matcher)
    return found


def dropped(matcher):
    return {reason: count for reason, count in matcher.counts.dropped.items() if count}


def steady(count, period=PERIOD, start=START):
    return [start + index * period for index in range(count)]


# --- brute force --------------------------------------------------------------------------------------------------------


def greedy(thermal, rgb, slop):
    """Candidates by growing difference, each frame once, none crossing; written over whole streams, with sets of stamps."""
    result = set()
    for _, r, t in sorted((abs(t - r), r, t) for t in thermal for r in rgb if abs(t - r) <= slop):
        if all((t < a and r < b) or (t > a and r > b) for a, b in result):
            result.add((t, r))
    return sorted(result)


def cheapest(thermal, rgb, slop):
    """(number of pairs, sum of differences) of the matching with the most pairs, and the least sum among those; every matching is tried."""
    best = (0, 0)
    for size in range(min(len(thermal), len(rgb)), 0, -1):
        sums = [
            sum(abs(t - r) for t, r in zip(left, right, strict=True))
            for left in itertools.combinations(thermal, size)
            for right in itertools.combinations(rgb, size)
            if all(abs(t - r) <= slop for t, r in zip(left, right, strict=True))
        ]
        if sums:
            best = (size, min(sums))
            break
    return best


@st.composite
def regular_enough_stamps(draw, most=40):
    """Rising stamps of which no gap is shorter than GAP_SHARE of the shortest of those before: what the matcher's promise asks for."""
    stamps, gaps = [draw(st.integers(1, 60))], []
    for _ in range(draw(st.integers(0, most - 1))):
        low = -int(-GAP_SHARE * min(gaps[-GAP_WINDOW:]) // 1) if len(gaps) >= GAP_MINIMUM else 1
        gap = draw(st.integers(low, low + draw(st.sampled_from([0, 2, 30]))))
        gaps.append(max(gap, 1))
        stamps.append(stamps[-1] + gaps[-1])
    return stamps


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(regular_enough_stamps(), regular_enough_stamps(), st.integers(0, 100), st.integers(-50, 50), st.integers(0, 2**32))
def test_pairs_are_brute_forces_whatever_order_the_streams_arrive_in(thermal, rgb, slop, offset, seed):
    matcher = PairMatcher(slop_ns=slop, clock_offset_ns=offset, queue_size=1000)
    order = ["thermal"] * len(thermal) + ["rgb"] * len(rgb)
    random.Random(seed).shuffle(order)
    left = {"thermal": iter(thermal), "rgb": iter(rgb)}
    found = [pair for stream in order for pair in push(matcher, stream, next(left[stream]))]
    found += [(pair.thermal.stamp_ns, pair.rgb.stamp_ns) for pair in matcher.flush()]
    assert found == [(t + offset, r) for t, r in greedy([t - offset for t in thermal], rgb, slop)]
    assert matcher.pending == 0
    assert balanced(matcher)
    assert set(dropped(matcher)) <= {"no_partner"}


@settings(max_examples=400, deadline=None)
@given(
    st.sets(st.integers(0, 400), max_size=60),
    st.sets(st.integers(0, 400), max_size=60),
    st.integers(0, 100),
    st.integers(-300, 300),
)
def test_streams_in_one_order_of_time_pair_as_the_whole_and_lose_only_what_has_no_partner(thermal, rgb, slop, offset):
    """As files are read: any gaps and any offset, and no frame is dropped for a full queue."""
    thermal, rgb = sorted(1000 + stamp for stamp in thermal), sorted(1000 + stamp for stamp in rgb)
    matcher = PairMatcher(slop, offset, ordered=True)
    events = sorted([(stamp, "thermal", stamp + offset) for stamp in thermal] + [(stamp, "rgb", stamp) for stamp in rgb])
    found = [pair for _, stream, stamp in events for pair in push(matcher, stream, stamp)]
    found += [(pair.thermal.stamp_ns, pair.rgb.stamp_ns) for pair in matcher.flush()]
    assert found == [(t + offset, r) for t, r in greedy(thermal, rgb, slop)]
    assert balanced(matcher)
    assert set(dropped(matcher)) <= {"no_partner"}


@given(st.sets(st.integers(0, 200), max_size=12), st.sets(st.integers(0, 200), max_size=12), st.integers(0, 100))
def test_mutual_nearest_are_always_paired_and_pairs_never_cross(thermal, rgb, slop):
    thermal, rgb = sorted(thermal), sorted(rgb)
    pairs = [(thermal[i], rgb[j]) for i, j in nearest_pairs(thermal, rgb, slop)]
    assert pairs == greedy(thermal, rgb, slop)
    for t, r in itertools.product(thermal, rgb):
        distance = abs(t - r)
        alone_t = all(abs(t - other) > distance for other in rgb if other != r)
        alone_r = all(abs(other - r) > distance for other in thermal if other != t)
        if distance <= slop and alone_t and alone_r:
            assert (t, r) in pairs
    for (t, r), (t2, r2) in itertools.pairwise(pairs):
        assert t < t2
        assert r < r2


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_matching_is_cheaper_for_streams_with_little_jitter(data):
    # Two cameras of one rate, offset and jitter together within a quarter period, any frames lost: the truth is index by index.
    count, period = 6, 1000
    offset = data.draw(st.integers(-150, 150))
    jitter = st.integers(-50, 50)
    thermal = {i: START + i * period + offset + data.draw(jitter) for i in data.draw(st.sets(st.integers(0, count - 1)))}
    rgb = {i: START + i * period + data.draw(jitter) for i in data.draw(st.sets(st.integers(0, count - 1)))}
    found = run(PairMatcher(slop_ns=500), thermal.values(), rgb.values())
    assert found == [(thermal[i], rgb[i]) for i in sorted(thermal.keys() & rgb.keys())]
    assert (len(found), sum(abs(t - r) for t, r in found)) == cheapest(sorted(thermal.values()), sorted(rgb.values()), 500)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["thermal", "rgb", "flush", "slop", "offset"]), st.integers(-3, 60)), max_size=80),
    st.integers(0, 2000),
    st.integers(1, 4),
)
def test_every_frame_is_accounted_for_whatever_comes(events, slop_ms, queue_size):
    matcher = PairMatcher(slop_ns=slop_ms * MS, queue_size=queue_size)
    seen = {"thermal": [], "rgb": []}
    for kind, value in events:
        if kind == "flush":
            matcher.flush()
        elif kind == "slop":
            matcher.slop_ns = abs(value) * 100 * MS
        elif kind == "offset":
            matcher.clock_offset_ns = value * 100 * MS
        else:
            for pair in (matcher.push_thermal if kind == "thermal" else matcher.push_rgb)(frame(value * 100 * MS)):
                seen["thermal"].append(pair.thermal)
                seen["rgb"].append(pair.rgb)
        assert balanced(matcher)
        assert matcher.pending <= 2 * queue_size
    for frames in seen.values():
        assert len({id(item) for item in frames}) == len(frames)


# --- what a rig does ----------------------------------------------------------------------------------------------------


def test_equal_stamps_pair_at_once_even_with_slop_zero():
    matcher = PairMatcher(slop_ns=0)
    for stamp in steady(50):
        assert push(matcher, "thermal", stamp) == []
        assert push(matcher, "rgb", stamp) == [(stamp, stamp)]
    assert matcher.pending == 0


def test_slop_is_inclusive():
    assert run(PairMatcher(slop_ns=5), [START], [START + 5]) == [(START, START + 5)]
    assert run(PairMatcher(slop_ns=4), [START], [START + 5]) == []


@pytest.mark.parametrize("slop_ms", [25, 40, 500])
def test_one_lost_frame_shifts_no_later_pair(slop_ms):
    thermal, rgb = steady(100, start=START + 5 * MS), steady(100)
    lost_thermal, lost_rgb = {20, 50, 51}, {35, 80}
    kept_thermal = [stamp for index, stamp in enumerate(thermal) if index not in lost_thermal]
    kept_rgb = [stamp for index, stamp in enumerate(rgb) if index not in lost_rgb]
    matcher = PairMatcher(slop_ns=slop_ms * MS)
    whole = set(range(100)) - lost_thermal - lost_rgb
    assert run(matcher, kept_thermal, kept_rgb) == [(thermal[index], rgb[index]) for index in sorted(whole)]
    assert dropped(matcher) == {"no_partner": 5}


def delays(offset_ns, count=200, jitter_ns=0, thermal_period=PERIOD, rgb_period=PERIOD):
    """For each pair, how many further frames were pushed after its two were in."""
    noise = random.Random(1)
    thermal = [stamp + offset_ns + noise.randint(-jitter_ns, jitter_ns) for stamp in steady(count, thermal_period)]
    rgb = [stamp + noise.randint(-jitter_ns, jitter_ns) for stamp in steady(count, rgb_period)]
    matcher, arrived, result = PairMatcher(slop_ns=25 * MS), {}, []
    events = sorted([(stamp, "thermal") for stamp in thermal] + [(stamp, "rgb") for stamp in rgb])
    for now, (stamp, stream) in enumerate(events):
        arrived[stream, stamp] = now
        result += [now - max(arrived["thermal", t], arrived["rgb", r]) for t, r in push(matcher, stream, stamp)]
    return result


@pytest.mark.parametrize("offset_ms", [-13, -8, -1, 1, 5, 13])
def test_no_pair_waits_for_another_frame_up_to_0_4_of_a_period(offset_ms):
    found = delays(offset_ms * MS)
    assert len(found) == 200
    assert max(found[GAP_MINIMUM + 1 :]) == 0
    assert max(found) <= 1


def test_a_pair_near_half_a_period_waits_for_one_frame_at_most():
    found = delays(15 * MS)
    assert len(found) >= 199
    assert max(found) == 1


def test_jitter_and_other_rates_add_no_wait():
    assert max(delays(4 * MS, jitter_ns=2 * MS)[GAP_MINIMUM + 1 :]) == 0
    found = delays(2 * MS, rgb_period=2 * PERIOD)  # thermal 30 Hz, rgb 15 Hz
    assert len(found) == 100
    assert max(found[GAP_MINIMUM + 1 :]) == 0


@pytest.mark.parametrize(("thermal_hz", "rgb_hz"), [(9, 30), (30, 9), (30, 60), (25, 30), (27, 30)])
def test_any_two_rates_pair_each_slow_frame_with_its_nearest(thermal_hz, rgb_hz):
    thermal, rgb = steady(20 * thermal_hz, 10**9 // thermal_hz, START + 3 * MS), steady(20 * rgb_hz, 10**9 // rgb_hz)
    matcher = PairMatcher(slop_ns=25 * MS)
    found = run(matcher, thermal, rgb)
    assert found == greedy(thermal, rgb, 25 * MS)
    if max(thermal_hz, rgb_hz) >= 2 * min(thermal_hz, rgb_hz):
        assert len(found) == 20 * min(thermal_hz, rgb_hz)
    assert set(dropped(matcher)) <= {"no_partner"}


def test_a_clock_offset_is_taken_off_and_may_change_while_running():
    matcher = PairMatcher(slop_ns=5 * MS, clock_offset_ns=700 * MS)
    rgb = steady(40)
    thermal = [stamp + 700 * MS + MS for stamp in rgb]
    pairs = list(zip(thermal, rgb, strict=True))
    found = [pair for t, r in pairs[:20] for pair in [*push(matcher, "rgb", r), *push(matcher, "thermal", t)]]
    assert found == pairs[:20]
    matcher.clock_offset_ns = 0
    assert [pair for t, r in pairs[20:30] for pair in [*push(matcher, "rgb", r), *push(matcher, "thermal", t)]] == []
    matcher.clock_offset_ns = 700 * MS
    found = [pair for t, r in pairs[30:] for pair in [*push(matcher, "rgb", r), *push(matcher, "thermal", t)]]
    assert found[-10:] == pairs[30:]


def test_a_stream_that_arrives_late_still_pairs():
    # Thermal frames arrive 200 ms (6 frames) after rgb frames of the same instant.
    thermal, rgb = steady(60, start=START + 2 * MS), steady(60)
    matcher = PairMatcher(slop_ns=20 * MS)
    found = []
    for index in range(66):
        found += push(matcher, "rgb", rgb[index]) if index < 60 else []
        found += push(matcher, "thermal", thermal[index - 6]) if index >= 6 else []
    assert found == list(zip(thermal, rgb, strict=True))


def test_frames_out_of_order_are_sorted_in_while_their_pair_is_open_and_late_after():
    matcher = PairMatcher(slop_ns=10 * MS)
    a, b, c, d = steady(4)
    assert push(matcher, "rgb", b) == []
    assert push(matcher, "rgb", a) == []  # sorted in before b: nothing younger than it is paired
    assert push(matcher, "thermal", a) == [(a, a)]
    assert push(matcher, "thermal", b) == [(b, b)]
    assert push(matcher, "thermal", d) == []
    assert push(matcher, "thermal", c) == []
    assert push(matcher, "rgb", d) == [(d, d)]
    assert push(matcher, "rgb", c) == []
    assert dropped(matcher) == {"no_partner": 1, "late": 1}


def test_duplicates_and_zero_stamps():
    matcher = PairMatcher(slop_ns=10 * MS)
    a, b = steady(2)
    push(matcher, "thermal", a)
    push(matcher, "thermal", a)
    assert push(matcher, "rgb", a) == [(a, a)]
    push(matcher, "rgb", a)
    for stamp in (0, -5):
        assert push(matcher, "thermal", stamp) == []
    assert [*push(matcher, "thermal", b), *push(matcher, "rgb", b)] == [(b, b)]
    assert dropped(matcher) == {"duplicate_stamp": 2, "zero_stamp": 2}


def test_a_silent_stream_fills_no_memory_and_comes_back():
    matcher = PairMatcher(slop_ns=10 * MS, queue_size=5)
    stamps = steady(1000)
    for stamp in stamps[:900]:
        assert push(matcher, "rgb", stamp) == []
    assert matcher.pending == 5
    assert dropped(matcher) == {"queue_full": 895}
    assert run(matcher, stamps[900:], stamps[900:]) == [(stamp, stamp) for stamp in stamps[900:]]


def test_a_full_queue_gives_up_waiting_for_a_better_partner():
    # The thermal camera dies after a frame 15 ms from the rgb frame, for which the next might have been nearer.
    matcher = PairMatcher(slop_ns=20 * MS, queue_size=3)
    rgb = steady(5)
    found = [
        pair
        for stream, stamp in [("thermal", rgb[0] - 15 * MS), *(("rgb", stamp) for stamp in rgb)]
        for pair in push(matcher, stream, stamp)
    ]
    assert found == [(rgb[0] - 15 * MS, rgb[0])]
    assert dropped(matcher) == {"queue_full": 1}


@pytest.mark.parametrize("first", ["thermal", "rgb", "interleaved"])
@pytest.mark.parametrize("length", [60, 3000])
def test_a_bag_loop_recovers_at_once(first, length):
    matcher = PairMatcher(slop_ns=20 * MS)
    thermal, rgb = steady(length, start=START + 3 * MS), steady(length)
    run(matcher, thermal, rgb, flush=False)
    pairs = matcher.counts.pairs
    assert pairs == length
    if first != "interleaved":  # three frames of this stream begin the new loop while the other still ends the old one
        other = "rgb" if first == "thermal" else "thermal"
        for index in range(3):
            push(matcher, first, (thermal if first == "thermal" else rgb)[index])
            push(matcher, other, (rgb if first == "thermal" else thermal)[-1] + (index + 1) * PERIOD)
        thermal, rgb = thermal[0 if first == "rgb" else 3 :], rgb[0 if first == "thermal" else 3 :]
    found = run(matcher, thermal, rgb, flush=False)
    assert len(found) >= length - 4
    assert found[-1] == (thermal[-1], rgb[-1])
    assert matcher.counts.dropped["late"] == 0


def test_a_jump_back_drops_what_waits_as_stamp_jump():
    matcher = PairMatcher(slop_ns=10 * MS)
    for stamp in steady(4):
        push(matcher, "rgb", stamp)
    push(matcher, "rgb", START - 5000 * MS)
    assert dropped(matcher) == {"stamp_jump": 4}
    assert push(matcher, "thermal", START - 5000 * MS) == [(START - 5000 * MS, START - 5000 * MS)]


def test_one_stamp_far_in_the_future_does_not_silence_the_matcher():
    matcher = PairMatcher(slop_ns=10 * MS)
    stamps = steady(60)
    run(matcher, stamps[:30], stamps[:30], flush=False)
    push(matcher, "thermal", START + 10**18)
    assert len(run(matcher, stamps[30:], stamps[30:])) >= 28


def test_a_new_source_after_flush_may_start_at_any_stamp():
    matcher = PairMatcher(slop_ns=10 * MS)
    assert len(run(matcher, steady(5), steady(5))) == 5
    assert len(run(matcher, steady(5, start=START + 7), steady(5, start=START + 7))) == 5
    assert run(matcher, [5], []) == []
    assert dropped(matcher) == {"no_partner": 1}


def test_reasons_are_words_for_people():
    assert set(PairMatcher(slop_ns=0).counts.dropped) == set(DROP_REASONS)
    assert all(" " in words for words in DROP_REASONS.values())
