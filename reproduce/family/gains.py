"""What a model has over the VAE, with verdicts that allow for the judge's own error and for how many they are."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reproduce.differences import ALONE, EQUAL, LEVEL, Difference, seed_by_seed
from reproduce.judged.findings import Row

OPEN = "one seed: open"


class Line(NamedTuple):
    """A cell, over its seeds; nats per image.

    Attributes:
        name: Of the cell.
        rows: Its trained models.
        neg_bound: Mean -bound of each, on the images that have one.
        ais: Mean NLL by AIS of each.
        common: The same, on the images that have a bound.
        slack: Mean of -bound less AIS of each, on those.
    """

    name: str
    rows: list[Row]
    neg_bound: np.ndarray
    ais: np.ndarray
    common: np.ndarray
    slack: np.ndarray

    @property
    def gap(self) -> float:
        """BDMC's, the mean over models: what AIS may be off by."""
        return max(0.0, float(np.mean([row.gap for row in self.rows])))

    @property
    def gap_error(self) -> float:
        """The standard error of that over simulated images."""
        return math.hypot(*(row.gap_error for row in self.rows)) / len(self.rows)


class Gain(NamedTuple):
    """What a cell has over the VAE of the same seed, in nats; positive is better. The first is the sum of the others.

    Attributes:
        bound: Of the bound.
        decoder: Of log p(x), by AIS.
        inference: Of how near the bound is to log p(x).
    """

    bound: Difference
    decoder: Difference
    inference: Difference


def gain(line: Line, base: Line) -> Gain:
    """A cell's over another's, seed by seed."""
    # NLL by AIS is above the true one by up to the gap, of the VAE and of the cell
    around = {"neg_bound": (None, None), "common": (base, line), "slack": (line, base)}
    return Gain(*(_part(line, base, name, *sides) for name, sides in around.items()))


def _part(line: Line, base: Line, name: str, below: Line | None = None, above: Line | None = None) -> Difference:
    """`base` less `line` in an attribute of `Line`, seed by seed; too high, and too low, by up to the gap of these."""
    sides = ({row.seed: float(v) for row, v in zip(x.rows, getattr(x, name), strict=True)} for x in (base, line))
    found = seed_by_seed(*sides)
    if below is None or above is None:
        return found
    return found._replace(
        below=below.gap, above=above.gap, below_error=below.gap_error, above_error=above.gap_error
    )  # fmt: skip


def told(part: Difference, p: float | None) -> str:
    """In words; with `ALONE`, where it stands by itself, but not among so many verdicts.

    Args:
        part: Of a gain.
        p: As it stands among all verdicts; None where it is none of them.
    """
    if math.isnan(part.p):
        return "" if math.isnan(part.value) else OPEN
    word = "better" if part.value > 0 else "worse"
    if p is not None and p <= LEVEL:
        return word
    return word + ALONE if part.p <= LEVEL else EQUAL


def undecided(line: Line, lines: Sequence[Line], name: str) -> bool:
    """Whether there are others that it has too few seeds in common with to be held against."""
    return any(math.isnan(_part(line, other, name).p) for other in lines if other is not line)


def not_apart(line: Line, lines: Sequence[Line], name: str) -> list[Line]:
    """The others that a cell is not told apart from at 95 %, pair by pair of one seed."""
    return [other for other in lines if other is not line and _part(line, other, name).p > LEVEL]
