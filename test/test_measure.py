"""Rates, latencies and the account of pairs, on times made by hand."""

from aenet_ros.workbench.pair_account import Arrivals, account

MS = 1_000_000


def test_only_the_window_counts():
    arrivals = Arrivals()
    for index in range(20):
        arrivals.add(stamp_ns=index * 100 * MS, time_ns=index * 100 * MS + (7 if index < 15 else 9) * MS)
    summary = arrivals.summary(500 * MS, 1500 * MS)
    assert (summary["frames"], summary["rate_hz"]) == (10, 10.0)
    assert summary["latency_ms"] == {"p50": 7.0, "p95": 7.0, "max": 7.0}
    assert summary["gap_ms"] == {"p50": 100.0, "p95": 100.0, "max": 100.0}


def test_nothing_arrived():
    assert Arrivals().summary(0, 1000 * MS) == {"frames": 0, "rate_hz": 0.0, "latency_ms": {}, "gap_ms": {}}


def test_every_pair_has_its_fate():
    rgb = [index * 33 * MS for index in range(10, 20)]
    # Thermal stamps are 200 ms ahead; the fourth is lost and the last is too far from its rgb frame.
    thermal = [stamp + 200 * MS + (2 if stamp != rgb[-1] else 16) * MS for stamp in rgb if stamp != 13 * 33 * MS]
    fused = [rgb[0], rgb[1], rgb[1], rgb[5] + 1 * MS]
    result = account(thermal, rgb, fused, slop_ns=10 * MS, offset_ns=200 * MS, start_ns=rgb[0], end_ns=rgb[-1] + 1)
    assert (result["rgb_published"], result["pairs_published"]) == (10, 8)
    assert (result["pairs_fused"], result["pairs_not_fused"]) == (2, 6)
    assert (result["fused_without_pair"], result["fused_twice"]) == (1, 1)
    assert result["stamp_error_ms"]["max"] == 1.0
