"""Reads ROS 2 parameter files by the rules of ROS: which sections are a node's, and which of them wins."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aenet_ros.core.errors import ConfigError, SourceError


def read_params_file(path: Path, node: str = "") -> dict[str, Any]:
    """The parameters, by dotted name, that a ROS parameter file has for ``node``; empty where no section is for it.

    ``node``: name with namespace (``/robot1/fusion``); empty: a node ``fusion`` in any namespace. Keys are names or patterns: ``*`` is
    one part of a name, ``**`` any number. A section that stands later in the file wins, as in rclpy. Raises SourceError or ConfigError.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"parameter file {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"parameter file {path} is not YAML: {error}") from error
    sections = list(_sections(content, ""))
    if not sections:
        raise ConfigError(f"{path} is no ROS parameter file; it should begin with '/**:' and 'ros__parameters:'")
    values: dict[str, Any] = {}
    for key, section in sections:
        if _matches(key, node):
            values.update(_flat(section, ""))
    return values


def _sections(tree: Any, key: str) -> Iterator[tuple[str, Any]]:
    """(key of the node, its parameters); namespaces may be nested."""
    for name, body in tree.items() if isinstance(tree, dict) else ():
        if name == "ros__parameters":
            yield key, body or {}
        else:
            yield from _sections(body, f"{key}/{str(name).strip('/')}")


def _matches(key: str, node: str) -> bool:
    if not node:
        return key.rpartition("/")[2] in ("fusion", "*", "**")
    parts = key.split("/")[1:]
    pattern = "".join({"**": r"(/\w+)*", "*": r"/\w+"}.get(part, "/" + re.escape(part)) for part in parts)
    return re.fullmatch(pattern, node) is not None


def _flat(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items() if isinstance(tree, dict) else ():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
