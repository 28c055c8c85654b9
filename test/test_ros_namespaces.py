"""Two robots on one machine, a rig and a fusing node each: in namespaces they do not mix, and another domain sees nothing of them."""

import contextlib
import subprocess
import sys
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from ros_harness import OK, RELIABLE, ros_environment
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from aenet_ros.cli.processes import free_domain

pytestmark = pytest.mark.slow

SIZES = {"robot1": (96, 128), "robot2": (144, 192)}


class Onlooker:
    """Our end of one domain: the fused frames and diagnostics of both robots."""

    def __init__(self, domain):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("onlooker", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.frames = {name: [] for name in SIZES}
        self.statuses = {}
        for name, frames in self.frames.items():
            self.node.create_subscription(Image, f"/{name}/fused/image", frames.append, RELIABLE)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, message):
        self.statuses.update({status.name: status for status in message.status})

    def until(self, condition, seconds=150.0):
        end = time.monotonic() + seconds
        while not (result := condition()) and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.05)
        return result

    def topics(self):
        """Of cameras and fusion, by anyone."""
        return {name for name, _ in self.node.get_topic_names_and_types() if self.node.count_publishers(name) and name.count("/") > 2}

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture(scope="module")
def onlookers(tmp_path_factory):
    """On the robots' domain, and on another."""
    folder = tmp_path_factory.mktemp("robots")
    domains = [free_domain()]
    while len(domains) < 2 or domains[0] == domains[1]:
        domains = [domains[0], free_domain()]
    environment = ros_environment(folder, domains[0])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            if name.startswith(("ROS_", "FAST")):
                patch.setenv(name, value)
        with contextlib.ExitStack() as stack:
            for robot, (height, width) in SIZES.items():
                sizes = [f"{role}_{side}:={value}" for role in ("thermal", "rgb") for side, value in (("width", width), ("height", height))]
                programs = {"tools.rig_node": [*sizes, "rgb_hz:=15.0", "thermal_hz:=15.0"], "node": ["diagnostics.period_s:=0.3"]}
                for module, parameters in programs.items():
                    command = [sys.executable, "-m", f"aenet_ros.ros.{module}", "--ros-args", "-r", f"__ns:=/{robot}"]
                    command += [part for parameter in parameters for part in ("-p", parameter)]
                    log = stack.enter_context((folder / f"{robot}_{module}.log").open("wb"))
                    stack.callback(end, subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            seen = []
            for domain in domains:
                seen.append(Onlooker(domain))
                stack.callback(seen[-1].close)
            yield seen


def end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def test_each_robot_fuses_its_own_frames_alone(onlookers):
    here, _ = onlookers
    assert here.until(lambda: all(len(frames) >= 20 for frames in here.frames.values())), {name: len(f) for name, f in here.frames.items()}
    for name, frames in here.frames.items():
        assert {(frame.height, frame.width) for frame in frames} == {SIZES[name]}
    for name, size in SIZES.items():
        for role in ("thermal", "rgb"):
            values = {item.key: item.value for item in here.statuses[f"/{name}/fusion: input {role}"].values}
            assert values["topic"] == f"/{name}/{role}/image_raw"
            assert (values["publishers"], values["size"], values["size or encoding changes"]) == ("1", f"{size[1]}x{size[0]}", "0")


def test_a_service_reaches_one_robot_alone(onlookers):
    here, _ = onlookers
    client = here.node.create_client(SetBool, "/robot1/fusion/set_enabled")
    assert here.until(client.service_is_ready)
    future = client.call_async(SetBool.Request(data=False))
    assert here.until(future.done)
    assert future.result().success

    def said():
        status = here.statuses.get("/robot1/fusion: fusion")
        return status and status.level == OK and status.message.startswith("disabled")

    assert here.until(said)
    first = {name: len(frames) for name, frames in here.frames.items()}
    assert here.until(lambda: len(here.frames["robot2"]) >= first["robot2"] + 20)
    assert len(here.frames["robot1"]) <= first["robot1"] + 2, "only what was on its way"


def test_another_domain_sees_nothing(onlookers):
    here, elsewhere = onlookers
    wanted = {"/robot1/fused/image", "/robot2/fused/image", "/robot1/rgb/image_raw", "/robot2/thermal/image_raw"}
    assert here.until(lambda: here.topics() >= wanted), here.topics()
    before = len(here.frames["robot2"])
    # As long as it takes the robots' own domain to get many more frames.
    assert here.until(lambda: elsewhere.executor.spin_once(timeout_sec=0.01) or len(here.frames["robot2"]) >= before + 30)
    assert elsewhere.topics() == set()
    assert elsewhere.node.get_node_names_and_namespaces() == [("onlooker", "/")]
    assert elsewhere.frames == {name: [] for name in SIZES}
    assert elsewhere.statuses == {}
