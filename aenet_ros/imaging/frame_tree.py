"""Coordinate frames that are fixed to each other, as TF's static transforms tell of them one by one, and the way from one to another."""

from collections.abc import Sequence

import numpy as np

from aenet_ros.frames import Array


class FrameTree:
    """Each frame hangs on one parent; a new word about a frame replaces the old one. Names may begin with a slash, as in ROS 1."""

    def __init__(self) -> None:
        self._up: dict[str, tuple[str, Array]] = {}

    def add(self, parent: str, child: str, translation: Sequence[float], quaternion: Sequence[float]) -> bool:
        """``parent`` point = rotation by ``quaternion`` (x, y, z, w) of the ``child`` point + ``translation`` (metres).

        False, and nothing happens, for numbers that are no pose or for a frame that hangs on itself.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        values = np.array([*translation, *quaternion], np.float64)
        length = float(np.linalg.norm(values[3:]))
        if parent == child or not np.isfinite(values).all() or not 0.5 < length < 2.0:
            return False
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation_of(values[3:] / length), values[:3]
        self._up = {**self._up, child: (parent, matrix)}  # a new one, for another thread may be reading
        return True

    @property
    def names(self) -> list[str]:
        """All frames heard of."""
        up = self._up
        return sorted({*up, *(parent for parent, _ in up.values())})

    def between(self, source: str, target: str) -> tuple[Array, Array] | None:
        """Rotation float64 [3, 3] and translation [3] such that target point = rotation @ source point + translation; None: no way."""
        source_root, from_source = self._to_root(source.lstrip("/"))
        target_root, from_target = self._to_root(target.lstrip("/"))
        if source_root != target_root:
            return None
        matrix = np.linalg.inv(from_target) @ from_source
        return matrix[:3, :3], matrix[:3, 3]

    def _to_root(self, name: str) -> tuple[str, Array]:
        matrix, passed, up = np.eye(4), set(), self._up
        while name in up and name not in passed:  # a ring of frames has no root: it ends where it was entered
            passed.add(name)
            name, step = up[name]
            matrix = step @ matrix
        return name, matrix


def rotation_of(quaternion: Array) -> Array:
    """The rotation matrix, float64 [3, 3], of a quaternion (x, y, z, w) of length 1."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
