"""Process settings: cores, OpenMP threads, the C library's allocator, and signals that wait for the end of a step.

What each setting gains is measured in docs/development/process_settings.md.
"""

import ctypes
import os

MAX_AUTO_THREADS = 4
"""Upper limit of automatic thread counts: more threads gain little for so small a network, and a robot has other work."""

OMP_SPIN_COUNT = 30_000
"""Iterations an OpenMP thread waits before it sleeps: about 0.3 ms, longer than the gaps within a frame. libgomp's default waits 3 ms."""

_HEAP_BLOCK_BYTES = 256 * 1024 * 1024
_MALLOPT = {-3: _HEAP_BLOCK_BYTES, -1: 2 * _HEAP_BLOCK_BYTES, -8: 2}  # glibc's M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX


def allowed_cores() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_omp_spin() -> None:
    """Let idle OpenMP threads sleep soon after a frame, so that other work gets their cores. Call it before torch is imported.

    Keeps a ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY`` of the environment.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(OMP_SPIN_COUNT))


def keep_large_buffers() -> bool:
    """Serve blocks up to 256 MiB from the heap and keep freed ones there; False if the C library is not glibc.

    By default glibc maps and unmaps each image buffer, and the page faults cost as much time as the network. Call it before threads
    start: each thread may take one of eight arenas per core, and every arena keeps its freed blocks. This limits them to two.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    accepted = [bool(mallopt(parameter, value)) for parameter, value in _MALLOPT.items()]  # all of them are tried
    return all(accepted)


def trim_memory() -> bool:
    """Return the heap's unused pages to the system; False if nothing was returned or the C library is not glibc.

    The next frames pay for new pages, so call it when frames do not matter.
    """
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):
        return False
