"""Measure speed: the pipeline's stages, the network beside a yardstick, the node beside a passthrough node.

Every figure is a median, in the JSON with quartiles, taken after a warm-up and with the device synchronised. What is compared is measured
in turns within one run. A table goes to stdout, all figures as JSON to -o FILE (with --json to stdout), progress to stderr. With --node the
fusing node and a passthrough node run as processes over real ROS 2 topics; a probe measures their latency at 30 Hz and their highest rate
in turns, and the report adds start time, memory and CPU time. All of it takes some minutes. On a busy machine run it with `chrt -r 10`.
"""

import argparse
import os
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from aenet_ros.cli.common import about, parse_sizes, print_json, remark, text_table, write_json
from aenet_ros.core.errors import AenetError, ConfigError, DeviceError, MissingDependencyError

Size = tuple[int, int]
"""(height, width)"""

SIZES = "640x512,1280x720,1920x1080"
NODES = {"fused": "aenet_ros.ros.node", "passthrough": "aenet_ros.ros.tools.passthrough_node"}
TIMEOUT_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--sizes", metavar="WxH,...", default=SIZES, help="sizes of the rgb frame (default: %(default)s); thermal is 640x512"
    )
    parser.add_argument("--threads", metavar="N,...", default="1,2", help="CPU threads (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto: cpu, and cuda where there is one; or cpu, cuda")
    parser.add_argument(
        "--registration", choices=("identity", "homography"), default="identity", help="homography: that of the rig (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", metavar="HZ", type=float, default=0.0, help="pairs a second, for caches as cold as behind a camera (default: no pause)"
    )
    parser.add_argument("--runs", metavar="N", type=int, default=60, help="runs of each measurement (default: %(default)s)")
    parser.add_argument("--node", action="store_true", help="also measure the node beside a passthrough node, over ROS 2 (2 minutes)")
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="write all figures here, as JSON")
    parser.add_argument("--json", action="store_true", help="print the JSON on stdout instead of the table")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write a PNG of time over pixels (needs matplotlib)")


def run(args: argparse.Namespace) -> int:
    """Measure; 0 when done."""
    import torch

    from aenet_ros.workbench import speed

    sizes, threads = parse_sizes(args.sizes), [_count(text) for text in args.threads.split(",")]
    if args.runs < 3:
        raise ConfigError(f"--runs {args.runs}: give 3 or more")
    if args.rate < 0:
        raise ConfigError(f"--rate {args.rate:g}: give pairs a second, or 0 for no pause")
    devices = [args.device] if args.device != "auto" else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if "cuda" in devices and not torch.cuda.is_available():
        raise DeviceError("--device cuda: torch finds no CUDA device here; 'aenet doctor' says why")
    cpu = [("cpu", "fp32", count) for count in threads]
    gpu = [(device, precision, threads[0]) for device in devices if device != "cpu" for precision in ("fp32", "fp16")]
    report: dict[str, Any] = {**about(), "runs": args.runs, "pipeline": [], "network": [], "around_the_pipeline": []}
    for device, precision, count in (cpu if "cpu" in devices else []) + gpu:
        setting = f"{device} {precision}, {count} threads"
        for size in sizes:
            report["pipeline"].append(row := speed.pipeline_row(device, precision, count, size, args))
            remark(f"{setting}, pipeline {row['rgb']}: {_medians(row['stages'])} ({_medians(row['within_fusion'])})")
            report["network"].append(row := speed.network_row(device, precision, count, size, args.runs))
            remark(f"{setting}, network {row['size']}: {_medians(row)}")
    for size in sizes:
        report["around_the_pipeline"].append(row := _around_row(size, args.runs))
        remark(f"around the pipeline, {row['rgb']}: {_medians(row)}")
    if args.node:
        report["node"] = measure_node(sizes[0])
    if args.out:
        write_json(report, args.out)
    if args.json:
        print_json(report)
    else:
        print(tables(report))
    if args.plot:
        _write_plot(report, args.plot)
    for path in filter(None, (args.out, args.plot)):
        remark(f"written: {path}")
    return 0


