"""The fusing node with an engine for devices: ``python node_on_device.py PAIRS``, whose waits fail after that many pairs."""

import sys

from device_engines import put_on_device

from aenet_ros.ros import node

LASTS = int(sys.argv[1])


class NodeOnDevice(node.FusionNode):
    """See the module."""

    def configure(self) -> None:
        super().configure()
        put_on_device(self.pipeline.fuser, LASTS)


if __name__ == "__main__":
    node.FusionNode = NodeOnDevice
    node.main(sys.argv)
