"""What ``aenet doctor`` says of ROS 2 and its middleware, without importing either."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from aenet_ros.core.errors import SourceError
from aenet_ros.core.files import share_dir

NODE_PACKAGES = ("sensor_msgs", "std_msgs", "std_srvs", "diagnostic_msgs", "lifecycle_msgs", "rcl_interfaces")
OPTIONAL_ROS_PACKAGES = {
    "message_filters": "for sync.policy approximate",
    "cv_bridge": "for encodings outside the table of docs/cameras.md",
    "tf2_ros": "for registration.extrinsics_source tf",
    "foxglove_msgs": "for the topic fused/video",
    "ffmpeg_image_transport_msgs": "for the topic fused/image/ffmpeg",
    "vision_msgs": "for the topic hot_spots",
    "visualization_msgs": "for the topics hot_spots/markers and hot_spots/image_marker",
    "launch": "for ros2 launch",
    "launch_ros": "for ros2 launch",
    "ros2bag": "for record.launch.py",
}
APT_NAMES = {"tf2_ros": "tf2-ros-py"}

SHM = Path("/dev/shm")
MIN_FREE_SHM_MB = 256  # seven participants at 32 MB each
MAX_DOMAIN_ID = 232
UNSAFE_DOMAIN_IDS = range(102, 215)  # their ports are Linux's ephemeral ones


class Finding(NamedTuple):
    """One line of the report: what was checked, the level (ok, note, warn or missing), and the result with its remedy."""

    name: str
    level: str
    text: str


def ros_findings() -> Iterator[Finding]:
    """ROS packages, middleware, shared memory and domain."""
    distro = _distro()
    if not _installed("rclpy"):
        wanted = ros_from_apt() or Path("/opt/ros").is_dir()
        yield Finding("ros", "warn" if wanted else "note", f"no rclpy, so files can be fused, but not live topics; {_rclpy_remedy(distro)}")
    else:
        yield Finding("ros", "ok", f"{distro or 'unknown distribution'}, rclpy found")
        absent = [name for name in NODE_PACKAGES if not _installed(name)]
        if absent:
            yield Finding("messages", "warn", f"the node cannot run without {', '.join(absent)}; {_ros_remedy(distro, absent)}")
        else:
            yield Finding("messages", "ok", ", ".join(NODE_PACKAGES))
        for name, use in OPTIONAL_ROS_PACKAGES.items():
            if _installed(name):
                yield Finding(name, "ok", "installed")
            else:
                remedy = _ros_remedy(distro, [name]) if ros_from_apt() or name == "visualization_msgs" else "comes with ROS 2 from apt only"
                yield Finding(name, "note", f"not installed; {use}: {remedy}")
        yield _middleware()
    yield from _shared_memory()
    yield _domain()


def _installed(package: str) -> bool:
    """Whether the package can be imported; a folder of that name in the current directory does not count."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def _distro() -> str:
    """The ROS distribution's name, from the sourced environment or from the installed wheels; empty for none."""
    return os.environ.get("ROS_DISTRO") or _wheel_distro()


def _wheel_distro() -> str:
    wheels = (re.fullmatch("ros-([a-z]+)-rclpy", str(item.metadata["Name"])) for item in metadata.distributions())
    return next((wheel[1] for wheel in wheels if wheel), "")


def _rclpy_remedy(distro: str) -> str:
    if os.environ.get("ROS_DISTRO"):
        return f"ROS {distro} is sourced, but its rclpy is for another Python than this one; use the system's python3, or a venv made by it"
    if installed := sorted(path.parent.name for path in Path("/opt/ros").glob("*/setup.bash")):
        return f"source /opt/ros/{installed[-1]}/setup.bash first"
    return "install ROS 2, or without apt, in a checkout of aenet_ros: pip install '.[ros]'"


