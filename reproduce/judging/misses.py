"""What importance samples miss of AIS, held against what models differ by: tests, and the sentences that they allow."""

import itertools

import numpy as np

from reproduce.cli import counted
from reproduce.judging.findings import BASE, Findings, Mean, paired, values
from reproduce.judging.models import cell_label

HELD = "The importance sampler misses"  # how the paragraph begins that docs/judge.md quotes


def miss_difference(findings: Findings, cell: str, base: str = BASE) -> Mean | None:
    """What a cell misses less what another does, seeds averaged, image by image on those that all have; None without.

    Args:
        findings: Of a folder.
        cell: With one model or several.
        base: The other.
    """
    groups = [findings.cells.get(name, []) for name in (cell, base)]
    if not all(groups):
        return None
    images = min(len(values(record, name)) for group in groups for record in group for name in ("nll", "ais"))
    ours, theirs = (
        np.mean([values(record, "nll")[:images] - values(record, "ais")[:images] for record in group], axis=0)
        for group in groups
    )
    return Mean.of(ours - theirs)


def miss_differences(findings: Findings) -> dict[str, Mean]:
    """By cell, what it misses less what the VAE does."""
    found = {cell: miss_difference(findings, cell) for cell in findings.cells if cell != BASE}
    return {cell: difference for cell, difference in found.items() if difference is not None}


def verdict(findings: Findings) -> str:
    """Whether what is missed hangs on the model, as far as these images tell."""
    found = miss_differences(findings)
    if not found:
        return "There is nothing here to hold it against."
    apart = [cell for cell, difference in found.items() if difference.told_apart]
    if apart:
        names = "; ".join(f"{cell_label(cell)} {found[cell]}" for cell in apart)
        return (
            f"What is missed hangs on the model: paired with the VAE's on the same images it is another for {names}. "
            "So it does not drop out of differences between models."
        )
    largest = max(found.values(), key=lambda difference: abs(difference.value))
    return (
        "Paired with the VAE's on the same images no difference is told apart from zero; the largest is "
        f"{largest}. These images do not show that what is missed hangs on the model, nor that it drops out of "
        "differences of that size."
    )


def held_against_differences(findings: Findings) -> str:
    """The misses beside the differences between cells by AIS, and whether they differ by model; of several cells."""
    missed = [paired(record, "nll").value for record in findings.records]
    if max(missed) < 0.005:
        return f"{HELD} nothing here that AIS finds. {verdict(findings)}"
    pairs = itertools.combinations(findings.cells, 2)
    differences = [found for a, b in pairs if (found := findings.difference(a, "ais", b)) is not None]
    smaller = sum(abs(difference.value) < min(missed) for difference in differences)
    return (
        f"{HELD} {min(missed):.2f} to {max(missed):.2f} nats of these models' log p(x). {smaller} of "
        f"{counted(len(differences), 'difference')} by AIS between these cells {'is' if smaller == 1 else 'are'} "
        "smaller than the least of that, and the largest is "
        f"{max(abs(difference.value) for difference in differences):.2f}. {verdict(findings)}"
    )
