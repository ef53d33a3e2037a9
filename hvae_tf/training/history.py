"""What was logged after each epoch: columns of one length, NaN where a name was not logged.

A callback may log a name now and then, and may come or go when a run goes on. Numbers that were logged are finite, see
`DivergenceGuard`, so NaN means nothing else.
"""

import math
from collections.abc import Mapping

History = dict[str, list[float]]
_LAST = "learning_rate"  # `fit` adds it to the first epoch's row after all that was logged


def add_row(history: History, row: Mapping[str, float]) -> None:
    """Adds an epoch's numbers to the columns; NaN stands for what is missing in the row, or was in those before it."""
    epochs = max(map(len, history.values()), default=0)
    for name in [*history, *(name for name in row if name not in history)]:
        history.setdefault(name, [math.nan] * epochs).append(float(row.get(name, math.nan)))


def mended(history: History, epochs: int) -> History:
    """The history of a folder that was left with columns of unequal length, filled with NaN; others as they are.

    `fit` once left such a folder at the first epoch in which a name was new or missing, and could not go on. A column
    of one number is that of the last epoch; of two epochs, if it stands behind the first epoch's names. Every other
    short column misses the last epoch.
    """
    names = list(history)

    def filled(name: str, column: list[float]) -> list[float]:
        missing = [math.nan] * (epochs - len(column))
        behind = _LAST in names and names.index(name) > names.index(_LAST)
        is_new = len(column) == 1 and (epochs > 2 or behind)
        return missing + column if is_new else column + missing

    return {name: filled(name, column) for name, column in history.items()}


def as_csv(history: History) -> str:
    """The history as a table, one row an epoch, with a blank for NaN."""
    lines = [",".join(["epoch", *history])]
    for epoch, row in enumerate(zip(*history.values(), strict=True), 1):
        lines.append(",".join([str(epoch), *("" if math.isnan(value) else repr(value) for value in row)]))
    return "\n".join(lines) + "\n"
