"""What the records say: a row a trained model, and the differences between cells."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.runs import RecordError, RunStore, read_record
from reproduce.judging.models import split_name
from reproduce.mnist.evaluation import read_run_record
from reproduce.refinement.cells import CELLS
from reproduce.refinement.work import EXACT, judge_of, records_of
from reproduce.tables import half_width

LABELS_BESIDE = {"vae": "VAE", "k5-free": "HVAE, K = 5, free tempering", "k5-none": "HVAE, K = 5, no tempering"}


class Row(NamedTuple):
    """One trained model; nats per image.

    Attributes:
        cell: Its name.
        seed: Of the training.
        ais: ``[n]``, NLL by AIS of the first test images.
        neg_elbo: ``[m]``, -ELBO of q0 of the first test images.
        nll: ``[m]``, the importance NLL.
        gap: BDMC's mean gap.
        gap_error: Its standard error.
        active_units: How many; None where nobody counted.
        latent_size: l.
        chains: ``acceptance``, ``acceptance_low``, ``step_size``, ``jump`` of the last epoch; empty without chains.
        seconds: An epoch's.
        cores: That the training had; None where it is not on record.
        epochs: Of the training.
    """

    cell: str
    seed: int
    ais: np.ndarray
    neg_elbo: np.ndarray
    nll: np.ndarray
    gap: float
    gap_error: float
    active_units: int | None
    latent_size: int
    chains: dict[str, float]
    seconds: float
    cores: int | None
    epochs: int

    @property
    def label(self) -> str:
        """What a reader calls the cell."""
        return CELLS[self.cell].label if self.cell in CELLS else LABELS_BESIDE[self.cell]


class Findings(NamedTuple):
    """All that a report is made of.

    Attributes:
        rows: Of all models, VAE first.
        exact: The record of the exact problems; None where there is none.
        configuration: Of a training; None where there is none.
        judge: The configuration of the judge's records; None where there is none.
        pictures: ``[n, H, W, C]`` by cell, of its first model.
        beside: Whether models of Table 1 are among the rows.
    """

    rows: list[Row]
    exact: dict | None
    configuration: dict | None
    judge: dict | None
    pictures: dict[str, np.ndarray]
    beside: bool = False

    def by_cell(self) -> dict[str, list[Row]]:
        """The rows of each cell, in order."""
        cells: dict[str, list[Row]] = {}
        for row in self.rows:
            cells.setdefault(row.cell, []).append(row)
        return cells


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


def read_findings(folder: Path, table1: Path, judge: Path) -> Findings:
    """Everything that the folders hold.

    Raises:
        RecordError: If a record is damaged.
    """
    rows, configuration, judge_configuration, pictures, any_beside = [], None, None, {}, False
    trained, judged = records_of(folder), judge_of(folder)
    for record in trained.read_all():
        name = record["name"]
        configuration = record["configuration"]
        if judged.path(name).exists():
            verdicts = judged.read(name)
            judge_configuration = verdicts["configuration"]
            rows.append(_row(record, verdicts))
            _add_pictures(pictures, rows[-1].cell, folder / "pictures" / f"{name}.npz")
    beside = RunStore(folder / "beside") if (folder / "beside").exists() else None
    for units in beside.read_all() if beside else ():
        row = _row_beside(units, table1, judge)
        if row is not None:
            any_beside = True
            rows.append(row)
            _add_pictures(pictures, row.cell, table1 / "pictures" / f"{units['name']}.npz")
    exact = folder / "exact" / f"{EXACT}.json"
    order = [*LABELS_BESIDE, *CELLS]
    rows.sort(key=lambda row: (order.index(row.cell), row.seed))
    pictures = {cell: pictures[cell] for cell in sorted(pictures, key=order.index)}
    found = read_record(exact) if exact.exists() else None
    return Findings(rows, found, configuration, judge_configuration, pictures, any_beside)


def _row(record, verdicts) -> Row:
    history, results, found = record["history"], record["results"], verdicts["results"]
    chains = {
        name: history[name][-1] for name in ("acceptance", "acceptance_low", "step_size", "jump") if name in history
    }
    per_image, training = found["per_image"], results["training"]
    return Row(
        record["configuration"]["cell"], record["seed"], *(np.array(per_image[n]) for n in ("ais", "neg_elbo", "nll")),
        found["gap"], found["gap_standard_error"], results["active_units"], record["configuration"]["latent_size"],
        chains, training["seconds_per_epoch"], training["cores"], training["epochs"],
    )  # fmt: skip


def _row_beside(units, table1: Path, judge: Path) -> Row | None:
    """A model of Table 1, where both its records are."""
    name = units["name"]
    if not ((table1 / f"{name}.json").exists() and (judge / f"{name}.json").exists()):
        return None
    record, found = read_run_record(table1 / f"{name}.json"), read_record(judge / f"{name}.json")["results"]
    cell, seed = split_name(name)
    if cell not in LABELS_BESIDE:
        raise RecordError(f"{name} is no run that stands beside these")
    training, per_image = record["results"]["training"], found["per_image"]
    return Row(
        cell, seed, *(np.array(per_image[n]) for n in ("ais", "neg_elbo", "nll")), found["gap"],
        found["gap_standard_error"], units["results"]["active_units"], record["configuration"]["latent_size"], {},
        training["seconds_per_epoch"], training.get("cores"), training["epochs"],
    )  # fmt: skip


def _add_pictures(pictures, cell, path) -> None:
    if cell not in pictures and path.exists():
        with np.load(path, allow_pickle=False) as archive:
            pictures[cell] = archive["samples"]


def difference(these: Sequence[Row], those: Sequence[Row]) -> Difference:
    """AIS of one cell's models less another's, on the images that all have."""
    count = min(len(row.ais) for row in (*these, *those))
    a, b = ({row.seed: row.ais[:count] for row in rows} for rows in (these, those))
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
