"""Table 1's cells held against each other, and the paper's claims judged by that."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hvae_tf.runs import RecordError
from reproduce.configs import ANALYTIC_CELLS, PAPER_CELLS
from reproduce.differences import LEVEL, Difference, Score, Spread, difference, pooled, together
from reproduce.mnist.cells import label, paper_runs
from reproduce.tables import half_width

MEASURES = {"neg_elbo": "−ELBO", "nll": "IS", "ais": "AIS"}
MISSED = "missed"  # -ELBO less AIS: by how much the bound misses log p(x)


class Trained(NamedTuple):
    """A training with its judgement.

    Attributes:
        epochs: Of its schedule.
        record: Of Table 1's kind.
        ais: NLL of the first test images, ``[n]``.
        gap: BDMC's, or None.
        gap_error: Its standard error over simulated images, or None.
    """

    epochs: int
    record: dict
    ais: np.ndarray
    gap: float | None = None
    gap_error: float | None = None


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

    @cached_property
    def ais_images(self) -> int:
        """On how many test images models are compared by AIS: those that all were judged on."""
        counts = [len(judged["results"]["per_image"]["ais"]) for judged in self.judged.values()]
        return min([*counts, *(len(one.ais) for one in self.longer)], default=0)

    def score(self, record: dict, measure: str) -> Score | None:
        """How a record's model was judged by a measure, one of `MEASURES` or `MISSED`; None where it was not."""
        results, seed = record["results"], record["seed"]
        if measure == MISSED:
            return self._missed(record)
        if measure == "ais":
            values = next((one.ais for one in self.longer if one.record is record), None)
            if values is None and record["name"] in self.judged:
                values = np.array(self.judged[record["name"]]["results"]["per_image"]["ais"], float)
            if values is None:
                return None
            gap, error = (0.0 if math.isnan(found) else found for found in self._gap(record))
            return Score(seed, float(values.mean()), len(values), values, gap, error).on(self.ais_images)
        values = results.get("per_image", {}).get(measure)
        values = None if values is None else np.array(values, float)
        return Score(seed, float(np.mean(results[measure])), results["evaluation"]["images"], values)

    def _missed(self, record: dict) -> Score | None:
        bound, ais = self.score(record, "neg_elbo"), self.score(record, "ais")
        if bound is None or ais is None or bound.on(ais.images).images != ais.images:
            return None
        bound = bound.on(ais.images)
        single = None if bound.per_image is None else bound.per_image - ais.per_image
        return ais._replace(mean=bound.mean - ais.mean, per_image=single)

    def gap(self, record: dict) -> float:
        """BDMC's gap of a record's model, nats: what AIS may be too high by; NaN where it is not known."""
        return self._gap(record)[0]

    def _gap(self, record: dict) -> tuple[float, float]:
        """With its standard error over simulated images."""
        longer = next((one for one in self.longer if one.record is record), None)
        results = self.judged.get(record["name"], {"results": {}})["results"]
        judged = results.get("gap"), results.get("gap_standard_error")
        value, error = judged if longer is None else (longer.gap, longer.gap_error)
        return math.nan if value is None else float(value), math.nan if error is None else float(error)

    def scores(self, cell: str, measure: str) -> list[Score]:
        """Of the cell's runs that were judged by the measure, on the images that all of them have."""
        judged = (self.score(record, measure) for record in self.cells.get(cell, []))
        found = [score for score in judged if score is not None]
        images = min((score.images for score in found), default=0)
        return [score for score in (one.on(images) for one in found) if score.images == images]

    def seed_spread(self, measure: str) -> Spread:
        """The standard deviation over seeds, taken to be that of every cell."""
        return pooled([[score.mean for score in self.scores(cell, measure)] for cell in self.cells])

    def half_width(self, cell: str, measure: str) -> float:
        """Half the 95 % interval over seeds of a cell's mean, by `seed_spread`; NaN where the cell has one seed."""
        count, spread = len(self.scores(cell, measure)), self.seed_spread(measure)
        return half_width(spread.deviation / math.sqrt(count), spread.free) if count > 1 else math.nan

    def difference(self, cell: str, other: str, measure: str, spread: Spread | None = None) -> Difference | None:
        """`cell` less `other`; None where they were not judged on the same images."""
        return self.difference_of(self.cells.get(cell, []), self.cells.get(other, []), measure, spread)

    def difference_of(
        self, records: Sequence[dict], others: Sequence[dict], measure: str, spread: Spread | None = None
    ) -> Difference | None:
        """The same of any records, each of one cell's seeds.

        Args:
            records: Of one cell.
            others: Of the other.
            measure: One of `MEASURES` or `MISSED`.
            spread: Over seeds, where the pairs of one seed do not tell it; None: `seed_spread`.
        """
        if len({r["data_fingerprint"] for r in (*records, *others)}) > 1:
            return None
        ours, theirs = (
            [score for record in group if (score := self.score(record, measure)) is not None]
            for group in (records, others)
        )
        found = difference(ours, theirs, spread or self.seed_spread(measure))
        if found is None:
            return None
        if measure == MISSED:  # too small by what AIS is too high by, not too large
            found = found._replace(
                below=found.above, above=found.below, below_error=found.above_error, above_error=found.below_error
            )  # fmt: skip
        return found._replace(measure=measure)

    def best_difference(self, cell: str, other: str, spread: Spread | None = None) -> Difference | None:
        """By AIS where both have it, else by importance sampling; `spread` as in `difference_of`."""
        return self.difference(cell, other, "ais", spread) or self.difference(cell, other, "nll", spread)


