"""What `aenet demo` prints and writes: the status, the report and its verdict."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOSSES = ("unpaired: ", "not fused: ", "replaced by a newer pair", "failed")
SLOW_SHARE = 0.8  # of the cameras' rate: below it the report warns


def status_line(status: Mapping[str, Any]) -> str:
    """The receiver's status for a person."""
    latency = status["latency_ms"].get("p50")
    if not status["frames"] or latency is None:
        return f"waiting for the first fused frame ... {status['message']}".rstrip()
    rate = f"{status['elapsed_s']:5.1f} s  {status['rate_hz']:5.1f} Hz  latency {latency:6.1f} ms"
    return f"{rate}  {status['frames']} fused  {status['scene']}".rstrip()


def compose(
    measured: Mapping[str, Any], camera: Mapping[str, Any], rates: tuple[float, float], source: str, seconds: float
) -> dict[str, Any]:
    """The report: ``ok``, or ``why`` not; ``warning`` where the machine is too slow; the measurements, and the account of the pairs.

    ``measured`` is the receiver's report, ``camera`` the last status of the rig or the replay; ``rates``: of the cameras, and the
    required one (0: none), in Hz.
    """
    from aenet_ros.cli.common import about

    pairs = dict(measured["pairs"])
    stamp_error = pairs.pop("stamp_error_ms")
    dropped = losses(measured["diagnostics"])
    camera_hz, required_hz = rates
    fused = measured["fused"]
    why = slow = ""
    if not fused["frames"]:
        message = measured["diagnostics"].get("fusion", {}).get("message")
        why = f"no fused frame was received: {message or 'the node did not answer; does it have another ROS_DOMAIN_ID?'}"
    elif fused["rate_hz"] < max(required_hz, SLOW_SHARE * camera_hz):
        slow = f"{fused['rate_hz']:.1f} fused frames a second, the cameras send {camera_hz:g}: {_bottleneck(measured, dropped)}"
        if fused["rate_hz"] < required_hz:
            why = f"--require-rate {required_hz:g}: {slow}"
    return {
        "ok": not why,
        "why": why,
        "warning": "" if why else slow,
        "source": source,
        "seconds": seconds,
        "camera_rate_hz": camera_hz,
        "required_rate_hz": required_hz,
        "fused": fused,
        "pairs": pairs,
        "dropped_since_start": dropped,
        "stamp_error_ms": stamp_error,
        **{name: measured["info"].get(name, "") for name in ("device", "precision", "model")},
        "files": [*measured["files"], "report.json"],
        "camera": camera,
        "bag": measured.get("bag", {}),
        "diagnostics": measured["diagnostics"],
        **about(),
    }


def losses(diagnostics: Mapping[str, Any]) -> dict[str, int]:
    """Frames and pairs that the node did not fuse since it was activated, by reason, from its diagnostics."""
    values = {**diagnostics.get("pairing", {}).get("values", {}), **diagnostics.get("fusion", {}).get("values", {})}
    found = {name: int(value) for name, value in values.items() if name.startswith(LOSSES)}
    return {name: count for name, count in found.items() if count}


def _bottleneck(measured: Mapping[str, Any], dropped: Mapping[str, int]) -> str:
    """Why fewer frames came out than the cameras should have sent, and what to do."""
    fusion = measured["diagnostics"].get("fusion", {})
    if dropped.get("replaced by a newer pair"):
        stage, device = fusion["values"].get("stage total p50 [ms]", "?"), measured["info"].get("device", "?")
        return (
            f"a pair takes {stage} ms on {device} (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores), and "
            f"{dropped['replaced by a newer pair']} pairs were replaced by newer ones; end other programs or use a GPU"
        )
    published = measured["pairs"]["pairs_published"]
    return str(fusion.get("message") or f"only {published} pairs were published; end other programs on this machine")


def summary(report: Mapping[str, Any], folder: Path) -> str:
    """The report in a few lines for a person."""
    fused, pairs = report["fused"], report["pairs"]
    lines = []
    if fused["frames"]:
        latency = fused["latency_ms"]
        lines.append(
            f"{fused['rate_hz']:.1f} fused frames a second on {report['device']}; "
            f"latency from stamp to receiver {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms"
        )
        network = report["diagnostics"].get("latency budget", {})
        if network.get("level"):
            lines.append(network["message"])
        lines.append(f"pairs: {pairs['pairs_published']} published, {pairs['pairs_fused']} fused, {pairs['pairs_not_fused']} not")
    if report["dropped_since_start"]:
        lines.append("not fused since start: " + ", ".join(f"{name} {count}" for name, count in report["dropped_since_start"].items()))
    lines.append(f"see {folder}/: " + ", ".join(report["files"]))
    if report["warning"]:
        lines.append(f"warning: {report['warning']}")
    lines.append("ok" if report["ok"] else f"failed: {report['why']}")
    return "\n".join(lines)
