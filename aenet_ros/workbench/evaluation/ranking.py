"""The scoreboard: mean ranks of methods over the nine measures, by data set and overall."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from aenet_ros.core.errors import SourceError
from aenet_ros.workbench.evaluation.metrics import LOWER_IS_BETTER, METRICS, RANKED

Values = Mapping[str, float]


class Score(NamedTuple):
    """One method's measures on one picture; ``name`` is ``SET/FILE``, the set itself may hold slashes."""

    method: str
    name: str
    values: Values

    @property
    def dataset(self) -> str:
        """The set that the picture belongs to; empty for a bare file name."""
        return self.name.rpartition("/")[0]


def load_peers(path: Path) -> list[Score]:
    """The rows of a peers file: JSON with lists of rows, each with ``peer``, ``name`` and the measures.

    Raises SourceError where the file cannot be read or has no such row.
    """
    try:
        content = json.loads(path.read_text())
        rows = [row for part in content.values() if isinstance(part, list) for row in part]
        scores = [Score(row["peer"], row["name"], {metric: float(row[metric]) for metric in METRICS if metric in row}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{path} is not a file of peers' rows (JSON lists of rows with 'peer', 'name' and measures): {error!r}"
        ) from error
    if not scores:
        raise SourceError(f"{path} holds no peers' rows")
    return scores


def means_by_dataset(scores: Iterable[Score]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean of each measure by data set and method, over the pictures that all the set's methods were measured on.

    A picture that some method lacks is left out for all of them, so that ranks compare like with like.
    Raises SourceError where a set has methods with no picture in common.
    """
    found: dict[str, dict[str, dict[str, Values]]] = defaultdict(lambda: defaultdict(dict))
    for score in scores:
        found[score.dataset][score.method][score.name] = score.values
    return {dataset: _means(dataset, methods) for dataset, methods in found.items()}


def _means(dataset: str, methods: Mapping[str, Mapping[str, Values]]) -> dict[str, dict[str, float]]:
    common = sorted(set.intersection(*(set(rows) for rows in methods.values())))
    if not common:
        counts = ", ".join(f"{method}: {len(rows)}" for method, rows in methods.items())
        raise SourceError(f"no picture of set '{dataset}' was measured for all methods ({counts}); compare methods on the same pictures")
    return {
        method: {metric: sum(rows[name][metric] for name in common) / len(common) for metric in rows[common[0]]}
        for method, rows in methods.items()
    }


def mean_ranks(table: Mapping[str, Values], measures: Sequence[str] = RANKED) -> dict[str, float]:
    """Each method's mean rank (1 is best) over ``measures``; methods with equal values share the mean of their ranks."""
    ranks: dict[str, float] = dict.fromkeys(table, 0.0)
    for measure in measures:
        sign = 1.0 if measure in LOWER_IS_BETTER else -1.0
        values = {method: sign * row[measure] for method, row in table.items()}
        for method, value in values.items():
            better = sum(other < value for other in values.values())
            equal = sum(other == value for other in values.values())
            ranks[method] += better + (equal + 1) / 2
    return {method: total / len(measures) for method, total in ranks.items()}


def scoreboard(scores: Iterable[Score]) -> dict[str, dict[str, float]]:
    """Mean rank by method: ``{"SET": {...}, ..., "overall": {...}}``, each sorted from the best.

    ``overall`` is the mean over the data sets, for the methods that were measured on every one of them.
    """
    board = {dataset: mean_ranks(table) for dataset, table in means_by_dataset(scores).items()}
    everywhere = set.intersection(*(set(ranks) for ranks in board.values())) if board else set()
    board["overall"] = {method: sum(ranks[method] for ranks in board.values()) / len(board) for method in everywhere}
    return {dataset: dict(sorted(ranks.items(), key=lambda item: item[1])) for dataset, ranks in board.items()}
