"""Errors of a GPU as DeviceError with a remedy, and memory that must not be freed after a lost device."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from aenet_ros.core.errors import DeviceError, first_line


@contextmanager
def device_errors(device: str) -> Iterator[None]:
    """Raise torch's errors on a GPU as DeviceError, with torch's error as the cause; on the CPU only lack of memory is translated."""
    try:
        yield
    except DeviceError:
        raise
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise DeviceError(
                f"{device} has too little free memory ({first_line(error)}); end other programs on it, or set model.device"
            ) from error
        if device == "cpu":
            raise
        raise DeviceError(f"{device} failed ({first_line(error)}); restart the process, or set model.device to cpu") from error


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether device memory or page-locked memory ran out.

    torch has a class for it. On Jetson torch fails to query the free memory and reports that NVML_SUCCESS was not returned (pytorch issues
    128661 and 185240); for page-locked memory it raises a plain RuntimeError.
    """
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in ("CUDA error: out of memory", "NVML_SUCCESS"))


def keep_forever(*objects: object) -> None:
    """Leak these objects on purpose: they hold memory of a device that is lost.

    When torch frees page-locked memory that was copied to or from a device, it records a CUDA event. On a lost device that fails, and the
    process aborts (pytorch pull request 178154).
    """
    for item in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(item))
