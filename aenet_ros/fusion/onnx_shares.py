"""``model.backend: auto`` on CPUs: ONNX Runtime computes the convolutions where it is installed and faster than torch."""

import time
from importlib.util import find_spec
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from aenet_ros.core.errors import first_line
from aenet_ros.core.frames import Array, Plane
from aenet_ros.fusion.cpu_network import CpuNetwork
from aenet_ros.fusion.network import AENet
from aenet_ros.fusion.onnx_network import PLANE_SIDES, run_session, start_session, to_onnx

PACKAGES = ("onnxruntime", "onnx")
ROUNDS = 7  # runs of each, by turns
FASTER = 0.9  # of torch's time: less of a gain is not worth a second runtime
LARGEST_DIFFERENCE = 1  # grey level: a picture rounds to the next one at most


class Choice(NamedTuple):
    """``name``: "torch" or "onnxruntime"; ``reason``: why, with the measured times where there are any."""

    network: CpuNetwork
    name: str
    reason: str


class _Shares(nn.Module):
    """AENet.shares as a module, for the export."""

    def __init__(self, network: AENet) -> None:
        super().__init__()
        self.network = network

    def forward(self, both: Tensor) -> Tensor:
        return self.network.shares(both)


class OnnxShares:
    """AENet.shares by ONNX Runtime on the CPU. Raises MissingDependencyError where a package is missing."""

    def __init__(self, network: AENet, threads: int) -> None:
        side = 2 * network.multiple
        content = to_onnx(_Shares(network), {"both": torch.rand(1, 2, side, side)}, PLANE_SIDES, about={})
        self._session = start_session(content, "cpu", "fp32", threads)

    def __call__(self, both: Plane) -> Array:
        """Both planes, float32 [2, H, W], to shares, float32 [5, H / 4, W / 4]. Raises DeviceError where ONNX Runtime fails."""
        return run_session(self._session, "cpu", {"both": both[None]})[0]  # type: ignore[no-any-return]


def missing_packages() -> list[str]:
    """Those of PACKAGES that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def choose(network: AENet, size: tuple[int, int], threads: int, wanted: str = "") -> Choice:
    """Measure both at ``size`` (height, width), in about a second, and return the faster one; torch where ONNX Runtime fails.

    ``wanted``: torch or onnxruntime, taken without measuring.
    """
    by_torch = CpuNetwork(network)
    if wanted == "torch":
        return Choice(by_torch, wanted, "asked for")
    if missing := missing_packages():
        return Choice(by_torch, "torch", f"{' and '.join(missing)} not installed (pip install {' '.join(PACKAGES)})")
    try:
        by_onnx = CpuNetwork(network, OnnxShares(network, threads))
        if wanted:
            return Choice(by_onnx, wanted, "asked for")
        planes = np.random.default_rng(0).random((2, *size), np.float32)
        difference = int(cv2.absdiff(by_torch(*planes), by_onnx(*planes)).max())
        durations: dict[CpuNetwork, list[float]] = {by_torch: [], by_onnx: []}
        for _ in range(ROUNDS):
            for form, times in durations.items():
                begun = time.perf_counter()
                form(*planes)
                times.append(1e3 * (time.perf_counter() - begun))
    except Exception as error:  # the exporter's and ONNX Runtime's errors have no common base class
        return Choice(by_torch, "torch", f"onnxruntime failed ({first_line(error)})")
    torch_ms, onnx_ms = (median(times) for times in durations.values())
    measured = f"{size[1]}x{size[0]}: torch {torch_ms:.1f} ms, onnxruntime {onnx_ms:.1f} ms"
    if difference > LARGEST_DIFFERENCE:
        return Choice(by_torch, "torch", f"onnxruntime differs by {difference} grey levels")
    return Choice(by_onnx, "onnxruntime", measured) if onnx_ms < FASTER * torch_ms else Choice(by_torch, "torch", measured)
