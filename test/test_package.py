"""What colcon, rosdep and pip read: valid, in agreement with each other, and complete when it is installed."""

import ast
import email
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest

import aenet_ros

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "install", "log", "runs", "demo_out", "test", "*.egg-info")


@pytest.fixture(scope="module")
def manifest():
    return ElementTree.parse(ROOT / "package.xml").getroot()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the checkout, built aside so that nothing is left in it."""
    # Looked up, not imported: setuptools refuses to be imported after distutils, which others here import.
    versions = {item.name.lower(): item.version for item in importlib.metadata.distributions() if item.name}
    for name in ("pip", "setuptools"):
        if name not in versions:
            pytest.skip(f"{name} is not installed")
    if int(versions["setuptools"].split(".")[0]) < 71 and "wheel" not in versions:
        pytest.skip("this old setuptools needs the package wheel, which is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder),
        str(folder / "source"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_catkin_finds_the_manifest_valid():
    """An invalid one makes colcon take this for a plain Python package, silently."""
    package = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg is not installed (colcon-ros brings it)")
    warnings = []
    parsed = package.parse_package(str(ROOT / "package.xml"), warnings=warnings)
    parsed.validate(warnings=warnings)
    assert warnings == []
    assert parsed.get_build_type() == "ament_python"


def test_setup_runs_from_a_folder_of_links(tmp_path):
    """As `colcon build --symlink-install` runs it: setup.py is a link, and README.md is not beside it."""
    (tmp_path / "setup.py").symlink_to(ROOT / "setup.py")
    command = [sys.executable, "setup.py", "--name", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split()[-2:] == ["aenet_ros", aenet_ros.__version__], done.stderr


def test_manifest_names_what_it_must(manifest):
    assert manifest.get("format") == "3"
    assert manifest.findtext("name") == "aenet_ros"
    assert manifest.findtext("license") == "Apache-2.0"
    assert manifest.find("license").get("file") == "LICENSE"
    assert manifest.findtext("export/build_type") == "ament_python"
    assert re.fullmatch(r"[\w.-]+@[\w-]+(\.[\w-]+)+", manifest.find("maintainer").get("email"))
    needed = {item.text for item in manifest.findall("exec_depend")}
    assert needed >= {"rclpy", "sensor_msgs", "std_msgs", "std_srvs", "diagnostic_msgs", "ament_index_python", "python3-numpy"}
    assert needed >= {"python3-opencv", "launch", "launch_ros", "ros2launch"}
    assert not needed & {"cv_bridge", "message_filters", "python3-aiohttp", "python3-argcomplete"}  # optional
    # rosdep would put a CPU build of torch over a Jetson's.
    assert not any("torch" in item for item in needed)


def test_manifest_declares_every_ros_package_that_is_imported(manifest):
    declared = {item.text for item in manifest.iter() if item.tag.endswith("depend")}
    imported = set()
    for path in [*(ROOT / "aenet_ros" / "ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            imported |= {name.split(".")[0] for name in names}
    others = set(sys.stdlib_module_names) | {"aenet_ros", "numpy", "cv2", "yaml"}
    text = (ROOT / "package.xml").read_text()
    optional = set(re.findall(r"[a-z_]+", text[text.index("Optional, so not named here") :].partition("-->")[0]))
    assert imported - others - declared - optional == set()


def metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    return email.message_from_bytes(archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))))


def test_the_owner_is_named_in_the_manifest_and_taken_from_there(manifest, wheel):
    found = metadata(wheel)
    owner = manifest.find("maintainer")
    assert found["Maintainer"] == owner.text
    assert found["Maintainer-email"] == owner.get("email")
    assert not owner.get("email").endswith((".invalid", ".local"))  # bloom refuses them
    urls = {url.get("type"): url.text for url in manifest.findall("url")}
    assert found["Home-page"] == urls["website"]
    projects = dict(line.split(", ") for line in found.get_all("Project-URL"))
    assert projects["Source"] == urls["repository"]
    assert projects["Issues"] == urls["bugtracker"]
    others = [ROOT / "setup.py", ROOT / "docs" / "conf.py", ROOT / "README.md"]
    assert not [path.name for path in others if owner.get("email") in path.read_text() or urls["repository"] in path.read_text()]


def test_the_page_of_the_wheel_is_the_readme(manifest, wheel):
    found = metadata(wheel)
    assert found["Description-Content-Type"] == "text/markdown"
    text = found.get_payload()
    assert text.startswith("# aenet_ros")
    assert "<!--" not in text
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 5
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    assert any(target.endswith("docs/images/demo.jpg?raw=true") for target in targets)
    assert "License :: OSI Approved :: Apache Software License" in found.get_all("Classifier")
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)} <= set(found.get_all("Classifier"))


def test_nothing_installs_this_package_by_name():
    """It is not on PyPI: a command with its name fails, or installs what somebody else puts there."""
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "Makefile",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "aenet_ros").rglob("*.py"),
    ]
    by_name = re.compile(r"pip install (?:-\S+ )*['\"]?aenet[-_]ros")
    assert [path.name for path in pages if by_name.search(path.read_text())] == []


def test_constraints_name_a_version_that_fits_for_every_requirement(wheel):
    requirements = pytest.importorskip("packaging.requirements", reason="the package packaging is not installed")
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pinned = {item.name.lower(): item for item in map(requirements.Requirement, filter(None, lines))}
    for line in metadata(wheel).get_all("Requires-Dist"):
        wanted = requirements.Requirement(line)
        version = str(pinned[wanted.name.lower()].specifier).removeprefix("==")
        assert wanted.specifier.contains(version), line


def test_catkin_and_bloom_read_the_changelog(manifest):
    changelog = pytest.importorskip("catkin_pkg.changelog", reason="catkin_pkg is not installed (colcon-ros brings it)")
    found = changelog.get_changelog_from_path(str(ROOT), "aenet_ros")
    versions = {version: content for version, _, content in found.foreach_version()}
    assert manifest.findtext("version") in versions
    assert all(versions.values())
    assert any("make install" in str(item) for item in versions["0.2.0"])


def test_one_version_everywhere(manifest, wheel):
    assert manifest.findtext("version") == aenet_ros.__version__
    assert wheel.name.startswith(f"aenet_ros-{aenet_ros.__version__}-")


def test_the_public_names_are_listed_and_load_torch_only_when_used():
    """``from aenet_ros import *`` would load it; importing the package and its light names does not."""
    assert sorted(aenet_ros.__all__) == [
        "Config",
        "Frame",
        "FramePair",
        "FusionPipeline",
        "__version__",
        "find_hot_spots",
        "load_fuser",
        "temperature",
    ]
    assert aenet_ros.FusionPipeline.__module__ == "aenet_ros.pipeline"
    with pytest.raises(AttributeError, match="no attribute 'FusionPipelin'"):
        _ = aenet_ros.FusionPipelin
    code = "import sys; from aenet_ros import Config, Frame, FramePair, load_fuser; print('torch' in sys.modules, end=' '); "
    code += "from aenet_ros import FusionPipeline; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_license_is_the_whole_apache_license():
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "9. Accepting Warranty or Additional Liability." in text


def test_the_quality_declaration_goes_through_all_items_of_rep_2004(wheel):
    page = (ROOT / "QUALITY_DECLARATION.md").read_text()
    rows = re.findall(r"^\| ((?:[1-7]\.[iv]+(?:, )?)+) ", page, re.MULTILINE)
    counts = {"1": 6, "2": 5, "3": 5, "4": 5, "5": 3, "6": 1, "7": 1}  # of the REP's list for level 1
    numbers = ["i", "ii", "iii", "iv", "v", "vi"]
    wanted = {f"{part}.{numeral}" for part, count in counts.items() for numeral in numbers[:count]}
    assert {item for row in rows for item in row.split(", ")} == wanted
    assert "(QUALITY_DECLARATION.md)" in (ROOT / "README.md").read_text()  # 3.v.a
    licences = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}  # 3.iii, 3.iv


def test_the_wheel_has_all_that_a_robot_needs(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    data = f"aenet_ros-{aenet_ros.__version__}.data/data/share/"
    assert f"{data}ament_index/resource_index/packages/aenet_ros" in names
    for folder in ("launch", "config", "rviz", "foxglove"):
        shipped = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        assert shipped == {name.rpartition("/")[2] for name in names if name.startswith(f"{data}aenet_ros/{folder}/")}
    assert f"{data}aenet_ros/package.xml" in names
    assert {"aenet_ros/py.typed", "aenet_ros/fusion/weights/aenet.safetensors", "aenet_ros/fusion/weights/aenet.json"} <= names
    pages = {f"aenet_ros/view/page/{path.name}" for path in (ROOT / "aenet_ros" / "view" / "page").iterdir()}
    assert "aenet_ros/view/page/index.html" in pages
    assert pages | {"aenet_ros/workbench/evaluation/blind.html"} <= names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "aenet_ros").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py") and name.startswith("aenet_ros/")}


def test_programs_lead_to_functions(wheel):
    archive = zipfile.ZipFile(wheel)
    entries = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt"))).decode()
    programs = dict(re.findall(r"^(\w+) = ([\w.]+:\w+)$", entries, re.MULTILINE))
    assert {"aenet_fusion_node", "aenet_rig_node", "aenet_replay_node", "aenet"} <= set(programs)
    for target in programs.values():
        module, function = target.split(":")
        tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, target


def test_requirements_leave_torch_and_opencv_to_the_user(wheel):
    found = metadata(wheel)
    required = [re.fullmatch(r"([\w-]+)(.*)", line).groups() for line in found.get_all("Requires-Dist")]
    always = {name.lower() for name, condition in required if "extra ==" not in condition}
    assert always == {"setuptools", "numpy", "pyyaml", "tqdm"}
    assert set(found.get_all("Provides-Extra")) >= {"ros", "bags", "test", "dev", "torch", "opencv"}


def test_an_installed_copy_finds_its_files_and_answers(wheel, tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(tmp_path / "here"), str(wheel)]
    subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "here")}
    code = "import aenet_ros.core.files as share; print(share.__file__); print(share.config_file('fusion.yaml'))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=True)
    assert all(line.startswith(str(tmp_path)) for line in done.stdout.splitlines())
    program = tmp_path / "here" / "bin" / "aenet"
    done = subprocess.run([str(program), "--help"], env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=True)
    assert "doctor" in done.stdout