def tables(report: dict[str, Any]) -> str:
    """The report for a person: the machine, a table of the pipeline, one of the network, and the node."""
    machine = report["machine"]
    extent = f"{machine['cores']} cores, {' '.join(machine['instructions']) or 'unknown instruction sets'}"
    texts = [f"{machine['processor']}, {extent}{', ' + machine['gpu'] if machine['gpu'] else ''}; load {machine['load_average_before']:g}"]
    stages = ("agc", "registration", "fusion", "output", "total")
    rows = []
    for row in report["pipeline"]:
        total_ms = row["stages"]["total"]["median_ms"]
        times = [f"{row['stages'][stage]['median_ms']:.2f}" for stage in stages]
        rows.append([row["rgb"], f"{_setting(row)}, {row['backend']}", *times, f"{1e3 / total_ms:.0f}", f"{row['processor_ms']:.1f}"])
    texts.append(text_table(["pipeline, ms a pair", "on", *stages, "pairs/s", "CPU ms"], rows))
    rows = []
    for row in report["network"]:
        ours, other = row["aenet"]["median_ms"], row["yardstick"]["median_ms"]
        onnx = row["onnxruntime"]["median_ms"] if "onnxruntime" in row else None
        by_onnx = ["-", "-"] if onnx is None else [f"{onnx:.2f}", f"{onnx / other:.2f}"]
        rows.append([row["size"], _setting(row), f"{other:.2f}", f"{ours:.2f}", f"{ours / other:.2f}", *by_onnx])
    texts.append(text_table(["network, ms", "on", "113-weight yardstick", "torch", "ratio", "onnxruntime", "ratio"], rows))
    if "node" in report:
        rows = []
        for name in NODES:
            node = report["node"][name]
            closed = max(node["closed_loop_hz"].values())
            rows.append(
                [name, f"{node['latency_ms']['p50']:.1f}", f"{node['latency_ms']['p95']:.1f}", f"{closed:.0f}", f"{node['rss_mb']:.0f}"]
            )
        texts.append(text_table([f"node, {report['node']['rgb']} at 30 Hz", "p50 ms", "p95 ms", "at most pairs/s", "MB"], rows))
    return "\n\n".join(texts)


def _around_row(size: Size, runs: int) -> dict[str, Any]:
    """The node's stages around the pipeline: match, and where ROS is installed receive, decode, encode and publish."""
    from aenet_ros.workbench import speed

    match = speed.spread_ms(speed.time_matcher(speed.rig_pairs(speed.rig_of(size), 2)[0], runs))
    row = {"rgb": f"{size[1]}x{size[0]}", "match": match}
    if find_spec("rclpy") is not None and find_spec("sensor_msgs") is not None:
        from aenet_ros.ros.tools.probe_node import message_times

        row |= message_times(size, runs)
    return row


def _medians(row: dict[str, Any]) -> str:
    spreads = {name: value for name, value in row.items() if isinstance(value, dict) and "median_ms" in value}
    return ", ".join(f"{name} {value['median_ms']:.2f}" for name, value in spreads.items()) + " ms"


