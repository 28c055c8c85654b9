"""``aenet demo`` as a person runs it: real processes, real topics, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")
rosbags = pytest.importorskip("rosbags.highlevel", reason="rosbags is not installed: pip install '.[bags]'")

ROOT = Path(__file__).resolve().parents[1]
HARD_LIMIT_S = 120
# Small pictures: the tests are about what comes out, and must hold on a busy machine.
SMALL = ["--rig", "thermal_width=160", "thermal_height=128", "rgb_width=160", "rgb_height=128"]
SHM = Path("/dev/shm")


def domain():
    """Differs from that of the other tests of this process, and from another worker's."""
    return 2 + (os.getpid() * 7 + 50) % 99


def environment():
    variables = {**os.environ, "ROS_DOMAIN_ID": str(domain()), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return variables


def start(*arguments):
    command = [sys.executable, "-m", "aenet_ros", "demo", *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a parent of the tests may ignore it
    )


def finish(process):
    try:
        out, err = process.communicate(timeout=HARD_LIMIT_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err


def demo(*arguments):
    return finish(start(*arguments))


def children_of(pid):
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"\nPPid:\t{pid}\n" in (entry / "status").read_text():
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def wait_for_children(pid, *modules):
    deadline = time.monotonic() + HARD_LIMIT_S
    while time.monotonic() < deadline:
        children = children_of(pid)
        if all(any(module in line for line in children.values()) for module in modules):
            return children
        time.sleep(0.05)
    raise AssertionError(f"no children {modules}: {children_of(pid)}")


def gone(pids):
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def left_in_shm():
    """What Fast DDS keeps for our domain's ports: port 7400 + 250 * domain and the ones after it."""
    ports = range(7400 + 250 * domain(), 7400 + 250 * (domain() + 1))
    names = [path.name for path in SHM.glob("*fastdds_port*")]
    return [name for name in names if int(name.partition("fastdds_port")[2].split("_")[0]) in ports]


def check_report(folder, out, code):
    """Everything but the speed, which is the machine's: a slow one gives a warning, not a failure."""
    report = json.loads((folder / "report.json").read_text())
    assert report["fused"]["frames"] > 0, out
    assert (report["ok"], code, report["why"]) == (True, 0, "")
    assert out.splitlines()[-1] == "ok"
    slow = report["fused"]["rate_hz"] < 0.8 * report["camera_rate_hz"]
    assert bool(report["warning"]) == slow == (f"warning: {report['warning']}" in out)
    assert report["stamp_error_ms"]["max"] == 0.0
    pairs = report["pairs"]
    assert pairs["pairs_fused"] + pairs["pairs_not_fused"] == pairs["pairs_published"]
    assert (pairs["fused_without_pair"], pairs["fused_twice"]) == (0, 0)
    assert report["device"] == "cpu" or report["device"].startswith("cuda")
    return report


def test_the_rig_is_fused_recorded_and_reported(tmp_path):
    code, out, err = demo("--seconds", 4, "-o", tmp_path / "out", *SMALL)
    assert err == ""
    folder = tmp_path / "out"
    report = check_report(folder, out, code)
    assert report["camera"]["published"]["rgb"] >= report["pairs"]["rgb_published"] > 0
    assert sorted(path.name for path in folder.iterdir()) == ["contact_sheet.png", "demo.mcap", "metadata.yaml", "report.json"]
    sheet = cv2.imread(str(folder / "contact_sheet.png"))
    assert sheet.shape[1] > 1200
    assert sheet.std() > 20
    with rosbags.AnyReader([folder]) as bag:
        counts = {item.topic: item.msgcount for item in bag.connections}
        stamps = []
        for item, _, data in bag.messages():
            if item.topic == "/fused/image/compressed":
                message = bag.deserialize(data, item.msgtype)
                stamps.append(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)
                picture = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
    assert counts["/fused/image/compressed"] >= report["fused"]["frames"] * 0.8
    assert counts["/fused/camera_info"] > 0
    assert counts["/diagnostics"] > 0
    assert picture.shape == (128, 160, 3)
    assert stamps == sorted(set(stamps))
    assert left_in_shm() == []


def test_the_cameras_streams_are_recorded_for_the_other_commands(tmp_path):
    code, out, _ = demo("--seconds", 3, "-o", tmp_path, "--record", "inputs", *SMALL)
    check_report(tmp_path, out, code)
    with rosbags.AnyReader([tmp_path]) as bag:
        counts = {item.topic: item.msgcount for item in bag.connections}
    for topic in ("/thermal/image_raw", "/rgb/image_raw", "/thermal/camera_info", "/rgb/camera_info", "/fused/image/compressed"):
        assert counts[topic] > 0
    bag = tmp_path / "demo.mcap"
    for arguments in (["inspect", bag], ["fuse", bag, "-o", tmp_path / "again"]):
        command = [sys.executable, "-m", "aenet_ros", *map(str, arguments)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "/thermal/image_raw" in done.stdout + done.stderr


@pytest.mark.slow
def test_real_pairs_are_replayed(tmp_path, shared_data):
    code, out, err = demo("--seconds", 3, "-o", tmp_path, "--replay", shared_data / "m3svd_video" / "0117_1605", "--record", "nothing")
    assert err == ""
    report = check_report(tmp_path, out, code)
    assert report["camera_rate_hz"] == 25.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contact_sheet.png", "report.json"]


@pytest.mark.slow
def test_clocks_that_disagree_fail_it_with_the_remedy(tmp_path):
    code, out, _ = demo("--seconds", 2, "-o", tmp_path, *SMALL, "offset_ms=1700")
    assert code == 1
    last = out.splitlines()[-1]
    assert last.startswith("failed: no fused frame was received")
    assert "sync.clock_offset_ms" in last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json"]
    code, out, _ = demo("--seconds", 2, "-o", tmp_path, *SMALL, "offset_ms=1700", "--set", "sync.clock_offset_ms=1700")
    check_report(tmp_path, out, code)


def test_a_required_rate_that_is_not_reached_fails_it(tmp_path):
    code, out, _ = demo("--seconds", 2, "-o", tmp_path, *SMALL, "rgb_hz=10", "thermal_hz=10", "--require-rate", 12)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["fused"]["frames"] > 0, out
    assert (code, report["ok"], report["warning"]) == (1, False, "")
    assert out.splitlines()[-1].startswith("failed: --require-rate 12: ")


def test_a_machine_that_is_too_slow_is_said_with_the_size_of_the_network(tmp_path):
    code, out, _ = demo("--seconds", 3, "-o", tmp_path, *SMALL, "--record", "nothing", "--set", "latency.budget_ms=0.3")
    check_report(tmp_path, out, code)
    assert "works at a quarter of the size" in out


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_it_leaves_nothing(tmp_path, number, code):
    process = start("--seconds", 60, "-o", tmp_path, *SMALL)
    children = wait_for_children(process.pid, "ros.node", "ros.tools.rig_node", "ros.tools.sink_node")
    time.sleep(3.0)
    process.send_signal(number)
    returned, out, err = finish(process)
    assert returned == code, (out, err)
    assert err.strip() == "aenet demo: stopped"
    assert gone(children)
    assert list(tmp_path.iterdir()) == []
    assert left_in_shm() == []


@pytest.mark.slow
def test_a_crash_of_a_process_is_said_and_ends_the_others(tmp_path):
    process = start("--seconds", 60, "-o", tmp_path, *SMALL)
    children = wait_for_children(process.pid, "ros.node", "ros.tools.rig_node", "ros.tools.sink_node")
    time.sleep(2.0)
    os.kill(next(pid for pid, line in children.items() if "ros.node" in line), signal.SIGKILL)
    code, _, err = finish(process)
    assert code == 1
    assert err.startswith("aenet demo: the node process ended with status -9")
    assert gone(children)
    assert left_in_shm() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--replay", "/no/such/folder"], "there is no file or folder '/no/such/folder/thermal'"),
        (["--rig", "scenes=fog"], "scenes: 'fog' is not known"),
        (["--rig", "colour=red"], "give NAME=VALUE with one of thermal_width"),
        (["--replay", ".", "--rig", "seed=2"], "give one of them"),
        (["--seconds", "0"], "--seconds 0: give 1 to 86400"),
        (["--set", "agc.mode=magic"], "agc.mode: 'magic' is not known"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(tmp_path, arguments, words):
    code, out, err = demo("-o", tmp_path / "out", *arguments)
    assert code == 1, out
    assert words in err


def test_without_rclpy_it_says_how_to_get_it():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from aenet_ros.cli.main import main; sys.exit(main(['demo']))"
    # -S: without site-packages, as on a machine without ROS.
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=HARD_LIMIT_S)
    assert done.returncode == 1
    assert "no rclpy" in done.stderr
    assert "pip install '.[ros]'" in done.stderr


@pytest.mark.slow
def test_processes_do_not_outlive_a_demo_that_is_killed(tmp_path):
    process = start("--seconds", 60, "-o", tmp_path, *SMALL)
    children = wait_for_children(process.pid, "ros.node", "ros.tools.rig_node", "ros.tools.sink_node")
    time.sleep(2.0)
    process.kill()
    finish(process)
    deadline = time.monotonic() + 20
    while not gone(children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert gone(children)


def test_another_bag_is_not_overwritten(tmp_path):
    (tmp_path / "metadata.yaml").write_text("somebody's")
    code, _, err = demo("-o", tmp_path)
    assert code == 1
    assert "holds another bag" in err
    assert (tmp_path / "metadata.yaml").read_text() == "somebody's"
