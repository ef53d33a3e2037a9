"""The work: exact problems, trainings, the judge; each stage is skipped where its result stands."""

import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import keras

from hvae_tf.data import ImageData, load
from hvae_tf.files import atomic_write
from hvae_tf.runs import RecordError, RunStore, make_record
from hvae_tf.runs.record import as_json
from reproduce.cli import interrupt_comes_through
from reproduce.judging.models import JudgedModel
from reproduce.judging.work import JudgeTask
from reproduce.mnist.training import load_model, save_model
from reproduce.refinement.cells import CELLS, Preset, Run, configuration
from reproduce.refinement.exact import MoveOperator, kl_to_target, normal_law
from reproduce.refinement.factor_analysis import Study, gradient_biases
from reproduce.refinement.training import active_units, take_pictures, train

EXACT = "factor-analysis"
KL_START = (1.5, 0.4)  # mean and standard deviation of q0, where the posterior is N(0, 1)
KL_LENGTHS = ((0.7, 1), (1.2, 1), (1.2, 2), (0.7, 5))  # eps, L
KL_MOVES = 12


def records_of(folder: Path) -> RunStore:
    """Where the records of trainings are."""
    return RunStore(folder / "records")


def judge_of(folder: Path) -> RunStore:
    """Where the judge's records are."""
    return RunStore(folder / "judge")


@functools.lru_cache(maxsize=1)
def load_data(dataset: str, data_dir: Path | None, limit) -> ImageData:
    """The images, whole and checked; read once a process."""
    return load(dataset, data_dir, limit=limit)


# ---- what has exact answers


def exact_configuration(study: Study) -> dict:
    """What the record of the exact problems is a record of."""
    return as_json({
        "study": dataclasses.asdict(study), "kl_start": KL_START, "kl_lengths": KL_LENGTHS, "kl_moves": KL_MOVES,
    })  # fmt: skip


def make_exact(folder: Path, study: Study, force: bool = False, say=lambda text: None) -> None:
    """The record of the exact problems, unless it stands."""
    store = RunStore(folder / "exact")
    if not force and store.done(EXACT, exact_configuration(study), study.seed):
        return
    lines = []
    for step_size, num_steps in KL_LENGTHS:
        law, move, line = normal_law(*KL_START), MoveOperator(step_size, num_steps), {"kl": [], "acceptance": []}
        for _ in range(KL_MOVES + 1):
            line["kl"].append(kl_to_target(law))
            line["acceptance"].append(move.acceptance(law))
            law = move(law)
        lines.append({"step_size": step_size, "num_leapfrog_steps": num_steps, **line})
    say("KL against M: done")
    rows = [row._asdict() for row in gradient_biases(study)]
    say("bias of the decoder's gradient against M: done")
    store.write(make_record(
        EXACT, configuration=exact_configuration(study), seed=study.seed, data_fingerprint="none", history={},
        wall_seconds=0.0, results={"kl": lines, "bias": rows},
    ))  # fmt: skip


# ---- trainings


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all runs of a call have in common.

    Attributes:
        preset: The table.
        folder: Of all results.
        data_dir: Where TFDS keeps its data sets; None: its own default.
        cores: That each run has; None where TensorFlow decides. Recorded, for seconds an epoch depend on it.
        verbose: Keras's.
    """

    preset: Preset
    folder: Path
    data_dir: Path | None = None
    cores: int | None = None
    verbose: int = 0

    def data(self) -> ImageData:
        """The images that the protocol asks for."""
        protocol = self.preset.protocol
        return load_data(protocol.dataset, self.data_dir, protocol.limit)


@dataclasses.dataclass(frozen=True)
class RefinementTask:
    """A run as `hvae_tf.runs.run_all` takes it: trained, recorded, judged."""

    of: Run
    settings: Settings

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def cost(self) -> float:
        """Of a training and an evaluation, in passes of an image through the decoder; rough."""
        cell, protocol = CELLS[self.of.cell], self.settings.preset.protocol
        limit = protocol.limit or (50_000, 10_000, 10_000)
        step = 6.0 + 2.0 * max(cell.num_moves, 1) * cell.num_leapfrog_steps
        return step * limit[0] * protocol.max_epochs + self._judge().cost

    @property
    def model_path(self) -> Path:
        """Of the trained model."""
        return self.settings.folder / "models" / f"{self.name}.keras"

    def _judge(self) -> JudgeTask:
        return JudgeTask(JudgedModel(self.model_path), self.settings.preset.judge, self.settings.data_dir)

    def _trained(self, store: RunStore) -> bool:
        return store.done(self.name, configuration(self.of, self.settings.preset.protocol), self.of.seed)

    def done(self, store: RunStore) -> bool:
        if not self._trained(store):
            return False
        judged = judge_of(self.settings.folder)
        if self.model_path.exists():
            return self._judge().done(judged)
        return judged.done(self.name, self.settings.preset.judge.configuration(), self.of.seed)

    def run(self, store: RunStore, progress: Callable[[float], None], force: bool) -> None:
        folder = self.settings.folder
        if self.settings.verbose:
            print(f"== {self.name}", flush=True)
        if force:  # the old record stands until the new model is trained
            shutil.rmtree(folder / "work" / self.name, ignore_errors=True)
        if force or not (self._trained(store) and self.model_path.exists()):
            self._train(store, progress)
        if force or not self._judge().done(judge_of(folder)):
            self._judge().run(judge_of(folder), lambda fraction: None, force)

    def _train(self, store, progress):
        settings, data = self.settings, self.settings.data()
        epochs = settings.preset.protocol.max_epochs
        told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: progress(0.8 * (epoch + 1) / epochs))
        model, result = train(
            self.of, settings.preset.protocol, data, settings.folder / "work" / self.name, verbose=settings.verbose,
            callbacks=[told],
        )  # fmt: skip
        training = {k: v for k, v in dataclasses.asdict(result).items() if k != "history"}
        with interrupt_comes_through():
            save_model(model, self.model_path)
            atomic_write(settings.folder / "pictures" / f"{self.name}.npz", take_pictures(model))
            active = active_units(model, data.binarised("test"))
        store.write(make_record(
            self.name, configuration=configuration(self.of, settings.preset.protocol), seed=self.of.seed,
            data_fingerprint=data.fingerprint, history=result.history, wall_seconds=training["wall_seconds"],
            results={
                "training": {**training, "cores": settings.cores}, "active_units": active,
                "parameters": model.count_params(),
            },
        ))  # fmt: skip


# ---- Table 1's models beside them


def count_active_units_beside(settings: Settings, table1: Path) -> None:
    """Records of the active units of Table 1's models, for those whose files are there."""
    store = RunStore(settings.folder / "beside")
    for name in settings.preset.beside:
        model = JudgedModel(table1 / "models" / f"{name}.keras")
        if not model.path.exists():
            continue
        wanted = {"file": model.digest(), "dataset": settings.preset.protocol.dataset}
        try:
            if store.done(name, wanted, model.seed):
                continue
        except RecordError:  # of another file
            store.path(name).unlink()
        data = settings.data()
        units = active_units(load_model(model.path), data.binarised("test"))
        store.write(make_record(
            name, configuration=wanted, seed=model.seed, data_fingerprint=data.fingerprint, history={},
            wall_seconds=0.0, results={"active_units": units},
        ))  # fmt: skip
