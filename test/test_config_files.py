"""What ships beside the code: parameter files, the DDS profile, layouts; and how they are found."""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from aenet_ros.config import build, flatten, specs
from aenet_ros.config import docs as config_docs
from aenet_ros.core.errors import SourceError
from aenet_ros.core.files import config_file, process_environment, share_dir

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ["cpu.yaml", "desktop_gpu.yaml", "jetson_orin.yaml"]
IN_TOPICS = {"/thermal/image_raw", "/thermal/camera_info", "/rgb/image_raw", "/rgb/camera_info"}
IMAGE_TOPICS = {"/thermal/image_raw", "/rgb/image_raw", "/fused/image", "/fused/thermal_registered"}
OUT_TOPICS = {
    "/fused/image",
    "/fused/image/compressed",
    "/fused/video",
    "/fused/camera_info",
    "/fused/thermal_registered",
    "/diagnostics",
    "/fusion/info",
}


def parameters(path):
    """A parameter file's values by dotted name."""

    def walk(group, prefix):
        for key, value in group.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    content = yaml.safe_load(path.read_text())
    assert list(content) == ["/**"]
    assert list(content["/**"]) == ["ros__parameters"]
    return dict(walk(content["/**"]["ros__parameters"], ""))


@pytest.mark.parametrize(
    ("path", "text"), [("config/fusion.yaml", config_docs.render_yaml()), ("docs/parameters.md", config_docs.render_markdown())]
)
def test_generated_files_are_up_to_date(path, text):
    assert (ROOT / path).read_text() == text, "run: python -m aenet_ros.config.docs"


def test_fusion_yaml_has_every_option_with_its_default_in_its_type():
    values = parameters(ROOT / "config" / "fusion.yaml")
    assert list(values) == list(specs())
    for name, spec in specs().items():
        value = tuple(values[name]) if isinstance(values[name], list) else values[name]
        assert (value, type(value)) == (spec.default, type(spec.default)), name


def test_the_readme_has_at_most_40_parameters_and_the_others_are_marked_advanced():
    readme = (ROOT / "README.md").read_text()
    assert readme == config_docs.render_readme(readme), "run: python -m aenet_ros.config.docs"
    rows = re.findall(r"^\| `([a-z_.]+)` \|", readme, re.MULTILINE)
    assert {"sync.slop_ms", "agc.profile", "registration.file", "model.device"} <= set(rows)
    assert len(rows) <= 40
    marked = re.findall(r"^\| `([^`]+)` \|.*advanced\] \|$", (ROOT / "docs" / "parameters.md").read_text(), re.MULTILINE)
    assert sorted(rows + marked) == sorted(specs())


def test_every_number_has_a_range():
    numbers = [spec for spec in specs().values() if type(spec.default) in (int, float)]
    assert [spec.name for spec in numbers if spec.low is None or spec.high is None] == []


def test_all_parameter_files_are_covered_here():
    files = {path.name for path in (ROOT / "config").glob("*.yaml")}
    assert files == {"fusion.yaml", "record_qos.yaml", *PROFILES}


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_hold_valid_differences_only(name):
    values = parameters(ROOT / "config" / name)
    changed = flatten(build(values))
    assert {key for key, value in changed.items() if value != specs()[key].default} == set(values)


@pytest.mark.parametrize("name", ["fusion.yaml", *PROFILES])
def test_rcl_reads_the_parameter_files_in_the_types_of_the_options(name, tmp_path, monkeypatch):
    """ROS' own parser: it takes 25 for an integer parameter where we mean 25.0."""
    rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, args=["--ros-args", "--params-file", str(ROOT / "config" / name)])
    try:
        node = rclpy.create_node("fusion", context=context, automatically_declare_parameters_from_overrides=True)
        given = {key: value.value for key, value in node.get_parameters_by_prefix("").items() if key in specs()}
        node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
    assert set(given) == set(parameters(ROOT / "config" / name))
    for key, value in given.items():
        default = specs()[key].default
        assert type(value) is type(default) or isinstance(default, tuple), key
    build(given)


def test_recording_asks_for_qos_that_ros_knows_on_our_topics():
    content = yaml.safe_load((ROOT / "config" / "record_qos.yaml").read_text())
    assert set(content) == IN_TOPICS | OUT_TOPICS - {"/diagnostics"}
    qos = pytest.importorskip("rclpy.qos", reason="rclpy is not installed")
    for topic, profile in content.items():
        assert qos.ReliabilityPolicy.get_from_short_key(profile["reliability"]) == (
            qos.ReliabilityPolicy.RELIABLE if topic in OUT_TOPICS else qos.ReliabilityPolicy.BEST_EFFORT
        )
        assert qos.HistoryPolicy.get_from_short_key(profile["history"]) == qos.HistoryPolicy.KEEP_LAST
        assert profile["depth"] >= 1
    assert content["/fusion/info"]["durability"] == "transient_local"


