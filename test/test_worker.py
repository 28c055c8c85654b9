"""The one-slot mailbox: newest wins, drops are counted, errors do not end the thread."""

import threading

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")

from aenet_ros.ros.worker import LatestWorker


def test_newest_item_replaces_the_waiting_one_and_is_counted():
    handled, begun, go_on = [], threading.Event(), threading.Event()

    def handle(item):
        handled.append(item)
        begun.set()
        assert go_on.wait(5)

    worker = LatestWorker(handle, pytest.fail)
    worker.put(1)
    assert begun.wait(5)
    assert [worker.put(item) for item in (2, 3, 4)] == [[], [2], [3]]
    assert worker.busy_s() > 0
    begun.clear()
    go_on.set()
    assert begun.wait(5)
    assert worker.stop() == []
    assert handled == [1, 4]


def test_an_item_that_waits_at_stop_is_dropped_and_counted():
    begun, go_on = threading.Event(), threading.Event()

    def handle(item):
        begun.set()
        assert go_on.wait(5)

    worker = LatestWorker(handle, pytest.fail)
    worker.put("in work")
    assert begun.wait(5)
    worker.put("waits")
    threading.Timer(0.1, go_on.set).start()
    assert worker.stop() == ["waits"]
    assert not worker.alive


def test_an_exception_is_reported_and_the_next_item_handled():
    errors, done = [], threading.Event()

    def handle(item):
        if item == "bad":
            raise ValueError("this one")
        done.set()

    reported = threading.Event()
    worker = LatestWorker(handle, lambda error: (errors.append(error), reported.set()))
    worker.put("bad")
    assert reported.wait(5)
    worker.put("good")
    assert done.wait(5)
    worker.stop()
    assert [str(error) for error in errors] == ["this one"]


def test_a_hanging_item_is_seen_from_outside():
    begun, go_on = threading.Event(), threading.Event()
    worker = LatestWorker(lambda item: (begun.set(), go_on.wait(5)), pytest.fail)
    worker.put(1)
    assert begun.wait(5)
    worker.stop(timeout_s=0.05)
    assert worker.alive
    go_on.set()
    assert worker.stop() == []
    assert not worker.alive


def test_what_has_time_is_done_after_an_item_and_while_none_comes():
    done, idle = [], threading.Event()

    def afterwards():
        done.append("afterwards")
        if len(done) > 6:
            idle.set()

    worker = LatestWorker(done.append, pytest.fail, afterwards=afterwards)
    worker.put("item")
    assert idle.wait(5)
    worker.stop()
    assert done[done.index("item") + 1] == "afterwards"
    assert done.count("item") == 1


def test_an_exception_of_what_has_time_is_reported_too():
    reported = threading.Event()

    def afterwards():
        raise ValueError("this one")

    worker = LatestWorker(lambda item: None, lambda error: reported.set(), afterwards=afterwards)
    assert reported.wait(5)
    worker.stop()
    assert not worker.alive
