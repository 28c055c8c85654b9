"""What must hold in a soak: the account of frames, errors that are explained, memory that does not grow. Knows no ROS."""

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

GRACE_S = 10.0
"""So long after its cause has ended an error may still be told: diagnostics are sent once a second, and look back a little."""

CAMERA = (
    r"no publisher on|has a publisher but no frame|no (thermal|rgb) frame for"
    r"|(nothing is published|the last fused frame is held) until a camera works again"
)
CAUSES: dict[str, str] = {
    "start": CAMERA,
    "kill": CAMERA,
    "loop": CAMERA,
    "thermal pulled": CAMERA,
    "rgb pulled": CAMERA,
    "thermal frozen": CAMERA,
    "rgb frozen": CAMERA,
    "deactivate": CAMERA,
    "cleanup": CAMERA,
    # A slop of 0 or a clock offset of an hour pairs nothing; a patience of 0.1 s takes any pause for a failure.
    "options": rf"{CAMERA}|no two stamps are within",
}
"""What each kind of bad luck may make the node call an error. Nothing else explains one."""

GROWTH_KB, GROWTH_COUNT = 16_384.0, 2.0
WARM_UP_S = 120.0
LOG_LINE = re.compile(r"^\[(\w+)\] \[(\d+\.\d+)\] \[\w+\]: (.*)$", re.MULTILINE)


class Cause(NamedTuple):
    """What happened, one or two of CAUSES, ``begun`` to ``ended`` in seconds of the wall clock."""

    begun: float
    ended: float
    kinds: Sequence[str]


def account_errors(values: Mapping[str, str], in_work: int) -> list[str]:
    """Sums that do not add up; ``in_work``: pairs that may be on their way through the worker."""
    count = {key: int(value) for key, value in values.items() if value.isdigit()}
    errors = []
    for role in ("thermal", "rgb"):
        if (taken := count[f"{role} received"] - count[f"{role} rejected"]) != count[f"{role} frames in"]:
            errors.append(f"{taken} {role} messages were taken, {count[f'{role} frames in']} frames reached the matcher")
    unpaired = sum(value for key, value in count.items() if key.startswith("unpaired: "))
    came, went = count["thermal frames in"] + count["rgb frames in"], 2 * count["pairs"] + unpaired + count["waiting"]
    if came != went:
        errors.append(f"{came} frames in, {went} accounted for")
    skipped = sum(value for key, value in count.items() if key.startswith("not fused: "))
    through = count["fused"] + count["replaced by a newer pair"] + count["failed"] + skipped
    if not 0 <= count["pairs"] - through <= in_work:
        errors.append(f"{count['pairs']} pairs, {through} accounted for")
    return errors


def explained(told: Sequence[tuple[float, str]], log: str, happened: Sequence[Cause]) -> tuple[dict[str, int], list[str]]:
    """Errors of diagnostics (time of the wall clock, words) and log, counted by their words, and those without a cause."""
    errors = [*told, *((float(at), words) for level, at, words in LOG_LINE.findall(log) if level in ("ERROR", "FATAL"))]
    unexplained = [words for at, words in errors if not _has_cause(at, words, happened)]
    unexplained += ["a traceback in the log"] * log.count("Traceback")
    return dict(Counter(normalised(words) for _, words in errors).most_common()), sorted(set(unexplained))


def _has_cause(at: float, words: str, happened: Sequence[Cause]) -> bool:
    kinds = {kind for cause in happened if cause.begun <= at <= cause.ended + GRACE_S for kind in cause.kinds}
    return any(re.search(CAUSES[kind], words) for kind in kinds if kind in CAUSES)


def normalised(words: str) -> str:
    """Without its numbers, to be counted."""
    return re.sub(r"\d+(\.\d+)?", "#", words)


def growth(samples: Sequence[Mapping[str, float]]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Medians of the second and the last quarter and the most, by kind of memory; what grew between the quarters, in words.

    The first quarter is the warm-up; where that is shorter than WARM_UP_S, nothing is said of growth.
    """
    figures: dict[str, dict[str, float]] = {}
    grown = []
    quarter = len(samples) // 4
    judged = bool(samples) and samples[quarter]["at_s"] - samples[0]["at_s"] >= WARM_UP_S
    for name in ("RssAnon", "RssFile", "RssShmem", "Threads", "descriptors"):
        values = [sample[name] for sample in samples]
        second, last = values[quarter : 2 * quarter] or values, values[-quarter:] or values
        figures[name] = {
            "first": values[0],
            "second_quarter": statistics.median(second),
            "last_quarter": statistics.median(last),
            "most": max(values),
        }
        limit = GROWTH_KB if name == "RssAnon" else GROWTH_COUNT
        more = figures[name]["last_quarter"] - figures[name]["second_quarter"]
        if name not in ("RssFile", "RssShmem") and judged and more > limit:
            grown.append(f"{name} grew by {more:g} from the second to the last quarter")
    return figures, grown
