"""What Table 1's report concludes: differences to the VAE, the paper's claims one by one, and equal time."""

import math
from collections.abc import Sequence

import numpy as np

from reproduce.configs import TABLE1_CELLS
from reproduce.differences import LEVEL, Difference, together
from reproduce.mnist.cells import label
from reproduce.mnist.comparison import (
    MEASURES,
    Judged,
    Table,
    judge_claims,
    pair_name,
    paper_difference,
)
from reproduce.mnist.paper import paper_scores, paper_spread
from reproduce.mnist.times import epoch_seconds, is_benchmarked, training_seconds
from reproduce.tables import fixed, half_width, markdown

OF_A_PAIR = ["difference", "s.e. over images", "95 %, ±", "from", "verdict"]


def _cells_of(difference: Difference) -> list[str]:
    return [
        f"{difference.value:+.2f}", fixed(difference.image_error, 3), fixed(difference.half), difference.how,
        difference.verdict,
    ]  # fmt: skip


def differences(table: Table) -> list[str]:
    """Every cell against the VAE, by every measure."""
    rows = []
    for measure, name in MEASURES.items():
        others = (cell for cell in table.cells if cell != "vae")
        found = {cell: d for cell in others if (d := table.difference(cell, "vae", measure)) is not None}
        adjusted = together(found)
        for cell, difference in found.items():
            stands = "" if cell not in adjusted else "yes" if adjusted[cell] <= LEVEL else "no"
            rows.append([label(cell), name, difference.images, *_cells_of(difference), stands])
    if not rows:
        return []
    head = ["model", "measure", "images", "less the VAE's", *OF_A_PAIR[1:], "among all"]
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
        "test images might have shown of these trained models. What other trainings might have given is told by the "
        "spread over seeds. Where both cells have the same three seeds or more it is that of the pairs of one seed, "
        f"which start from the same weights and see the same batches; else {shared}. ± is half a 95 % t-interval over "
        "seeds and images together (Welch's), over seeds alone where the error over images is absent. A *verdict* "
        f"takes the pair alone{_judges_error(table)}. *Among all* tells whether it stands where all verdicts by this "
        "measure are to be right together at 95 % (Holm).",
        *_against_closed_form(table),
    ]  # fmt: skip


CLOSED_FORM = "**Against the VAE whose KL is in closed form**"  # how the paragraph begins that README.md quotes


def _against_closed_form(table: Table) -> list[str]:
    """HVAE's cells beside the VAE that the released code trains; nothing where it is not at hand."""
    if "vae-analytic" not in table.cells:
        return []
    base = table.best_difference("vae-analytic", "vae")
    judged = next(one for one in judge_claims(table) if one.claim.pairs[0][1] == "vae-analytic")
    named = [f"{label(cell)} ({found}, {found.verdict})" for cell, _, found in judged.found]
    if base is None or not named:
        return []
    return [
        f"{CLOSED_FORM}, as in the released code ({base} beside the other VAE, {base.verdict}), in nats: "
        f"{'; '.join(named)}. That HVAE beats it {judged.verdict}."
    ]


def _judges_error(table: Table) -> str:
    if not table.judged:
        return ""
    return (
        ", and allows for the judge's own error: NLL by AIS is taken to be too high by up to BDMC's gap, of either "
        "model, whichever makes less of the difference, and the gap's standard error is added (the gap is of images "
        "that the model simulates: a sign and no bound for these; for IS nothing is "
        "allowed for: there the estimates are compared)"
    )


