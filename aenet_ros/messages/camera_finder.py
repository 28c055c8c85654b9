"""Finds the thermal and the rgb camera among image topics, from names, encodings, sizes, rates and values. Knows no ROS.

What is not certain is asked for, never guessed. The conventions of drivers, with their sources: docs/cameras.md.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array
from aenet_ros.messages.codec import decode_rgb, decode_thermal
from aenet_ros.messages.encodings import COLOURS, COUNTS


class Stream(NamedTuple):
    """Facts of an image topic; those that are not known keep their defaults.

    ``encoding``: of the message, or of the decompressed picture. ``size``: height, width. ``median``: of the values of one frame, finite
    ones; ``zeros``: share of values that are 0 or not finite. ``grey``: colour whose three channels are equal.
    """

    topic: str
    encoding: str = ""
    size: tuple[int, int] = (0, 0)
    frame_id: str = ""
    rate_hz: float = 0.0
    has_info: bool = False
    median: float | None = None
    zeros: float = 0.0
    grey: bool = False

    def describe(self) -> str:
        """Topic and facts, for messages."""
        facts = [f"{self.encoding} {self.size[1]}x{self.size[0]}" if self.encoding else ""]
        facts += [f"{self.rate_hz:.1f} Hz" if self.rate_hz else "", "with camera_info" if self.has_info else ""]
        return f"{self.topic} ({', '.join(filter(None, facts)) or 'no frame seen'})"


class FoundCameras(NamedTuple):
    """The topics, empty where not certain; ``profile``: of ``agc.profile`` where the driver's conventions name it, else empty.

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


# Words in names. A part is what stands between slashes.
_DERIVED = re.compile(
    r"fused|registered|mask|segment|semantic|label|annotat|overlay|detect|debug|dbg|confidence|heatmap|cost_?map|optical_flow|keypoint|"
    r"feature|(^|/)thermal/(view|temperature)(/|$)|side_by_side|stereo/(colou?r|gray)/|preview|thumbnail|(^|[/_])result"
)
_DEPTH = re.compile(r"depth(?!ai)|dispar|(^|[/_])(tof|range_image|z16|disp_image|disp_map)([/_]|$)")
_INFRA = re.compile(r"(^|[/_])(infra\d?|nir)([/_]|$)")
_IR = re.compile(r"infrared|(^|[/_])ir\d?([/_]|$)")
_THERMAL = re.compile(
    r"therm|lwir|mwir|boson|lepton|microbolometer|seek|optris|infiray|radiometric|hikmicro|(^|[/_])(tau2?|adk|vue)\d?([/_]|$)"
)
_RGB = re.compile(r"(^|[/_])(rgb|visible|vis|eo)\d?([/_]|$)")
_COLOR = re.compile(r"(^|[/_])colou?r([/_]|$)")
_TRANSPORT = re.compile(r"/compressed(Depth)?$|/theora$|/zstd$|/ffmpeg$")
_RIGHT = re.compile(r"(?<![a-z])right(?![a-z])")
_RECTIFIED = re.compile(r"rect(?!angle)")
_VARIANT = re.compile(
    r"^(image(_(raw|rect|color|colour|mono|rect_color|rect_raw|rect_mono|view))?|raw|rect|colou?r|gray|grey|mono|raw_data)$"
)

THERMAL_SIZES = {
    (60, 80), (120, 160), (122, 160), (156, 206), (192, 256), (240, 320), (256, 320), (256, 336), (288, 382), (288, 384), (348, 464),
    (512, 640), (514, 640), (768, 1024),
}  # fmt: skip
"""Heights and widths of thermal sensors that are rare among visible cameras, also with rows of telemetry."""
LARGEST_THERMAL = (1024, 1280)
SLOW_HZ = (7.5, 9.5)
"""Rates of thermal cameras that are sold without an export licence: under 9 Hz."""
MOST_ZEROS = 0.01
"""A thermal frame of 16 bits has fewer zeros; a depth image has them where it measures nothing."""
_FLOATS = ("32FC1", "64FC1")
_DEEP = (*_FLOATS, "mono16", "16UC1", "16SC1", "32SC1")


