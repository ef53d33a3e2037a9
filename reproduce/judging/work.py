"""How a trained model becomes a record of the judge, piece by piece: in one process, or in several at once."""

import dataclasses
import functools
import math
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

from hvae_tf.data import ImageData, load
from hvae_tf.files import fingerprint
from hvae_tf.runs import RecordError, Report, RunStore, make_record
from reproduce.judging.blocks import Blocks
from reproduce.judging.estimates import Judge, Piece, share
from reproduce.judging.models import JudgedModel, quoted
from reproduce.judging.presets import IMPORTANCE_SAMPLES, Chains, JudgePreset
from reproduce.mnist.training import load_model


@functools.lru_cache(maxsize=1)
def load_images(dataset: str, data_dir: Path | None) -> ImageData:
    """The images, whole and checked; read once a process."""
    return load(dataset, data_dir)


@dataclasses.dataclass(frozen=True)
class JudgeTask:
    """A model to be judged, as `hvae_tf.runs.run_all` takes it.

    Attributes:
        model: Which.
        preset: How, and on how many images.
        data_dir: Where TFDS keeps its data sets.
        own_importance: Whether -ELBO and the importance NLL are made here even where Table 1 has them by image.
    """

    model: JudgedModel
    preset: JudgePreset
    data_dir: Path | None = None
    own_importance: bool = False

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def cost(self) -> float:
        """Evaluations of the decoder, with its gradient."""
        preset, chains, prior = self.preset, self.preset.chains, self.preset.prior
        return (
            preset.images * (chains.evaluations + chains.pilot_evaluations)
            + preset.prior_images * (prior.evaluations + prior.pilot_evaluations)
            + preset.simulated * (2.0 * chains.evaluations + chains.pilot_evaluations)
            + preset.importance_images * self._importance_evaluations()
        )

    def _importance_evaluations(self) -> float:
        record = self.model.table_record()
        steps = 0 if record is None else record["configuration"].get("num_leapfrog_steps", 0)
        return IMPORTANCE_SAMPLES * (0.4 if steps == 0 else steps + 1.0)

    def done(self, store: RunStore) -> bool:
        if not store.done(self.name, self.preset.configuration(), self.model.seed):
            return False
        results = store.read(self.name)["results"]
        if not self.model.path.exists():  # taken away: what is on record of it stands
            return self._enough(results)
        return self._enough(results) and results.get("file") == self.model.digest() and not self._lent(results)

    def _enough(self, results: dict) -> bool:
        """Whether what is on record is at least what is asked for."""
        found, of = results.get("amounts"), results.get("of", 0)
        if not isinstance(found, dict) or (self.own_importance and not results.get("own_importance")):
            return False
        limit = {"simulated": self.preset.simulated}
        return all(
            found.get(name, 0) >= min(asked, limit.get(name, of)) for name, asked in self.preset.amounts().items()
        )

    def _table(self, weights: str) -> dict | None:
        """-ELBO and importance NLL by image that Table 1 has of the model of these weights, to be taken over."""
        record = self.model.table_record()
        if record is None or self.own_importance or record["results"].get("weights", weights) != weights:
            return None
        alike = record["results"]["evaluation"]["samples"] == IMPORTANCE_SAMPLES
        table = record["results"].get("per_image", {})
        return table if alike and table.keys() >= {"neg_elbo", "nll"} else None

    def _lent(self, results: dict) -> dict:
        """What of that is of more images than are on record here, and so takes the place of those; else nothing."""
        try:
            table, limit = self._table(results.get("weights", "")), min(self.preset.images, results.get("of", 0))
        except RecordError:  # of another kind
            return {}
        if table is None or min(len(table["nll"]), limit) <= results["amounts"]["importance_images"]:
            return {}
        return {name: table[name][:limit] for name in ("neg_elbo", "nll")}

    def run(self, store: RunStore, progress: Report, force: bool) -> None:
        if force:
            self.clear(store)
        judge = self.open(store, progress)
        if force or not self.stands(store, judge):
            self.write(store, judge)

    def clear(self, store: RunStore) -> None:
        """Takes away the blocks, not the record: that stands until the new one is finished."""
        shutil.rmtree(store.folder / "work" / self.name, ignore_errors=True)

    def open(self, store: RunStore, progress: Report) -> Judge:
        """The model and its images, checked, with its blocks.

        Raises:
            RecordError: If the model is not of these data.
        """
        data, model = load_images(self.preset.dataset, self.data_dir), load_model(self.model.path)
        if tuple(model.event_shape) != tuple(data.event_shape):
            raise RecordError(
                f"{self.model.path} is a model of events {tuple(model.event_shape)}, {data.name} has "
                f"{tuple(data.event_shape)}; name the data that it was trained on (--dataset)"
            )
        record = self.model.table_record()
        if record is not None and record["data_fingerprint"] != data.fingerprint:
            raise RecordError(
                f"{self.model.path} was trained on other data than {data.name}, as its record of Table 1 has it; name "
                "the data (--dataset)"
            )
        weights = fingerprint(*model.get_weights())
        blocks = Blocks(store.folder / "work" / self.name, {"weights": weights, "data": data.fingerprint})
        return Judge(
            model, data, self.preset, blocks, name=self.name, total=self.cost, progress=progress, weights=weights,
            table=self._table(weights), importance_evaluations=self._importance_evaluations(),
        )  # fmt: skip

    def pieces(self, judge: Judge) -> list[Piece]:
        """All of the record."""
        return judge.pieces()

    def stands(self, store: RunStore, judge: Judge) -> bool:
        """Whether the record is of this very model; it is brought up to a file saved anew and to what Table 1 lends."""
        if not store.path(self.name).exists():
            return False
        old = store.read(self.name)
        results = old["results"]
        if results.get("weights") != judge.weights or not self._enough(results):
            return False
        results["file"] = self.model.digest()
        if lent := self._lent(results):
            results["per_image"] |= lent
            results["amounts"]["importance_images"], results["own_importance"] = len(lent["nll"]), False
            results["table1"] = quoted(self.model.table_record())
        store.write(old)
        return True

    def write(self, store: RunStore, judge: Judge) -> None:
        """Makes what is missing of the blocks, and the record."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "AIS: in", RuntimeWarning)  # the record has the effective numbers
            results, history, seconds = judge.all()
        table = quoted(self.model.table_record())
        results = {
            "weights": judge.weights,
            "file": self.model.digest(),
            "cell": self.model.cell,
            **results,
            "table1": table,
        }
        store.write(make_record(
            self.name, configuration=self.preset.configuration(), seed=self.model.seed,
            data_fingerprint=judge.data_fingerprint, history=history, wall_seconds=seconds, results=results,
        ))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CurveTask:
    """Both bounds of one model against T, on images that it simulates, the same at every T; in the folder ``curves``.

    Attributes:
        model: Which.
        preset: How.
    """

    model: JudgedModel
    preset: JudgePreset

    @property
    def name(self) -> str:
        return f"{self.model.name}-curve"

    @property
    def chains(self) -> list[Chains]:
        """Of every T."""
        return [dataclasses.replace(self.preset.chains, num_temperatures=t) for t in self.preset.curve_temperatures]

    @property
    def cost(self) -> float:
        each = sum(2.0 * chains.evaluations + chains.pilot_evaluations for chains in self.chains)
        return self.preset.curve_simulated * each

    def configuration(self) -> dict:
        """What the record is a record of."""
        temperatures, simulated = self.preset.curve_temperatures, self.preset.curve_simulated
        return {**self.preset.configuration(), "temperatures": list(temperatures), "simulated": simulated}

    def done(self, store: RunStore) -> bool:
        curves = RunStore(store.folder / "curves")
        if not curves.done(self.model.name, self.configuration(), self.model.seed):
            return False
        return curves.read(self.model.name)["results"].get("file") == self.model.digest()

    def run(self, store: RunStore, progress: Report, force: bool) -> None:
        if force:
            self.clear(store)
        self.write(store, self.open(store, progress))

    def clear(self, store: RunStore) -> None:
        """See `JudgeTask`."""
        shutil.rmtree(store.folder / "work" / self.name, ignore_errors=True)

    def open(self, store: RunStore, progress: Report) -> Judge:
        """See `JudgeTask`."""
        model = load_model(self.model.path)
        weights = fingerprint(*model.get_weights())
        blocks = Blocks(store.folder / "work" / self.name, {"weights": weights})
        return Judge(
            model, None, self.preset, blocks, name=self.name, total=self.cost, progress=progress, weights=weights
        )

    def _pieces(self, judge: Judge) -> list[list[Piece]]:
        simulated = self.preset.curve_simulated
        return [judge.bdmc_pieces(chains, simulated, f"T = {chains.num_temperatures}") for chains in self.chains]

    def pieces(self, judge: Judge) -> list[Piece]:
        """See `JudgeTask`."""
        return [piece for pieces in self._pieces(judge) for piece in pieces]

    def stands(self, store: RunStore, judge: Judge) -> bool:
        """See `JudgeTask`; a curve is made anew."""
        return False

    def write(self, store: RunStore, judge: Judge) -> None:
        """See `JudgeTask`."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "AIS: in", RuntimeWarning)
            bounds = [judge.bdmc(pieces) for pieces in self._pieces(judge)]
        results = {"weights": judge.weights, "file": self.model.digest(), "cell": self.model.cell}
        results |= {name: [found[name] for found in bounds] for name in ("lower", "upper", "gap", "gap_standard_error")}
        results["per_image"] = {name: [found["per_image"][name] for found in bounds] for name in ("lower", "upper")}
        RunStore(store.folder / "curves").write(make_record(
            self.model.name, configuration=self.configuration(), seed=self.model.seed, data_fingerprint="simulated",
            history={}, wall_seconds=judge.seconds, results=results,
        ))  # fmt: skip


