"""torch's helper threads on the CPU, which only wait quickly while there are no more of them in the process than cores.

libgomp, the OpenMP of torch's wheels, gives each thread that computes helpers of its own. Between two operations they look for work
for a while before they sleep, which a small network needs: 30 operations a frame are too short to wake a sleeping thread for each. But
where all threads' helpers together are more than the cores, they sleep at once. So helpers of a thread that will not compute again
(one that only loaded and tried the network) cost the one that does: 10.5 ms a pair in place of 6.9 on two cores.
"""

import ctypes
import os
from pathlib import Path

_PAUSE_SOFT = 1  # omp_pause_soft of OpenMP 5.0: the helpers end, and come back when they are needed

SPINS = 30_000
"""Looks for work before a helper sleeps, about 0.3 ms: longer than the pauses within a frame. libgomp's 300,000 burn 3 ms after each."""

MOST_AUTOMATIC_THREADS = 4
"""More gain little for so small a network, and a robot has other work."""


def allowed_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spin_briefly() -> None:
    """For our programs, before torch is imported: helpers go to sleep soon after a frame, for the cores have other work then.

    A ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY`` that is set already stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def end_helpers() -> bool:
    """End the OpenMP helpers of the calling thread; False where no OpenMP runtime is loaded that can do it."""
    done = False
    for path in _runtimes():
        try:
            done |= ctypes.CDLL(path).omp_pause_resource_all(_PAUSE_SOFT) == 0
        except (OSError, AttributeError):  # before GCC 9
            continue
    return done


def _runtimes() -> set[str]:
    """Files of the OpenMP runtimes that this process has loaded."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {line.split(maxsplit=5)[5] for line in lines if "/libgomp" in line or "/libomp" in line or "/libiomp" in line}
