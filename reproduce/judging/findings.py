"""What the records of the judge say, together: models of one table, paired differences, what the sampler misses."""

import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvae_tf.runs import RecordError, RunStore
from hvae_tf.runs.record import is_numbers
from reproduce.configs import TABLE1_CELLS
from reproduce.differences import Difference, Score, Spread, difference, pooled
from reproduce.judging.models import split_name

BASE = "vae"
_NUMBERS = (
    "ais", "ais_standard_error", "ais_chains_standard_error", "lower", "upper", "gap", "gap_standard_error",
    "gap_largest", "seconds",
)  # fmt: skip


class Mean(NamedTuple):
    """A mean over images in nats, its standard error over images (NaN where unknown), and how many they were."""

    value: float
    error: float
    images: int

    @classmethod
    def of(cls, values: np.ndarray) -> "Mean":
        """Of single images' values."""
        error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
        return cls(float(np.mean(values)), error, len(values))

    @property
    def told_apart(self) -> bool:
        """Whether it is more than 1.96 standard errors from zero."""
        return abs(self.value) > 1.96 * self.error

    def __str__(self):
        error = "" if math.isnan(self.error) else f" ± {self.error:.2f}"
        return f"{self.value:+.2f}{error}"


class Findings:
    """The records of a folder. Models are compared on the first test images that those compared all have.

    Args:
        records: Of one configuration and one data set.
        curves: Records of single models' bounds against T.
    """

    def __init__(self, records: Sequence[dict], curves: Sequence[dict] = ()):
        self.records = sorted(records, key=_order)
        self.curves = sorted(curves, key=_order)

    @classmethod
    def load(cls, folder: Path) -> "Findings":
        """All that a folder holds.

        Raises:
            RecordError: If a record is damaged or lacks what the report shows, or they are of unlike configurations.
        """
        records = RunStore(folder).read_all()
        for record in records:
            _check(record, folder / f"{record['name']}.json", record["results"])
        kinds = {
            json.dumps([record["configuration"], record["data_fingerprint"]], sort_keys=True): record["name"]
            for record in records
        }
        if len(kinds) > 1:
            one, other = list(kinds.values())[:2]
            raise RecordError(
                f"{folder}: {one} and {other} were judged in unlike ways, or on unlike data; keep them in folders of "
                "their own"
            )
        curves = RunStore(folder / "curves").read_all() if (folder / "curves").is_dir() else []
        for record in curves:
            results, path = record["results"], folder / "curves" / f"{record['name']}.json"
            count = len(record["configuration"].get("temperatures", []))
            for name in ("lower", "upper", "gap", "gap_standard_error"):
                if not count or not is_numbers(results.get(name), count):
                    raise _wrong(path, name)
        return cls(records, curves)

    @cached_property
    def cells(self) -> dict[str, list[dict]]:
        """The records of each cell: models that are alike but for their seeds."""
        cells: dict[str, list] = {}
        for record in self.records:
            cells.setdefault(cell_of(record), []).append(record)
        return cells

    def scores(self, cell: str, measure: str) -> list[Score]:
        """How each of a cell's models was judged by a measure; by AIS, with BDMC's gap as what it may be too high by.

        Args:
            cell: With one model or several.
            measure: ``"ais"``, ``"nll"`` (importance sampling) or ``"neg_elbo"``.
        """
        found = []
        for record in self.cells.get(cell, []):
            each = values(record, measure)
            results = record["results"]
            gap = float(results["gap"]), float(results["gap_standard_error"] or 0.0)
            found.append(Score(record["seed"], float(each.mean()), len(each), each, *(gap if measure == "ais" else ())))
        return found

    def difference(self, cell: str, measure: str, base: str = BASE) -> Difference | None:
        """A cell less another, seeds averaged, image by image on the images that all have; None without any."""
        if cell not in self.cells or base not in self.cells:
            return None
        return difference(self.scores(cell, measure), self.scores(base, measure), self._spread(measure))

    def _spread(self, measure: str) -> Spread:
        """Over seeds: by what Table 1 has of all models on as many images, else on the images that all have here."""
        quoted = [record["results"]["table1"] for record in self.records]
        if measure != "ais" and all(quoted) and len({json.dumps(one["evaluation"]) for one in quoted}) == 1:
            return pooled(
                [[float(np.mean(r["results"]["table1"][measure])) for r in group] for group in self.cells.values()]
            )
        images = min(score.images for name in self.cells for score in self.scores(name, measure))
        return pooled([[score.on(images).mean for score in self.scores(name, measure)] for name in self.cells])

    def seeds(self, cell: str) -> list[tuple[int, float]]:
        """Seed and mean NLL by AIS of each of a cell's models, on the images that all of the cell's have."""
        group = self.cells[cell]
        images = min(len(values(record, "ais")) for record in group)
        return [(record["seed"], float(np.mean(values(record, "ais")[:images]))) for record in group]


def values(record: dict, measure: str) -> np.ndarray:
    """Nats of single images, ``[n]``: the first n test images."""
    return np.array(record["results"]["per_image"][measure], float)


def paired(record: dict, measure: str) -> Mean:
    """By how much a measure is above AIS for one model, on the images that have both."""
    other, ais = values(record, measure), values(record, "ais")
    images = min(len(other), len(ais))
    return Mean.of(other[:images] - ais[:images])


def prior_less_encoder(record: dict) -> Mean:
    """By how much NLL by AIS from the prior is above AIS from the encoder, on the same images."""
    prior, ais = np.array(record["results"]["prior"]["per_image"], float), values(record, "ais")
    images = min(len(prior), len(ais))
    return Mean.of(prior[:images] - ais[:images])


def cell_of(record: dict) -> str:
    """The cell of a record's model."""
    return split_name(record["name"])[0]


def _order(record):
    cells = list(TABLE1_CELLS)
    cell, seed = split_name(record["name"])
    return cells.index(cell) if cell in cells else len(cells), cell, seed


def _check(record: dict, path: Path, results: dict) -> None:
    """Raises RecordError unless the record has what the report shows."""
    amounts, per_image, prior = (results.get(name) for name in ("amounts", "per_image", "prior"))
    if not isinstance(amounts, dict) or not all(isinstance(n, int) and n > 0 for n in amounts.values()):
        raise _wrong(path, "amounts")
    for name in _NUMBERS:  # null stands for the error of a mean over one image
        if not is_numbers([results.get(name)]) or (results[name] is None and "error" not in name):
            raise _wrong(path, name)
    if not isinstance(per_image, dict):
        raise _wrong(path, "per_image")
    for name in ("ais", "neg_elbo", "nll"):
        if not per_image.get(name) or not is_numbers(per_image[name]):
            raise _wrong(path, f"per_image.{name}")
    if len(per_image["ais"]) != amounts.get("images"):
        raise _wrong(path, "per_image.ais")
    if not isinstance(prior, dict) or not prior.get("per_image") or not is_numbers(prior["per_image"]):
        raise _wrong(path, "prior.per_image")
    if not is_numbers(results.get("acceptance"), 2):
        raise _wrong(path, "acceptance")
    effective = results.get("effective_chains")
    if not isinstance(effective, dict) or not is_numbers([effective.get("lowest"), effective.get("median")]):
        raise _wrong(path, "effective_chains")
    if not isinstance(results.get("table1"), dict):
        raise _wrong(path, "table1")


def _wrong(path: Path, name: str) -> RecordError:
    return RecordError(
        f"{path}: results.{name} is missing or not what a record of the judge has there; delete the file to have the "
        "model judged again"
    )