def ros_from_apt() -> bool:
    """Whether ROS is sourced, and not installed by pip: then apt has its packages."""
    return bool(os.environ.get("ROS_DISTRO")) or (not _wheel_distro() and Path("/opt/ros").is_dir())


def _ros_remedy(distro: str, packages: list[str]) -> str:
    if not ros_from_apt():
        return "pip install '.[ros]' in a checkout of aenet_ros, which has the versions that fit"
    names = [APT_NAMES.get(name, name.replace("_", "-")) for name in packages]
    return "apt install " + " ".join(f"ros-{distro or '$ROS_DISTRO'}-{name}" for name in names)


def _middleware() -> Finding:
    name = os.environ.get("RMW_IMPLEMENTATION", "")
    if name and "fastrtps" not in name:
        return Finding("middleware", "ok", f"{name}; its buffers must hold whole images")
    shown = name or "the distribution's default"
    variables = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # the latter up to Jazzy
    profiles = [os.environ[variable] for variable in variables if os.environ.get(variable)]
    for path in profiles:
        if not Path(path).is_file():
            text = f"{shown}, but its profile {path} does not exist, so large images are dropped; correct the path"
            return Finding("middleware", "warn", text)
    if profiles:
        return Finding("middleware", "ok", f"{shown}, profile {profiles[0]}")
    try:
        profile = str(share_dir() / "config" / "fastdds_shm.xml")
    except SourceError:
        profile = "/path/to/fastdds_shm.xml"
    return Finding(
        "middleware",
        "note",
        f"{shown} with no profile in this shell: Fast DDS's own shared memory is smaller than one image, so images get lost. "
        "Our launch files and the demo set one; before you start a camera driver: export "
        + " ".join(f"{item}={profile}" for item in variables),
    )


def _shared_memory() -> Iterator[Finding]:
    if not SHM.is_dir():
        yield Finding("shared memory", "warn", f"there is no {SHM}; images are sent by UDP, which is slower")
        return
    usage = shutil.disk_usage(SHM)
    text = f"{usage.free / 2**20:.0f} of {usage.total / 2**20:.0f} MB free in {SHM}"
    enough = usage.free >= MIN_FREE_SHM_MB * 2**20
    remedy = "" if enough else f", {MIN_FREE_SHM_MB} MB are needed; docker: --shm-size=1g or --ipc=host; else remount it larger"
    yield Finding("shared memory", "ok" if enough else "warn", text + remedy)
    if stale := stale_segments():
        size = sum(path.stat().st_size for path in stale if path.exists())
        yield Finding(
            "stale segments",
            "warn",
            f"{len(stale)} left over from killed ROS processes ({size / 2**20:.0f} MB); "
            "while no ROS program runs: rm /dev/shm/fastdds_* /dev/shm/sem.fastdds_*",
        )


def stale_segments() -> list[Path]:
    """Fast DDS's shared memory segments whose process died without removing them: nobody holds the lock of their lock file."""
    stale = []
    for lock in SHM.glob("fastdds_*_el"):
        if "port" in lock.name:
            continue
        with suppress(OSError), lock.open("rb") as file:  # locked, or not ours to read
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            stale.append(lock.with_name(lock.name.removesuffix("_el")))
    return stale


def _domain() -> Finding:
    text = os.environ.get("ROS_DOMAIN_ID", "")
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "")
    ending = f"; discovery range {reach}" if reach else ""
    if not text:
        return Finding("domain", "ok", f"ROS_DOMAIN_ID is not set: 0{ending}")
    if not text.isdecimal() or int(text) > MAX_DOMAIN_ID:
        return Finding("domain", "warn", f"ROS_DOMAIN_ID is '{text}'; give a number from 0 to 101{ending}")
    if int(text) in UNSAFE_DOMAIN_IDS:
        return Finding("domain", "warn", f"ROS_DOMAIN_ID is {text}, whose ports other programs may use; give 0 to 101{ending}")
    return Finding("domain", "ok", f"ROS_DOMAIN_ID {text}{ending}")
