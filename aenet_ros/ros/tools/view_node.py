"""Serves the web page of a robot. `aenet view` starts it, with the settings as JSON in the environment variable AENET_VIEW."""

import json
import os
import sys

import rclpy
from rclpy.exceptions import InvalidNamespaceException, InvalidNodeNameException, InvalidTopicNameException
from rclpy.signals import SignalHandlerOptions

from aenet_ros.core.errors import AenetError
from aenet_ros.ros.tools.view_source import RobotView
from aenet_ros.view import ViewSettings
from aenet_ros.view.server import serve


def main() -> None:
    """Serve until Ctrl-C or SIGTERM. An error ends the process with one sentence and status 1."""
    settings = ViewSettings(**json.loads(os.environ.pop("AENET_VIEW", "{}")))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        source = RobotView(settings)
        serve(source, settings, f"the node {source.title}")
    except (AenetError, InvalidNamespaceException, InvalidNodeNameException, InvalidTopicNameException) as error:
        sys.exit(f"aenet view: {' '.join(str(error).split())}")
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
