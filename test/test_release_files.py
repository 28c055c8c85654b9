"""Files that run elsewhere (GitHub, Docker, pixi, pre-commit): they parse, and what they name exists."""

import json
import re
import runpy
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from docs_commands import complaint

from aenet_ros.view import ViewSettings

ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTIONS = ["humble", "jazzy", "kilted", "lyrical"]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def pinned(name):
    return re.search(rf"^{name}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


def steps(job):
    return [line.strip() for step in WORKFLOW["jobs"][job]["steps"] for line in step.get("run", "").splitlines()]


def test_the_workflow_covers_the_distributions_and_pythons_that_are_promised():
    jobs = WORKFLOW["jobs"]
    assert jobs["ros"]["strategy"]["matrix"]["distro"] == DISTRIBUTIONS
    assert jobs["ros"]["container"] == "ros:${{ matrix.distro }}"
    promised = re.search(r"^PYTHONS = \[(.*)\]", (ROOT / "setup.py").read_text(), re.MULTILINE)[1]
    assert jobs["pip"]["strategy"]["matrix"]["python"] == re.findall(r"[\d.]+", promised)
    assert any("colcon test " in line for line in steps("ros"))
    assert "schedule" in WORKFLOW[True]  # YAML reads `on` as true
    lines = [line for job in jobs for line in steps(job)]
    assert [found for found in map(complaint, lines) if found] == []
    assert all(CPU_INDEX in line for line in lines if line.startswith("pip install torch"))


def test_the_image_installs_from_the_files_that_exist():
    arguments = re.findall(r"^ARG (\w+)=", DOCKERFILE, re.MULTILINE)
    assert arguments == ["BASE", "TORCH", "TORCH_INDEX"]
    assert set(re.findall(r"--build-arg (\w+)=", DOCKERFILE + (ROOT / "docs" / "containers.md").read_text())) == set(arguments)
    assert f"ARG TORCH_INDEX={CPU_INDEX}\n" in DOCKERFILE
    sources = re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE)
    assert sources == ["package.xml", "."]
    assert all((ROOT / source).exists() for source in sources)
    command = json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])
    assert complaint(" ".join(command)) == ""


def test_compose_runs_the_demo_and_the_page_in_the_image():
    services = COMPOSE["services"]
    assert set(services) == {"demo", "view"}
    assert (ROOT / services["demo"]["build"] / "Dockerfile").is_file()
    assert services["demo"]["image"] == services["view"]["image"]
    assert complaint(services["demo"]["command"]) == ""
    assert complaint(services["view"]["command"]) == ""
    assert complaint(services["view"]["command"].removeprefix("ros2 run aenet_ros ")) == ""
    assert f":{ViewSettings.port}" in (ROOT / "compose.yaml").read_text()


def test_the_dev_container_builds_the_image():
    content = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert (ROOT / ".devcontainer" / content["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (ROOT / ".devcontainer" / content["build"]["context"]).resolve() == ROOT
    assert complaint(content["postCreateCommand"]) == ""


def test_pixi_has_what_the_package_needs():
    tomllib = pytest.importorskip("tomllib", reason="tomllib is part of Python 3.11 and newer")
    content = tomllib.loads((ROOT / "pixi.toml").read_text())
    assert {"pytorch-cpu", "safetensors", "py-opencv", "tqdm", "ros-jazzy-ros-base"} <= set(content["dependencies"])
    tasks = content["tasks"]
    for task in ("demo", "view"):
        assert tasks[task]["depends-on"] == ["build"]
        assert complaint(re.search(r"&& (.*)'$", tasks[task]["cmd"])[1]) == ""


def test_pre_commit_has_the_linter_of_the_tests_and_a_hook_that_runs():
    repositories = {
        item["repo"].rpartition("/")[2]: item for item in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    }
    assert repositories["ruff-pre-commit"]["rev"] == f"v{pinned('ruff')}"
    [hook] = repositories["local"]["hooks"]
    assert complaint(hook["entry"]) == ""


def test_rosdoc2_builds_our_pages(tmp_path):
    """It reads its file where package.xml names it, copies docs/ alone, and puts an index.rst and a page for each module beside ours."""
    assert ElementTree.parse(ROOT / "package.xml").findtext("export/rosdoc2") == "rosdoc2.yaml"
    _, content = yaml.safe_load_all((ROOT / "rosdoc2.yaml").read_text())
    [builder] = content["builders"]
    copied = shutil.copy(ROOT / builder["sphinx"]["sphinx_sourcedir"] / "conf.py", tmp_path)
    settings = runpy.run_path(copied)
    assert settings["source_suffix"] == {".md": "markdown"}
    assert "standard_docs" in settings["exclude_patterns"]  # its copies of README.md, whose links lead nowhere there


def test_the_page_says_that_nothing_of_this_was_run():
    page = (ROOT / "docs" / "containers.md").read_text()
    assert "None of these was run as a whole" in page
    for name in (".github/workflows/ci.yml", ".pre-commit-config.yaml", "Dockerfile", "compose.yaml", ".devcontainer/", "pixi.toml"):
        assert f"`{name}`" in page
        assert (ROOT / name).exists()
