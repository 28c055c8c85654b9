"""What a GPU raises, told apart by the texts that torch gives it; and what stays in memory once a device was lost."""

import gc
import weakref

import pytest
import torch

from aenet_ros.core.errors import DeviceError
from aenet_ros.fusion.placement import device_errors, is_out_of_memory, keep_forever

JETSON = RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":1124, please report a bug')
PINNED = RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call")
LOST = RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be")


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (JETSON, True),
        (PINNED, True),
        (LOST, False),
        (ValueError("CUDA error: out of memory"), False),
        (None, False),
    ],
)
def test_lack_of_memory_is_told_from_a_device_that_is_lost(error, is_memory):
    assert is_out_of_memory(error) is is_memory


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (JETSON, "cuda:0 has too little free memory (NVML_SUCCESS"),
        (PINNED, "cuda:0 has too little free memory (CUDA error: out of memory); end other programs on it"),
        (LOST, "cuda:0 failed (CUDA error: unspecified launch failure); restart the process"),
    ],
)
def test_each_says_what_to_do(error, message):
    with pytest.raises(DeviceError) as raised, device_errors("cuda:0"):
        raise error
    assert message in str(raised.value)
    assert raised.value.__cause__ is error


def test_the_cpu_s_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="unspecified"), device_errors("cpu"):
        raise LOST


def test_what_is_kept_forever_outlives_its_last_name():
    class Holder:
        pass

    kept, freed = Holder(), Holder()
    references = weakref.ref(kept), weakref.ref(freed)
    keep_forever(kept)
    del kept, freed
    gc.collect()
    assert references[0]() is not None
    assert references[1]() is None
