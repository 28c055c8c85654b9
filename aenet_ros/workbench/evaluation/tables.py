"""Tables of scores for a terminal."""

from collections.abc import Mapping, Sequence

from aenet_ros.workbench.evaluation.metrics import LOWER_IS_BETTER, METRICS


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be, the first one left-aligned, the others right-aligned."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [
            text.ljust(width) if column == 0 else text.rjust(width) for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def measures_table(means: Mapping[str, Mapping[str, float]], ranks: Mapping[str, float]) -> str:
    """One set's methods, the best mean rank first, with the mean of each measure; arrows say which way is better."""
    header = ["method", "rank", *(f"{name}{'↓' if name in LOWER_IS_BETTER else ''}" for name in METRICS)]
    order = sorted(means, key=lambda method: ranks[method])
    rows = [[method, f"{ranks[method]:.2f}", *(short(means[method][name]) for name in METRICS)] for method in order]
    return text_table(header, rows)


def ranks_table(board: Mapping[str, Mapping[str, float]]) -> str:
    """Mean ranks by method (rows) and set (columns), sorted by the first column; a dash where a method was not measured."""
    columns = list(board)
    methods = sorted({method for ranks in board.values() for method in ranks}, key=lambda method: _place(board, columns, method))
    rows = [[method, *(f"{board[name][method]:.2f}" if method in board[name] else "-" for name in columns)] for method in methods]
    return text_table(["mean rank", *columns], rows)


def _place(board: Mapping[str, Mapping[str, float]], columns: Sequence[str], method: str) -> list[float]:
    return [board[name].get(method, float("inf")) for name in columns]


def short(value: float) -> str:
    """A measure with the digits that tell methods apart."""
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.4f}"
