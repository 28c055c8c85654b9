"""Finds the thermal and the rgb camera among image topics, from names, encodings, sizes, rates and values. Knows no ROS.

What is not certain is asked for, never guessed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aenet_ros.messages.encodings import COLOURS, COUNTS
from aenet_ros.messages.stream_kinds import DEEP, FLOATS, Stream, base_topic, kinds_of, profile_of, thermal_device

_RIGHT = re.compile(r"(?<![a-z])right(?![a-z])")
_RECTIFIED = re.compile(r"rect(?!angle)")
_VARIANT = re.compile(r"^(image((_(raw|rect|colou?r|gr[ae]y|mono))+|_view)?|raw|rect|colou?r|gr[ae]y|mono|raw_data|preview|hd|qhd|sd)$")
_KIND = re.compile(r"_(raw|gr[ae]y)$")  # ZED: rgb, rgb_raw, rgb_gray
_SIDE = re.compile(r"(?<![a-z])(?:left|right|front|rear|back|top|bottom)(?![a-z])")
_NUMBERED = re.compile(rf"\d$|{_SIDE.pattern}")


class FoundCameras(NamedTuple):
    """The topics, empty where not certain; ``profile``: of ``agc.profile`` where the driver's conventions make it certain, else empty.

    ``why``: what was chosen, and why. ``question``: which topics come in question, where one is not certain; else empty. ``candidates``:
    by role, the topics that do.
    """

    thermal: str
    rgb: str
    profile: str
    why: str
    question: str
    candidates: Mapping[str, Sequence[str]]

    def choice(self, form: str) -> str:
        """Arguments that choose both, by ``form`` with role and topic: "--{role}-topic {topic}"; for what is not certain an example."""
        topics = {"thermal": self.thermal, "rgb": self.rgb}
        likely = {role: topic or next(iter(self.candidates[role]), "TOPIC") for role, topic in topics.items()}
        return " ".join(form.format(role=role, topic=topic) for role, topic in likely.items())


def find_cameras(streams: Iterable[Stream], thermal: str = "", rgb: str = "", namespace: str = "/") -> FoundCameras:
    """The two cameras among ``streams``; ``thermal`` and ``rgb`` are topics that are given already.

    Only cameras in ``namespace`` are taken without being asked for: those elsewhere may be another robot's. Of a raw and a rectified topic
    of one camera the raw one is taken, since camera_info's lens model belongs to it.
    """
    every = _one_transport(streams)
    inside = [stream for stream in every if namespace == "/" or stream.topic.startswith(f"{namespace}/")]
    found = _find(inside, thermal, rgb)
    if not found.question or len(inside) == len(every):
        return found
    outside = _find(every, thermal, rgb)  # other robots may be there
    likely = {role: [topic] if (topic := getattr(outside, role)) else outside.candidates[role] for role in outside.candidates}
    question = f"in {namespace}: {found.question}; elsewhere: {outside.question or outside.why}"
    return FoundCameras(thermal, rgb, "", "", question, likely)


def _find(streams: Sequence[Stream], thermal: str, rgb: str) -> FoundCameras:
    kinds = kinds_of(streams)
    thermals = _thermal_groups([stream for stream in streams if kinds[stream.topic][0] == "thermal" and stream.topic != rgb])
    own = ("", "") if thermal or rgb else _own_topics(streams)
    reasons = {thermal: "given", rgb: "given"}
    if not thermal and (len(thermals) == 1 or own[0]):
        thermal = thermals[0].topic if len(thermals) == 1 else own[0]
        reasons[thermal] = kinds[thermal][1]
    visible = [stream for stream in streams if kinds[stream.topic][0] == "rgb" and stream.topic != thermal]
    # A camera without colours is the rgb camera only where no other one is there, and the thermal one is known.
    visible = visible or [stream for stream in streams if thermal and kinds[stream.topic][0] == "camera" and stream.topic != thermal]
    cameras = _rgb_groups(visible)
    if not rgb and (len(cameras) == 1 or own[1]):
        rgb = cameras[0][0].topic if len(cameras) == 1 else own[1]
        reasons[rgb] = cameras[0][1] if len(cameras) == 1 and cameras[0][1] else kinds[rgb][1]
    by_topic = {stream.topic: stream for stream in streams}
    chosen = {role: topic for role, topic in (("thermal", thermal), ("rgb", rgb)) if topic}
    why = "; ".join(
        f"{role}: {by_topic[topic].describe() if topic in by_topic else topic}, {reasons[topic]}" for role, topic in chosen.items()
    )
    candidates = {"thermal": thermals, "rgb": [stream for stream, _ in cameras]}
    question = "" if len(chosen) == 2 else _question(streams, kinds, chosen, candidates)
    profile = profile_of(by_topic[thermal]) if thermal in by_topic else ""
    names = {role: [stream.topic for stream in found] for role, found in candidates.items()}
    return FoundCameras(thermal, rgb, profile, why, question, names)


def _own_topics(streams: Sequence[Stream]) -> tuple[str, str]:
    """The topics named as this package names them, thermal/image_raw and rgb/image_raw of one namespace; empty unless there is one pair."""
    topics = {base_topic(stream.topic): stream.topic for stream in streams}
    spaces = [base.removesuffix("thermal/image_raw") for base in topics if base.endswith("/thermal/image_raw")]
    pairs = [
        (topics[f"{space}thermal/image_raw"], topics[f"{space}rgb/image_raw"]) for space in spaces if f"{space}rgb/image_raw" in topics
    ]
    return pairs[0] if len(pairs) == 1 else ("", "")


def _question(
    streams: Sequence[Stream],
    kinds: Mapping[str, tuple[str, str]],
    chosen: Mapping[str, str],
    candidates: Mapping[str, Sequence[Stream]],
) -> str:
    if not streams:
        return "there is no image topic"
    parts, listed = [], set(chosen.values())
    for role in ("thermal", "rgb"):
        if role not in chosen:
            found = candidates[role]
            several = f"{role}: {len(found)} topics come in question: {', '.join(stream.describe() for stream in found)}"
            parts.append(several if found else f"no topic is certain to be {role}")
            listed |= {stream.topic for stream in found}
    others = [f"{stream.describe()}: {kinds[stream.topic][1]}" for stream in streams if stream.topic not in listed]
    return "; ".join(parts) + (f"; other topics: {', '.join(others)}" if others else "")


def _one_transport(streams: Iterable[Stream]) -> list[Stream]:
    """Without the transports of topics that are there raw, and of the other ones the first."""
    chosen: dict[str, Stream] = {}
    for stream in sorted(streams, key=lambda stream: (len(stream.topic), stream.topic)):
        chosen.setdefault(base_topic(stream.topic), stream)
    return list(chosen.values())


def _thermal_groups(streams: Sequence[Stream]) -> list[Stream]:
    """Of each thermal camera its best topic: float, then 16 bit, then 8, then colours; raw rather than rectified."""
    best: dict[str, Stream] = {}
    for stream in sorted(streams, key=_thermal_order, reverse=True):
        best[_thermal_key(stream.topic)] = stream
    return sorted(best.values())


def _thermal_key(topic: str) -> str:
    """The device, with the parts that number its cameras or tell their sides."""
    device = thermal_device(topic)
    folders, _, name = base_topic(topic).removeprefix(device).rpartition("/")
    numbered = [part for part in folders.split("/") if _NUMBERED.search(part)]
    return "/".join([device, *numbered, *_SIDE.findall(name)]) if device else _camera_key(topic)


def _thermal_order(stream: Stream) -> tuple[Any, ...]:
    depth = 0 if stream.encoding in FLOATS else 1 if stream.encoding in DEEP else 2 if stream.encoding in COUNTS else 3
    return (depth, *_raw_first(stream))


def _raw_first(stream: Stream) -> tuple[Any, ...]:
    name = base_topic(stream.topic)
    return bool(_RECTIFIED.search(name)), not name.endswith("image_raw"), len(name), name


def _rgb_groups(streams: Sequence[Stream]) -> list[tuple[Stream, str]]:
    """Of each visible camera its best topic, and why it, where there was a choice; a stereo camera is one, and its left one is taken."""
    best: dict[str, Stream] = {}
    for stream in sorted(streams, key=lambda stream: (stream.encoding not in COLOURS, *_raw_first(stream)), reverse=True):
        best[_camera_key(stream.topic)] = stream
    reasons = {}
    for right in [key for key in best if _RIGHT.search(key)]:
        left, both = _RIGHT.sub("left", right), _RIGHT.sub("rgb", right)
        if left in best:
            first = both if both in best else left
            reasons[first] = "colour, the first of a stereo camera"
            best = {key: stream for key, stream in best.items() if key == first or key not in (left, right)}
    return sorted((stream, reasons.get(key, "")) for key, stream in best.items())


def _camera_key(topic: str) -> str:
    """The topic without the parts that tell variants of one camera's pictures apart."""
    return "/".join(_KIND.sub("", part) for part in base_topic(topic).split("/") if not _VARIANT.match(part))
