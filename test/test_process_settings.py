"""Process settings, each in a process of its own: they hold for the whole process."""

import os
import platform
import signal
import subprocess
import sys
import threading

import pytest

from aenet_ros.core.process import allowed_cores
from aenet_ros.io.sink import delay_signals

# Blocks as large as images, with small ones between them that stay in use.
FRAGMENTED_HEAP = """
import resource
import numpy as np
from aenet_ros.core.process import keep_large_buffers, trim_memory

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

assert keep_large_buffers()
before = resident_mb()
images, kept = [], []
for _ in range(100):
    images.append(np.ones(2**20, np.uint8))
    kept.append(np.ones(300, np.uint8))
del images
freed = resident_mb() - before
trimmed = trim_memory()
print(round(freed), round(resident_mb() - before), trimmed)
"""
PAGE_FAULTS = """
import resource, sys
import numpy as np
from aenet_ros.core.process import keep_large_buffers
if sys.argv[1] == "keep":
    keep_large_buffers()
np.ones(40 * 2**20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(40 * 2**20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
SPIN = "import os, aenet_ros.ros; print(os.environ.get('GOMP_SPINCOUNT'))"
glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc, whose allocator this sets up")


def run(code, *arguments, **environment):
    inherited = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env={**inherited, **environment})
    return done.stdout.split()


@glibc_only
def test_freed_buffers_stay_until_memory_is_trimmed():
    freed_mb, left_mb, trimmed = run(FRAGMENTED_HEAP)
    assert int(freed_mb) >= 95
    assert int(left_mb) <= 5
    assert trimmed == "True"


@glibc_only
def test_buffers_that_are_kept_cost_no_page_faults():
    assert int(run(PAGE_FAULTS, "default")[0]) > 1000
    assert int(run(PAGE_FAULTS, "keep")[0]) < 1000


def test_the_spin_count_is_set_unless_the_environment_sets_it():
    assert run(SPIN) == ["30000"]
    assert run(SPIN, GOMP_SPINCOUNT="7") == ["7"]
    assert run(SPIN, OMP_WAIT_POLICY="passive") == ["None"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
def test_only_cores_that_the_process_may_use_are_counted():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    assert run(code + "from aenet_ros.core.process import allowed_cores; print(allowed_cores())") == ["1"]
    assert allowed_cores() == len(os.sched_getaffinity(0))


@pytest.fixture
def _default_sigint():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c():
    """Python runs the handler in the main thread before ``raise_signal`` returns."""
    signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("_default_sigint")
def test_a_signal_waits_for_the_end_of_a_step():
    done = []

    @delay_signals()
    def step():
        press_ctrl_c()
        done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done == ["whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("_default_sigint")
def test_a_second_signal_does_not_wait():
    done = []

    @delay_signals()
    def step():
        press_ctrl_c()
        done.append("first")
        press_ctrl_c()
        done.append("second")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done == ["first"]


@pytest.mark.usefixtures("_default_sigint")
def test_a_delayed_signal_comes_after_the_steps_own_error():
    @delay_signals()
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
        with delay_signals():
            signal.raise_signal(signal.SIGTERM)
            assert seen == []
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_default_sigint")
def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with delay_signals():
        press_ctrl_c()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.usefixtures("_default_sigint")
def test_other_threads_change_no_handlers():
    done = []

    def step():
        with delay_signals():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]
