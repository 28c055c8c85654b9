"""Half an hour of bad luck for the fusing node: an exact account of every frame, and its memory, as JSON.

Real processes over real DDS: the node, and a rig or a replay that is killed (SIGKILL) and restarted at random, plays a loop
whose stamps jump back, loses or freezes one camera; meanwhile options change through the parameter services and the node is taken
through its lifecycle. The same seed gives the same plan. Exit status 0 only if all that must hold did:

- messages received = rejected + frames in; frames in = 2 * pairs + unpaired (by reason) + waiting; pairs = fused + replaced + failed +
  not fused (by reason): exactly, at the end of each active time, and with at most two pairs in work at any other;
- private memory, descriptors and threads do not grow; no error is told that the plan does not explain; good frames flow at the end.

    python benchmarks/soak.py --seconds 1800 -o soak.json
"""

import argparse
import math
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from soak_judge import Cause, account_errors, explained, growth, normalised
from soak_plan import RIGS, Step, plan

from aenet_ros.cli.common import write_json
from aenet_ros.cli.processes import Processes
from aenet_ros.config import specs
from aenet_ros.config.options import Value
from aenet_ros.core.errors import AenetError
from aenet_ros.workbench.simulation.geometry import rgb_to_thermal
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

LOOP_PAIRS = 60
ANSWER_S = 60.0


