"""The state machine of failing cameras: by hand-made histories, and its promises for any history."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aenet_ros.config import Config, DegradedConfig
from aenet_ros.health.fallback import OTHER, ROLES, SEVERITY, FallbackPolicy, StreamStates, choose
from aenet_ros.health.status import ERROR, OK

MS = 1_000_000
CONFIG = DegradedConfig()  # acts after 0.5 s, trusts again after 0.3 s


def play(events, config=CONFIG, started_ns=0):
    """Modes after each event (at_ms, role or 'tick', fault)."""
    watch = StreamStates(started_ns)
    modes = []
    for at_ms, role, fault in events:
        mode = watch.tick(at_ms * MS, config) if role == "tick" else watch.on_frame(role, at_ms * MS, fault, config)
        modes.append((at_ms, mode))
    return modes


def stream(role, begin, end, period=33, fault=""):
    return [(at, role, fault) for at in range(begin, end, period)]


def merged(*parts):
    return sorted((event for part in parts for event in part), key=lambda event: (event[0], event[1]))


def changes(modes):
    """(at_ms, show) wherever it changes, the first included."""
    found = []
    for at_ms, mode in modes:
        if not found or found[-1][1] != mode.show:
            found.append((at_ms, mode.show))
    return found


@pytest.mark.parametrize(
    ("thermal", "rgb", "show"),
    [
        ("", "", "fused"),
        ("silent", "", "rgb"),
        ("", "late", "thermal"),
        ("black", "", "rgb"),
        ("", "saturated", "thermal"),
        ("black", "frozen", "fused"),
        ("silent", "black", "rgb"),
        ("frozen", "late", "thermal"),
        ("silent", "silent", "nothing"),
        ("late", "silent", "nothing"),
    ],
)
def test_what_is_shown_for_each_pair_of_faults(thermal, rgb, show):
    assert choose(thermal, rgb).show == show


@pytest.mark.parametrize("dead", ROLES)
def test_a_dead_stream_hands_over_to_the_other_and_comes_back(dead):
    alive = OTHER[dead]
    events = merged(stream(alive, 0, 6000), stream(dead, 5, 2000), stream(dead, 4005, 6000))
    found = changes(play(events))
    assert [show for _, show in found] == ["fused", alive, "fused"]
    # The last frame is at 1985 ms; 0.5 s of patience, and the other's next frame.
    assert 2485 < found[1][0] <= 2520
    # Back at 4005; 0.3 s of good frames.
    assert 4305 <= found[2][0] <= 4340


def test_both_dead_is_nothing_and_is_noticed_by_the_clock():
    events = [*merged(stream("thermal", 0, 1000), stream("rgb", 0, 1000)), *[(at, "tick", "") for at in range(1200, 3000, 200)]]
    found = changes(play(events))
    assert [show for _, show in found] == ["fused", "nothing"]


def test_one_look_after_a_hold_up_of_our_own_is_no_death():
    events = [*merged(stream("thermal", 0, 1000), stream("rgb", 0, 1000)), (3000, "tick", ""), (3001, "rgb", ""), (3002, "thermal", "")]
    assert changes(play(events)) == [(0, "fused")]


def test_a_slow_camera_is_not_silent_between_its_frames():
    events = merged(stream("thermal", 0, 20000, period=1000), stream("rgb", 0, 20000))
    assert changes(play(events)) == [(0, "fused")]


def test_a_camera_that_never_came_is_given_two_seconds():
    found = changes(play(stream("rgb", 100, 5000)))
    assert [show for _, show in found] == ["fused", "rgb"]
    assert 2000 < found[1][0] <= 2040


def test_cameras_that_were_searched_for_have_the_time_of_a_start_when_they_are_found():
    policy, second_ns = FallbackPolicy(0), 10**9
    for at_ns in range(3 * second_ns, 4 * second_ns, second_ns // 10):
        policy.tick(at_ns, Config())
    assert policy.status(4 * second_ns, Config()).level == ERROR
    policy.restart(4 * second_ns)
    assert policy.status(5 * second_ns, Config()).level == OK
    assert policy.fuses


@pytest.mark.parametrize("fault", ["late", "black", "saturated"])
def test_a_fault_must_last_and_one_bad_frame_does_nothing(fault):
    single = [(1000, "thermal", fault)]
    assert len(changes(play(merged(stream("thermal", 0, 900), single, stream("thermal", 1033, 3000), stream("rgb", 0, 3000))))) == 1
    lasting = merged(stream("thermal", 0, 1000), stream("thermal", 1001, 3000, fault=fault), stream("rgb", 0, 3000))
    found = changes(play(lasting))
    assert [show for _, show in found] == ["fused", "rgb"]
    assert 1500 <= found[1][0] <= 1540


def test_a_fault_that_comes_and_goes_faster_than_the_patience_changes_nothing_in_either_state():
    flicker = [(at, "thermal", "black" if index % 3 else "") for index, at in enumerate(range(0, 4000, 33))]
    assert changes(play(merged(flicker, stream("rgb", 0, 4000)))) == [(0, "fused")]
    late_flicker = [(at, "thermal", "" if index % 5 else "black") for index, at in enumerate(range(2001, 6000, 33))]
    found = changes(
        play(merged(stream("thermal", 0, 1000), stream("thermal", 1001, 2000, fault="black"), late_flicker, stream("rgb", 0, 6000)))
    )
    assert [show for _, show in found] == ["fused", "rgb"]  # never 0.3 s of good frames on end


EVENT = st.tuples(
    st.integers(1, 400), st.sampled_from([*ROLES, *ROLES, "tick"]), st.sampled_from([*SEVERITY, "", "", ""]).filter(lambda f: f != "silent")
)
HISTORY = st.lists(EVENT, max_size=120)


def absolute(history):
    at, events = 0, []
    for gap, role, fault in history:
        at += gap
        events.append((at, role, fault))
    return events


@given(HISTORY)
@settings(max_examples=150, deadline=None)
def test_what_is_shown_always_follows_from_the_faults_and_is_never_a_dead_stream(history):
    for _, mode in play(absolute(history)):
        assert mode == choose(mode.thermal, mode.rgb)
        if mode.show in ROLES:
            assert SEVERITY[getattr(mode, mode.show)] < SEVERITY["late"]


@given(HISTORY)
@settings(max_examples=150, deadline=None)
def test_after_any_history_good_streams_are_fused_within_the_time_to_recover(history):
    events = absolute(history)
    begin = (events[-1][0] if events else 0) + 33
    healthy = merged(stream("thermal", begin, begin + 1500), stream("rgb", begin + 3, begin + 1500))
    modes = play([*events, *healthy])
    first = next(at for at, mode in modes[len(events) :] if mode.show == "fused")
    assert first - begin <= 300 + 2 * 33 + 3
    assert all(mode == choose("", "") for at, mode in modes if at >= begin + 400)


@given(HISTORY, st.sampled_from(ROLES))
@settings(max_examples=150, deadline=None)
def test_after_any_history_a_death_is_seen_within_the_patience(history, dead):
    events = absolute(history)
    begin = (events[-1][0] if events else 0) + 33
    healthy = merged(stream("thermal", begin, begin + 1500), stream("rgb", begin + 3, begin + 1500))
    alone = stream(OTHER[dead], begin + 1510, begin + 4000)
    modes = play([*events, *healthy, *alone])
    # The longest patience is three periods as seen before: 33 ms now, whatever they were, since 16 gaps are remembered.
    assert all(mode.show == OTHER[dead] for at, mode in modes if at >= begin + 1500 + 500 + 2 * 33 + 10)


@given(HISTORY)
@settings(max_examples=150, deadline=None)
def test_a_stream_is_trusted_again_no_sooner_than_the_time_to_recover(history):
    modes = play(absolute(history))
    for role in ROLES:
        lost = [(at, getattr(mode, role)) for at, mode in modes]
        since = None
        for (_, before), (at, now) in pairwise(lost):
            if not before and now:
                since = at
            if before and not now:
                assert since is None or at - since >= 300
