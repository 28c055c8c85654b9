"""Measures the network alone under each runtime that is installed, in turns within one run; JSON out.

torch is what the package runs by default; ONNX Runtime and OpenVINO (pip install openvino) run the file that `aenet export` writes.

    python benchmarks/backends.py --threads 2 -o benchmarks/results/backends.json
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aenet_ros.cli.common import about, remark, write_json
from aenet_ros.core.frames import Array
from aenet_ros.core.process import keep_large_buffers
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.cpu_network import CpuNetwork
from aenet_ros.fusion.onnx_network import OnnxNetwork, export_network
from aenet_ros.workbench.timing import WARM_UP_RUNS, spread_ms

ROUNDS = 5

Planes = np.ndarray[Any, np.dtype[np.float32]]


def contestants(file: Path, thermal: Planes, luma: Planes, threads: int) -> dict[str, Callable[[], Array]]:
    """By name, a call that runs the network once and returns the fused plane in grey levels."""
    network = CpuNetwork(load_checkpoint()[0])
    planes = thermal[0, 0], luma[0, 0]
    onnx = OnnxNetwork(file.read_bytes(), "cpu", "fp32", threads)
    runs: dict[str, Callable[[], Array]] = {
        "torch float32": lambda: network(*planes),
        "ONNX Runtime float32": lambda: onnx(*planes),
    }
    if find_spec("openvino"):
        import openvino

        core = openvino.Core()
        model = core.read_model(file)
        model.reshape({"thermal": list(thermal.shape), "luma": list(luma.shape)})  # one size, which is its best case
        for precision in ("f32", "bf16"):
            options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
            request = core.compile_model(model, "CPU", options).create_infer_request()
            request.set_tensor("thermal", openvino.Tensor(thermal, shared_memory=True))
            request.set_tensor("luma", openvino.Tensor(luma, shared_memory=True))
            runs[f"OpenVINO {precision}"] = lambda request=request: next(iter(request.infer(share_outputs=True).values()))[0, 0] * 255  # type: ignore[misc]
    return runs


def measure(size: tuple[int, int], threads: int, runs: int, file: Path) -> dict[str, Any]:
    """Medians and quartiles by contestant, and the largest difference from torch in grey levels."""
    thermal, luma = np.random.default_rng(0).random((2, 1, 1, *size), np.float32)
    candidates = contestants(file, thermal, luma, threads)
    expected = candidates["torch float32"]().astype(np.float32)
    rows: dict[str, Any] = {name: float(np.abs(call() - expected).max()) for name, call in candidates.items()}
    durations: dict[str, list[int]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, call in candidates.items():
            for number in range(WARM_UP_RUNS + runs // ROUNDS):
                begun = time.perf_counter_ns()
                call()
                if number >= WARM_UP_RUNS:
                    durations[name].append(time.perf_counter_ns() - begun)
    return {name: {**spread_ms(durations[name]), "largest_difference_levels": round(rows[name], 4)} for name in candidates}


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=100, help="runs of each (default: %(default)s)")
    parser.add_argument("-o", "--out", type=Path, help="write the JSON here instead of to stdout")
    args = parser.parse_args()
    width, _, height = args.size.partition("x")
    keep_large_buffers()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory(prefix="aenet_backends_") as scratch:
        network, card = load_checkpoint()
        file = Path(scratch) / "aenet.onnx"
        export_network(network, card, file, whole=False)
        report = {
            **about(),
            "weights_sha256": card["sha256"],
            "size": args.size,
            "threads": args.threads,
            "runs": args.runs,
            "network_ms": measure((int(height), int(width)), args.threads, args.runs, file),
        }
    for name, row in report["network_ms"].items():
        remark(f"{name:>22}  {row['median_ms']:7.2f} ms, {row['largest_difference_levels']:.2g} levels from torch")
    write_json(report, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