class Soak:
    """The processes, our ends of the node's topics and services, and what was seen."""

    def __init__(self, processes: Processes, args: argparse.Namespace) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from lifecycle_msgs.srv import ChangeState
        from rcl_interfaces.srv import SetParameters, SetParametersAtomically
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image

        width, height = (int(part) for part in args.size.split("x"))
        self.rig = RigConfig(
            thermal_width=width, thermal_height=height, rgb_width=width, rgb_height=height, thermal_hz=args.rate, rgb_hz=args.rate
        )
        self.processes, self.sample_s = processes, args.sample
        self.frames_seen, self.statuses = 0, {}
        self.problems: list[str] = []
        self.errors: list[tuple[float, str]] = []  # time of the wall clock, words
        self.happened: list[Cause] = []
        self.samples: list[dict[str, float]] = []
        self.periods: list[dict[str, int]] = []
        self.options: Counter[str] = Counter()
        self.kills = 0
        self._told_ns = 0
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("soak", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        for topic in ("fused/image", "fused/thermal_registered"):
            self.node.create_subscription(Image, topic, self._on_image, QoSProfile(depth=5), raw=True)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.clients = {
            name: self.node.create_client(kind, f"fusion/{name}")
            for name, kind in (
                ("change_state", ChangeState),
                ("set_parameters", SetParameters),
                ("set_parameters_atomically", SetParametersAtomically),
            )
        }

    def close(self) -> None:
        """End our own node."""
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    # What we see.

    def _on_image(self, data: bytes) -> None:
        self.frames_seen += 1

    def _on_diagnostics(self, message: Any) -> None:
        self._told_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.statuses = {
            status.name.rpartition(": ")[2]: (
                int.from_bytes(status.level, "little"),
                status.message,
                {item.key: item.value for item in status.values},
            )
            for status in message.status
        }
        watched = ("input thermal", "input rgb", "degraded")
        if all(name in self.statuses and self.statuses[name][0] < 2 for name in watched):
            # Only now has all that happened ended: a busy machine takes long to start a camera.
            self.happened = [cause._replace(ended=min(cause.ended, time.time())) for cause in self.happened]
        self.errors += [(self._told_ns / 1e9, f"{name}: {words}") for name, (level, words, _) in self.statuses.items() if level >= 2]
        if "pairing" in self.statuses:
            values = {**self.statuses["pairing"][2], **self.statuses["fusion"][2]}
            for role in ("thermal", "rgb"):
                values |= {f"{role} {what}": self.statuses[f"input {role}"][2][what] for what in ("received", "rejected")}
            self.problems += [f"while active: {error}" for error in account_errors(values, in_work=2)]

    def spin(self, seconds: float, until: Callable[[], Any] = lambda: False) -> Any:
        """Serve our node for so long, or until a condition holds, whose value is returned. Raises AenetError where the node died."""
        end = time.monotonic() + seconds
        while not (result := until()) and (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=min(left, 0.1))
            if not self.samples or time.monotonic() - self.samples[-1]["at_s"] >= self.sample_s:
                self._sample()
        return result

    def _sample(self) -> None:
        """Memory in kB by kind, as proc(5) names it, descriptors and threads of the node."""
        if problem := self.processes.watch():
            raise AenetError(problem)
        process = Path(f"/proc/{self.processes.children['node'].pid}")
        lines = (line.split() for line in (process / "status").read_text().splitlines())
        values = {key.rstrip(":"): float(value) for key, value, *_ in (line for line in lines if len(line) > 1) if value.isdigit()}
        sample = {name: values[name] for name in ("RssAnon", "RssFile", "RssShmem", "Threads")}
        self.samples.append({"at_s": time.monotonic(), **sample, "descriptors": len(list((process / "fd").iterdir()))})

    # What we do.

    def call(self, service: str, request: Any) -> Any:
        """The answer of one of the node's services; AenetError where none comes."""
        client = self.clients[service]
        if not self.spin(ANSWER_S, client.service_is_ready):
            raise AenetError(f"the service {service} is gone")
        future = client.call_async(request)
        self.spin(ANSWER_S, future.done)
        if not future.done():
            raise AenetError(f"the service {service} does not answer in {ANSWER_S:g} s")
        return future.result()

    def set(self, values: dict[str, Value]) -> None:
        """Change options one by one: what the node refuses, since two do not go together, is counted."""
        for result in self.call("set_parameters", self._request("set_parameters", values)).results:
            self.options["taken" if result.successful else "refused"] += 1

    def restore(self, names: list[str]) -> None:
        """All options back to their defaults at once."""
        known = specs()
        result = self.call(
            "set_parameters_atomically", self._request("set_parameters_atomically", {name: known[name].default for name in names})
        ).result
        if not result.successful:
            self.problems.append(f"the defaults of {', '.join(names)} were refused: {result.reason}")

    def _request(self, service: str, values: dict[str, Value]) -> Any:
        from rclpy.parameter import Parameter

        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        return self.clients[service].srv_type.Request(parameters=parameters)

    def transition(self, *names: str) -> None:
        """Take the node through these transitions; after a deactivation the account is taken."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        for name in names:
            request = ChangeState.Request(transition=Transition(id=getattr(Transition, f"TRANSITION_{name.upper()}")))
            if not self.call("change_state", request).success:
                raise AenetError(f"the transition {name} failed: {self.processes.last_words('node')}")
            if name == "deactivate":
                self._take_account()

    def _take_account(self) -> None:
        now_ns = time.time_ns()
        if not self.spin(ANSWER_S, lambda: self._told_ns > now_ns):
            raise AenetError("diagnostics stopped")
        values = self.statuses["fusion"][2]
        self.problems += [f"active time {len(self.periods) + 1}: {error}" for error in account_errors(values, in_work=0)]
        self.periods.append({key: int(value) for key, value in values.items() if value.isdigit()})

    def camera(self, **options: Any) -> None:
        """The rig as it is by default, but for ``options``."""
        self.processes.start("camera", "aenet_ros.ros.tools.rig_node", asdict(replace(self.rig, **options)))

    def kill_camera(self) -> None:
        """As the kernel or a careless person would."""
        child = self.processes.children["camera"]
        self.processes.watch()  # remembers its shared memory, which is taken away in the end
        child.kill()
        child.wait()
        del self.processes.children["camera"]
        self.kills += 1

    def do(self, step: Step, loop: Path) -> None:
        """One step of the plan."""
        begun = time.time()
        if step.options:
            self.set(step.options)
        if step.kind in ("deactivate", "cleanup"):
            self.transition("deactivate", *(("cleanup", "configure") if step.kind == "cleanup" else ()))
            self.spin(step.pause_s)
            self.transition("activate")
            self.spin(step.seconds)
        elif step.kind == "calm":
            self.spin(step.seconds)
        else:
            self.kill_camera()
            self.spin(step.pause_s)
            if step.kind == "loop":
                parameters = {"dir": str(loop), "rate": self.rig.rgb_hz, "own_stamps": True}
                self.processes.start("camera", "aenet_ros.ros.tools.replay_node", parameters)
            else:
                self.camera(**RIGS[step.kind])
            self.spin(step.seconds)
            if step.kind != "kill":
                self.kill_camera()
                self.camera()
        if step.options:
            self.restore(list(step.options))
        self.happened.append(Cause(begun, math.inf, (step.kind, *(["options"] if step.options else []))))

    def recover(self) -> None:
        """At the end all is as it should be again, and good frames come out."""
        if not self.spin(ANSWER_S, lambda: "pairing" in self.statuses and all(level < 2 for level, *_ in self.statuses.values())):
            self.problems.append(f"no recovery: {[words for level, words, _ in self.statuses.values() if level >= 2]}")
        seen = self.frames_seen
        if not self.spin(ANSWER_S, lambda: self.frames_seen > seen + 30):
            self.problems.append("no fused frames at the end")


def write_loop(folder: Path, rig: RigConfig) -> Path:
    """LOOP_PAIRS pairs of the rig as pictures."""
    import cv2

    for role in ("thermal", "rgb"):
        (folder / role).mkdir(parents=True)
    for index, event in enumerate(islice(Rig(rig).events(), 2 * LOOP_PAIRS)):
        data = event.frame.data if event.stream == "thermal" else event.frame.data[..., ::-1]
        cv2.imwrite(str(folder / event.stream / f"{index // 2:03d}.png"), data)
    return folder


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The whole soak; its report."""
    import os

    begun = time.time()
    with tempfile.TemporaryDirectory(prefix="aenet_soak_") as scratch, Processes(Path(scratch)) as processes:
        os.environ.update({name: value for name, value in processes.environment.items() if name.startswith(("ROS_", "FAST"))})
        soak = Soak(processes, args)
        loop = write_loop(Path(scratch) / "loop", soak.rig)
        homography = [float(value) for value in rgb_to_thermal(soak.rig).ravel()]
        processes.start("node", "aenet_ros.ros.node", {"registration.mode": "homography", "registration.homography": homography})
        soak.camera()
        done: Counter[str] = Counter()
        try:
            soak.spin(ANSWER_S, lambda: soak.frames_seen > 30)
            soak.happened.append(Cause(begun, time.time(), ("start",)))
            soak.samples.clear()
            for step in plan(args.seed, args.seconds):
                soak.do(step, loop)
                done[step.kind] += 1
            soak.recover()
            soak.transition("deactivate")
        except AenetError as error:
            soak.problems.append(str(error))
        finally:
            soak.close()
        processes.children["node"].send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            processes.children["node"].wait(ANSWER_S)
        processes.stop(*processes.children)
        if status := processes.children["node"].returncode:
            soak.problems.append(f"the node ended with status {status}")
        log = (Path(scratch) / "node.log").read_text(errors="replace")
        if args.log:
            args.log.write_text(log)
    return report(soak, log, done, args, time.time() - begun)


def report(soak: Soak, log: str, done: Counter[str], args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """What is written: figures, and ``problems``, whose absence is the pass."""
    told, unexplained = explained(soak.errors, log, soak.happened)
    soak.problems += [f"an error that nothing explains: {words}" for words in unexplained]
    memory, grown = growth(soak.samples)
    soak.problems += grown
    totals: Counter[str] = Counter()
    for period in soak.periods:
        totals.update(period)
    problems = Counter(normalised(problem) for problem in soak.problems)
    return {
        "ok": not problems,
        "problems": [f"{problem} ({count} times)" if count > 1 else problem for problem, count in problems.items()],
        "seconds": round(seconds, 1),
        "size": args.size,
        "rate_hz": args.rate,
        "seed": args.seed,
        "steps": dict(sorted(done.items())),
        "cameras_killed": soak.kills,
        "options": dict(soak.options),
        "active_times": len(soak.periods),
        "counts": dict(totals),
        "pictures_received": soak.frames_seen,
        "errors_told": told,
        "memory": memory,
        "memory_samples": [
            " ".join(f"{value:.0f}" for value in (sample["at_s"] - soak.samples[0]["at_s"], *list(sample.values())[1:]))
            for sample in soak.samples
        ],
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=1800.0, help="least time of bad luck (default: %(default)g)")
    parser.add_argument("--size", metavar="WxH", default="640x512", help="of both cameras (default: %(default)s)")
    parser.add_argument("--rate", metavar="HZ", type=float, default=30.0, help="of both cameras (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="of the plan (default: %(default)s)")
    parser.add_argument(
        "--sample", metavar="S", type=float, default=10.0, help="time between two looks at the memory (default: %(default)g)"
    )
    parser.add_argument("--log", metavar="FILE", type=Path, help="keep the node's log here")
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="write the JSON here instead of to stdout")
    args = parser.parse_args()
    result = run(args)
    write_json(result, args.out)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
