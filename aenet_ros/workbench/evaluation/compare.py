"""Data sets of registered pairs, fusion methods, the measures of each method on each pair, and mean ranks of the methods.

A method is a function or a folder of pictures that another program wrote.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from aenet_ros.config import AgcConfig
from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.frames import Array, Frame, FramePair, Plane
from aenet_ros.io.files import read_rgb, read_thermal
from aenet_ros.thermal.agc import ThermalAgc
from aenet_ros.workbench.contact_sheet import Cell
from aenet_ros.workbench.evaluation.metrics import METRICS, RANKED, flicker, measure

if TYPE_CHECKING:
    from aenet_ros.pipeline import FusionPipeline

Values = Mapping[str, float]
Pictures = dict[str, list[list[Cell]]]
"""By data set, rows of (label, picture), each uint8 [H, W, 3] in rgb order or grey [H, W]."""


class DataSet(NamedTuple):
    """Registered pairs: pictures of equal size and name in two folders."""

    name: str
    thermal: Path
    rgb: Path
    names: list[str]


class Pair(NamedTuple):
    """A registered pair: ``thermal`` uint8 [H, W], ``rgb`` uint8 [H, W, 3] in bgr order or grey [H, W]."""

    dataset: str
    name: str
    thermal: Array
    rgb: Array


class Method(NamedTuple):
    """A fusion method. ``fuse`` returns the fused picture of a pair, uint8, bgr or grey, or raises SourceError."""

    name: str
    fuse: Callable[[Pair], Array]


class Score(NamedTuple):
    """Measures of one method on one picture. ``name`` is "SET/FILE"; the set's name may contain slashes."""

    method: str
    name: str
    values: Values

    @property
    def dataset(self) -> str:
        """Name of the picture's data set, "" if there is none."""
        return self.name.rpartition("/")[0]


def dev_sets(data: Path) -> dict[str, list[DataSet]]:
    """Return the development sets below ``data`` by group. Raises SourceError if one does not exist.

    The recipe of the packaged weights does not train on these pairs. The first folder is source A of the measures, the second source B.
    """
    return {
        "infrared-visible": [
            _dev_set(data, "roadscene", "thermal", "rgb", 9),
            _dev_set(data, "m3svd_stills", "thermal", "rgb", 2, ("0114_1609", "0115_1847")),
        ],
        "other tasks": [
            _dev_set(data, "medical/ct-mri", "mri", "ct", 4),
            _dev_set(data, "medical/pet-mri", "mri", "pet", 4),
            _dev_set(data, "medical/spect-mri", "mri", "spect", 4),
            _dev_set(data, "multi_exposure", "a", "b", 3),
            _dev_set(data, "multi_focus", "a", "b", 3),
        ],
    }


def dev_clips(data: Path) -> list[DataSet]:
    """Return the clips for flicker below ``data``, frames in temporal order. The packaged weights were trained on the second one."""
    return [_dev_set(data / "m3svd_video", name, "thermal", "rgb", 1) for name in ("1230_1202", "0117_1605")]


def _dev_set(data: Path, name: str, thermal: str, rgb: str, every: int, prefixes: tuple[str, ...] = ("",)) -> DataSet:
    """Return the set in two folders below ``data / name``: every ``every``-th of the sorted names with one of the prefixes."""
    folders = data / name / thermal, data / name / rgb
    return DataSet(name, *folders, [file for file in common_names(*folders) if file.startswith(prefixes)][::every])


