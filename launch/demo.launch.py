"""The fusing node beside cameras that need no hardware: `ros2 launch aenet_ros demo.launch.py rviz:=true`.

They are the synthetic rig, whose registration the node is given, or with replay:=DIR real pairs from DIR/thermal and DIR/rgb.
"""

import tempfile
from pathlib import Path

import yaml
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from aenet_ros.config.params_file import read_params_file
from aenet_ros.core.files import config_file, process_environment, share_dir
from aenet_ros.ros.node_main import full_namespace, program
from aenet_ros.workbench.simulation.geometry import rgb_to_thermal
from aenet_ros.workbench.simulation.rig_config import RigConfig
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

ARGUMENTS = [
    DeclareLaunchArgument("replay", default_value="", description="Folder with thermal/ and rgb/ to play instead of the rig."),
    DeclareLaunchArgument("scenes", default_value="", description="The rig's scenes in turn: any of day,night,smoke."),
]
# Handed to fusion.launch.py, which says what they are.
PASSED_ON = {"namespace": "", "params_file": "", "log_level": "", "rviz": "false", "dds_profile": "auto"}
ARGUMENTS += [DeclareLaunchArgument(name, default_value=value, description="As in fusion.launch.py.") for name, value in PASSED_ON.items()]


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The cameras and the fusing node, from the arguments' values."""
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    passed_on = {name: given[name] for name in PASSED_ON}
    cameras = {"namespace": given["namespace"], "additional_env": process_environment(given["dds_profile"]), "output": "screen"}
    if given["replay"]:
        folder = str(Path(given["replay"]).expanduser().resolve())
        camera = Node(**program("aenet_replay_node"), name="replay", parameters=[{"dir": folder}], **cameras)
    else:
        scenes = [{"scenes": given["scenes"]}] if given["scenes"] else []
        camera = Node(**program("aenet_rig_node"), name="rig", parameters=scenes, **cameras)
        passed_on["params_file"] = with_the_rig_s_registration(
            given["params_file"], f"{full_namespace(context, given['namespace'])}/fusion"
        )
    node = PythonLaunchDescriptionSource(str(share_dir() / "launch" / "fusion.launch.py"))
    return [camera, IncludeLaunchDescription(node, launch_arguments=list(passed_on.items()))]


def with_the_rig_s_registration(params_file: str, node: str) -> str:
    """Path of a file with the node's parameters of ``params_file``, in which the registration and the scale are the rig's true ones."""
    given = read_params_file(config_file(params_file), node) if params_file else {}
    values = {name: value for name, value in given.items() if not name.startswith("registration.")}
    homography = [float(value) for value in rgb_to_thermal(RigConfig()).ravel()]
    values |= {"agc.profile": "centikelvin", "registration.mode": "homography", "registration.homography": homography}
    path = Path(tempfile.mkdtemp(prefix="aenet_demo_")) / "params.yaml"
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    return str(path)


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` reads."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
