"""Generates ``config/fusion.yaml``, ``docs/parameters.md`` and the README's table of parameters from the configuration.

Run ``python -m aenet_ros.config.docs`` in a checkout after a change of ``aenet_ros/config/schema.py``; a test compares.
"""

import textwrap
from pathlib import Path

from aenet_ros.config import specs
from aenet_ros.config.options import OptionSpec, Value

YAML_HEAD = """\
# All parameters of the fusion node with their defaults. Generated from aenet_ros/config/schema.py by `python -m aenet_ros.config.docs`.
# For your robot, copy the parameters that you change into your own file and launch with params_file:=/path/to/file.yaml.
# [allowed values; "any time": a running node accepts a new value; the others take effect at the next configure; "advanced": rarely needed]
/**:
  ros__parameters:
"""

MARKDOWN_HEAD = """\
# Parameters

Generated from `aenet_ros/config/schema.py` by `python -m aenet_ros.config.docs`. These are the ROS parameters of the node `fusion` and
the options of the tools without ROS (`--set name=value`). In brackets: what is allowed, and *any time* where a running node accepts a new
value (`ros2 param set`); changes are checked and atomic. The others take effect at the next configure: set them in a parameter file, or
clean up the node first. *advanced* marks what few robots need.
"""

README_BEGIN, README_END = "<!-- parameters: written by `python -m aenet_ros.config.docs` -->\n", "<!-- end of parameters -->"


def render_yaml() -> str:
    """The text of ``config/fusion.yaml``: all options, nested by group, each with a comment of its meaning and bounds."""
    lines: list[str] = []
    open_groups: list[str] = []
    for spec in specs().values():
        *groups, key = spec.name.split(".")
        for depth, group in enumerate(groups, 1):
            if open_groups[:depth] != groups[:depth]:
                lines.append(f"{'  ' * (depth + 1)}{group}:")
        open_groups, indent = groups, "  " * (len(groups) + 2)
        lines += textwrap.wrap(_meaning(spec), 138, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_long_words=False)
        lines.append(f"{indent}{key}: {_literal(spec.default)}")
    return YAML_HEAD + "\n".join(lines) + "\n"


def render_markdown() -> str:
    """The text of ``docs/parameters.md``: a table for each group, narrow enough for the site's column, with a row for each option."""
    lines: list[str] = []
    last = ""
    for spec in specs().values():
        group = spec.name.partition(".")[0] if "." in spec.name else "general"
        if group != last:
            lines += ["", f"## {group}", "", "| parameter | default | meaning |", "|---|---|---|"]
        meaning, last = _meaning(spec).replace("|", "\\|"), group
        lines.append(f"| `{spec.name}` | `{_literal(spec.default)}` | {meaning} |")
    return MARKDOWN_HEAD + "\n".join(lines) + "\n"


def render_readme(text: str) -> str:
    """``text``, the README, with the first sentence on each option that is not advanced between the comments of its table."""
    rows = ["| parameter | default | meaning |", "|---|---|---|"]
    for spec in specs().values():
        if not spec.advanced:
            meaning = spec.doc.partition(". ")[0].removesuffix(".")
            if spec.choices and not all(choice in meaning for choice in spec.choices):
                meaning += f" [{', '.join(spec.choices)}]"
            rows.append(f"| `{spec.name}` | `{_literal(spec.default)}` | {meaning} |")
    before, _, after = text.partition(README_BEGIN)
    return "\n".join([before + README_BEGIN, *rows, README_END + after.partition(README_END)[2]])


def _meaning(spec: OptionSpec) -> str:
    """The option's description; in brackets what is allowed, unless the description says it, whether it can change at any time,
    and whether it is advanced."""
    explained = isinstance(spec.default, bool) or (spec.choices and all(choice in spec.doc for choice in spec.choices))
    parts = ("" if explained else _allowed(spec), "any time" if spec.dynamic else "", "advanced" if spec.advanced else "")
    notes = "; ".join(part for part in parts if part)
    return f"{spec.doc} [{notes}]" if notes else spec.doc


def _allowed(spec: OptionSpec) -> str:
    """Bounds, choices and unit as text; empty if every value of the type is allowed."""
    if spec.choices:
        return ", ".join(spec.choices)
    if spec.low is not None and spec.high is not None:
        low, high = (str(bound).removesuffix(".0") for bound in (spec.low, spec.high))
        return f"{low} to {high} {spec.unit}".rstrip()
    if isinstance(spec.default, tuple):
        return f"{len(spec.default)} numbers"
    return "true, false" if isinstance(spec.default, bool) else ""


def _literal(value: Value) -> str:
    """``value`` as YAML that rcl reads with the right type: a float keeps its point, since 1 would be an integer parameter."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(repr(float(item)) for item in value)}]"
    if isinstance(value, str):
        return value if value.isidentifier() else f'"{value}"'
    return repr(value)


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    (root / "config" / "fusion.yaml").write_text(render_yaml(), encoding="utf-8")
    (root / "docs" / "parameters.md").write_text(render_markdown(), encoding="utf-8")
    readme = root / "README.md"
    readme.write_text(render_readme(readme.read_text(encoding="utf-8")), encoding="utf-8")
