"""Coordinate frames that are fixed to each other, as TF's static transforms tell of them one by one, and the way from one to another."""

from collections.abc import Sequence

import numpy as np

from aenet_ros.core.frames import Array

MOST_FRAMES = 2000  # a robot has a few hundred; of more, those last told of are known
LONGEST_NAME = 256
FARTHEST = 1e9  # metres; the centre of the earth, on which some maps hang, is 6.4e6 away


class FrameTree:
    """Each frame hangs on one parent; a new word about a frame replaces the old one. Names may begin with a slash, as in ROS 1.

    It holds MOST_FRAMES at most, and forgets those that were told of the longest ago; so too where frames would hang on each other in
    a ring.
    """

    def __init__(self) -> None:
        self._up: dict[str, tuple[str, Array]] = {}

    def add(self, parent: str, child: str, translation: Sequence[float], quaternion: Sequence[float]) -> bool:
        """``parent`` point = rotation by ``quaternion`` (x, y, z, w) of the ``child`` point + ``translation`` (metres).

        False, and nothing happens, for numbers that are no pose, for one beyond FARTHEST, for a frame that hangs on itself, and for
        names of more than LONGEST_NAME characters.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        values = np.array([*translation, *quaternion], np.float64)
        if parent == child or max(len(parent), len(child)) > LONGEST_NAME or not (np.abs(values) <= FARTHEST).all():
            return False
        length = float(np.linalg.norm(values[3:]))
        if not 0.5 < length < 2.0:
            return False
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation_of(values[3:] / length), values[:3]
        up = {name: hung for name, hung in self._up.items() if name != child}  # a new one, for another thread may be reading
        up[child] = (parent, matrix)
        ring = {child}
        while parent in up and parent not in ring:
            ring.add(parent)
            parent = up[parent][0]
        if parent in ring:
            del up[next(name for name in up if name in ring)]
        if len(up) > MOST_FRAMES:
            del up[next(iter(up))]
        self._up = up
        return True

    @property
    def names(self) -> list[str]:
        """All frames heard of."""
        up = self._up
        return sorted({*up, *(parent for parent, _ in up.values())})

    def between(self, source: str, target: str) -> tuple[Array, Array] | None:
        """Rotation float64 [3, 3] and translation [3] such that target point = rotation @ source point + translation; None: no way."""
        up = self._up
        from_source, from_target = _ways_up(source.lstrip("/"), up), _ways_up(target.lstrip("/"), up)
        # Where the two ways meet: what the frames beyond hang on, maybe far away, would only cost digits.
        meeting = next((name for name in from_target if name in from_source), None)
        if meeting is None:
            return None
        matrix = np.linalg.inv(from_target[meeting]) @ from_source[meeting]
        return matrix[:3, :3], matrix[:3, 3]


def _ways_up(name: str, up: dict[str, tuple[str, Array]]) -> dict[str, Array]:
    """The frames above one, itself first, each with the matrix that brings its points there."""
    matrix = np.eye(4)
    ways = {name: matrix}
    while name in up:
        name, step = up[name]
        matrix = step @ matrix
        ways[name] = matrix
    return ways


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
