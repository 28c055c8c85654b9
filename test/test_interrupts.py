"""Stops that come at any instant: held until a step is whole, and never another error's name."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from aenet_ros.core.interrupts import as_themselves, held


@pytest.fixture(autouse=True)
def _python_s_own_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)


def test_a_stop_waits_for_the_end_of_a_step():
    done = []

    @held()
    def step():
        press_ctrl_c()
        done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done == ["whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_stop_does_not_wait():
    done = []

    @held()
    def step():
        press_ctrl_c()
        done.append("first")
        press_ctrl_c()
        done.append("second")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done == ["first"]


def test_a_stop_that_waited_comes_after_a_step_s_own_error():
    @held()
    def step():
        press_ctrl_c()
        raise ValueError("of the step")

    with pytest.raises(KeyboardInterrupt) as stop:
        step()
    assert str(stop.value.__context__) == "of the step"


def test_each_signal_keeps_its_handler():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with held():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            assert seen == []
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_threads_that_get_no_signals_only_do_their_step():
    done = []

    def step():
        with held():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]


class _Interrupted(type):
    """Of a class: the user presses Ctrl-C while a library asks whether an object of it is a path."""

    @property
    def __mro__(cls):
        raise KeyboardInterrupt


def test_a_stop_that_a_library_hides_is_a_stop(tmp_path):
    class Path(metaclass=_Interrupted):
        def __fspath__(self):
            return str(tmp_path / "bytes")

    (tmp_path / "bytes").write_bytes(b"1234")
    with pytest.raises((SystemError, KeyboardInterrupt)):
        np.fromfile(Path(), np.uint8)
    with pytest.raises(KeyboardInterrupt), as_themselves():
        np.fromfile(Path(), np.uint8)


def test_other_faults_of_libraries_stay_what_they_are():
    with pytest.raises(SystemError, match="of the library"), as_themselves():
        raise SystemError("of the library")