def common_names(thermal: Path, rgb: Path) -> list[str]:
    """Return the sorted names of files that exist in both folders. Raises SourceError if there are none."""
    try:
        found = [{path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")} for folder in (thermal, rgb)]
    except OSError as error:
        raise SourceError(f"{error.filename}: {error.strerror}; a data set needs two folders of pictures") from error
    common = sorted(found[0] & found[1])
    if not common:
        raise SourceError(f"{thermal} ({len(found[0])} files) and {rgb} ({len(found[1])} files) have no file name in common")
    return common


def read_pairs(dataset: DataSet) -> Iterator[Pair]:
    """Read the pairs of a set. Thermal pictures of more than 8 bits pass the default AGC, each without history.

    Raises SourceError for an unreadable picture and ImageError for a pair of unequal sizes.
    """
    for name in dataset.names:
        thermal, rgb = read_thermal(dataset.thermal / name), read_rgb(dataset.rgb / name)
        if thermal.size != rgb.size:
            sizes = "{1}x{0} and rgb {3}x{2}".format(*thermal.size, *rgb.size)
            raise ImageError(f"{name}: thermal is {sizes}; the measures need registered pairs of one size")
        counts = thermal.data
        if thermal.encoding != "mono8":
            counts = np.rint(ThermalAgc().apply(thermal, AgcConfig()) * 255.0).astype(np.uint8)
        yield Pair(dataset.name, name, counts, rgb.data)


def fuse_still(pipeline: "FusionPipeline", pair: Pair) -> Array:
    """Fuse a pair as ``aenet fuse`` fuses unrelated stills; the result has the pipeline's ``output.encoding``."""
    pipeline.reset_temporal()
    rgb = Frame(0, pair.rgb, "mono8" if pair.rgb.ndim == 2 else "bgr8")
    return pipeline.process(FramePair(Frame(0, pair.thermal, "mono8"), rgb)).image


def folder_method(name: str, folder: Path, *, by_set: bool) -> Method:
    """Return a method that reads its pictures from ``folder`` (``by_set``: from its subfolder with the set's name).

    A picture has the pair's name; the suffix may differ.
    """

    def read(pair: Pair) -> Array:
        place = folder / pair.dataset if by_set else folder
        exact = place / pair.name
        found = [exact] if exact.exists() else sorted(place.glob(f"{Path(pair.name).stem}.*"))
        if not found:
            raise SourceError(f"{place} has no picture {pair.name}")
        return read_rgb(found[0]).data

    return Method(name, read)


def measure_sets(sets: Sequence[DataSet], methods: Sequence[Method], rows: int) -> tuple[list[Score], list[str], Pictures]:
    """Return the scores of all methods on all pairs, a text for each missing picture, and the pictures of some pairs.

    These are for each set at most ``rows`` evenly chosen rows of thermal, rgb and all methods. Shows a progress bar for each set.
    """
    scores: list[Score] = []
    missing: list[str] = []
    shown: Pictures = {}
    for dataset in sets:
        chosen = dataset.names[:: math.ceil(len(dataset.names) / rows)] if rows else []
        for pair in tqdm(read_pairs(dataset), dataset.name, len(dataset.names), unit="pair", disable=None, leave=False):
            luma = grey_plane(pair.rgb)
            cells = [(f"thermal {pair.name}", pair.thermal), ("rgb", _in_rgb_order(pair.rgb))]
            for method in methods:
                try:
                    fused = method.fuse(pair)
                    values = measure(grey_plane(fused), pair.thermal, luma)
                except (SourceError, ImageError) as error:
                    missing.append(f"{method.name}: {error}")
                    continue
                scores.append(Score(method.name, f"{pair.dataset}/{pair.name}", values))
                cells.append((method.name, _in_rgb_order(fused)))
            if pair.name in chosen:
                shown.setdefault(dataset.name, []).append(cells)
    return scores, missing, shown


def _in_rgb_order(picture: Array) -> Array:
    return picture if picture.ndim == 2 else picture[:, :, ::-1]


def clip_flicker(dataset: DataSet, method: Method) -> float:
    """Return the flicker of a method on consecutive frames. Raises SourceError if a frame is missing."""
    return flicker((grey_plane(method.fuse(pair)), pair.thermal, grey_plane(pair.rgb)) for pair in read_pairs(dataset))


def grey_plane(picture: Array) -> Plane:
    """Return BT.601 luma of uint8 bgr [H, W, 3] or of grey [H, W], as float32 rounded to integers."""
    if picture.ndim == 2:
        return picture.astype(np.float32)
    return np.rint(cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_BGR2GRAY))


def load_peers(path: Path) -> list[Score]:
    """Read published scores: JSON with lists of rows, each with ``peer``, ``name`` and measures. Raises SourceError."""
    try:
        content = json.loads(path.read_text())
        rows = [row for part in content.values() if isinstance(part, list) for row in part]
        scores = [Score(row["peer"], row["name"], {metric: float(row[metric]) for metric in METRICS if metric in row}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{path}: not a file of scores (JSON lists of rows with 'peer', 'name' and measures): {error!r}") from error
    if not scores:
        raise SourceError(f"{path}: contains no rows of scores")
    return scores


def means_by_dataset(scores: Iterable[Score]) -> dict[str, dict[str, dict[str, float]]]:
    """Return means[data set][method][measure] over the pictures that were measured for all methods of the set.

    Other pictures are left out, so that methods are compared on the same pictures. Raises SourceError if none remain.
    """
    found: dict[str, dict[str, dict[str, Values]]] = defaultdict(lambda: defaultdict(dict))
    for score in scores:
        found[score.dataset][score.method][score.name] = score.values
    return {dataset: _means(dataset, methods) for dataset, methods in found.items()}


def _means(dataset: str, methods: Mapping[str, Mapping[str, Values]]) -> dict[str, dict[str, float]]:
    common = sorted(set.intersection(*(set(rows) for rows in methods.values())))
    if not common:
        counts = ", ".join(f"{method}: {len(rows)}" for method, rows in methods.items())
        raise SourceError(f"set '{dataset}': no picture was measured for all methods ({counts}); compare methods on the same pictures")
    return {
        method: {metric: sum(rows[name][metric] for name in common) / len(common) for metric in rows[common[0]]}
        for method, rows in methods.items()
    }


def mean_ranks(table: Mapping[str, Values]) -> dict[str, float]:
    """Return the mean rank of each method (1 is best) over the measures RANKED. Equal values share the mean of their ranks."""
    ranks: dict[str, float] = dict.fromkeys(table, 0.0)
    for name in RANKED:
        values = [row[name] for row in table.values()]
        for method, row in table.items():
            better = sum(other > row[name] for other in values)
            ranks[method] += better + (values.count(row[name]) + 1) / 2
    return {method: total / len(RANKED) for method, total in ranks.items()}


def scoreboard(means: Mapping[str, Mapping[str, Values]]) -> dict[str, dict[str, float]]:
    """Return mean ranks[data set][method], best first, and ``overall``: the mean over the sets for methods measured on all of them."""
    board = {dataset: mean_ranks(table) for dataset, table in means.items()}
    everywhere = set.intersection(*(set(ranks) for ranks in board.values())) if board else set()
    board["overall"] = {method: sum(ranks[method] for ranks in board.values()) / len(board) for method in everywhere}
    return {dataset: dict(sorted(ranks.items(), key=lambda item: item[1])) for dataset, ranks in board.items()}
