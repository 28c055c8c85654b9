"""`aenet bench --node`: the fusing node beside a passthrough node, over real ROS 2 topics."""

import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from aenet_ros.cli.processes import Processes
from aenet_ros.core.errors import AenetError

GIVE_UP_S = 120.0
LATENCY_MARGIN_MS = 2.0
RATE_SHARE = 0.85
MODULES = {"fused": "aenet_ros.ros.node", "passthrough": "aenet_ros.ros.tools.passthrough_node"}


def measure_node(
    size: tuple[int, int] = (512, 640), seconds: float = 3.0, rounds: int = 3, homography: tuple[float, ...] = ()
) -> dict[str, Any]:
    """Measure latency, highest rate, start time, memory and CPU time of both nodes in turns, by ``probe_node``.

    ``size``: height and width of the rgb frames; ``homography``: 9 values, identity where empty. Raises AenetError where a process ends
    too early.
    """
    parameters: dict[str, Any] = {"registration.mode": "homography", "registration.homography": homography} if homography else {}
    with tempfile.TemporaryDirectory(prefix="aenet_bench_") as scratch, Processes(Path(scratch)) as processes:
        probe = {"seconds": seconds, "rounds": rounds, "width": size[1], "height": size[0]}
        processes.start("probe", "aenet_ros.ros.tools.probe_node", probe, stdout=subprocess.PIPE)
        begun: dict[str, float] = {}
        active: dict[str, float] = {}
        used: dict[str, list[float]] = {}
        begun_at = time.monotonic()
        for message in processes.messages("probe"):
            if message is None:
                if problem := processes.watch():
                    raise AenetError(problem)
                if time.monotonic() - begun_at > GIVE_UP_S + rounds * 8 * seconds:
                    raise AenetError(f"the measurement of the node timed out: {processes.last_words('fused') or 'no output'}")
                continue
            if message["type"] == "ready":
                for name, module in MODULES.items():
                    begun[name] = time.time()
                    processes.start(name, module, parameters if name == "fused" else {}, remap=[f"__ns:=/{name}"])
            elif message["type"] == "active":
                active[message["target"]] = message["at"] - begun[message["target"]]
            elif message["type"] in ("begin", "end"):
                used.setdefault(f"{message['target']} {message['kind']} {message['window']}", []).append(
                    processor_s(processes.children[message["target"]].pid) * (1 if message["type"] == "end" else -1)
                )
            elif message["type"] == "report":
                report = summarise(message["blocks"])
                for name in MODULES:
                    paced = [block for block in message["blocks"] if block["target"] == name and block["kind"] == "paced"]
                    report[name] |= {
                        "start_to_active_s": round(active[name], 2),
                        "rss_mb": resident_mb(processes.children[name].pid),
                        "processor_ms_a_pair": round(1e3 * sum(used[f"{name} paced 0"]) / sum(block["sent"] for block in paced), 2),
                    }
                return {"rgb": f"{size[1]}x{size[0]}", "registration": "homography" if homography else "identity", **report}
    raise AenetError("the probe ended without a report")


def summarise(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds of each target, and the fusing node against the passthrough node plus its own pipeline."""
    report: dict[str, Any] = {}
    for name in MODULES:
        own = [block for block in blocks if block["target"] == name]
        paced = [block for block in own if not block["window"]]
        windows = sorted({block["window"] for block in own if block["window"]})
        report[name] = {
            "frames": sum(block["came"] for block in paced),
            "rate_hz": round(median(block["rate_hz"] for block in paced), 2),
            "latency_ms": {key: round(median(block["latency_ms"][key] for block in paced), 3) for key in ("p50", "p95", "max")},
            "lost": sum(block["sent"] - block["came"] for block in own),
            # From the median time between two pictures: other real-time programs interrupt for up to 50 ms.
            "closed_loop_hz": {
                str(window): round(1e3 / median(block["cycle_ms"]["p50"] for block in own if block["window"] == window), 2)
                for window in windows
            },
        }
    fused = report["fused"]
    own = [block for block in blocks if block["target"] == "fused"]
    paced = [block for block in own if not block["window"]]
    fused["stages_ms"] = {stage: round(median(block["stages_ms"][stage] for block in paced), 3) for stage in paced[0]["stages_ms"]}
    fused["pipeline_p95_ms"] = round(median(block["pipeline_p95_ms"] for block in paced), 3)
    fused["closed_loop_pipeline_ms"] = {
        window: round(median(block["stages_ms"]["total"] for block in own if str(block["window"]) == window), 3)
        for window in fused["closed_loop_hz"]
    }
    return {**report, "floor": floor(fused, report["passthrough"]), "blocks": blocks}


def floor(fused: dict[str, Any], passed: dict[str, Any]) -> dict[str, Any]:
    """The fusing node against the sum of the passthrough node and its own pipeline, as it ran in the node."""
    latency, pipeline = passed["latency_ms"], fused["stages_ms"]["total"]
    shares = {
        window: round(rate * (1.0 / passed["closed_loop_hz"][window] + fused["closed_loop_pipeline_ms"][window] / 1e3), 3)
        for window, rate in fused["closed_loop_hz"].items()
    }
    over_p95 = round(fused["latency_ms"]["p95"] - latency["p95"] - pipeline, 3)
    best = max(shares, key=lambda window: fused["closed_loop_hz"][window])
    return {
        "over_p50_ms": round(fused["latency_ms"]["p50"] - latency["p50"] - pipeline, 3),
        "over_p95_ms": over_p95,
        "over_p95_with_the_pipelines_p95_ms": round(fused["latency_ms"]["p95"] - latency["p95"] - fused["pipeline_p95_ms"], 3),
        "over_wanted_ms": LATENCY_MARGIN_MS,
        "highest_rate_share": shares[best],
        "rate_shares": shares,
        "rate_share_wanted": RATE_SHARE,
        "holds": {"latency": over_p95 <= LATENCY_MARGIN_MS, "rate": shares[best] >= RATE_SHARE},
    }


def processor_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Peak resident memory of a process, in 10^6 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6, 1)
