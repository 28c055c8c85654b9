"""Starts the fusion node: `ros2 launch aenet_ros fusion.launch.py thermal_topic:=/boson/image_raw rgb_topic:=/camera/image_raw`.

An empty argument changes nothing: the value of the parameter file or the default of the node applies.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from aenet_ros.config.params_file import read_params_file
from aenet_ros.core.files import config_file, process_environment, share_dir
from aenet_ros.ros.node_main import full_namespace, program
from launch import LaunchContext, LaunchDescription

BOOLEANS = ["true", "false", "True", "False"]  # both are in use
ARGUMENTS = [
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and of its relative topics."),
    DeclareLaunchArgument(
        "params_file",
        default_value="",
        description="Parameter file: a path, or an installed file (jetson_orin.yaml, desktop_gpu.yaml, cpu.yaml, fusion.yaml).",
    ),
    DeclareLaunchArgument("thermal_topic", default_value="", description="The thermal camera's image topic, without /compressed."),
    DeclareLaunchArgument("rgb_topic", default_value="", description="The rgb camera's image topic, without /compressed."),
    DeclareLaunchArgument("thermal_info_topic", default_value="", description="The thermal camera's CameraInfo topic."),
    DeclareLaunchArgument("rgb_info_topic", default_value="", description="The rgb camera's CameraInfo topic."),
    DeclareLaunchArgument(
        "use_sim_time", default_value="", choices=["", *BOOLEANS], description="Use the time of /clock (bags, simulators)."
    ),
    DeclareLaunchArgument(
        "autostart", default_value="", choices=["", *BOOLEANS], description="false: wait for a lifecycle manager to configure and activate."
    ),
    DeclareLaunchArgument("respawn", default_value="true", choices=BOOLEANS, description="Restart the node if it exits."),
    DeclareLaunchArgument("respawn_delay", default_value="2.0", description="Delay of a restart in seconds."),
    DeclareLaunchArgument("log_level", default_value="", description="Log level: debug, info, warn, error or fatal; or LOGGER:=LEVEL."),
    DeclareLaunchArgument("rviz", default_value="false", choices=BOOLEANS, description="Open RViz with the layout of this package."),
    DeclareLaunchArgument(
        "dds_profile",
        default_value="auto",
        description="Fast DDS profile: a path; auto: that of the environment, else fastdds_shm.xml of this package; none: no profile.",
    ),
]


def start(context: LaunchContext) -> list[Node]:
    """The node and, if requested, RViz."""
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    given |= {name: value.lower() for name, value in given.items() if value in BOOLEANS}
    name = f"{full_namespace(context, given['namespace'])}/fusion"
    params_files = [config_file(given["params_file"])] if given["params_file"] else []
    for path in params_files:
        if not read_params_file(path, name):
            get_logger("fusion").warning(f"{path} has no parameters for {name}: begin it with '/**:' or '{name}:'")
    common = {"namespace": given["namespace"], "additional_env": process_environment(given["dds_profile"]), "output": "screen"}
    switches = {name: given[name] == "true" for name in ("use_sim_time", "autostart") if given[name]}
    # Not LifecycleNode: the node activates itself (autostart), also after a respawn. LifecycleNode sends the transitions only once.
    fusion = Node(
        **program("aenet_fusion_node", ["--ros-args", "--log-level", given["log_level"]] if given["log_level"] else []),
        name="fusion",
        parameters=[*map(str, params_files), *([switches] if switches else [])],
        remappings=remappings(given),
        respawn=given["respawn"] == "true",
        respawn_delay=float(given["respawn_delay"]),
        **common,
    )
    return [fusion, rviz(given, common)] if given["rviz"] == "true" else [fusion]


def remappings(given: dict[str, str]) -> list[tuple[str, str]]:
    """Remappings from the topics of the node to the given topics."""
    pairs = []
    for camera in ("thermal", "rgb"):
        if topic := given[f"{camera}_topic"]:
            pairs += [(f"{camera}/image_raw", topic)]  # the node appends /compressed itself
        if topic := given[f"{camera}_info_topic"]:
            pairs += [(f"{camera}/camera_info", topic)]
    return pairs


def rviz(given: dict[str, str], common: dict[str, object]) -> Node:
    """RViz with the layout; its absolute topics are remapped into the namespace."""
    inputs = [("/rgb/image_raw", given["rgb_topic"] or "rgb/image_raw")]
    outputs = [(f"/{topic}", topic) for topic in ("fused/image", "fused/thermal_registered", "thermal/view", "hot_spots/markers")]
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        arguments=["-d", str(share_dir() / "rviz" / "fusion.rviz")],
        parameters=[{"use_sim_time": given["use_sim_time"] == "true"}] if given["use_sim_time"] else [],
        remappings=inputs + outputs,
        **common,
    )


def generate_launch_description() -> LaunchDescription:
    """Entry point of `ros2 launch`."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
