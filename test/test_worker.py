"""The one-slot mailbox: newest wins, drops are counted, errors do not end the thread."""

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")

from aenet_ros.ros.worker import PUT_OFF_NS, LatestWorker


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

    def handle(item):
        begun.set()
        assert go_on.wait(5)

    worker = LatestWorker(handle, pytest.fail)
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


def test_what_has_time_is_put_off_while_items_wait_but_not_for_ever():
    log, let = [], threading.Semaphore(0)

    def handle(item):
        log.append(item)
        assert let.acquire(timeout=5)

    def wait_for(entry):
        while entry not in log:
            time.sleep(0.001)

    worker = LatestWorker(handle, pytest.fail, afterwards=lambda: log.append("afterwards"))
    wait_for("afterwards")
    worker.put(0)
    wait_for(0)
    log.clear()
    for item in (1, 2, 3):  # each waits while the one before is in work
        worker.put(item)
        let.release()
        wait_for(item)
    assert log == [1, 2, 3]
    worker.put(4)
    time.sleep(PUT_OFF_NS / 1e9)
    let.release()
    wait_for(4)
    assert log == [1, 2, 3, "afterwards", 4]
    let.release()
    while log[-1] != "afterwards":
        time.sleep(0.001)
    worker.stop()


def test_an_exception_of_what_has_time_is_reported_too():
    reported = threading.Event()

    def afterwards():
        raise ValueError("this one")

    worker = LatestWorker(lambda item: None, lambda error: reported.set(), afterwards=afterwards)
    assert reported.wait(5)
    worker.stop()
    assert not worker.alive


def in_two_steps(log, let=None):
    """A handle whose items are begun and finished by turns; ``let``, where given, is waited for in each beginning."""

    def handle(item):
        log.append(f"begin {item}")
        if let is not None:
            assert let.wait(5)
        return lambda: log.append(f"finish {item}")

    return handle


def test_an_item_in_two_steps_is_finished_at_once_where_none_waits():
    log, finished = [], threading.Event()
    worker = LatestWorker(in_two_steps(log), pytest.fail, afterwards=lambda: finished.set() if "finish 1" in log else None)
    worker.put(1)
    assert finished.wait(5)
    assert log == ["begin 1", "finish 1"]
    worker.stop()


def test_where_the_next_item_waits_it_is_begun_first_and_the_order_kept():
    log, let, done = [], threading.Event(), threading.Event()
    worker = LatestWorker(in_two_steps(log, let), pytest.fail, afterwards=lambda: done.set() if "finish 2" in log else None)
    worker.put(1)
    while not log:
        assert not done.wait(0.001)
    worker.put(2)
    let.set()
    assert done.wait(5)
    assert log == ["begin 1", "begin 2", "finish 1", "finish 2"]
    worker.stop()


def test_an_item_under_way_is_finished_at_stop_and_the_one_that_waits_dropped():
    log, let = [], threading.Event()
    worker = LatestWorker(in_two_steps(log, let), pytest.fail)
    worker.put(1)
    while not log:
        threading.Event().wait(0.001)
    worker.put(2)
    threading.Timer(0.1, let.set).start()
    assert worker.stop() == [2]
    assert log == ["begin 1", "finish 1"]


def test_an_exception_in_either_step_leaves_the_other_items_alone():
    log, errors, let, done = [], [], threading.Event(), threading.Event()

    def fail(item):
        raise ValueError(item)

    def handle(item):
        log.append(f"begin {item}")
        assert let.wait(5)
        if item == "bad beginning":
            fail(item)
        if item == "last":
            done.set()
        return (lambda: fail(item)) if item == "bad end" else lambda: log.append(f"finish {item}")

    def wait_for(begun):
        while f"begin {begun}" not in log:
            assert not done.wait(0.001)

    worker = LatestWorker(handle, errors.append)
    worker.put("first")
    wait_for("first")
    worker.put("bad beginning")  # begun while the first is under way
    let.set()
    wait_for("bad beginning")
    worker.put("bad end")
    wait_for("bad end")
    worker.put("last")
    assert done.wait(5)
    worker.stop()
    assert [line for line in log if "bad" not in line] == ["begin first", "finish first", "begin last", "finish last"]
    assert [str(error) for error in errors] == ["bad beginning", "bad end"]
