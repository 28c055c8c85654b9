"""Keeps glibc from mapping and unmapping every large image buffer: page faults are most of an image's cost.

What is kept is kept by each of glibc's arenas. There may be eight of them for each core, and every new thread may take another, so
that a node whose threads come and go with its lifecycle would grow by some 10 MB at a time, for long: so there are a few only.
"""

import ctypes

# mallopt(3): parameter numbers of glibc.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
KEEP_BYTES = 256 * 1024 * 1024
ARENAS = 4


def give_back_free() -> bool:
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
