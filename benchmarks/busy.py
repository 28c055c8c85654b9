"""The node on a busy machine: rate and latency beside zero, one and two other processes at full load, by runtime and threads.

Runs `aenet demo` (simulated cameras at 640x512 and 30 Hz, node, receiver) once for each combination, in turns over all rounds, and prints
medians. The node and everything else share --cores cores. The size of the network is fixed, so that all rows do the same work.

    python benchmarks/busy.py -o benchmarks/results/busy.json          (about 8 minutes)
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from aenet_ros.cli.common import about, remark, text_table, write_json
from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.onnx_network import export_network

# Arithmetic and the caches. It yields every 3 ms, as under the ordinary scheduler. So `chrt -r 10` gives the same picture, and other work
# does not disturb: with real-time priority a process would else keep its core for 100 ms.
LOAD = """
import os, time, numpy
a = numpy.ones((128, 128), numpy.float32)
while True:
    end = time.monotonic() + 0.003
    while time.monotonic() < end:
        a @ a
    os.sched_yield()
"""


def measure(backend: str, threads: int, others: int, weights: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One demo beside ``others`` busy processes: rate, latency percentiles and the pairs that were not fused."""
    single = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    options = [f"model.threads={threads}", f"latency.budget_ms={args.budget_ms:g}", "model.device=cpu", f"model.backend={backend}"]
    options += [*([f"model.weights={weights}"] if backend == "onnx" else []), *args.set]
    command = [sys.executable, "-m", "aenet_ros", "demo", "--json", "--record", "nothing", "--seconds", f"{args.seconds:g}"]
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="aenet_busy_"))
        for _ in range(others):
            stack.callback(subprocess.Popen([sys.executable, "-c", LOAD], env=single).kill)
        done = subprocess.run([*command, "-o", scratch, "--set", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    report = json.loads(done.stdout)
    fused = report["fused"]
    latency = fused["latency_ms"] or {"p50": float("inf"), "p95": float("inf")}
    return {
        "rate_hz": fused["rate_hz"],
        "p50_ms": latency["p50"],
        "p95_ms": latency["p95"],
        "not_fused": report["pairs"]["pairs_not_fused"],
    }


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run (default: %(default)g)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each combination (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="cores that all processes share (default: %(default)s)")
    parser.add_argument("--threads", default="1,2", help="CPU threads of the network (default: %(default)s)")
    parser.add_argument("--others", default="0,1,2", help="other processes at full load (default: %(default)s)")
    parser.add_argument("--budget-ms", type=float, default=0.0, help="latency.budget_ms; -1: the network adapts (default: %(default)g)")
    parser.add_argument("--set", metavar="NAME=VALUE", nargs="+", default=[], help="more parameters of the node")
    parser.add_argument("-o", "--out", type=Path, help="write the JSON here instead of to stdout")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    threads, others = ([int(part) for part in text.split(",")] for text in (args.threads, args.others))
    combinations = list(itertools.product(others, ("torch", "onnx"), threads))
    runs: dict[tuple[int, str, int], list[dict[str, Any]]] = {key: [] for key in combinations}
    report: dict[str, Any] = {**about(), "seconds": args.seconds, "rounds": args.rounds, "budget_ms": args.budget_ms}
    with tempfile.TemporaryDirectory(prefix="aenet_busy_") as scratch:
        weights = Path(scratch) / "aenet.onnx"
        export_network(*load_checkpoint(), weights, whole=False)
        for _, (count, backend, number) in itertools.product(range(args.rounds), combinations):
            runs[count, backend, number].append(measure(backend, number, count, weights, args))
            remark(f"{count} others, {backend}, {number} threads: {runs[count, backend, number][-1]}")
    report["rows"] = [
        {
            "others": count,
            "backend": backend,
            "threads": number,
            **{name: median(run[name] for run in found) for name in found[0]},
            "runs": found,
        }
        for (count, backend, number), found in runs.items()
    ]
    header = ("others", "runtime", "threads", "rate Hz", "p50 ms", "p95 ms", "not fused")
    names = ("others", "backend", "threads", "rate_hz", "p50_ms", "p95_ms", "not_fused")
    remark(text_table(header, [[str(row[name]) for name in names] for row in report["rows"]]))
    write_json(report, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
