"""``python -m aenet_ros``: the command line ``aenet``."""

import sys

from aenet_ros.cli import main

sys.exit(main())
