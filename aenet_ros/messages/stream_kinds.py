"""What an image topic shows: thermal, colour, near infrared, depth; from name, encoding, size, rate and values. Knows no ROS.

The conventions of drivers, with their sources: docs/cameras.md.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Array, Frame
from aenet_ros.messages.codec import decode_rgb, decode_thermal
from aenet_ros.messages.encodings import COLOURS


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


# Words in names. A part is what stands between slashes.
_DERIVED = re.compile(
    r"fused|thermal_registered|mask|segment|semantic|label|annotat|overlay|detect|debug|dbg|confidence|heatmap|cost_?map|optical_flow|keypoint|"
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
FLOATS, _GREY = ("32FC1", "64FC1"), ("mono8", "8UC1")
DEEP = (*FLOATS, "mono16", "16UC1", "16SC1", "32SC1")

THERMAL_SIZES = {
    (60, 80), (120, 160), (122, 160), (156, 206), (192, 256), (256, 320), (256, 336), (288, 382), (288, 384), (348, 464), (512, 640),
    (514, 640),
}  # fmt: skip
"""Heights and widths of thermal sensors that are rare among visible cameras, also with rows of telemetry."""
LARGEST_16_BIT = (768, 1024)
"""Largest height and width of 16-bit frames that count as thermal. Visible cameras with 16 bits have more pixels."""
SLOW_HZ, LARGEST_SLOW = (8.2, 9.3), (512, 640)
"""Rates of thermal cameras that are sold without an export licence: under 9 Hz."""
MOST_ZEROS = 0.01
"""A thermal frame of 16 bits has fewer zeros; a depth image has them where it measures nothing."""


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
    return frame_facts(known, frame)


def frame_facts(known: Stream, frame: Frame) -> Stream:
    """``known`` with what a decoded frame of the topic tells."""
    values = frame.data[::8, ::8]
    known = known._replace(encoding=frame.source_encoding, size=frame.size)
    if values.ndim == 3:
        return known._replace(grey=int(np.ptp(values, axis=2).max()) <= 8 < int(np.ptp(values)))  # a black frame tells nothing
    finite = values[np.isfinite(values)]
    median = float(np.median(finite)) if finite.size else None
    return known._replace(median=median, zeros=_zeros(values))


def _zeros(values: Array) -> float:
    return float(np.mean(~np.isfinite(values) | (values == 0)))


def kinds_of(streams: Sequence[Stream]) -> dict[str, tuple[str, str]]:
    """By topic: thermal, rgb, camera (not certain which), infrared (near infrared), depth, derived; and the reason, in words."""
    depths = {_device(stream.topic) for stream in streams if _is_depth(stream)}
    kinds = {stream.topic: _kind_by_name(stream, _device(stream.topic) in depths) for stream in streams}
    named = any(kind == "thermal" for kind, _ in kinds.values())
    return {
        stream.topic: kinds[stream.topic] if kinds[stream.topic][0] else _kind_by_frames(stream, _device(stream.topic) in depths, named)
        for stream in streams
    }


def _kind_by_name(stream: Stream, beside_depth: bool) -> tuple[str, str]:
    """Kind and reason; empty where the names do not tell."""
    name = base_topic(stream.topic).lower()
    if is_derived(name):
        return "derived", "made from other pictures, by its name"
    if _is_depth(stream):
        return "depth", "depth"
    if _INFRA.search(name) or _INFRA.search(stream.frame_id.lower()) or (beside_depth and _IR.search(name)):
        return "infrared", "near infrared, which is not thermal"
    words, rgb_words = list(_THERMAL.finditer(name)) + list(_IR.finditer(name)), list(_RGB.finditer(name))
    if words and not (rgb_words and rgb_words[-1].start() > words[-1].start()):
        return "thermal", "thermal by its name"
    if rgb_words or (_COLOR.search(name) and stream.encoding not in DEEP):
        return "rgb", "rgb by its name"
    if _THERMAL.search(stream.frame_id.lower()):
        return "thermal", f"thermal by its frame_id {stream.frame_id}"
    return "", ""


def _kind_by_frames(stream: Stream, beside_depth: bool, named: bool) -> tuple[str, str]:
    """Kind and reason. ``named``: another camera is thermal by its name, so that grey frames are not taken for thermal."""
    colour = stream.encoding in COLOURS
    if not named and not beside_depth and stream.size in THERMAL_SIZES and (stream.grey if colour else stream.encoding in _GREY):
        return "thermal", "grey in the size of a thermal sensor"
    if colour:
        return "rgb", "colour"
    if beside_depth or not stream.encoding:
        return "camera", "not certain"
    if stream.encoding in DEEP:
        counts = stream.encoding not in FLOATS and 0 < stream.size[0] <= LARGEST_16_BIT[0] and stream.size[1] <= LARGEST_16_BIT[1]
        if counts and stream.zeros < MOST_ZEROS:
            return "thermal", "16-bit counts, few pixels"
        return "camera", "16 bit or float, may be depth or visible"
    small = stream.size[0] <= LARGEST_SLOW[0] and stream.size[1] <= LARGEST_SLOW[1]
    if not named and small and SLOW_HZ[0] <= stream.rate_hz <= SLOW_HZ[1]:
        return "thermal", "grey, small, and as slow as thermal cameras without an export licence"
    return "camera", "grey, may be visible or near infrared"


def _is_depth(stream: Stream) -> bool:
    name = base_topic(stream.topic).lower()
    return bool(_DEPTH.search(name)) or ("stereo" in name.split("/")[-2:] and stream.encoding in ("16UC1", "mono16", *FLOATS))


def has_thermal_word(name: str) -> bool:
    """Whether a lower-case name has a word for thermal, or a maker's."""
    return bool(_THERMAL.search(name) or _IR.search(name))


def is_derived(topic: str) -> bool:
    """Whether the name says that the pictures are made from those of a camera, by this package too."""
    return bool(_DERIVED.search(topic.lower()))


def info_topic(image_topic: str) -> str:
    """The camera_info topic beside a picture topic, as image_transport names it."""
    return f"{base_topic(image_topic).rsplit('/', 1)[0]}/camera_info"


def base_topic(topic: str) -> str:
    """The topic without the name of a transport."""
    return _TRANSPORT.sub("", topic)


def _device(topic: str) -> str:
    """The namespace of a device whose topics are ``DEVICE/STREAM/image``."""
    return "/".join(base_topic(topic).split("/")[:-2])


def profile_of(stream: Stream) -> str:
    """The ``agc.profile`` that the driver's name and the values make certain; else empty. Sources: docs/cameras.md."""
    name, median, encoding = f"{stream.topic} {stream.frame_id}".lower(), stream.median, stream.encoding
    if median is None:
        return ""
    words = {word for word in ("optris", "seek", "oak", "lepton", "purethermal", "infiray", "boson", "adk") if word in name}
    if encoding in FLOATS:
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
    if encoding in _GREY and _from_gazebo(stream) and 70 < median < 160:
        return "gazebo8"
    return next((word for word in ("boson", "adk") if word in words), "")


def _from_gazebo(stream: Stream) -> bool:
    """Whether the frame_id is a scoped name of Gazebo: model, link and sensor, and the topic is a thermal camera."""
    return len(re.split(r"::|/", stream.frame_id.strip("/"))) >= 3 and "thermal" in stream.topic.lower()
