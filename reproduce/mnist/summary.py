"""What Table 1 comes to: its rows for a terminal, and what a model must beat."""

import math

import numpy as np

from reproduce.mnist.comparison import Table
from reproduce.tables import fixed

NO_LATENT = "no latent variable"


def summary(table: Table) -> str:
    """The table's rows for a terminal of 80 columns."""
    ais = bool(table.judged)
    head = f"{'model':18} {'seeds':>5} {'-ELBO':>15} {samples_head(table):>15}" + (f" {'AIS':>15}" if ais else "")
    lines, names = [head], ["neg_elbo", "nll", *(["ais"] if ais else [])]
    if table.baseline("nll") is not None:
        values = (fixed(table.baseline(n)) for n in names)
        lines.append(f"{NO_LATENT:18} {'':5} " + " ".join(f"{value:>15}" for value in values))
    for cell, group in table.cells.items():
        values = (over_seeds(table, cell, n) for n in names)
        lines.append(f"{cell:18} {len(group):5} " + " ".join(f"{value:>15}" for value in values))
    dataset = table.records[0]["configuration"]["dataset"]
    return "\n".join([*lines, f"nats per image of {dataset}, lower is better; ±: 95 % over seeds"])


def over_seeds(table: Table, cell: str, measure: str) -> str:
    """Mean over seeds, half the width of its 95 % interval where there are several, and how many if not all."""
    values, of = [score.mean for score in table.scores(cell, measure)], len(table.cells[cell])
    if not values:
        return ""
    half = table.half_width(cell, measure)
    mean = f"{float(np.mean(values)):.2f}" + ("" if math.isnan(half) else f" ± {half:.2f}")
    return mean if len(values) == of else f"{mean} ({len(values)} of {of})"


def samples_head(table: Table) -> str:
    """``IS-1000``: the samples of every evaluation, where it is one number."""
    counts = sorted({record["results"]["evaluation"]["samples"] for record in table.records})
    return f"IS-{counts[0]}" if len(counts) == 1 else "IS"


def against_baseline(table: Table) -> list[str]:
    """What the row without a latent is, and which cells do not beat it."""
    baseline = table.baseline("nll")
    if baseline is None:
        return []
    behind = [cell for cell in table.cells if float(np.mean([s.mean for s in table.scores(cell, "nll")])) >= baseline]
    verdict = f"**{', '.join(behind)} did not learn: not below it.**" if behind else "Every model here is below it."
    return [
        f"*{NO_LATENT[0].upper()}{NO_LATENT[1:]}* is what a model must beat: every pixel independent, on with the mean "
        f"of its intensities over the training images; there, bound and likelihood are one, and exact. {verdict}"
    ]
