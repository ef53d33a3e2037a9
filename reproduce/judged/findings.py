"""What records of trainings and of the judge say together: a row a trained model, and the differences between cells."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.runs import read_record
from reproduce.judging.models import split_name
from reproduce.mnist.evaluation import read_run_record
from reproduce.tables import fixed, half_width, markdown


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


class Difference(NamedTuple):
    """NLL by AIS of one cell less another's.

    Attributes:
        value: In nats.
        half: Half the 95 % interval over seeds; NaN where the seeds do not give one.
        image_error: The standard error over images, for these trained models.
        how: How the interval came about.
    """

    value: float
    half: float
    image_error: float
    how: str

    @property
    def verdict(self) -> str:
        """In words, for the first of the two."""
        side = "lower" if self.value < 0 else "higher"
        if not math.isnan(self.half):
            return side if abs(self.value) > self.half else "not told apart"
        told = abs(self.value) > 1.96 * self.image_error
        return f"{side} for these trained models; the seeds do not decide" if told else "not told apart"


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
    """A model of Table 1 with its training's record, where both its records are.

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
    record, found = read_run_record(table1 / f"{name}.json"), read_record(judge / f"{name}.json")["results"]
    cell, seed = split_name(name)
    training, per_image = record["results"]["training"], found["per_image"]
    row = Row(
        cell, label, seed, *(np.array(per_image[n]) for n in ("ais", "neg_elbo", "nll")), found["gap"],
        found["gap_standard_error"], active_units, record["configuration"]["latent_size"], {},
        training["epochs"],
    )  # fmt: skip
    return row, record


def difference(these: Sequence[Row], those: Sequence[Row], of: str = "ais") -> Difference:
    """NLL by AIS of one cell's models less another's, or another field of `Row`, on the images that all have."""
    count = min(len(getattr(row, of)) for row in (*these, *those))
    a, b = ({row.seed: getattr(row, of)[:count] for row in rows} for rows in (these, those))
    images = np.mean(list(a.values()), axis=0) - np.mean(list(b.values()), axis=0)
    error = float(images.std(ddof=1) / math.sqrt(count))
    common = sorted(a.keys() & b.keys())
    if len(common) == len(a) == len(b) and len(common) >= 3:
        each = np.array([np.mean(a[seed] - b[seed]) for seed in common])
        half = half_width(float(each.std(ddof=1)) / math.sqrt(len(each)), len(each) - 1)
        return Difference(float(each.mean()), half, error, f"{len(each)} pairs of one seed")
    means = [np.array([np.mean(values) for values in side.values()]) for side in (a, b)]
    value, free = float(means[0].mean() - means[1].mean()), len(a) + len(b) - 2
    if free < 1:
        return Difference(value, math.nan, error, "one training each")
    pooled = sum(float(np.sum((m - m.mean()) ** 2)) for m in means) / free
    half = half_width(math.sqrt(pooled * (1 / len(a) + 1 / len(b))), free)
    return Difference(value, half, error, f"{len(a)} and {len(b)} trainings, one spread")


def differences_table(cells: Mapping[str, Sequence[Row]], pairs: Iterable[tuple[str, str]], of: str = "ais") -> str:
    """`difference` for each pair of which both are there, as a table; nothing if there is none."""
    rows = []
    for a, b in pairs:
        if a in cells and b in cells:
            found = difference(cells[a], cells[b], of)
            rows.append([
                f"{cells[a][0].label} less {cells[b][0].label}", f"{found.value:+.3f}", fixed(found.half, 3),
                fixed(found.image_error, 3), found.how, found.verdict,
            ])  # fmt: skip
    head = ["", "nats", "95 % over seeds, ±", "s.e. over images", "from", "verdict"]
    return markdown(head, rows) if rows else ""
