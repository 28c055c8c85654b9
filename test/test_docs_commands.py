"""Every command of README.md and docs/: those that can run here are run, page by page; of all of them the names are checked.

A block that cannot run here has `<!-- needs: what is missing -->` before it. One that would take long has
`<!-- run with: aenet bench --runs 3; aenet train --steps 2 -->`: what is added here to the commands that begin so.
"""

import ast
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import boards
import cv2
import numpy as np
import pytest
from docs_blocks import Block, blocks, spans
from docs_commands import ROOT, complaint, span_complaint

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")

from ros_harness import own_domain, ros_environment
from test_bags import IMAGE, BagMaker

from aenet_ros.core.frames import FramePair
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "parameters.md")]
PROGRAMS = {"aenet", ".venv/bin/aenet", "ros2", "make", "pip", "pytest", "python", "python3", "$", "sudo"}
LANGUAGES = {"bash", "python", "yaml", "text", "json", "xml", "ini", "dockerfile", "html", ""}
PAGE_SECONDS = 600
RIG = RigConfig(thermal_width=320, thermal_height=256, rgb_width=320, rgb_height=256, scene_s=4.0)


def write_pairs(folder, pairs):
    """``folder``/thermal and ``folder``/rgb, of equal names."""
    for name in ("thermal", "rgb"):
        (folder / name).mkdir(parents=True)
    for index, pair in enumerate(pairs):
        order = -1 if pair.rgb.encoding == "rgb8" else 1
        cv2.imwrite(str(folder / f"thermal/{index:03}.png"), pair.thermal.data)
        cv2.imwrite(str(folder / f"rgb/{index:03}.png"), pair.rgb.data[:, :, ::order])


def write_bag(path, pairs):
    """The pairs as a bag: the file ``path``, which ends in .mcap."""
    folder = path.parent / "written" / path.stem
    folder.parent.mkdir(exist_ok=True)
    maker = BagMaker(folder, "mcap")
    with maker.writer:
        topics = [maker.topic(f"/{name}/image_raw", IMAGE) for name in ("thermal", "rgb")]
        for index, pair in enumerate(pairs):
            stamp_ns = 1_700_000_000_000_000_000 + index * 600_000_000
            maker.image(topics[0], stamp_ns, stamp_ns, pair.thermal.data, "mono16", "thermal_optical")
            maker.image(topics[1], stamp_ns, stamp_ns, pair.rgb.data, pair.rgb.encoding, "rgb_optical")
    next(folder.glob("*.mcap")).rename(path)
    shutil.rmtree(folder.parent)


def write_video(path, pictures):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, pictures[0].shape[1::-1])
    for picture in pictures:
        writer.write(picture)
    writer.release()


@pytest.fixture(scope="session")
def materials(tmp_path_factory):
    """What the commands work on: thermal/ and rgb/, MY_PAIRS/ with the same, single pictures, videos, drive.mcap, board/, board.mcap."""
    folder = tmp_path_factory.mktemp("materials")
    frames = {"thermal": {}, "rgb": {}}
    rig = Rig(RIG)
    for shot in rig.schedule(seconds=12.0):
        if shot.index % 18 == 0:
            frames[shot.stream][shot.index] = rig.render(shot)
    pairs = [
        FramePair(boards.Frame(i, thermal, "mono16"), boards.Frame(i, frames["rgb"][i], "rgb8")) for i, thermal in frames["thermal"].items()
    ]
    assert len(pairs) == 20
    write_pairs(folder, pairs)
    write_pairs(folder / "MY_PAIRS", pairs)
    write_bag(folder / "drive.mcap", pairs)
    grey = [cv2.normalize(pair.thermal.data, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8) for pair in pairs]
    cv2.imwrite(str(folder / "thermal.png"), grey[0])
    cv2.imwrite(str(folder / "rgb.png"), pairs[0].rgb.data[:, :, ::-1])
    write_video(folder / "thermal.mp4", [np.dstack([picture] * 3) for picture in grey])
    write_video(folder / "rgb.mp4", [np.ascontiguousarray(pair.rgb.data[:, :, ::-1]) for pair in pairs])
    write_pairs(folder / "board", boards.views(boards.checkerboard(8, 5, 0.06), (7 * 0.06, 4 * 0.06), 14))
    write_bag(folder / "board.mcap", boards.views(boards.circles(4, 9, 0.04), (7 * 0.04, 8 * 0.04), 14, hot=True))
    return folder


@pytest.fixture
def scratch(materials, tmp_path):
    """A folder of the page's own, with the materials, and with `aenet` and `python` as in a virtual environment that is active."""
    folder = tmp_path / "page"
    shutil.copytree(materials, folder)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, words in {"aenet": "-m aenet_ros", "python": "", "python3": "", "pytest": "-m pytest"}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def environment_of(folder):
    environment = ros_environment(folder, own_domain())
    environment["PATH"] = f"{folder / '.venv' / 'bin'}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
    return environment | {"OMP_NUM_THREADS": "1", "HOME": str(folder)}


