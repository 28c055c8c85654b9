"""Hot spots as messages that rviz, Foxglove and other nodes read, where their packages are installed."""

import contextlib
import importlib
import math
from typing import Any

from aenet_ros.core.frames import Frame
from aenet_ros.messages.codec import set_header
from aenet_ros.registration.depth import metres
from aenet_ros.registration.registration import Registration
from aenet_ros.thermal.thermometer import Measurement

COLORS = {"hot": (1.0, 0.25, 0.1), "cold": (0.1, 0.6, 1.0)}  # red, green, blue
LIFETIME_NS = 500_000_000
SPHERE_M, TEXT_M = 0.3, 0.25
TEXTS = 1_000_000  # ids of texts are those of their spots and this


vision: Any = None
visualization: Any = None
with contextlib.suppress(ImportError):
    vision = importlib.import_module("vision_msgs.msg")
with contextlib.suppress(ImportError):
    visualization = importlib.import_module("visualization_msgs.msg")


def topics() -> dict[str, type[Any]]:
    """The topics whose message packages are installed, and their types."""
    found: dict[str, type[Any]] = {}
    if vision is not None:
        found["hot_spots"] = vision.Detection2DArray
    if visualization is not None:
        found |= {"hot_spots/markers": visualization.MarkerArray, "hot_spots/image_marker": visualization.ImageMarker}
    return found


def detections(measured: Measurement) -> Any:
    """A Detection2DArray in thermal pixels. Two results for each spot: ``class_id`` hot or cold with the extreme as ``score``, and mean."""
    message = vision.Detection2DArray()
    for spot in measured.spots:
        detection = vision.Detection2D(id=str(spot.id))
        set_header(detection.header, measured.stamp_ns, measured.frame_id)
        left, top, width, height = spot.box
        centre = getattr(detection.bbox.center, "position", detection.bbox.center)  # of Humble and newer, or older
        centre.x, centre.y = left + (width - 1) / 2, top + (height - 1) / 2
        detection.bbox.size_x, detection.bbox.size_y = float(width), float(height)
        for name, value in ((spot.kind, spot.peak_value), ("mean", spot.mean)):
            result = vision.ObjectHypothesisWithPose()
            result.hypothesis.class_id, result.hypothesis.score = name, float(value)
            detection.results.append(result)
        message.detections.append(detection)
    return message


def image_marker(report: dict[str, Any]) -> Any:
    """The boxes as lines of one ImageMarker, in pixels of the fused picture. ``report``: of ``thermometer.as_json``."""
    kinds = visualization.ImageMarker
    marker = kinds(ns="hot_spots", type=kinds.LINE_LIST, action=kinds.ADD, scale=2.0)
    for spot in report["spots"]:
        box = spot["fused_box"]
        for start, end in zip(box, box[1:] + box[:1], strict=True):
            if start is None or end is None:
                continue
            for x, y in (start, end):
                point = type(marker.position)(x=float(x), y=float(y), z=0.0)
                marker.points.append(point)
                marker.outline_colors.append(_color(type(marker.outline_color), spot["kind"]))
    return marker


def locate(report: dict[str, Any], registration: Registration, plane_m: float, depth: Frame | None) -> dict[int, tuple[float, ...]]:
    """Where the spots are, in metres in the thermal camera's frame, by id: by ``depth`` where it is known, else on the plane.

    Empty without both cameras and their pose (modes identity and homography).
    """
    width, height = report["fused_size"]
    if not registration.uses_stereo:
        return {}
    distances = metres(depth, (height, width)) if depth is not None and registration.mode == "depth" else None
    places = {}
    for spot in report["spots"]:
        if spot["fused"] is None:
            continue
        x, y = (min(max(round(value), 0), side - 1) for value, side in zip(spot["fused"], (width, height), strict=True))
        distance = plane_m if distances is None or not math.isfinite(distances[y, x]) else float(distances[y, x])
        point = registration.point(tuple(report["size"][::-1]), (height, width), (x, y), distance)
        if all(math.isfinite(value) for value in point):
            places[spot["id"]] = point
    return places


def markers(measured: Measurement, places: dict[int, tuple[float, ...]]) -> Any:
    """A MarkerArray: a sphere and a text at each place, in the thermal camera's frame."""
    message = visualization.MarkerArray()
    for spot in measured.spots:
        if spot.id not in places:
            continue
        for kind, number, size in (("SPHERE", spot.id, SPHERE_M), ("TEXT_VIEW_FACING", spot.id + TEXTS, TEXT_M)):
            marker = visualization.Marker(ns="hot_spots", id=number, type=getattr(visualization.Marker, kind))
            set_header(marker.header, measured.stamp_ns, measured.frame_id)
            marker.pose.position.x, marker.pose.position.y, marker.pose.position.z = places[spot.id]
            marker.pose.position.y -= 0.0 if kind == "SPHERE" else SPHERE_M
            marker.pose.orientation.w = 1.0
            marker.scale.x = marker.scale.y = marker.scale.z = size
            marker.color = _color(type(marker.color), spot.kind)
            marker.lifetime.nanosec = LIFETIME_NS
            marker.text = f"{spot.peak_value:.1f} {measured.unit}" if kind != "SPHERE" else ""
            message.markers.append(marker)
    return message


def _color(kind: type[Any], spot: str) -> Any:
    red, green, blue = COLORS[spot]
    return kind(r=red, g=green, b=blue, a=1.0)
