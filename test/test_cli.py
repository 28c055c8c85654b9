"""The command line as a process: help, version, exit statuses, sentences in place of tracebacks."""

import os
import signal
import subprocess
import sys
import time

import pytest

import aenet_ros
from aenet_ros.cli import main as cli
from aenet_ros.config import build, specs
from aenet_ros.config.params_file import read_params_file
from aenet_ros.core.errors import AenetError, ConfigError, SourceError

HARD_LIMIT_S = 60


def aenet(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "aenet_ros", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=HARD_LIMIT_S,
        env={**os.environ, **environment},
        check=False,
    )


def test_help_teaches():
    done = aenet("--help")
    assert done.returncode == 0
    for text in ("examples:", "exit status:", "130", "aenet fuse thermal/ rgb/ -o fused/", "doctor"):
        assert text in done.stdout
    assert done.stdout.index("everyday commands:") < done.stdout.index("  fuse ") < done.stdout.index("workbench commands:")
    assert done.stdout.index("workbench commands:") < done.stdout.index("  train ")
    alone = aenet()
    assert (alone.returncode, alone.stdout) == (0, done.stdout)


def test_every_command_on_disk_is_listed_and_has_help():
    assert {"fuse", "evaluate", "doctor"} <= set(cli.COMMANDS)
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            cli.main([name, "--help"])
        assert stop.value.code == 0


def test_help_needs_no_heavy_package():
    heavy = ["torch", "cv2", "numpy", "rclpy", "rosbags", "yaml"]
    code = f"import sys, aenet_ros.cli.main as c; c.load(c.COMMANDS); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HARD_LIMIT_S, check=True)
    assert done.stdout.strip() == "[]"