def claims_judged(table: Table) -> list[str]:
    """The paper's claims, with what the records say of each."""
    config = table.records[0]["configuration"]
    mnist = config["dataset"] == "mnist"
    parts = [
        "## The paper's claims (section 4.2)",
        f"Judged on this table's trainings of {config['max_epochs']} epochs at most; of trainings as long as the "
        "paper's nothing follows. A pair's verdict takes it alone; the claim's counts the pairs that stand where all "
        "that it has are to be right together at 95 % (Holm).",
    ]
    theirs = paper_spread(paper_scores())
    for judged, other in zip(judge_claims(table), judge_claims(table, theirs), strict=True):
        said = [f'**{judged.claim.title}** ("{judged.claim.quote}"): {judged.verdict}.', _trained_once(table, judged)]
        if mnist and judged.standing:
            same = {pair[:2] for pair in judged.standing} == {pair[:2] for pair in other.standing}
            said.append(
                f"With the spread between the paper's own runs ({theirs.deviation:.2f}, {theirs.free} degrees of "
                f"freedom) in place of this table's, where that is taken: "
                f"{'the same' if same else 'it ' + other.verdict.split(';')[0]}."
            )
        parts.append(" ".join(filter(None, [*said, _in_reach(table, judged)])))
        rows = [
            [pair_name(a, b), MEASURES[d.measure], *_cells_of(d), *([_signed(paper_difference(a, b))] if mnist else [])]
            for a, b, d in judged.found
        ]
        head = ["pair", "measure", *OF_A_PAIR]
        if rows:
            parts.append(markdown([*head, *(["paper's difference"] if mnist else [])], rows))
    return parts


def _trained_once(table: Table, judged: Judged) -> str:
    """Of which single trainings the pairs that stand consist."""
    once = {
        label(cell): None for a, b, d in judged.standing for cell in (a, b) if len(table.scores(cell, d.measure)) == 1
    }
    return f"What stands takes one training each of: {'; '.join(once)}." if once else ""


def _in_reach(table: Table, judged: Judged) -> str:
    """How large a difference trainings can show here, beside those that the paper has for the claim."""
    measure = "ais" if any(d.measure == "ais" for _, _, d in judged.found) or not judged.found else "nll"
    spread, freedom = table.seed_spread(measure)
    paper = [abs(value) for a, b in judged.claim.pairs if not math.isnan(value := paper_difference(a, b))]
    if not freedom or not paper or table.records[0]["configuration"]["dataset"] != "mnist":
        return ""
    one = half_width(spread * math.sqrt(2.0), freedom)
    return (
        f"The paper's own differences here are {min(paper):.2f} to {max(paper):.2f} nats (median "
        f"{float(np.median(paper)):.2f}); by the spread over seeds that is on record, and nothing else, two cells of "
        f"one seed each are told apart from ± {one:.2f} on."
    )


def _signed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.2f}"


def at_equal_time(table: Table) -> list[str]:
    """The figure at equal time, what it is, and the cells beside the VAE that was trained for about as long."""
    if all(math.isnan(epoch_seconds(record)) for record in table.records):
        return []
    measured = (
        "A curve's time is its training steps times what a step takes on one core, measured in turns "
        "(`benchmarks/mirrored.py`): the seconds that trainings recorded passed beside unlike other work."
        if any(map(is_benchmarked, table.records))
        else "A curve's time is its epochs times the recorded seconds an epoch, on whatever cores the run had."
    )
    return [
        "## At equal time",
        "![validation bound and test NLL against seconds of training](equal_time.png)",
        "Epochs of unlike models cost unlike times. A curve is the −ELBO on validation images along training, a point "
        f"the NLL of test images at its end. {measured} Where the learning rate falls over the whole training, a point "
        f"within a curve is not what a training of that length would have reached.{_untimed(table)}",
        *_longer(table),
    ]


def _untimed(table: Table) -> str:
    names = [label(cell) for cell, group in table.cells.items() if math.isnan(_seconds(group))]
    return f" Of {'; '.join(names)} no time is known, so they are left out." if names else ""


def _seconds(records: Sequence[dict]) -> float:
    """Of training, the mean over the records that have it; NaN where none has."""
    seconds = [value for record in records if not math.isnan(value := training_seconds(record))]
    return float(np.mean(seconds)) if seconds else math.nan


