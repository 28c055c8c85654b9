"""Check what is installed and what is missing, and print the remedy.

Each line is ok, note (an optional part is not installed), warn (a known problem) or missing (fusion cannot run). The last line is a
self-test that fuses a synthetic pair. Exit status 0 if fusion can run here, 1 if not; ROS is not needed for that.

examples:
  aenet doctor
  aenet doctor --json
"""

import argparse
import os
import platform
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
from aenet_ros.cli.doctor_ros import Finding, ros_findings, ros_from_apt
from aenet_ros.core.errors import AenetError, first_line

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
