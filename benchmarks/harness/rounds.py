"""Rounds in which everything that is compared has its turn, and what is made of their figures."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from reproduce.progress import Display, Stages

TOO_SLOW = 30.0  # times as slow as the first: one round is enough to say so
FEWEST, MOST_SECONDS = 3, 15.0  # rounds at least, and the time after which one that is less slow has had enough of them


class Spread(NamedTuple):
    """The quartiles of some figures."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(*(float(q) for q in np.percentile(values, [25, 50, 75])))

    def show(self, digits: int = 3, unit: float = 1.0) -> str:
        """The median, and the quartiles in brackets."""
        low, median, high = (number(value * unit, digits) for value in self)
        return f"{median} [{low}, {high}]"


def number(value: float, digits: int = 3) -> str:
    """So many significant digits, without an exponent where that can be read."""
    if value == 0 or not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}" if value else "0"
    decimals = max(digits - 1 - int(np.floor(np.log10(abs(value)))), 0)
    return f"{value:.{decimals}f}"


def round_robin(
    timers: Mapping[Hashable, Callable[[int], float]], rounds: int, turn_seconds: float
) -> dict[Hashable, list[float]]:
    """Seconds a step, one figure for each round, of everything that is compared.

    Args:
        timers: Each takes a number of steps, takes them, and gives the seconds that one took. The first is what the
            others are compared with.
        rounds: How many at most, see above.
        turn_seconds: A turn takes about so long, and at least one step.

    Returns:
        Lists in which index r is round r.
    """
    with Display() as display:
        return _round_robin(timers, rounds, turn_seconds, Stages(display, 1.0 + rounds))


def _round_robin(timers, rounds, turn_seconds, stages: Stages) -> dict[Hashable, list[float]]:
    trial, tell = {}, stages.begin("first steps")
    for i, (name, timer) in enumerate(timers.items(), 1):
        timer(3)  # compiles, and fills caches
        trial[name] = timer(1)
        tell(i / len(timers))
    limit = TOO_SLOW * next(iter(trial.values()))
    steps, turns = {}, {}
    for name, seconds in trial.items():
        steps[name] = max(1, round(turn_seconds / seconds))
        enough = max(FEWEST, int(MOST_SECONDS / (steps[name] * seconds))) if seconds <= limit else 1
        turns[name] = min(rounds, enough)
    found = {name: [] for name in timers}
    for r in range(rounds):
        tell = stages.begin(f"round {r + 1}/{rounds}")
        for i, (name, timer) in enumerate(timers.items()):
            tell(i / len(timers), f"round {r + 1}/{rounds}: {name}")
            if r < turns[name]:
                found[name].append(timer(steps[name]))
    return found


def paired_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs in each round that both have."""
    return [a / b for a, b in zip(ours, theirs, strict=False)]


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The p of y ~ x^p, by least squares on logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
