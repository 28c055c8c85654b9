"""The launch files, run by the real launch service where `launch` and `launch_ros` are installed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed")
# Not `launch` itself: the repository's folder of that name passes for an empty package.
pytest.importorskip("launch.actions", reason="launch is not installed (it comes with ROS 2 from apt)")
pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed (it comes with ROS 2 from apt)")

import rclpy
from launch.launch_description_sources import get_launch_description_from_python_launch_file as load
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from ros_harness import BEST_EFFORT, SIZE, dim_street, make_image, own_domain, ros_environment, warm_square
from sensor_msgs.msg import Image

from launch import LaunchContext

LAUNCH = Path(__file__).resolve().parents[1] / "launch"
ARGUMENTS = {
    "fusion": {
        "namespace", "params_file", "thermal_topic", "rgb_topic", "thermal_info_topic", "rgb_info_topic", "use_sim_time", "autostart",
        "respawn", "respawn_delay", "log_level", "rviz", "dds_profile",
    },
    "demo": {"replay", "scenes", "namespace", "params_file", "log_level", "rviz", "dds_profile"},
    "record": {
        "output", "namespace", "compressed", "video", "inputs", "thermal_topic", "rgb_topic", "thermal_info_topic", "rgb_info_topic",
        "extra_topics", "qos_file", "preset", "max_bag_size", "max_bag_duration", "use_sim_time", "dds_profile",
    },
}  # fmt: skip

# `ros2 launch` without its command line: prints the command of every process that it starts.
SERVICE = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch.launch_description_sources import PythonLaunchDescriptionSource
def started(event, context):
    print("STARTED", event.pid, *event.cmd, flush=True)
include = IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=[a.split(":=", 1) for a in sys.argv[2:]])
service = LaunchService(noninteractive=True)
service.include_launch_description(LaunchDescription([RegisterEventHandler(OnProcessStart(on_start=started)), include]))
sys.exit(service.run())
"""


