"""What a model has over the VAE, with verdicts that allow for the judge's own error and for how many they are."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from reproduce.judged.findings import Row
from reproduce.tables import half_width

LEVEL = 0.05
OPEN, EQUAL, ALONE = "one seed: open", "not told apart", ", alone"


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


class Part(NamedTuple):
    """What a cell has over the VAE in one respect, in nats; positive is better.

    Attributes:
        value: As measured, the mean over pairs of one seed.
        error: Its standard error over seeds; NaN where there is one.
        free: Degrees of freedom.
        below: By how much less it may be, for AIS falls short of log p(x) of the VAE and of the cell.
        above: By how much more.
    """

    value: float
    error: float
    free: int
    below: float = 0.0
    above: float = 0.0

    @property
    def half(self) -> float:
        """Half the 95 % interval over seeds; NaN where seeds do not give one."""
        return half_width(self.error, self.free) if self.free > 0 else math.nan

    @property
    def p(self) -> float:
        """How probable as much is by chance, where nothing is to be had and AIS is off at its worst; two-sided."""
        from scipy.special import stdtr

        if math.isnan(self.error):
            return math.nan
        beyond = max(self.value - self.below, -self.value - self.above)
        if beyond <= 0.0:
            return 1.0
        return float(2.0 * stdtr(self.free, -beyond / self.error)) if self.error > 0 else 0.0

    def __str__(self):
        if math.isnan(self.value):
            return "not on record"
        return f"{self.value:+.2f}" + ("" if math.isnan(self.half) else f" ± {self.half:.2f}")


class Gain(NamedTuple):
    """What a cell has over the VAE. The first is the sum of the others.

    Attributes:
        bound: Of the bound.
        decoder: Of log p(x), by AIS.
        inference: Of how near the bound is to log p(x).
    """

    bound: Part
    decoder: Part
    inference: Part


def gain(line: Line, base: Line) -> Gain:
    """A cell's over another's, seed by seed."""
    # NLL by AIS is above the true one by up to the gap, of the VAE and of the cell
    slack = {"neg_bound": (0.0, 0.0), "common": (base.gap, line.gap), "slack": (line.gap, base.gap)}
    return Gain(*(_part(line, base, name, *around) for name, around in slack.items()))


def paired(line: Line, base: Line, name: str) -> np.ndarray:
    """`base` less `line` in an attribute of `Line`, for the seeds that both have."""
    sides = [{row.seed: v for row, v in zip(x.rows, getattr(x, name), strict=True)} for x in (base, line)]
    return np.array([sides[0][seed] - sides[1][seed] for seed in sorted(sides[0].keys() & sides[1].keys())])


def _part(line, base, name, below, above) -> Part:
    each = paired(line, base, name)
    if len(each) < 2:
        return Part(float(each.mean()) if len(each) else math.nan, math.nan, 0, below, above)
    return Part(float(each.mean()), float(each.std(ddof=1) / math.sqrt(len(each))), len(each) - 1, below, above)


def together(parts: Iterable[Part]) -> dict[Part, float]:
    """Their p-values as they stand after so many comparisons (Holm 1979): below 0.05, all of them are right at 95 %."""
    ordered = sorted({part for part in parts if not math.isnan(part.p)}, key=lambda part: part.p)
    found, largest = {}, 0.0
    for i, part in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - i) * part.p))
        found[part] = largest
    return found


def told(part: Part, adjusted: dict[Part, float]) -> str:
    """In words; with `ALONE`, where it stands by itself, but not among so many verdicts."""
    if math.isnan(part.p):
        return "" if math.isnan(part.value) else OPEN
    word = "better" if part.value > 0 else "worse"
    if adjusted[part] <= LEVEL:
        return word
    return word + ALONE if part.p <= LEVEL else EQUAL


def not_apart(line: Line, lines: Sequence[Line], name: str) -> list[Line]:
    """The others that a cell is not told apart from at 95 %, pair by pair of one seed; none where there is one seed."""
    parts = {other.name: _part(line, other, name, 0.0, 0.0) for other in lines if other is not line}
    return [other for other in lines if other is not line and parts[other.name].p > LEVEL]
