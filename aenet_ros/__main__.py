"""``python -m aenet_ros``: the command line ``aenet``."""

import sys

from aenet_ros.cli.main import main

if __name__ == "__main__":  # worker processes import it too
    sys.exit(main())
