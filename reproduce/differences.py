"""Nats of one cell less another's: what images, seeds and the judge leave open, and how many are to be right at once.

Three uncertainties are kept apart. Models are judged on the same test images, so a difference is taken image by image,
and its standard error says what other images might have shown *of these trained models*. Other trainings of the same
cells would differ too: that is told by the spread over seeds alone. And where log p(x) is compared by annealed
importance sampling, each side may be too high by as much as BDMC's gap.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from reproduce.tables import half_width

LEVEL = 0.05
EQUAL, ALONE = "not told apart", ", alone"
OF_THESE = " for these trained models; the seeds do not decide"
BUT_FOR_THE_JUDGE = "; AIS's own error leaves it open"
BUT_FOR_BOTH = "; seeds and AIS's own error together leave it open"
PAIRS = 3  # seeds that two cells must both have, and no others, to be compared seed by seed
Key = TypeVar("Key", bound=Hashable)


class Score(NamedTuple):
    """How one trained model was judged by one measure, nats per image.

    Attributes:
        seed: Of the training.
        mean: Over images and repeats.
        images: How many: the first so many test images.
        per_image: ``[images]``, or None in records from before they were kept.
        slack: By how much the mean may be too high in expectation; 0 for a bound that is itself what is compared.
        slack_error: The standard error of that.
    """

    seed: int
    mean: float
    images: int
    per_image: np.ndarray | None
    slack: float = 0.0
    slack_error: float = 0.0

    def on(self, images: int) -> "Score":
        """The same on fewer images, of which the single values are on record."""
        if self.per_image is None or self.images <= images:
            return self
        values = self.per_image[:images]
        return self._replace(mean=float(values.mean()), images=images, per_image=values)


class Spread(NamedTuple):
    """The standard deviation over seeds, taken to be that of every cell, and its degrees of freedom; NaN if 0."""

    deviation: float
    free: int


def pooled(cells: Iterable[Sequence[float]]) -> Spread:
    """The spread within cells: of each, one value a seed."""
    squares, free = 0.0, 0
    for values in cells:
        squares += float(np.sum((np.asarray(values, float) - np.mean(values)) ** 2)) if len(values) > 1 else 0.0
        free += max(0, len(values) - 1)
    return Spread(math.sqrt(squares / free) if free else math.nan, free)


class Difference(NamedTuple):
    """A cell's nats per image less another's, or of some gain.

    Attributes:
        value: Mean over seeds and images.
        error: Its standard error over seeds; NaN where the seeds do not give one.
        free: The degrees of freedom of that; 0 where there is none.
        image_error: Standard error over images of the paired differences; NaN where they are not on record.
        below: By how much less it may be, for the first is too high by up to so much.
        above: By how much more, for the other is.
        images: How many both were judged on.
        how: How the error over seeds came about.
        measure: What was compared.
        below_error: The standard error of `below`.
        above_error: Of `above`.
    """

    value: float
    error: float
    free: int
    image_error: float = math.nan
    below: float = 0.0
    above: float = 0.0
    images: int = 0
    how: str = ""
    measure: str = ""
    below_error: float = 0.0
    above_error: float = 0.0

    @property
    def whole_error(self) -> float:
        """The standard error over seeds and images together; over seeds alone where that over images is not known."""
        return self.error if math.isnan(self.image_error) else math.hypot(self.error, self.image_error)

    @property
    def whole_free(self) -> float:
        """The degrees of freedom of `whole_error` (Welch, Satterthwaite); 0 where there are none over seeds."""
        return self._welch(self.whole_error)

    def _welch(self, whole: float) -> float:
        """The degrees of freedom of seeds and images together, and of what else there is in `whole`, known surely."""
        if self.free < 1 or not whole > 0.0:
            return self.free
        seeds, images = (self.error / whole) ** 4 / self.free, (self.image_error / whole) ** 4 / max(1, self.images - 1)
        return 1.0 / (seeds + (0.0 if math.isnan(images) else images))

    @property
    def half(self) -> float:
        """Half the 95 % t-interval over seeds and images together; NaN where seeds do not give one.

        No less than over seeds alone: Welch's degrees of freedom can grow by more than the error does.
        """
        if self.free < 1:
            return math.nan
        return max(half_width(self.error, self.free), half_width(self.whole_error, self.whole_free))

    @property
    def beyond(self) -> float:
        """What is left of its size where the judge is off at its worst; below zero where nothing is."""
        return max(self.value - self.below, -self.value - self.above)

    @property
    def beyond_error(self) -> float:
        """The standard error of what `beyond` takes away."""
        return self.below_error if self.value - self.below >= -self.value - self.above else self.above_error

    @property
    def p(self) -> float:
        """How probable as much is by chance, where nothing is to be had and the judge is off at its worst; two-sided.

        NaN where seeds do not give an error.
        """
        if self.free < 1 or math.isnan(self.value):
            return math.nan
        if self.beyond <= 0.0:
            return 1.0
        whole = math.hypot(self.whole_error, self.beyond_error)
        return max(self._p(self.error, self.free), self._p(whole, self._welch(whole)))

    def _p(self, error: float, free: float) -> float:
        """By one error and its degrees of freedom."""
        from scipy.special import stdtr

        return float(2.0 * stdtr(free, -self.beyond / error)) if error > 0.0 else 0.0

    @property
    def verdict(self) -> str:
        """In words, taken alone."""
        way = "lower" if self.value < 0 else "higher"
        if self.p <= LEVEL:
            return way
        seeds_decide = self._replace(below=0.0, above=0.0, below_error=0.0, above_error=0.0).p <= LEVEL
        of_these = self.beyond > 1.96 * math.hypot(self.image_error, self.beyond_error)
        if seeds_decide:
            return way + (BUT_FOR_BOTH if of_these else BUT_FOR_THE_JUDGE)
        return way + OF_THESE if of_these else EQUAL

    def __str__(self):
        if math.isnan(self.value):
            return "not on record"
        return f"{self.value:+.2f}" + ("" if math.isnan(self.half) else f" ± {self.half:.2f}")


def seed_by_seed(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference:
    """The mean difference over the seeds that both have, by a paired t-interval; a seed starts both alike."""
    each = np.array([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])
    if len(each) < 2:
        return Difference(float(each.mean()) if len(each) else math.nan, math.nan, 0)
    error = float(each.std(ddof=1) / math.sqrt(len(each)))
    return Difference(float(each.mean()), error, len(each) - 1, how=f"{len(each)} pairs of one seed")


def difference(ours: Sequence[Score], theirs: Sequence[Score], spread: Spread | None = None) -> Difference | None:
    """The mean over seeds of one cell less that of another, image by image; None where the images are not the same.

    Where both cells have the same seeds, three at least, the error over seeds is that of the paired differences:
    trainings of one seed start from the same weights and see the same batches, and what they have in common drops out.
    Else it is that of two means of independent trainings which share one standard deviation.

    Args:
        ours: A cell's models, one a seed.
        theirs: The other's.
        spread: Over seeds, of every cell; None: that within these two.
    """
    if not ours or not theirs:
        return None
    images = min(score.images for score in (*ours, *theirs))
    ours, theirs = ([score.on(images) for score in scores] for scores in (ours, theirs))
    if any(score.images > images for score in (*ours, *theirs)):
        return None
    image_error = math.nan
    if images > 1 and all(score.per_image is not None for score in (*ours, *theirs)):
        a, b = (np.mean([score.per_image for score in scores], axis=0) for scores in (ours, theirs))
        image_error = float(np.std(a - b, ddof=1)) / math.sqrt(images)
    a, b = ({score.seed: score.mean for score in scores} for scores in (ours, theirs))
    if a.keys() == b.keys() and len(a) >= PAIRS:
        found = seed_by_seed(a, b)
    else:
        spread = spread or pooled([list(a.values()), list(b.values())])
        found = Difference(
            float(np.mean(list(a.values())) - np.mean(list(b.values()))),
            spread.deviation * math.sqrt(1 / len(a) + 1 / len(b)), spread.free,
            how=f"{len(a)} and {len(b)} trainings, one spread" if spread.free else "one training each",
        )  # fmt: skip
    (below, below_error), (above, above_error) = (_slack(scores) for scores in (ours, theirs))
    return found._replace(
        image_error=image_error, below=below, above=above, images=images, below_error=below_error,
        above_error=above_error,
    )  # fmt: skip


def _slack(scores: Sequence[Score]) -> tuple[float, float]:
    """By how much the mean over seeds may be too high, with its standard error."""
    mean = float(np.mean([score.slack for score in scores]))
    return max(0.0, mean), math.hypot(*(score.slack_error for score in scores)) / len(scores)


# ---------------------------------------------------------------------------------------------- many verdicts at once


def together(differences: Mapping[Key, Difference]) -> dict[Key, float]:
    """Their p-values as they stand after so many comparisons (Holm 1979): below 0.05, all of them are right at 95 %.

    Those without a p-value are left out.
    """
    known = {key: found.p for key, found in differences.items() if not math.isnan(found.p)}
    adjusted, largest = {}, 0.0
    for number, key in enumerate(sorted(known, key=known.__getitem__)):
        largest = max(largest, min(1.0, (len(known) - number) * known[key]))
        adjusted[key] = largest
    return adjusted