# ---------------------------------------------------------------------------------------------------- side by side


@dataclasses.dataclass(frozen=True)
class PartTask:
    """A part of a model's pieces.

    Attributes:
        of: The task whose pieces they are.
        part: Which, from 0.
        parts: How many.
        force: Whether a record that stands is not enough.
    """

    of: JudgeTask | CurveTask
    part: int
    parts: int
    force: bool = False

    @property
    def name(self) -> str:
        return f"{self.of.name}-part{self.part + 1}of{self.parts}"

    @property
    def cost(self) -> float:
        return self.of.cost / self.parts

    def done(self, store: RunStore) -> bool:
        return False

    def run(self, store: RunStore, progress: Report, force: bool) -> None:
        judge = self.of.open(store, progress)
        if not self.force and self.of.stands(store, judge):
            return
        pieces = self.of.pieces(judge)
        mine = share(pieces, self.part, self.parts) if self.part < min(self.parts, len(pieces)) else []
        judge.share_out(mine)
        for piece in mine:
            judge.get(piece)


@dataclasses.dataclass(frozen=True)
class RecordTask:
    """The record of a task whose pieces have been made."""

    of: JudgeTask | CurveTask
    force: bool = False

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def cost(self) -> float:
        return 1.0

    def done(self, store: RunStore) -> bool:
        return not self.force and self.of.done(store)

    def run(self, store: RunStore, progress: Report, force: bool) -> None:
        self.of.write(store, self.of.open(store, progress))


def parts_of(tasks: Sequence[JudgeTask | CurveTask], processes: int, force: bool = False) -> list[PartTask]:
    """The tasks in parts that so many processes share evenly; as few as that takes, for each part loads the model."""
    each = processes // math.gcd(len(tasks), processes)
    return [PartTask(task, part, each, force) for task in tasks for part in range(each)]