def stream_of(topic: str, message: Any, rate_hz: float = 0.0, has_info: bool = False) -> Stream:
    """The facts of a topic from one of its messages: a sensor_msgs Image or CompressedImage. Raises nothing: damaged data tells less."""
    known = Stream(topic, getattr(message, "encoding", ""), frame_id=message.header.frame_id, rate_hz=rate_hz, has_info=has_info)
    if not hasattr(message, "format"):
        known = known._replace(size=(int(message.height), int(message.width)))
    try:
        frame = (decode_rgb if known.encoding in COLOURS else decode_thermal)(message)
        if hasattr(message, "format") and frame.source_encoding in COLOURS:
            frame = decode_rgb(message)
    except ImageError:
        return known
    values = frame.data[::8, ::8]
    if values.ndim == 3:
        return known._replace(encoding=frame.source_encoding, size=frame.size, grey=int(np.ptp(values.astype(int), axis=2).max()) <= 8)
    finite = values[np.isfinite(values)]
    median = float(np.median(finite)) if finite.size else None
    return known._replace(encoding=frame.source_encoding, size=frame.size, median=median, zeros=_zeros(values))


def _zeros(values: Array) -> float:
    return float(np.mean(~np.isfinite(values) | (values == 0)))


def find_cameras(streams: Iterable[Stream], thermal: str = "", rgb: str = "", namespace: str = "/") -> FoundCameras:
    """The two cameras among ``streams``; ``thermal`` and ``rgb`` are topics that are given already.

    Only cameras in ``namespace`` are taken without being asked for: those elsewhere may be another robot's. Of a raw and a rectified topic
    of one camera the raw one is taken, since camera_info's lens model belongs to it.
    """
    every = _one_transport([stream for stream in streams if not is_derived(stream.topic)])
    inside = [stream for stream in every if stream.topic.startswith(f"{namespace.rstrip('/')}/")]
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
    why += f"; agc.profile {profile} by the driver's conventions" if profile else ""
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


def kinds_of(streams: Sequence[Stream]) -> dict[str, tuple[str, str]]:
    """By topic: thermal, rgb, camera (not certain which), infrared (near infrared), depth; and the reason, in words."""
    depths = {_device(stream.topic) for stream in streams if _is_depth(stream)}
    return {stream.topic: _kind(stream, _device(stream.topic) in depths) for stream in streams}


def _kind(stream: Stream, beside_depth: bool) -> tuple[str, str]:
    name, deep = base_topic(stream.topic).lower(), stream.encoding in _DEEP
    colour = stream.encoding in COLOURS and not stream.grey
    if _is_depth(stream):
        return "depth", "depth"
    if _INFRA.search(name) or _INFRA.search(stream.frame_id.lower()) or (beside_depth and _IR.search(name)):
        return "infrared", "near infrared, which is not thermal"
    words, rgb_words = list(_THERMAL.finditer(name)) + list(_IR.finditer(name)), list(_RGB.finditer(name))
    if words and not (rgb_words and rgb_words[-1].start() > words[-1].start()):
        return "thermal", "thermal by its name"
    if colour:
        return "rgb", "colour"
    if rgb_words or (_COLOR.search(name) and not deep):
        return "rgb", "rgb by its name"
    if _THERMAL.search(stream.frame_id.lower()):
        return "thermal", f"thermal by its frame_id {stream.frame_id}"
    small = 0 < stream.size[0] <= LARGEST_THERMAL[0] and stream.size[1] <= LARGEST_THERMAL[1]
    if beside_depth or not stream.encoding:
        return "camera", "not certain"
    if deep and stream.encoding not in _FLOATS and small and stream.zeros < MOST_ZEROS:
        return "thermal", "16-bit counts in the size of a thermal sensor"
    if deep:
        return "camera", "16 bit or float, may be depth"
    if stream.size in THERMAL_SIZES:
        return "thermal", "grey in the size of a thermal sensor"
    if SLOW_HZ[0] <= stream.rate_hz <= SLOW_HZ[1] and small:
        return "thermal", "grey, small, and as slow as thermal cameras without an export licence"
    return "camera", "grey, may be visible or near infrared"


