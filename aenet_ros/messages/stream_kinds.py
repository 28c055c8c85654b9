"""What an image topic shows: thermal, colour, near infrared, depth; from name, encoding, size, rate and values. Knows no ROS.

The conventions of drivers, with their sources: docs/cameras.md.
"""

import re
from collections.abc import Sequence
from posixpath import commonpath, dirname
from typing import Any, NamedTuple

import numpy as np

from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Frame
from aenet_ros.messages.codec import decode_rgb, decode_thermal
from aenet_ros.messages.encodings import COLOURS


class Stream(NamedTuple):
    """Facts of an image topic; those that are not known keep their defaults.

    ``encoding``: of the message, or of the decompressed picture. ``size``: height, width. ``median``: of the values of one frame, finite
    ones; ``far``: share of values that are not finite, or far from the median. ``grey``: colour whose channels are equal.
    """

    topic: str
    encoding: str = ""
    size: tuple[int, int] = (0, 0)
    frame_id: str = ""
    rate_hz: float = 0.0
    has_info: bool = False
    median: float | None = None
    far: float = 0.0
    grey: bool = False

    def describe(self) -> str:
        """Topic and facts, for messages."""
        facts = [f"{self.encoding} {self.size[1]}x{self.size[0]}" if self.encoding else ""]
        facts += [f"{self.rate_hz:.1f} Hz" if self.rate_hz else "", "with camera_info" if self.has_info else ""]
        return f"{self.topic} ({', '.join(filter(None, facts)) or 'no frame seen'})"


# Words in names. A part is what stands between slashes.
_DERIVED = re.compile(
    r"fused|thermal_registered|mask|segment|semantic|label|annotat|overlay|detect|debug|dbg|confidence|heatmap|cost_?map|optical_flow|keypoint|"
    r"feature|(^|/)thermal/(view|temperature)(/|$)|side_by_side|stereo(_raw)?/((image_(raw|rect)_)?(colou?r|gray))(/|$)|thumbnail|"
    r"preprocess|stitch|panoram|visuali[sz]|(^|[/_])(result|viz)|(^|/)ouster/|(^|[/_])(sonar|radar|lidar)([/_]|$)|"
    r"(^|[/_])(near_?ir|reflec(tivity)?|signal|intensity|ambient)_image"
)
_DEPTH = re.compile(r"depth(?!ai)|dispar|(^|[/_])(tof|range_image|z16|disp_image|disp_map)([/_]|$)")
_INFRA = re.compile(r"(^|[/_])(infra\d?|nir|swir|near_?(ir|infrared)|ndvi|red_?edge)([/_]|$)")
_IR = re.compile(r"infrared|(^|[/_])ir\d?([/_]|$)")
_THERMAL = re.compile(
    r"therm|lwir|mwir|boson|lepton|microbolometer|seek(?!er)|optris|infiray|radiometric|hikmicro|(^|[/_])(tau2?|vue)\d?([/_]|$)"
)
_ADK = re.compile(r"(^|[/_])adk\d?([/_]|$)")  # FLIR's driver, which drives visible cameras too
_RGB = re.compile(r"(^|[/_])(rgb|visible|eo)\d?([/_]|$)")
_EO = re.compile(r"(^|[/_])eo\d?([/_]|$)")
_GREY_CAMERA = re.compile(r"(^|[/_])(left|right|mono|gr[ae]y|fish_?eye|stereo|visual|tracking)\d?([/_]|$)")  # words of visible ones
_GAZEBO = re.compile(r"^/world/.*/sensor(?=/)")  # names of the world, the model and the link say nothing of a camera
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
SLOW_HZ, LARGEST_SLOW = (8.2, 9.3), (288, 384)
"""Rates of thermal cameras that are sold without an export licence: under 9 Hz. Robots send larger visible pictures so slowly too."""
MOST_FAR, FAR = 0.02, (0.5, 1.5)
"""A thermal frame of 16 bits has a smaller share of values outside of these multiples of its median, since 0 is near 0 K or far below the
sensor's offset. Depth images, lit infrared pictures and visible ones have more."""
WIDEST = 3.0
"""Pictures of 16 bits that are wider, by their height, are a lidar's."""


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
    near = (values > FAR[0] * (median or 0.0)) & (values <= FAR[1] * (median or 0.0))
    return known._replace(median=median, far=float(np.mean(~near)))


