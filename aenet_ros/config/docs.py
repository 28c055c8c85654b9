"""Writes what is generated from the configuration: ``config/fusion.yaml`` and ``docs/parameters.md``.

Run as ``python -m aenet_ros.config.docs`` in a checkout, after a change to ``aenet_ros/config/schema.py``; a test compares.
"""

import textwrap
from pathlib import Path

from aenet_ros.config import specs
from aenet_ros.config.options import OptionSpec, Value

YAML_HEAD = """\
# All parameters of the fusing node with their defaults. Generated from aenet_ros/config/schema.py by `python -m aenet_ros.config.docs`.
# For your robot copy what differs into a file of your own and launch with params_file:=/path/to/it.yaml.
# [allowed values; "any time" where a running node takes a new value, the others are read when the node is configured]
/**:
  ros__parameters:
"""

MARKDOWN_HEAD = """\
# Parameters

Generated from `aenet_ros/config/schema.py` by `python -m aenet_ros.config.docs`. They are the ROS parameters of the node `fusion`, and the
configuration of everything that runs without ROS. *Any time* means that a running node takes a new value (`ros2 param set`), all or
nothing and checked before; the others are read at configure: set them in a parameter file, or deactivate and clean up the node first.

| parameter | default | allowed | any time | meaning |
|---|---|---|---|---|
"""


def render_yaml() -> str:
    """The text of ``config/fusion.yaml``: every option, nested by group, under a comment with its meaning and bounds."""
    lines: list[str] = []
    open_groups: list[str] = []
    for spec in specs().values():
        *groups, key = spec.name.split(".")
        for depth, group in enumerate(groups):
            if open_groups[: depth + 1] != groups[: depth + 1]:
                lines.append(f"{_indent(depth)}{group}:")
        open_groups = groups
        indent = _indent(len(groups))
        explained = isinstance(spec.default, bool) or (spec.choices and all(choice in spec.doc for choice in spec.choices))
        notes = "; ".join(note for note in ("" if explained else _allowed(spec), "any time" if spec.dynamic else "") if note)
        comment = f"{spec.doc} [{notes}]" if notes else spec.doc
        lines += textwrap.wrap(comment, 118, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_long_words=False)
        lines.append(f"{indent}{key}: {_literal(spec.default)}")
    return YAML_HEAD + "\n".join(lines) + "\n"


def render_markdown() -> str:
    """The text of ``docs/parameters.md``: one row per option."""
    rows = []
    for spec in specs().values():
        allowed = _allowed(spec).replace("|", "\\|")
        rows.append(f"| `{spec.name}` | `{_literal(spec.default)}` | {allowed} | {'yes' if spec.dynamic else ''} | {spec.doc} |")
    return MARKDOWN_HEAD + "\n".join(rows) + "\n"


def write(root: Path) -> None:
    """Writes both files into the checkout ``root``."""
    for path, text in ((root / "config" / "fusion.yaml", render_yaml()), (root / "docs" / "parameters.md", render_markdown())):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _indent(depth: int) -> str:
    return "  " * (depth + 2)


def _allowed(spec: OptionSpec) -> str:
    """Bounds, choices and unit in words; empty where anything of the type goes."""
    unit = f" {spec.unit}" if spec.unit else ""
    if spec.choices:
        return ", ".join(spec.choices)
    if spec.low is not None and spec.high is not None:
        return f"{_number(spec.low)} to {_number(spec.high)}{unit}"
    if isinstance(spec.default, tuple):
        return f"{len(spec.default)} numbers"
    return "true, false" if isinstance(spec.default, bool) else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _literal(value: Value) -> str:
    """``value`` as YAML that rcl reads in its type: a float keeps its point, for 1 would be an integer parameter."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(repr(float(item)) for item in value)}]"
    if isinstance(value, str):
        return value if value.isidentifier() else f'"{value}"'
    return repr(value)


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[2])
