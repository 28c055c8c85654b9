"""Keeps glibc from mapping and unmapping every large image buffer: page faults are most of an image's cost."""

import ctypes

# mallopt(3): parameter numbers of glibc.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEEP_BYTES = 256 * 1024 * 1024


def keep_large_buffers() -> bool:
    """Serve blocks up to 256 MiB from the heap and keep them there; False where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, 2 * KEEP_BYTES))