def kinds_of(streams: Sequence[Stream]) -> dict[str, tuple[str, str]]:
    """By topic: thermal, rgb, camera (not certain which), infrared (near infrared), depth, derived; and the reason, in words."""
    depths = {_device(stream.topic) for stream in streams if _is_depth(stream)}
    names = _names([stream.topic for stream in streams])
    eos = {_device(topic) for topic, name in names.items() if _EO.search(name)}
    kinds = {
        stream.topic: _kind_by_name(stream, names[stream.topic], _device(stream.topic) in depths, _device(stream.topic) in eos)
        for stream in streams
    }
    thermal = {(thermal_device(each.topic), each.size) for each in streams if kinds[each.topic][0] == "thermal" and each.encoding}
    for stream in streams:
        if kinds[stream.topic][0] == "rgb" and (thermal_device(stream.topic), stream.size) in thermal:
            kinds[stream.topic] = "derived", "false colours of a thermal camera, by name and size"
    named = any(kind == "thermal" for kind, _ in kinds.values())
    return {
        stream.topic: kinds[stream.topic] if kinds[stream.topic][0] else _kind_by_frames(stream, _device(stream.topic) in depths, named)
        for stream in streams
    }


def _names(topics: Sequence[str]) -> dict[str, str]:
    """By topic the part in which words tell the camera; without the namespace of all topics, unless only that has a word for thermal."""
    names = {topic: _name(topic) for topic in topics}
    shared = commonpath([dirname(name) for name in names.values()] or "/")
    rests = {topic: name.removeprefix(shared) for topic, name in names.items()}
    return rests if len(topics) > 1 and any(has_thermal_word(rest) for rest in rests.values()) else names


def _name(topic: str) -> str:
    return "/" + _GAZEBO.sub("", base_topic(topic).lower()).lstrip("/")  # topics of ROS 1 can begin without a slash


def _kind_by_name(stream: Stream, name: str, beside_depth: bool, beside_eo: bool) -> tuple[str, str]:
    """Kind and reason; empty where the names do not tell. ``name``: see ``_names``. ``beside_eo``: the IR of EO/IR is thermal."""
    sized = stream.size in THERMAL_SIZES
    if is_derived(stream.topic):
        return "derived", "made from other pictures or other sensors, by its name"
    if _is_depth(stream):
        return "depth", "depth"
    if _INFRA.search(name) or _INFRA.search(stream.frame_id.lower()) or (beside_depth and _IR.search(name)):
        return "infrared", "near infrared, which is not thermal"
    words, rgb_words = [*_THERMAL.finditer(name), *_IR.finditer(name), *(_ADK.finditer(name) if sized else ())], list(_RGB.finditer(name))
    if words and not (rgb_words and rgb_words[-1].start() > max(word.start() for word in words) and not sized):
        if _THERMAL.search(name) or sized or beside_eo or _looks_like_counts(stream):
            return "thermal", "thermal by its name"
        return "infrared", "infrared, near or thermal: the name does not tell"
    if rgb_words or (_COLOR.search(name) and stream.encoding not in DEEP):
        return "rgb", "rgb by its name"
    frame_id = stream.frame_id.lower()
    if _THERMAL.search(frame_id) and not (_RGB.search(frame_id) or _COLOR.search(frame_id)):
        return "thermal", f"thermal by its frame_id {stream.frame_id}"
    return "", ""


def _looks_like_counts(stream: Stream) -> bool:
    """Whether 16-bit frames have few pixels, and values near their median, as those of thermal cameras."""
    height, width = stream.size
    sized = 0 < height <= LARGEST_16_BIT[0] and width <= LARGEST_16_BIT[1] and width <= WIDEST * height
    return stream.encoding in DEEP and stream.encoding not in FLOATS and sized and stream.far < MOST_FAR


