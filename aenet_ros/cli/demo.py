"""Run a simulated rig (or real pairs), the fusing node and a recorder over real ROS 2 topics.

Starts the cameras, the node and a receiver as separate processes. Writes to the output folder contact_sheet.png (rgb, thermal and
fused frames at several instants), demo.mcap with metadata.yaml (the fused stream; opens in Foxglove and `ros2 bag`) and report.json.
Exit status 0 if fused frames were received, with a warning where this machine is too slow for the cameras' rate.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aenet_ros.cli.common import add_config_arguments, config_from, print_json, remark, write_json
from aenet_ros.core.errors import AenetError, ConfigError, MissingDependencyError, SourceError

if TYPE_CHECKING:
    from aenet_ros.cli.processes import Processes
    from aenet_ros.config import Config
    from aenet_ros.workbench.simulation.rig_config import RigConfig

STATUS_PERIOD_S = 2.0
GIVE_UP_S = 8.0  # without a fused frame, and with an error in diagnostics all that time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--seconds", metavar="S", type=float, default=10.0, help="duration of the measurement (default: %(default)g)")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, default=Path("demo_out"), help="output folder (default: %(default)s)")
    parser.add_argument("--replay", metavar="DIR", type=Path, help="play real pairs from DIR/thermal and DIR/rgb instead of the rig")
    parser.add_argument("--rate", metavar="HZ", type=float, default=25.0, help="pairs a second of --replay (default: %(default)g)")
    parser.add_argument(
        "--require-rate", metavar="HZ", type=float, default=0.0, help="exit status 1 below this rate of fused frames (default: no limit)"
    )
    parser.add_argument(
        "--record",
        choices=("compressed", "raw", "inputs", "nothing"),
        default="compressed",
        help="what demo.mcap holds of each fused frame; inputs: also the cameras' streams, 49 MB a second (default: %(default)s)",
    )
    parser.add_argument(
        "--rig",
        metavar="NAME=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="options of the rig, for example scenes=night offset_ms=200 (all: aenet_ros/workbench/simulation/rig_config.py)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout, progress on stderr")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 if fused frames came out, at the required rate where there is one."""
    _check(args)
    from aenet_ros.cli.demo_report import compose, summary
    from aenet_ros.cli.processes import Processes

    config, rig = config_from(args), None if args.replay else _rig(args.rig)
    if args.record != "nothing" and find_spec("rosbags") is None:
        remark("demo.mcap is left out: recording needs rosbags (pip install 'rosbags>=0.11,<0.12' mcap)")
        args.record = "nothing"
    if (args.out / "metadata.yaml").exists() and not (args.out / "demo.mcap").exists():
        raise SourceError(f"-o {args.out} holds another bag (metadata.yaml), which the demo would overwrite; give another folder")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"-o {args.out} cannot be made: {error.strerror or error}") from error
    present = set(args.out.iterdir())
    cameras = "the replay" if args.replay else "the rig"
    print(f"starting {cameras}, the node and the receiver ...", file=sys.stderr if args.json else sys.stdout, flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="aenet_demo_") as scratch, Processes(Path(scratch)) as processes:
            _start(processes, args, config, rig)
            measured = _follow(processes, quiet=args.json)
            processes.stop(*processes.children)
            camera = processes.output("camera")
    finally:
        for path in set(args.out.glob(".demo-*")) - present:  # the bag that a killed receiver did not finish
            shutil.rmtree(path, ignore_errors=True)
    camera_hz = args.rate if rig is None else min(rig.rgb_hz, rig.thermal_hz)
    report = compose(measured, camera, (camera_hz, args.require_rate), str(args.replay or "rig"), args.seconds)
    write_json(report, args.out / "report.json")
    if args.json:
        print_json(report)
    else:
        print(summary(report, args.out))
    return 0 if report["ok"] else 1


