"""Fixtures that several test files share."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_dir() -> Path:
    """The folder of real image pairs beside the checkout; skips the calling test where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the folder ../shared with real image pairs is not beside this checkout")
    return SHARED


@pytest.fixture
def shared_data() -> Path:
    """The folder ``../shared/data``; skips where it is absent."""
    return shared_dir() / "data"


@pytest.fixture(scope="module")
def one_opencv_thread():
    """OpenCV on one thread while a module's tests run."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)
