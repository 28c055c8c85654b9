"""Show a robot or a bag in a web page.

Without BAG, the page shows the robot whose topics this machine receives (ROS_DOMAIN_ID). With BAG, it has play, pause and seek, and shows
the recorded fused pictures, or fuses as `aenet fuse` does. The page shows rgb, thermal and fused with a slider between two of them,
temperatures of points and boxes, hot spots, alarms, rates, latency and diagnostics, and it changes the parameters that can change while
the node runs.
The server listens on this machine only; over ssh, forward its port. On other addresses it requires a token, which it prints.

examples:
  aenet view
  aenet view --namespace /robot1
  ssh -L 8470:127.0.0.1:8470 robot    (then http://127.0.0.1:8470/ here, while `aenet view` runs there)
  aenet view --host 0.0.0.0
  aenet view drive.mcap --set agc.profile=lepton
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path

from aenet_ros.cli.common import add_config_arguments, add_time_argument, remark, uncropped_config
from aenet_ros.core.errors import ConfigError, MissingDependencyError
from aenet_ros.view import ViewSettings, choose_token

TOKEN_VARIABLE = "AENET_VIEW_TOKEN"
DEFAULTS = ViewSettings()
RANGES = {"port": (0, 65535), "max_hz": (0.1, 120.0), "quality": (1, 100)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bag", metavar="BAG", type=Path, nargs="?", help="bag to show instead of a robot")
    parser.add_argument("--port", type=int, default=DEFAULTS.port, help="port to listen on; 0: any free one (default: %(default)s)")
    parser.add_argument("--host", default=DEFAULTS.host, help="address to listen on; 0.0.0.0: all addresses (default: %(default)s)")
    parser.add_argument(
        "--token",
        default="",
        help=f"token to require; default: a new one if other machines can reach --host. Prefer {TOKEN_VARIABLE}, which ps does not show",
    )
    parser.add_argument("--max-hz", metavar="HZ", type=float, default=DEFAULTS.max_hz, help="maximum picture rate (default: %(default)g)")
    parser.add_argument("--quality", metavar="N", type=int, default=DEFAULTS.quality, help="JPEG quality, 1 to 100 (default: %(default)s)")
    parser.add_argument("--rgb-topic", metavar="TOPIC", default="", help="default: as the node reports; in a bag, chosen by name")
    parser.add_argument("--thermal-topic", metavar="TOPIC", default="", help="default: as the node reports; in a bag, chosen by name")
    robot = parser.add_argument_group("robot")
    robot.add_argument("--namespace", metavar="NS", default="", help="namespace of the fusion node")
    robot.add_argument("--node", metavar="NAME", default=DEFAULTS.node, help="name of the fusion node (default: %(default)s)")
    robot.add_argument("--fused-topic", metavar="TOPIC", default="", help="topic of the fused picture, if fused/image was remapped")
    bag = parser.add_argument_group("bag")
    bag.add_argument("--fuse", action="store_true", help="fuse again, even if the bag has fused pictures")
    add_time_argument(bag)
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    settings = _settings(args)
    if find_spec("aiohttp") is None:
        raise MissingDependencyError("the web server needs aiohttp: apt install python3-aiohttp, or pip install aiohttp")
    if args.bag is not None:
        return _show_bag(args, settings)
    if args.fuse or args.set or args.params:
        raise ConfigError("--fuse, --set and --params are for a bag; set a robot's parameters in the page")
    if find_spec("rclpy") is None:
        raise MissingDependencyError(
            "a robot needs rclpy: source a ROS 2 installation (. /opt/ros/DISTRIBUTION/setup.sh), or give a bag: aenet view drive.mcap"
        )
    _exec_node(settings)
    return 0


def _settings(args: argparse.Namespace) -> ViewSettings:
    for name, (low, high) in RANGES.items():
        value = getattr(args, name)
        if not low <= value <= high:
            raise ConfigError(f"--{name.replace('_', '-')} {value:g}: give {low:g} to {high:g}")
    token = choose_token(args.host, args.token or os.environ.get(TOKEN_VARIABLE, ""))
    return ViewSettings(**{field.name: getattr(args, field.name) for field in fields(ViewSettings)} | {"token": token})


def _exec_node(settings: ViewSettings) -> None:
    """Replace this process by the ROS node, with the environment that large images need. Ctrl-C then reaches it directly."""
    from aenet_ros.core.files import process_environment

    environment = {**os.environ, **process_environment(), "AENET_VIEW": json.dumps(asdict(settings))}
    environment.pop(TOKEN_VARIABLE, None)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "aenet_ros.ros.tools.view_node"], environment)


def _show_bag(args: argparse.Namespace, settings: ViewSettings) -> int:
    from aenet_ros.view.bag_view import BagView
    from aenet_ros.view.server import serve

    source = BagView(args.bag, uncropped_config(args, "aenet view"), args.thermal_topic, args.rgb_topic, fuse=args.fuse, time=args.time)
    for text in [*source.notes, *source.remarks]:
        remark(text)
    serve(source, settings, str(args.bag))
    return 0
