"""Prefetching and writing in the background: order, errors in their place, and that both go on while the caller works."""

import threading
import time
from functools import partial

import pytest

from aenet_ros.io.sink import BackgroundWriter
from aenet_ros.io.source import prefetch, prefetch_items


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_their_tasks(threads):
    def slow_if_even(number):
        time.sleep(0.02 if number % 2 == 0 else 0.0)
        return number

    assert list(prefetch((partial(slow_if_even, number) for number in range(9)), threads)) == list(range(9))


def test_a_task_s_error_comes_in_its_place():
    def fail_at_three(number):
        if number == 3:
            raise ValueError("the third")
        return number

    results = prefetch(partial(fail_at_three, number) for number in range(9))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(results)


def test_the_next_item_is_made_while_the_caller_works():
    begun = threading.Event()

    def items():
        yield "first"
        begun.set()
        yield "second"

    made = prefetch_items(items())
    assert next(made) == "first"
    assert begun.wait(5)  # without another next
    assert list(made) == ["second"]


def test_only_a_few_are_made_ahead():
    made = []
    results = prefetch((partial(made.append, number) for number in range(100)), 2)
    next(results)
    time.sleep(0.05)
    assert len(made) <= 3
    results.close()
    assert len(made) <= 3


def test_calls_are_made_in_the_background_in_their_order():
    done, go = [], threading.Event()
    writer = BackgroundWriter()
    writer.call(go.wait, 5)
    for number in range(5):
        writer.call(done.append, number)
    assert done == []
    go.set()
    assert writer.finish() is None
    assert done == [0, 1, 2, 3, 4]


def test_the_first_error_is_told_and_ends_the_rest():
    done = []

    def fail(text):
        raise OSError(text)

    go = threading.Event()
    writer = BackgroundWriter()
    writer.call(go.wait, 5)
    writer.call(fail, "full")
    writer.call(done.append, "after it")
    go.set()
    assert str(writer.finish()) == "full"
    assert done == []
    with pytest.raises(OSError, match="full"):
        writer.call(done.append, "much later")


def test_a_queue_that_is_full_waits():
    go = threading.Event()
    writer = BackgroundWriter()
    threading.Timer(0.2, go.set).start()
    begin = time.monotonic()
    for _ in range(20):
        writer.call(go.wait, 5)
    assert time.monotonic() - begin > 0.1
    assert writer.finish() is None
