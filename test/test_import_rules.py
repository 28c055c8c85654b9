"""Imports point down by room, ROS stays in ``ros/``, and importing the package stays cheap. Read from the source itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "aenet_ros"

# A room may import the rooms of the levels above its line, and itself; never a room of its own level or below.
LEVELS = [
    {"core"},
    {"config"},
    {"messages", "sync", "thermal", "registration", "fusion"},
    {"health"},
    {"pipeline"},
    {"io"},
    {"workbench", "view", "ros"},
    {"ros/tools"},
    {"cli"},
]
ROBOT = set.union(*LEVELS[:6]) | {"ros"}
# Outside packages that only some rooms may import, wherever in a file the import stands.
ROS_PACKAGES = {
    "rclpy", "ament_index_python", "builtin_interfaces", "diagnostic_msgs", "ffmpeg_image_transport_msgs", "foxglove_msgs",
    "geometry_msgs", "launch", "launch_ros", "lifecycle_msgs", "message_filters", "rcl_interfaces",
    "rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs", "tf2_ros",
}  # fmt: skip
CONFINED = [
    ({"ros", "ros/tools"}, ROS_PACKAGES),
    ({"messages"}, {"cv_bridge"}),  # for encodings outside the codec's table, where it is installed
    ({"io"}, {"rosbags", "mcap", "av"}),
    ({"view"}, {"aiohttp"}),
]
TORCH_FREE = {"core", "config", "messages", "sync", "thermal", "registration"}
# The command line writes both by name: main loads commands, doctor tries what is installed.
COMPUTED_ALLOWED = {"cli/main.py", "cli/doctor.py"}
COMPUTED = "<computed>"


def room_of(module):
    """The room of a dotted name: aenet_ros.ros.tools.x -> ros/tools, aenet_ros.sync.matcher -> sync; the package itself -> ''."""
    names = [*module.split("."), "", ""]
    return "ros/tools" if names[1:3] == ["ros", "tools"] else names[1]


def imports_of(path):
    """Dotted names that a file imports: (name, line, whether at import time). Relative ones are resolved."""
    package = [ROOT.name, *path.relative_to(ROOT).parent.parts]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno, id(node) not in lazy) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from aenet_ros import config` and `from aenet_ros.ros import tools` name a room only together with what follows.
            whole = module in (ROOT.name, f"{ROOT.name}.ros")
            yield from ((f"{module}.{name.name}" if whole else module, node.lineno, id(node) not in lazy) for name in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("import_module", "__import__"):
            yield literal_start(node.args[0]), node.lineno, id(node) not in lazy


def literal_start(name):
    """The text that an imported name is sure to begin with: all of 'a.b', 'a.' of f'a.{b}', COMPUTED where it begins with a value."""
    first = name.values[0] if isinstance(name, ast.JoinedStr) else name
    return first.value if isinstance(first, ast.Constant) else COMPUTED


def name_of(path):
    return ".".join([ROOT.name, *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


ALL = [
    (room_of(name_of(path)), name, at_import, path.relative_to(ROOT).as_posix(), line)
    for path in sorted(ROOT.rglob("*.py"))
    for name, line, at_import in imports_of(path)
]


def level_of(room):
    return next(level for level, rooms in enumerate(LEVELS) if room in rooms)


def test_the_rooms_are_those_of_the_levels():
    rooms = {room_of(name_of(path)) for path in ROOT.rglob("*.py")}
    assert rooms - {"", "__main__"} == set.union(*LEVELS)
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py", "pipeline.py"}


def test_imports_point_down():
    rooms = set.union(*LEVELS)
    wrong = [
        f"{path}:{line} imports {name}"
        for room, name, _, path, line in ALL
        if name.split(".")[0] == ROOT.name and room in rooms
        for target in [room_of(name)]
        if target in rooms and target != room and level_of(target) >= level_of(room)
    ]
    assert wrong == []


def test_no_circle_of_files():
    """Not even inside a room, and not by an import that waits until a function runs."""
    graph = {}
    for path in ROOT.rglob("*.py"):
        for name, *_ in imports_of(path):
            target = ROOT.parent.joinpath(*name.split("."))
            file = next((f for f in (target.with_suffix(".py"), target / "__init__.py") if f.is_file()), None)
            if name.split(".")[0] == ROOT.name and file is not None and file != path:
                graph.setdefault(path, set()).add(file)
    done, open_ = set(), []

    def visit(path):
        if path in open_:
            pytest.fail("circle: " + " -> ".join(str(p.relative_to(ROOT)) for p in [*open_[open_.index(path) :], path]))
        if path not in done:
            open_.append(path)
            for target in sorted(graph.get(path, ())):
                visit(target)
            done.add(open_.pop())

    for path in sorted(graph):
        visit(path)
    assert len(done) >= len(graph)


def test_the_robot_part_does_not_import_the_workbench():
    assert [f"{path}:{line} imports {name}" for room, name, _, path, line in ALL if room in ROBOT and room_of(name) == "workbench"] == []


def test_importing_the_node_does_not_load_what_no_robot_runs():
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")
    code = (
        "import sys, aenet_ros.ros.node; rooms = ('workbench', 'view', 'cli', 'io', 'ros.tools'); "
        "print(*[m for m in sys.modules if any(m.startswith(f'aenet_ros.{r}') for r in rooms)])"
    )
    assert in_a_new_process(code) == []


def test_no_import_escapes_the_rules_by_a_computed_name():
    assert [f"{path}:{line}" for _, name, _, path, line in ALL if name == COMPUTED and path not in COMPUTED_ALLOWED] == []


@pytest.mark.parametrize(("owners", "packages"), CONFINED, ids=lambda value: "-".join(sorted(value))[:30])
def test_outside_packages_stay_in_their_room(owners, packages):
    assert [
        f"{path}:{line} imports {name}"
        for room, name, _, path, line in ALL
        if name.split(".")[0] in packages - owners and room not in owners
    ] == []


def test_torch_stays_out_of_what_does_not_fuse():
    assert [f"{path}:{line}" for room, name, _, path, line in ALL if name.split(".")[0] == "torch" and room in TORCH_FREE] == []


def test_commands_import_heavy_things_when_run_only():
    """So that `aenet --help` answers at once, and on a machine that lacks them."""
    heavy = {"torch", "cv2", "rclpy", "rosbags", "mcap"}
    assert [
        f"{path}:{line}" for room, name, at_import, path, line in ALL if at_import and room == "cli" and name.split(".")[0] in heavy
    ] == []


@pytest.mark.parametrize("module", ["aenet_ros", "aenet_ros.config", "aenet_ros.cli.main", "aenet_ros.core.files"])
def test_importing_is_cheap(module):
    assert in_a_new_process(f"import sys, {module}; print(*({{'torch', 'rclpy', 'cv2', 'rosbags', 'mcap'}} & set(sys.modules)))") == []


def in_a_new_process(code):
    # With a file, since the interpreter of ROS wheels starts itself again and would lose a program given by -c.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, cwd=ROOT.parent)
    return done.stdout.split()


def test_the_reader_of_imports_sees_every_form(tmp_path, monkeypatch):
    """The rules above are worth what this reader sees."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path / "aenet_ros")
    folder = tmp_path / "aenet_ros" / "thermal"
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
        ("aenet_ros.thermal", 4, True),
        ("aenet_ros.config", 5, True),
        ("rclpy", 7, False),
        ("mcap.reader", 8, False),
        ("aenet_ros.", 9, False),
        (COMPUTED, 10, False),
    ]
