"""The context of measurements: date, commit, versions and machine, for the reports of bench, demo and evaluate."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aenet_ros
from aenet_ros.core.errors import first_line
from aenet_ros.core.process import allowed_cores


def about() -> dict[str, Any]:
    """``date`` (UTC), ``commit``, ``versions`` by package, and ``machine``: processor, cores, load average, gpu (empty: none)."""
    import cv2
    import numpy as np

    versions = {"aenet_ros": aenet_ros.__version__, "python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__}
    gpu = ""
    if find_spec("torch"):
        import torch

        versions["torch"] = str(torch.__version__)
        try:
            gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
        except RuntimeError as error:  # lost, or in exclusive use; the CPU can still be measured
            gpu = first_line(error)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": versions,
        "machine": {
            "processor": _processor(),
            "cores": allowed_cores(),
            "load_average_before": round(os.getloadavg()[0], 2),
            "gpu": gpu,
        },
    }


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return "unknown"
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
