"""Imports point down only, ROS stays in its folder, and importing the package stays cheap: read from the source itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "aenet_ros"

# Each part may import parts of the layers above its line, and itself.
LAYERS = [
    {"errors", "config", "options", "frames", "share", "whole_files", "allocator", "openmp", "interrupts"},
    {
        "budget",
        "config_docs",
        "image_codec",
        "image_encodings",
        "compressed_images",
        "sync",
        "clock_offset",
        "degraded",
        "imaging",
        "fusion",
    },
    {"evaluation"},  # it measures the parts above
    {"pipeline", "reports"},
    {"offline", "simulation", "training", "calibration"},
    {"viewer", "speed"},
    {"cli", "commands", "__main__", "ros"},
]
# Parts of one layer that may know each other: the codec is in three files; cli and commands are one program.
FRIENDS = [
    {"errors", "config", "options", "frames", "share", "whole_files"},
    {"image_codec", "image_encodings", "compressed_images"},
    {"offline", "simulation", "training", "calibration"},
    {"cli", "commands", "__main__"},
]
# What only some parts may import, wherever in a file the import stands.
CONFINED = {
    "ros": {
        "rclpy", "ament_index_python", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "launch", "launch_ros",
        "lifecycle_msgs", "message_filters", "rcl_interfaces", "rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs", "tf2_msgs",
    },
    # For encodings outside the codec's own table, where it is installed.
    "image_codec": {"cv_bridge"},
    "offline": {"rosbags", "mcap"},
    "viewer": {"aiohttp"},
}  # fmt: skip
COMPUTED = "<computed>"
TORCH_FREE = {
    "errors",
    "config",
    "options",
    "config_docs",
    "frames",
    "share",
    "sync",
    "clock_offset",
    "degraded",
    "image_codec",
    "image_encodings",
    "compressed_images",
    "imaging",
    "calibration",
}


def part_of(module):
    """The part of the package that a dotted name belongs to: aenet_ros.ros.node -> ros; the package itself -> ''."""
    return [*module.split("."), ""][1]


def imports_of(path):
    """Dotted names that a file imports: (name, line, whether it is done when the file is). Relative ones are resolved."""
    package = [ROOT.name, *path.relative_to(ROOT).parent.parts]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno, id(node) not in lazy) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from aenet_ros import config` names a part only together with what follows.
            yield from (
                (f"{module}.{name.name}" if module == ROOT.name else module, node.lineno, id(node) not in lazy) for name in node.names
            )
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("import_module", "__import__"):
            yield literal_start(node.args[0]), node.lineno, id(node) not in lazy


def literal_start(name):
    """The text that an imported name is sure to begin with: all of 'a.b', 'a.' of f'a.{b}', COMPUTED where it begins with a value."""
    first = name.values[0] if isinstance(name, ast.JoinedStr) else name
    return first.value if isinstance(first, ast.Constant) else COMPUTED


ALL = [
    (part_of(".".join([ROOT.name, *path.relative_to(ROOT).with_suffix("").parts])), name, at_import, f"{path.relative_to(ROOT)}:{line}")
    for path in sorted(ROOT.rglob("*.py"))
    for name, line, at_import in imports_of(path)
]
PARTS = {part for part, *_ in ALL} | {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()} - {"__init__"}


def layer_of(part):
    return next(level for level, parts in enumerate(LAYERS) if part in parts)


def test_every_part_has_its_layer():
    parts = {
        path.stem if path.is_file() else path.name for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert parts - {"__init__"} - set.union(*LAYERS) == set()


def test_imports_point_down():
    wrong = [
        f"{where} imports {name}"
        for part, name, _, where in ALL
        if name.split(".")[0] == ROOT.name and part != "__init__"
        for target in [part_of(name)]
        if target in PARTS - {part} and layer_of(target) >= layer_of(part) and not any({part, target} <= friends for friends in FRIENDS)
    ]
    assert wrong == []


def test_fusion_and_imaging_do_not_know_each_other():
    wrong = [where for part, name, _, where in ALL if (part, part_of(name)) in {("fusion", "imaging"), ("imaging", "fusion")}]
    assert wrong == []


def test_nothing_but_ros_imports_ros():
    assert [where for part, name, _, where in ALL if name.startswith("aenet_ros.ros") and part != "ros"] == []


def test_no_import_escapes_the_rules_by_a_computed_name():
    # But for doctor's, whose job is to try what is installed.
    assert [where for _, name, _, where in ALL if name == COMPUTED and not where.startswith("commands/doctor.py")] == []


@pytest.mark.parametrize("owner", CONFINED)
def test_outside_packages_stay_in_their_part(owner):
    assert [f"{where} imports {name}" for part, name, _, where in ALL if name.split(".")[0] in CONFINED[owner] and part != owner] == []


def test_torch_stays_out_of_what_does_not_fuse():
    assert [where for part, name, _, where in ALL if name.split(".")[0] == "torch" and part in TORCH_FREE] == []


def test_commands_import_heavy_things_when_run_only():
    """So that `aenet --help` answers at once, and on a machine that lacks them."""
    heavy = {"torch", "cv2", "rclpy", "rosbags", "mcap"}
    assert [
        where
        for part, name, at_import, where in ALL
        if at_import and part in ("cli", "commands", "__main__") and name.split(".")[0] in heavy
    ] == []


@pytest.mark.parametrize("module", ["aenet_ros", "aenet_ros.config", "aenet_ros.cli", "aenet_ros.share"])
def test_importing_is_cheap(module):
    code = f"import sys, {module}; print(*({{'torch', 'rclpy', 'cv2', 'rosbags', 'mcap'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT.parent)
    assert done.stdout.split() == []


def test_the_reader_of_imports_sees_every_form(tmp_path, monkeypatch):
    """The rules above are worth what this reader sees."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path / "aenet_ros")
    folder = tmp_path / "aenet_ros" / "imaging"
    folder.mkdir(parents=True)
    path = folder / "probe.py"
    path.write_text(
        "import torch.nn as nn\nfrom ..fusion import network\nfrom .. import ros\nfrom . import agc\nfrom aenet_ros import config\n"
        "def late():\n    import rclpy\n    importlib.import_module('mcap.reader')\n"
        "    import_module(f'aenet_ros.{name}')\n    import_module(name)\n"
    )
    assert list(imports_of(path)) == [
        ("torch.nn", 1, True),
        ("aenet_ros.fusion", 2, True),
        ("aenet_ros.ros", 3, True),
        ("aenet_ros.imaging", 4, True),
        ("aenet_ros.config", 5, True),
        ("rclpy", 7, False),
        ("mcap.reader", 8, False),
        ("aenet_ros.", 9, False),
        (COMPUTED, 10, False),
    ]
