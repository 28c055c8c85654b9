"""Calibrations as YAML: a homography, or two cameras with their lenses and how they stand to each other.

Keys: ``homography`` (3x3, rgb pixels to thermal pixels) with ``rgb_size`` and ``thermal_size`` ([width, height]); or ``rgb_camera``
and ``thermal_camera``, each as ROS's camera_calibration writes it, and ``thermal_from_rgb``: ``{rotation, translation}``
or a 4x4, which brings points of the rgb camera's optical frame (x right, y down, z ahead, metres) into the thermal camera's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from aenet_ros.config import RegistrationConfig
from aenet_ros.core.camera import Camera, Size, Stereo, check_matrix, make_camera, parse_numbers, scaling
from aenet_ros.core.errors import ConfigError
from aenet_ros.core.files import write_atomic
from aenet_ros.core.frames import Array


class Homography(NamedTuple):
    """A 3x3 float64 matrix from rgb pixels to thermal pixels and, where known, the frames' sizes it was found at."""

    matrix: Array
    thermal_size: Size | None = None
    rgb_size: Size | None = None

    def scaled_to(self, thermal_size: Size, rgb_size: Size) -> Array:
        """The matrix between frames of these sizes."""
        matrix = self.matrix @ scaling(rgb_size, self.rgb_size) if self.rgb_size else self.matrix
        return scaling(self.thermal_size, thermal_size) @ matrix if self.thermal_size else matrix


def read_homography(config: RegistrationConfig) -> Homography:
    """The matrix of ``config.file``, else ``config.homography``. Raises ConfigError, naming the file and the fault."""
    if not config.file:
        return Homography(check_matrix(config.homography, "registration.homography"))
    path = Path(config.file).expanduser()
    content = read_yaml(path)
    if "homography" not in content:
        raise ConfigError(f"registration.file: {path} has no key homography; give 3 rows of 3 numbers that map rgb to thermal pixels")
    return Homography(
        check_matrix(content["homography"], f"{path}: homography"),
        _read_size(content, "thermal_size", path),
        _read_size(content, "rgb_size", path),
    )


def read_stereo(config: RegistrationConfig) -> Stereo:
    """The cameras and their pose out of ``config.file``; with ``config.extrinsics_source: tf`` what it lacks may come later.

    Raises ConfigError, naming the file and the fault.
    """
    from_tf = config.extrinsics_source == "tf"
    if not config.file and not from_tf:
        raise ConfigError(f"registration.mode {config.mode} needs the cameras' pose: set registration.file, see docs/registration.md")
    path = Path(config.file).expanduser()
    content = read_yaml(path) if config.file else {}
    has_pose = "thermal_from_rgb" in content
    if not has_pose and not from_tf:
        raise ConfigError(
            f"registration.file: {path} has no key thermal_from_rgb, which registration.mode {config.mode} needs; "
            "give {rotation: 9 numbers, translation: 3 numbers in metres}, as `aenet calibrate --target` writes it"
        )
    rotation, translation = _read_pose(content["thermal_from_rgb"], f"{path}: thermal_from_rgb") if has_pose else (np.eye(3), np.zeros(3))
    cameras = [_read_camera(content[key], f"{path}: {key}") if key in content else None for key in ("rgb_camera", "thermal_camera")]
    return Stereo(cameras[0], cameras[1], rotation, translation, has_pose)


def read_yaml(path: Path) -> dict[str, Any]:
    """A calibration's keys. Raises ConfigError where the file is missing or damaged."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"registration.file: {path}: {error.strerror or error}; give the path of a calibration") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"registration.file: {path} is not YAML ({error}); write it again with `aenet calibrate`") from error
    return content if isinstance(content, dict) else {}


def homography_content(homography: Homography) -> dict[str, Any]:
    """A homography as the YAML's keys."""
    content: dict[str, Any] = {"homography": homography.matrix.tolist()}
    for key, size in (("thermal_size", homography.thermal_size), ("rgb_size", homography.rgb_size)):
        if size:
            content[key] = [size[1], size[0]]
    return content


def stereo_content(stereo: Stereo) -> dict[str, Any]:
    """Two cameras and their pose as the YAML's keys."""
    content: dict[str, Any] = {}
    for key, camera in (("rgb_camera", stereo.rgb), ("thermal_camera", stereo.thermal)):
        if camera is not None:
            content[key] = {
                "image_width": camera.size[1],
                "image_height": camera.size[0],
                "camera_matrix": {"rows": 3, "cols": 3, "data": camera.matrix.ravel().tolist()},
                "distortion_model": camera.model,
                "distortion_coefficients": {"rows": 1, "cols": len(camera.distortion), "data": list(camera.distortion)},
            }
    content["thermal_from_rgb"] = {"rotation": stereo.rotation.ravel().tolist(), "translation": stereo.translation.tolist()}
    return content


def write_calibration(path: Path, content: dict[str, Any], comments: Sequence[str]) -> None:
    """Write ``content`` as YAML under ``comments``, atomically. Raises SourceError."""
    head = "".join(f"# {line}\n" for line in comments)
    write_atomic(path, head + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120))


def _read_pose(value: Any, name: str) -> tuple[Array, Array]:
    if isinstance(value, dict):
        rotation = parse_numbers(value.get("rotation"), 9, "3x3", f"{name}: rotation").reshape(3, 3)
        translation = parse_numbers(value.get("translation"), 3, "3", f"{name}: translation")
    else:
        matrix = parse_numbers(value, 16, "4x4", name).reshape(4, 4)
        rotation, translation = matrix[:3, :3], matrix[:3, 3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise ConfigError(
            f"{name}: {rotation.tolist()} is not a rotation; its rows must be of length 1, square to each other, right-handed"
        )
    return rotation, translation


def _read_camera(value: Any, name: str) -> Camera:
    try:
        matrix, lens = value["camera_matrix"], value.get("distortion_coefficients", [])
        matrix = matrix["data"] if isinstance(matrix, dict) else matrix
        lens = lens["data"] if isinstance(lens, dict) else lens
        size = value["image_height"], value["image_width"]
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{name}: give image_width, image_height, camera_matrix, distortion_model, distortion_coefficients") from error
    if not all(type(side) is int and side > 0 for side in size):
        raise ConfigError(f"{name}: image_width and image_height are {size[1]!r} and {size[0]!r}; give whole pixels")
    return make_camera(matrix, size, str(value.get("distortion_model", "")), lens, name)


def _read_size(content: dict[str, Any], key: str, path: Path) -> Size | None:
    if key not in content:
        return None
    value = content[key]
    if not isinstance(value, list) or len(value) != 2 or not all(type(side) is int and side > 0 for side in value):
        raise ConfigError(f"registration.file: {path}: {key} is {value!r}; give [width, height] in pixels")
    return value[1], value[0]
