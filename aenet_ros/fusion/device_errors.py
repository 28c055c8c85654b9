"""What a GPU that fails raises, in words that say what to do; and what must then never be freed."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from aenet_ros.core.errors import DeviceError, first_line


@contextmanager
def device_errors(device: str) -> Iterator[None]:
    """What torch raises on a GPU as DeviceError, with torch's error as its cause; on the CPU nothing is changed."""
    try:
        yield
    except DeviceError:
        raise
    except RuntimeError as error:
        if out_of_memory(error):
            raise DeviceError(
                f"{device} has too little free memory ({first_line(error)}); end other programs on it, or set model.device"
            ) from error
        if device == "cpu":
            raise
        raise DeviceError(f"{device} failed ({first_line(error)}); restart the process, or set model.device to cpu") from error


def out_of_memory(error: BaseException | None) -> bool:
    """Whether a device, or the page-locked part of the memory, had no room.

    torch has a class for it. On Jetson it fails to ask for the free memory instead and says that NVML_SUCCESS was not returned
    (pytorch issues 128661 and 185240), and for page-locked memory it raises a plain RuntimeError.
    """
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in ("CUDA error: out of memory", "NVML_SUCCESS"))


def keep_forever(*objects: object) -> None:
    """Never free these, not even at the process's end: they hold memory of a device that was lost.

    When torch frees page-locked memory that was copied to or from a device it records a CUDA event; where that fails, as everything
    does on a device that was lost, the process is aborted (pytorch pull request 178154).
    """
    for item in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(item))
