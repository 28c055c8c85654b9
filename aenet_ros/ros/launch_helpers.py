"""How launch files start our nodes, wherever the package lives."""

import sys
from pathlib import Path
from typing import Any

MODULES = {
    "fusion_node": "aenet_ros.ros.node",
    "rig_node": "aenet_ros.ros.tools.rig_node",
    "replay_node": "aenet_ros.ros.tools.replay_node",
}


def program(name: str, arguments: list[str] | None = None) -> dict[str, Any]:
    """Keywords for ``launch_ros.actions.Node`` that start ``name``, one of ``MODULES``, with ``arguments``.

    That is the workspace's program, as `ros2 run` would find it. Where pip installed the package there is none in
    ``lib/aenet_ros``, and this Python runs the module.
    """
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        installed = (Path(get_package_prefix("aenet_ros")) / "lib" / "aenet_ros" / name).is_file()
    except (PackageNotFoundError, OSError):  # the latter: no AMENT_PREFIX_PATH at all
        installed = False
    if installed:
        return {"package": "aenet_ros", "executable": name, "arguments": arguments or []}
    return {"executable": sys.executable, "arguments": ["-m", MODULES[name], *(arguments or [])], "exec_name": name}
