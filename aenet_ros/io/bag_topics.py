"""A bag's topics: which are the cameras', and what their camera_info says."""

import re
from collections.abc import Mapping
from contextlib import suppress
from types import SimpleNamespace

from aenet_ros.core.camera import Camera, camera_from_info
from aenet_ros.core.errors import ConfigError, ImageError, SourceError
from aenet_ros.io.bag_frames import PICTURE_TYPES
from aenet_ros.io.bags import READ_ENCODINGS, Bag, describe

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

# Words in topic names. Fused and registered pictures of an earlier run are neither camera.
_THERMAL = re.compile(r"therm|infra|lwir|mwir|flir|boson|lepton|seek|optris|(^|[/_])(ir|tau)\d?([/_]|$)")
_RGB = re.compile(r"rgb|colou?r|visible|(^|[/_])(vis|eo|cam(era)?|left|usb_cam)\d?([/_]|$)")
_PICTURES = re.compile("image|video|camera", re.IGNORECASE)
_NEITHER = re.compile(r"fused|registered|depth|disparity|mask|debug")


def image_topics(bag: Bag) -> dict[str, int]:
    """The numbers of messages of the bag's picture topics, by name; only topics with messages."""
    return {name: topic.messages for name, topic in bag.topics.items() if topic.msgtype in PICTURE_TYPES and topic.messages}


def camera_topics(bag: Bag, thermal: str = "", rgb: str = "") -> tuple[str, str]:
    """``choose_topics`` of the bag; the error also names pictures in an encoding that is not read."""
    try:
        return choose_topics(image_topics(bag), thermal, rgb)
    except SourceError as error:
        foreign = [item for item in bag.counts if item.encoding not in READ_ENCODINGS and _PICTURES.search(f"{item.topic} {item.msgtype}")]
        if not foreign:
            raise
        listed = ", ".join(f"{item.topic} ({describe(item)}, {bag.counts[item]})" for item in foreign)
        raise SourceError(
            f"{error}; not read, since they are not messages of ROS: {listed}: convert them to sensor_msgs/Image or CompressedImage"
        ) from error


def choose_topics(topics: Mapping[str, int], thermal: str = "", rgb: str = "") -> tuple[str, str]:
    """The names of the thermal and the rgb topic: as given, else guessed by words in the names.

    Raises SourceError, which lists the picture topics, if the choice is not clear.
    """
    listing = _listing(topics)
    for given in (thermal, rgb):
        if given and given not in topics:
            raise SourceError(f"the bag has no picture topic '{given}'; it has: {listing}")
    plain = [name for name in topics if not _NEITHER.search(name)]
    thermals = [thermal] if thermal else _prefer_raw([name for name in plain if _THERMAL.search(name.lower()) and name != rgb])
    others = [name for name in plain if name not in thermals and not _THERMAL.search(name.lower())]
    rgbs = [rgb] if rgb else _prefer_raw([name for name in others if _RGB.search(name.lower())] or others)
    found = {"thermal": thermals, "rgb": rgbs}
    unclear = [f"{role} ({', '.join(names) or 'none found'})" for role, names in found.items() if len(names) != 1]
    if unclear:
        raise SourceError(f"which topic is {' and which is '.join(unclear)}? Give --thermal-topic and --rgb-topic; the bag has: {listing}")
    return thermals[0], rgbs[0]


def choose_depth(topics: Mapping[str, int], given: str = "") -> str:
    """The depth topic: as given, else the only one with depth in its name, aligned ones first. Raises SourceError."""
    found = [name for name in topics if name == given] if given else _prefer_raw([name for name in topics if "depth" in name.lower()])
    found = [name for name in found if "aligned" in name] or found
    if len(found) != 1:
        raise SourceError(
            f"registration.mode depth needs the depth camera's topic, aligned to the rgb frame: give --depth-topic; "
            f"the bag has: {_listing(topics)}"
        )
    return found[0]


def info_topic(image_topic: str) -> str:
    """The camera_info topic beside a picture topic, as image_transport names it."""
    return f"{image_topic.removesuffix('/compressed').rsplit('/', 1)[0]}/camera_info"


def read_intrinsics(bag: Bag, topics: dict[str, str]) -> dict[str, Camera]:
    """The cameras by role, from the first camera_info beside each one's picture topic."""
    found = {}
    for role, topic in topics.items():
        wanted = [item for item in bag.counts if item.topic == info_topic(topic) and item.msgtype == CAMERA_INFO]
        for connection, _, data in bag.messages(wanted, []):
            with suppress(ImageError, ConfigError):  # reported where the camera is needed
                fields = vars(bag.deserialize(connection, data))
                # ROS 1 writes the matrices in capitals.
                camera = camera_from_info(SimpleNamespace(**{name.lower(): value for name, value in fields.items()}))
                if camera is not None:
                    found[role] = camera
            break
    return found


def _listing(topics: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in topics.items()) or "none"


def _prefer_raw(names: list[str]) -> list[str]:
    """Without the compressed topics whose raw ones are there too, and without processed ones of a raw one."""
    kept = [name for name in names if not (name.endswith("/compressed") and name.removesuffix("/compressed") in names)]
    return [name for name in kept if name.endswith(("/image_raw", "/image_raw/compressed"))] or kept
