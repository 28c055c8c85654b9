"""Checks that what a page tells people to type exists: options, launch arguments, parameters, topics, services, make targets, extras."""

import argparse
import ast
import contextlib
import io
import re
import shlex
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import yaml

from aenet_ros.cli import main as cli
from aenet_ros.config import build, specs
from aenet_ros.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
NODE = "/fusion"
TRANSITIONS = {"configure", "activate", "deactivate", "cleanup", "shutdown"}
STANDARD_TOPICS = {"/diagnostics", "/clock", "/tf", "/tf_static", "/rosout"}


def complaint(line: str, whole: bool = True) -> str:
    """What is wrong with a command line; '' if nothing is found. ``whole``: false if only a part of the line is quoted."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        return "" if not whole else str(error)
    while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] in ("sudo", "nice", "chrt", "time")):
        words = words[1:]
    words = words[: next((index for index, word in enumerate(words) if word in ("|", "||", "&&", ";", ">", ">>", "&")), len(words))]
    if not words:
        return ""
    program, rest = words[0].rpartition("/")[2], words[1:]
    if program in ("python", "python3"):
        return python_complaint(rest, whole)
    checks = {"aenet": aenet_complaint, "ros2": ros2_complaint, "make": make_complaint, "pip": pip_complaint, "pytest": pytest_complaint}
    return checks[program](rest, whole) if program in checks else ""


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parsers of aenet's subcommands."""
    parser = cli._parser(cli.load(cli.COMMANDS))
    return next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def aenet_complaint(words: list[str], whole: bool) -> str:
    if not words or words[0].startswith("-"):
        return "" if not words or words[0] in ("--help", "--version") else f"aenet has no option {words[0]}"
    if words[0] not in parsers():
        return "" if words[0].isupper() else f"aenet has no command {words[0]}"
    parser = parsers()[words[0]]
    given = [word.split("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)]
    known = {option for action in parser._actions for option in action.option_strings}
    if unknown := [option for option in given if option not in known]:
        return f"aenet {words[0]} has no option {', '.join(unknown)}"
    for name, value in re.findall(r"(?<=\s)([a-z_]+(?:\.[a-z_]+)+)=(\S+)", " " + " ".join(words)):
        if wrong := parameter_complaint(name, value):
            return wrong
    if not whole or "..." in words or "--help" in words:
        return ""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parser.parse_args(words[1:])
    except SystemExit as stop:
        return "" if stop.code == 0 else said.getvalue().splitlines()[-1]
    return ""


def parameter_complaint(name: str, value: str | None = None, dynamic: bool = False) -> str:
    """About a parameter of the node and a value for it."""
    spec = specs().get(name)
    if spec is None:
        return f"there is no parameter {name}"
    if dynamic and not spec.dynamic:
        return f"{name} does not change while the node runs"
    if value is None or value.isupper() or (isinstance(spec.default, str) and not spec.choices):
        return ""
    parsed = yaml.safe_load(value)
    try:
        build({name: float(parsed) if isinstance(spec.default, float) and isinstance(parsed, int) else parsed})
    except ConfigError as error:
        # What holds between two options is not this line's fault: the other one may be given beside it.
        return "" if "must be less than" in str(error) else str(error)
    return ""


def ros2_complaint(words: list[str], whole: bool) -> str:
    verb = words[:2]
    if verb == ["launch", "aenet_ros"]:
        return launch_complaint(words[2:])
    if verb == ["run", "aenet_ros"]:
        return "" if words[2] in programs() else f"there is no program {words[2]}"
    if verb[:1] == ["param"] and len(words) > 3 and words[2].endswith(NODE):
        return parameter_complaint(words[3], words[4] if verb[1] == "set" and len(words) > 4 else None, dynamic=verb[1] == "set")
    if verb == ["service", "call"]:
        return "" if words[2] in policy()["reply"] else f"the node has no service {words[2]}"
    if verb in (["topic", "echo"], ["topic", "hz"], ["topic", "bw"], ["topic", "info"], ["topic", "delay"]):
        name = next((word for word in words[2:] if not word.startswith("-")), "")
        known = policy()["publish"] | policy()["subscribe"] | STANDARD_TOPICS
        return "" if name in known or name.removeprefix("/") in known else f"the node has no topic {name}"
    if verb == ["lifecycle", "set"] and len(words) > 3:
        return "" if words[3] in TRANSITIONS else f"there is no transition {words[3]}"
    return ""


def launch_complaint(words: list[str]) -> str:
    path = ROOT / "launch" / words[0]
    if not path.is_file():
        return f"there is no launch file {words[0]}"
    arguments = launch_arguments(path)
    for word in words[1:]:
        name, assign, value = word.partition(":=")
        if assign and name not in arguments:
            return f"{words[0]} has no argument {name}; it has {', '.join(sorted(arguments))}"
        shipped = ROOT / "config" / value
        if name == "params_file" and value and "/" not in value and not shipped.is_file():
            return f"no parameter file {value} is shipped"
    return ""


@cache
def launch_arguments(path: Path) -> set[str]:
    """The names that a launch file declares: of DeclareLaunchArgument, and the keys of its dictionary PASSED_ON."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "DeclareLaunchArgument"
            and isinstance(node.args[0], ast.Constant)
        ):
            names.add(node.args[0].value)
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "PASSED_ON":
            names |= {key.value for key in node.value.keys}
    return names


@cache
def policy() -> dict[str, set[str]]:
    """Names that the shipped SROS 2 policy allows, for "publish", "subscribe" and "reply"; test_security compares it with the node."""
    found: dict[str, set[str]] = {"publish": set(), "subscribe": set(), "reply": set()}
    for group in ElementTree.parse(ROOT / "config" / "security.policy.xml").iterfind(".//profile/*"):
        for kind in group.attrib:
            found[kind] |= {(item.text or "").strip().replace("~", NODE, 1) for item in group}
    return found


@cache
def setup_call() -> ast.Call:
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    return next(node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup")


@cache
def programs() -> set[str]:
    """The programs that setup.py installs."""
    return set(
        re.findall(r"(\w+) = \{NAME\}", ast.unparse(next(item.value for item in setup_call().keywords if item.arg == "entry_points")))
    )


@cache
def extras() -> set[str]:
    """The extras that setup.py offers."""
    return {key.value for key in next(item.value for item in setup_call().keywords if item.arg == "extras_require").keys}


def pip_complaint(words: list[str], whole: bool) -> str:
    wanted = {name for word in words for found in re.findall(r"^\.\[(.*)\]", word) for name in found.split(",")}
    if any(re.match("aenet[-_]ros", word) for word in words):
        return "aenet_ros is not on PyPI: give the path of the checkout"
    return f"setup.py has no extra {', '.join(sorted(wanted - extras()))}" if wanted - extras() else ""


def make_complaint(words: list[str], whole: bool) -> str:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    wanted = {word for word in words if "=" not in word and not word.startswith("-")}
    return f"make has no target {', '.join(sorted(wanted - targets))}" if wanted - targets else ""


def pytest_complaint(words: list[str], whole: bool) -> str:
    missing = [word for word in words if word.startswith("test/") and not (ROOT / word.split("::")[0]).exists()]
    return f"there is no {', '.join(missing)}" if missing else ""


def python_complaint(words: list[str], whole: bool) -> str:
    if words[:1] == ["-m"]:
        module = words[1]
        if module == "aenet_ros":
            return aenet_complaint(words[2:], whole)
        if module == "pytest":
            return pytest_complaint(words[2:], whole)
        path = ROOT / module.replace(".", "/")
        exists = path.with_suffix(".py").is_file() or path.is_dir()
        return "" if exists or not module.startswith("aenet_ros") else f"there is no module {module}"
    missing = [word for word in words[:1] if word.endswith(".py") and "/" in word and not (ROOT / word).is_file()]
    return f"there is no {missing[0]}" if missing else ""


def span_complaint(span: str) -> str:
    """What is wrong with a code span: a command in part, or a parameter with or without its value."""
    if re.match(r"(aenet|ros2|make|pytest|pip|python) ", span):
        return complaint(span, whole=False)
    groups = {name.split(".")[0] for name in specs() if "." in name}
    found = re.fullmatch(r"([a-z]+(?:\.[a-z_*]+)+)(?:(?:: |=)(.+))?", span)
    if not found or found[1].split(".")[0] not in groups or found[1].rpartition(".")[2] in ("py", "yaml", "json", "onnx"):
        return ""
    pattern = re.escape(found[1]).replace(r"\*", "[a-z_]+")
    names = [name for name in specs() if re.fullmatch(pattern, name)]
    if not names:
        whole_group = any(name.startswith(found[1] + ".") for name in specs())
        return "" if whole_group else f"there is no parameter {found[1]}"
    return next(filter(None, (parameter_complaint(name, found[2]) for name in names)), "")
