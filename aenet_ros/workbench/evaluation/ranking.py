"""Mean ranks of fusion methods over the nine ranked measures, by data set and overall, and tables of them."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from aenet_ros.core.errors import SourceError
from aenet_ros.workbench.evaluation.metrics import LOWER_IS_BETTER, METRICS, RANKED

Values = Mapping[str, float]


class Score(NamedTuple):
    """Measures of one method on one picture. ``name`` is "SET/FILE"; the set's name may contain slashes."""

    method: str
    name: str
    values: Values

    @property
    def dataset(self) -> str:
        """Name of the picture's data set, "" if there is none."""
        return self.name.rpartition("/")[0]


class Table(NamedTuple):
    """A table as texts. ``best`` holds the cells (row, column) with the best value of their column."""

    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]]


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


def mean_ranks(table: Mapping[str, Values], measures: Sequence[str] = RANKED) -> dict[str, float]:
    """Return the mean rank of each method (1 is best) over ``measures``. Methods with equal values share the mean of their ranks."""
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
    """Return mean ranks[data set][method], best first, and ``overall``: the mean over the sets for methods measured on all of them."""
    board = {dataset: mean_ranks(table) for dataset, table in means_by_dataset(scores).items()}
    everywhere = set.intersection(*(set(ranks) for ranks in board.values())) if board else set()
    board["overall"] = {method: sum(ranks[method] for ranks in board.values()) / len(board) for method in everywhere}
    return {dataset: dict(sorted(ranks.items(), key=lambda item: item[1])) for dataset, ranks in board.items()}


def measures_table(means: Mapping[str, Values], ranks: Values) -> Table:
    """One data set: a row for each method, best mean rank first, with all measures. An arrow marks measures where lower is better."""
    order = sorted(means, key=lambda method: ranks[method])
    columns: dict[str, Values] = {"rank": ranks, **{name: {method: means[method][name] for method in means} for name in METRICS}}
    table = _table("method", order, columns, {"rank", *LOWER_IS_BETTER}, _significant)
    arrows = [f"{name} ↓" if name in LOWER_IS_BETTER else name for name in table.header]
    return table._replace(header=arrows)


def ranks_table(board: Mapping[str, Values], title: str = "mean rank") -> Table:
    """A row for each method and a column for each data set, sorted by the first column; "-" where a method was not measured."""
    columns = list(board.values())
    methods = dict.fromkeys(method for ranks in columns for method in ranks)
    order = sorted(methods, key=lambda method: [ranks.get(method, float("inf")) for ranks in columns])
    return _table(title, order, board, set(board), lambda value: f"{value:.3f}")


def _table(title: str, order: Sequence[str], columns: Mapping[str, Values], lower: set[str], text: Callable[[float], str]) -> Table:
    rows = [[method, *(text(values[method]) if method in values else "-" for values in columns.values())] for method in order]
    best = set()
    for column, (name, values) in enumerate(columns.items(), 1):
        wanted = (min if name in lower else max)(values.values(), default=0.0)
        best |= {(row, column) for row, method in enumerate(order) if len(values) > 1 and values.get(method) == wanted}
    return Table([title, *columns], rows, best)


def _significant(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.4f}"