def test_rviz_shows_our_images_with_a_reliability_that_matches():
    manager = yaml.safe_load((ROOT / "rviz" / "fusion.rviz").read_text())["Visualization Manager"]
    shown = {display["Topic"]["Value"]: display["Topic"]["Reliability Policy"] for display in manager["Displays"]}
    assert set(shown) == IMAGE_TOPICS - {"/thermal/image_raw"} | {"/thermal/view", "/hot_spots/markers"}
    assert {topic for topic, reliability in shown.items() if reliability == "Best Effort"} == {"/rgb/image_raw"}


def test_foxglove_shows_our_topics_and_every_panel_has_its_place():
    layout = json.loads((ROOT / "foxglove" / "fusion.json").read_text())
    panels = layout["configById"]
    topics = set()
    for panel in panels.values():
        mode = panel.get("imageMode", {})
        topics |= {
            mode.get("imageTopic"),
            mode.get("calibrationTopic"),
            panel.get("topicToRender"),
            panel.get("topicPath", "").split(".")[0],
        }
        topics |= set(mode.get("annotations", {}))
    new = {"/thermal/view", "/hot_spots/image_marker", "/alarms"}
    assert {"/fused/image", "/rgb/image_raw", "/diagnostics"} | new <= topics
    assert topics - {None, ""} <= IN_TOPICS | OUT_TOPICS | new

    def leaves(tree):
        return [tree] if isinstance(tree, str) else leaves(tree["first"]) + leaves(tree["second"])

    assert sorted(leaves(layout["layout"])) == sorted(panels)


def test_the_dds_profile_has_room_for_images_and_no_builtin_transport():
    tree = ElementTree.parse(ROOT / "config" / "fastdds_shm.xml")
    space = {"dds": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}
    assert int(tree.findtext(".//dds:segment_size", namespaces=space)) == 32 * 2**20
    assert int(tree.findtext(".//dds:maxMessageSize", namespaces=space)) == 16 * 2**20
    assert tree.findtext(".//dds:useBuiltinTransports", namespaces=space) == "false"
    declared = {item.text for item in tree.findall(".//dds:transport_descriptor/dds:transport_id", space)}
    used = {item.text for item in tree.findall(".//dds:userTransports/dds:transport_id", space)}
    assert declared == used
    assert len(used) == 2


PUBLISHER = """
import sys, time, rclpy
from array import array
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("camera")
publisher = node.create_publisher(Image, "image", qos_profile_sensor_data)
message = Image(height=512, width=640, encoding="rgb8", step=1920, data=array("B", bytes(512 * 1920)))
while not publisher.get_subscription_count():
    time.sleep(0.02)
time.sleep(0.5)
start = time.monotonic()
for number in range(90):
    message.header.stamp.sec = number
    publisher.publish(message)
    time.sleep(max(0.0, start + (number + 1) / 30 - time.monotonic()))
"""

SUBSCRIBER = """
import time, rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("viewer")
numbers = set()
node.create_subscription(Image, "image", lambda message: numbers.add(message.header.stamp.sec), qos_profile_sensor_data)
end = time.monotonic() + 25
while 89 not in numbers and time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.2)
    if len(numbers) and max(numbers) < 89:
        end = min(end, time.monotonic() + 5)
print(len(numbers))
"""


def best_effort_frames(environment):
    """How many of 90 images a best-effort subscriber in another process gets."""
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for code in (SUBSCRIBER, PUBLISHER)
    ]
    try:
        return int(processes[0].communicate(timeout=60)[0])
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()


