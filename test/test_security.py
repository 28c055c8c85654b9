"""The SROS 2 policy that is shipped names what the running node has: every topic and service, and nothing else."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS 2")

from ros_harness import Robot

from aenet_ros.cli.processes import free_domain
from aenet_ros.core.files import share_dir

pytestmark = pytest.mark.slow

POLICY = share_dir() / "config" / "security.policy.xml"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "security.md"
# What only some ways to run it need.
WAYS = {
    "as it is": {},
    "all inputs": {
        "input.thermal.transport": "compressed",
        "input.rgb.transport": "compressed",
        "registration.mode": "depth",
        "use_sim_time": "true",
    },
}
# Only where tf2_ros is installed, with registration.extrinsics_source tf.
BY_TF = {"/tf", "/tf_static"}
# Only where their message packages are installed.
BY_PACKAGE = {"/hot_spots", "/hot_spots/markers", "/hot_spots/image_marker", "/fused/video", "/fused/image/ffmpeg"}
# Of rclpy itself, and not of every distribution.
OPTIONAL = {"/fusion/get_type_description"}

# In a process and a domain of its own: what earlier tests left in this process is not in its graph.
GRAPH = """
import json, time, rclpy
rclpy.init()
node = rclpy.create_node("graph_reader")
names = ("publisher", "subscriber", "service", "client")
asks = [getattr(node, f"get_{name}_names_and_types_by_node") for name in names]
end, before, seen = time.monotonic() + 120, None, []
while not (seen and all(seen[:3]) and seen == before):  # discovered by and by: complete where nothing came in a second
    assert time.monotonic() < end, seen
    time.sleep(1.0)
    before = seen
    try:
        seen = [sorted(topic for topic, _ in ask("fusion", "/")) for ask in asks]
    except Exception:  # not discovered yet
        seen = []
print(json.dumps(seen))
"""


def resolved(name, profile):
    """A policy's expression as a full name."""
    if name.startswith("/"):
        return name
    space = profile.get("ns").rstrip("/")
    return f"{space}/{profile.get('node')}{name[1:]}" if name.startswith("~") else f"{space}/{name}"


def allowed():
    """Of the shipped policy: (publish, subscribe, reply) as sets of full names."""
    [profile] = ElementTree.parse(POLICY).getroot().iterfind("enclaves/enclave/profiles/profile")
    assert {value for group in profile for value in group.attrib.values()} == {"ALLOW"}
    assert {key for group in profile for key in group.attrib} == {"publish", "subscribe", "reply"}
    return tuple(
        {resolved(item.text.strip(), profile) for group in profile if kind in group.attrib for item in group}
        for kind in ("publish", "subscribe", "reply")
    )


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The same of the node as it runs, over all WAYS."""
    found = (set(), set(), set())
    for parameters in WAYS.values():
        folder = tmp_path_factory.mktemp("security")
        pose = folder / "pose.yaml"
        pose.write_text("thermal_from_rgb: {rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1], translation: [0.05, 0, 0]}\n")
        given = {**parameters, "registration.file": pose} if "registration.mode" in parameters else parameters
        robot = Robot(folder, given, domain=free_domain())
        try:
            robot.start_node()
            robot.wait(lambda infos=robot.infos: infos, "the node configured", 90)
            robot.wait_state("active", 60)
            answer = subprocess.run(
                [sys.executable, "-c", GRAPH], env=robot.environment, capture_output=True, text=True, timeout=200, check=False
            )
            assert answer.returncode == 0, answer.stderr + robot.log()
            *lists, clients = json.loads(answer.stdout)
            for names, seen in zip(found, lists, strict=True):
                names.update(seen)
            assert clients == [], "it asks for no service"
        finally:
            robot.close()
    return found


def test_the_policy_allows_what_the_node_publishes(real):
    assert allowed()[0] - BY_PACKAGE == real[0] - BY_PACKAGE


def test_the_policy_allows_what_the_node_subscribes_to(real):
    assert allowed()[1] == real[1] | BY_TF


def test_the_policy_allows_the_services_that_the_node_offers(real):
    assert allowed()[2] - OPTIONAL == real[2] - OPTIONAL


def test_the_page_shows_the_file():
    assert "config/security.policy.xml" in PAGE.read_text()