class Launched:
    """A launch file as it runs, and our eyes on the graph beside it."""

    def __init__(self, tmp_path, name, *arguments):
        self.log_path = tmp_path / "launch.log"
        environment = ros_environment(tmp_path, own_domain())
        environment.pop("FASTDDS_DEFAULT_PROFILES_FILE", None)
        environment.pop("FASTRTPS_DEFAULT_PROFILES_FILE", None)
        os.environ.update({key: environment[key] for key in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOG_DIR")})
        command = [sys.executable, "-c", SERVICE, str(LAUNCH / f"{name}.launch.py"), *arguments]
        with self.log_path.open("w") as log:
            # A session of its own: a signal to launch goes to launch alone, and nothing outlives the test.
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("onlooker", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def until(self, condition, seconds=60.0):
        """Serve our node until the condition holds; fails with the launch log after ``seconds``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if result := condition():
                return result
            self.executor.spin_once(timeout_sec=0.05)
        pytest.fail(f"waited {seconds:g} s in vain; the log says:\n{self.log_path.read_text()[-4000:]}")

    def state(self, name="/fusion"):
        """The lifecycle state's label, or None where the node does not answer."""
        client = self.node.create_client(GetState, f"{name}/get_state")
        try:
            if not client.wait_for_service(timeout_sec=0.2):
                return None
            future = client.call_async(GetState.Request())
            self.executor.spin_until_future_complete(future, timeout_sec=2.0)
            return future.result().current_state.label if future.done() else None
        finally:
            self.node.destroy_client(client)

    def started(self, program):
        """Process ids and commands of what launch started by the name of ``program``, oldest first."""
        lines = re.findall(r"^STARTED (\d+) (.*)$", self.log_path.read_text(), re.MULTILINE)
        return [(int(pid), command) for pid, command in lines if program in command]

    def close(self):
        """Ends launch as Ctrl-C does; its exit status."""
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()


@pytest.fixture
def launched(tmp_path):
    """Starts launch files; ends what the test left running."""
    running = []

    def start(name, *arguments):
        running.append(Launched(tmp_path, name, *arguments))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.close()


def module(name):
    """A launch file as a module, for its functions."""
    space = {"__name__": name, "__file__": str(LAUNCH / f"{name}.launch.py")}
    exec(compile((LAUNCH / f"{name}.launch.py").read_text(), space["__file__"], "exec"), space)
    return space


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_has_a_default_and_a_description(name):
    arguments = load(str(LAUNCH / f"{name}.launch.py")).get_launch_arguments()
    assert {argument.name for argument in arguments} >= ARGUMENTS[name]
    for argument in arguments:
        assert argument.default_value is not None, argument.name
        assert len(argument.description) > 10, argument.name


def test_launch_brings_the_node_to_active_where_it_was_told_to(launched):
    launch = launched("fusion", "namespace:=robot1", "params_file:=cpu.yaml", "thermal_topic:=/boson/image_raw", "log_level:=warn")
    launch.until(lambda: launch.state("/robot1/fusion") == "active")
    topics = {name for name, _ in launch.node.get_subscriber_names_and_types_by_node("fusion", "/robot1")}
    assert {"/boson/image_raw", "/boson/camera_info", "/robot1/rgb/image_raw", "/robot1/rgb/camera_info"} <= topics
    assert "/robot1/thermal/image_raw" not in topics
    [(pid, command)] = launch.started("__node:=fusion")
    assert command.count("--log-level warn") == 1
    # Only what was given is handed on: neither autostart nor use_sim_time, which would be in a file of launch's own.
    assert [Path(path).name for path in re.findall(r"--params-file (\S+)", command)] == ["cpu.yaml"]
    environment = Path(f"/proc/{pid}/environ").read_text()
    assert re.search(r"FASTDDS_DEFAULT_PROFILES_FILE=[^\0]*fastdds_shm\.xml", environment)
    assert launch.close() == 0
    assert not Path(f"/proc/{pid}").exists()
    assert "Traceback" not in launch.log_path.read_text()


BRINGUP = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace, SetParameter, SetRemap
def generate_launch_description():
    fusion = IncludeLaunchDescription(PythonLaunchDescriptionSource({path!r}), launch_arguments=[("thermal_topic", "boson/image_raw")])
    return LaunchDescription([GroupAction([
        PushRosNamespace("fleet"), PushRosNamespace("robot1"),
        SetParameter("use_sim_time", True), SetParameter("sync.slop_ms", 12.5), SetRemap("rgb/image_raw", "/camera/image_raw"),
        GroupAction([PushRosNamespace("eyes"), fusion]),
    ])])
"""


def test_what_a_bring_up_sets_for_its_group_holds_for_the_node(launched, tmp_path):
    (tmp_path / "bringup.launch.py").write_text(BRINGUP.format(path=str(LAUNCH / "fusion.launch.py")))
    launch = launched(str(tmp_path / "bringup"))
    launch.until(lambda: launch.state("/fleet/robot1/eyes/fusion") == "active")
    topics = {name for name, _ in launch.node.get_subscriber_names_and_types_by_node("fusion", "/fleet/robot1/eyes")}
    assert {"/fleet/robot1/eyes/boson/image_raw", "/camera/image_raw", "/clock"} <= topics
    client = launch.node.create_client(GetParameters, "/fleet/robot1/eyes/fusion/get_parameters")
    assert client.wait_for_service(10.0)
    answer = client.call_async(GetParameters.Request(names=["sync.slop_ms"]))
    launch.until(answer.done)
    assert answer.result().values[0].double_value == 12.5, "no file of defaults hides it"


def test_a_launch_line_of_the_docs_fuses_its_cameras_with_their_profile(launched):
    [line] = re.findall(
        r"^ros2 launch \S+ fusion.launch.py (.*/lepton/image_raw)", (LAUNCH.parent / "docs/cameras.md").read_text(), re.MULTILINE
    )
    launch = launched("fusion", "params_file:=cpu.yaml", *line.replace("$RGB", "/camera/camera/color/image_raw").split())
    names = {"/lepton/image_raw": ("mono16", "lepton"), "/camera/camera/color/image_raw": ("rgb8", "camera_color_optical_frame")}
    publishers = {name: launch.node.create_publisher(Image, name, 5) for name in names}
    fused = []
    launch.node.create_subscription(Image, "/fused/image", fused.append, BEST_EFFORT)
    pictures = {"mono16": warm_square() + 22_000, "rgb8": dim_street()}

    def publish():
        for name, (encoding, frame_id) in names.items():
            publishers[name].publish(make_image(pictures[encoding], encoding, time.time_ns() // 10**8 * 10**8, frame_id))
        return len(fused) >= 3

    launch.until(publish)
    assert fused[-1].header.frame_id == "camera_color_optical_frame"
    assert "agc.profile lepton by the conventions of the camera's driver" in launch.log_path.read_text()


def test_arguments_win_over_the_parameter_file(launched, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"autostart": True, "model": {"device": "cpu"}}}}))
    launch = launched("fusion", f"params_file:={mine}", "autostart:=false", "use_sim_time:=true", "dds_profile:=none")
    assert launch.until(launch.state) == "unconfigured"
    [(pid, _)] = launch.started("__node:=fusion")
    assert "DEFAULT_PROFILES_FILE" not in Path(f"/proc/{pid}/environ").read_text()
    launch.until(lambda: any(name == "/clock" for name, _ in launch.node.get_subscriber_names_and_types_by_node("fusion", "/")))


def test_a_node_that_dies_comes_back_and_is_active_again(launched):
    launch = launched("fusion", "params_file:=cpu.yaml", "respawn_delay:=0.1")
    launch.until(lambda: launch.state() == "active")
    os.kill(launch.started("__node:=fusion")[0][0], signal.SIGKILL)
    launch.until(lambda: len(launch.started("__node:=fusion")) == 2)
    launch.until(lambda: launch.state() == "active")


def test_a_parameter_file_that_is_not_there_is_named_with_those_that_are(launched):
    launch = launched("fusion", "params_file:=nano.yaml")
    assert launch.process.wait(timeout=60) != 0
    assert "nano.yaml" in launch.log_path.read_text()
    assert "jetson_orin.yaml" in launch.log_path.read_text()


def test_the_demo_fuses_the_rig_in_namespaces_with_a_parameter_file_keyed_by_them(launched, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({"/lab/bench/*": {"ros__parameters": {"output": {"encoding": "bgr8"}, "model.device": "cpu"}}}))
    launch = launched("demo", f"params_file:={mine}", "namespace:=lab/bench", "scenes:=smoke")
    frames = []
    launch.node.create_subscription(Image, "/lab/bench/fused/image", frames.append, BEST_EFFORT)
    launch.until(lambda: len(frames) >= 5)
    assert (frames[-1].encoding, frames[-1].header.frame_id) == ("bgr8", "rgb_camera")


def test_a_parameter_file_without_a_section_for_the_node_is_told_and_booleans_may_be_capital(launched, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({"/*": {"ros__parameters": {"enabled": False}}}))
    launch = launched("fusion", f"params_file:={other}", "namespace:=/fleet/robot1", "autostart:=False", "use_sim_time:=True")
    assert launch.until(lambda: launch.state("/fleet/robot1/fusion")) == "unconfigured"
    assert f"{other} has no parameters for /fleet/robot1/fusion: begin it with '/**:'" in launch.log_path.read_text()


def test_the_demo_plays_pictures(launched, tmp_path):
    import cv2
    import numpy as np

    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for camera in ("thermal", "rgb"):
        (tmp_path / "pairs" / camera).mkdir(parents=True)
        for number in range(3):
            cv2.imwrite(str(tmp_path / "pairs" / camera / f"{number}.png"), ((rows + columns + 9 * number) % 256).astype(np.uint8))
    launch = launched("demo", "params_file:=cpu.yaml", f"replay:={tmp_path / 'pairs'}")
    frames = []
    launch.node.create_subscription(Image, "/fused/image", frames.append, BEST_EFFORT)
    launch.until(lambda: len(frames) >= 5)
    assert (frames[-1].height, frames[-1].width) == SIZE


def record_command(monkeypatch, distribution, group="", **arguments):
    """What record.launch.py would run."""
    monkeypatch.setenv("ROS_DISTRO", distribution)
    record, context = module("record"), LaunchContext()
    for argument in record["ARGUMENTS"]:
        argument.execute(context)
    context.launch_configurations.update(arguments, **({"ros_namespace": group} if group else {}))  # as PushRosNamespace does
    [process] = record["start"](context)
    return ["".join(part.perform(context) for part in item) for item in process.cmd]


def test_recording_names_its_topics_as_the_distribution_wants(monkeypatch):
    lyrical = record_command(monkeypatch, "lyrical")
    assert lyrical[:7] == ["ros2", "bag", "record", "--storage", "mcap", "--storage-preset-profile", "zstd_fast"]
    fused = ["/fused/image", "/fused/camera_info", "/fused/thermal_registered", "/fusion/info", "/diagnostics"]
    assert lyrical[lyrical.index("--topics") + 1 :] == fused
    humble = record_command(monkeypatch, "humble")
    assert "--topics" not in humble
    assert humble[-5:] == fused


def test_recording_in_a_namespace_with_the_cameras(monkeypatch):
    given = {
        "namespace": "robot1",
        "inputs": "true",
        "compressed": "true",
        "video": "true",
        "thermal_topic": "/boson/image_raw",
        "extra_topics": "/tf /odom",
    }
    command = record_command(monkeypatch, "jazzy", group="/fleet", **given)
    names = ("fused/image/compressed", "fused/video", "fused/camera_info", "fused/thermal_registered", "fusion/info")
    fused = [f"/fleet/robot1/{name}" for name in names]
    cameras = ["/boson/image_raw", *(f"/fleet/robot1/{name}" for name in ("thermal/camera_info", "rgb/image_raw", "rgb/camera_info"))]
    assert command[command.index("--topics") + 1 :] == [*fused, *cameras, "/diagnostics", "/tf", "/odom"]
    overrides = yaml.safe_load(Path(command[command.index("--qos-profile-overrides-path") + 1]).read_text())
    assert overrides["/boson/image_raw"]["reliability"] == "best_effort"
    assert overrides["/fleet/robot1/fusion/info"]["durability"] == "transient_local"
    assert set(overrides) == {*fused, *cameras}