EQUAL_TIME = "**At equal time.**"  # how the paragraph begins that README.md quotes
CLOSE = 1.25  # times that differ by no more are called equal
AT_EQUAL_TIME = {
    "longer": "A {longer}, which took {ratio} times as long, is ahead (nats in brackets) of",
    "model": "Ahead of a {longer}, which took {ratio} times as long (nats in brackets)",
    "neither": "Not told apart from a {longer}, which took {ratio} times as long (nats in brackets)",
    "doubt": "Not sure against a {longer}, which took {ratio} times as long (nats in brackets)",
    "undecided": "Nothing is decided against a {longer}, for it took {ratio} times as long (nats in brackets)",
}


def _who_is_ahead(verdict: str, ratio: float) -> str:
    """Of a model and a longer training, whose time is `ratio` of the model's: a key of `AT_EQUAL_TIME`.

    Who is ahead in less time, or in a time that is called equal, is ahead at equal time.
    """
    way, sure = verdict.split(";")[0].split()[0], ";" not in verdict
    if way == "higher" and ratio <= CLOSE:
        return "longer" if sure else "doubt"
    if way == "lower" and ratio >= 1.0 / CLOSE:
        return "model" if sure else "doubt"
    return "neither" if way not in ("higher", "lower") and 1.0 / CLOSE <= ratio <= CLOSE else "undecided"


def _times(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 10.0 else f"{ratio:.0f}"


def _longer(table: Table) -> list[str]:
    """Every cell beside the longer VAE that is nearest in time: who is ahead, and in what time."""
    lengths = {
        epochs: [one.record for one in table.longer if one.epochs == epochs]
        for epochs in sorted({one.epochs for one in table.longer})
    }
    rows: list[list[str]] = []
    said: dict[tuple[str, int, str], list[str]] = {}  # (who is ahead, epochs of the longer one, its time) -> cells
    for cell, records in table.cells.items():
        if TABLE1_CELLS[cell].kind == "vae":
            continue
        candidates = []
        for epochs, group in lengths.items():
            ratio = _seconds(group) / _seconds(records)
            difference = table.difference_of(records, group, "ais") or table.difference_of(records, group, "nll")
            if difference is not None and not math.isnan(ratio):
                candidates.append((abs(math.log(ratio)), epochs, ratio, difference))
        if not candidates:
            continue
        _, epochs, ratio, difference = min(candidates, key=lambda found: found[:2])
        of = lengths[epochs][0]["configuration"]["cell"]
        rows.append([
            label(cell), f"{label(of)}, {epochs} epochs", _times(ratio), MEASURES[difference.measure],
            *_cells_of(difference),
        ])  # fmt: skip
        _, *doubts = difference.verdict.split("; ")
        doubt = "".join(f"; {doubt}" for doubt in doubts)
        name = f"{label(cell)} ({difference.value:+.2f}{doubt})"
        said.setdefault((_who_is_ahead(difference.verdict, ratio), epochs, _times(ratio)), []).append(name)
    if not rows:
        return [
            "No VAE that was trained for longer is on record (`python reproduce/training_length.py`), so equal time is "
            "not decided here."
        ]
    sentences = []
    for who, epochs, ratio in sorted(said, key=lambda key: (list(AT_EQUAL_TIME).index(key[0]), *key)):
        seeds = f"{len(lengths[epochs])} seeds" if len(lengths[epochs]) > 1 else "one seed"
        longer = f"{label(lengths[epochs][0]['configuration']['cell'])} of {epochs} epochs ({seeds})"
        names = "; ".join(said[who, epochs, ratio])
        sentences.append(f"{AT_EQUAL_TIME[who].format(longer=longer, ratio=ratio)}: {names}.")
    return [
        markdown(["model", "against", "its time over the model's", "measure", *OF_A_PAIR], rows),
        "Each cell is held against the longer training that is nearest to it in time. Below zero, the model of the "
        "first column is ahead. A verdict takes its pair alone.",
        f"{EQUAL_TIME} {' '.join(sentences)}",
    ]
