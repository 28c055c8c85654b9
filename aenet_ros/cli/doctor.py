"""Check what is installed and what is missing, and print the remedy.

Each line is ok, note (an optional part is not installed), warn (a known problem) or missing (fusion cannot run). The last line is a
self-test that fuses a synthetic pair. Exit status 0 if fusion can run here, 1 if not; ROS is not needed for that.

examples:
  aenet doctor
  aenet doctor --json
"""

import argparse
import fcntl
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from aenet_ros.cli.common import print_json
from aenet_ros.core.errors import AenetError, SourceError, first_line
from aenet_ros.core.files import share_dir

COLOURS = {"ok": "32", "note": "36", "warn": "33", "missing": "31"}
SELF_TEST_RUNS = 10


class Package(NamedTuple):
    """``apt``: Debian's and Ubuntu's package, empty where they have none, or only a too old one; ``pip``: what pip installs."""

    apt: str
    pip: str
    use: str = ""


# By import name.
REQUIRED = {
    "numpy": Package("python3-numpy", "numpy"),
    "cv2": Package("python3-opencv", "'opencv-python-headless<5'", "OpenCV 4"),
    "yaml": Package("python3-yaml", "PyYAML"),
    "safetensors": Package("", "safetensors", "reads the weights"),
    "tqdm": Package("python3-tqdm", "tqdm", "shows progress"),
}
OPTIONAL = {
    "rosbags": Package("", "'rosbags>=0.11,<0.12'", "reads and writes bags"),
    "mcap": Package("", "mcap", "writes bags"),
    "av": Package("", "'av>=17'", "reads and writes videos, and video topics of bags"),
    "aiohttp": Package("python3-aiohttp", "aiohttp", "for aenet view"),
    "argcomplete": Package("python3-argcomplete", "argcomplete", "completes commands with the Tab key"),
    "onnx": Package("", "onnx", "for aenet export, and for model.backend auto on a CPU"),
    "onnxruntime": Package("", "onnxruntime", "the same (onnxruntime-gpu for model.backend onnx on an NVIDIA GPU)"),
    "matplotlib": Package("python3-matplotlib", "matplotlib", "for aenet bench --plot"),
    "tensorboard": Package("", "tensorboard", "for aenet train --tensorboard"),
}
NEED_NUMPY = ("onnx", "onnxruntime")
"""pip would replace a numpy that is too old for them (Humble's) with 2, which the OpenCV of apt cannot use."""
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
    """One line of the report: what was checked, the level (a key of COLOURS), and the result with its remedy."""

    name: str
    level: str
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Check; 0 if fusion can run here, 1 if not."""
    findings: list[Finding] = []
    for finding in _findings():
        findings.append(finding)
        if not args.json:
            print(f"{_coloured(finding.level)}  {finding.name:<16}  {finding.text}", flush=True)
    levels = [finding.level for finding in findings]
    can_fuse, warnings = "missing" not in levels, levels.count("warn")
    if args.json:
        print_json({"can_fuse": can_fuse, "findings": [finding._asdict() for finding in findings]})
    else:
        print(f"\nfusion {'can' if can_fuse else 'can NOT'} run here" + (f"; warnings above: {warnings}" if warnings else ""))
    return 0 if can_fuse else 1


def _coloured(level: str) -> str:
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return f"\033[{COLOURS[level]}m{level:<7}\033[0m" if coloured else f"{level:<7}"


def _findings() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores")
    for level, packages in (("missing", REQUIRED), ("note", OPTIONAL)):
        for module, package in packages.items():
            yield _package(module, level, package)
    yield from _torch()
    yield _tried("weights", _weights, "; reinstall aenet_ros")
    yield from ros_findings()
    yield _tried("self-test", _self_test, "")


def _package(module: str, level: str, package: Package) -> Finding:
    command = f"apt install {package.apt}" if package.apt and ros_from_apt() else f"pip install {package.pip}"
    if module in NEED_NUMPY and ros_from_apt() and _numpy_1():
        command += " 'numpy<2'"
    remedy = f"{package.use}: {command}" if package.use else command
    if find_spec(module) is None:
        return Finding(module, level, f"not installed; {remedy}")
    try:
        version = str(getattr(import_module(module), "__version__", "")) or metadata.version(module)
    except metadata.PackageNotFoundError:
        version = "installed"
    except Exception as error:  # a broken installation can raise anything at import
        return Finding(module, "warn" if level == "note" else level, f"cannot be imported ({error}); reinstall it: {command}")
    if module == "cv2" and not version.startswith("4."):
        return Finding("cv2", "warn", f"{version}: cv_bridge and this package need OpenCV 4; pip install 'opencv-python-headless<5'")
    return Finding(module, "ok", version)


def _numpy_1() -> bool:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("numpy").startswith("1.")
    return False


def _torch() -> Iterator[Finding]:
    jetson = Path("/etc/nv_tegra_release").exists()
    remedy = "without an NVIDIA GPU: pip install torch --index-url https://download.pytorch.org/whl/cpu; with one: pip install torch"
    if jetson:
        remedy = "install NVIDIA's wheel for this JetPack"
    try:
        import torch
    except Exception as error:
        yield Finding("torch", "missing", f"cannot be imported ({error}); {remedy}")
        return
    yield Finding("torch", "ok", str(torch.__version__))
    if torch.cuda.is_available():
        try:
            yield Finding("gpu", "ok", f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}")
        except RuntimeError as error:  # lost, or in exclusive use by another program
            yield Finding("gpu", "warn", f"the GPU does not answer ({first_line(error)}); end other programs on it, or restart")
    elif jetson or shutil.which("nvidia-smi"):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        yield Finding("gpu", "warn", f"there is an NVIDIA GPU, but torch cannot use it ({built}); check the driver, and {remedy}")
    else:
        yield Finding("gpu", "ok", "none; the network runs on the CPU")


def _tried(name: str, check: Callable[[], Finding], remedy: str) -> Finding:
    """The finding of a check that needs the packages above; ``remedy`` is added to its error."""
    try:
        return check()
    except ImportError as error:
        return Finding(name, "missing", f"cannot be checked before the packages above are installed ({error})")
    except AenetError as error:
        return Finding(name, "missing", f"{error}{remedy}")


def _weights() -> Finding:
    from aenet_ros.fusion.checkpoint import load_checkpoint

    _, card = load_checkpoint(None)
    return Finding("weights", "ok", f"{card['parameters']} parameters, SHA-256 {card['sha256'][:12]} verified")


def _self_test() -> Finding:
    """Fuse a synthetic 640x512 pair, a warm square in 16-bit counts and an rgb gradient; timed after a warm-up."""
    import numpy as np

    from aenet_ros.core.frames import Frame, FramePair
    from aenet_ros.pipeline import FusionPipeline

    counts = np.random.default_rng(0).integers(29_500, 29_700, (512, 640), np.uint16)
    counts[200:300, 250:350] += 1_000
    rgb = np.tile(np.linspace(20, 120, 640).astype(np.uint8)[:, None], (512, 1, 3))
    pair = FramePair(Frame(1, counts, "mono16"), Frame(1, rgb, "rgb8"))
    pipeline = FusionPipeline()
    pipeline.warm_up((512, 640))
    times = []
    for _ in range(SELF_TEST_RUNS):
        begin = time.perf_counter()
        image = pipeline.process(pair).image.astype(float)
        times.append(time.perf_counter() - begin)
    fuser = pipeline.fuser
    pipeline.close()
    if image[210:290, 260:340].mean() <= image[320:, 250:350].mean():
        text = "the warm square is not brighter in the fused picture; the weights are wrong, reinstall aenet_ros"
        return Finding("self-test", "missing", text)
    took = (
        f"640x512 fused in {sorted(times)[len(times) // 2] * 1e3:.1f} ms (median of {SELF_TEST_RUNS}) on {fuser.device} by {fuser.backend}"
    )
    took += f" ({fuser.backend_reason})" if fuser.backend_reason else ""
    return Finding("self-test", "warn", f"{took}; {fuser.fallback}") if fuser.fallback else Finding("self-test", "ok", took)


# ROS 2 and its middleware, without importing either.


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
