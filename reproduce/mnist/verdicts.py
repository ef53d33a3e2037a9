"""What Table 1's report concludes: differences to the VAE, the paper's claims one by one, and equal time."""

import math

import numpy as np

from reproduce.mnist.cells import label
from reproduce.mnist.comparison import (
    MEASURES,
    Difference,
    Judged,
    Table,
    judge_claims,
    pair_name,
    paper_difference,
)
from reproduce.tables import fixed, half_width, markdown


def _cells_of(difference: Difference) -> list[str]:
    over_seeds = "" if math.isinf(difference.seed_half_width) else f"± {difference.seed_half_width:.2f}"
    return [
        f"{difference.mean:+.2f}", fixed(difference.image_error, 3), over_seeds, difference.verdict,
    ]  # fmt: skip


def differences(table: Table) -> list[str]:
    """Every cell against the VAE, by every measure."""
    rows = []
    for cell in table.cells:
        for measure, name in MEASURES.items():
            difference = None if cell == "vae" else table.difference(cell, "vae", measure)
            if difference:
                rows.append([label(cell), name, difference.images, *_cells_of(difference)])
    if not rows:
        return []
    head = ["model", "measure", "images", "less the VAE's", "s.e. over images", "95 % over seeds", "verdict"]
    spreads = [
        f"{spread:.2f} ({MEASURES[measure]}, {freedom} degrees of freedom)"
        for measure in MEASURES
        for spread, freedom in [table.seed_spread(measure)]
        if freedom
    ]
    shared = (
        f"one standard deviation over seeds is taken for all cells, {', '.join(spreads)}" if spreads
        else "no cell has several seeds, so nothing is known of other trainings"
    )  # fmt: skip
    return [
        "## Differences to the VAE",
        markdown(head, rows),
        "A difference is the mean over seeds. Its standard error over images is that of the differences taken image by "
        "image, where every record involved keeps the values of single images (absent where one does not): what other "
        "test images might have shown of these trained models. Over seeds, "
        f"{shared}: what other trainings might have given. *Lower* and *higher* are said where neither turns it round.",
    ]


def claims_judged(table: Table) -> list[str]:
    """The paper's claims, with what the records say of each."""
    config = table.records[0]["configuration"]
    parts = [
        "## The paper's claims (section 4.2)",
        f"Judged on this table's trainings of {config['max_epochs']} epochs at most; of trainings as long as the "
        "paper's nothing follows.",
    ]
    mnist = table.records[0]["configuration"]["dataset"] == "mnist"
    for judged in judge_claims(table):
        parts.append(f'**{judged.claim.title}** ("{judged.claim.quote}"): {judged.verdict}.{_in_reach(table, judged)}')
        rows = [
            [pair_name(a, b), MEASURES[d.measure], *_cells_of(d), *([_signed(paper_difference(a, b))] if mnist else [])]
            for a, b, d in judged.found
        ]
        head = ["pair", "measure", "difference", "s.e. over images", "95 % over seeds", "verdict"]
        if rows:
            parts.append(markdown([*head, *(["paper's difference"] if mnist else [])], rows))
    return parts


def _in_reach(table: Table, judged: Judged) -> str:
    """How large a difference trainings can show here, beside those that the paper has for the claim."""
    measure = "ais" if any(d.measure == "ais" for _, _, d in judged.found) or not judged.found else "nll"
    spread, freedom = table.seed_spread(measure)
    paper = [abs(value) for a, b in judged.claim.pairs if not math.isnan(value := paper_difference(a, b))]
    if not freedom or not paper or table.records[0]["configuration"]["dataset"] != "mnist":
        return ""
    one, three = (half_width(spread * math.sqrt(2.0 / n), freedom) for n in (1, 3))
    return (
        f" The paper's own differences here are {min(paper):.2f} to {max(paper):.2f} nats (median "
        f"{float(np.median(paper)):.2f}); with the spread over seeds that is on record, two cells of one seed each are "
        f"told apart from ± {one:.2f} on, of three seeds each from ± {three:.2f} on."
    )


def _signed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.2f}"


def at_equal_time(table: Table) -> list[str]:
    """The figure at equal time, what it is, and the trainings that were given the time of others."""
    if not any(r["results"]["training"].get("seconds_per_epoch") for r in table.records):
        return []
    return [
        "## At equal time",
        "![validation bound and test NLL against seconds of training](equal_time.png)",
        "Epochs of unlike models cost unlike times. A curve's time is its epochs times the recorded seconds an epoch, "
        "on whatever cores the run had; and where the learning rate falls over the whole training, a point within a "
        "curve is not what a training of that length would have reached.",
        *_longer(table),
    ]


def _longer(table: Table) -> list[str]:
    """The cells beside the VAE that was trained for longer: who is ahead, and in what time."""
    rows, wins = [], []
    for epochs in sorted({one.epochs for one in table.longer}):
        group = [one.record for one in table.longer if one.epochs == epochs]
        name = f"{label(group[0]['configuration']['cell'])}, {epochs} epochs"
        for cell, records in table.cells.items():
            difference = table.difference_of(records, group, "ais") or table.difference_of(records, group, "nll")
            if cell == group[0]["configuration"]["cell"] or difference is None:
                continue
            hours = [
                np.mean([r["results"]["training"]["wall_seconds"] for r in runs]) / 3600 for runs in (records, group)
            ]
            rows.append([
                label(cell), name, *(f"{value:.2f}" for value in hours), MEASURES[difference.measure],
                *_cells_of(difference),
            ])  # fmt: skip
            if difference.mean > 1.96 * difference.image_error and hours[1] <= 1.25 * hours[0]:
                wins.append(f"{name} is ahead of {label(cell)} in at most a quarter more time")
    if not rows:
        return [
            "No VAE that was trained for as long as HVAE takes is on record "
            "(`python reproduce/training_length.py --epochs 300`), so equal time is not decided here."
        ]
    head = [
        "model",
        "against",
        "hours",
        "its hours",
        "measure",
        "difference",
        "s.e. over images",
        "95 % over seeds",
        "verdict",
    ]
    said = (
        f"**{'; '.join(wins)}.**" if wins else "In no more than a quarter more time the VAE is ahead of none of them."
    )
    return [markdown(head, rows), f"Below zero, the model of the first column is ahead. {said}"]
