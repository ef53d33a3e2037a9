"""What the paper's own runs say: the single runs of its supplement, by the rules that our trainings are judged by."""

import math

import numpy as np

from reproduce.configs import TABLE1_CELLS
from reproduce.differences import LEVEL, Difference, Score, Spread, difference, pooled, together
from reproduce.mnist.cells import label, paper_runs
from reproduce.mnist.comparison import Claim, claims
from reproduce.tables import fixed, half_width, markdown

IMAGES = 10_000  # test images of each of the paper's estimates, of which only means are published


def paper_scores() -> dict[str, list[Score]]:
    """The paper's NLL by cell, a run each; seeds are numbered apart, for cells of one seed share nothing but that."""
    found: dict[str, list[Score]] = {}
    number = 0
    for cell in TABLE1_CELLS:
        for run in paper_runs(cell):
            found.setdefault(cell, []).append(Score(number, float(run["nll"]), IMAGES, None))
            number += 1
    return found


def paper_spread(scores: dict[str, list[Score]]) -> Spread:
    """Over runs of one cell, taken to be that of every cell."""
    return pooled([[score.mean for score in runs] for runs in scores.values()])


def epochs_and_nll() -> float:
    """The correlation of a run's epochs with its NLL, within cells."""
    epochs: list[float] = []
    values: list[float] = []
    for cell in TABLE1_CELLS:
        runs = paper_runs(cell)
        for column, into in (("epochs", epochs), ("nll", values)):
            numbers = np.array([float(run[column]) for run in runs])
            into.extend(numbers - numbers.mean() if len(runs) else [])
    return float(np.corrcoef(epochs, values)[0, 1])


def evidence() -> list[str]:
    """The section of Table 1's report."""
    scores = paper_scores()
    spread = paper_spread(scores)
    two = half_width(spread.deviation, spread.free)  # of two cells of two runs each
    rows, said = [], []
    for claim in claims():
        found = {(a, b): d for a, b in claim.pairs if b in scores and (d := difference(scores[a], scores[b], spread))}
        if not found:  # of a VAE that the paper does not tell from the other
            continue
        standing = [found[pair] for pair, p in together(found).items() if p <= LEVEL]
        alone = [d for d in found.values() if d.p <= LEVEL]
        its_way = sum(d.value < 0 for d in found.values())
        rows.append([claim.title, len(found), its_way, *_both_ways(alone), *_both_ways(standing)])
        said += _against_the_vae(claim, found)
    head = [
        "claim", "pairs", "point its way", "for it, each alone", "against it, alone", "for it, all together",
        "against it, together",
    ]  # fmt: skip
    count = sum(map(len, scores.values()))
    return [
        "## What the paper's own runs decide",
        f"The supplement has {count} single runs, most cells two. Within a cell they differ with a standard deviation "
        f"of {spread.deviation:.2f} nats ({spread.free} degrees of freedom, one spread for all), so two cells of two "
        f"runs each are told apart from ± {two:.2f} on; that is the spread over trainings alone, of NLL by 1000 "
        "importance samples, whose misses are not known. The same rules as above, on the paper's numbers:",
        markdown(head, rows),
        *said,
        f"Within cells, runs that early stopping let train for longer have the lower NLL: the correlation of epochs "
        f"with NLL is {epochs_and_nll():.2f}. What a cell reached is thus in part how long it happened to train.",
    ]


def _both_ways(differences: list[Difference]) -> list[int]:
    lower = sum(d.value < 0 for d in differences)
    return [lower, len(differences) - lower]


def _against_the_vae(claim: Claim, found: dict[tuple[str, str], Difference]) -> list[str]:
    """Which cells are told apart from the VAE, each alone."""
    if any(other != "vae" for _, other in claim.pairs):
        return []
    parts = []
    for sign, words in ((-1, "Below the VAE, each alone"), (1, "Above it")):
        cells = [
            f"{label(cell)} ({d.value:+.2f} ± {fixed(d.half)})"
            for (cell, _), d in found.items() if d.p <= LEVEL and math.copysign(1, d.value) == sign
        ]  # fmt: skip
        parts.append(f"{words}: {'; '.join(cells) or 'none'}.")
    return [" ".join(parts)]
