"""The files that ship beside the code (configurations, layouts, DDS profile), wherever the package is installed."""

import os
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as metadata_version
from pathlib import Path

from aenet_ros.core.errors import SourceError

NAME = "aenet_ros"


def share_dir() -> Path:
    """The folder that holds ``config/``, ``launch/``, ``rviz/`` and ``foxglove/``.

    Found upwards from this file, so that it always belongs to the code that runs: the checkout itself, or
    ``PREFIX/share/aenet_ros`` of a colcon workspace, a virtual environment, ``pip --user`` or ``pip --target``.
    Raises SourceError where neither is there.
    """
    here = Path(__file__).resolve()
    for parent in here.parents[1:]:
        for folder in (parent, parent / "share" / NAME):
            if (folder / "package.xml").is_file() and (folder / "config" / "fusion.yaml").is_file():
                return folder
    raise SourceError(f"no share/{NAME} above {here}: the package was copied rather than installed; use `colcon build` or `pip install`")


def config_file(name: str) -> Path:
    """``name`` as a path where such a file exists, else the shipped configuration of that name (``cpu.yaml``).

    Raises SourceError, which lists the shipped ones, where neither exists.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path.resolve()
    folder = share_dir() / "config"
    if (folder / name).is_file():
        return folder / name
    shipped = ", ".join(sorted(item.name for item in folder.iterdir()))
    raise SourceError(f"no file '{name}' here ({Path.cwd()}), and none of that name is shipped; shipped are: {shipped}")


def process_environment(profile: str = "auto", present: Mapping[str, str] | None = None) -> dict[str, str]:
    """What to add to the environment of every process that sends or receives images: a Fast DDS profile for large messages.

    ``profile`` is the launch argument dds_profile. ``auto``: the profile that ``present`` (default: ``os.environ``) names
    already, else ``config/fastdds_shm.xml``; ``none``: nothing; else a path. Under the variable that the installed Fast DDS reads,
    or both where that is not known; other middlewares ignore it.
    Raises SourceError where the profile is no file.
    """
    if profile == "none":
        return {}
    new, old = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
    given = os.environ if present is None else present
    # Fast DDS 2 (Jazzy and older) reads the old name only; 3 warns about it in every process.
    names = {2: [old], 3: [new]}.get(_fastdds_version(given.get("ROS_DISTRO", "")), [new, old])
    path = given.get(names[0]) or given.get(new) or given.get(old) or "fastdds_shm.xml"
    return dict.fromkeys(names, str(config_file(path if profile == "auto" else profile)))


def _fastdds_version(distribution: str) -> int:
    """2 or 3 by the ROS distribution, or by what pip installed where none is sourced; 0 where neither tells."""
    if distribution:
        return 2 if distribution in ("humble", "iron", "jazzy") else 3
    for package in ("ros-fastdds", "ros-fastrtps"):  # as PyPI names version 3, and 2
        with suppress(PackageNotFoundError):
            return int(metadata_version(package).partition(".")[0])
    return 0
