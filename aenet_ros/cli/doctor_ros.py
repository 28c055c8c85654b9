"""The checks of ``aenet doctor`` on ROS 2 and its middleware, without importing either."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

SHM = Path("/dev/shm")
LEAST_FREE_SHM = 256 * 1024 * 1024  # seven participants at 32 MB each
HIGHEST_DOMAIN_ID = 232
SAFE_DOMAIN_IDS = (*range(102), *range(215, HIGHEST_DOMAIN_ID + 1))  # ports of the others are Linux's ephemeral ones

NODE_PACKAGES = ("sensor_msgs", "std_msgs", "std_srvs", "diagnostic_msgs", "lifecycle_msgs", "rcl_interfaces")
OPTIONAL_PACKAGES = {
    "message_filters": "needed for sync.policy approximate only",
    "cv_bridge": "needed for encodings outside the table of docs/cameras.md only",
    "tf2_ros": "needed for registration.extrinsics_source tf only",
    "launch": "needed for ros2 launch only",
    "launch_ros": "needed for ros2 launch only",
}


class Finding(NamedTuple):
    """One line of the report: what was checked, the level (ok, warn or missing), and the result with its remedy."""

    name: str
    level: str
    text: str


def ros_findings() -> Iterator[Finding]:
    """ROS packages, middleware, shared memory and domain."""
    distro = _distro()
    yield _rclpy(distro)
    if _installed("rclpy"):
        absent = [name for name in NODE_PACKAGES if not _installed(name)]
        if absent:
            yield Finding("messages", "warn", f"the node cannot run without {', '.join(absent)}; {_apt(distro, absent)}")
        else:
            yield Finding("messages", "ok", ", ".join(NODE_PACKAGES))
        for name, use in OPTIONAL_PACKAGES.items():
            there = _installed(name)
            yield Finding(name, "ok" if there else "warn", "installed" if there else f"not installed; {use}: {_apt(distro, [name])}")
        yield _middleware()
    yield from _shared_memory()
    yield _domain()


def _installed(package: str) -> bool:
    """Whether the package can be imported; a folder of that name in the current directory does not count."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def _distro() -> str:
    """The ROS distribution's name, from the sourced environment or from the installed wheels; empty for none."""
    if os.environ.get("ROS_DISTRO"):
        return os.environ["ROS_DISTRO"]
    names = [str(item.metadata["Name"]).split("-") for item in metadata.distributions() if item.metadata["Name"]]
    return next((name[1] for name in names if len(name) == 3 and (name[0], name[2]) == ("ros", "rclpy")), "")


def _rclpy(distro: str) -> Finding:
    if _installed("rclpy"):
        return Finding("ros", "ok", f"{distro or 'unknown distribution'}, rclpy found")
    installed = sorted(path.parent.name for path in Path("/opt/ros").glob("*/setup.bash"))
    if os.environ.get("ROS_DISTRO"):
        remedy = (
            f"ROS {distro} is sourced, but its rclpy is for another Python than this one; use the system's python3, or a venv made by it"
        )
    elif installed:
        remedy = f"source /opt/ros/{installed[-1]}/setup.bash first"
    else:
        remedy = "install ROS 2, or without apt: pip install 'aenet_ros[ros]'"
    return Finding("ros", "warn", f"no rclpy, so files can be fused, but not live topics; {remedy}")


def _apt(distro: str, packages: list[str]) -> str:
    return "apt install " + " ".join(f"ros-{distro or '$ROS_DISTRO'}-{name.replace('_', '-')}" for name in packages)


def _middleware() -> Finding:
    name = os.environ.get("RMW_IMPLEMENTATION", "")
    if name and "fastrtps" not in name:
        return Finding("middleware", "ok", f"{name}; its buffers must hold whole images")
    shown = name or "the distribution's default"
    variables = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # the latter up to Jazzy
    profiles = [os.environ[variable] for variable in variables if os.environ.get(variable)]
    lacking = [path for path in profiles if not Path(path).is_file()]
    if lacking:
        return Finding(
            "middleware", "warn", f"{shown}, but its profile {lacking[0]} does not exist, so large images are dropped; correct the path"
        )
    if not profiles:
        return Finding(
            "middleware",
            "warn",
            f"{shown} with no profile in this shell: Fast DDS's own shared memory is smaller than one image, so images get lost. "
            "Our launch files and the demo set one; for camera drivers: export " + " ".join(f"{item}={_profile()}" for item in variables),
        )
    return Finding("middleware", "ok", f"{shown}, profile {profiles[0]}")


def _profile() -> str:
    from aenet_ros.core.errors import SourceError
    from aenet_ros.core.files import share_dir

    try:
        return str(share_dir() / "config" / "fastdds_shm.xml")
    except SourceError:
        return "/path/to/fastdds_shm.xml"


def _shared_memory() -> Iterator[Finding]:
    if not SHM.is_dir():
        yield Finding("shared memory", "warn", f"there is no {SHM}; images are sent by UDP, which is slower")
        return
    usage = shutil.disk_usage(SHM)
    text = f"{usage.free / 2**20:.0f} of {usage.total / 2**20:.0f} MB free in {SHM}"
    if usage.free < LEAST_FREE_SHM:
        yield Finding(
            "shared memory",
            "warn",
            f"{text}, 256 MB are needed; docker: --shm-size=1g or --ipc=host; else remount it larger",
        )
    else:
        yield Finding("shared memory", "ok", text)
    stale = stale_segments()
    if stale:
        size = sum(path.stat().st_size for path in stale if path.exists())
        yield Finding(
            "stale segments",
            "warn",
            f"{len(stale)} left over from killed ROS processes ({size / 2**20:.0f} MB); "
            "while no ROS program runs: rm /dev/shm/fastdds_* /dev/shm/sem.fastdds_*",
        )


def stale_segments() -> list[Path]:
    """Fast DDS's shared memory segments whose process died without removing them."""
    locks = [path for path in SHM.glob("fastdds_*_el") if "port" not in path.name]
    return [path.with_name(path.name.removesuffix("_el")) for path in locks if _unlocked(path)]


def _unlocked(path: Path) -> bool:
    """Whether no process holds the lock file of a Fast DDS segment; False where that is unknown."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _domain() -> Finding:
    text = os.environ.get("ROS_DOMAIN_ID", "")
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "")
    ending = f"; discovery range {reach}" if reach else ""
    if not text:
        return Finding("domain", "ok", f"ROS_DOMAIN_ID is not set: 0{ending}")
    if not text.isdecimal() or int(text) > HIGHEST_DOMAIN_ID:
        return Finding("domain", "warn", f"ROS_DOMAIN_ID is '{text}'; give a number from 0 to 101{ending}")
    if int(text) not in SAFE_DOMAIN_IDS:
        return Finding("domain", "warn", f"ROS_DOMAIN_ID is {text}, whose ports other programs may use; give 0 to 101{ending}")
    return Finding("domain", "ok", f"ROS_DOMAIN_ID {text}{ending}")
