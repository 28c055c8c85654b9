"""The fusing node with an engine for devices, on torch's CPU: ``python node_on_device.py PAIRS``, whose waits fail after that many pairs.

A GPU would do the same, but is not on every machine that runs these tests; and none falls off the bus when asked to.
"""

import sys
from itertools import count

import torch

from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.device_engine import DeviceEngine, Request, Ticket
from aenet_ros.ros import node

LASTS = int(sys.argv[1])


class Lost:
    """What waiting for a GPU is once it fell off the bus."""

    def synchronize(self) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")


class MortalEngine(DeviceEngine):
    """Gives LASTS pictures and no more."""

    def __init__(self) -> None:
        super().__init__(load_checkpoint()[0], torch.device("cpu"), "fp32")
        self._started = count(1)

    def start(self, request: Request) -> Ticket:
        ticket = super().start(request)
        return ticket if next(self._started) <= LASTS else ticket._replace(done=Lost())


class NodeOnDevice(node.FusionNode):
    """See the module."""

    def configure(self) -> None:
        super().configure()
        self.pipeline.fuser.device, self.pipeline.fuser._engine = "device", MortalEngine()


if __name__ == "__main__":
    node.FusionNode = NodeOnDevice
    node.main(sys.argv)
