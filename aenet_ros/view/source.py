"""What the page shows, a robot or a bag, behind one protocol; and the texts of its status."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from aenet_ros.config import Config, specs
from aenet_ros.thermal.temperature import PROFILES, is_radiometric, scale_of
from aenet_ros.view.snapshot import Snapshot

OK, WARN, ERROR, OFFLINE, WAITING = range(5)
"""Levels of the page's status. 0 to 2 are those of diagnostics. OFFLINE: the robot is not there. WAITING: no data came yet."""

SILENT_S = 4.0
SEARCH_S = 2.5
"""ROS discovery takes up to this long on a busy machine."""


class ViewSource(Protocol):
    """Delivers snapshots while a page is open. The server's thread calls all methods; all but ``close`` return at once."""

    kind: str
    """``robot`` or ``bag``."""
    title: str

    def start(self, on_snapshot: Callable[[Snapshot], None]) -> None:
        """Start the source. It may call ``on_snapshot`` from any thread."""

    def set_streams(self, streams: frozenset[str]) -> None:
        """Set what open pages show: of STREAMS, and ``spots``. Without any, a robot is not subscribed to and a bag pauses."""

    def state(self) -> dict[str, Any]:
        """Status, rates, values of the options and so on, for JSON."""

    def options(self) -> list[str]:
        """Names of the options that can be changed here."""

    async def set_option(self, name: str, value: Any) -> str:
        """Change an option. Returns why the value was refused, or an empty text."""

    def control(self, action: str, value: float) -> None:
        """``play``, ``pause``, ``step``, ``seek`` (``value`` in s from the start) or ``speed`` (factor); else NaN. A robot ignores it."""

    def close(self) -> None:
        """Stop the threads and release all resources."""


def option_controls(names: list[str]) -> list[dict[str, Any]]:
    """What the page needs to draw a control for each option."""
    kinds = {bool: "bool", int: "int", float: "float", str: "text"}
    chosen = [specs()[name] for name in names]
    return [{**spec._asdict(), "kind": "choice" if spec.choices else kinds[type(spec.default)]} for spec in chosen]


def dynamic_options() -> list[str]:
    """Names of the options that can change while a node runs."""
    return [name for name, spec in specs().items() if spec.dynamic]


def status_row(status: Any) -> dict[str, Any]:
    """A diagnostic_msgs/DiagnosticStatus for the page, without the node's name."""
    level = status.level
    return {
        "name": status.name.partition(": ")[2] or status.name,
        "level": int.from_bytes(level, "little") if isinstance(level, bytes) else int(level),
        "message": status.message,
        "values": {item.key: item.value for item in status.values},
    }


@dataclass
class RobotFacts:
    """What the viewer knows of the robot. Times are of the monotonic clock; None: nothing came yet.

    ``search_start_s``: when the first page was opened. ``level`` and ``message``: the node's own status, WAITING before the first one.
    ``alarm_level`` and ``alarm``: the node's status of watched regions. ``other_fused_topics``: fused pictures of other namespaces.
    """

    node: str
    domain: str
    search_start_s: float
    in_graph: bool = False
    diagnostics_s: float | None = None
    level: int = WAITING
    message: str = "the node has not reported the status of fusion yet"
    fused_topic: str = ""
    fused_publishers: int = 0
    fused_s: float | None = None
    wants_fused: bool = False
    other_fused_topics: Sequence[str] = ()
    image_topics: Sequence[str] = ()
    alarm_level: int = OK
    alarm: str = ""


class StatusText(NamedTuple):
    """``level``: of OK, WARN, ERROR, OFFLINE, WAITING. ``remedy`` may be empty."""

    level: int
    headline: str
    remedy: str = ""


def robot_status_text(facts: RobotFacts, now_s: float) -> StatusText:
    """The status that the page shows above the pictures."""
    age_s = None if facts.diagnostics_s is None else now_s - facts.diagnostics_s
    searching = now_s - facts.search_start_s < SEARCH_S
    if age_s is None or age_s >= SILENT_S:
        if searching:
            return StatusText(WAITING, f"searching for {facts.node}")
        if not facts.in_graph:
            return _absent(facts)
        if age_s is None:
            return StatusText(WARN, f"{facts.node} is running but has not published diagnostics yet", "they come once a second: wait")
        return StatusText(
            OFFLINE,
            f"{facts.node} has published no diagnostics for {age_s:.0f} s: it hangs, was killed, or the network is down",
            "check the node's terminal and the network; this page continues when the node is back",
        )
    if facts.level in (ERROR, OFFLINE):
        return StatusText(ERROR, facts.message)
    if facts.wants_fused and not facts.fused_publishers:
        return StatusText(
            ERROR,
            f"{facts.fused_topic} has no publisher",
            "give --fused-topic if it was remapped; or configure and activate the node (`ros2 lifecycle set`)",
        )
    if facts.alarm_level > (WARN if facts.level == WARN else OK):
        return StatusText(facts.alarm_level, facts.alarm)
    if facts.wants_fused and facts.fused_s is None and searching:
        return StatusText(WAITING, "waiting for the first fused frame")
    if facts.wants_fused and (facts.fused_s is None or now_s - facts.fused_s > SILENT_S) and facts.level == OK:
        return StatusText(
            WARN,
            f"{facts.message}; but this viewer receives no fused frame",
            "start it with the node's DDS profile, see docs/quickstart.md",
        )
    return StatusText(facts.level, facts.message)


def _absent(facts: RobotFacts) -> StatusText:
    topics = f" Image topics found: {', '.join(facts.image_topics)}." if facts.image_topics else " No image topic was found either."
    if facts.other_fused_topics:
        names = ", ".join(facts.other_fused_topics)
        return StatusText(OFFLINE, f"{facts.node} is not running, but fused pictures are on {names}", "give its --namespace (and --node)")
    start = "start it: ros2 launch aenet_ros fusion.launch.py"
    if facts.diagnostics_s is not None:
        return StatusText(OFFLINE, f"{facts.node} has stopped", f"{start}. This page continues when the node is back.{topics}")
    return StatusText(
        OFFLINE,
        f"no node {facts.node} on ROS domain {facts.domain}",
        f"{start}; or set ROS_DOMAIN_ID as on the robot.{topics} This page continues when the node runs.",
    )


def temperature_note(config: Config | None, known: bool) -> str:
    """What the thermal values mean, or why they are counts. ``known``: the node reported its configuration, or the viewer fuses with it."""
    if config is None:
        return "counts only: the node has not reported what they mean yet"
    agc = config.agc
    if not is_radiometric(agc):
        text = f"counts only: agc.profile {agc.profile} does not say what counts mean; choose the camera's profile (docs/cameras.md)"
        return text if known else f"{text} in Parameters or with --set"
    scale = scale_of(agc)
    source = f"agc.profile {agc.profile}" if PROFILES[agc.profile].scale else "agc.celsius_per_count"
    return f"{scale.per_count:g} °C per count, {scale.at_zero:g} °C at zero ({source}{'' if known else ', as given here'})"
