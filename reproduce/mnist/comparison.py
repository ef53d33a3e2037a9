"""Which cell is better: paired differences, what images and seeds leave open, and the paper's claims judged by them.

Two uncertainties are kept apart. Models are judged on the same test images, so a difference is taken image by image,
and its standard error says what other images might have shown *of these trained models*. Other trainings of the same
cells would differ too: that is told by the spread over seeds alone.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hvae_tf.runs import RecordError
from reproduce.configs import TABLE1_CELLS
from reproduce.mnist.cells import label, paper_runs
from reproduce.tables import half_width

MEASURES = {"neg_elbo": "−ELBO", "nll": "IS", "ais": "AIS"}


class Trained(NamedTuple):
    """A training with its judgement.

    Attributes:
        epochs: Of its schedule.
        record: Of Table 1's kind.
        ais: NLL of the first test images, ``[n]``.
    """

    epochs: int
    record: dict
    ais: np.ndarray


class Score(NamedTuple):
    """How one trained model was judged by one measure, nats per image.

    Attributes:
        mean: Over images and repeats.
        images: How many: the first so many test images.
        per_image: ``[images]``, or None in records from before they were kept.
    """

    mean: float
    images: int
    per_image: np.ndarray | None


class Difference(NamedTuple):
    """A cell's nats per image less another's.

    Attributes:
        mean: Over seeds and images.
        image_error: Standard error over images of the paired differences; NaN where they are not on record.
        seed_half_width: Half the width of the 95 % interval over seeds; infinite where no cell has several.
        images: How many both were judged on.
        measure: Its name in `MEASURES`.
    """

    mean: float
    image_error: float
    seed_half_width: float
    images: int
    measure: str

    @property
    def decided(self) -> bool:
        """Whether neither other images nor other seeds are likely to turn it round, as far as is on record."""
        return abs(self.mean) > self.seed_half_width and not abs(self.mean) <= 1.96 * self.image_error

    @property
    def verdict(self) -> str:
        """In words."""
        way = "lower" if self.mean < 0 else "higher"
        if self.decided:
            return way
        if not math.isnan(self.image_error) and abs(self.mean) > 1.96 * self.image_error:
            return f"{way} for these trained models; the seeds do not decide"
        return "not told apart"


class Table:
    """The records of one table, by cells, with those of the judge.

    Args:
        records: Of one protocol, in the table's order.
        judged: The judge's records by the name of the run: ``results`` holds ``ais``, the mean NLL by AIS, ``gap``,
            that of BDMC, and ``per_image``, which holds ``ais`` too.
        baseline: The record of independent pixels, if there is one; see `reproduce.mnist.baseline`.
        longer: Trainings of one cell by the same protocol but for more epochs, see `reproduce.mnist.lengths`.
    """

    def __init__(
        self, records: Sequence[dict], judged: Mapping[str, dict] | None = None, baseline: dict | None = None,
        longer: Sequence[Trained] = (),
    ):  # fmt: skip
        self.records, self.judged, self.longer = list(records), dict(judged or {}), tuple(longer)
        self._baseline = None if baseline is None else np.array(baseline["results"]["per_image"]["nll"], float)

    def baseline(self, measure: str) -> float | None:
        """The nats of independent pixels, on as many images as the cells have by this measure; None if not known."""
        counts = [score.images for cell in self.cells for score in self.scores(cell, measure)]
        if self._baseline is None or not counts or min(counts) > len(self._baseline):
            return None
        return float(self._baseline[: min(counts)].mean())

    @cached_property
    def cells(self) -> dict[str, list[dict]]:
        """The records of each cell."""
        cells: dict[str, list] = {}
        for record in self.records:
            cells.setdefault(record["configuration"]["cell"], []).append(record)
        return cells

    def score(self, record: dict, measure: str) -> Score | None:
        """How a record's model was judged by a measure; None where it was not."""
        results = record["results"]
        if measure == "ais":
            values = next((one.ais for one in self.longer if one.record is record), None)
            if values is not None:
                return Score(float(values.mean()), len(values), values)
            judged = self.judged.get(record["name"])
            if judged is None:
                return None
            values = np.array(judged["results"]["per_image"]["ais"], float)
            return Score(float(judged["results"]["ais"]), len(values), values)
        values = results.get("per_image", {}).get(measure)
        values = None if values is None else np.array(values, float)
        return Score(float(np.mean(results[measure])), results["evaluation"]["images"], values)

    def gap(self, record: dict) -> float:
        """BDMC's gap of a record's model, nats; NaN where it is not known."""
        judged = self.judged.get(record["name"])
        value = None if judged is None else judged["results"].get("gap")
        return math.nan if value is None else float(value)

    def scores(self, cell: str, measure: str) -> list[Score]:
        """Of the cell's runs that were judged by the measure."""
        found = (self.score(record, measure) for record in self.cells.get(cell, []))
        return [score for score in found if score is not None]

    def seed_spread(self, measure: str) -> tuple[float, int]:
        """The standard deviation over seeds, taken to be that of every cell, and its degrees of freedom; NaN if 0."""
        squares, freedom = 0.0, 0
        for cell in self.cells:
            means = [score.mean for score in self.scores(cell, measure)]
            if len(means) > 1:
                squares += (len(means) - 1) * float(np.var(means, ddof=1))
                freedom += len(means) - 1
        return (math.sqrt(squares / freedom) if freedom else math.nan), freedom

    def difference(self, cell: str, other: str, measure: str) -> Difference | None:
        """`cell` less `other`; None where they were not judged on the same images."""
        return self.difference_of(self.cells.get(cell, []), self.cells.get(other, []), measure)

    def difference_of(self, records: Sequence[dict], others: Sequence[dict], measure: str) -> Difference | None:
        """The same of any records, each of one cell's seeds."""
        ours, theirs = (
            [score for record in group if (score := self.score(record, measure)) is not None]
            for group in (records, others)
        )
        if not ours or not theirs or len({r["data_fingerprint"] for r in (*records, *others)}) > 1:
            return None
        images = min(score.images for score in ours + theirs)
        error = math.nan
        if all(score.per_image is not None for score in ours + theirs):
            a, b = (np.mean([s.per_image[:images] for s in scores], axis=0) for scores in (ours, theirs))
            mean = float(np.mean(a - b))
            if images > 1:
                error = float(np.std(a - b, ddof=1)) / math.sqrt(images)
        elif all(score.images == images for score in ours + theirs):
            mean = float(np.mean([s.mean for s in ours]) - np.mean([s.mean for s in theirs]))
        else:
            return None
        spread, freedom = self.seed_spread(measure)
        over_seeds = math.inf
        if freedom:
            over_seeds = half_width(spread * math.sqrt(1 / len(ours) + 1 / len(theirs)), freedom)
        return Difference(mean, error, over_seeds, images, measure)

    def best_difference(self, cell: str, other: str) -> Difference | None:
        """By AIS where both have it, else by importance sampling."""
        return self.difference(cell, other, "ais") or self.difference(cell, other, "nll")


