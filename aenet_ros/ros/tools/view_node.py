"""Shows a robot in a web page; `aenet view` starts it, with the settings as JSON in the environment variable AENET_VIEW."""

import json
import os
import sys
from typing import Any

import rclpy
from rclpy.exceptions import InvalidNamespaceException, InvalidNodeNameException, InvalidTopicNameException
from rclpy.signals import SignalHandlerOptions

from aenet_ros.core.errors import AenetError
from aenet_ros.ros.tools.view_source import RobotView
from aenet_ros.view.server import serve
from aenet_ros.view.settings import ViewSettings
from aenet_ros.view.status_text import welcome

VARIABLE = "AENET_VIEW"


def main() -> None:
    """Serve until told to stop; an error is one sentence and status 1."""
    settings = ViewSettings(**json.loads(os.environ.pop(VARIABLE, "{}")))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        source: Any = RobotView(settings)
        serve(source, settings, lambda port: _say(welcome(settings, port, f"the robot's node {source.title}")))
    except (AenetError, InvalidNamespaceException, InvalidNodeNameException, InvalidTopicNameException) as error:
        sys.exit(f"aenet view: {' '.join(str(error).split())}")
    finally:
        rclpy.try_shutdown()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
