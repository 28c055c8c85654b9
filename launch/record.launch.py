"""Records the fused streams into an mcap bag: `ros2 launch aenet_ros record.launch.py output:=my_bag inputs:=true`."""

import os
import tempfile
from pathlib import Path

import yaml
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from aenet_ros.core.files import config_file, process_environment
from aenet_ros.ros.node_main import full_namespace
from launch import LaunchContext, LaunchDescription

BOOLEANS = ["true", "false", "True", "False"]  # both are in use
ARGUMENTS = [
    DeclareLaunchArgument("output", default_value="", description="Folder of the new bag; empty: rosbag2_ and the time."),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the fusion node."),
    DeclareLaunchArgument(
        "compressed", default_value="false", choices=BOOLEANS, description="Record fused/image/compressed (jpeg) instead of fused/image."
    ),
    DeclareLaunchArgument(
        "video", default_value="false", choices=BOOLEANS, description="Record fused/video (H.264) instead of fused/image."
    ),
    DeclareLaunchArgument(
        "inputs", default_value="false", choices=BOOLEANS, description="Record the camera topics too, so that the bag can be fused again."
    ),
    DeclareLaunchArgument("thermal_topic", default_value="thermal/image_raw", description="The thermal images, for inputs:=true."),
    DeclareLaunchArgument("rgb_topic", default_value="rgb/image_raw", description="The rgb images, for inputs:=true."),
    DeclareLaunchArgument("thermal_info_topic", default_value="thermal/camera_info", description="CameraInfo topic, for inputs:=true."),
    DeclareLaunchArgument("rgb_info_topic", default_value="rgb/camera_info", description="CameraInfo topic, for inputs:=true."),
    DeclareLaunchArgument("extra_topics", default_value="", description="Additional topics, separated by spaces: '/tf /tf_static'."),
    DeclareLaunchArgument("qos_file", default_value="", description="QoS overrides by topic; empty: record_qos.yaml of this package."),
    DeclareLaunchArgument(
        "preset",
        default_value="zstd_fast",
        choices=["none", "fastwrite", "zstd_fast", "zstd_small"],
        description="Preset profile of the mcap storage.",
    ),
    DeclareLaunchArgument(
        "max_bag_size", default_value="4294967296", description="Size in bytes at which the bag continues in a new file; 0: never."
    ),
    DeclareLaunchArgument(
        "max_bag_duration", default_value="0", description="Duration in seconds after which the bag continues in a new file; 0: never."
    ),
    DeclareLaunchArgument("use_sim_time", default_value="false", choices=BOOLEANS, description="Use the time of /clock."),
    DeclareLaunchArgument("dds_profile", default_value="auto", description="Fast DDS profile, as in fusion.launch.py."),
]


def start(context: LaunchContext) -> list[ExecuteProcess]:
    """The `ros2 bag record` process."""
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    given |= {name: value.lower() for name, value in given.items() if value in BOOLEANS}
    given["namespace"] = full_namespace(context, given["namespace"])
    command = ["ros2", "bag", "record", "--storage", "mcap", "--storage-preset-profile", given["preset"]]
    command += ["--max-bag-size", given["max_bag_size"], "--max-bag-duration", given["max_bag_duration"]]
    if given["output"]:
        command += ["--output", given["output"]]
    if given["use_sim_time"] == "true":
        command += ["--use-sim-time"]
    names = topics(given)
    command += ["--qos-profile-overrides-path", given["qos_file"] or qos_overrides(names)]
    # Humble and Iron take the topics without the option --topics, Lyrical only with it.
    command += [
        *([] if os.environ.get("ROS_DISTRO") in ("humble", "iron") else ["--topics"]),
        *names.values(),
        *given["extra_topics"].split(),
    ]
    return [
        ExecuteProcess(
            cmd=command,
            output="screen",
            additional_env=process_environment(given["dds_profile"]),
            sigterm_timeout="30",  # time to finish the bag on a slow disk before launch kills the recorder
        )
    ]


def topics(given: dict[str, str]) -> dict[str, str]:
    """The topics to record: from the name in record_qos.yaml to the name on the graph."""
    images = [name for choice, name in (("compressed", "fused/image/compressed"), ("video", "fused/video")) if given[choice] == "true"]
    names = {f"/{name}": name for name in (*(images or ["fused/image"]), "fused/camera_info", "fused/thermal_registered", "fusion/info")}
    if given["inputs"] == "true":
        for camera in ("thermal", "rgb"):
            names |= {f"/{camera}/image_raw": given[f"{camera}_topic"], f"/{camera}/camera_info": given[f"{camera}_info_topic"]}
    prefix = given["namespace"] + "/"
    return {key: name if name.startswith("/") else prefix + name for key, name in names.items()} | {"/diagnostics": "/diagnostics"}


def qos_overrides(names: dict[str, str]) -> str:
    """Write a copy of record_qos.yaml with the names on the graph; return its path."""
    shipped = yaml.safe_load(config_file("record_qos.yaml").read_text())
    path = Path(tempfile.mkdtemp(prefix="aenet_record_")) / "qos.yaml"
    path.write_text(yaml.safe_dump({name: shipped[key] for key, name in names.items() if key in shipped}))
    return str(path)


def generate_launch_description() -> LaunchDescription:
    """Entry point of `ros2 launch`."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