def test_version():
    done = aenet("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"aenet {aenet_ros.__version__}")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["fus", "a", "b"], "no command 'fus' (did you mean fuse?)"),
        (["fuse", "a", "b", "-o", "c", "--in_order"], "--in_order (did you mean --in-order?)"),
        (["evaluate", "a", "b", "--jsn=x"], "--jsn=x (did you mean --json?)"),
    ],
)
def test_a_mistyped_command_line_names_the_nearest(arguments, hint, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--debug"], ["no-such-command"], ["fuse"], ["fuse", "a", "b", "-o", "c", "--no-such-option"]])
def test_wrong_usage_is_2(arguments):
    done = aenet(*arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_a_failure_is_one_sentence_and_1(tmp_path):
    done = aenet("fuse", tmp_path / "none.png", tmp_path / "none2.png", "-o", tmp_path / "out.png")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [f"aenet fuse: there is no file or folder '{tmp_path / 'none.png'}'"]


def test_debug_shows_the_traceback(tmp_path):
    done = aenet("fuse", tmp_path / "none.png", tmp_path / "none2.png", "-o", tmp_path / "out.png", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "SourceError" in done.stderr


def test_a_missing_package_is_named():
    code = "import sys; sys.modules['cv2'] = None; from aenet_ros.cli.main import main; sys.exit(main(['fuse', 'a', 'b', '-o', 'c']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HARD_LIMIT_S, check=False)
    assert done.returncode == 1
    assert "'cv2' is not installed; 'aenet doctor' says" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal(number, status):
    # Prints when the command runs; the command is the real entry with one that waits in place of doctor.
    code = """
import signal, sys, time, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent of the tests may ignore it
from aenet_ros.cli import main as cli
def run(args):
    print("running", flush=True)
    time.sleep(50)
waits = types.ModuleType("waits", "Wait.")
waits.run, waits.add_arguments = run, lambda parser: None
cli.COMMANDS = ["waits"]
cli.load = lambda names: {"waits": waits}
sys.exit(cli.main(["waits"]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "running\n"
        begin = time.monotonic()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == status
    assert stderr == "aenet waits: stopped\n"
    assert time.monotonic() - begin < 20


PARAMS = """
/**:
  ros__parameters:
    use_sim_time: true
    qos_overrides: {/x: {subscription: {depth: 3}}}
    sync:
      slop_ms: 10
      policy: exact
    agc.mode: fixed
/robot/fusion:
  ros__parameters: {sync: {slop_ms: 12.5}}
/other_node:
  ros__parameters: {sync: {slop_ms: 99}, foo: 1}
"""


def test_ros_parameter_files_are_read(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS)
    assert config_of("--params", str(path)) == build({"sync.slop_ms": 12.5, "sync.policy": "exact", "agc.mode": "fixed"})


# Which keys are a node's, as rclpy of Kilted answered for nodes of these names.
@pytest.mark.parametrize(
    ("key", "nodes"),
    [
        ("/**", ["/fusion", "/r1/fusion", "/r1/r2/fusion"]),
        ("**", ["/fusion", "/r1/fusion", "/r1/r2/fusion"]),
        ("/*", ["/fusion"]),
        ("fusion", ["/fusion"]),
        ("/fusion", ["/fusion"]),
        ("/**/fusion", ["/fusion", "/r1/fusion", "/r1/r2/fusion"]),
        ("/*/fusion", ["/r1/fusion"]),
        ("*/fusion", ["/r1/fusion"]),
        ("/*/*", ["/r1/fusion"]),
        ("/r1/*", ["/r1/fusion"]),
        ("/r1/**", ["/r1/fusion", "/r1/r2/fusion"]),
        ("/r1/r2/*", ["/r1/r2/fusion"]),
    ],
)
def test_the_keys_of_a_parameter_file_are_read_as_ros_reads_them(tmp_path, key, nodes):
    path = tmp_path / "params.yaml"
    path.write_text(f'"{key}":\n  ros__parameters: {{enabled: false}}\n')
    assert [node for node in ("/fusion", "/r1/fusion", "/r1/r2/fusion") if read_params_file(path, node)] == nodes
    assert read_params_file(path) == {"enabled": False}


def test_the_later_section_of_a_parameter_file_wins_and_namespaces_may_be_nested(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("/fusion: {ros__parameters: {a: 1}}\n/**: {ros__parameters: {a: 2}}\nr1: {fusion: {ros__parameters: {b: 3}}}\n")
    assert read_params_file(path, "/fusion") == {"a": 2}
    assert read_params_file(path, "/r1/fusion") == {"a": 2, "b": 3}


@pytest.mark.parametrize("name", ["fusion.yaml", "cpu.yaml", "jetson_orin.yaml", "desktop_gpu.yaml"])
def test_shipped_parameter_files_are_read(name):
    from aenet_ros.core.files import share_dir

    values = read_params_file(share_dir() / "config" / name)
    assert values
    assert build(values)


@pytest.mark.parametrize("content", ["[1, 2]", "a: 1", "{", ""])
def test_parameter_files_that_are_none(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        read_params_file(path)


def test_a_parameter_file_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="No such file"):
        read_params_file(tmp_path / "none.yaml")


def config_of(*arguments):
    import argparse

    from aenet_ros.cli.common import add_config_arguments, config_from

    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    return config_from(parser.parse_args([*map(str, arguments)]))


def test_set_wins_over_params_and_takes_each_type(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS)
    matrix = "1,0,3,0,1,4,0,0,1"
    config = config_of(
        "--params", path, "--set", "sync.slop_ms=7", "agc.invert=true", "model.device=cuda:1", f"registration.homography={matrix}"
    )
    assert (config.sync.slop_ms, config.sync.policy, config.agc.invert, config.model.device) == (7.0, "exact", True, "cuda:1")
    assert config.registration.homography == (1, 0, 3, 0, 1, 4, 0, 0, 1)
    assert config_of("--set", "sync.queue_size=3", "--set", "model.weights=").sync.queue_size == 3


@pytest.mark.parametrize(
    "item", ["sync.slop_ms", "sync.slop=3", "sync.slop_ms=fast", "sync.slop_ms=-1", "agc.invert=2", "agc.mode=[", "sync.slop_ms=["]
)
def test_set_refuses_by_name(item):
    with pytest.raises(AenetError, match=item.split("=")[0]):
        config_of("--set", item)


def test_every_option_can_be_set_to_its_default():
    def text(value):
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    items = [f"{spec.name}={text(spec.default)}" for spec in specs().values()]
    assert config_of("--set", *items) == build({})
