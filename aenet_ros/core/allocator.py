"""Keeps glibc from mapping and unmapping every large image buffer: page faults are most of an image's cost.

What is kept is kept by each of glibc's arenas. There may be eight of them for each core, and every new thread may take another, so
that a node whose threads come and go with its lifecycle would grow by some 10 MB at a time, for long: so there are a few only.
"""

import ctypes
import os
from pathlib import Path

# mallopt(3): parameter numbers of glibc.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
KEEP_BYTES = 256 * 1024 * 1024
ARENAS = 2

SETTLE_NS = 10_000_000_000
"""After so long what a process needs all the time is in memory again."""

GROWTH_BYTES = 12 * 1024 * 1024
"""More than that over what was needed then is taken to be holes between blocks in use."""


def trim_memory() -> bool:
    """Return to the system whatever is kept and not in use, in all arenas; False where the C library is not glibc or had nothing.

    For moments when frames do not matter: the next ones pay for their pages again.
    """
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):
        return False


def keep_large_buffers() -> bool:
    """Serve blocks up to 256 MiB from the heap and keep them there; False where the C library is not glibc.

    To be called before threads are started: arenas that they have by then stay.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((M_MMAP_THRESHOLD, KEEP_BYTES), (M_TRIM_THRESHOLD, 2 * KEEP_BYTES), (M_ARENA_MAX, ARENAS))
    taken = [bool(mallopt(*setting)) for setting in settings]
    return all(taken)


class HeapWatch:
    """Gives free memory back whenever the process has grown: a node that runs for weeks must not creep up by holes in its heap.

    ``look`` is to be called now and then, from one thread. While nothing grows it costs microseconds, and nothing is given back.
    """

    def __init__(self) -> None:
        self.times = 0  # that memory was given back
        self._since_ns: int | None = None
        self._needed = 0

    def look(self, now_ns: int) -> None:
        """``now_ns``: of any clock that does not jump."""
        private = private_bytes()
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns < SETTLE_NS:
            self._needed = private
        elif private > self._needed + GROWTH_BYTES and trim_memory():
            self._since_ns = now_ns
            self.times += 1


def private_bytes() -> int:
    """Memory of this process that is no file's and not shared, in bytes; 0 where /proc is missing."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
