"""The package's ROS programs as child processes: they get the environment that images need, and leave nothing behind."""

import contextlib
import ctypes
import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from aenet_ros.core.files import process_environment

SHM = Path("/dev/shm")
# Fast DDS listens on port 7400 + 250 * domain and the ones after it; domains over 101 reach into the ephemeral ports.
_PORT_BASE, _PORTS, _DOMAINS = 7400, 250, 102
_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # looked up here: little is safe between fork and exec
_STOPS = ((signal.SIGINT, 4.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))


class Processes:
    """Children by name; a context manager that ends them all and removes the shared memory that they leave.

    ``folder`` receives their logs and parameter files. A domain id in the environment is kept; otherwise one is chosen that is not used on
    this machine. Discovery stays on this machine.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = dict(os.environ)
        self.environment.update(process_environment())
        self.environment.setdefault("ROS_DOMAIN_ID", str(free_domain()))
        self.environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        if self.environment.get("ROS_DISTRO") == "humble":  # does not know the discovery range
            self.environment.setdefault("ROS_LOCALHOST_ONLY", "1")
        self.environment["ROS_LOG_DIR"] = str(folder)
        self._shared: set[Path] = set()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop(*self.children)
        finally:
            for child in self.children.values():  # something is left to kill only after a second Ctrl-C
                child.kill()
                child.wait()
            for path in self._shared - mapped_by_anyone():
                for name in (path.name, f"{path.name}_el", f"sem.{path.name}_mutex"):
                    (SHM / name).unlink(missing_ok=True)

    def start(
        self, name: str, module: str, parameters: Mapping[str, Any], *, stdout: int | None = None, remap: Sequence[str] = ()
    ) -> "subprocess.Popen[bytes]":
        """Run ``python -m module`` with ROS parameters (a mapping by dotted name) and remappings; stderr goes to ``NAME.log``."""
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(parameters)}}))
        command = [sys.executable, "-m", module, "--ros-args", "--params-file", str(file)]
        command += [part for rule in remap for part in ("-r", rule)]
        with (self.folder / f"{name}.log").open("wb") as log:
            # A session of its own: Ctrl-C does not reach the children, so that they are stopped in order.
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout or log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                preexec_fn=_before_exec,
            )
        self.children[name] = child
        return child

    def watch(self) -> str:
        """A sentence about a child that ended by itself with an error; empty while there is none. To be called regularly."""
        for name, child in self.children.items():
            self._shared |= _mapped(child.pid)
            if child.poll() not in (None, 0):
                return f"the {name} process ended with status {child.returncode}: {self.last_words(name) or 'no output'}"
        return ""

    def messages(self, name: str) -> Iterator[dict[str, Any] | None]:
        """The lines of json on a child's stdout (started with PIPE) until it ends; None after each 0.1 s without one."""
        stream = self.children[name].stdout
        assert stream is not None
        waiting = b""
        while True:
            if not select.select([stream], [], [], 0.1)[0]:
                yield None
            elif part := os.read(stream.fileno(), 65536):
                *lines, waiting = (waiting + part).split(b"\n")
                yield from map(json.loads, lines)
            else:
                return

    def output(self, name: str) -> dict[str, Any]:
        """The last line of json that a child wrote (into its log); empty where there is none."""
        for line in reversed((self.folder / f"{name}.log").read_text(errors="replace").splitlines()):
            if line.startswith("{"):
                return dict(json.loads(line))
        return {}

    def last_words(self, name: str) -> str:
        """The last line that a child wrote to stderr."""
        return (self.folder / f"{name}.log").read_text(errors="replace").strip().rpartition("\n")[2]

    def stop(self, *names: str) -> None:
        """End children, the last named first: SIGINT, then SIGTERM, then SIGKILL."""
        for name in reversed(names):
            child = self.children[name]
            self._shared |= _mapped(child.pid)
            for number, patience_s in _STOPS:
                if child.poll() is None:
                    child.send_signal(number)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(patience_s)


def _before_exec() -> None:
    """In the child: obey SIGINT even if our parent ignores it, and get SIGTERM when we die, even of SIGKILL (Linux; prctl(2))."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def free_domain() -> int:
    """A ROS domain id whose ports no process on this machine uses through shared memory."""
    taken = set()
    for path in SHM.glob("fastdds_port*"):
        digits = path.name.removeprefix("fastdds_port").split("_")[0]
        if digits.isdigit():
            taken.add((int(digits) - _PORT_BASE) // _PORTS)
    return random.SystemRandom().choice([domain for domain in range(1, _DOMAINS) if domain not in taken] or [1])


def _mapped(pid: int) -> set[Path]:
    """Fast DDS's shared memory files that a process maps."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return set()
    files = {Path(line.split()[-1]) for line in lines if f"{SHM}/" in line and "fastdds" in line and not line.endswith("(deleted)")}
    return {path for path in files if path.parent == SHM}


def mapped_by_anyone() -> set[Path]:
    """Fast DDS's shared memory files that any readable process maps."""
    return set().union(*(_mapped(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()))
