"""A graph of steps on torch's CPU, as CUDA captures one: the operators with the very memory that they read and wrote, played again.

What a captured graph cannot do is an error here: a value that the host reads, a shape that depends on values, a copy to or from another
device, memory that is neither the plan's, nor the network's, nor made by the steps.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

UNINITIALISED = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
BY_INDEX = {"index", "index_put", "index_put_", "_unsafe_index"}  # of these only masks make a shape that depends on values
NEED_THE_HOST = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


def tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Recorder(TorchDispatchMode):
    """Notes each operator with its arguments and results; raises RuntimeError where a CUDA graph cannot hold it."""

    def __init__(self, memory: Iterable[Tensor]) -> None:
        super().__init__()
        self.steps: list[tuple[Any, Any, Any, Any]] = []
        self._known = {address(tensor) for tensor in memory}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name, given = func.overloadpacket.__name__, tensors((args, kwargs))
        if name in BY_INDEX:
            if any(tensor.dtype in (torch.bool, torch.uint8) for tensor in tensors(args[1])):
                raise RuntimeError(f"{func}: a mask as an index needs the host")
        elif NEED_THE_HOST & set(func.tags):
            raise RuntimeError(f"{func} needs the host")
        foreign = [tensor for tensor in given if tensor.numel() and address(tensor) not in self._known]
        if foreign or name == "lift_fresh":
            raise RuntimeError(f"{func} reads memory of the host: {[tuple(tensor.shape) for tensor in foreign]}")
        result = func(*args, **kwargs)
        for tensor in tensors(result):
            if given and tensor.device != given[0].device:
                raise RuntimeError(f"{func} copies to another device")
            self._known.add(address(tensor))
        self.steps.append((func, args, kwargs, result))
        return result


class RecordedGraph:
    def __init__(self, steps: list[tuple[Any, Any, Any, Any]]) -> None:
        self._steps = steps

    def replay(self) -> None:
        """Run the operators again, into the results of the recording."""
        for func, args, kwargs, results in self._steps:
            given = {address(tensor) for tensor in tensors((args, kwargs))}
            if func._schema.is_mutable:
                func(*args, **kwargs)
            elif func.overloadpacket.__name__ not in UNINITIALISED:
                fresh = [tensor for tensor in tensors(results) if address(tensor) not in given]  # the others are views
                if fresh:
                    for old, new in zip(tensors(results), tensors(func(*args, **kwargs)), strict=True):
                        old.copy_(new)


class RecordedGraphs:
    """In place of ``CudaGraphs``. ``memory``: gives what steps may read besides their own; ``captures``: how many graphs there are."""

    def __init__(self, memory: Callable[[], Iterable[Tensor]] = tuple) -> None:
        self.memory, self.captures = memory, 0

    def capture(self, steps: Callable[[], Tensor]) -> tuple[RecordedGraph, Tensor]:
        with Recorder(self.memory()) as recorder:
            output = steps()
        self.captures += 1
        return RecordedGraph(recorder.steps), output
