"""``aenet doctor``: its verdict on this machine, and on environments with traps."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from aenet_ros.cli import main as cli
from aenet_ros.cli.doctor_ros import ros_findings, stale_segments

HARD_LIMIT_S = 90
REPOSITORY = Path(__file__).parents[1]


def doctor(*arguments, prelude="pass", options=(), **environment):
    code = f"import sys; {prelude}; from aenet_ros.cli.main import main; sys.exit(main(['doctor', *{list(arguments)!r}]))"
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        timeout=HARD_LIMIT_S,
        env={**os.environ, **environment},
        check=False,
    )


def test_fusing_can_run_here():
    done = doctor("--json")
    report = json.loads(done.stdout)
    levels = {finding["name"]: finding["level"] for finding in report["findings"]}
    assert done.returncode == 0
    assert report["can_fuse"] is True
    for name in ("python", "numpy", "cv2", "torch", "weights", "self-test"):
        assert levels[name] in ("ok", "warn"), (name, report)
    assert set(levels.values()) <= {"ok", "note", "warn", "missing"}
    for name in ("rosbags", "mcap", "av", "aiohttp", "argcomplete", "onnx", "onnxruntime", "matplotlib", "tensorboard"):
        assert levels[name] in ("ok", "note"), "an optional package that is absent is no warning"


def test_without_torch_it_says_how_to_get_it():
    done = doctor(prelude="sys.modules['torch'] = None")
    assert done.returncode == 1
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith(("ok", "warn", "missing"))}
    assert lines["torch"].startswith("missing")
    assert "pip install torch" in lines["torch"]
    assert lines["self-test"].startswith("missing")
    assert "can NOT run here" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_no_colour_unless_on_a_terminal(capsys):
    cli.main(["doctor"])
    assert "\033" not in capsys.readouterr().out


def finding(name):
    return next(found for found in ros_findings() if found.name == name)


@pytest.mark.parametrize(
    ("value", "level"),
    [("", "ok"), ("0", "ok"), ("101", "ok"), ("150", "warn"), ("232", "ok"), ("233", "warn"), ("-1", "warn"), ("x", "warn")],
)
def test_domain_ids(monkeypatch, value, level):
    monkeypatch.setenv("ROS_DOMAIN_ID", value)
    assert finding("domain").level == level


@pytest.mark.parametrize(("distro", "remedy"), [("", "from apt only"), ("jazzy", "apt install ros-jazzy-cv-bridge")])
def test_remedies_fit_how_ros_was_installed(monkeypatch, distro, remedy):
    rclpy = pytest.importorskip("rclpy", reason="packages of ROS are listed where rclpy is installed")
    if importlib.util.find_spec("cv_bridge") or Path(rclpy.__file__).is_relative_to("/opt/ros"):
        pytest.skip("cv_bridge is installed, or ROS is from apt")
    monkeypatch.setenv("ROS_DISTRO", distro)
    found = finding("cv_bridge")
    assert (found.level, remedy in found.text) == ("note", True), found


def test_pip_does_not_replace_the_numpy_of_apt(monkeypatch):
    from aenet_ros.cli import doctor as module

    old = module.Package("", "onnx", "for aenet export")
    monkeypatch.setattr(module.metadata, "version", lambda name: "1.21.5")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    for distro, command in (("humble", "pip install onnx 'numpy<2'"), ("", "pip install onnx")):
        monkeypatch.setenv("ROS_DISTRO", distro)
        if not distro and Path("/opt/ros").is_dir():
            continue
        assert module._package("onnx", "note", old).text.endswith(f"for aenet export: {command}")


def test_without_ros_nothing_is_wrong(tmp_path):
    """`make install` is for files; only where ROS is on the machine a missing rclpy is a fault."""
    if Path("/opt/ros").is_dir():
        pytest.skip("ROS is installed here")
    for package in Path(sysconfig.get_path("purelib")).iterdir():  # all that is installed but ROS and its start-up hooks
        if not package.name.startswith(("rclpy", "ros_", "ros2_")) and package.suffix != ".pth":
            (tmp_path / package.name).symlink_to(package)
    for path in stale_segments():  # of nodes that other tests killed
        path.unlink(missing_ok=True)
        path.with_name(path.name + "_el").unlink(missing_ok=True)
    done = doctor(options=["-S"], PYTHONPATH=f"{REPOSITORY}:{tmp_path}", ROS_DISTRO="")
    assert "\nnote     ros " in done.stdout, done.stdout
    assert "warnings" not in done.stdout.splitlines()[-1]


def test_a_profile_that_does_not_exist_is_named(monkeypatch, tmp_path):
    pytest.importorskip("rclpy", reason="the middleware is looked at where rclpy is installed")
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    assert "export FASTDDS_DEFAULT_PROFILES_FILE=" in finding("middleware").text
    profile = tmp_path / "profile.xml"
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(profile))
    assert finding("middleware").level == "warn"
    assert str(profile) in finding("middleware").text
    profile.write_text("<dds/>")
    assert finding("middleware").level == "ok"


def test_a_folder_named_launch_is_no_package(monkeypatch, tmp_path):
    pytest.importorskip("rclpy", reason="packages are listed where rclpy is installed")
    from aenet_ros.cli.doctor_ros import _installed

    (tmp_path / "a_mere_folder").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not _installed("a_mere_folder")
    assert _installed("json")


NODE = """
import time, rclpy
rclpy.init()
node = rclpy.create_node("doctor_probe")
print("up", flush=True)
time.sleep(60)
"""


def segments_mapped_by(pid):
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    paths = {Path(line.split()[-1]) for line in lines if "/dev/shm/fastdds_" in line}
    return {path for path in paths if "port" not in path.name}


def test_segments_of_killed_processes_are_told_from_those_in_use():
    pytest.importorskip("rclpy", reason="a real participant is needed")
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": "83",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
    }
    process = subprocess.Popen([sys.executable, "-c", NODE], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    try:
        assert process.stdout.readline() == "up\n"
        own = segments_mapped_by(process.pid)
        if not own:
            pytest.skip("this middleware uses no shared memory segments")
        assert not own & set(stale_segments())
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
        left = {path for path in own if path.exists()}
        assert left <= set(stale_segments())
        for path in left:
            path.unlink()
            path.with_name(path.name + "_el").unlink()
    finally:
        process.kill()
        process.wait(20)
