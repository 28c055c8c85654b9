"""Measures of each method on each pair, and what is made of them: means, pooled measures of trust, the worst pairs, mean ranks."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from aenet_ros.core.errors import ImageError, SourceError
from aenet_ros.core.process import allowed_cores
from aenet_ros.core.progress import ProgressBar
from aenet_ros.workbench.evaluation.methods import Method
from aenet_ros.workbench.evaluation.metrics import METRICS, RANKED, flicker
from aenet_ros.workbench.evaluation.pairs import DataSet, Pair, grey_plane, read_pairs
from aenet_ros.workbench.evaluation.trust import Trust, measure_with_trust, pooled

Values = Mapping[str, float]
TrustTable = dict[str, dict[str, float | None]]
"""By method, the measures of ``trust.pooled``."""


class Score(NamedTuple):
    """Measures of one method on one picture; ``trust`` is None for published scores and for tasks other than thermal and rgb."""

    method: str
    dataset: str
    picture: str
    values: Values
    trust: Trust | None = None

    @property
    def name(self) -> str:
        """Return "SET/FILE"; both may contain slashes."""
        return f"{self.dataset}/{self.picture}"


def measure_sets(sets: Sequence[DataSet], methods: Sequence[Method]) -> tuple[list[Score], list[str]]:
    """Return the scores of all methods on all pairs, and a text for each missing picture. Shows a progress bar for each set."""
    scores: list[Score] = []
    missing: list[str] = []
    with ThreadPoolExecutor(allowed_cores()) as pool:
        for dataset in sets:
            with ProgressBar(dataset.name, "pair", len(dataset.files)) as bar:
                for pair in bar.follow(read_pairs(dataset)):
                    _measure_pair(pair, dataset, methods, pool, scores, missing)
    return scores, missing


def _measure_pair(
    pair: Pair, dataset: DataSet, methods: Sequence[Method], pool: ThreadPoolExecutor, scores: list[Score], missing: list[str]
) -> None:
    """Append the scores of all methods on a pair, and a text for each missing picture."""
    luma = grey_plane(pair.rgb)
    jobs: list[tuple[str, Future[tuple[dict[str, float], Trust]]]] = []
    for method in methods:
        try:
            jobs.append((method.name, pool.submit(measure_with_trust, grey_plane(method.fuse(pair)), pair.thermal, luma)))
        except (SourceError, ImageError) as error:
            missing.append(f"{method.name}: {error}")
    for name, job in jobs:
        try:
            values, trust = job.result()
            scores.append(Score(name, dataset.name, pair.name, values, trust if dataset.trusted else None))
        except ImageError as error:
            missing.append(f"{name}: {pair.name}: {error}")


def clip_flicker(dataset: DataSet, method: Method) -> float:
    """Return the flicker of a method on consecutive frames. Raises SourceError if a frame is missing."""
    return flicker((grey_plane(method.fuse(pair)), pair.thermal, grey_plane(pair.rgb)) for pair in read_pairs(dataset))


def pool_trust(scores: Iterable[Score]) -> dict[str, TrustTable]:
    """Return table[data set][method] of pooled measures over the pictures that were measured for all methods of the set.

    Scores without measures of trust are left out, and sets where no picture was measured for all methods.
    """
    return {
        dataset: {method: pooled([rows[name].trust for name in common]) for method, rows in methods.items()}  # type: ignore[misc]
        for dataset, methods, common in _by_dataset(score for score in scores if score.trust is not None)
        if common
    }


def _by_dataset(scores: Iterable[Score]) -> Iterator[tuple[str, dict[str, dict[str, Score]], list[str]]]:
    """Yield each data set, its scores by method and picture, and the sorted pictures that were measured for all methods."""
    found: dict[str, dict[str, dict[str, Score]]] = defaultdict(lambda: defaultdict(dict))
    for score in scores:
        found[score.dataset][score.method][score.picture] = score
    for dataset, methods in found.items():
        yield dataset, methods, sorted(set.intersection(*(set(rows) for rows in methods.values())))


def worst(scores: Iterable[Score], measure: str, most: int) -> list[Score]:
    """Return at most ``most`` scores that are the worst by "lost", "halo", "worst VIF" or "mesh", the worst one first.

    By *lost* these are the pictures with the most lost regions; those without are left out.
    """
    rated = [(key, score) for score in scores if score.trust is not None and (key := _badness(score.trust, measure)) is not None]
    return [score for _, score in sorted(rated, key=lambda item: item[0], reverse=True)[:most]]


def _badness(trust: Trust, measure: str) -> tuple[float, ...] | None:
    if measure == "lost":
        return (trust.lost, -min(trust.retentions)) if trust.lost else None
    if measure == "halo":
        return None if trust.halo is None else (trust.halo,)
    return (-trust.worst_vif,) if measure == "worst VIF" else (trust.mesh,)


def load_peers(path: Path) -> list[Score]:
    """Read published scores: JSON with lists of rows, each with ``peer``, ``name`` and measures. Raises SourceError."""
    try:
        content = json.loads(path.read_text())
        rows = [row for part in content.values() if isinstance(part, list) for row in part]
        scores = [_published(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{path}: not a file of scores (JSON lists of rows with 'peer', 'name' and measures): {error!r}") from error
    if not scores:
        raise SourceError(f"{path}: contains no rows of scores")
    return scores


def _published(row: Mapping[str, Any]) -> Score:
    dataset, _, picture = row["name"].rpartition("/")
    return Score(row["peer"], dataset, picture, {metric: float(row[metric]) for metric in METRICS if metric in row})


def means_by_dataset(scores: Iterable[Score]) -> dict[str, dict[str, dict[str, float]]]:
    """Return means[data set][method][measure] over the pictures that were measured for all methods of the set.

    Other pictures are left out, so that methods are compared on the same pictures. Raises SourceError if none remain.
    """
    means = {}
    for dataset, methods, common in _by_dataset(scores):
        if not common:
            counts = ", ".join(f"{method}: {len(rows)}" for method, rows in methods.items())
            raise SourceError(f"set '{dataset}': no picture was measured for all methods ({counts}); compare methods on the same pictures")
        means[dataset] = {
            method: {metric: sum(rows[name].values[metric] for name in common) / len(common) for metric in rows[common[0]].values}
            for method, rows in methods.items()
        }
    return means


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
    """Return mean ranks[data set][method], best first, and ``overall``: the mean over the sets for methods measured on all of them.

    A set with a single method has no ranks and is left out.
    """
    board = {dataset: mean_ranks(table) for dataset, table in means.items() if len(table) > 1}
    everywhere = set.intersection(*(set(ranks) for ranks in board.values())) if board else set()
    board["overall"] = {method: sum(ranks[method] for ranks in board.values()) / len(board) for method in everywhere}
    return {dataset: dict(sorted(ranks.items(), key=lambda item: item[1])) for dataset, ranks in board.items()}