def _kind_by_frames(stream: Stream, beside_depth: bool, named: bool) -> tuple[str, str]:
    """Kind and reason. ``named``: another camera is thermal by its name, so that grey frames are not taken for thermal."""
    colour = stream.encoding in COLOURS
    unnamed = not named and not beside_depth and not _GREY_CAMERA.search(_name(stream.topic))
    if unnamed and stream.size in THERMAL_SIZES and (stream.grey if colour else stream.encoding in _GREY):
        return "thermal", "grey in the size of a thermal sensor"
    if colour:
        return "rgb", "colour"
    if beside_depth or not stream.encoding:
        return "camera", "not certain"
    if stream.encoding in DEEP:
        if _looks_like_counts(stream):
            return "thermal", "16-bit counts, few pixels"
        return "camera", "16 bit or float, may be depth, lidar or visible"
    small = stream.size[0] <= LARGEST_SLOW[0] and stream.size[1] <= LARGEST_SLOW[1]
    if unnamed and small and SLOW_HZ[0] <= stream.rate_hz <= SLOW_HZ[1]:
        return "thermal", "grey, small, and as slow as thermal cameras without an export licence"
    return "camera", "grey, may be visible or near infrared"


def _is_depth(stream: Stream) -> bool:
    name = _name(stream.topic)
    return bool(_DEPTH.search(name)) or ("stereo" in name.split("/")[-2:] and stream.encoding in ("16UC1", "mono16", *FLOATS))


def has_thermal_word(name: str) -> bool:
    """Whether a lower-case name has a word for thermal, or a maker's."""
    return bool(_THERMAL.search(name) or _IR.search(name))


def thermal_device(topic: str) -> str:
    """The topic up to the part with the first word for thermal; the part before where that is the last. Empty: no such word."""
    parts = base_topic(topic).split("/")
    for number, part in enumerate(parts):
        if has_thermal_word(part.lower()):
            return "/".join(parts[: number + 1 if number < len(parts) - 1 else number]) + "/"
    return ""


def is_derived(topic: str) -> bool:
    """Whether the name says that the pictures are made from those of a camera, by this package too, or by a lidar, sonar or radar."""
    return bool(_DERIVED.search(_GAZEBO.sub("", topic.lower())))


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
    """The ``agc.profile`` that the driver's name and the values make certain; else empty. Sources: docs/cameras.md.

    The medians are those of scenes of -40 to 150 degrees; counts that are not radiometric have other ones, mostly of 14 bits.
    """
    name, median, encoding = f"{stream.topic} {stream.frame_id}".lower(), stream.median, stream.encoding
    if median is None:
        return ""
    makers = ("optris", "seek", "oak", "lepton", "purethermal", "infiray", "boson", "adk")
    words = {word for word in makers if re.search(rf"(^|[^a-z]){word}", name)}
    if encoding in FLOATS:
        celsius = bool(words & {"optris", "seek", "oak"}) and -40.0 < median < 150.0
        return ("seek" if "seek" in words else "celsius") if celsius else ""
    if encoding in ("mono16", "16UC1"):
        optris = "optris" in words or (base_topic(stream.topic).endswith("/thermal_image") and stream.frame_id == "thermal_image")
        if optris and 600 < median < 2500:
            return "optris"
        if words & {"lepton", "purethermal"} and 23000 < median < 42300:
            return "lepton"
        if "infiray" in words and 16384 < median < 27080:
            return "infiray"
        if _from_gazebo(stream) and not words and 23300 < median < 42300:
            return "centikelvin"
    if encoding in _GREY and _from_gazebo(stream) and 77 < median < 141:
        return "gazebo8"
    return next((word for word in ("boson", "adk") if word in words), "")


def _from_gazebo(stream: Stream) -> bool:
    """Whether the frame_id is a scoped name of Gazebo: model, link and sensor, of which the topic has the sensor; a thermal camera."""
    parts = re.split(r"::|/", stream.frame_id.lower().strip("/"))
    return len(parts) >= 3 and parts[-1] in stream.topic.lower().split("/") and "thermal" in _name(stream.topic)
