"""What is evaluated: folders of registered pairs, and the development pairs with their clips."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aenet_ros.core.errors import SourceError


class DataSet(NamedTuple):
    """Registered pairs: pictures of equal size whose names are in both folders. ``name`` is the set's in tables and peers files."""

    name: str
    thermal: Path
    rgb: Path
    names: list[str]


class DevSet(NamedTuple):
    """A set of the development data, two folders below ``data/``, and which of its sorted names are for evaluation."""

    name: str
    thermal: str
    rgb: str
    chosen: Callable[[list[str]], list[str]]


def _every(step: int) -> Callable[[list[str]], list[str]]:
    return lambda names: names[::step]


def _held_out_sequences(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(("0114_1609", "0115_1847"))][::2]


# Never trained on. The first source takes thermal's place (A in the measures), the second rgb's (B).
INFRARED_VISIBLE = (
    DevSet("roadscene", "thermal", "rgb", _every(9)),
    DevSet("m3svd_stills", "thermal", "rgb", _held_out_sequences),
)
OTHER_TASKS = (
    DevSet("medical/ct-mri", "mri", "ct", _every(4)),
    DevSet("medical/pet-mri", "mri", "pet", _every(4)),
    DevSet("medical/spect-mri", "mri", "spect", _every(4)),
    DevSet("multi_exposure", "a", "b", _every(3)),
    DevSet("multi_focus", "a", "b", _every(3)),
)
CLIPS = ("1230_1202", "0117_1605")
"""Clips of consecutive frames for flicker; the second is trained on."""


def dev_set(data: Path, spec: DevSet) -> DataSet:
    """The evaluation pairs of one set below the folder ``data``. Raises SourceError where it is not there."""
    folder = data / spec.name
    names = common_names(folder / spec.thermal, folder / spec.rgb)
    return DataSet(spec.name, folder / spec.thermal, folder / spec.rgb, spec.chosen(names))


def dev_clip(data: Path, name: str) -> DataSet:
    """A clip of consecutive frames below the folder ``data``, in order of time. Raises SourceError where it is not there."""
    folder = data / "m3svd_video" / name
    return DataSet(name, folder / "thermal", folder / "rgb", common_names(folder / "thermal", folder / "rgb"))


def common_names(thermal: Path, rgb: Path) -> list[str]:
    """Sorted names that files of both folders bear. Raises SourceError where a folder is missing or they share none."""
    try:
        found = [{path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")} for folder in (thermal, rgb)]
    except OSError as error:
        raise SourceError(f"{error.filename}: {error.strerror}; a set needs its two folders of pictures") from error
    common = sorted(found[0] & found[1])
    if not common:
        raise SourceError(f"no file of {thermal} ({len(found[0])} files) has the name of one in {rgb} ({len(found[1])} files)")
    return common