def same_model(record: dict, judged: dict) -> bool:
    """Whether the judge's record is of this record's data, seed and, where both say, weights."""
    weights = record["results"].get("weights"), judged["results"].get("weights")
    return (
        judged["data_fingerprint"] == record["data_fingerprint"]
        and judged["seed"] == record["seed"]
        and (None in weights or weights[0] == weights[1])
    )


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
    hvae = [cell for cell, spec in PAPER_CELLS.items() if spec.kind == "hvae"]
    closed = [cell for cell, spec in ANALYTIC_CELLS.items() if spec.kind == "hvae"]
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
        Claim(  # the baseline of the authors' code, which the paper does not describe
            "HVAE beats the VAE whose KL is in closed form, as in the released code",
            "we are also able to improve upon the base model", tuple((c, "vae-analytic") for c in (*hvae, *closed)),
        ),
        Claim(
            "Free tempering beats fixed, fixed beats none", "free tempering is the most successful tempering scheme",
            tuple(tempering),
        ),
        Claim(
            "More leapfrog steps help, though not always",
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
    def standing(self) -> list[tuple[str, str, Difference]]:
        """The pairs that are decided where all of the claim's are to be right together at 95 %."""
        adjusted = together({number: found for number, (_, _, found) in enumerate(self.found)})
        return [self.found[number] for number, p in adjusted.items() if p <= LEVEL]

    @property
    def verdict(self) -> str:
        """What the pairs at hand decide, and what they cannot."""
        total = len(self.claim.pairs)
        if not self.found:
            a, b = self.claim.pairs[0]
            return f"cannot be decided: none of its {total} pairs of cells is at hand (the first would be {a} and {b})"
        lower = sum(d.value < 0 for _, _, d in self.standing)
        higher = len(self.standing) - lower
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
            way = sum(d.value < 0 for _, _, d in self.found)
            said = f"is not decided by the {count} pair{'s' * (count > 1)} at hand ({way} of {count} point its way)"
        missing = total - count
        return said + (f"; {missing} of its {total} pairs have no data" if missing else "")


def judge_claims(table: Table, spread: Spread | None = None) -> list[Judged]:
    """Every claim with the differences that the table has for it; `spread` as in `Table.difference_of`."""
    judged = []
    for claim in claims():
        found = [(a, b, d) for a, b in claim.pairs if (d := table.best_difference(a, b, spread)) is not None]
        judged.append(Judged(claim, found))
    return judged


def paper_difference(cell: str, other: str) -> float:
    """The same difference between the paper's means of NLL; NaN where it has not both. It has one kind of VAE."""
    other = "vae" if other == "vae-analytic" else other
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
