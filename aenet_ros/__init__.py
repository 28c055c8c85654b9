"""Fuses thermal and RGB camera streams with AENet; ``load_fuser`` is the shortest way in, ``pipeline`` the page to read first.

The names of ``__all__`` are the public API. Importing this package is cheap: what needs numpy or torch is loaded at first use.
"""

from typing import TYPE_CHECKING, Any

from aenet_ros.config import Config, build

if TYPE_CHECKING:
    from aenet_ros.core.frames import Frame, FramePair
    from aenet_ros.fusion.fuser import Fuser
    from aenet_ros.pipeline import FusionPipeline

__all__ = ["Config", "Frame", "FramePair", "FusionPipeline", "__version__", "load_fuser"]

__version__ = "0.2.0"


def load_fuser(weights: str = "", device: str = "auto", precision: str = "auto", allow_cpu: bool = True, backend: str = "torch") -> "Fuser":
    """A Fuser for single pictures, without ROS: ``load_fuser().fuse(thermal, rgb)``; see ``Fuser.fuse``.

    The arguments are those of ``config.ModelConfig``. Imports torch, which takes a second or two.
    Raises ConfigError, CheckpointError, DeviceError, or MissingDependencyError for a backend that is not installed.
    """
    from aenet_ros.fusion.fuser import Fuser

    options = {"weights": weights, "device": device, "precision": precision, "allow_cpu": allow_cpu, "backend": backend}
    return Fuser(build({f"model.{name}": value for name, value in options.items()}).model)


def __getattr__(name: str) -> Any:
    if name in ("Frame", "FramePair"):
        from aenet_ros.core import frames

        return getattr(frames, name)
    if name == "FusionPipeline":
        from aenet_ros.pipeline import FusionPipeline

        return FusionPipeline
    raise AttributeError(f"module 'aenet_ros' has no attribute '{name}'")
