"""Data sets of registered pairs, and the pictures of a pair: as the measures take them and as the pipeline takes them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Array, Frame, Plane
from aenet_ros.io.files import read_rgb, read_thermal
from aenet_ros.io.pairing import pair_files
from aenet_ros.thermal.agc import NOMINAL_PERIOD_NS

STRETCH = (0.5, 99.8)  # percentiles that become 0 and 255, for the measures of thermal pictures of more than 8 bits
SPLIT = "split.json"


class DataSet(NamedTuple):
    """Registered pairs. ``files``: the thermal and the rgb file of each pair by its name.

    ``trusted``: a thermal camera and an rgb camera, so that the measures of trust apply; false for other tasks. ``consecutive``: the
    pairs are frames of a clip in temporal order, and gain control follows them.
    """

    name: str
    files: Mapping[str, tuple[Path, Path]]
    trusted: bool = True
    consecutive: bool = False


class Pair(NamedTuple):
    """thermal: uint8 [H, W], as ``stretched`` returns it. rgb: uint8 [H, W, 3] in bgr order, or grey [H, W].

    frame: the thermal picture as the camera gave it. first: no frame of the same clip comes before it.
    """

    dataset: str
    name: str
    thermal: Array
    rgb: Array
    frame: Frame
    first: bool


def dev_sets(data: Path) -> dict[str, list[DataSet]]:
    """Return the development sets below ``data`` by group; without the group "varied" if ``data / "varied"`` does not exist.

    The recipe of the packaged weights does not train on these pairs. The first folder is source A of the measures, the second source B.
    Raises SourceError if another set does not exist, or if varied/split.json is wrong.
    """
    varied = {"varied": [_varied(data / "varied")]} if (data / "varied").is_dir() else {}
    return {
        "infrared-visible": [
            _dev_set(data, "roadscene", "thermal", "rgb", 9),
            _dev_set(data, "m3svd_stills", "thermal", "rgb", 2, ("0114_1609", "0115_1847")),
        ],
        **varied,
        "other tasks": [
            _dev_set(data, "medical/ct-mri", "mri", "ct", 4)._replace(trusted=False),
            _dev_set(data, "medical/pet-mri", "mri", "pet", 4)._replace(trusted=False),
            _dev_set(data, "medical/spect-mri", "mri", "spect", 4)._replace(trusted=False),
            _dev_set(data, "multi_exposure", "a", "b", 3)._replace(trusted=False),
            _dev_set(data, "multi_focus", "a", "b", 3)._replace(trusted=False),
        ],
    }


def dev_clips(data: Path) -> list[DataSet]:
    """Return the clips for flicker below ``data``, frames in temporal order. The packaged weights were trained on the second one."""
    clips = [_dev_set(data / "m3svd_video", name, "thermal", "rgb", 1) for name in ("1230_1202", "0117_1605")]
    return [clip._replace(consecutive=True) for clip in clips]


def _dev_set(data: Path, name: str, thermal: str, rgb: str, every: int, prefixes: tuple[str, ...] = ("",)) -> DataSet:
    """Return the set in two folders below ``data / name``: every ``every``-th of the sorted names with one of the prefixes."""
    files = by_name(pair_files(data / name / thermal, data / name / rgb).files)
    return DataSet(name, {file: files[file] for file in [file for file in sorted(files) if file.startswith(prefixes)][::every]})


def _varied(folder: Path) -> DataSet:
    """Return the pairs "SET/NAME" in the part "dev" of split.json: SET/thermal/NAME.png and SET/rgb/NAME.png below ``folder``."""
    path = folder / SPLIT
    files = {
        f"{subset}/{name}": (_png(folder, subset, name, "thermal"), _png(folder, subset, name, "rgb"))
        for subset, name in split_part(folder, "dev")
    }
    absent = [str(file) for pair in files.values() for file in pair if not file.is_file()]
    if absent or not files:
        raise SourceError(f"{path}: 'dev' names {len(files)} pairs; {len(absent)} of their files are missing: {', '.join(absent[:3])}")
    return DataSet("varied", files)


def split_part(folder: Path, part: str) -> list[tuple[str, str]]:
    """Return (set, name) of each pair that split.json in ``folder`` lists as "SET/NAME" under ``part``, "train" or "dev".

    Raises SourceError if the file is missing or has another form.
    """
    path = folder / SPLIT
    try:
        return [(subset, name) for subset, name in (pair.split("/") for pair in json.loads(path.read_text())[part])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f'{path}: not a list of pairs ({{"train": [...], "dev": ["SET/NAME", ...]}}): {error!r}') from error


def _png(folder: Path, subset: str, name: str, stream: str) -> Path:
    return folder / subset / stream / f"{name}.png"


def by_name(files: Iterable[tuple[Path, Path]]) -> dict[str, tuple[Path, Path]]:
    """Return pairs of files by the rgb file's name, as ``DataSet`` has them."""
    return {rgb.name: (thermal, rgb) for thermal, rgb in files}


def read_pairs(dataset: DataSet) -> Iterator[Pair]:
    """Read the pairs of a set. Raises SourceError for an unreadable picture and ImageError for a pair of unequal sizes."""
    for index, name in enumerate(dataset.files):
        yield read_pair(dataset, name, index if dataset.consecutive else 0)


def read_pair(dataset: DataSet, name: str, index: int = 0) -> Pair:
    """Read one pair; ``index``: number of frames of the same clip before it. Raises as ``read_pairs``."""
    thermal_file, rgb_file = dataset.files[name]
    thermal, rgb = read_thermal(thermal_file, index * NOMINAL_PERIOD_NS), read_rgb(rgb_file)
    if thermal.size != rgb.size:
        sizes = "{1}x{0} and rgb {3}x{2}".format(*thermal.size, *rgb.size)
        raise ImageError(f"{name}: thermal is {sizes}; the measures need registered pairs of one size")
    return Pair(dataset.name, name, stretched(thermal), rgb.data, thermal, index == 0)


def stretched(thermal: Frame) -> Array:
    """Return a thermal picture [H, W] for the measures, uint8: counts of more than 8 bits from the 0.5th to the 99.8th percentile.

    8-bit pictures are returned as they are. Pixels that hold no value become 0.
    """
    counts = thermal.data
    if counts.dtype == np.uint8:
        return counts
    valid = np.ones(counts.shape, bool) if thermal.invalid is None else ~thermal.invalid
    low, high = np.percentile(counts[valid], STRETCH) if valid.any() else (0.0, 1.0)
    unit = (np.where(valid, counts, low).astype(np.float64) - low) / max(high - low, 1e-9)
    return np.rint(np.clip(unit, 0.0, 1.0) * 255.0).astype(np.uint8)


def grey_plane(picture: Array) -> Plane:
    """Return BT.601 luma of uint8 bgr [H, W, 3] or of grey [H, W], as float32 rounded to integers."""
    if picture.ndim == 2:
        return picture.astype(np.float32)
    return np.rint(cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_BGR2GRAY))