def test_the_dds_profile_brings_best_effort_images_through(tmp_path):
    """Fast DDS's own transports lose nearly all of these (a few of 90); with the profile at most a few are lost."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    environment = {
        **os.environ,
        **process_environment(present={}),
        "ROS_LOG_DIR": str(tmp_path),
        "ROS_DOMAIN_ID": str(2 + (os.getpid() + 50) % 99),
    }
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    # A busy machine loses frames too; without the profile no attempt gets this far.
    assert any(best_effort_frames(environment) >= 84 for _ in range(4))  # 28 of 30 a second


def test_no_process_is_warned_about_the_variable_that_we_set(tmp_path):
    """By the Fast DDS that is installed here: it warns where the name is the old one, and reads no profile where it is too new."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    environment = {name: value for name, value in os.environ.items() if "DEFAULT_PROFILES_FILE" not in name}
    environment |= {**process_environment(present=environment), "ROS_LOG_DIR": str(tmp_path)}
    code = "import rclpy; rclpy.init(); node = rclpy.create_node('once'); print(open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "PROFILES_FILE" not in done.stderr
    assert "deprecated" not in done.stderr.lower()
    # Of a segment as large as the profile says: 32 MB rather than 512 KiB.
    segments = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) .* /dev/shm/fastdds_[0-9a-f]{16}$", done.stdout, re.MULTILINE)
    assert max(int(end, 16) - int(begin, 16) for begin, end in segments) >= 33554432


def test_share_dir_holds_this_version_s_files():
    """The checkout itself, or where it was installed for these tests."""
    for path in ("package.xml", "config/fusion.yaml", "launch/fusion.launch.py", "rviz/fusion.rviz", "foxglove/fusion.json"):
        assert (share_dir() / path).read_text() == (ROOT / path).read_text()


@pytest.mark.parametrize("library", ["lib/python3.11/site-packages", "lib/python3/dist-packages", "."])
def test_share_dir_is_found_from_an_installed_copy(tmp_path, library):
    """As pip, colcon and `pip --target` lay it out, run with nothing else on the path."""
    shutil.copytree(ROOT / "aenet_ros", tmp_path / library / "aenet_ros", ignore=shutil.ignore_patterns("__pycache__"))
    shared = tmp_path / "share" / "aenet_ros"
    shutil.copytree(ROOT / "config", shared / "config")
    shutil.copy(ROOT / "package.xml", shared)
    code = "from aenet_ros.core.files import share_dir; print(share_dir())"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / library)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=True)
    assert Path(done.stdout.strip()) == shared


def test_share_dir_says_what_to_do_where_nothing_was_installed(tmp_path):
    shutil.copytree(ROOT / "aenet_ros", tmp_path / "aenet_ros", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from aenet_ros.core.files import share_dir; share_dir()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert "SourceError" in done.stderr
    assert "pip install" in done.stderr


def test_config_file_takes_a_path_first_then_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_file("cpu.yaml") == share_dir() / "config" / "cpu.yaml"
    (tmp_path / "cpu.yaml").write_text("mine")
    assert config_file("cpu.yaml") == tmp_path / "cpu.yaml"
    with pytest.raises(SourceError, match=r"'nano\.yaml'.*jetson_orin\.yaml"):
        config_file("nano.yaml")


def test_process_environment_names_a_profile_as_the_distribution_s_fast_dds_reads_it(tmp_path, monkeypatch):
    new, old = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
    shipped = str(share_dir() / "config" / "fastdds_shm.xml")
    mine, other = tmp_path / "mine.xml", tmp_path / "other.xml"
    mine.write_text("<dds/>")
    other.write_text("<dds/>")
    assert process_environment(present={"ROS_DISTRO": "humble"}) == {old: shipped}
    assert process_environment(present={"ROS_DISTRO": "lyrical"}) == {new: shipped}
    assert process_environment(str(mine), present={"ROS_DISTRO": "jazzy"}) == {old: str(mine)}
    for distribution, read in (("jazzy", old), ("kilted", new)):
        assert process_environment(present={"ROS_DISTRO": distribution, old: str(mine)}) == {read: str(mine)}
        assert process_environment(present={"ROS_DISTRO": distribution, new: str(mine)}) == {read: str(mine)}
        assert process_environment(present={"ROS_DISTRO": distribution, new: str(mine), old: str(other)})[read] == str(
            other if read == old else mine
        )
    versions = {}
    monkeypatch.setattr("aenet_ros.core.files.metadata_version", lambda package: versions[package])
    for package, version, names in (("ros-fastdds", "3.2.3", {new}), ("ros-fastrtps", "2.14.5", {old})):
        monkeypatch.setattr("aenet_ros.core.files.PackageNotFoundError", KeyError)
        versions.clear()
        versions[package] = version
        assert set(process_environment(present={})) == names
    versions.clear()
    assert process_environment(present={old: str(mine)}) == {new: str(mine), old: str(mine)}
    assert process_environment("none") == {}
    with pytest.raises(SourceError, match=r"gone\.xml"):
        process_environment("gone.xml")
