"""What records of trainings and of the judge say together: a row a trained model, and the differences between cells."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.runs import read_record
from reproduce.differences import Difference, Score, Spread
from reproduce.differences import difference as compare
from reproduce.judging.models import split_name
from reproduce.mnist.comparison import same_model
from reproduce.mnist.evaluation import read_run_record
from reproduce.mnist.report import load_table
from reproduce.tables import fixed, markdown


class Row(NamedTuple):
    """One trained model; nats per image.

    Attributes:
        cell: Its name.
        label: What a reader calls the cell.
        seed: Of the training.
        ais: ``[n]``, NLL by AIS of the first test images.
        neg_elbo: ``[m]``, -ELBO of q0 of the first test images.
        nll: ``[m]``, the importance NLL.
        gap: BDMC's mean gap.
        gap_error: Its standard error.
        active_units: How many; None where nobody counted.
        latent_size: l.
        chains: ``acceptance``, ``acceptance_low``, ``step_size``, ``jump`` of the last epoch; empty without chains.
        epochs: Of the training.
    """

    cell: str
    label: str
    seed: int
    ais: np.ndarray
    neg_elbo: np.ndarray
    nll: np.ndarray
    gap: float
    gap_error: float
    active_units: int | None
    latent_size: int
    chains: dict[str, float]
    epochs: int


def read_row(record: dict, verdicts: dict, label: str) -> Row:
    """A training's record and the judge's, together."""
    history, results, found = record["history"], record["results"], verdicts["results"]
    chains = {
        name: history[name][-1] for name in ("acceptance", "acceptance_low", "step_size", "jump") if name in history
    }
    per_image, training, cell = found["per_image"], results["training"], record["configuration"]["cell"]
    return Row(
        cell, label, record["seed"], *(np.array(per_image[n]) for n in ("ais", "neg_elbo", "nll")),
        found["gap"], found["gap_standard_error"], results["active_units"], record["configuration"]["latent_size"],
        chains, training["epochs"],
    )  # fmt: skip


def read_table1_row(
    name: str, label: str, table1: Path, judge: Path, active_units: int | None = None
) -> tuple[Row, dict] | None:
    """A model of Table 1 with its training's record, where both its records are, and of one model.

    Args:
        name: Of the run.
        label: What a reader calls its cell.
        table1: Folder of the records of Table 1.
        judge: Folder of the judge's.
        active_units: Where somebody has counted them.

    Raises:
        RecordError: If a record is damaged.
    """
    if not ((table1 / f"{name}.json").exists() and (judge / f"{name}.json").exists()):
        return None
    record, judged = read_run_record(table1 / f"{name}.json"), read_record(judge / f"{name}.json")
    if not same_model(record, judged):
        return None
    cell, seed = split_name(name)
    found = judged["results"]
    training, per_image = record["results"]["training"], found["per_image"]
    row = Row(
        cell, label, seed, *(np.array(per_image[n]) for n in ("ais", "neg_elbo", "nll")), found["gap"],
        found["gap_standard_error"], active_units, record["configuration"]["latent_size"], {},
        training["epochs"],
    )  # fmt: skip
    return row, record


def on_common_images(rows: Sequence[Row]) -> list[Row]:
    """The rows with the values of those first images only that all of them have."""
    fewest = {name: min(len(getattr(row, name)) for row in rows) for name in ("ais", "neg_elbo", "nll")}
    return [row._replace(**{name: getattr(row, name)[:count] for name, count in fewest.items()}) for row in rows]


def scores(rows: Sequence[Row], of: str = "ais") -> list[Score]:
    """A field of `Row` as it is compared; where it is AIS, it may be too high by BDMC's gap."""
    values = [getattr(row, of) for row in rows]
    gaps = [(row.gap, row.gap_error) if of == "ais" else (0.0, 0.0) for row in rows]
    return [
        Score(row.seed, float(v.mean()), len(v), v, *gap) for row, v, gap in zip(rows, values, gaps, strict=True)
    ]  # fmt: skip


def read_spread(table1: Path, judge: Path, of: str = "ais") -> Spread | None:
    """The spread over seeds within Table 1's cells; None where no cell has several seeds.

    It is that of the means which Table 1 has, on all images that it has: on the few of which single values are kept for
    −ELBO, means of one cell would differ by what those images happen to be, too.

    Raises:
        RecordError: If a record is damaged.
    """
    spread = load_table(table1, judge).seed_spread(of)
    return spread if spread.free else None


def difference(these: Sequence[Row], those: Sequence[Row], of: str = "ais", spread: Spread | None = None) -> Difference:
    """NLL by AIS of one cell's models less another's, or another field of `Row`, on the images that all have.

    Args:
        these: Of the cell.
        those: Of the other.
        of: The field.
        spread: Over seeds, of every cell; None: that within these two.
    """
    found = compare(scores(these, of), scores(those, of), spread)
    assert found is not None
    return found


def differences_table(
    cells: Mapping[str, Sequence[Row]], pairs: Iterable[tuple[str, str]], of: str = "ais",
    spread: Spread | None = None,
) -> str:  # fmt: skip
    """`difference` for each pair of which both are there, as a table; nothing if there is none."""
    rows = []
    for a, b in pairs:
        if a in cells and b in cells:
            found = difference(cells[a], cells[b], of, spread)
            rows.append([
                f"{cells[a][0].label} less {cells[b][0].label}", f"{found.value:+.3f}", fixed(found.half, 3),
                fixed(found.image_error, 3), found.how, found.verdict,
            ])  # fmt: skip
    head = ["", "nats", "95 %, ±", "s.e. over images", "from", "verdict"]
    return markdown(head, rows) if rows else ""


ABOUT_DIFFERENCES = (
    "± is half a 95 % t-interval over seeds and images together (Welch's). Over seeds it is that of the pairs of one "
    "seed, where both cells have the same three seeds or more; else one spread is taken for all: that of Table 1's "
    "cells where such stand here, or that within the pair. A verdict takes the pair alone, and of NLL by AIS it "
    "allows for BDMC's gap, by which either may be too high; where "
    "seeds give no interval, or none that decides, it may still say what holds for these trained models over images; "
    "and where seeds decide, but not with the gap, that AIS's own error leaves it open."
)
