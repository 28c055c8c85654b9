"""Show a robot, or a bag, in a web page.

Without a BAG it is the robot whose topics are seen from here (ROS_DOMAIN_ID); with one, the page has play, pause and seek, and fuses as
`aenet fuse` does, or shows the fused pictures that were recorded. The page has rgb, thermal and fused with a slider between them, the
temperature under the cursor, rates, latency and diagnostics, and the parameters that may be changed while the node runs.
It listens on this machine alone; over ssh, forward its one port. For other addresses it asks for a token, which it prints.

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
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from aenet_ros.cli.common import add_config_arguments, config_from, remark
from aenet_ros.core.errors import ConfigError, MissingDependencyError
from aenet_ros.view.settings import ViewSettings

VARIABLE = "AENET_VIEW"
TOKEN_VARIABLE = "AENET_VIEW_TOKEN"
DEFAULTS = ViewSettings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bag", metavar="BAG", type=Path, nargs="?", help="a bag to show instead of a robot")
    parser.add_argument("--port", type=int, default=DEFAULTS.port, help="to listen on; 0: any that is free (default: %(default)s)")
    parser.add_argument("--host", default=DEFAULTS.host, help="address to listen on; 0.0.0.0: all of them (default: %(default)s)")
    parser.add_argument(
        "--token",
        default="",
        help=f"the token to ask for, else one is made where others can reach --host; better in {TOKEN_VARIABLE}",
    )
    parser.add_argument("--max-hz", metavar="HZ", type=float, default=DEFAULTS.max_hz, help="most pictures a second (default: %(default)g)")
    parser.add_argument("--quality", metavar="N", type=int, default=DEFAULTS.quality, help="of the JPEGs, 1 to 100 (default: %(default)s)")
    parser.add_argument("--rgb-topic", metavar="TOPIC", default="", help="else as the node says, or in a bag guessed by the names")
    parser.add_argument("--thermal-topic", metavar="TOPIC", default="", help="likewise")
    robot = parser.add_argument_group("robot")
    robot.add_argument("--namespace", metavar="NS", default="", help="of the fusing node")
    robot.add_argument("--node", metavar="NAME", default=DEFAULTS.node, help="of the fusing node (default: %(default)s)")
    robot.add_argument("--fused-topic", metavar="TOPIC", default="", help="where fused/image was remapped")
    bag = parser.add_argument_group("bag")
    bag.add_argument("--fuse", action="store_true", help="fuse anew even where the bag has fused pictures")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    settings = _settings(args)
    if find_spec("aiohttp") is None:
        raise MissingDependencyError(
            "the page is served with aiohttp, which is not installed: apt install python3-aiohttp, or pip install aiohttp"
        )
    if args.bag is not None:
        return _show_bag(args, settings)
    if args.fuse or args.set or args.params:
        raise ConfigError("--fuse, --set and --params are for a bag; a robot's parameters are set in the page")
    if find_spec("rclpy") is None:
        raise MissingDependencyError(
            "no rclpy here, so there is no robot to show: source a ROS 2 installation (. /opt/ros/DISTRIBUTION/setup.sh), "
            "or give a bag: aenet view drive.mcap"
        )
    _become_node(settings)
    return 0


def _settings(args: argparse.Namespace) -> ViewSettings:
    from aenet_ros.view.access import choose_token

    if not 0 <= args.port <= 65535:
        raise ConfigError(f"--port {args.port}: give 0 to 65535")
    if not 0.1 <= args.max_hz <= 120.0:
        raise ConfigError(f"--max-hz {args.max_hz:g}: give 0.1 to 120")
    if not 1 <= args.quality <= 100:
        raise ConfigError(f"--quality {args.quality}: give 1 to 100")
    return ViewSettings(
        host=args.host,
        port=args.port,
        token=choose_token(args.host, args.token or os.environ.get(TOKEN_VARIABLE, "")),
        node=args.node,
        namespace=args.namespace,
        fused_topic=args.fused_topic,
        rgb_topic=args.rgb_topic,
        thermal_topic=args.thermal_topic,
        max_hz=args.max_hz,
        quality=args.quality,
    )


def _become_node(settings: ViewSettings) -> None:
    """Turn into the program that talks to ROS, in an environment that large images need; Ctrl-C then reaches it directly."""
    from aenet_ros.core.resources import process_environment

    environment = {**os.environ, **process_environment(), VARIABLE: json.dumps(asdict(settings))}
    environment.pop(TOKEN_VARIABLE, None)
    here = Path(__file__).resolve().parents[2]  # not installed, or imported from elsewhere: the new program finds the package as we did
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(here), os.environ.get("PYTHONPATH", "")]))
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "aenet_ros.ros.tools.view_node"], environment)


def _show_bag(args: argparse.Namespace, settings: ViewSettings) -> int:
    from aenet_ros.view.bag_view import BagView
    from aenet_ros.view.server import serve
    from aenet_ros.view.status_text import welcome

    source = BagView(args.bag, config_from(args), args.thermal_topic, args.rgb_topic, fuse=args.fuse)
    for text in source.remarks:
        remark(text)
    serve(source, settings, lambda port: print(welcome(settings, port, str(args.bag)), flush=True))
    return 0
