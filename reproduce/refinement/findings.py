"""What the records say: a row a trained model, and the differences between cells."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from hvae_tf.runs import read_record
from reproduce.differences import Spread
from reproduce.judged.findings import Row, read_row, read_spread, read_table1_row
from reproduce.judged.timing import Ratio, read_times
from reproduce.judged.work import check_one_protocol, judge_of, protocol_of, records_of
from reproduce.judging.models import split_name
from reproduce.refinement.cells import CELLS
from reproduce.refinement.work import EXACT

LABELS_BESIDE = {
    "vae": "VAE",
    "k5-free": "HVAE, K = 5, free tempering",
    "k5-none": "HVAE, K = 5, no tempering",
    "k10-free": "HVAE, K = 10, free tempering",
}


class Findings(NamedTuple):
    """All that a report is made of.

    Attributes:
        rows: Of all models, VAE first.
        exact: The record of the exact problems; None where there is none.
        configuration: Of a training; None where there is none.
        judge: The configuration of the judge's records; None where there is none.
        pictures: ``[n, H, W, C]`` by cell, of its first model.
        beside: Whether models of Table 1 are among the rows.
        times: By cell, of a training step, where that was timed.
        spread: Over seeds of Table 1's trainings, of NLL by AIS, where some of them are among the rows.
    """

    rows: list[Row]
    exact: dict | None
    configuration: dict | None
    judge: dict | None
    pictures: dict[str, np.ndarray]
    beside: bool = False
    times: Mapping[str, Ratio] = MappingProxyType({})
    spread: Spread | None = None

    def by_cell(self) -> dict[str, list[Row]]:
        """The rows of each cell, in order."""
        cells: dict[str, list[Row]] = {}
        for row in self.rows:
            cells.setdefault(row.cell, []).append(row)
        return cells


def read_findings(folder: Path, table1: Path, judge: Path, beside: Sequence[str] = ()) -> Findings:
    """Everything that the folders hold, of Table 1 the runs of the cells `beside`.

    Raises:
        RecordError: If a record is damaged.
    """
    rows, configuration, judge_configuration, pictures, any_beside = [], None, None, {}, False
    trained, judged = records_of(folder), judge_of(folder)
    records = trained.read_all()
    check_one_protocol(records, folder)
    for record in records:
        name = record["name"]
        configuration = record["configuration"]
        if judged.path(name).exists():
            verdicts = judged.read(name)
            judge_configuration = verdicts["configuration"]
            rows.append(read_row(record, verdicts, CELLS[configuration["cell"]].label))
            _add_pictures(pictures, rows[-1].cell, folder / "pictures" / f"{name}.npz")
    for cell in beside:
        for path in sorted(table1.glob(f"{cell}-seed*.json")):
            row = _row_beside(path.stem, folder / "beside", table1, judge, records)
            if row is not None:
                any_beside = True
                rows.append(row)
                _add_pictures(pictures, row.cell, table1 / "pictures" / f"{path.stem}.npz")
    exact = folder / "exact" / f"{EXACT}.json"
    order = [*LABELS_BESIDE, *CELLS]
    rows.sort(key=lambda row: (order.index(row.cell), row.seed))
    pictures = {cell: pictures[cell] for cell in sorted(pictures, key=order.index)}
    found = read_record(exact) if exact.exists() else None
    return Findings(
        rows, found, configuration, judge_configuration, pictures, any_beside, read_times(folder),
        read_spread(table1, judge) if any_beside else None,
    )  # fmt: skip


def _row_beside(name: str, beside: Path, table1: Path, judge: Path, own: Sequence[dict]) -> Row | None:
    """A model of Table 1, where both its records are and it is of the protocol of the folder's own, if there are any.

    With its active units, where somebody has counted them.
    """
    units = beside / f"{name}.json"
    count = read_record(units)["results"]["active_units"] if units.exists() else None
    found = read_table1_row(name, LABELS_BESIDE[split_name(name)[0]], table1, judge, count)
    if found is None or (own and protocol_of(found[1]) != protocol_of(own[0])):
        return None
    return found[0]


def _add_pictures(pictures, cell, path) -> None:
    if cell not in pictures and path.exists():
        with np.load(path, allow_pickle=False) as archive:
            pictures[cell] = archive["samples"]