def run(block: Block, folder, environment, seconds):
    """Run a block for so many seconds at most: exit status and what it said. Nothing of it outlives the call."""
    command = ["bash", "-euo", "pipefail", "-c", block.script()] if block.language == "bash" else [sys.executable, "-c", block.text]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes) as process:
        try:
            said = process.communicate(timeout=seconds)[0]
            return process.returncode, said
        except subprocess.TimeoutExpired:
            return None, f"still running after {seconds:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def runnable(path):
    return [block for block in blocks(path) if block.language in ("bash", "python") and not block.needs]


@pytest.mark.slow
@pytest.mark.timeout(PAGE_SECONDS + 100)
@pytest.mark.parametrize("path", [path for path in PAGES if runnable(path)], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_page_work(path, scratch):
    """In their order, in one folder, as somebody types them who follows the page."""
    environment, end = environment_of(scratch), time.monotonic() + PAGE_SECONDS
    for block in runnable(path):
        status, said = run(block, scratch, environment, max(1.0, end - time.monotonic()))
        assert status == 0, f"{path.name}:{block.line}, exit status {status}\n{block.text}\n{said[-3000:]}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_tells_to_type_exists(path):
    wrong = []
    for block in blocks(path):
        if block.language == "bash":
            wrong += [f"{path.name}:{block.line}: {line}: {why}" for line in block.commands() if (why := complaint(line))]
        elif block.language == "python":
            imports = [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Import | ast.ImportFrom)]
            exec(compile(ast.Module(imports, []), path.name, "exec"), {})
    wrong += [f"{path.name}: `{span}`: {why}" for span in spans(path) if (why := span_complaint(span))]
    assert wrong == []


@pytest.mark.parametrize("path", [path for path in PAGES if path.parent.name != "study"], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_stand_in_blocks_of_their_language(path):
    """Else the tests above would pass them over."""
    wrong = []
    for block in blocks(path):
        first = block.text.split()[0] if block.text.split() else ""
        if block.language not in LANGUAGES or (block.language != "bash" and first in PROGRAMS):
            wrong.append(f"{path.name}:{block.line}: a block of {block.language or 'no language'} that begins with {first}")
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("aenet fuse a b -o c --sett x=1", "no option --sett"),
        ("aenet fuze a b", "no command fuze"),
        ("aenet fuse a b", "-o"),
        ("aenet fuse a b -o c --set agc.mood=auto", "agc.mood"),
        ("aenet fuse a b -o c --set agc.mode=sometimes", "sometimes"),
        ("python -m aenet_ros fuse", "required"),
        ("python -m aenet_ros.absent", "no module"),
        ("ros2 launch aenet_ros absent.launch.py", "no launch file"),
        ("ros2 launch aenet_ros fusion.launch.py thermal_topik:=/a", "no argument thermal_topik"),
        ("ros2 launch aenet_ros fusion.launch.py params_file:=absent.yaml", "absent.yaml"),
        ("ros2 launch aenet_ros demo.launch.py rviz:=true replay:=x", ""),
        ("ros2 param set /fusion sync.slop_ms -1.0", "sync.slop_ms"),
        ("ros2 param set /fusion model.device cuda", "does not change"),
        ("ros2 param set /robot1/fusion sync.slop_ms 30", ""),
        ("ros2 topic hz fused/picture", "no topic"),
        ("ros2 topic echo --once /fused/image/compressed", ""),
        ("ros2 service call /fusion/set_enabled std_srvs/srv/SetBool", ""),
        ("ros2 service call /fusion/set_disabled std_srvs/srv/SetBool", "no service"),
        ("ros2 lifecycle set /fusion start", "no transition"),
        ("ros2 run aenet_ros fusion", "no program"),
        ("ros2 run aenet_ros aenet_fusion_node", ""),
        ("pip install '.[torch,opencvv]'", "opencvv"),
        ("pip install 'aenet_ros[video]'", "not on PyPI"),
        ("make tests", "no target"),
        ("pytest test/test_absent.py", "test_absent"),
    ],
)
def test_the_check_of_names_sees(line, why):
    found = complaint(line)
    assert why in found
    assert bool(why) == bool(found)


@pytest.mark.parametrize("span", ["agc.mood", "agc.mode: sometimes", "input.*.quality", "aenet fuse --registered", "make tests"])
def test_the_check_of_spans_sees(span):
    assert span_complaint(span)


@pytest.mark.parametrize("span", ["agc.mode: fixed", "input.*.qos", "agc", "fused/image", "sync.slop_ms", "registration.py", "make demo"])
def test_what_is_right_passes(span):
    assert span_complaint(span) == ""


def test_a_page_is_read_as_it_is_written(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "text `span`\n\n<!-- needs: a robot -->\n```bash\nros2 x   # why\n```\n\n"
        "<!-- run with: aenet bench --runs 3; aenet train --steps 2 -->\n"
        "```bash\naenet bench \\\n  --rate 30  # slow\naenet fuse a\n```\n```python\nx = 1\n```\n"
    )
    first, second, third = blocks(page)
    assert (first.needs, first.commands(), first.line) == ("a robot", ["ros2 x"], 4)
    assert second.script() == "aenet bench  --rate 30 --runs 3\naenet fuse a\n"
    assert (third.language, third.needs) == ("python", "")
    assert spans(page) == ["span"]
    page.write_text("<!-- skip -->\n```bash\nx\n```\n")
    with pytest.raises(ValueError, match="needs: or run with:"):
        blocks(page)
