"""Check what is installed and what is missing, and print the remedy.

Each line is ok, warn (an optional part is missing, or a known problem) or missing (fusion cannot run). The last line is a self-test
that fuses a synthetic pair. Exit status 0 if fusion can run here, 1 if not; ROS is not needed for that.

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
from collections.abc import Iterator
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from aenet_ros.cli.common import print_json
from aenet_ros.cli.doctor_ros import Finding, ros_findings
from aenet_ros.core.errors import AenetError, first_line

COLOURS = {"ok": "32", "warn": "33", "missing": "31"}
SELF_TEST_RUNS = 10


# Import name: level and remedy where the package is missing.
PACKAGES = {
    "numpy": ("missing", "apt install python3-numpy, or pip install numpy"),
    "cv2": ("missing", "OpenCV 4: apt install python3-opencv, or pip install 'opencv-python-headless<5'"),
    "yaml": ("missing", "apt install python3-yaml, or pip install PyYAML"),
    "safetensors": ("missing", "reads the weights: pip install safetensors"),
    "tqdm": ("missing", "shows progress: apt install python3-tqdm, or pip install tqdm"),
    "rosbags": ("warn", "reads and writes bags: pip install rosbags"),
    "aiohttp": ("warn", "for aenet view only: apt install python3-aiohttp, or pip install aiohttp"),
    "mcap": ("warn", "for the demo's recording: pip install mcap"),
    "tensorboard": ("warn", "for training curves only: pip install tensorboard"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Check; 0 if fusion can run here, 1 if not."""
    findings: list[Finding] = []
    for finding in _findings():
        findings.append(finding)
        if not args.json:
            _show(finding)
    can_fuse = all(finding.level != "missing" for finding in findings)
    warnings = sum(finding.level == "warn" for finding in findings)
    if args.json:
        print_json({"can_fuse": can_fuse, "findings": [finding._asdict() for finding in findings]})
    else:
        print(f"\nfusion {'can' if can_fuse else 'can NOT'} run here" + (f"; {warnings} warnings above" if warnings else ""))
    return 0 if can_fuse else 1


def _show(finding: Finding) -> None:
    level = f"{finding.level:<7}"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        level = f"\033[{COLOURS[finding.level]}m{level}\033[0m"
    print(f"{level}  {finding.name:<16}  {finding.text}", flush=True)


def _findings() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores")
    for module in PACKAGES:
        yield _package(module)
    yield from _torch()
    yield _weights()
    yield from ros_findings()
    yield _self_test()


def _package(module: str) -> Finding:
    level, remedy = PACKAGES[module]
    if find_spec(module) is None:
        return Finding(module, level, f"not installed; {remedy}")
    try:
        version = str(getattr(import_module(module), "__version__", "")) or metadata.version(module)
    except metadata.PackageNotFoundError:
        version = "installed"
    except Exception as error:  # a broken installation can raise anything at import
        return Finding(module, level, f"cannot be imported ({error}); reinstall it: {remedy}")
    if module == "cv2" and not version.startswith("4."):
        return Finding("cv2", "warn", f"{version}: cv_bridge and this package need OpenCV 4; pip install 'opencv-python-headless<5'")
    return Finding(module, "ok", version)


def _torch() -> Iterator[Finding]:
    jetson = Path("/etc/nv_tegra_release").exists()
    remedy = (
        "install NVIDIA's wheel for this JetPack"
        if jetson
        else "pip install torch, with --index-url https://download.pytorch.org/whl/cpu where there is no NVIDIA GPU"
    )
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


def _weights() -> Finding:
    try:
        from aenet_ros.fusion.checkpoint import load_checkpoint

        _, card = load_checkpoint(None)
    except ImportError as error:
        return Finding("weights", "missing", f"cannot be checked before the packages above are installed ({error})")
    except AenetError as error:
        return Finding("weights", "missing", f"{error}; reinstall aenet_ros")
    return Finding("weights", "ok", f"{card['parameters']} parameters, SHA-256 {card['sha256'][:12]} verified")


def _self_test() -> Finding:
    """Fuse a synthetic 640x512 pair, a warm square in 16-bit counts and an rgb gradient; timed after a warm-up."""
    try:
        import numpy as np

        from aenet_ros.core.frames import Frame, FramePair
        from aenet_ros.pipeline import FusionPipeline

        counts = np.full((512, 640), 29_500, np.uint16)
        counts += np.random.default_rng(0).integers(0, 200, counts.shape, np.uint16)
        counts[200:300, 250:350] += 1_000
        gradient = np.broadcast_to(np.linspace(20, 120, 640).astype(np.uint8)[None, :, None], (512, 640, 3))
        pair = FramePair(Frame(1, counts, "mono16"), Frame(1, np.ascontiguousarray(gradient), "rgb8"))
        pipeline = FusionPipeline()
        pipeline.warm_up((512, 640))
        times = []
        for _ in range(SELF_TEST_RUNS):
            begin = time.perf_counter()
            fused = pipeline.process(pair)
            times.append(time.perf_counter() - begin)
        fuser = pipeline.fuser
        pipeline.close()
    except ImportError as error:
        return Finding("self-test", "missing", f"cannot run before the packages above are installed ({error})")
    except AenetError as error:
        return Finding("self-test", "missing", str(error))
    image = fused.image.astype(float)
    if image[210:290, 260:340].mean() <= image[320:, 250:350].mean():
        return Finding(
            "self-test", "missing", "the warm square is not brighter in the fused picture; the weights are wrong, reinstall aenet_ros"
        )
    took = f"640x512 fused in {sorted(times)[len(times) // 2] * 1e3:.1f} ms (median of {SELF_TEST_RUNS}) on {fuser.device}"
    return Finding("self-test", "warn" if fuser.fallback else "ok", f"{took}; {fuser.fallback}" if fuser.fallback else took)
