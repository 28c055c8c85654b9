"""What a page says when something is missing, and how to mend it."""

import socket
from collections.abc import Sequence
from typing import NamedTuple

from aenet_ros.config import AgcConfig
from aenet_ros.thermal.temperature import PROFILES, scale_of
from aenet_ros.view.access import is_local
from aenet_ros.view.settings import ViewSettings
from aenet_ros.view.source import ERROR, GONE, OK, WARN

SILENT_S = 4.0
LOOKING_S = 2.5  # discovery takes as long on a busy machine


class RobotFacts(NamedTuple):
    """What is known of the robot. ``looking_s``: since a page was opened; ``diagnostics_age_s``: None before the first, ``level`` and
    ``message`` are then nothing, else the node's own.
    """

    node: str
    domain: str
    looking_s: float
    in_graph: bool
    diagnostics_age_s: float | None
    level: int
    message: str
    fused_topic: str
    fused_publishers: int
    fused_age_s: float | None
    wants_fused: bool
    elsewhere: Sequence[str]
    image_topics: Sequence[str]


class Words(NamedTuple):
    """``level`` of OK, WARN, ERROR, GONE; a headline; and what to do, which may be empty."""

    level: int
    headline: str
    remedy: str


def robot_words(facts: RobotFacts) -> Words:
    """The one thing to say above the pictures."""
    told = facts.diagnostics_age_s is not None and facts.diagnostics_age_s < SILENT_S
    if not told and facts.looking_s < LOOKING_S:
        return Words(OK, f"looking for {facts.node}", "")
    if not told and not facts.in_graph:
        return _absent(facts)
    if not told and facts.diagnostics_age_s is None:
        return Words(WARN, f"{facts.node} is there but has not said how it is yet", "diagnostics come once a second; wait a moment")
    if not told:
        return Words(
            GONE,
            f"{facts.node} has said nothing for {facts.diagnostics_age_s:.0f} s: it hangs, was killed, or the network is gone",
            "look at the node's terminal and at the network; this page goes on by itself when the node is back",
        )
    if facts.level >= ERROR:
        return Words(ERROR, facts.message, "")
    if facts.wants_fused and not facts.fused_publishers:
        return Words(
            ERROR,
            f"nobody publishes {facts.fused_topic}",
            "give --fused-topic where it was remapped; or configure and activate the node (`ros2 lifecycle set`)",
        )
    if facts.wants_fused and (facts.fused_age_s is None or facts.fused_age_s > SILENT_S) and facts.level == OK:
        return Words(WARN, f"{facts.message}; but no fused frame reaches this viewer", "give it the node's DDS profile, docs/quickstart.md")
    return Words(facts.level, facts.message, "")


def _absent(facts: RobotFacts) -> Words:
    seen = f" Image topics seen: {', '.join(facts.image_topics)}." if facts.image_topics else " No image topic is seen either."
    if facts.elsewhere:
        names = ", ".join(facts.elsewhere)
        return Words(GONE, f"no node {facts.node} here, but fused pictures on {names}", "start with --namespace (and --node) of that one")
    start = "start it: ros2 launch aenet_ros fusion.launch.py"
    if facts.diagnostics_age_s is not None:
        return Words(GONE, f"{facts.node} has stopped", f"{start}. This page goes on by itself when it is back.{seen}")
    return Words(
        GONE,
        f"no node {facts.node} on ROS domain {facts.domain}",
        f"{start}; or set ROS_DOMAIN_ID as the robot has it.{seen} This page goes on by itself when the node is there.",
    )


def temperature_note(agc: AgcConfig | None, known: bool) -> str:
    """Where the degrees under the cursor come from."""
    if agc is None:
        return "counts only: the camera's scale is known when the node has told its configuration"
    scale = scale_of(agc)
    source = f"profile {agc.profile}" if PROFILES[agc.profile].scale else "agc.celsius_per_count, right only for a radiometric camera"
    doubt = "" if known else "; the bag does not tell the scale, so give it with --set"
    return f"{scale.per_count:g} °C a count, {scale.at_zero:g} °C at zero ({source}{doubt})"


def welcome(settings: ViewSettings, port: int, what: str) -> str:
    """What is printed when the page can be opened: its address, its token, and the way through ssh."""
    token = f"?token={settings.token}" if settings.token else ""
    if is_local(settings.host):
        name = f"[{settings.host}]" if ":" in settings.host else settings.host
        lines = [f"showing {what}: http://{name}:{port}/{token}"]
        lines.append(f"from another machine: ssh -L {port}:{name}:{port} THIS_MACHINE, then the same address there")
    else:
        everywhere = settings.host in ("0.0.0.0", "::")
        name = socket.gethostname() if everywhere else f"[{settings.host}]" if ":" in settings.host else settings.host
        lines = [f"showing {what}: http://{name}:{port}/{token}"]
        lines.append("whoever has this address with its token can look and change parameters, and it goes over the network unencrypted")
    return "\n".join([*lines, "Ctrl-C ends it"])
