"""The engine for devices on torch's CPU, which runs the very operators; and a device that is lost, which cannot be had without a GPU."""

import torch
from recorded_graphs import RecordedGraphs

from aenet_ros.fusion.checkpoint import load_checkpoint
from aenet_ros.fusion.device_engine import DeviceEngine
from aenet_ros.fusion.engine import FusionJob, PendingImage
from aenet_ros.fusion.fuser import Fuser


class Lost:
    """What waiting for a GPU is once it fell off the bus."""

    def synchronize(self) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure\nand more")


def recorded_engine(network: torch.nn.Module) -> tuple[DeviceEngine, RecordedGraphs]:
    """An engine on torch's CPU that replays pairs from recorded graphs."""
    graphs = RecordedGraphs()
    engine = DeviceEngine(network, torch.device("cpu"), "fp32", graphs)
    graphs.memory = lambda: readable(engine)
    return engine, graphs


def readable(engine: DeviceEngine) -> list[torch.Tensor]:
    """The memory that an engine's steps may read: the plans' and the network's."""
    network = engine._network
    packed = [layer.packed_weight for layer in network.modules() if getattr(layer, "packed_weight", None) is not None]
    plans = engine._plans.values()
    constants = [tensor for plan in plans for tensor in plan.constants]
    return [*(plan._memory for plan in plans), *constants, *network.parameters(), *network.buffers(), *packed]


class MortalEngine(DeviceEngine):
    """Gives so many pictures more, and then none."""

    def __init__(self, lasts: float) -> None:
        self.graphs = RecordedGraphs(lambda: readable(self))
        super().__init__(load_checkpoint()[0], torch.device("cpu"), "fp32", self.graphs)
        self.lasts = lasts

    def submit(self, job: FusionJob) -> PendingImage:
        self.last_job = job
        pending = super().submit(job)
        self.lasts -= 1
        return pending if self.lasts >= 0 else pending._replace(done=Lost())


def put_on_device(fuser: Fuser, lasts: float = float("inf")) -> MortalEngine:
    """Let everything of a pair be done by such an engine, named ``device``; returns it."""
    engine = MortalEngine(lasts)
    fuser.device, fuser._engine = "device", engine
    return engine
