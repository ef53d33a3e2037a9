"""Differences between two methods on the same data sets, and what they decide."""

from typing import NamedTuple

import numpy as np

from reproduce.tables import t_half_width


class Difference(NamedTuple):
    """A paired difference over data sets.

    Attributes:
        mean: Over data sets.
        half_width: Of its 95 % t-interval; NaN where the data sets are not independent trainings.
        verdict: ``"lower"``, ``"higher"`` or ``"not told apart"``.
    """

    mean: float
    half_width: float
    verdict: str

    def __str__(self):
        return f"{self.mean:+.3g}" + ("" if np.isnan(self.half_width) else f" ± {self.half_width:.2g}")


def difference(a: np.ndarray, b: np.ndarray, variant: str) -> Difference:
    """The difference a - b, data set by data set.

    In the variant ``as-released`` the data sets are one chain of warm starts: there is no interval, and a verdict only
    where every data set agrees.
    """
    delta = a - b
    if variant == "as-released":
        signs = set(np.sign(delta))
        verdict = (
            {-1.0: "lower", 1.0: "higher"}.get(signs.pop(), "not told apart") if len(signs) == 1 else "not told apart"
        )
        return Difference(float(delta.mean()), float("nan"), verdict)
    half = t_half_width(delta)
    apart = abs(delta.mean()) > half
    verdict = "not told apart" if not apart else "lower" if delta.mean() < 0 else "higher"
    return Difference(float(delta.mean()), half, verdict)