def check_judged(record: dict, where: str) -> None:
    """Raises RecordError unless a record of the judge has what `Table` reads."""
    results = record["results"]
    values = results.get("per_image", {}).get("ais") if isinstance(results.get("per_image"), dict) else None
    numbers = [results.get("ais"), *(values if isinstance(values, list) else [None])]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in numbers):
        raise RecordError(
            f"{where}: results.ais or results.per_image.ais is missing or not numbers; delete the file to have the "
            "model judged again"
        )


# ------------------------------------------------------------------------------------------------- the paper's claims


class Claim(NamedTuple):
    """What the paper says, as pairs of cells of which the first should have the lower NLL."""

    title: str
    quote: str
    pairs: tuple[tuple[str, str], ...]


def claims() -> tuple[Claim, ...]:
    """Those of section 4.2 that Table 1 decides."""
    hvae = [cell for cell, spec in TABLE1_CELLS.items() if spec.model == "hvae"]
    kinds = ("", "-shared")
    rules = [("free", "fixed"), ("fixed", "none"), ("free", "none")]
    tempering = [("k1-fixed", "k1-none")]
    tempering += [(f"k{k}-{a}{s}", f"k{k}-{b}{s}") for k in (5, 10, 15, 20) for s in kinds for a, b in rules]
    steps = []
    for rule in ("free", "fixed", "none"):
        for kind in kinds:
            # at K = 1, free tempering is fixed tempering, and there is one step size
            chain = ["k1-none" if rule == "none" else "k1-fixed", *(f"k{k}-{rule}{kind}" for k in (5, 10, 15, 20))]
            steps += list(zip(chain[1:], chain, strict=False))
    per_step = [(f"k{k}-{rule}", f"k{k}-{rule}-shared") for k in (5, 10, 15, 20) for rule in ("free", "fixed", "none")]
    return (
        Claim("HVAE beats the VAE", "we are also able to improve upon the base model", tuple((c, "vae") for c in hvae)),
        Claim(
            "Free tempering beats fixed, fixed beats none", "free tempering is the most successful tempering scheme",
            tuple(tempering),
        ),
        Claim(
            "More leapfrog steps help",
            "increasing the number of leapfrog steps does not always improve the performance",
            tuple(steps),
        ),
        Claim(
            "A step size for each step helps", "varying the leapfrog step size ε across layers also improves results",
            tuple(per_step),
        ),
    )  # fmt: skip


