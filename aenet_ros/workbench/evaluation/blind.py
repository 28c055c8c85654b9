"""Blind comparison by eye: a page that shows two fused pictures of one pair, and the ranking of methods by the choices made there."""

import base64
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aenet_ros.core.errors import ConfigError, ImageError, SourceError
from aenet_ros.workbench.evaluation.methods import Method, in_colours
from aenet_ros.workbench.evaluation.pairs import DataSet, read_pair
from aenet_ros.workbench.evaluation.pictures import in_rgb_order
from aenet_ros.workbench.evaluation.report import jpeg_uri

FORMAT = "aenet choices 1"
CHOICES = {"left": 1.0, "right": 0.0, "equal": 0.5}
"""Wins of the left method by choice."""
PRIOR = 0.1  # wins added to both sides of each couple of methods
_WIDTH, _QUALITY = 1280, 92


class Comparison(NamedTuple):
    """Two methods' pictures of one pair, side by side."""

    dataset: DataSet
    pair: str
    left: Method
    right: Method


class Preference(NamedTuple):
    """The place of a method among others.

    log_odds: natural logarithm of the odds that it is preferred to the average method; error: its standard error. comparisons: those
    with this method; wins: how often it was preferred, equal ones as half.
    """

    method: str
    log_odds: float
    error: float
    wins: float
    comparisons: int


def comparisons(sets: Sequence[DataSet], methods: Sequence[Method], count: int, seed: int) -> list[Comparison]:
    """Return ``count`` comparisons in random order. Raises ConfigError for less than two methods or less than one comparison.

    Each couple of methods has equally many, up to one, in which each method is equally often left, up to one; the pairs are spread evenly.
    """
    if len(methods) < 2 or count < 1:
        raise ConfigError(f"a blind comparison needs two methods and one comparison, not {len(methods)} and {count}")
    random = np.random.default_rng(seed)
    pairs = [(dataset, name) for dataset in sets for name in dataset.files]
    pairs = [pairs[index] for index in random.permutation(len(pairs))]
    couples = list(combinations(methods, 2))
    order = random.permutation(len(couples))
    found = []
    for index in range(count):
        turn, couple = index // len(couples), int(order[index % len(couples)])
        left, right = couples[couple] if (turn + couple) % 2 else couples[couple][::-1]
        # A couple meets another pair at each turn, and couples are far from each other in the list of pairs.
        found.append(Comparison(*pairs[(turn + couple * len(pairs) // len(couples)) % len(pairs)], left, right))
    return [found[index] for index in random.permutation(count)]


def blind_page(chosen: Sequence[Comparison], seed: int) -> str:
    """Return the page, self-contained. Raises SourceError or ImageError for a picture that is missing or of another size than its pair."""
    pictures: dict[tuple[str, str, str], str] = {}
    for comparison in chosen:
        pair = None
        for method in (comparison.left, comparison.right):
            name = (comparison.dataset.name, comparison.pair, method.name)
            if name not in pictures:
                pair = pair or read_pair(comparison.dataset, comparison.pair)
                fused = in_colours(method.fuse(pair), pair.rgb)
                if fused.shape[:2] != pair.thermal.shape:
                    raise ImageError(f"{method.name}: {comparison.pair} is {fused.shape[1]}x{fused.shape[0]}, unlike its pair")
                pictures[name] = jpeg_uri(in_rgb_order(fused), _WIDTH, _QUALITY)
    ids = {name: f"p{index}" for index, name in enumerate(pictures)}
    key = [{"pair": f"{one.dataset.name}/{one.pair}", "left": one.left.name, "right": one.right.name} for one in chosen]
    data = {
        "format": FORMAT,
        "seed": seed,
        "comparisons": [[ids[one.dataset.name, one.pair, method.name] for method in (one.left, one.right)] for one in chosen],
        "key": base64.b64encode(json.dumps(key).encode("ascii")).decode("ascii"),
        "pictures": {ids[name]: uri for name, uri in pictures.items()},
    }
    return Path(__file__).with_name("blind.html").read_text(encoding="utf-8").replace("DATA", json.dumps(data))


def read_choices(path: Path) -> list[tuple[str, str, float]]:
    """Return (left method, right method, wins of the left one: 1, 0.5 or 0) of each choice in a saved file. Raises SourceError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        return [(str(row["left"]), str(row["right"]), CHOICES[row["choice"]]) for row in content["choices"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path}: not the saved choices of a page of `aenet evaluate --blind`: {error!r}") from error


def ranked(choices: Sequence[tuple[str, str, float]]) -> list[Preference]:
    """Return the methods of ``read_choices``, the most preferred one first. Raises SourceError if there is no choice."""
    if not choices:
        raise SourceError("the files contain no choices; choose on the page before saving")
    names = sorted({name for left, right, _ in choices for name in (left, right)})
    wins = np.zeros((len(names), len(names)))
    for left, right, won in choices:
        wins[names.index(left), names.index(right)] += won
        wins[names.index(right), names.index(left)] += 1.0 - won
    log_odds, errors = bradley_terry(wins, PRIOR)
    rows = zip(names, log_odds, errors, wins.sum(axis=1), (wins + wins.T).sum(axis=1), strict=True)
    found = [Preference(name, float(odds), float(error), float(won), round(total)) for name, odds, error, won, total in rows]
    return sorted(found, key=lambda row: row.log_odds, reverse=True)


def bradley_terry(wins: NDArray[np.float64], prior: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the log strength of each method, float64 [M] with mean 0, and its standard error [M] (Bradley and Terry 1952).

    wins: float [M, M], how often the row's method was preferred to the column's. prior: wins added to each entry, so that a method that
    never won stays finite; without it each method needs a win and a defeat. Strengths by minorization-maximization (Hunter 2004), errors
    from the inverse of the information matrix.
    """
    wins = wins + prior * (1.0 - np.eye(len(wins)))
    games, won = wins + wins.T, wins.sum(axis=1)
    log_strength = np.zeros(len(wins))
    for _ in range(10_000):
        strength = np.exp(log_strength)
        new = np.log(won / (games / (strength[:, None] + strength)).sum(axis=1))
        change, log_strength = np.abs(new - new.mean() - log_strength).max(), new - new.mean()
        if change < 1e-10:
            break
    chance = 1.0 / (1.0 + np.exp(log_strength[None, :] - log_strength[:, None]))
    weight = games * chance * (1.0 - chance)
    covariance = np.linalg.pinv(np.diag(weight.sum(axis=1)) - weight)
    return log_strength, np.sqrt(np.diag(covariance))
