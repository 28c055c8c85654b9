"""Starts the fusing node: `ros2 launch aenet_ros fusion.launch.py thermal_topic:=/boson/image_raw rgb_topic:=/camera/image_raw`.

An argument left empty changes nothing: the value stays the parameter file's, or the node's own default.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from aenet_ros.core.resources import config_file, process_environment, share_dir
from aenet_ros.ros.launch_helpers import program
from launch import LaunchContext, LaunchDescription

BOOLEANS = ["true", "false"]
ARGUMENTS = [
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and of its relative topics."),
    DeclareLaunchArgument(
        "params_file",
        default_value="fusion.yaml",
        description="Parameter file: a path, or a shipped one (fusion.yaml, jetson_orin.yaml, desktop_gpu.yaml, cpu.yaml).",
    ),
    DeclareLaunchArgument("thermal_topic", default_value="", description="The thermal camera's image topic, without /compressed."),
    DeclareLaunchArgument("rgb_topic", default_value="", description="The rgb camera's image topic, without /compressed."),
    DeclareLaunchArgument("thermal_info_topic", default_value="", description="The thermal camera's CameraInfo topic."),
    DeclareLaunchArgument("rgb_info_topic", default_value="", description="The rgb camera's CameraInfo topic."),
    DeclareLaunchArgument(
        "use_sim_time", default_value="", choices=["", *BOOLEANS], description="Take the time from /clock (bags, simulators)."
    ),
    DeclareLaunchArgument(
        "autostart", default_value="", choices=["", *BOOLEANS], description="false: wait for a lifecycle manager to configure and activate."
    ),
    DeclareLaunchArgument("respawn", default_value="true", choices=BOOLEANS, description="Start the node anew should it die."),
    DeclareLaunchArgument("respawn_delay", default_value="2.0", description="Seconds until then."),
    DeclareLaunchArgument("log_level", default_value="", description="debug, info, warn, error or fatal; also LOGGER:=LEVEL."),
    DeclareLaunchArgument("rviz", default_value="false", choices=BOOLEANS, description="Open RViz with the package's layout."),
    DeclareLaunchArgument(
        "dds_profile",
        default_value="auto",
        description="Fast DDS profile: a path; auto: the environment's, else the shipped fastdds_shm.xml; none: left alone.",
    ),
]


def start(context: LaunchContext) -> list[Node]:
    """The node, and RViz where it is wanted, from the arguments' values."""
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    common = {"namespace": given["namespace"], "additional_env": process_environment(given["dds_profile"]), "output": "screen"}
    switches = {name: given[name] == "true" for name in ("use_sim_time", "autostart") if given[name]}
    # A plain Node, for the node brings itself to active (autostart): so a respawned one is active again too, whereas a
    # LifecycleNode's transitions would be sent once, to the first.
    fusion = Node(
        **program("fusion_node", ["--ros-args", "--log-level", given["log_level"]] if given["log_level"] else []),
        name="fusion",
        parameters=[str(config_file(given["params_file"])), *([switches] if switches else [])],
        remappings=remappings(given),
        respawn=given["respawn"] == "true",
        respawn_delay=float(given["respawn_delay"]),
        **common,
    )
    return [fusion, rviz(given, common)] if given["rviz"] == "true" else [fusion]


def remappings(given: dict[str, str]) -> list[tuple[str, str]]:
    """From the node's topics to those that were given."""
    pairs = []
    for camera in ("thermal", "rgb"):
        if topic := given[f"{camera}_topic"]:
            pairs += [(f"{camera}/image_raw", topic)]  # the node itself adds /compressed to what this becomes
        if topic := given[f"{camera}_info_topic"]:
            pairs += [(f"{camera}/camera_info", topic)]
    return pairs


def rviz(given: dict[str, str], common: dict[str, object]) -> Node:
    """RViz with the layout, whose absolute topics are brought into the namespace."""
    inputs = [(f"/{camera}/image_raw", given[f"{camera}_topic"] or f"{camera}/image_raw") for camera in ("thermal", "rgb")]
    outputs = [(f"/{topic}", topic) for topic in ("fused/image", "fused/thermal_registered")]
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        arguments=["-d", str(share_dir() / "rviz" / "fusion.rviz")],
        parameters=[{"use_sim_time": given["use_sim_time"] == "true"}],
        remappings=inputs + outputs,
        **common,
    )


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` reads."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