class Judged(NamedTuple):
    """A claim with its pairs at hand: (cell, other, difference)."""

    claim: Claim
    found: list[tuple[str, str, Difference]]

    @property
    def verdict(self) -> str:
        """What the pairs at hand decide, and what they cannot."""
        total = len(self.claim.pairs)
        if not self.found:
            a, b = self.claim.pairs[0]
            return f"cannot be decided: none of its {total} pairs of cells is at hand (the first would be {a} and {b})"
        lower = sum(d.decided and d.mean < 0 for _, _, d in self.found)
        higher = sum(d.decided and d.mean > 0 for _, _, d in self.found)
        count = len(self.found)
        if lower == count:
            said = "holds" + (f" in all {count} pairs at hand" if count > 1 else " in the one pair at hand")
        elif lower and higher:
            said = f"holds in {lower} and is contradicted in {higher} of {count} pairs at hand"
        elif lower:
            said = f"holds in {lower} of {count} pairs at hand, and the rest is not decided"
        elif higher:
            said = f"is contradicted in {higher} of {count} pairs at hand"
        else:
            way = sum(d.mean < 0 for _, _, d in self.found)
            said = f"is not decided by the {count} pair{'s' * (count > 1)} at hand ({way} of {count} point its way)"
        missing = total - count
        return said + (f"; {missing} of its {total} pairs have no data" if missing else "")


def judge_claims(table: Table) -> list[Judged]:
    """Every claim with the differences that the table has for it."""
    judged = []
    for claim in claims():
        found = [(a, b, d) for a, b in claim.pairs if (d := table.best_difference(a, b)) is not None]
        judged.append(Judged(claim, found))
    return judged


def paper_difference(cell: str, other: str) -> float:
    """The same difference between the paper's means of NLL; NaN where it has not both."""
    ours, theirs = ([float(run["nll"]) for run in paper_runs(c)] for c in (cell, other))
    return float(np.mean(ours) - np.mean(theirs)) if ours and theirs else math.nan


def pair_name(cell: str, other: str) -> str:
    """Two cells as a reader calls them."""
    return f"{label(cell)} − {label(other)}"


def protocol(record: dict) -> str:
    """What is common to all cells of one table, as text that can be compared."""
    of_the_cell = {"cell", "model", "num_leapfrog_steps", "tempering", "step_size", "step_size_per", "num_samples"}
    shared = {name: value for name, value in record["configuration"].items() if name not in of_the_cell}
    return json.dumps(shared, sort_keys=True)
