"""Two robots in one bring-up: `ros2 launch examples/two_robots.launch.py`. Each has its cameras below its own namespace."""

from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from aenet_ros.core.files import share_dir
from launch import LaunchDescription

FUSION = str(share_dir() / "launch" / "fusion.launch.py")
ROBOTS = {
    "robot1": {"thermal_topic": "boson/image_raw", "rgb_topic": "camera/color/image_raw"},
    "robot2": {"thermal_topic": "lepton/image_raw", "rgb_topic": "camera/color/image_raw", "params_file": "cpu.yaml"},
}


def generate_launch_description() -> LaunchDescription:
    """Relative topics are below the namespace: /robot1/boson/image_raw in, /robot1/fused/image out."""
    return LaunchDescription(
        [
            IncludeLaunchDescription(PythonLaunchDescriptionSource(FUSION), launch_arguments={"namespace": name, **given}.items())
            for name, given in ROBOTS.items()
        ]
    )
