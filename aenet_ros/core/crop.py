"""A rectangle of a camera's frame that is used in place of the whole: of frames, and of the camera models that belong to them."""

from dataclasses import replace
from typing import Any

from aenet_ros.core.camera import Camera, delivered_camera_info, moved_camera_info, shifting
from aenet_ros.core.errors import ImageError
from aenet_ros.core.frames import Frame

Crop = tuple[int, int, int, int]
"""Left column, upper row, width and height in pixels; 0 for the last two: to the frame's edge."""


def crop_frame(frame: Frame, crop: Crop | None, option: str) -> Frame:
    """The frame's part, a view; the frame itself where ``crop`` is None. Raises ImageError, which names ``option``, for a crop outside."""
    if crop is None:
        return frame
    height, width = frame.size
    left, top, wide, high = crop
    right, bottom = left + wide if wide else width, top + high if high else height
    if not (left < right <= width and top < bottom <= height):
        raise ImageError(
            f"{option} {list(crop)} (x, y, width, height) is not within the frame of {width}x{height}; give a rectangle inside it, "
            "or none for the whole frame"
        )
    return replace(frame, data=frame.data[top:bottom, left:right])


def crop_camera(camera: Camera, crop: Crop | None) -> Camera:
    """The model of the cropped frames. A model of the crop's own size is theirs already: of a driver that leaves telemetry out of it."""
    size = _cropped_size(camera.size, crop)
    if crop is None or size is None:
        return camera
    return camera._replace(matrix=shifting(*crop[:2]) @ camera.matrix, size=size)


def crop_camera_info(info: Any, crop: Crop | None) -> Any:
    """A sensor_msgs/CameraInfo of the cropped frames: size, K and P; its region of interest is reset. Else as ``crop_camera``."""
    info = delivered_camera_info(info)
    size = _cropped_size((info.height, info.width), crop)
    return info if crop is None or size is None else moved_camera_info(info, size, shifting(*crop[:2]))


def _cropped_size(size: tuple[int, int], crop: Crop | None) -> tuple[int, int] | None:
    """Height and width after cropping; None where a camera of this size stays as it is."""
    if crop is None or not (size[0] and size[1]) or crop[:1:-1] == size:
        return None
    left, top, wide, high = crop
    cropped = high or size[0] - top, wide or size[1] - left
    return cropped if top + cropped[0] <= size[0] and left + cropped[1] <= size[1] and min(cropped) > 0 else None