def _is_depth(stream: Stream) -> bool:
    name = base_topic(stream.topic).lower()
    return bool(_DEPTH.search(name)) or ("stereo" in name.split("/")[-2:] and stream.encoding in ("16UC1", "mono16", *_FLOATS))


def is_derived(topic: str) -> bool:
    """Whether the name says that the pictures are made from those of a camera, by this package too."""
    return bool(_DERIVED.search(topic.lower()))


def info_topic(image_topic: str) -> str:
    """The camera_info topic beside a picture topic, as image_transport names it."""
    return f"{base_topic(image_topic).rsplit('/', 1)[0]}/camera_info"


def base_topic(topic: str) -> str:
    """The topic without the name of a transport."""
    return _TRANSPORT.sub("", topic)


def _one_transport(streams: Sequence[Stream]) -> list[Stream]:
    """Without the transports of topics that are there raw, and of the other ones the first."""
    chosen: dict[str, Stream] = {}
    for stream in sorted(streams, key=lambda stream: (len(stream.topic), stream.topic)):
        chosen.setdefault(base_topic(stream.topic), stream)
    return list(chosen.values())


def _device(topic: str) -> str:
    """The namespace of a device whose topics are ``DEVICE/STREAM/image``."""
    return "/".join(base_topic(topic).split("/")[:-2])


def _thermal_groups(streams: Sequence[Stream]) -> list[Stream]:
    """Of each thermal camera its best topic: float, then 16 bit, then 8, then colours; raw rather than rectified.

    Cameras known by their names come alone if there are any.
    """
    named = [stream for stream in streams if _thermal_device(stream)]
    best: dict[str, Stream] = {}
    for stream in sorted(named or streams, key=_thermal_order, reverse=True):
        best[_thermal_device(stream) or _camera_key(stream.topic)] = stream
    return sorted(best.values())


def _thermal_device(stream: Stream) -> str:
    """The topic up to the part with the first word for thermal; the part before where that is the last. Empty: no such word."""
    parts = base_topic(stream.topic).split("/")
    for number, part in enumerate(parts):
        if _THERMAL.search(part.lower()) or _IR.search(part.lower()):
            return "/".join(parts[: number + 1 if number < len(parts) - 1 else number]) + "/"
    return ""


def _thermal_order(stream: Stream) -> tuple[Any, ...]:
    depth = 0 if stream.encoding in _FLOATS else 1 if stream.encoding in _DEEP else 2 if stream.encoding in COUNTS else 3
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
    return "/".join(part for part in base_topic(topic).split("/") if not _VARIANT.match(part))


def profile_of(stream: Stream) -> str:
    """The ``agc.profile`` that the driver's name and the values make certain; else empty. Sources: docs/cameras.md."""
    name, median, encoding = f"{stream.topic} {stream.frame_id}".lower(), stream.median, stream.encoding
    if median is None:
        return ""
    words = {word for word in ("optris", "seek", "oak", "lepton", "purethermal", "infiray", "boson", "adk") if word in name}
    if encoding in _FLOATS:
        celsius = bool(words & {"optris", "seek", "oak"}) and -60.0 < median < 1500.0
        return ("seek" if "seek" in words else "celsius") if celsius else ""
    if encoding in ("mono16", "16UC1"):
        if ("optris" in words or name.split()[0].endswith("/thermal_image")) and 600 < median < 16000:
            return "optris"
        if words & {"lepton", "purethermal"} and 23000 < median < 40000:  # raw counts have 14 bits, so these are 0.01 K
            return "lepton"
        if "infiray" in words and 14000 < median < 30000:
            return "infiray"
        if _from_gazebo(stream) and 20000 < median < 50000:
            return "centikelvin"
    if encoding in ("mono8", "8UC1") and _from_gazebo(stream) and 70 < median < 160:
        return "gazebo8"
    return next((word for word in ("boson", "adk") if word in words), "")


def _from_gazebo(stream: Stream) -> bool:
    """Whether the frame_id is a scoped name of Gazebo: model, link and sensor, and the topic is a thermal camera."""
    return len(re.split(r"::|/", stream.frame_id.strip("/"))) >= 3 and "thermal" in stream.topic.lower()
