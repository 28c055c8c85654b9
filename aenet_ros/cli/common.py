"""What several subcommands share: configuration options and output."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aenet_ros.config import Config, build, specs
from aenet_ros.core.errors import ConfigError, SourceError
from aenet_ros.core.files import write_atomic


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """``--params`` and ``--set``; ``config_from`` reads them."""
    group = parser.add_argument_group("configuration")
    group.add_argument(
        "--params",
        metavar="YAML",
        type=Path,
        action="append",
        default=[],
        help="a ROS parameter file of the node (the last one wins)",
    )
    group.add_argument(
        "--set",
        metavar="NAME=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="single options, for example agc.mode=fixed sync.slop_ms=10",
    )


def config_from(args: argparse.Namespace) -> Config:
    """The defaults, overridden by the files of ``--params``, then by ``--set``. Raises ConfigError or SourceError."""
    values: dict[str, Any] = {}
    for path in args.params:
        values.update(read_params(path))
    for item in args.set:
        name, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item}: give NAME=VALUE, for example sync.slop_ms=10")
        values[name] = _value(name, text)
    return build(values)


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
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_params(path: Path) -> dict[str, Any]:
    """The options of a ROS parameter file by dotted name: those for all nodes (``/**``) and for nodes named ``fusion``.

    Parameters of ROS itself (use_sim_time, qos_overrides) are ignored. Raises SourceError or ConfigError.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"--params {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--params {path} is not YAML: {error}") from error
    nodes = content if isinstance(content, dict) else {}
    sections = [body["ros__parameters"] for body in nodes.values() if isinstance(body, dict) and "ros__parameters" in body]
    if not sections:
        raise ConfigError(f"--params {path} is no ROS parameter file; it should begin with '/**:' and 'ros__parameters:'")
    values: dict[str, Any] = {}
    for name, body in nodes.items():
        if isinstance(body, dict) and (name in ("/**", "/*") or str(name).rsplit("/", 1)[-1] == "fusion"):
            values.update(_flat(body.get("ros__parameters") or {}, ""))
    return {
        name: value for name, value in values.items() if not name.startswith(("use_sim_time", "qos_overrides.", "start_type_description"))
    }


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


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
