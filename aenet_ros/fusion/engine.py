"""What an engine is given and what it gives back."""

from typing import NamedTuple, Protocol

from aenet_ros.core.frames import Array
from aenet_ros.core.thermal_input import ThermalInput


class FusionJob(NamedTuple):
    """One pair for an engine.

    thermal: on the pixels of ``rgb`` once it is rendered.
    rgb: uint8 [H, W, 3], channels in ``order`` "rgb" or "bgr"; or grey, uint8 [H, W].
    thermal_weight: 0..1, share of the fusion in the picture; 1 is the network's own result, 0 the plain rgb frame.
    output_order: channel order of the result.
    scale: over 0 to 1, size of the network's picture against ``rgb``.
    """

    thermal: ThermalInput
    rgb: Array
    order: str = "rgb"
    thermal_weight: float = 1.0
    output_order: str = "rgb"
    scale: float = 1.0


class PendingImage(Protocol):
    """A picture that an engine works on."""

    def result(self) -> Array:
        """Block until it is ready; uint8, shape of the job's ``rgb``. Raises RuntimeError where the device failed."""


class Engine(Protocol):
    """Luma split, network and luma merge on one device."""

    takes_counts: bool
    """True for a device: jobs may hold thermal counts, and ``submit`` returns before the picture is ready."""

    problem: str
    """Why it is slower than it could be; "" where it is not."""

    def submit(self, job: FusionJob) -> PendingImage:
        """Start a job; its arrays may change once this returns."""


class ReadyImage(NamedTuple):
    """A picture that is ready."""

    image: Array

    def result(self) -> Array:
        """The picture."""
        return self.image
