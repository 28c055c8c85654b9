"""Starts nodes of this package from launch files, for each way of installation."""

import sys
from pathlib import Path
from typing import Any

MODULES = {
    "fusion_node": "aenet_ros.ros.node",
    "rig_node": "aenet_ros.ros.tools.rig_node",
    "replay_node": "aenet_ros.ros.tools.replay_node",
}


def program(name: str, arguments: list[str] | None = None) -> dict[str, Any]:
    """Keyword arguments of ``launch_ros.actions.Node`` that start ``name``, a key of ``MODULES``, with ``arguments``.

    Uses the executable of the workspace, as `ros2 run` does. If pip installed the package there is none in ``lib/aenet_ros``, and this
    Python interpreter runs the module.
    """
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        installed = (Path(get_package_prefix("aenet_ros")) / "lib" / "aenet_ros" / name).is_file()
    except (PackageNotFoundError, OSError):  # OSError: AMENT_PREFIX_PATH is not set
        installed = False
    if installed:
        return {"package": "aenet_ros", "executable": name, "arguments": arguments or []}
    return {"executable": sys.executable, "arguments": ["-m", MODULES[name], *(arguments or [])], "exec_name": name}
