"""What several subcommands share: configuration options, output, and the context of measurements."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aenet_ros import __version__
from aenet_ros.config import Config, build, specs
from aenet_ros.config.params_file import read_params_file
from aenet_ros.core.errors import ConfigError, first_line
from aenet_ros.core.files import write_atomic
from aenet_ros.core.process import allowed_cores

# Of x86, then of Arm: what decides the speed of the network, by the names of /proc/cpuinfo.
INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "asimd", "asimddp", "i8mm", "bf16", "sve")
OPTIONS_OF_ROS = ("use_sim_time", "qos_overrides.", "start_type_description")


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """``--params`` and ``--set``; ``config_from`` reads them."""
    group = parser.add_argument_group("configuration")
    params_help = "a ROS parameter file of the node (the last one wins)"
    group.add_argument("--params", metavar="YAML", type=Path, action="append", default=[], help=params_help)
    set_help = "single options, for example agc.mode=fixed sync.slop_ms=10"
    option = group.add_argument("--set", metavar="NAME=VALUE", nargs="+", action="extend", default=[], help=set_help)
    vars(option)["completer"] = _set_names  # for argcomplete
    for role in ("thermal", "rgb"):
        crop_help = f"part of the {role} frame to use, 0 to its edge; same as --set input.{role}.crop=X,Y,WIDTH,HEIGHT"
        group.add_argument(f"--{role}-crop", metavar="X,Y,WIDTH,HEIGHT", help=crop_help)


def add_pairing_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """``--in-order`` and ``--pairs``: arguments of ``io.pairing.pair_files``."""
    order_help = "pair the folders' files in their order instead of by name; refused where names contradict it"
    parser.add_argument("--in-order", action="store_true", help=order_help)
    pairs_help = "list of pairs: a thermal and an rgb file in each line, relative to the folders or to the list"
    parser.add_argument("--pairs", metavar="FILE.csv", type=Path, help=pairs_help)


def add_time_argument(parser: argparse._ActionsContainer) -> None:
    """``--time`` of commands that read bags."""
    parser.add_argument(
        "--time",
        choices=("header", "log"),
        default="",
        help="times that pair a bag's frames: header stamps, or log times (default: header; log where header stamps are zero, stand still, "
        "or are too far apart)",
    )


def _set_names(**_: object) -> list[str]:
    return [f"{name}=" for name in specs()]


def parse_sizes(text: str) -> list[tuple[int, int]]:
    """(height, width) of each part of a text such as "640x512,1280x720". Raises ConfigError."""
    sizes = []
    for part in text.split(","):
        width, x, height = part.strip().partition("x")
        if not x or not width.isdecimal() or not height.isdecimal():
            raise ConfigError(f"--sizes {part}: give sizes as WIDTHxHEIGHT, for example 640x512,1280x720")
        sizes.append((int(height), int(width)))
    return sizes


def config_from(args: argparse.Namespace, base: Config | None = None) -> Config:
    """``base`` (default: the defaults), overridden by the files of ``--params``, then by ``--set``. Raises ConfigError or SourceError."""
    values: dict[str, Any] = {}
    for path in args.params:
        given = read_params_file(path)
        values.update((name, value) for name, value in given.items() if not name.startswith(OPTIONS_OF_ROS))
    for item in args.set:
        name, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item}: give NAME=VALUE, for example sync.slop_ms=10")
        values[name] = _value(name, text)
    for role in ("thermal", "rgb"):
        if (crop := getattr(args, f"{role}_crop", None)) is not None:
            values[f"input.{role}.crop"] = _value(f"input.{role}.crop", crop)
    return build(values, base)


def uncropped_config(args: argparse.Namespace, command: str) -> Config:
    """``config_from``, for a command that reads whole frames. Raises ConfigError where a crop is given too."""
    config = config_from(args)
    for role in ("thermal", "rgb"):
        if getattr(config.input, role).rectangle is not None:
            raise ConfigError(f"`{command}` uses whole frames; give it frames that are cropped already, without input.{role}.crop")
    return config


def _value(name: str, text: str) -> Any:
    """The text as the option's type; text that does not fit is returned as it is, and ``build`` refuses it."""
    spec = specs().get(name)
    if spec is None or isinstance(spec.default, str):
        return text
    if isinstance(spec.default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(spec.default, tuple):
        return [_number(part) for part in text.strip("[]() ").replace(",", " ").split()]
    return _number(text)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def print_json(report: Mapping[str, Any]) -> None:
    """Print the report as JSON on stdout."""
    json.dump(report, sys.stdout, indent=1)
    print()


def write_json(report: Mapping[str, Any], path: Path | None) -> None:
    """Write the report to ``path`` atomically, making its folder; on stdout where ``path`` is None. Raises SourceError."""
    if path is None:
        print_json(report)
        return
    write_atomic(path, json.dumps(report, indent=1) + "\n")


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for the terminal. The first column is left-aligned, the others are right-aligned."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in lines
    )


def remark(text: str) -> None:
    """Print a message on stderr, so that stdout stays parseable."""
    print(text, file=sys.stderr)


def about() -> dict[str, Any]:
    """For reports of measurements: ``date`` (UTC), ``commit``, ``versions`` by package, and ``machine``.

    ``machine``: processor, its instruction sets that matter here, cores, load average, gpu (empty: none).
    """
    import cv2
    import numpy as np

    versions = {"aenet_ros": __version__, "python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__}
    gpu = ""
    if find_spec("torch"):
        import torch

        versions["torch"] = str(torch.__version__)
        try:
            gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
        except RuntimeError as error:  # lost, or in exclusive use; the CPU can still be measured
            gpu = first_line(error)
    load = round(os.getloadavg()[0], 2)
    processor, instructions = _processor()
    machine = {"processor": processor, "instructions": instructions, "cores": allowed_cores(), "load_average_before": load, "gpu": gpu}
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"date": date, "commit": _commit(), "versions": versions, "machine": machine}


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return "unknown"
    return done.stdout.strip() or "unknown"


def _processor() -> tuple[str, list[str]]:
    """Name of the processor (on Arm: of the board), and its instruction sets among INSTRUCTIONS."""
    lines: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = values.get("model name", "")
    with suppress(OSError):
        name = name or Path("/proc/device-tree/model").read_text(encoding="utf-8").rstrip("\0")
    flags = values.get("flags", values.get("Features", "")).split()
    return name or platform.processor() or platform.machine(), [flag for flag in INSTRUCTIONS if flag in flags]
