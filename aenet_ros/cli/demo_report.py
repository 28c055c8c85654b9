"""What the demo says: the status line, the report and its verdict."""

import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from aenet_ros.cli.demo import MIN_RATE_HZ, REPLAY_SHARE

PLAIN_EVERY_S = 2.0
PACKAGES = ("aenet_ros", "torch", "numpy", "opencv-python-headless", "opencv-python", "ros-kilted-rclpy", "rclpy", "rosbags")


class StatusLine:
    """One line that is written over on a terminal; plain lines now and then elsewhere."""

    def __init__(self) -> None:
        self._over = sys.stdout.isatty()
        self._told, self._text = 0.0, ""
        self._width = 0

    def show(self, status: Mapping[str, Any]) -> None:
        """Show the receiver's status."""
        latency = status["latency_ms"].get("p50")
        if status["frames"] and latency is not None:
            scene = f"  {status['scene']}" if status["scene"] else ""
            text = f"{status['elapsed_s']:5.1f} s  {status['rate_hz']:5.1f} Hz  latency {latency:6.1f} ms  {status['frames']} fused{scene}"
        else:
            text = f"waiting for the first fused frame ... {status['message']}".rstrip()
        if self._over:
            text = text[: _columns()]
            print("\r" + text.ljust(self._width), end="", flush=True)
            self._width = len(text)
        elif text != self._text and time.monotonic() - self._told > PLAIN_EVERY_S:
            self._told, self._text = time.monotonic(), text
            print(text, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._over and self._width:
            print(flush=True)


def _columns() -> int:
    try:
        return os.get_terminal_size().columns - 1
    except OSError:
        return 79


def needed_rate(replay_hz: float | None) -> float:
    """Fused frames a second that the demo must reach: 25, or 0.8 of the rate of a replay."""
    return MIN_RATE_HZ if replay_hz is None else REPLAY_SHARE * replay_hz


def compose(measured: Mapping[str, Any], camera: Mapping[str, Any], needed_hz: float, source: str, seconds: float) -> dict[str, Any]:
    """The report: ``ok``, ``why`` not, what was measured, what became of the pairs, and on what machine.

    ``measured`` is the receiver's report, ``camera`` the last words of the rig or the replay.
    """
    info, diagnostics = measured["info"], measured["diagnostics"]
    pairs = dict(measured["pairs"])
    stamp_error = pairs.pop("stamp_error_ms")
    dropped = losses(diagnostics)
    why = verdict(measured, dropped, needed_hz)
    return {
        "ok": not why,
        "why": why,
        "source": source,
        "seconds": seconds,
        "needed_rate_hz": needed_hz,
        "fused": measured["fused"],
        **({"passthrough": measured["passthrough"]} if "passthrough" in measured else {}),
        "pairs": pairs,
        "dropped_since_start": dropped,
        "stamp_error_ms": stamp_error,
        "device": info.get("device", ""),
        "precision": info.get("precision", ""),
        "model": info.get("model", {}),
        "files": [*measured["files"], "report.json"],
        "camera": camera,
        "bag": measured.get("bag", {}),
        "diagnostics": diagnostics,
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "versions": {"python": platform.python_version(), **_versions()},
    }


def losses(diagnostics: Mapping[str, Any]) -> dict[str, int]:
    """Frames and pairs that the node did not fuse since it was activated, by reason, from its diagnostics."""
    pairing = diagnostics.get("pairing", {}).get("values", {})
    fusion = diagnostics.get("fusion", {}).get("values", {})
    found = {name: int(value) for name, value in pairing.items() if name.startswith("unpaired: ")}
    found.update({name: int(value) for name, value in fusion.items() if name.startswith("not fused: ")})
    found.update({name: int(fusion[name]) for name in ("replaced by a newer pair", "failed") if name in fusion})
    return {name: count for name, count in found.items() if count}


def verdict(measured: Mapping[str, Any], dropped: Mapping[str, int], needed_hz: float) -> str:
    """Why the demo failed, in a sentence; empty where it did not."""
    rate, frames = measured["fused"]["rate_hz"], measured["fused"]["frames"]
    fusion = measured["diagnostics"].get("fusion", {})
    if not frames:
        return f"no fused frame came out: {fusion.get('message') or 'the node was never heard; is another ROS_DOMAIN_ID set for it?'}"
    if rate >= needed_hz:
        return ""
    reason = fusion.get("message", "")
    if dropped.get("replaced by a newer pair"):
        stage = fusion["values"].get("stage total p50 [ms]", "?")
        device = measured["info"].get("device", "?")
        reason = (
            f"a pair takes the node {stage} ms on {device} (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores), and "
            f"{dropped['replaced by a newer pair']} pairs were passed over for newer ones; end other programs or use a GPU"
        )
    elif measured["pairs"]["pairs_published"] < needed_hz * measured["fused"]["frames"] / max(rate, 0.1):
        reason = f"the cameras published only {measured['pairs']['pairs_published']} pairs; is this machine busy?"
    return f"{rate:.1f} fused frames a second came out, and {needed_hz:g} are needed: {reason}"


def summary(report: Mapping[str, Any], folder: Path) -> str:
    """The report in a few lines for a person."""
    fused, pairs = report["fused"], report["pairs"]
    lines = []
    if fused["frames"]:
        latency = fused["latency_ms"]
        lines.append(
            f"{fused['rate_hz']:.1f} fused frames a second on {report['device']}; "
            f"from stamp to receiver {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms"
        )
        if report.get("passthrough", {}).get("frames"):
            floor = report["passthrough"]["latency_ms"]
            lines.append(f"a node that only passes frames on, in the same run: {floor['p50']:.1f} ms, p95 {floor['p95']:.1f} ms")
        lines.append(f"pairs: {pairs['pairs_published']} published, {pairs['pairs_fused']} fused, {pairs['pairs_not_fused']} not")
    if report["dropped_since_start"]:
        lines.append("since start: " + ", ".join(f"{name} {count}" for name, count in report["dropped_since_start"].items()))
    lines.append(f"see {folder}/: " + ", ".join(report["files"]))
    lines.append("ok" if report["ok"] else f"failed: {report['why']}")
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