def _check(args: argparse.Namespace) -> None:
    if not 1.0 <= args.seconds <= 86400.0:
        raise ConfigError(f"--seconds {args.seconds:g}: give 1 to 86400")
    if args.replay and args.rig:
        raise ConfigError("--rig configures the simulated rig, which --replay replaces; give one of them")
    if find_spec("rclpy") is None:
        raise MissingDependencyError(
            "no rclpy here, so there are no topics to run on: source a ROS 2 installation (. /opt/ros/DISTRIBUTION/setup.sh), "
            "or without apt, in the checkout: pip install '.[ros]' (`make demo` does it for you)"
        )
    if args.replay:
        from aenet_ros.io.sources import open_source

        open_source(args.replay / "thermal", args.replay / "rgb")  # says what is missing


def _rig(items: list[str]) -> "RigConfig":
    """The rig's configuration from NAME=VALUE items. Raises ConfigError."""
    import yaml

    from aenet_ros.config.options import check, group_specs
    from aenet_ros.workbench.simulation.rig_config import RigConfig

    known = group_specs(RigConfig())
    values: dict[str, Any] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or name not in known:
            raise ConfigError(f"--rig {item}: give NAME=VALUE with one of {', '.join(known)}")
        values[name] = check(known[name], yaml.safe_load(text))
    return RigConfig(**values)


def _start(processes: "Processes", args: argparse.Namespace, config: "Config", rig: "RigConfig | None") -> None:
    """Start all processes, the node first: it takes longest to be ready."""
    import subprocess
    from dataclasses import asdict, replace

    from aenet_ros.config import Config, flatten

    defaults = flatten(Config())
    parameters: dict[str, Any] = {name: value for name, value in flatten(config).items() if value != defaults[name]}
    if rig is not None and "registration.mode" not in parameters:
        from aenet_ros.workbench.simulation.geometry import rgb_to_thermal

        # The rig is calibrated.
        parameters["registration.mode"] = "homography"
        parameters["registration.homography"] = [float(value) for value in rgb_to_thermal(rig).ravel()]
    if rig is not None:
        parameters.setdefault("agc.profile", "centikelvin")
    processes.start("node", "aenet_ros.ros.node", parameters)
    if rig is not None:
        if not any(item.startswith("scene_s=") for item in args.rig):  # the scenes share the time
            rig = replace(rig, scene_s=max(args.seconds / len(rig.scene_names), 0.1))
        processes.start("camera", "aenet_ros.ros.tools.rig_node", asdict(rig))
    else:
        processes.start("camera", "aenet_ros.ros.tools.replay_node", {"dir": str(args.replay.expanduser().resolve()), "rate": args.rate})
    receiver = {"seconds": args.seconds, "out": str(args.out.resolve()), "record": args.record}
    receiver |= {"slop_ms": config.sync.slop_ms, "clock_offset_ms": config.sync.clock_offset_ms}
    processes.start("receiver", "aenet_ros.ros.tools.sink_node", receiver, stdout=subprocess.PIPE)


def _follow(processes: "Processes", quiet: bool) -> dict[str, Any]:
    """Show the receiver's status until its report comes; returns the report. Raises AenetError where a process ends too early."""
    from aenet_ros.cli.demo_report import status_line

    shown_s = failing_since = 0.0
    for message in processes.messages("receiver"):
        if message is None:
            if problem := processes.watch():
                raise AenetError(problem)
            continue
        if message["type"] == "report":
            return message
        if message["type"] == "error":
            raise AenetError(message["message"])
        if not quiet and time.monotonic() - shown_s > STATUS_PERIOD_S:
            shown_s = time.monotonic()
            print(status_line(message), flush=True)
        failing = message["level"] >= 2 and not message["frames"]
        failing_since = (failing_since or time.monotonic()) if failing else 0.0
        if failing and time.monotonic() - failing_since > GIVE_UP_S:
            processes.children["receiver"].send_signal(signal.SIGINT)  # it still reports
    raise AenetError(f"the receiver ended without a report: {processes.last_words('receiver') or 'no output'}")
