"""From counters to diagnostics: what is wrong, and the remedy. Knows no ROS messages."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aenet_ros.config import Config, specs
from aenet_ros.core.errors import similar
from aenet_ros.health.status import ERROR, OK, WARN, Code, NodeStats, PipelineStatus, Status
from aenet_ros.sync.matcher import PairCounts

LOST_SHARE_TO_WARN = 0.1
OTHER_CLOCK_MS = 10_000.0
BROKEN = {"input thermal": Code.FUSION_NO_THERMAL, "input rgb": Code.FUSION_NO_RGB}

DDS_REMEDY = (
    "give config/fastdds_shm.xml to the camera driver and to this node "
    "(FASTDDS_DEFAULT_PROFILES_FILE, before Kilted FASTRTPS_DEFAULT_PROFILES_FILE), or use transport compressed"
)


@dataclass
class TopicFacts:
    """What the ROS graph knows of an input topic: number of compatible publishers, and sentences on the others."""

    topic: str
    publishers: int = 0
    incompatible: list[str] = field(default_factory=list)
    other_type: str = ""
    alternatives: Sequence[str] = ()
    has_dds_profile: bool = False


@dataclass
class NodeFacts:
    """All inputs of ``judge``, gathered once in a diagnostics period."""

    state: str
    config: Config
    stats: NodeStats
    topics: dict[str, TopicFacts]
    match: PairCounts
    pending: int
    subscribers: int
    activated_at_ns: int
    problem: str = ""
    unknown_parameters: Sequence[str] = ()
    cameras: Mapping[str, str] = field(default_factory=dict)  # what was found: topics, transports, profile, and why
    camera_choice: str = ""  # which choice of cameras the user has to make
    pipeline: PipelineStatus | None = None
    hangs: bool = False
    clock_stands: bool = False  # simulated time (/clock) is paused
    degraded: str = ""
    action: str = ""  # what is published meanwhile, where ``degraded`` is not empty

    @property
    def stale_ns(self) -> int:
        """Time without a frame after which a stream has stopped."""
        return int(self.config.diagnostics.stale_s * 1e9)

    def alive(self, role: str) -> bool:
        """Whether frames of a stream arrive."""
        arrivals = self.stats.stream(role).arrivals_ns
        return bool(arrivals) and time.monotonic_ns() - arrivals[-1] < self.stale_ns


def judge(facts: NodeFacts) -> list[Status]:
    """The statuses to publish, the overall one first."""
    if facts.problem:
        return [Status("fusion", ERROR, Code.FUSION_NOT_CONFIGURED, facts.problem, {"state": facts.state})]
    if facts.state != "active":
        values = {"state": facts.state, **(_final_counts(facts) if facts.activated_at_ns else {})}
        idle = f"{facts.state}: nothing is fused; activate the node"
        message = "finalized: the node is shut down; start it again" if facts.state == "finalized" else idle
        return [Status("fusion", WARN, Code.FUSION_INACTIVE, message, values)]
    others = [*(_judge_stream(role, facts) for role in ("thermal", "rgb")), _judge_pairing(facts), _judge_model(facts.pipeline)]
    if facts.camera_choice:
        others.insert(0, Status("cameras", WARN, Code.CAMERAS_UNCERTAIN, facts.camera_choice, {}))
    elif facts.cameras:
        others.insert(0, Status("cameras", OK, Code.CAMERAS_FOUND, facts.cameras["why"], dict(facts.cameras)))
    return [_judge_fusion(facts, others), *others]


def _final_counts(facts: NodeFacts) -> dict[str, str]:
    """After deactivation: every received frame is in one of these counts."""
    received: dict[str, str] = {}
    for role in ("thermal", "rgb"):
        stream = facts.stats.stream(role)
        received |= {f"{role} received": str(stream.received), f"{role} rejected": str(stream.rejected.number)}
    return {**received, **_pair_counts(facts), **_fused_counts(facts.stats)}


def _pair_counts(facts: NodeFacts) -> dict[str, str]:
    """Frames in = 2 * pairs + waiting + all unpaired."""
    counts = facts.match
    return {
        "thermal frames in": str(counts.thermal_in),
        "rgb frames in": str(counts.rgb_in),
        "pairs": str(counts.pairs),
        "waiting": str(facts.pending),
        **{f"unpaired: {reason}": str(count) for reason, count in sorted(counts.dropped.items()) if count},
    }


def _fused_counts(stats: NodeStats) -> dict[str, str]:
    """Pairs = fused + replaced + failed + all not fused + the one or two that are being fused."""
    return {
        "fused": str(stats.fused),
        "replaced by a newer pair": str(stats.replaced),
        "failed": str(stats.failed.number),
        **{f"not fused: {reason}": str(count) for reason, count in stats.skipped().items()},
    }


def _judge_stream(role: str, facts: NodeFacts) -> Status:
    stream, topic = facts.stats.stream(role), facts.topics[role]
    rate_hz, lost = stream.rate_hz(facts.stale_ns), stream.lost_share()
    values = {
        "topic": topic.topic,
        "publishers": str(topic.publishers),
        "rate [Hz]": f"{rate_hz:.1f}",
        "encoding": stream.encoding or "-",
        "size": f"{stream.size[1]}x{stream.size[0]}",
        "received": str(stream.received),
        "rejected": str(stream.rejected.number),
        "lost before this node [%]": f"{100 * lost:.0f}",
        "size or encoding changes": str(stream.size_changes),
    }
    if stream.rejected.number:
        values["last rejected because"] = stream.rejected.last
    name = f"input {role}"
    if not facts.alive(role):
        return Status(name, *_silent_message(role, facts), values)
    if stream.rejected.recent:
        return Status(name, WARN, Code.INPUT_SOME_UNDECODABLE, f"some frames cannot be decoded: {stream.rejected.last}", values)
    if lost > LOST_SHARE_TO_WARN:
        remedy = "the network or the driver drops them" if topic.has_dds_profile else DDS_REMEDY
        text = f"{100 * lost:.0f} % of the {role} frames never reach this node: {remedy}"
        return Status(name, WARN, Code.INPUT_LOSES_FRAMES, text, values)
    return Status(name, OK, Code.INPUT_OK, f"{rate_hz:.1f} Hz, {values['size']} {stream.encoding}", values)


def input_problem(role: str, facts: NodeFacts) -> tuple[Code, str] | None:
    """Why no frame of a stream can be used although its camera may work; None if this is not known."""
    stream, topic = facts.stats.stream(role), facts.topics[role]
    if stream.rejected.recent:
        return Code.INPUT_UNDECODABLE, f"no {role} frame can be decoded: {stream.rejected.last}"
    if topic.incompatible:
        return Code.INPUT_QOS, f"QoS of {topic.topic} does not fit: {'; '.join(topic.incompatible)}"
    if topic.other_type:
        return Code.INPUT_OTHER_TYPE, topic.other_type
    if not topic.publishers and not facts.camera_choice and not _waits(facts):
        hint = f" Image topics seen: {', '.join(topic.alternatives)}." if topic.alternatives else " No other image topic is seen either."
        return Code.INPUT_NO_PUBLISHER, f"no publisher on {topic.topic}: start the camera driver or remap the topic.{hint}"
    return None


def _silent_message(role: str, facts: NodeFacts) -> tuple[int, Code, str]:
    """Level, code and text for a stream of which no frame has arrived lately."""
    stream, topic = facts.stats.stream(role), facts.topics[role]
    if problem := input_problem(role, facts):
        return ERROR, *problem
    if facts.camera_choice and not topic.publishers:
        return WARN, Code.INPUT_UNCERTAIN, "the cameras are not certain; see the entry cameras"
    if stream.arrivals_ns:
        silent_s = (time.monotonic_ns() - stream.arrivals_ns[-1]) / 1e9
        text = f"no {role} frame for {silent_s:.1f} s: camera, cable or driver stopped; fusion resumes by itself when it is back"
        if facts.clock_stands:
            text = f"no {role} frame for {silent_s:.1f} s: /clock stands still: the simulation or the bag is paused"
        return ERROR, Code.INPUT_STOPPED, text
    if _waits(facts):
        return OK, Code.INPUT_WAITING, f"waiting for the first frame on {topic.topic}"
    text = f"{topic.topic} has a publisher but no frame arrives: is the camera streaming? If it is, {DDS_REMEDY}"
    return ERROR, Code.INPUT_NO_FRAMES, text


def _waits(facts: NodeFacts) -> bool:
    """Whether the node has just been activated."""
    return time.monotonic_ns() - facts.activated_at_ns < facts.stale_ns


def _judge_pairing(facts: NodeFacts) -> Status:
    stats, sync, counts = facts.stats, facts.config.sync, facts.match
    offset_ms = stats.clock_offset_ms()
    values = {
        "policy": sync.policy,
        "slop [ms]": f"{sync.slop_ms:g}",
        "clock offset applied [ms]": f"{sync.clock_offset_ms:g}",
        "clock offset seen at arrival [ms]": f"{offset_ms:.1f}",
        "stamp difference p50 [ms]": f"{stats.difference_ms(50):.2f}",
        "stamp difference p95 [ms]": f"{stats.difference_ms(95):.2f}",
        **_pair_counts(facts),
    }
    if not (facts.alive("thermal") and facts.alive("rgb")):
        return Status("pairing", OK, Code.PAIRING_WAITING, "waiting for both streams", values)
    # A camera that has just returned has had no time for a pair.
    last_ns = max(stats.last_pair_at_ns, facts.activated_at_ns, stats.thermal.resumed_at_ns, stats.rgb.resumed_at_ns)
    if time.monotonic_ns() - last_ns < facts.stale_ns:
        return Status("pairing", OK, Code.PAIRING_OK, f"{counts.pairs} pairs", values)
    if counts.dropped.get("zero_stamp"):
        text = "frames come with stamp 0: set the driver to stamp its images (header.stamp)"
        return Status("pairing", ERROR, Code.PAIRING_ZERO_STAMPS, text, values)
    apart_ms = offset_ms - sync.clock_offset_ms
    message = f"both cameras send, but no two stamps are within sync.slop_ms {sync.slop_ms:g}: "
    if abs(apart_ms) > sync.slop_ms:
        code = Code.PAIRING_OTHER_CLOCKS
        message += (
            f"they are about {apart_ms / 1e3:.3f} s apart (thermal minus rgb). "
            f"Synchronise the clocks, or set sync.clock_offset_ms to about {offset_ms:.0f}"
        )
    elif max(stats.thermal.lost_share(), stats.rgb.lost_share()) > LOST_SHARE_TO_WARN:
        code = Code.INPUT_LOSES_FRAMES
        message += "many frames never reach this node (lost before this node, of the inputs)"
    else:
        code = Code.PAIRING_NOT_TRIGGERED
        message += "the cameras are not triggered together; raise sync.slop_ms to half the slower one's period"
    return Status("pairing", ERROR, code, message, values)


def _judge_model(pipeline: PipelineStatus | None) -> Status:
    if pipeline is None:
        return Status("model", WARN, Code.MODEL_MISSING, "no model is loaded", {})
    values = {
        "device": pipeline.device,
        "precision": pipeline.precision,
        "backend": f"{pipeline.backend} ({pipeline.backend_reason})" if pipeline.backend_reason else pipeline.backend,
        "weights": pipeline.weights_sha256,
        "AGC range [counts]": f"{pipeline.agc_range[0]:.1f} .. {pipeline.agc_range[1]:.1f}",
        "AGC hot end": pipeline.agc_gain.hot_end_text(),
    }
    level, code = (WARN, Code.MODEL_FALLBACK) if pipeline.fallback else (OK, Code.MODEL_OK)
    return Status("model", level, code, pipeline.fallback or f"{pipeline.device} {pipeline.precision}", values)


def _judge_fusion(facts: NodeFacts, others: Sequence[Status]) -> Status:
    stats, limits = facts.stats, facts.config.diagnostics
    rate_hz = stats.fused_rate_hz(facts.stale_ns)
    values = {
        "state": facts.state,
        "rate [Hz]": f"{rate_hz:.1f}",
        "subscribers": str(facts.subscribers),
        **_fused_counts(stats),
        "latency p50 [ms]": f"{stats.latency_ms(50):.1f}",
        "latency p95 [ms]": f"{stats.latency_ms(95):.1f}",
        **{f"stage {stage} p50 [ms]": f"{value:.2f}" for stage, value in stats.stages_ms(50).items()},
        "stage total p95 [ms]": f"{stats.stages_ms(95).get('total', math.nan):.2f}",
        "limits": f"rate over {limits.min_rate_hz:g} Hz, latency under {limits.max_latency_ms:g} ms",
    }
    level, code, message = _fusion_message(facts, others, rate_hz)
    if facts.unknown_parameters and level == OK:
        names = ", ".join(name + similar(name, specs()) for name in facts.unknown_parameters)
        level, code = WARN, Code.FUSION_UNKNOWN_PARAMETERS
        message = f"parameters that do not exist were given and have no effect: {names}; see ros2 param list"
    return Status("fusion", level, code, message, values)


def _fusion_message(facts: NodeFacts, others: Sequence[Status], rate_hz: float) -> tuple[int, Code, str]:
    stats, limits = facts.stats, facts.config.diagnostics
    if facts.hangs:
        return ERROR, Code.FUSION_HANGS, "the fusion thread hangs in the last frame (a stuck GPU driver?): restart the node"
    broken = [status for status in others if status.level == ERROR]
    if broken:
        code = BROKEN.get(broken[0].name, Code.FUSION_NO_PAIRS) if len(broken) == 1 else Code.FUSION_NO_CAMERAS
        return ERROR, code, f"nothing is fused: {broken[0].message}" + (f" ({facts.action})" if facts.action else "")
    if facts.camera_choice:
        return WARN, Code.FUSION_CAMERAS_UNCERTAIN, f"nothing is fused until the cameras are chosen: {facts.camera_choice}"
    if stats.failed.recent:
        return ERROR, Code.FUSION_FAILS, f"pairs cannot be fused: {stats.failed.last}"
    if errors := stats.internal_errors.number:
        text = f"{errors} frames failed by an error of this node, please report it: {stats.internal_errors.last}"
        return ERROR, Code.FUSION_INTERNAL_ERROR, text
    if not facts.config.enabled:
        return OK, Code.FUSION_DISABLED, "disabled: enable with ~/set_enabled or the parameter enabled"
    if not facts.subscribers:
        return OK, Code.FUSION_IDLE, "idle: no fused topic has a subscriber"
    if facts.degraded:
        return WARN, Code.FUSION_DEGRADED, facts.degraded
    if not stats.fused or not rate_hz:
        since_ns = max(facts.activated_at_ns, stats.last_fused_at_ns)
        if time.monotonic_ns() - since_ns < 2 * facts.stale_ns:
            return OK, Code.FUSION_WAITING, "waiting for pairs"
        return WARN, Code.FUSION_NOTHING_FUSED, "no pair is fused; see the other entries"
    if rate_hz < limits.min_rate_hz:
        text = f"only {rate_hz:.1f} fused frames a second (diagnostics.min_rate_hz {limits.min_rate_hz:g}): see the stage times"
        return WARN, Code.FUSION_SLOW, text
    latency_ms = stats.latency_ms(95)
    if limits.max_latency_ms and latency_ms > OTHER_CLOCK_MS:
        text = (
            f"rgb stamps are {latency_ms / 1e3:.0f} s behind this machine's clock: synchronise the clocks, or set use_sim_time for a bag; "
            f"{rate_hz:.1f} fused frames a second"
        )
        return WARN, Code.FUSION_OTHER_CLOCK, text
    if limits.max_latency_ms and latency_ms > limits.max_latency_ms:
        text = (
            f"latency p95 {latency_ms:.0f} ms is over diagnostics.max_latency_ms {limits.max_latency_ms:g}: "
            "the machine is too slow or too busy; see the stage times"
        )
        return WARN, Code.FUSION_LATE, text
    return OK, Code.FUSION_OK, f"{rate_hz:.1f} fused frames a second, latency {stats.latency_ms(50):.1f} ms"
