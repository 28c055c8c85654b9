"""What all tests share: signals and shared memory at the start of a session, and fixtures of several files."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


SHARED_MEMORY = Path("/dev/shm")
SETTLED_S = 60.0  # a process takes the lock of its segment moments after it made the file


def pytest_sessionstart() -> None:
    """Set up the process for tests that start others."""
    # A parent may ignore SIGINT (a shell's background job does), and ignored signals are inherited: no child would hear Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    remove_dead_segments(SHARED_MEMORY)


def remove_dead_segments(folder: Path) -> None:
    """Delete the shared memory that killed Fast DDS processes left: a full /dev/shm breaks later runs.

    A living process holds the lock of the file ``fastdds_*_el`` beside its segment; the same test as of ``fastdds shm clean``.
    """
    for lock_file in folder.glob("fastdds_*_el"):
        with contextlib.suppress(OSError), lock_file.open("rb") as lock:
            if time.time() - lock_file.stat().st_mtime < SETTLED_S:
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError: its process lives
            lock_file.with_name(lock_file.name.removesuffix("_el")).unlink(missing_ok=True)
            lock_file.unlink(missing_ok=True)


def shared_dir() -> Path:
    """The folder of real image pairs beside the checkout; skips the calling test where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the folder ../shared with real image pairs is not beside this checkout")
    return SHARED


@pytest.fixture
def shared_data() -> Path:
    """The folder ``../shared/data``; skips where it is absent."""
    return shared_dir() / "data"


@pytest.fixture
def mount_small_disk(tmp_path):
    """A function that mounts an empty file system of a size ("300k", "1m") and returns its folder; skips where it cannot."""
    place = tmp_path / "disk"

    def mount(size):
        place.mkdir()
        if os.getuid() != 0 or not shutil.which("mount"):
            pytest.skip("only root may mount the small file system that is to become full")
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="module")
def one_opencv_thread():
    """OpenCV on one thread while a module's tests run."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)
