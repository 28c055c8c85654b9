"""Fuses thermal and RGB camera streams with AENet; ``load_fuser`` is the shortest way in, ``pipeline`` the page to read first.

The names of ``__all__`` are the public API. Importing this package is cheap: what needs numpy or torch is loaded at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aenet_ros.config import Config, build

if TYPE_CHECKING:
    from aenet_ros.core.frames import Frame, FramePair
    from aenet_ros.fusion.fuser import Fuser
    from aenet_ros.pipeline import FusionPipeline
    from aenet_ros.thermal.hot_spots import find_hot_spots
    from aenet_ros.thermal.temperature import temperature

__all__ = ["Config", "Frame", "FramePair", "FusionPipeline", "__version__", "find_hot_spots", "load_fuser", "temperature"]

__version__ = "0.2.0"


def load_fuser(weights: str = "", device: str = "auto", precision: str = "auto", allow_cpu: bool = True, backend: str = "torch") -> "Fuser":
    """A Fuser for single pictures, without ROS: ``load_fuser().fuse(thermal, rgb)``; see ``Fuser.fuse``.

    The arguments are those of ``config.ModelConfig``. Imports torch, which takes a second or two.
    Raises ConfigError, CheckpointError, DeviceError, or MissingDependencyError for a backend that is not installed.
    """
    from aenet_ros.fusion.fuser import Fuser

    options = {"weights": weights, "device": device, "precision": precision, "allow_cpu": allow_cpu, "backend": backend}
    return Fuser(build({f"model.{name}": value for name, value in options.items()}).model)


_HOMES = {
    "Frame": "core.frames",
    "FramePair": "core.frames",
    "FusionPipeline": "pipeline",
    "find_hot_spots": "thermal.hot_spots",
    "temperature": "thermal.temperature",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aenet_ros' has no attribute '{name}'")
    return getattr(import_module(f"aenet_ros.{_HOMES[name]}"), name)