def _count(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ConfigError(f"--threads {text}: give numbers of 1 or more, for example 1,2")
    return int(text)


def _write_plot(report: dict[str, Any], path: Path) -> None:
    """A PNG of the medians over the frame's pixels, both logarithmic. Raises MissingDependencyError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("--plot needs matplotlib: pip install matplotlib") from error
    curves: dict[str, dict[str, float]] = {}
    for row in report["pipeline"]:
        curves.setdefault(f"pipeline, {_setting(row)}", {})[row["rgb"]] = row["stages"]["total"]["median_ms"]
    for row in report["network"]:
        for name in ("aenet", "yardstick"):
            curves.setdefault(f"{name} network, {_setting(row)}", {})[row["size"]] = row[name]["median_ms"]
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    axes = figure.subplots()
    for label, points in curves.items():
        axes.plot([height * width for size in points for height, width in parse_sizes(size)], list(points.values()), "o-", label=label)
    machine = report["machine"]
    title = f"{machine['processor']}, {machine['cores']} cores, {report['date'][:10]}, {report['commit']}"
    axes.set(xscale="log", yscale="log", xlabel="pixels of the rgb frame", ylabel="ms, median", title=title)
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _setting(row: dict[str, Any]) -> str:
    return f"{row['threads']} CPU thread{'s' * (row['threads'] != 1)}" if row["device"] == "cpu" else f"{row['device']} {row['precision']}"


# With --node: the fusing node beside a passthrough node, over real ROS 2 topics.


def measure_node(size: Size, seconds: float = 3.0, rounds: int = 3) -> dict[str, Any]:
    """Measure latency, highest rate, start time, memory and CPU time of both nodes in turns, by ``probe_node``.

    ``size``: of the rgb frames. Raises AenetError if a process ends too early.
    """
    from aenet_ros.cli.processes import Processes

    started_s: dict[str, float] = {}
    active_s: dict[str, float] = {}
    used_s = dict.fromkeys(NODES, 0.0)  # CPU time of the paced blocks
    deadline_s = time.monotonic() + TIMEOUT_S + rounds * 8 * seconds
    with tempfile.TemporaryDirectory(prefix="aenet_bench_") as scratch, Processes(Path(scratch)) as processes:
        probe = {"seconds": seconds, "rounds": rounds, "width": size[1], "height": size[0]}
        processes.start("probe", "aenet_ros.ros.tools.probe_node", probe, stdout=subprocess.PIPE)
        for message in processes.messages("probe"):
            if message is None:
                if problem := processes.watch():
                    raise AenetError(problem)
                if time.monotonic() > deadline_s:
                    raise AenetError(f"the measurement of the node timed out: {processes.last_words('fused') or 'no output'}")
            elif message["type"] == "ready":
                for name, module in NODES.items():
                    started_s[name] = time.time()
                    processes.start(name, module, {}, remap=[f"__ns:=/{name}"])
            elif message["type"] == "active":
                active_s[message["target"]] = message["at"] - started_s[message["target"]]
            elif message["type"] == "report":
                report = summarise(message["blocks"])
                for name in NODES:
                    report[name]["start_to_active_s"] = round(active_s[name], 2)
                    report[name]["rss_mb"] = _peak_memory_mb(processes.children[name].pid)
                    sent = sum(block["sent"] for block in message["blocks"] if block["target"] == name and not block["window"])
                    report[name]["processor_ms_a_pair"] = round(1e3 * used_s[name] / sent, 2)
                return {"rgb": f"{size[1]}x{size[0]}", "registration": "identity", **report}
            elif not message["window"]:
                now_s = _cpu_time_s(processes.children[message["target"]].pid)
                used_s[message["target"]] += now_s if message["type"] == "end" else -now_s
    raise AenetError("the probe ended without a report")


def summarise(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds of each target."""
    report: dict[str, Any] = {}
    for name in NODES:
        own = [block for block in blocks if block["target"] == name]
        paced = [block for block in own if not block["window"]]
        loops = {str(window): [block for block in own if block["window"] == window] for window in sorted({b["window"] for b in own} - {0})}
        report[name] = {
            "frames": sum(block["came"] for block in paced),
            "rate_hz": _median(paced, "rate_hz", digits=2),
            "latency_ms": {key: _median(paced, "latency_ms", key) for key in ("p50", "p95", "max")},
            "lost": sum(block["sent"] - block["came"] for block in own),
            # From the median time between two pictures: other real-time programs interrupt for up to 50 ms.
            "closed_loop_hz": {window: round(1e3 / median(b["cycle_ms"]["p50"] for b in loop), 2) for window, loop in loops.items()},
        }
        if name == "fused":
            report[name]["stages_ms"] = {stage: _median(paced, "stages_ms", stage) for stage in paced[0]["stages_ms"]}
    return {**report, "blocks": blocks}


def _median(blocks: list[dict[str, Any]], *keys: str, digits: int = 3) -> float:
    """The median of an entry of the blocks, or of an entry in it."""
    values = [float(block[keys[0]] if len(keys) == 1 else block[keys[0]][keys[1]]) for block in blocks]
    return round(median(values), digits)


def _cpu_time_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_memory_mb(pid: int) -> float:
    """Peak resident memory of a process, in 10^6 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6, 1)
